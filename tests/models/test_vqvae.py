"""The VQ-VAE: its loss, its stages, its bound, and what it refuses."""

import itertools

import pytest
import torch

from ppl_vae import (
    Reconstruction,
    code_priors,
    data,
    evaluation,
    fit,
    likelihoods,
    load,
    models,
    networks,
    parts,
    quantizers,
)

SHAPE = (1, 4, 4)


def tiny(update="ema", transformer=False, num_codes=6, **options):
    """Codes on a grid of 2 x 2."""
    torch.manual_seed(1)
    prior = code_priors.Transformer(16, 1, 2) if transformer else None
    return models.VQVAE(
        networks.Conv(SHAPE, [5], flatten=False),
        quantizers.VectorQuantizer(num_codes, 3, update=update, **options),
        likelihoods.Bernoulli(networks.ConvTranspose((3, 2, 2), [5], SHAPE), SHAPE),
        prior,
    )


def flat(prior=None, num_codes=3, count=2):
    """Two codes of three values: few enough to enumerate."""
    torch.manual_seed(1)
    likelihood = likelihoods.Bernoulli(networks.MLP(2 * count, [5]), 4)
    return models.VQVAE(networks.MLP(4, [5]), quantizers.VectorQuantizer(num_codes, 2), likelihood, prior)


def rows(n=64, shape=SHAPE, seed=3):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)).round()


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_the_loss_is_minus_log_p_and_codebook_and_weighted_commitment(update):
    vq, x = tiny(update, commitment=0.7).eval(), rows(8)
    loss = Reconstruction(vq)(x)
    vectors = vq.vectors(x)
    distances = (vectors[..., None, :] - vq.quantizer.codebook).square().sum(-1)
    nearest, codes = distances.min(-1)
    squared = nearest.sum((1, 2)).mean()  # over the grid, mean over the examples
    q = vq.quantizer.codebook[codes].movedim(-1, 1)
    log_p = vq.likelihood(q).log_prob(x)
    expected = -log_p.mean() + (1.7 if update == "gradient" else 0.7) * squared
    torch.testing.assert_close(loss.value, expected, rtol=1e-5, atol=1e-5)  # rounding of float32
    torch.testing.assert_close(loss.terms["reconstruction"], log_p, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss.terms["commitment"], squared, rtol=1e-5, atol=1e-5)
    assert ("codebook" in loss.terms) == (update == "gradient")


def test_encode_gives_the_nearest_codes_and_decode_the_mean_at_them():
    vq, x = tiny().eval(), rows(5)
    codes = vq.encode(x)
    assert codes.dtype == torch.int64 and codes.shape == (5, 2, 2) == (5, *vq.code_shape)
    torch.testing.assert_close(vq.decode(codes), vq(x))
    values = vq.quantizer.codebook[codes].movedim(-1, 1)
    torch.testing.assert_close(vq.decode(codes), vq.likelihood(values).mean)


def test_the_bound_is_below_the_log_likelihood_by_enumeration():
    vq = flat(code_priors.Transformer(8, 1, 2, dropout=0.0)).eval()
    x = rows(16, (4,))
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    prior = vq.prior().log_prob(every)
    torch.testing.assert_close(prior.logsumexp(0), torch.zeros(()), atol=1e-5, rtol=0)
    joint = torch.stack(
        [vq.likelihood_at(c.expand(len(x), -1)).log_prob(x) + p for c, p in zip(every, prior, strict=True)]
    )
    found = evaluation.elbo(vq, x)
    assert (found.elbo < joint.logsumexp(0)).all()
    chosen = (every == vq.encode(x)[:, None]).all(-1).float().argmax(1)
    torch.testing.assert_close(found.elbo, joint[chosen, torch.arange(16)], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.kl, -prior[chosen], rtol=1e-5, atol=1e-5)


def test_frequencies_are_counted_when_the_main_stage_ends():
    vq, x = tiny(), rows(64)
    history = fit(Reconstruction(vq), x, epochs=2, batch_size=16, progress=False)
    assert {row["stage"] for row in history.rows} == {""}
    codes = vq.encode(x)
    expected = torch.stack([(codes == k).sum(0) + 1.0 for k in range(6)], -1) / (64 + 6)
    grid = torch.arange(6).repeat(4, 1).T.reshape(6, 2, 2)
    alone = torch.stack([vq.prior.logits(grid[:1])[0, i, j].softmax(-1) for i in (0, 1) for j in (0, 1)])
    torch.testing.assert_close(alone.reshape(2, 2, 6), expected)


def test_a_stage_trains_the_prior_and_nothing_else():
    vq, x = tiny(transformer=True), rows(64)
    kept = {}

    def remember(row):
        if row["stage"] == "" and row["epoch"] == 3:
            kept.update({name: value.clone() for name, value in vq.state_dict().items()})

    history = fit(Reconstruction(vq), x, x[:20], epochs=3, batch_size=16, progress=False, callback=remember)
    assert [row["stage"] for row in history.rows] == [""] * 3 + ["code prior"] * 3
    rates = [row["train"]["rate"] for row in history.rows[3:]]
    assert rates[-1] < rates[0]
    for name, value in vq.state_dict().items():
        moved = not torch.equal(value, kept[name])
        assert moved == name.startswith("prior.") or name.startswith("prior.") and not moved, name
    assert any(not torch.equal(v, kept[n]) for n, v in vq.state_dict().items() if n.startswith("prior."))


