"""What a trained VQ-VAE is worth: its codes, its error at its rate, and whether its samples are recognised.

    python -m ppl_vae train --model vqvae --data digits --out runs/vq
    python -m ppl_vae train --data digits --out runs/vae
    python -m benchmarks.vqvae_quality --data digits --run runs/vq [--vae runs/vae] [--cache DIR] [--data-root DIR]

codes       perplexity of the codes of the test data, of all places together, and the number of codes
rate        mean of -log2 p(c) of the test data under the learned prior, in bits an example
error       squared error of the test data, summed over an example's pixels
            - of the VQ-VAE at its rate
            - of product quantization of the pixels at the same rate: blocks of pixels, k-means of the training rows for
              each, entropy-coded by the frequencies of the codes in the training rows. Block sizes and numbers of codes
              are varied; what lies on the lower convex hull of rate and error counts, that is, the best of them and of
              their mixtures. So it is the curve at its most favourable for product quantization
            - of a VAE, decoding a draw of q(z | x), which is what its KL pays for, and decoding the mean
samples     share of the pictures (means of p(x | c), c from the prior) of which a classifier is at least 90 % sure, and
            the entropy of their classes; beside them the grey test data, pictures whose pixels are each drawn from the
            training values at their place, and test data with their pixels shuffled

A run that was trained on binary draws of grey pictures has errors for both. The classifier is three small networks
trained on the grey training rows, whose probabilities are averaged. Such networks are too sure of pictures that are no
digits, so the shares are also given strictly: with logits divided by the largest temperature at which the networks are
still 90 % sure of 95 % of the validation rows. --cache keeps the classifier. Everything is seeded.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ppl_vae import evaluation, open_run
from ppl_vae.data import reload

SURE, KNOWN, DRAWS = 0.9, 0.95, 2000
FITTED, TESTED = 10_000, 2_000  # training rows that k-means is fitted to, and test rows, the first ones
CODES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
COARSE = (2, 4, 8, 16, 32, 64, 128, 256)  # of MNIST, whose blocks are many
CLASSES = 10
EPOCHS = {"digits": 15, "mnist": 4}
SHIFT = {"digits": 0, "mnist": 1}  # pixels by which training pictures of the classifier are moved at most


# Product quantization


def blocks(x, height, width):
    """Blocks of pictures (N, 1, H, W) as rows: (H W / (height width), N, height width)."""
    n, _, h, w = x.shape
    cut = x.reshape(n, h // height, height, w // width, width).permute(1, 3, 0, 2, 4)
    return cut.reshape(-1, n, height * width).numpy()


def quantized(train, test, codes):
    """Rate in bits and squared error of test rows (N, D), quantized to the centres of clusters of training rows."""
    from sklearn.cluster import KMeans

    codes = min(codes, len(np.unique(train, axis=0)))
    found = KMeans(codes, n_init=1, max_iter=30, random_state=0).fit(train)
    counts = np.bincount(found.labels_, minlength=codes) + 1.0
    given = found.predict(test)
    error = np.square(test - found.cluster_centers_[given]).sum(1).mean()
    return float(-np.log2(counts / counts.sum())[given].mean()), float(error)


def product_quantization(train, test, most, codes=CODES):
    """Points of rate and error of test pictures, up to about ``most`` bits: one for each block size and K."""
    h, w = train.shape[2:]
    sizes = [(a, b) for a in range(1, h + 1) for b in (a, 2 * a) if h % a == 0 and w % b == 0 and a * b > 1]
    points = [(0.0, float((test - train.mean(0)).square().flatten(1).sum(1).mean()))]
    for a, b in sizes:
        pairs = [*zip(blocks(train[:FITTED], a, b), blocks(test[:TESTED], a, b), strict=True)]
        if len(pairs) * math.log2(codes[-1]) < most / 4:  # never comes near the rate
            continue
        for k in codes:
            rate, error = np.array([quantized(*pair, k) for pair in pairs]).sum(0).tolist()
            points.append((rate, error))
            if rate > most:
                break
    return points


def at_rate(points, rate):
    """Error at a rate on the lower convex hull of points (rate, error), mixtures of which reach every part of it."""
    hull = []
    for point in sorted(points):
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return float(np.interp(rate, *zip(*hull, strict=True)))


def _turns_up(a, b, c):
    """Whether b lies on or above the line from a to c."""
    return (b[0] - a[0]) * (c[1] - a[1]) <= (c[0] - a[0]) * (b[1] - a[1])


# The classifier


class Judge(nn.Module):
    """Three small convolutional networks, whose probabilities at a common temperature are averaged."""

    def __init__(self, side):
        super().__init__()
        self.nets = nn.ModuleList(_network(side) for _ in range(3))
        self.register_buffer("temperature", torch.ones(()))

    @torch.no_grad()
    def probabilities(self, x, temperature=None):
        """Probabilities (N, 10) of the classes of pictures x (N, 1, side, side)."""
        self.eval()
        divisor = self.temperature if temperature is None else temperature
        each = [[(net(piece) / divisor).softmax(1) for net in self.nets] for piece in x.split(1000)]
        return torch.cat([torch.stack(own).mean(0) for own in each])

    def sure(self, x, temperature=None):
        """Share of the pictures of which it is sure, at its own temperature or another."""
        return (self.probabilities(x, temperature).amax(1) >= SURE).float().mean().item()


def _network(side):
    if side > 16:
        return nn.Sequential(
            *(
                nn.Conv2d(1, 32, 5, stride=2, padding=2),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1),
                nn.ReLU(),
            ),
            *(nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * (side // 4) ** 2, 128), nn.ReLU(), nn.Dropout(0.25)),
            nn.Linear(128, CLASSES),
        )
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()),
        *(nn.Linear(64 * (side // 2) ** 2, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, CLASSES)),
    )


def trained_judge(train, valid, epochs, shift):
    """The classifier, trained on (x, y) of the training rows, with the temperature that validation rows allow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Judge(train[0].shape[-1])
        for net in judge.nets:
            _train(net, *train, epochs, shift)
    for temperature in torch.linspace(5.0, 1.0, 41):
        judge.temperature.copy_(temperature)
        if judge.sure(valid[0]) >= KNOWN:
            break
    return judge


