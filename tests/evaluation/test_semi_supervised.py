"""Evaluation of a model with labels that are partly known: an unknown label is never read as a label."""

import pandas as pd
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import VAE, data, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation.generation import labels_for
from ppl_vae.evaluation.imputation import _labels
from ppl_vae.trained import Trained

CLASSES, SHAPE = 3, 6


def m2(seed=1, wide=3.0):
    """Untrained, with weights large enough that codes and labels matter."""
    torch.manual_seed(seed)
    label = networks.Label(CLASSES)
    model = models.SemiSupervisedVAE(
        priors.Normal(2),
        posteriors.Normal(networks.Conditioned(networks.MLP(SHAPE + CLASSES, [8]), label), 2),
        likelihoods.Bernoulli(networks.Conditioned(networks.MLP(2 + CLASSES, [8]), label), SHAPE),
        networks.MLP(SHAPE, [8]),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(wide)
    return model.eval()


@pytest.fixture
def x():
    return torch.rand(40, SHAPE, generator=torch.Generator().manual_seed(7)).round()


def test_pictures_of_an_example_take_its_most_probable_label(x):
    model = m2()
    best = evaluation.predict(model, x).argmax(1)
    assert len(best.unique()) > 1
    means = evaluation.reconstruct(model, x)
    assert torch.equal(means, evaluation.reconstruct(model, x, best))
    line = evaluation.interpolate(model, x[:20], x[20:], steps=3)
    assert torch.allclose(line[:, 0], means[:20], atol=1e-6)
    partly = torch.where(torch.arange(20) % 2 == 0, best[:20], -1)
    again = evaluation.interpolate(model, x[:20], x[20:], y=partly, y1=best[20:], steps=3)
    assert torch.allclose(again, line, atol=1e-6)
    walk, z = evaluation.traverse(model, x, dims=[0], values=[0.5]), evaluation.codes(model, x)[0].clone()
    z[0] = 0.5
    assert torch.allclose(walk[0, 0], evaluation.decode(model, z[None], best[:1])[0], atol=1e-6)


def test_new_examples_have_labels_drawn_of_p_y():
    model, n = m2(), 3000
    model.frequency.copy_(torch.tensor([0.6, 0.3, 0.1]))
    y = labels_for(model, n)
    share = torch.bincount(y, minlength=CLASSES) / n
    spread = (model.frequency * (1 - model.frequency) / n).sqrt()
    assert ((share - model.frequency).abs() < 4 * spread).all()
    assert torch.equal(evaluation.sample_means(model, n), evaluation.sample_means(model, n, y))


@pytest.mark.parametrize("function", ["decode", "sample_means", "random_codes"])
def test_data_are_not_drawn_for_an_unknown_label(function):
    model, y = m2(), torch.tensor([0, -1])
    with pytest.raises(ValueError, match="y holds the label -1 in row 1"):
        getattr(evaluation, function)(model, torch.zeros(2, 2) if function == "decode" else 2, y)


def test_kl_by_dimension_is_that_at_the_most_probable_label(x):
    model = m2()
    best = evaluation.predict(model, x).argmax(1)
    inner = evaluation.kl_by_dimension(model.conditional, x, best)
    assert torch.equal(evaluation.kl_by_dimension(model, x), inner)
    assert not torch.allclose(inner, evaluation.kl_by_dimension(model, x, (best + 1) % CLASSES))


def test_the_kl_of_the_label_is_a_part_of_the_kl(x):
    model = m2()
    found = evaluation.evaluate(model, (x, torch.zeros(40).long()), num_particles=5)
    q = evaluation.predict(model, x)
    exact = torch.distributions.kl_divergence(
        torch.distributions.Categorical(q), torch.distributions.Categorical(model.frequency)
    )
    assert found["label_kl"] == pytest.approx(exact.mean().item(), rel=1e-5)
    codes = 0.0
    with torch.no_grad():
        for label in range(CLASSES):
            y = torch.full((40,), label)
            each = torch.distributions.kl_divergence(model.posterior(x, y), model.prior(y).expand((40,)))
            codes += (q[:, label] * each).mean().item()
    # The ELBO draws y, so its KL is a mean over 40 labels; the sum over labels is exact.
    many = evaluation.elbo(model, x, num_particles=400).kl.mean().item()
    assert many == pytest.approx(codes + found["label_kl"], rel=0.02)


def test_figures_of_labelled_data_are_those_of_unlabelled_data(x):
    model, train = m2(), torch.ones(30, SHAPE)
    asked = {"num_particles": 5, "train": train}
    told = evaluation.evaluate(model, (x, torch.zeros(40).long()), **asked)
    told.pop("accuracy")
    assert told == pytest.approx(evaluation.evaluate(model, x, **asked), nan_ok=True)


def test_collapse_is_judged_without_the_label():
    kept = {"kl": 2.6, "gain": 3.0, "gain_stderr": 0.1}
    assert evaluation.verdict(kept, model=m2()) == []
    found = evaluation.verdict(kept | {"label_kl": 2.2}, model=m2())
    assert [v.name for v in found] == ["collapsed"] and "0.40 nats of information beside the predicted" in str(found[0])
    assert evaluation.verdict(kept | {"label_kl": 1.5}, model=m2()) == []


def test_without_a_code_there_is_no_label_either(x):
    """Of Bernoulli entries: the mean of each over all training rows, whatever their label."""
    y = torch.arange(40) % (CLASSES + 1) - 1
    found = evaluation.Baseline(m2(), (x, y)).log_prob(x)
    mean = x.double().mean(0)
    exact = (x * mean.log() + (1 - x) * (1 - mean).log()).sum(1)
    assert found.double().mean().item() == pytest.approx(exact.mean().item(), abs=2e-3)  # where L-BFGS stops


def test_labels_of_imputed_rows_are_drawn_where_they_are_unknown(x):
    model, count = m2(wide=2.0), 4000
    y = torch.where(torch.arange(40) < 20, torch.arange(40) % CLASSES, -1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        drawn, log_weight = _labels(model, x, y, count)
    assert torch.equal(drawn[:, :20], y[:20].expand(count, -1)) and (log_weight[:, :20] == 0).all()
    q = evaluation.predict(model, x)[20:]
    share = torch.nn.functional.one_hot(drawn[:, 20:], CLASSES).double().mean(0)
    assert ((share - q).abs() <= 5 * (q * (1 - q) / count).sqrt() + 1e-9).all()
    exact = (model.frequency.log() - q.log()).gather(1, drawn[0, 20:, None])[:, 0]
    assert torch.allclose(log_weight[0, 20:], exact, atol=1e-4)


def test_a_hidden_entry_is_filled_in_by_the_label():
    """A model whose entries are its label, one-hot twice: the classifier sees one copy, the other is missing."""
    model = m2()
    rows = torch.eye(CLASSES).repeat(1, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.classify = lambda x: (20 * x.nan_to_num()[..., :CLASSES]).log_softmax(-1)
    model.conditional.likelihood.forward = lambda z, y=None: dist.Bernoulli(0.01 + 0.98 * rows[y]).to_event(1)
    hidden = rows.clone()
    hidden[:, CLASSES:] = torch.nan
    assert torch.equal(evaluation.inpaint(model, hidden, num_samples=20).x, rows)


def test_the_predictor_and_the_decoder_are_written_to_files(tmp_path, x):
    model = m2()
    made = model.export(tmp_path / "predictor.pt2", "predictor")
    assert (made.inputs, made.output) == (("x",), "y")
    assert torch.allclose(torch.export.load(made.path).module()(x), evaluation.predict(model, x), atol=1e-5)
    made, y = model.export(tmp_path / "decoder.pt2", "decoder", x=x), torch.arange(40) % CLASSES
    assert made.inputs == ("z", "y")
    z = evaluation.codes(model, x)
    assert torch.allclose(torch.export.load(made.path).module()(z, y), evaluation.decode(model, z, y), atol=1e-5)
    made = model.export(tmp_path / "encoder.pt2")
    assert made.inputs == ("x",) and torch.allclose(torch.export.load(made.path).module()(x), z, atol=1e-5)
    plain = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [4]), SHAPE))
    with pytest.raises(ValueError, match="VAE predicts nothing"):
        plain.export(tmp_path / "none.pt2", "predictor")


