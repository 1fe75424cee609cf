"""A study of three trials with Optuna: a callback reports every epoch, and hopeless trials are pruned.

pip install optuna
python examples/optuna_study.py
"""

import optuna
import torch

from ppl_vae import SVI, VAE, data, fit, likelihoods, networks, posteriors, priors, training

digits = data.load("digits", binarize="dynamic")


class Prune(training.Callback):
    """Reports the validation ELBO to a trial; raises what Optuna expects of a trial that it gives up."""

    def __init__(self, trial):
        self.trial = trial

    def epoch(self, row, model):
        self.trial.report(row["valid"]["elbo"], row["epoch"])
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"after epoch {row['epoch']}")


def trained(trial):
    """Validation ELBO, in nats per example, of one choice of settings."""
    dim = trial.suggest_int("latent_dim", 2, 16)
    lr = trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    torch.manual_seed(0)
    vae = VAE(
        prior=priors.Normal(dim),
        posterior=posteriors.Normal(networks.MLP(digits.shape, [128]), dim),
        likelihood=likelihoods.Bernoulli(networks.MLP(dim, [128]), digits.shape),
    )
    history = fit(
        SVI(vae), digits.train, digits.valid, epochs=15, batch_size=64, lr=lr, progress=False, callbacks=[Prune(trial)]
    )
    return history.rows[-1]["valid"]["elbo"]


study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.RandomSampler(seed=1),  # TPESampler, the default, pays from about ten trials on
    pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=3),
)
study.optimize(trained, n_trials=3)

for trial in study.trials:
    epochs = len(trial.intermediate_values)
    print(f"trial {trial.number}: {trial.state.name.lower()} after {epochs} epochs, {trial.params}")
print(f"best: {study.best_value:.2f} nats per example with {study.best_params}")
