"""M1 (Kingma et al. 2014): features of a VAE of all digits make a classifier of few labelled ones better.

A VAE is trained on all digits without their labels; a classifier of its codes is then fitted to the 100 digits that
have one, and the same classifier to their pixels.

python examples/m1_features.py
"""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from ppl_vae import SVI, VAE, data, evaluation, fit, handlers, likelihoods, networks, posteriors, priors

LABELLED, DIM = 100, 16


def main(epochs=80):
    digits = data.load("digits", binarize="dynamic")
    shape = tuple(digits.shape)
    torch.manual_seed(0)
    m1 = VAE(
        prior=priors.Normal(DIM),
        posterior=posteriors.Normal(networks.MLP(shape, [128]), DIM),
        likelihood=likelihoods.Bernoulli(networks.MLP(DIM, [128]), shape),
    )
    warm_up = handlers.Linear(steps=300)
    fit(SVI(m1, beta=warm_up), digits.train, digits.valid, epochs=epochs, lr=2e-3, progress=False)

    known = data.hide_labels(digits.train, LABELLED, seed=0).y >= 0
    (x, y), (x_test, y_test) = digits.train.take(known), digits.test.take(slice(None))
    print(f"{LABELLED} labelled digits, accuracy on {len(y_test)} others:   of pixels   of codes")
    codes, codes_test = (evaluation.codes(m1, rows) for rows in (x, x_test))
    for name, classifier in (("logistic regression", LogisticRegression(max_iter=2000)), ("support vectors", SVC())):
        pixels = classifier.fit(x.flatten(1), y).score(x_test.flatten(1), y_test)
        features = classifier.fit(codes, y).score(codes_test, y_test)
        print(f"  {name:42s} {pixels:9.3f} {features:10.3f}")


if __name__ == "__main__":
    main()
