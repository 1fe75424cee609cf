"""What every quantizer promises; what quantizers made of several add up; bad input."""

import pytest
import torch
from contracts import check_quantizer
from instances import every, instance

from ppl_vae import parts, quantizers
from ppl_vae.quantizers import (
    EMA,
    FiniteScalarQuantizer,
    ProductQuantizer,
    Quantizer,
    ResidualQuantizer,
    VectorQuantizer,
)


@pytest.mark.parametrize("case", every("quantizers"), ids=str)
def test_contract(case):
    check_quantizer(instance("quantizers", case))


@pytest.mark.parametrize("case", every("quantizers"), ids=str)
def test_evaluation_changes_no_buffer_and_training_does(case):
    quantizer, z = instance("quantizers", case), torch.randn(20, instance("quantizers", case).dim)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    state = torch.get_rng_state()
    quantizer.eval()(z)
    quantizer.settle()
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    quantizer.train()(z)
    assert any(not torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


@pytest.mark.parametrize("case", every("quantizers"), ids=str)
def test_training_goes_on_from_a_state_as_if_it_had_not_stopped(case):
    """A quantizer rebuilt from its record and its state, all running statistics included, makes the same steps."""
    whole, dim = instance("quantizers", case), instance("quantizers", case).dim
    batches = torch.randn(8, 12, dim)
    steps(whole, batches[:4])
    again = parts.build(parts.describe(whole))
    again.load_state_dict(whole.state_dict())
    for quantizer in (whole, again):
        torch.manual_seed(3)
        steps(quantizer, batches[4:])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def steps(quantizer, batches):
    for z in batches:
        cost = quantizer.cost(quantizer(z).loss_terms)
        moved = list(quantizer.parameters())
        for p, gradient in zip(moved, torch.autograd.grad(cost, moved) if moved else (), strict=True):
            p.data.sub_(0.1 * gradient)


def test_groups_are_quantizers_of_their_entries():
    product, z = ProductQuantizer(7, 6, 3, update="gradient"), torch.randn(50, 6)
    out = product.eval()(z)
    for g, part in enumerate(product.parts):
        own = part(z[:, 2 * g : 2 * g + 2])
        assert torch.equal(out.codes[:, g], own.codes) and torch.equal(out.values[:, 2 * g : 2 * g + 2], own.values)
    distance = (z - product.lookup(out.codes)).square().sum(1).mean()
    assert torch.allclose(out.loss_terms["commitment"], distance) and torch.allclose(
        out.loss_terms["codebook"], distance
    )


def test_stages_quantize_what_is_left():
    residual, z = ResidualQuantizer(7, 3, 4, update="gradient"), torch.randn(50, 3)
    out, left, total = residual.eval()(z), z, 0.0
    for s, part in enumerate(residual.parts):
        chosen = torch.cdist(left, part.codebook).argmin(1)
        assert torch.equal(out.codes[:, s], chosen)
        left = left - part.codebook[chosen]
        total = total + left.square().sum(1).mean()
    assert torch.allclose(out.loss_terms["commitment"], total) and torch.allclose(out.loss_terms["codebook"], total)
    assert torch.allclose(out.values, z - left, atol=1e-5)


@pytest.mark.parametrize("kind", [ProductQuantizer, ResidualQuantizer])
def test_one_update_serves_several(kind):
    """One object given for all: each codebook is updated by its own statistics, as with an object each."""
    shared, z = EMA(0.5), torch.randn(40, 4)
    torch.manual_seed(1)
    one = kind(5, 4, 2, update=shared, revive=0.0)
    torch.manual_seed(1)
    own = kind(5, 4, 2, update=EMA(0.5), revive=0.0)
    own.parts[1].update = EMA(0.5)
    for quantizer in (one, own):
        quantizer(z)
    assert torch.equal(one.parts[0].codebook, own.parts[0].codebook)
    assert torch.equal(one.parts[1].codebook, own.parts[1].codebook)
    assert not torch.equal(one.parts[0].sums, one.parts[1].sums)
    assert parts.describe(one)["update"] == {"class": "quantizers.EMA", "decay": 0.5, "epsilon": 1e-5}


def test_figures_add_up():
    product = ProductQuantizer(4, 4, 2)
    product.parts[0].usage.copy_(torch.tensor([0.5, 0.5, 0.0, 0.0]))
    product.parts[1].usage.copy_(torch.tensor([0.3, 0.3, 0.38, 0.02]))
    assert product.figures() == {"usage": torch.tensor(0.625), "dead_codes": torch.tensor(3)}


def test_abstract_bases():
    with pytest.raises(TypeError, match="abstract"):
        Quantizer()
    with pytest.raises(TypeError, match="abstract"):
        quantizers.CodebookUpdate()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VectorQuantizer(0, 4), "num_codes must be a whole number of at least 1, not 0"),
        (lambda: VectorQuantizer(4, 2.5), "dim must be a whole number of at least 1, not 2.5"),
        (lambda: VectorQuantizer(4, 2, commitment=-1), "commitment must be a finite number of at least 0"),
        (lambda: VectorQuantizer(4, 2, update="emma"), r"update 'emma' is unknown; .*did you mean ema"),
        (lambda: VectorQuantizer(4, 2, update=0.99), r"update must be 'ema', 'gradient' or a part .*not 0.99"),
        (lambda: VectorQuantizer(4, 2, metric="cosin"), r"metric 'cosin' is unknown; .*did you mean cosine"),
        (lambda: VectorQuantizer(4, 2, gradient="rotate"), r"gradient 'rotate' is unknown; .*did you mean rotation"),
        (lambda: VectorQuantizer(4, 2, revive=1.0), "revive must be below 1"),
        (lambda: VectorQuantizer(4, 2, start="k-means"), r"start 'k-means' is unknown; .*did you mean kmeans"),
        (lambda: EMA(1.5), "decay must be a share between 0 and 1, not 1.5"),
        (lambda: EMA(epsilon=-1), "epsilon must be a finite number of at least 0"),
        (lambda: ProductQuantizer(4, 6, 4), "groups must divide dim, which is 6: choose from 1, 2, 3, 6, not 4"),
        (lambda: ProductQuantizer(4, 6, 0), "groups must be a whole number of at least 1"),
        (lambda: ResidualQuantizer(4, 6, 0), "stages must be a whole number of at least 1"),
        (lambda: FiniteScalarQuantizer((8, 1)), "levels must be a whole number of at least 2, not 1"),
        (lambda: FiniteScalarQuantizer(()), "levels must hold the number of levels of every entry"),
        (lambda: FiniteScalarQuantizer(8), "levels must hold the number of levels of every entry"),
        (lambda: FiniteScalarQuantizer((64,) * 5), "levels make 1073741824 codes"),
        (lambda: VectorQuantizer(4, 2)(torch.zeros(3, 4)), r"z must have shape \(..., 2\), not \(3, 4\)"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
