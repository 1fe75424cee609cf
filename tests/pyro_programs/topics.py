"""Topics, mixtures and a deep exponential family: discrete sites in plates, global tables, parameters of each datum."""

import math

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro_programs.harness import Case, enumerated, mixed, network, nodes
from torch import nn


def integers(high, *shape, seed):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed)).float()


class LDA(nn.Module):
    """Blei, Ng and Jordan 2003: a Dirichlet of topics a document, a topic a word, which is summed out.

    x is (documents, words), numbers of words.

    Args:
        own: so many documents are drawn from all by the program itself; None: x is the batch.
    """

    documents, words, topics, vocabulary = 12, 6, 2, 5

    def __init__(self, own=None):
        super().__init__()
        self.own = own
        self.predictor = network(self.vocabulary, 4, self.topics)

    def model(self, x):
        with pyro.plate("topics", self.topics):
            weights = pyro.sample("topic_weights", dist.Gamma(1.0 / self.topics, 1.0))
            words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(self.vocabulary)))
        with pyro.plate("documents", self.documents, subsample_size=self.own or len(x)) as chosen:
            x = x if self.own is None else x[chosen]
            shares = pyro.sample("doc_topics", dist.Dirichlet(weights))
            with pyro.plate("words", self.words):
                topic = pyro.sample("word_topics", dist.Categorical(shares), infer={"enumerate": "parallel"})
                pyro.sample("doc_words", dist.Categorical(words[topic]), obs=x.long().T)

    def guide(self, x):
        positive = dist.constraints.positive
        weights = pyro.param("topic_weights_posterior", torch.tensor([2.0, 3.0]), constraint=positive)
        words = 1 + torch.arange(10.0).view(self.topics, self.vocabulary)
        words = pyro.param("topic_words_posterior", words, constraint=positive)
        with pyro.plate("topics", self.topics):
            pyro.sample("topic_weights", dist.Gamma(weights, 1.0))
            pyro.sample("topic_words", dist.Dirichlet(words))
        pyro.module("predictor", self.predictor)
        with pyro.plate("documents", self.documents, subsample_size=self.own or len(x)) as chosen:
            x = x if self.own is None else x[chosen]
            counts = F.one_hot(x.long(), self.vocabulary).sum(1).float()
            pyro.sample("doc_topics", dist.Dirichlet(1 + F.softplus(self.predictor(counts))))


class WordTopics(nn.Module):
    """Topics of single words in a plate inside the documents', tables learned; the guide may sample the topics too.

    The shares of the topics follow from the document (amortised) or, with ``dirichlet``, are sampled.
    """

    words, topics, vocabulary = 4, 3, 5

    def __init__(self, dirichlet=False, guided=True):
        super().__init__()
        self.table = nn.Parameter(torch.randn(self.topics, self.vocabulary))
        self.shares, self.labels = nn.Parameter(torch.randn(self.topics)), nn.Parameter(torch.randn(5, self.topics))
        self.dirichlet, self.guided = dirichlet, guided

    def model(self, x):
        with pyro.plate("data", len(x)):
            shares = self.shares.softmax(-1)
            if self.dirichlet:
                shares = pyro.sample("shares", dist.Dirichlet(torch.ones(self.topics)))
            with pyro.plate("words", self.words):
                topic = pyro.sample("topic", dist.Categorical(shares), infer={"enumerate": "parallel"})
                pyro.sample("word", dist.Categorical(logits=self.table[topic]), obs=x.long().T)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            if self.dirichlet:
                counts = F.one_hot(x.long(), self.vocabulary).sum(1).float()
                pyro.sample("shares", dist.Dirichlet(1 + F.softplus(counts @ self.labels)))
            if self.guided:
                with pyro.plate("words", self.words):
                    logits = self.labels[x.long().T]
                    pyro.sample("topic", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})

    def exact(self, x):
        if self.dirichlet:  # the simplex of three topics by a rule of midpoints
            steps = (torch.arange(400) + 0.5) / 400
            a, b = torch.cartesian_prod(steps, steps).unbind(-1)
            shares = torch.stack([a, (1 - a) * b, (1 - a) * (1 - b)], -1)
            density = ((1 - a) * 2 / len(a)).log()  # Jacobian, and the density Gamma(3) of the uniform Dirichlet
        else:
            shares, density = self.shares.softmax(-1)[None], torch.zeros(1)
        table = (shares @ self.table.softmax(-1)).log()
        return mixed(table[:, x.long()].sum(-1), density)

    def posterior(self):
        """The guide at the true posterior of the topics, where it has them alone."""
        with torch.no_grad():
            self.labels.copy_((self.shares.log_softmax(-1)[:, None] + self.table.log_softmax(-1)).T)
        return self


class Pixels(nn.Module):
    """A mixture a pixel: c_bp ~ Categorical, x_bp ~ Normal(mean of c_bp + z_b, 0.7), z_b ~ N(0, 1) of the picture."""

    pixels, components = 4, 2

    def __init__(self, guided=True):
        super().__init__()
        self.means, self.logits = nn.Parameter(torch.tensor([-1.0, 1.5])), nn.Parameter(torch.tensor([0.3, -0.2]))
        self.encoder, self.slopes = network(self.pixels, 4, 2), nn.Parameter(torch.tensor([-1.0, 1.0]))
        self.guided = guided

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("pixels", self.pixels):
                c = pyro.sample("c", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(self.means[c] + z, 0.7), obs=x.T)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            mean, scale = self.encoder(x).unbind(-1)
            pyro.sample("z", dist.Normal(mean, 1.1 * (0.3 * scale).exp()))
            if self.guided:
                with pyro.plate("pixels", self.pixels):
                    q = dist.Categorical(logits=x.T[..., None] * self.slopes)
                    pyro.sample("c", q, infer={"enumerate": "parallel"})

    def exact(self, x):
        z, weights = nodes(1, 60)
        each = dist.Normal(self.means + z[:, None, None], 0.7).log_prob(x[..., None]) + self.logits.log_softmax(-1)
        return mixed(each.logsumexp(-1).sum(-1), weights)


