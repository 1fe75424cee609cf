"""Files of codes: what is packed comes back, everything else is refused in one sentence; sizes beside PNG and zlib."""

import io
import json
import math
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_vae import VAE, code_priors, evaluation, likelihoods, models, networks, priors, quantizers
from ppl_vae.evaluation import coded_files

SHAPE = (1, 4, 4)


def tiny(seed=1, likelihood=likelihoods.Bernoulli, code_prior=None, shape=SHAPE):
    torch.manual_seed(seed)
    return models.VQVAE(
        networks.Conv(shape, [5], flatten=False),
        quantizers.VectorQuantizer(6, 3),
        likelihood(networks.ConvTranspose((3, 2, 2), [5], shape), shape),
        code_prior or code_priors.Transformer(8, 1, 2),
    )


def given(condition):
    torch.manual_seed(1)
    encoder = networks.Conditioned.around(networks.MLP, condition, 4)
    decoder = networks.Conditioned.around(networks.MLP, condition, 6)
    prior = code_priors.Transformer(8, 1, 2, condition=condition)
    return models.VQVAE(encoder, quantizers.VectorQuantizer(5, 2), likelihoods.Normal(decoder, 4), prior, positions=3)


def rows(n=40, shape=SHAPE, seed=3):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_packed_comes_back():
    vq = tiny().train()
    codes = evaluation.codes(vq, rows())
    found, y = evaluation.unpack_codes(vq, evaluation.pack_codes(vq, codes))
    assert torch.equal(found, codes) and y is None and vq.training
    again, _ = evaluation.unpack_codes(tiny().double(), evaluation.pack_codes(vq, codes))
    assert torch.equal(again, codes)


@pytest.mark.parametrize(
    ("condition", "y"),
    [
        (networks.Label(3), torch.arange(7) % 3),
        (networks.Label(300), torch.tensor([299, 0, 256, 255, 1, 2, 3])),
        (networks.Vector(2), torch.randn(7, 2)),
    ],
    ids=["label", "many labels", "vector"],
)
def test_labels_are_part_of_the_file(condition, y):
    vq = given(condition)
    codes = evaluation.codes(vq, rows(7, (4,)), y)
    content = evaluation.pack_codes(vq, codes, y)
    found, labels = evaluation.unpack_codes(vq, content)
    assert torch.equal(found, codes) and torch.equal(labels, y) and labels.dtype == y.dtype
    with pytest.raises(ValueError, match="^y is missing"):
        evaluation.pack_codes(vq, codes)
    with pytest.raises(ValueError, match=r"y must (hold|be) .*7.* not .*5"):
        evaluation.pack_codes(vq, codes, y[:5])


def test_labels_of_a_model_without_condition_are_not_kept():
    vq = tiny()
    codes = evaluation.codes(vq, rows(5))
    assert evaluation.pack_codes(vq, codes, torch.arange(5)) == evaluation.pack_codes(vq, codes)


def test_every_changed_byte_and_every_cut_is_refused():
    vq = tiny()
    content = evaluation.pack_codes(vq, evaluation.codes(vq, rows(3)))
    said = set()
    for i in range(len(content)):
        changed = content[:i] + bytes([content[i] ^ 0x10]) + content[i + 1 :]
        for bad in (changed, content[:i], content + content[: i + 1]):
            with pytest.raises(ValueError, match=r"^a\.codes is ") as caught:
                evaluation.unpack_codes(vq, bad, "a.codes")
            said.add(re.sub(r"\d+", "N", str(caught.value)))
    assert said == {
        "a.codes is no file of codes that ppl-vae compress wrote",
        "a.codes is cut off inside its header",
        "a.codes is damaged: the checksum of its header does not fit",
        "a.codes is damaged: its checksum does not fit",
        "a.codes is cut off: N bytes follow its header, not N",
        "a.codes is too long: N bytes follow its header, not N",
    }