def test_a_run_predicts_rows_and_does_not_look_at_their_labels(x):
    names = [f"c{i}" for i in range(SHAPE)]
    coding = data.TableCoding(tuple(names), labels="kind", classes=("a", "b", "c"))
    run, frame = Trained(m2(), coding), pd.DataFrame(x.numpy(), columns=names)
    found = run.predict(frame)
    assert list(found) == ["predicted", "p a", "p b", "p c"]
    q = evaluation.predict(run.model, x)
    assert torch.allclose(torch.tensor(found.iloc[:, 1:].to_numpy()).float(), q, atol=1e-6)
    assert found["predicted"].tolist() == ["abc"[i] for i in q.argmax(1)]
    labelled = frame.assign(kind="b")
    assert torch.equal(run.log_likelihood(labelled).value, run.log_likelihood(frame).value)
    assert run.encode(labelled).equals(run.encode(frame)) and run.predict(labelled).equals(found)
    given = run.log_likelihood(frame, y="b").value
    assert not torch.allclose(given, run.log_likelihood(frame).value)
    with pytest.raises(TypeError, match="assign needs a models.Clustering"):
        run.assign(frame)


def stacked(seed=3):
    torch.manual_seed(seed)
    m1 = VAE(priors.Normal(4), likelihood=likelihoods.Bernoulli(networks.MLP(4, [8]), SHAPE))
    decoder = networks.Conditioned(networks.MLP(2 + CLASSES, [8]), networks.Label(CLASSES))
    return models.StackedSemiSupervisedVAE(m1, priors.Normal(2), likelihood=likelihoods.Normal(decoder, 4)).eval()