class SparseGamma(nn.Module):
    """Deep exponential family of Ranganath et al. 2015: three layers of gamma latents and weights, Poisson counts.

    Weights are global, each layer in a plate of its own; every datum has parameters of its own in the guide.
    """

    top, mid, bottom, counts = 2, 3, 2, 4
    alpha_z, alpha_w = 1.5, 3.0

    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        shapes = {"z_top": (rows, 2), "z_mid": (rows, 3), "z_bottom": (rows, 2)}
        shapes |= {"w_top": (2 * 3,), "w_mid": (3 * 2,), "w_bottom": (2 * 4,)}
        start = {"z": (0.9, 0.7), "w": (3.0, -0.4)}  # wide enough that log-weights have a variance
        self.alpha, self.mean = (
            nn.ParameterDict({name: start[name[0]][i] + 0.1 * torch.randn(shape) for name, shape in shapes.items()})
            for i in range(2)
        )

    def model(self, x):
        weights = {}
        for name, rows, columns in (("top", 2, 3), ("mid", 3, 2), ("bottom", 2, 4)):
            with pyro.plate(f"w_{name}_plate", rows * columns):
                w = pyro.sample(f"w_{name}", dist.Gamma(self.alpha_w, self.alpha_w * rows))
            weights[name] = w.reshape(*w.shape[:-1], rows, columns)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z_top", dist.Gamma(self.alpha_z, torch.ones(self.top)).to_event(1))
            for name, above in (("mid", "top"), ("bottom", "mid")):
                mean = z @ weights[above]
                z = pyro.sample(f"z_{name}", dist.Gamma(self.alpha_z, self.alpha_z / mean).to_event(1))
            pyro.sample("obs", dist.Poisson(z @ weights["bottom"]).to_event(1), obs=x)

    def q(self, name):
        alpha, mean = (F.softplus(table[name]) for table in (self.alpha, self.mean))
        return dist.Gamma(alpha, alpha / mean)

    def guide(self, x):
        for name in ("top", "mid", "bottom"):
            q = self.q(f"w_{name}")
            with pyro.plate(f"w_{name}_plate", q.batch_shape[0]):
                pyro.sample(f"w_{name}", q)
        with pyro.plate("data", len(x)):
            for name in ("top", "mid", "bottom"):
                pyro.sample(f"z_{name}", self.q(f"z_{name}").to_event(1))

    def exact(self, x, count=40_000):
        """log of the mean over fresh draws of p(x, z | w) / q(z), and its standard error."""
        w = {name: self.q(name).sample((count,)) for name in ("w_top", "w_mid", "w_bottom")}
        z = {name: self.q(name).sample((count,)) for name in ("z_top", "z_mid", "z_bottom")}
        log_w = -sum(self.q(name).log_prob(value).sum(-1) for name, value in z.items())
        log_w = log_w + dist.Gamma(self.alpha_z, 1.0).log_prob(z["z_top"]).sum(-1)
        for below, above, shape in (("mid", "top", (2, 3)), ("bottom", "mid", (3, 2))):
            mean = z[f"z_{above}"] @ w[f"w_{above}"].view(-1, *shape)
            log_w = log_w + dist.Gamma(self.alpha_z, self.alpha_z / mean).log_prob(z[f"z_{below}"]).sum(-1)
        log_w = log_w + dist.Poisson(z["z_bottom"] @ w["w_bottom"].view(-1, 2, 4)).log_prob(x).sum(-1)
        value = log_w.logsumexp(0) - math.log(count)
        return value, (log_w - value).exp().std(0) / math.sqrt(count)


TEXT, WORDS = integers(5, 12, 6, seed=1), integers(5, 7, 4, seed=2)
PICTURES = 1.2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
COUNTS = integers(4, 5, 4, seed=4)

OWN = r"documents.*12.*subsample_size=len\(x\)|word_topics.*guide"  # either reason is right

CASES = {
    "lda": Case(LDA, (TEXT,), (enumerated,), refused="word_topics.*guide"),
    "lda-batches": Case(LDA, (TEXT,), (enumerated,), "word_topics.*guide", rows=4, size=12, batch_size=4),
    "lda-own-batches": Case(lambda: LDA(own=4), (TEXT,), (enumerated,), OWN),
    "topics-guided": Case(WordTopics, (WORDS,), (enumerated,), particles=10_000),
    "topics-summed": Case(lambda: WordTopics(guided=False), (WORDS,), (enumerated,), "topic.*guide"),
    "topics-dirichlet": Case(lambda: WordTopics(True), (WORDS,), (enumerated,), particles=20_000),
    "topics-dirichlet-summed": Case(lambda: WordTopics(True, False), (WORDS,), (enumerated,), "topic.*guide"),
    "pixels-guided": Case(Pixels, (PICTURES,), (enumerated,), particles=40_000),
    "pixels-summed": Case(lambda: Pixels(guided=False), (PICTURES,), (enumerated,), r"\bc\b.*guide"),
    "sparse-gamma": Case(lambda: SparseGamma(len(COUNTS)), (COUNTS,), particles=400),
}
