"""A semi-supervised VAE (M2, Kingma et al. 2014): digits of which 100 have a label.

The label y is a site of the model: known of some examples, summed over for the others. Every step also draws some of
the labelled digits for the classification term.

python examples/semi_supervised.py
"""

import torch
from sklearn.linear_model import LogisticRegression

from ppl_vae import data, evaluation, fit, likelihoods, models, networks, objectives, posteriors, priors

LABELLED, DIM = 100, 8


def main(epochs=60):
    digits = data.load("digits", binarize="dynamic")
    train = data.hide_labels(digits.train, LABELLED, seed=0)
    label, shape = networks.Label(10), tuple(digits.shape)
    torch.manual_seed(0)
    m2 = models.SemiSupervisedVAE(
        prior=priors.Normal(DIM),
        posterior=posteriors.Normal(networks.Conditioned(networks.MLP(64 + 10, [128]), label, shape), DIM),
        likelihood=likelihoods.Bernoulli(networks.Conditioned(networks.MLP(DIM + 10, [128]), label), shape),
        classifier=networks.MLP(shape, [128]),
    )
    fit(objectives.SemiSupervised(m2), train, digits.valid, epochs=epochs, lr=2e-3, progress=False)

    known = train.y >= 0
    (x, y), (x_test, y_test) = train.take(known), digits.test.take(slice(None))
    alone = LogisticRegression(max_iter=1000).fit(x.flatten(1), y).score(x_test.flatten(1), y_test)
    right = (evaluation.predict(m2, x_test).argmax(-1) == y_test).float().mean()
    print(f"{LABELLED} labelled digits and {len(train) - LABELLED} without; accuracy on {len(y_test)} others:")
    print(f"  logistic regression on the labelled  {alone:.3f}")
    print(f"  M2 on all                            {right:.3f}")
    print("log p(x) without the label:", evaluation.log_likelihood(m2, x_test, num_particles=200))
    print("a drawn 3 and 7:", tuple(m2.model(y=torch.tensor([3, 7])).shape))


if __name__ == "__main__":
    main()