def test_the_codebook_starts_at_vectors_of_the_training_rows():
    vq = tiny()
    vq.start(data.as_split(rows(400)))
    vectors = vq.eval().vectors(rows(400)).reshape(-1, 3)
    low, high = vectors.amin(0) - 1e-4, vectors.amax(0) + 1e-4  # means of vectors, to rounding
    book = vq.quantizer.codebook
    assert ((book >= low) & (book <= high)).all()


def test_a_run_is_rebuilt_and_resumes_to_the_same_bits_in_both_stages(tmp_path):
    def make():
        return Reconstruction(tiny(transformer=True))

    options = {"epochs": 3, "batch_size": 16, "progress": False, "checkpoint_every": 1, "seed": 5}
    whole = make()
    fit(whole, rows(), rows(16, seed=8), out=tmp_path / "whole", **options)
    expected = whole.state_dict()

    class Killed(Exception):
        pass

    for stage, epoch in (("", 2), ("code prior", 2)):
        out = tmp_path / f"killed{epoch}{stage}"

        def die(row, stage=stage, epoch=epoch):
            if (row["stage"], row["epoch"]) == (stage, epoch):
                raise Killed

        with pytest.raises(Killed):
            fit(make(), rows(), rows(16, seed=8), out=out, callback=die, **options)
        again = make()
        fit(again, rows(), rows(16, seed=8), out=out, resume=True, **options)
        for name, value in again.state_dict().items():
            assert torch.equal(value, expected[name]), (stage, name)
    loaded = load(tmp_path / "whole")
    assert torch.equal(loaded.encode(rows(5)), whole.model.encode(rows(5)))


def test_description_and_state_make_the_model_again():
    vq = tiny(transformer=True)
    again = parts.build(parts.describe(vq))
    again.load_state_dict(vq.state_dict())
    assert torch.equal(again.eval().encode(rows(5)), vq.eval().encode(rows(5)))


def test_labels_reach_encoder_likelihood_and_prior():
    torch.manual_seed(2)
    label = networks.Label(3)
    vq = models.VQVAE(
        networks.Conditioned(networks.Conv((4, 4, 4), [5], flatten=False), label, SHAPE),
        quantizers.VectorQuantizer(6, 3),
        likelihoods.Bernoulli(networks.Conditioned(networks.ConvTranspose((6, 2, 2), [5], SHAPE), label), SHAPE),
        code_priors.Transformer(16, 1, 2, condition=label),
    ).eval()
    x, zero, one = rows(5), torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    assert vq.condition is label
    assert not torch.equal(vq.vectors(x, zero), vq.vectors(x, one))
    assert not torch.equal(evaluation.elbo(vq, x, zero).elbo, evaluation.elbo(vq, x, one).elbo)
    assert evaluation.sample_means(vq, 5, one).shape == (5, *SHAPE)
    with pytest.raises(ValueError, match="y is missing"):
        evaluation.elbo(vq, x)


def test_the_loss_is_the_likelihoods():
    with pytest.raises(ValueError, match="loss is 'mse', but VQVAE has a likelihood"):
        Reconstruction(tiny(), "mse")


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (torch.full((2, 2, 2), 6), "whole numbers from 0 to 5, not 6"),
        (torch.full((2, 2, 2), -1), "whole numbers from 0 to 5, not -1"),
        (torch.full((2, 2, 2), 0.5), "whole numbers from 0 to 5, not 0.5"),
        (torch.zeros(2, 3, dtype=torch.long), r"shape \(..., 2, 2\), not \(2, 3\)"),
    ],
)
def test_codes_that_cannot_be_are_refused(codes, words):
    with pytest.raises(ValueError, match=words):
        tiny().decode(codes)


def test_networks_that_do_not_fit_are_refused():
    encoder, quantizer = networks.Conv(SHAPE, [5], flatten=False), quantizers.VectorQuantizer(6, 3)
    with pytest.raises(ValueError, match=r"takes \(4, 2, 2\), but the quantizer's vectors have 3 entries"):
        models.VQVAE(encoder, quantizer, likelihoods.Bernoulli(networks.ConvTranspose((4, 2, 2), [5], SHAPE), SHAPE))
    likelihood = likelihoods.Bernoulli(networks.ConvTranspose((3, 4, 4), [5], (1, 8, 8)), (1, 8, 8))
    with pytest.raises(ValueError, match=r"encoder takes \(1, 4, 4\), but the likelihood's data is \(1, 8, 8\)"):
        models.VQVAE(encoder, quantizer, likelihood)
    with pytest.raises(TypeError, match="quantizer must be one of ppl_vae.quantizers"):
        models.VQVAE(encoder, torch.nn.Identity(), likelihood)
    with pytest.raises(ValueError, match="PixelCNN"):
        flat(code_priors.PixelCNN())


def test_evaluate_gives_bits_of_the_bound():
    vq, x = tiny(), rows(64)
    fit(Reconstruction(vq), x, epochs=1, batch_size=16, progress=False)
    found = evaluation.evaluate(vq, x, train=x)
    terms = evaluation.elbo(vq, x)
    assert found["elbo"] == pytest.approx(terms.elbo.mean().item(), rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / 16 / 0.6931471805599453, rel=1e-5)
    assert found["kl"] == pytest.approx(terms.kl.mean().item(), rel=1e-5)
    usage = evaluation.code_usage(vq, x)
    assert found["code_perplexity"] == pytest.approx(usage.perplexity) and 1 <= usage.perplexity <= usage.used <= 6
    assert "gain" in found