def _train(net, x, y, epochs, shift):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    order = [index for _ in range(epochs) for index in torch.randperm(len(x)).split(64)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=len(order))
    for index in order:
        moved = torch.roll(x[index], torch.randint(-shift, shift + 1, (2,)).tolist(), (2, 3))
        loss = F.cross_entropy(net(moved), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def the_judge(name, train, valid, cache, epochs):
    """The classifier of a data set, taken from the folder ``cache`` where it was kept."""
    path = None if cache is None else Path(cache) / f"judge-{name}-{len(train[0])}-rows-{epochs}-epochs.pt"
    if path is not None and path.exists():
        judge = Judge(train[0].shape[-1])
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge
    judge = trained_judge(train, valid, epochs, SHIFT[name])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(judge.state_dict(), path)
    return judge


def recognised(judge, x):
    """Share of pictures of which the classifier is sure, and the entropy of the histogram of their classes in nats."""
    p = judge.probabilities(x)
    shares = torch.bincount(p.argmax(1), minlength=CLASSES) / len(p)
    entropy = torch.special.entr(shares).sum().item()
    return {"recognised": judge.sure(x, 1.0), "strictly": judge.sure(x), "entropy": entropy}


def noise(train, test):
    """Pictures without shapes, by name."""
    draw = torch.Generator().manual_seed(5)
    flat, n = train.flatten(1), len(test)
    rows = torch.randint(len(flat), (n, flat.shape[1]), generator=draw)
    mixed = torch.rand(test.flatten(1).shape, generator=draw).argsort(1)
    return {
        "pixels drawn by themselves": flat.gather(0, rows).view_as(test),
        "shuffled test data": test.flatten(1).gather(1, mixed).view_as(test),
    }


# The figures


def errors_of(x, made):
    """Squared error of each example, summed over its entries."""
    return (x - made).square().flatten(1).sum(1)


def errors(x, made):
    """Mean of the squared errors."""
    return errors_of(x, made).mean().item()


@torch.no_grad()
def of_data(model, vae, train, test, codes):
    """Rate and errors of test pictures, and of what is compared with the VQ-VAE; grey ones are encoded as they are."""
    model.eval()
    c = torch.cat([model.encode(piece) for piece in test.split(1000)])
    rate = -model.prior().log_prob(c).mean().item() / math.log(2)
    curve = product_quantization(train, test, 1.5 * rate, codes)
    out = {
        "perplexity": evaluation.CodeUsage(torch.bincount(c.flatten(), minlength=model.num_codes)).perplexity,
        "rate_bits": rate,
        "error": errors(test, evaluation.decode(model, c)),
        "product_quantization_error": at_rate(curve, rate),
        "curve": sorted(curve),
    }
    return out if vae is None else out | of_vae(vae, test)


def of_vae(vae, test, draws=10):
    """KL of a VAE in bits, and its errors at draws of q(z | x) and at its means."""
    vae.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spent, error = [], []
        for x in test.split(1000):
            q = vae.posterior(x)
            z = q.sample((draws,))
            spent.append((q.log_prob(z) - vae.prior().log_prob(z)).mean(0))
            error.append(torch.stack([errors_of(x, evaluation.decode(vae, one)) for one in z]).mean(0))
    return {
        "vae_kl_bits": torch.cat(spent).mean().item() / math.log(2),
        "vae_error": torch.cat(error).mean().item(),
        "vae_error_of_means": errors(test, evaluation.decode(vae, evaluation.codes(vae, test))),
    }


def figures(name, run, root, vae=None, cache=None, epochs=None, codes=CODES, draws=DRAWS):
    """Everything about a run."""
    trained = open_run(run)
    split = trained.data(root)
    grey = reload({**trained.record, "binarize": "none"}, trained.folder.split(), root)
    pictures = {"grey": grey} if split.test.binarize == "none" else {"binary draws": split, "grey": grey}
    vae = None if vae is None else open_run(vae).model
    taken = {part: getattr(grey, part).take(slice(None)) for part in ("train", "valid", "test")}
    judge = the_judge(name, taken["train"], taken["valid"], cache, epochs or EPOCHS[name])
    x, y = taken["test"]
    made = evaluation.reconstruct(trained.model, split.test.take(slice(0, draws))[0])
    samples = {"samples": evaluation.sample_means(trained.model, draws), "reconstructions of test data": made}
    samples |= {"test data": x, **noise(taken["train"][0], x)}
    bound = evaluation.elbo(trained.model, split.test.take(slice(None))[0]).elbo
    parts = {
        words: [getattr(one, p).take(slice(None))[0] for p in ("train", "test")] for words, one in pictures.items()
    }
    return {
        "num_codes": trained.model.num_codes,
        "code_shape": list(trained.model.code_shape),
        "bits_per_dim": -bound.mean().item() / math.log(2) / x[0].numel(),
        "data": {words: of_data(trained.model, vae, *own, codes) for words, own in parts.items()},
        "classifier_accuracy": (judge.probabilities(x).argmax(1) == y).float().mean().item(),
        "pictures": {words: recognised(judge, shown) for words, shown in samples.items()},
    }


def show(found):
    """Print the figures as two tables."""
    codes = " x ".join(map(str, found["code_shape"]))
    print(f"{codes} codes of {found['num_codes']} values, {found['bits_per_dim']:.4f} bits per dimension\n")
    print("| test data | perplexity | rate, bits | squared error | of product quantization | of a VAE (KL, bits) |")
    print("|---|---|---|---|---|---|")
    for words, one in found["data"].items():
        vae = "{vae_error:.3f}, of means {vae_error_of_means:.3f} ({vae_kl_bits:.1f})" if "vae_error" in one else ""
        line = "{perplexity:.1f} | {rate_bits:.1f} | {error:.3f} | {product_quantization_error:.3f}".format(**one)
        print(f"| {words} | {line} | {vae.format(**one)} |")
    print(f"\nThe classifier is right for {found['classifier_accuracy']:.2%} of the test data.\n")
    print("| pictures | recognised | strictly | entropy of classes |")
    print("|---|---|---|---|")
    for words, one in found["pictures"].items():
        shares = f"{one['recognised']:.1%} | {one['strictly']:.1%} | {one['entropy']:.3f}"
        print(f"| {words} | {shares} of {math.log(CLASSES):.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=EPOCHS, default="digits")
    parser.add_argument("--run", required=True, help="folder of a VQ-VAE")
    parser.add_argument("--data-root", default=None, help="folder of MNIST; by default where the run found it")
    parser.add_argument("--vae", help="folder of a VAE of the same data, to state beside it")
    parser.add_argument("--cache", help="folder that keeps the classifier")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a poor classifier and few codes, to try the command out")
    args = parser.parse_args()
    quick = {"epochs": 1, "codes": (2, 8), "draws": 50} if args.quick else {}
    quick |= {"codes": COARSE} if args.data == "mnist" else {}
    show(found := figures(args.data, args.run, args.data_root, args.vae, args.cache, **quick))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
