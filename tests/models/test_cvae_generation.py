"""A CVAE draws the digit that it is asked for, as a classifier that never saw its pictures judges."""

import torch
from sklearn.svm import SVC

from ppl_vae import SVI, data, evaluation, fit, likelihoods, models, networks, posteriors, priors

MOST_WRONG = 0.05


def test_generated_digits_are_of_the_class_that_was_asked_for():
    torch.manual_seed(0)
    grey = data.load("digits", binarize="none")
    label, shape = networks.Label(10), tuple(grey.shape)
    cvae = models.CVAE(
        priors.Normal(16),
        posteriors.Normal(networks.Conditioned.around(networks.MLP, label, shape, [200, 200]), 16),
        likelihoods.Bernoulli(networks.Conditioned(networks.MLP(16 + 10, [200, 200]), label), shape),
    )
    fit(SVI(cvae), data.load("digits").train, epochs=60, progress=False)
    judge = SVC(C=10).fit(grey.train.x.flatten(1), grey.train.y)
    assert judge.score(grey.test.x.flatten(1), grey.test.y) > 0.97
    asked = torch.arange(10).repeat_interleave(50)
    drawn = torch.from_numpy(judge.predict(evaluation.sample_means(cvae, len(asked), asked).flatten(1)))
    assert (drawn == asked).float().mean() > 1 - MOST_WRONG
    swapped = evaluation.sample_means(cvae, len(asked), asked.roll(50))
    assert (torch.from_numpy(judge.predict(swapped.flatten(1))) == asked).float().mean() < MOST_WRONG
