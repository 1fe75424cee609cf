"""TensorBoard and MLflow as callbacks: what they are handed, and that a run that goes on goes on there."""

import sys
import types

import pytest
import torch
from training.fixtures import TwoStage

from ppl_vae import SVI, VAE, Reconstruction, fit, likelihoods, models, networks, priors
from ppl_vae.training import MLflow, TensorBoard
from ppl_vae.training.loggers import pictures

SHAPE = (1, 8, 8)
X = (torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(3)) > 0.5).float()


def vae():
    torch.manual_seed(0)
    return VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), SHAPE))


def run(callbacks=(), objective=None, x=X, **more):
    return fit(
        objective or SVI(vae()), x, x[:8], **{"epochs": 3, "batch_size": 16} | more, progress=False, callbacks=callbacks
    )


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {"images": 0, "scalars": 0})
    found.Reload()
    scalars = {name: {e.step: e.value for e in found.Scalars(name)} for name in found.Tags()["scalars"]}
    return scalars, {name: found.Images(name) for name in found.Tags()["images"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_number_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    history = run(out=tmp_path / "run", tensorboard=True, callback=lambda row: row.update(test={"gap": row["epoch"]}))
    scalars, images = events(tmp_path / "run" / "tensorboard")
    for name, part in (("valid/elbo", "valid"), ("train/elbo", "train")):
        expected = {row["step"]: row[part]["elbo"] for row in history.rows}
        assert scalars[name] == pytest.approx(expected, rel=1e-6)
    assert scalars["test/gap"] == {3: 1.0, 6: 2.0, 9: 3.0} and scalars["beta"][9] == 1.0
    assert images.keys() == {"pictures/reconstructions", "pictures/samples"}
    first = images["pictures/reconstructions"][0]
    # Eight pictures of validation of 8 by 8 with 2 pixels between them, above their reconstructions.
    assert (first.step, first.height, first.width) == (3, 22, 82)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_goes_on_after_all_stages_and_repeats_no_step(tmp_path):
    pytest.importorskip("tensorboard")
    x = X.flatten(1)[:, :16]
    torch.manual_seed(0)
    for epochs in (1, 2):  # the stage "data" has 2 epochs of 3 steps
        run([TensorBoard(tmp_path / "events")], TwoStage(), x, epochs=epochs, out=tmp_path / "run", resume=True)
    scalars, images = events(tmp_path / "events")
    assert [*scalars["data/valid/loss"]] == [3, 6] and [*scalars["valid/loss"]] == [9, 12]
    assert not images


def test_tensorboard_without_a_folder_is_refused():
    pytest.importorskip("tensorboard")
    with pytest.raises(ValueError, match="give fit out="):
        run([TensorBoard()])


@pytest.mark.parametrize(("made", "module"), [(TensorBoard, "torch.utils.tensorboard"), (MLflow, "mlflow")])
def test_a_logger_that_is_not_installed_is_said_in_one_sentence(made, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    name = made.__name__.lower()
    with pytest.raises(ValueError, match=rf"^{name} is not installed; pip install 'ppl_vae\[{name}\]'$"):
        made()


# Pictures


def test_pictures_are_the_models_own():
    model, x = vae().eval(), X[:3]
    grid = pictures(model, x)["reconstructions"]
    decoded = model.decode(model.encode(x))
    assert torch.equal(grid[:, 2:10, 12:20], x[1].expand(3, 8, 8))
    torch.testing.assert_close(grid[:, 12:20, 22:30], decoded[2].detach().expand(3, 8, 8))


def test_pictures_of_data_beyond_one_fill_the_range():
    x = torch.stack([torch.zeros(SHAPE), torch.full(SHAPE, 4.0)])
    model = models.Autoencoder(networks.MLP(SHAPE, [8]), networks.MLP(2, [8]), 2, SHAPE).eval()
    grid = pictures(model, x)
    assert grid.keys() == {"reconstructions"}, "an autoencoder has no prior"
    assert grid["reconstructions"][0, 4, 14] == 1 and grid["reconstructions"][0, 4, 4] == 0


def test_pictures_of_a_conditional_model_have_its_labels():
    condition = networks.Label(3)
    model = VAE(
        priors.Normal(2),
        likelihood=likelihoods.Bernoulli(networks.Conditioned(networks.MLP(2 + 3, [8]), condition), SHAPE),
    ).eval()
    seen = []
    decode = model.decode
    model.decode = lambda z, y=None, like=None: seen.append(y.tolist()) or decode(z, y, like=like)
    assert pictures(model, X[:4], torch.tensor([0, 1, 2, 0])).keys() == {"reconstructions", "samples"}
    assert seen == [[0, 1, 2, 0]] * 2


def test_models_of_other_data_give_no_pictures():
    model = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
    assert pictures(model, torch.rand(4, 6)) == {}
    assert pictures(torch.nn.Linear(6, 6), torch.rand(4, 6)) == {}


# MLflow, by a stand-in with its names


class Stub(types.ModuleType):
    """MLflow's fluent interface: one active run, whose parameters cannot change."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.now, self.said = {}, None, []

    def active_run(self):
        return self.now

    def set_tracking_uri(self, uri):
        self.said.append(uri)

    def set_experiment(self, name):
        self.said.append(name)

    def start_run(self, run_id=None, run_name=None):
        assert self.now is None
        run_id = run_id or f"id{len(self.runs)}"
        fresh = {"name": run_name, "params": {}, "metrics": {}, "artifacts": [], "status": "RUNNING"}
        self.runs.setdefault(run_id, fresh)
        self.now = types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))
        return self.now

    @property
    def held(self):
        return self.runs[self.now.info.run_id]

    def log_params(self, params):
        assert len(params) <= 100 and all(self.held["params"].get(k, v) == v for k, v in params.items())
        self.held["params"].update(params)

    def log_metrics(self, metrics, step):
        for name, value in metrics.items():
            assert isinstance(value, float)
            self.held["metrics"].setdefault(name, {})[step] = value

    def log_artifacts(self, path):
        self.held["artifacts"].append(path)

    def end_run(self, status):
        self.held["status"], self.now = status, None


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", Stub())
    return sys.modules["mlflow"]


def test_mlflow_gets_settings_rows_and_the_folder(stub, tmp_path):
    history = run([MLflow("digits", uri="file:here")], out=tmp_path / "first", lr=0.02)
    (held,) = stub.runs.values()
    assert stub.said == ["file:here", "digits"] and held["name"] == "first"
    assert held["params"]["training.lr"] == "0.02" and "model.prior.dim" in {*held["params"]}
    expected = {i: row["valid"]["elbo"] for i, row in enumerate(history.rows, 1)}
    assert held["metrics"]["valid/elbo"] == expected
    assert held["artifacts"] == [str(tmp_path / "first")] and held["status"] == "FINISHED"


def test_mlflow_goes_on_with_a_run_that_goes_on(stub, tmp_path):
    for epochs in (1, 3):
        run([MLflow()], out=tmp_path / "run", epochs=epochs, resume=True)
    (held,) = stub.runs.values()
    assert [*held["metrics"]["train/loss"]] == [1, 2, 3]


def test_mlflow_leaves_the_callers_run_open(stub):
    stub.start_run(run_name="mine")
    run([MLflow()], Reconstruction(models.Autoencoder(networks.MLP(SHAPE, [8]), networks.MLP(2, [8]), 2, SHAPE)))
    (held,) = stub.runs.values()
    assert held["name"] == "mine" and held["status"] == "RUNNING" and len(held["metrics"]["valid/loss"]) == 3
    assert held["artifacts"] == []


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (LookupError, "FAILED")])
def test_mlflow_says_how_a_run_ended(stub, error, status):
    def fail(row):
        raise error

    with pytest.raises(error):
        run([MLflow(), fail])
    (held,) = stub.runs.values()
    assert held["status"] == status
