"""Variational autoencoders of Pyro's examples, made anew from their mathematics and small."""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import infer, poutine
from pyro_programs.harness import Case, Pair, enumerated, joined, mixed, network, nodes, normal, trace_elbo
from torch import nn


def bits(rows, size, seed=3):
    return (torch.rand(rows, size, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


class VAE(nn.Module):
    """z ~ N(0, I), x | z ~ Bernoulli(decoder(z)); Kingma and Welling 2014."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = network(2, 4, 6), network(6, 4, 4)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), x.new_ones(len(x), 2)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", normal(self.encoder(x)))

    def exact(self, x):
        z, weights = nodes(2)
        return mixed(dist.Bernoulli(logits=self.decoder(z)[:, None]).to_event(1).log_prob(x), weights)


class SemiSupervised(nn.Module):
    """M2 of Kingma et al. 2014: y uniform over three classes, z ~ N(0, I), x | y, z ~ Bernoulli."""

    def __init__(self):
        super().__init__()
        self.decoder = network(2 + 3, 4, 6)
        self.classifier, self.encoder = network(6, 4, 3), network(6 + 3, 4, 4)

    def model(self, x, y=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), 3) / 3), obs=y)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(joined(z, y))).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data"):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(x)))
            pyro.sample("z", normal(self.encoder(joined(x, y))))

    def exact(self, x, y=None):
        z, weights = nodes(2)
        labels = torch.eye(3)
        logits = self.decoder(joined(z[:, None], labels))[:, :, None]
        each = mixed(dist.Bernoulli(logits=logits).to_event(1).log_prob(x), weights) + torch.tensor(1 / 3).log()
        return each.logsumexp(0) if y is None else (each * y.T).sum(0)


class Classifier(nn.Module):
    """The classification term beside M2: a program without latent sites, scaled."""

    def __init__(self):
        super().__init__()
        self.classifier = network(6, 4, 3)

    def model(self, x, y):
        pyro.module("classifier", self)
        with pyro.plate("data"), poutine.scale(scale=5.0):
            pyro.sample("y_aux", dist.OneHotCategorical(logits=self.classifier(x)), obs=y)

    def guide(self, x, y):
        pass

    def exact(self, x, y):
        return (self.classifier(x).log_softmax(-1) * y).sum(-1)


class Conditional(nn.Module):
    """p(y | x) of Sohn et al. 2015: x has -1 where the picture is hidden, y is all of it; only the hidden is scored.

    The prior network sees what a trained baseline makes of x.
    """

    def __init__(self, masked=False):
        super().__init__()
        self.baseline, self.prior, self.recognition = network(8, 4, 8), network(16, 4, 4), network(16, 4, 4)
        self.generation, self.masked = network(2, 4, 8), masked

    def _prior(self, x):
        with torch.no_grad():
            guess = self.baseline(x).sigmoid()
        return normal(self.prior(torch.cat([x, torch.where(x == -1, guess, x)], -1)))

    def model(self, x, y=None):
        pyro.module("generation_net", self)
        with pyro.plate("data"):
            z = pyro.sample("z", self._prior(x))
            logits, hidden = self.generation(z), x == -1
            if y is None:
                pyro.deterministic("y", logits.sigmoid().detach())
            elif self.masked:
                pixels = dist.Bernoulli(logits=logits, validate_args=False).mask(hidden).to_event(1)
                pyro.sample("y", pixels, obs=y)
            else:
                logits, y = (t[hidden].view(len(x), -1) for t in (logits, y))
                pyro.sample("y", dist.Bernoulli(logits=logits, validate_args=False).to_event(1), obs=y)

    def guide(self, x, y=None):
        with pyro.plate("data"):
            pyro.sample("z", self._prior(x) if y is None else normal(self.recognition(torch.cat([x, y], -1))))

    def exact(self, x, y):
        eps, weights = nodes(2)
        prior = self._prior(x).base_dist
        logits = self.generation(prior.mean + prior.stddev * eps[:, None])
        log_p = -F.binary_cross_entropy_with_logits(logits, y.float().expand_as(logits), reduction="none")
        return mixed((log_p * (x == -1)).sum(-1), weights)


def quadrants(y):
    """x: the right half of every picture is hidden."""
    return torch.cat([y[:, :4], torch.full_like(y[:, 4:], -1.0)], -1), y


GREY = torch.rand(7, 8, generator=torch.Generator().manual_seed(6))


class ProdLDA(nn.Module):
    """Srivastava and Sutton 2017: softmax of a normal for topics, words ~ Multinomial of batch-normalised logits."""

    words, topics = 6, 2

    def __init__(self, dropout=0.2):
        super().__init__()
        self.beta = nn.Linear(self.topics, self.words, bias=False)
        self.norm = nn.BatchNorm1d(self.words, affine=False)
        self.drop = nn.Dropout(dropout)
        self.hidden = network(self.words, 5)
        self.mean, self.scale = nn.Linear(5, self.topics), nn.Linear(5, self.topics)
        self.mean_norm, self.scale_norm = (nn.BatchNorm1d(self.topics, affine=False) for _ in range(2))
        with torch.no_grad():  # statistics such that a swap of axes shows
            self.norm.running_mean.copy_(torch.linspace(-0.5, 0.5, self.words))
            self.norm.running_var.copy_(torch.linspace(0.3, 2.0, self.words))

    def decoder(self, theta):
        return self.norm(self.beta(self.drop(theta)))

    def model(self, docs):
        pyro.module("prodlda", self)
        with pyro.plate("documents", docs.shape[0]):
            loc = docs.new_zeros((docs.shape[0], self.topics))
            logtheta = pyro.sample("logtheta", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            logits = self.decoder(logtheta.softmax(-1))
            total = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total, logits=logits), obs=docs)

    def guide(self, docs):
        pyro.module("prodlda", self)
        with pyro.plate("documents", docs.shape[0]):
            h = self.drop(F.softplus(self.hidden(docs)))
            loc, log_variance = self.mean_norm(self.mean(h)), self.scale_norm(self.scale(h))
            pyro.sample("logtheta", dist.Normal(loc, (0.5 * log_variance).exp()).to_event(1))

    def exact(self, docs):
        z, weights = nodes(self.topics)
        self.eval()
        log_p = self.decoder(z.softmax(-1)).log_softmax(-1)
        ways = (docs.sum(-1) + 1).lgamma() - (docs + 1).lgamma().sum(-1)
        return mixed((log_p[:, None] * docs).sum(-1), weights) + ways


class ScanVI(nn.Module):
    """Xu et al. 2021: cell state z1 from type y and noise z2, library size l, negative-binomial counts x.

    A classification loss on labelled cells stands in the guide as a factor, whose log-density is subtracted.
    """

    genes, types, alpha, has_rsample = 4, 2, 3.0, True

    def __init__(self, scale_factor=1.0):
        super().__init__()
        self.z1_from, self.x_from = network(1 + 2, 4, 2), network(1, 4, 2 * self.genes)
        self.z1_encoder, self.z2_encoder = network(self.genes, 5, 4), network(1 + 2, 4, 2)
        self.classifier = network(1, 4, self.types)
        self.scale_factor = scale_factor

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        theta = pyro.param("inverse_dispersion", 3.0 * x.new_ones(self.genes), constraint=dist.constraints.positive)
        with pyro.plate("batch", len(x)), poutine.scale(scale=self.scale_factor):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(self.types)), obs=y)
            z1 = pyro.sample("z1", normal(self.z1_from(joined(z2, y))))
            l = pyro.sample("l", dist.LogNormal(x.new_full((1,), 2.0), 0.3).to_event(1))  # noqa: E741
            pyro.sample("x", self._counts(z1, l, theta).to_event(1), obs=x)

    def _counts(self, z1, size, theta):
        share, _ = self.x_from(z1).chunk(2, -1)
        mean = size * share.softmax(-1)
        return dist.NegativeBinomial(total_count=theta, logits=mean.log() - theta.log(), validate_args=False)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=self.scale_factor):
            of_z1, of_l = self.z1_encoder((1 + x).log()).chunk(2, -1)
            pyro.sample("l", dist.LogNormal(2.0 + 0.3 * of_l[..., :1], (0.3 * of_l[..., 1:] - 1).exp()).to_event(1))
            z1 = pyro.sample("z1", normal(of_z1))
            q = dist.OneHotCategorical(logits=self.classifier(z1))
            if y is None:
                y = pyro.sample("y", q)
            else:
                pyro.factor("classification_loss", -self.alpha * q.log_prob(y), has_rsample=self.has_rsample)
            pyro.sample("z2", normal(self.z2_encoder(joined(z1, y))))

    def exact(self, x, y=None):
        theta = 3.0 * torch.ones(self.genes)
        eps, weights = nodes(3, 24)
        z2, e1, e2 = eps.split(1, -1)
        each = []
        for label in torch.eye(self.types):
            q = self.z1_from(joined(z2, label)).chunk(2, -1)
            z1 = q[0] + 1.2 * (0.3 * q[1]).exp() * e1
            counts = self._counts(z1, (2.0 + 0.3 * e2).exp(), theta)
            each.append(mixed(counts.log_prob(x[:, None]).sum(-1).T, weights) + torch.tensor(0.5).log())
        each = torch.stack(each)
        return each.logsumexp(0) if y is None else (each * y.T).sum(0)


def enumerating(owner):
    """The guide's discrete sites marked for enumeration."""
    return Pair(owner.model, infer.config_enumerate(owner.guide, expand=True), owner.exact)


def unfactored(owner):
    """The guide without its classification loss, as the refusal of ``log_likelihood`` says."""
    return Pair(owner.model, poutine.block(owner.guide, hide=["classification_loss"]), owner.exact)


X = bits(8, 6)
CELLS = torch.tensor([[3.0, 1, 0, 5], [0, 2, 2, 4], [7, 0, 1, 1], [2, 2, 3, 0], [1, 0, 0, 9], [4, 4, 1, 2]])
LABELS = torch.eye(3)[torch.tensor([0, 2, 1, 1, 0, 2, 2, 1])]
TYPES = torch.eye(2)[torch.tensor([0, 1, 0, 1, 1, 0])]
DOCS = torch.randint(0, 4, (6, 6), generator=torch.Generator().manual_seed(9)).float()  # as many documents as words


def summing():
    """TraceEnum_ELBO of a guide that samples as well."""
    return enumerated(strict_enumeration_warning=False)


CASES = {
    "vae": Case(VAE, (X,)),
    "ss_vae_M2-labelled": Case(SemiSupervised, (X, LABELS)),
    "ss_vae_M2-unlabelled": Case(SemiSupervised, (X,), pairs=(trace_elbo,)),
    "ss_vae_M2-enumerated": Case(lambda: enumerating(SemiSupervised()), (X,), pairs=(enumerated,)),
    "ss_vae_M2-classifier": Case(Classifier, (X, LABELS), pairs=(trace_elbo,)),
    "cvae-grey": Case(Conditional, quadrants(GREY)),
    "cvae-whole": Case(Conditional, quadrants(GREY.round())),
    "cvae-masked": Case(lambda: Conditional(masked=True), quadrants(GREY)),
    "prodlda": Case(ProdLDA, (DOCS,)),
    "scanvi-labelled": Case(ScanVI, (CELLS, TYPES), (summing,), refused="classification_loss.*poutine.block.*hide"),
    "scanvi-labelled-hidden": Case(lambda: unfactored(ScanVI()), (CELLS, TYPES), pairs=(trace_elbo,)),
    "scanvi-unlabelled": Case(lambda: enumerating(ScanVI()), (CELLS,), pairs=(enumerated,)),
    "scanvi-unlabelled-sampled": Case(ScanVI, (CELLS,), pairs=(trace_elbo,)),
    "scanvi-scaled": Case(
        lambda: enumerating(ScanVI(scale_factor=0.1)), (CELLS, TYPES), (summing,), "classification_loss"
    ),
}
