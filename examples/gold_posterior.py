"""How good is the guide? Compare its q(z | x) with NUTS, the gold standard, on the codes of a trained decoder.

For single test digits: mean and standard deviation of both codes under NUTS and under the guide, and the Pareto k-hat
of the guide's importance weights; above 0.7 the guide misses mass that NUTS finds.

python examples/gold_posterior.py
"""

import torch
from matplotlib.figure import Figure
from pyro.infer import MCMC, NUTS

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors, reporting
from ppl_vae.handlers import LocalParameters

SHOWN, DRAWS = 6, 400

torch.manual_seed(0)
digits = data.load("digits", binarize="static")
vae = VAE(
    priors.Normal(2),
    posteriors.Normal(networks.MLP(digits.shape, [64]), 2),
    likelihoods.Bernoulli(networks.MLP(2, [64]), digits.shape),
)
fit(SVI(vae), digits.train, valid=digits.valid, epochs=60, lr=3e-3, progress=False)
vae.eval().requires_grad_(False)

x = digits.test.resolve(vae.support).take(slice(0, SHOWN))[0]
q = vae.posterior(x)
with LocalParameters():  # the decoder's weights stay out of Pyro's parameter store
    mcmc = MCMC(
        NUTS(vae.model, max_tree_depth=5),
        num_samples=DRAWS,
        warmup_steps=200,
        initial_params={"z": q.mean},
        disable_progbar=True,
    )
    mcmc.run(x)
gold = mcmc.get_samples()["z"]  # (DRAWS, SHOWN, 2)
khat = evaluation.log_likelihood(vae, x, num_particles=2000).khat
r_hat = mcmc.diagnostics()["z"]["r_hat"].amax(-1)

print("digit  " + "".join(f"   z{j + 1} mean: NUTS  guide     sd: NUTS  guide" for j in range(2)) + "   k-hat  r-hat")
for i in range(SHOWN):
    columns = zip(gold[:, i].mean(0), q.mean[i], gold[:, i].std(0), q.stddev[i], strict=True)
    row = "".join(f"{a:15.2f} {b:6.2f} {c:12.2f} {d:6.2f}" for a, b, c, d in columns)
    print(f"{i:5d} {row} {khat[i]:9.2f} {r_hat[i]:6.2f}")

figure = Figure(figsize=(12, 2.4), layout="constrained")
for i, axes in enumerate(figure.subplots(1, SHOWN)):
    axes.scatter(*gold[:, i].T, s=3, label="NUTS")
    axes.scatter(*q.sample((DRAWS,))[:, i].T, s=3, alpha=0.5, label="guide")
    axes.set_title(f"digit {i}, k-hat {khat[i]:.2f}", fontsize=9)
    axes.set(xlabel="z1", ylabel="z2")
axes.legend(markerscale=3, fontsize=8)
print("draws of both:", reporting.save(figure, "gold_posterior.png"))
