"""A Pyro program of one's own: the semi-supervised VAE M2 (Kingma et al. 2014), written out, with 100 labelled digits.

``examples/semi_supervised.py`` trains the same model as ``models.SemiSupervisedVAE``.

The label y is observed or latent; a latent y is summed out. One step takes a batch of each kind:

    -ELBO(x, y) - alpha log q(y | x)                  of labelled digits
    -ELBO(x) = -E_q(y | x) [ELBO(x, y) - log q(y | x)]   of the others

where ELBO(x, y) = E_q(z | x, y) [log p(x | y, z) + log p(y) + log p(z) - log q(z | x, y)].

python examples/ss_vae.py
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from sklearn.linear_model import LogisticRegression
from torch import nn

from ppl_vae import SVI, data, estimators, evaluation, models

PIXELS, CLASSES, DIM, LABELLED = 64, 10, 8, 100


def network(size_in, size_out):
    return nn.Sequential(nn.Linear(size_in, 128), nn.ReLU(), nn.Linear(128, size_out))


def join(x, y):
    """x and y concatenated; either may have leading dimensions for particles or values of y."""
    lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    return torch.cat([x.expand(*lead, -1), y.expand(*lead, -1)], -1)


class M2(nn.Module):
    def __init__(self, alpha=10.0):
        super().__init__()
        self.alpha = alpha
        self.encoder_y, self.encoder_z = network(PIXELS, CLASSES), network(PIXELS + CLASSES, 2 * DIM)
        self.decoder = network(DIM + CLASSES, PIXELS)

    def model(self, x, y=None):
        pyro.module("m2", self)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(CLASSES) / CLASSES), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(join(z, y)).sigmoid(), 0.3).to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("m2", self)
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(x)), infer={"enumerate": "parallel"})
            location, log_scale = self.encoder_z(join(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))

    def classify(self, x, y):
        pyro.module("m2", self)
        with pyro.plate("data", len(x)), poutine.scale(scale=self.alpha):
            pyro.sample("y_aux", dist.OneHotCategorical(logits=self.encoder_y(x)), obs=y)


def main(steps=500):
    digits = data.load("digits", binarize="none")
    (x, labels), (x_test, labels_test) = ((part.x.flatten(1), part.y) for part in (digits.train, digits.test))
    x, y, others = x[:LABELLED], nn.functional.one_hot(labels[:LABELLED], CLASSES).float(), x[LABELLED:]
    torch.manual_seed(0)
    m2 = M2()
    program = models.Program(m2.model, m2.guide)
    labelled = SVI(program, estimators.MeanFieldELBO())
    unlabelled = SVI(program, estimators.Enum())
    classifier = SVI(models.Program(m2.classify, lambda x, y: None), estimators.TraceELBO())
    optimizer = torch.optim.Adam(m2.parameters(), lr=5e-3)
    for _ in range(steps):
        some, more = torch.randint(LABELLED, (50,)), torch.randint(len(others), (50,))
        loss = labelled(x[some], y[some]).value + classifier(x[some], y[some]).value + unlabelled(others[more]).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (m2.encoder_y(x_test).argmax(-1) == labels_test).float().mean()
    alone = LogisticRegression(max_iter=1000).fit(x, labels[:LABELLED]).score(x_test, labels_test)
    print(f"{LABELLED} labelled digits and {len(others)} without a label; accuracy on {len(x_test)} others:")
    print(f"  logistic regression on the labelled  {alone:.3f}")
    print(f"  M2 on all                            {right:.3f}")
    print("their density without the label:", evaluation.log_likelihood(program, x_test, num_particles=500))


if __name__ == "__main__":
    main()
