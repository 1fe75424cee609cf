"""Latent Dirichlet allocation as a Pyro program: the topic of every word is summed out; an encoder gives q(doc_topics).

topic_model.py models the word counts of a document; here each word has its own topic, in the plates "words" and
"documents", and topics are global latents. Pyro's TraceEnum_ELBO sums over the word topics inside our SVI. ``fit``
gives batches (B, words); the program transposes them, so that words are at dim -2 and documents at dim -1, as in Pyro's
example.

python examples/lda.py
"""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from scipy.optimize import linear_sum_assignment
from torch import nn

from ppl_vae import SVI, evaluation, fit, models

TOPICS, WORDS, LENGTH, DOCUMENTS = 4, 30, 40, 400


def corpus(seed):
    """Documents (DOCUMENTS, LENGTH) of word numbers, and the topics they were drawn from, (TOPICS, WORDS)."""
    torch.manual_seed(seed)
    topics = dist.Dirichlet(torch.full((TOPICS, WORDS), 0.1)).sample()
    shares = dist.Dirichlet(torch.full((DOCUMENTS, TOPICS), 0.3)).sample()
    return dist.Categorical(shares @ topics).sample((LENGTH,)).T, topics


class LDA(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WORDS, 50), nn.ReLU(), nn.Linear(50, TOPICS), nn.Softplus())

    @config_enumerate
    def model(self, x):
        words = x.long().T
        with pyro.plate("topics", TOPICS):
            topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.full((WORDS,), 0.1)))
        with pyro.plate("documents", DOCUMENTS, subsample_size=len(x)):
            doc_topics = pyro.sample("doc_topics", dist.Dirichlet(torch.full((TOPICS,), 0.3)))
            with pyro.plate("words", LENGTH):
                word_topics = pyro.sample("word_topics", dist.Categorical(doc_topics))
                pyro.sample("doc_words", dist.Categorical(topic_words[word_topics]), obs=words)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        concentration = pyro.param(
            "topic_words_posterior", lambda: 1 + torch.rand(TOPICS, WORDS), constraint=dist.constraints.positive
        )
        with pyro.plate("topics", TOPICS):
            pyro.sample("topic_words", dist.Dirichlet(concentration))
        counts = nn.functional.one_hot(x.long(), WORDS).sum(1).float()
        with pyro.plate("documents", DOCUMENTS, subsample_size=len(x)):
            pyro.sample("doc_topics", dist.Dirichlet(self.encoder(counts) + 0.05))


def main():
    documents, truth = corpus(seed=0)
    torch.manual_seed(0)
    lda = LDA()
    program = models.Program(lda.model, lda.guide)
    objective = SVI(program, TraceEnum_ELBO(max_plate_nesting=2))
    history = fit(objective, (documents,), epochs=60, batch_size=50, lr=0.1, schedule="cosine", progress=False)
    perplexity = math.exp(history.rows[-1]["train"]["loss"] / LENGTH)
    print(f"{DOCUMENTS} documents of {LENGTH} words from a list of {WORDS}: perplexity at most {perplexity:.1f}")

    found = poutine.trace(program.guide).get_trace(documents).nodes["topic_words"]["fn"].mean.detach()
    alike = nn.functional.cosine_similarity(truth[:, None], found, dim=-1)
    for topic, match in zip(*linear_sum_assignment(-alike), strict=True):
        words = " ".join(f"{word:2d}" for word in found[match].topk(6).indices)
        print(f"topic {topic}: most frequent words {words}, cosine with the true topic {alike[topic, match]:.3f}")
    try:
        evaluation.log_likelihood(program, documents)
    except (ValueError, NotImplementedError) as refusal:
        print("log_likelihood:", refusal)


if __name__ == "__main__":
    main()
