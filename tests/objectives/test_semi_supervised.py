"""The objective of semi-supervised models: labelled rows in every step, and runs that are captured and resumed."""

import math

import pytest
import torch

from ppl_vae import data, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.data import Split, hide_labels
from ppl_vae.objectives import SemiSupervised
from ppl_vae.training.capture import Captured


def model(shape=4, classes=3):
    label = networks.Label(classes)
    torch.manual_seed(1)
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    return models.SemiSupervisedVAE(
        priors.Normal(2),
        posteriors.Normal(networks.Conditioned(networks.MLP(size + classes, [6]), label, shape), 2),
        likelihoods.Bernoulli(networks.Conditioned(networks.MLP(2 + classes, [6]), label), shape),
        networks.MLP(shape, [6]),
    )


def grey(n=40, known=2):
    """Rows to binarize, of which the first ``known`` have a label."""
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(5))
    y = torch.where(torch.arange(n) < known, torch.arange(n) % 3, -1)
    return Split(x, y, binarize="dynamic")


def attached(split, **how):
    objective = SemiSupervised(model(), **how).train()
    objective.attach(split)
    return objective


def test_steps_draw_labelled_rows_binarized_anew():
    split, objective = grey(), attached(grey(), labelled=4000)
    assert torch.equal(objective.rows, split.x[:2]) and objective.labels.tolist() == [0, 1]
    x, y = objective._draw()
    assert set(x.unique().tolist()) == {0.0, 1.0}
    for label in (0, 1):
        share = x[y == label].mean(0)  # of about 2,000 draws: standard error at most 0.011
        torch.testing.assert_close(share, split.x[label], atol=0.05, rtol=0)


def test_the_term_is_the_mean_of_minus_log_q_over_what_is_drawn():
    split = Split(torch.eye(4).repeat(10, 1), torch.where(torch.arange(40) == 3, 2, -1))
    objective = attached(split, classification=7.0)
    x, y = split.take(slice(8, 16))
    loss = objective(x, y)
    expected = -objective.model.classify(split.x[3:4])[0, 2]  # there is one labelled row, and no noise
    torch.testing.assert_close(loss.terms["classification"], expected)
    torch.testing.assert_close(loss.value, -loss.terms["elbo"].mean() + 7.0 * expected)


@pytest.mark.parametrize("known", [0, 20, 40])
def test_where_half_of_the_rows_have_a_label_or_none_has_the_batch_is_enough(known):
    objective = attached(grey(known=known))
    assert not len(objective.rows)
    x, y = grey().x.round(), torch.tensor([1, -1] * 20)
    log_q = objective.model.classify(x[::2])[:, 1]
    torch.testing.assert_close(objective(x, y).terms["classification"], -log_q.mean())
    assert objective(x, torch.full((40,), -1)).terms["classification"] == 0


def test_validation_never_reads_y():
    objective, x = attached(grey()).eval(), grey().x.round()
    a, b = (torch.manual_seed(0) and objective(x, torch.full((40,), y)) for y in (-1, 2))
    assert torch.equal(a.value, b.value) and "classification" not in a.terms


def test_captured_steps_have_the_bits_of_eager_ones():
    objective, (x, y) = attached(grey(), labelled=5), grey().resolve(None).take(slice(0, 8))
    torch.manual_seed(4)
    eager = objective(x, y)
    grads = torch.autograd.grad(eager.value, [*objective.parameters()])
    step = Captured(objective, (x, y), compiled=False)
    torch.manual_seed(4)
    found = step((x, y))
    assert torch.equal(found.value, eager.value)
    assert torch.equal(found.terms["classification"], eager.terms["classification"])
    assert all(torch.equal(p.grad, grad) for p, grad in zip(objective.parameters(), grads, strict=True))


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(tmp_path):
    train = hide_labels(data.load("digits", binarize="dynamic").train, 20)

    def run(epochs, out, resume=False):
        objective = SemiSupervised(model((1, 8, 8), 10), labelled=8)
        how = {"batch_size": 400, "progress": False, "compile": False, "out": out, "resume": resume}
        fit(objective, train, epochs=epochs, **how)
        return objective.model.state_dict()

    whole = run(2, tmp_path / "whole")
    run(1, tmp_path / "cut")
    resumed = run(2, tmp_path / "cut", resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_the_labelled_rows_are_no_part_of_the_weights():
    objective = attached(grey())
    assert not {"rows", "labels"} & objective.state_dict().keys()


def test_refused():
    for bad, message in ((-1.0, "classification must be a finite number of at least 0, not -1"), (math.nan, "not nan")):
        with pytest.raises(ValueError, match=message):
            SemiSupervised(model(), classification=bad)
    with pytest.raises(ValueError, match="labelled must be a whole number of at least 1, not 0"):
        SemiSupervised(model(), labelled=0)