def test_figures_of_a_stacked_model_are_of_x_not_of_its_features(x):
    model, y = stacked(), torch.arange(40) % CLASSES
    assert evaluation.kl_by_dimension(model, x).shape == (2,)
    draws = evaluation.sample_draws(model, 4000, torch.full((4000,), 2))
    assert draws.shape == (4000, SHAPE) and ((draws == 0) | (draws == 1)).all()
    z = priors.Normal(2)().sample((4000,))
    h = model.conditional.likelihood(z, torch.full((4000,), 2)).sample()
    share = model.features.likelihood(h).mean
    spread = (2 * share.mean(0) * (1 - share.mean(0)) / 4000).sqrt()
    assert ((draws.mean(0) - share.mean(0)).abs() < 4.5 * spread).all()
    found = evaluation.evaluate(model, (x, y), train=(x, y), num_particles=20)
    alone = evaluation.Baseline(model.features, x).log_prob(x)
    assert found["baseline_log_likelihood"] == pytest.approx(alone.double().mean().item(), abs=1e-4)
    assert found["log_likelihood_kind"] == "mass" and found["bits_per_dim"] > 0
    with pytest.raises(TypeError, match="inpaint takes any"):
        evaluation.impute(model, x)
    gaps = torch.where(torch.arange(SHAPE) == 1, torch.nan, x)
    assert torch.equal(evaluation.inpaint(model, gaps).x[:, 0], x[:, 0])


def test_labels_are_exchanged_only_where_the_decoder_sees_them(x):
    parts = {"likelihood": likelihoods.Bernoulli(networks.MLP(2, [8]), SHAPE)}
    y = torch.zeros(40).long()
    supervised = models.SupervisedVAE(priors.Normal(2), **parts, target=networks.Label(CLASSES))
    mixture = models.MixtureVAE(priors.MixtureOfGaussians(2, components=2), **parts)
    for model in (supervised, mixture, VAE(priors.Normal(2), **parts)):
        with pytest.raises(ValueError, match=f"needs a model of x given y.*not {type(model).__name__}"):
            evaluation.transfer(model, x, y, to=y)
    with pytest.raises(ValueError, match="label -1"):
        evaluation.transfer(m2(), x, y, to=y - 1)


def test_probes_leave_out_unknown_labels(x):
    model = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), SHAPE))
    y = torch.arange(40) % CLASSES - 1
    assert evaluation.leakage(model, (x, y), (x, y)).n == int((y >= 0).sum())
