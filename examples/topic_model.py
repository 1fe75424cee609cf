"""A topic model: Dirichlet prior, Multinomial likelihood, on the documentation that scikit-learn ships.

python examples/topic_model.py
"""

import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils import all_estimators

from ppl_vae import SVI, VAE, evaluation, fit, likelihoods, networks, posteriors, priors

torch.manual_seed(0)
TOPICS = 8
texts = [cls.__doc__ for _, cls in all_estimators() if cls.__doc__]
vectorizer = CountVectorizer(stop_words="english", min_df=8, max_df=0.3, token_pattern=r"[a-z]{4,}")
counts = torch.tensor(vectorizer.fit_transform(texts).toarray(), dtype=torch.float32)
counts = counts[counts.sum(1) > 0]
words = vectorizer.get_feature_names_out()


class LogCounts(networks.MLP):
    """Encoder of log(1 + counts), so that long documents do not dominate."""

    def forward(self, x):
        return super().forward(x.log1p())


vae = VAE(
    prior=priors.Dirichlet(TOPICS, 0.3),
    posterior=posteriors.Dirichlet(LogCounts(len(words), [100]), TOPICS),
    likelihood=likelihoods.Multinomial(networks.MLP(TOPICS, []), len(words)),
)
history = fit(SVI(vae), (counts,), epochs=150, lr=5e-3, batch_size=32, progress=False)

weights = vae.likelihood.head.layer.weight.detach()  # (words, topics)
distinct = weights - weights.mean(1, keepdim=True)
for topic in range(TOPICS):
    print(f"topic {topic}:", ", ".join(words[i] for i in distinct[:, topic].topk(8).indices))
# The Multinomial counts all orders of the words; perplexity is of one order, so that count is removed.
orders = (counts.sum(1) + 1).lgamma() - (counts + 1).lgamma().sum(1)
bound = (evaluation.elbo(vae, counts).elbo - orders).sum() / counts.sum()
print(f"{len(counts)} documents, {len(words)} words, perplexity at most {(-bound).exp():.0f}")
