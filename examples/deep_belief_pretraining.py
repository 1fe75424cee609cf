"""Pre-train a deep autoencoder as a stack of RBMs, then unroll and fine-tune it (Hinton and Salakhutdinov 2006).

python examples/deep_belief_pretraining.py
"""

import torch

from ppl_vae import Reconstruction, data, evaluation, fit, models

digits = data.load("digits", binarize="none")
training = {"lr": 3e-3, "batch_size": 50, "progress": False}


def error(model):
    return evaluation.reconstruction_error(model, digits.test.x).mean().item()


# Layer by layer: each RBM is trained by contrastive divergence on the mean codes of the RBM below.
torch.manual_seed(0)
net = models.DeepBeliefNet(dim=8, shape=digits.shape, hidden=[100, 50], pretrain=10)
for stage in Reconstruction(net).stages()[:-1]:
    history = fit(stage.objective, digits.train, epochs=stage.epochs, **training)
    first, last = (row["train"]["squared_error"] for row in (history.rows[0], history.rows[-1]))
    print(f"machine: squared error of its input {first:.2f} in the first epoch, {last:.2f} in the last")

log_z, stderr = net.layers[0].annealed_log_partition(chains=50, steps=200)
log_p = (-net.layers[0].free_energy(digits.test.x.round()) - log_z).mean().item()
print(f"black and white test images under the first machine: {log_p:.1f} nats (log Z +- {stderr:.2f})")
print("images drawn from the net:", tuple(net.sample(16, steps=200).shape))

# Unrolled and fine-tuned, compared with the same autoencoder from random weights.
pretrained = net.unroll()
print(f"pre-trained: squared error of test images {error(pretrained):.2f}")
random = models.DeepBeliefNet(dim=8, shape=digits.shape, hidden=[100, 50], pretrain=0)
for name, model, epochs in (("pre-trained", pretrained, 10), ("random", random, 10), ("random", random, 30)):
    fit(Reconstruction(model, "bce"), digits.train, epochs=epochs, **training)
    print(f"{name}, {epochs} epochs of fine-tuning{' more' * (epochs > 10)}: {error(model):.2f}")

# The same in one call: fit pre-trains the stack before it trains the whole.
both = models.DeepBeliefNet(dim=8, shape=digits.shape, hidden=[100, 50], pretrain=10)
fit(Reconstruction(both, "bce"), digits.train, epochs=10, **training)
print(f"in one call: {error(both):.2f}")
