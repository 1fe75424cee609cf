"""Style transfer: y exchanged while z stays; and classes that no training example had."""

import pytest
import torch

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, models, networks, priors
from ppl_vae.networks import MLP, Conditioned, Label

X = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)).round()
Y = torch.tensor([0, 2, 1, 2, 0])


def cvae(classes=3):
    torch.manual_seed(0)
    return models.CVAE(
        priors.Normal(2), likelihood=likelihoods.Bernoulli(Conditioned(MLP(2 + classes, [5]), Label(classes)), 6)
    )


def test_codes_are_of_y_and_pictures_of_the_other():
    model, to = cvae(), torch.tensor([1, 1, 0, 0, 0])
    made = evaluation.transfer(model, X, Y, to=to)
    assert torch.allclose(made, model.decode(model.encode(X, Y), to))
    assert torch.allclose(evaluation.transfer(model, X, Y, to=Y), evaluation.reconstruct(model, X, Y))
    assert not torch.allclose(made, model.decode(model.encode(X, to), to))


@pytest.mark.parametrize(
    ("y", "to", "match"),
    [
        (Y, torch.tensor([3] * 5), "label 3 in row 0, but Label.3. takes 0 to 2"),
        (Y, Y[:4], "shape .5,., not of shape .4,."),
        (Y.reshape(5, 1), Y, "shape .5,., not of shape .5, 1."),
        (None, Y, "y is missing"),
        (Y, None, "y is missing"),
    ],
)
def test_refused(y, to, match):
    with pytest.raises(ValueError, match=match):
        evaluation.transfer(cvae(), X, y, to=to)


def test_a_model_without_y_is_refused():
    with pytest.raises(ValueError, match="transfer needs a model of x given y"):
        evaluation.transfer(VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(MLP(2), 6)), X, Y, to=Y)


def test_a_class_that_no_training_example_had_is_refused():
    model = cvae(4)
    assert evaluation.sample_means(model, 1, torch.tensor([3])).shape == (1, 6)  # before any training
    before = {name: value for name, value in model.state_dict().items() if not name.endswith("seen")}
    fit(SVI(model), (X, Y), epochs=1, progress=False)
    message = r"label 3 in row 1, which no training example has.*one of \[0, 1, 2\]"
    for make in (evaluation.sample_means, evaluation.sample_draws, evaluation.random_codes):
        assert len(make(model, 2, torch.tensor([2, 0]))) == 2
        with pytest.raises(ValueError, match=message):
            make(model, 2, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=message):
        evaluation.transfer(model, X, Y, to=torch.tensor([0, 3, 0, 0, 0]))
    assert evaluation.log_likelihood(model, X, torch.tensor([3] * 5), num_particles=2).value.isfinite().all()
    again = cvae(4)
    again.load_state_dict(model.state_dict())
    assert again.condition.seen.tolist() == [True, True, True, False]
    model.load_state_dict(before)  # weights of a time before it was kept


def test_unknown_labels_are_no_class():
    label = Label(3)
    label.start(data.as_split((X, torch.tensor([0, -1, 0, -1, 2]))))
    assert label.seen.tolist() == [True, False, True]
    label.check_seen(torch.tensor([-1, 0, 2]))


@pytest.mark.slow
def test_what_is_drawn_for_a_class_is_of_that_class():
    """A probe that was trained on real digits names at least 95 % of the draws as the class that was asked for."""
    from sklearn.linear_model import LogisticRegression

    digits = data.load("digits", binarize="dynamic")
    torch.manual_seed(0)
    label = Label(10)
    model = models.CVAE(
        priors.Normal(8),
        likelihood=likelihoods.Bernoulli(Conditioned(networks.MLP(8 + 10, [200]), label), digits.shape),
    )
    fit(SVI(model), digits.train, epochs=60, lr=2e-3, progress=False)
    y = torch.arange(10).repeat_interleave(50)
    made = evaluation.sample_means(model, 500, y, seed=1)
    probe = LogisticRegression(max_iter=2000).fit(digits.train.x.flatten(1), digits.train.y)
    assert (torch.as_tensor(probe.predict(made.flatten(1))) == y).double().mean() > 0.95