def test_foreign_newer_and_other_files_are_refused(monkeypatch):
    vq = tiny()
    codes = evaluation.codes(vq, rows(3))
    for foreign in (b"", b"\x89PNG\r\n\x1a\n" + bytes(99), b"ppl-vae codes"):
        with pytest.raises(ValueError, match="^content is no file of codes that ppl-vae compress wrote$"):
            evaluation.unpack_codes(vq, foreign)
    content = evaluation.pack_codes(vq, codes)
    other = tiny()
    with torch.no_grad():
        other.likelihood.network.layers[0].bias[0] += 1e-6
    for model in (tiny(2), other, given(networks.Label(3))):
        with pytest.raises(ValueError, match=r"^content was written with another model, a VQVAE .*name the run it was"):
            evaluation.unpack_codes(model, content)
    monkeypatch.setattr(coded_files, "FORMAT", 2)
    newer = evaluation.pack_codes(vq, codes)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"^content has format 2, .*reads up to 1, so install the newer one$"):
        evaluation.unpack_codes(vq, newer)


def test_the_header_says_what_the_file_holds():
    vq = tiny()
    content = evaluation.pack_codes(vq, evaluation.codes(vq, rows(3)))
    size = int.from_bytes(content[14:18], "little")
    header = json.loads(content[18 : 18 + size])
    assert (header["n"], header["shape"], header["num_codes"], header["model"]) == (3, [2, 2], 6, "VQVAE")
    assert len(content) == 18 + size + 8 + header["codes"]


@pytest.mark.parametrize("name", ["file_sizes", "pack_codes", "unpack_codes"])
def test_models_of_real_codes_are_refused(name):
    vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [4]), SHAPE))
    with pytest.raises(TypeError, match=f"^{name} needs integer codes, as of models.VQVAE; VAE has none"):
        getattr(evaluation, name)(vae, b"" if name == "unpack_codes" else rows(3))
    with pytest.raises(TypeError, match="^compress needs codes that are real numbers; .* Use evaluation.file_sizes"):
        evaluation.compress(tiny(), rows(3), train=rows(3))


def png(pictures):
    """Grey pictures (N, height, width) below one another in a file, read back."""
    file = io.BytesIO()
    image = Image.fromarray(pictures.reshape(-1, pictures.shape[2]))
    (image if pictures.max() > 1 else Image.fromarray(255 * pictures.reshape(-1, pictures.shape[2])).convert("1")).save(
        file, "PNG", optimize=True
    )
    assert np.array_equal(np.asarray(Image.open(file)), pictures.reshape(-1, pictures.shape[2]))
    return len(file.getvalue())


@pytest.mark.parametrize("binary", [False, True])
def test_sizes_are_those_of_the_files(binary):
    vq, x = tiny().eval(), rows().round() if binary else rows()
    codes = evaluation.codes(vq, x)
    found = evaluation.file_sizes(vq, x)
    assert found.content == evaluation.pack_codes(vq, codes) and found.bytes == len(found.content)
    nats = -sum(vq.prior.logits(codes).log_softmax(-1).gather(-1, codes[..., None]).flatten().tolist())
    assert found.entropy == pytest.approx(nats / math.log(2) / 8, rel=1e-5)
    assert found.squared_error == pytest.approx((vq.decode(codes) - x).square().sum().item() / 40, rel=1e-5)
    grey = (x if binary else 255 * x).round().numpy().astype(np.uint8)
    assert found.depth == (1 if binary else 8)
    assert found.png == png(grey[:, 0]) and found.png_each == sum(png(one) for one in grey)
    assert found.zlib == len(zlib.compress((np.packbits(grey) if binary else grey).tobytes(), 9))
    assert found.bits_per_example == found.bytes / 5 and found.bits_per_dim == found.bytes / 80
    assert "bits per dimension" in repr(found) and "\n" not in repr(found) and len(repr(found)) < 200


def test_what_is_no_picture_has_no_png():
    vq = given(networks.Label(3))
    x, y = rows(9, (4,)) * 3, torch.arange(9) % 3
    found = evaluation.file_sizes(vq, x, y)
    assert (found.png, found.png_each, found.depth) == (None, None, 32)
    assert found.zlib == len(zlib.compress(x.numpy().tobytes(), 9)) and "PNG" not in repr(found)
    assert torch.equal(evaluation.unpack_codes(vq, found.content)[1], y)


def test_coloured_pictures_are_one_png():
    vq, x = tiny(shape=(3, 4, 4)), rows(5, (3, 4, 4))
    found = evaluation.file_sizes(vq, x)
    assert found.depth == 8 and 5 * 48 < found.png < 5 * 48 + 100 < found.png_each  # noise cannot be compressed
