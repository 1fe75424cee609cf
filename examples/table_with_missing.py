"""A table with columns of several kinds and missing cells: a VAE imputes them better than means and modes do.

python examples/table_with_missing.py
"""

import numpy as np
import torch
from sklearn.datasets import load_wine

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors

torch.manual_seed(0)
bunch = load_wine()  # chemistry of 178 Italian wines from three growers, ships with scikit-learn
wine = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
table = {
    "alcohol": ("real", wine["alcohol"]),
    "phenols": ("positive", wine["total_phenols"]),
    "flavanoids": ("positive", wine["flavanoids"]),
    "colour": ("positive", wine["color_intensity"]),
    "proline": ("count", wine["proline"] // 10),
    "bright": ("binary", wine["hue"] > 1.0),
    "dilution": ("ordinal", np.digitize(wine["od280/od315_of_diluted_wines"], [1.8, 2.5, 3.1])),
    "grower": ("categorical", bunch.target),
}
complete = torch.tensor(np.stack([column for _, column in table.values()], 1), dtype=torch.float32)
missing = torch.rand(complete.shape) < 0.2
x = complete.masked_fill(missing, torch.nan)
kinds = data.find_kinds(x, {name: kind for name, (kind, _) in table.items()})  # with numbers of levels
split = data.as_split(x)

shape, dim = x.shape[1:], 4
vae = VAE(
    prior=priors.Normal(dim),
    posterior=posteriors.Normal(networks.TableEncoder(shape, [64], kinds=kinds, mask=True), dim),
    likelihood=likelihoods.Columns(networks.MLP(dim, [64]), shape, kinds),
)
fit(SVI(vae), split, epochs=400, batch_size=64, lr=2e-3, progress=False)
imputed = evaluation.impute(vae, x, num_samples=200)

print(f"{int(missing.sum())} of {missing.numel()} cells missing: {kinds}")
for i, (name, (kind, _)) in enumerate(table.items()):
    gone, truth, seen = missing[:, i], complete[missing[:, i], i], x[~missing[:, i], i]
    if kind in ("binary", "categorical"):
        ours, simple = ((guess == truth).float().mean() for guess in (imputed.x[gone, i], seen.mode().values))
        print(f"{name:<11} accuracy {ours:8.2f}   most frequent value {simple:8.2f}")
    else:
        ours, simple = ((guess - truth).square().mean().sqrt() for guess in (imputed.x[gone, i], seen.mean()))
        print(f"{name:<11} RMSE     {ours:8.2f}   mean                {simple:8.2f}")
