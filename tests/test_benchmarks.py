"""The benchmark command runs, names what it skips, and writes what it promises."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import hand, ours, vqvae, vqvae_quality, works
from ppl_vae import SVI, Reconstruction, code_priors, data, fit, likelihoods, models, networks, quantizers


def test_quick_writes_rows_with_the_main_work_first(tmp_path, monkeypatch, capsys):
    out, picture = tmp_path / "quick.json", tmp_path / "quick.png"
    systems = ["floor", "ppl_vae-eager", "hand-written", "pyro-tutorial", "pythae"]
    line = ["--quick", "--json", str(out), "--plot", str(picture), "--repeats", "2", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *line, "--data-root", str(tmp_path), "--systems", *systems])
    threads = torch.get_num_threads()
    try:
        command.main()
    finally:
        torch.set_num_threads(threads)
    result = json.loads(out.read_text())
    rows = {row["system"]: row for row in result["rows"]}
    assert list(rows) == [name for name in systems if name not in result["skipped"]]
    assert set(result["skipped"]) <= {"pythae"} and ("pythae" in rows or "pythae" in capsys.readouterr().out)
    assert {row["work"] for row in rows.values()} == {"mnist-mlp-784-400-20-batch-128"}
    assert rows["floor"]["ratio_to_floor"] == 1.0
    # Anything that trains does the products and more.
    assert all(row["ratio_to_floor"] > 1 for name, row in rows.items() if name != "floor")
    assert all(row["seconds_per_100_steps"] > 0 for row in rows.values())
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_hand_written_loop_and_ours_have_one_loss():
    """Same networks, same noise: the peers' work is the same work."""
    for work in works.WORKS:
        if work.prior != "normal":  # other starting values
            continue
        byhand, vae = hand.ByHand(work), ours.vae(work)
        layers = [
            [m for part in parts for m in part.modules() if list(m.parameters(recurse=False))]
            for parts in ((byhand.encoder, byhand.decoder), (vae.posterior, vae.likelihood))
        ]
        assert len(layers[0]) == len(layers[1])
        for a, b in zip(*layers, strict=True):
            a.load_state_dict(b.state_dict())
        x = works.rows(work, None, steps=1)[:8]
        torch.manual_seed(0)
        expected = byhand(x).item()
        torch.manual_seed(0)
        objective = SVI(vae, ours.estimator(work))
        found = objective(x).value.item()
        if work.particles == 1 or type(objective.estimator).__name__ == "IWAE":
            assert abs(found - expected) < 1e-4 * abs(expected), work.name


def _pair():
    """The hand-written VQ-VAE and ours, from equal weights and codebooks, without the revival of codes, which draws."""
    torch.manual_seed(0)
    byhand, model = vqvae.ByHand(revive=0), vqvae.vqvae(revive=0)
    parts = (byhand.encoder, byhand.decoder), (model.encoder, model.to_vectors, model.likelihood)
    theirs, own = ([m for part in side for m in part.modules() if list(m.parameters(recurse=False))] for side in parts)
    assert len(theirs) == len(own) == 7
    for a, b in zip(theirs, own, strict=True):
        b.load_state_dict(a.state_dict())
    codes = 0.3 * torch.randn(vqvae.CODES, vqvae.DIM)
    for start in (byhand.quantizer._codebook.embed[0], byhand.quantizer._codebook.embed_avg[0]):
        start.copy_(codes)
    model.quantizer.codebook.copy_(codes)
    model.quantizer.sums.copy_(codes)
    return byhand, model


def test_the_vq_vae_by_hand_and_ours_have_one_loss():
    """The first steps agree to float32's rounding; the codebooks do too, so the running means are the same."""
    pytest.importorskip("vector_quantize_pytorch", reason="vector-quantize-pytorch is not installed")
    byhand, model = _pair()
    x = vqvae.rows(None, 1)[:32]
    losses = []
    for module, loss_of in ((byhand, byhand), (model, lambda x: Reconstruction(model)(x).value)):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
        losses.append([])
        for _ in range(8):
            loss = loss_of(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(model.quantizer.codebook, byhand.quantizer.codebook, atol=1e-5, rtol=1e-4)


def test_the_vq_vae_is_timed_in_turns(tmp_path, monkeypatch, capsys):
    pytest.importorskip("vector_quantize_pytorch", reason="vector-quantize-pytorch is not installed")
    line = ["--systems", "ppl_vae-eager", "--repeats", "2", "--steps", "1", "--no-memory"]
    monkeypatch.setattr(sys, "argv", ["vqvae", *line, "--data-root", str(tmp_path), "--json", str(tmp_path / "t.json")])
    threads = torch.get_num_threads()
    try:
        vqvae.main()
    finally:
        torch.set_num_threads(threads)
    peer, own = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (peer["system"], own["system"]) == (vqvae.PEER, "ppl_vae-eager") and peer["ratio"] == 1
    assert own["ratio"] > 0 < own["ms_a_step"] and capsys.readouterr().out.count("\n") == 4


def test_without_the_peer_the_vq_vae_is_not_timed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    monkeypatch.setattr(sys, "argv", ["vqvae", "--threads", str(torch.get_num_threads())])
    vqvae.main()
    assert "vector-quantize-pytorch is not installed" in capsys.readouterr().out


def test_memory_of_a_step_is_what_it_holds_at_its_peak():
    def round_():
        for _ in range(3):
            torch.zeros(2**18).add(torch.ones(2**18)).sum()  # three tensors of 1 MiB at a time, at most

    assert vqvae.step_mib(round_) == pytest.approx(3, abs=0.1)


def test_product_quantization_of_blocks():
    x = torch.arange(2 * 16.0).view(2, 1, 4, 4)
    cut = vqvae_quality.blocks(x, 2, 4)
    assert cut.shape == (2, 2, 8) and (cut[1, 0] == x[0, 0, 2:].flatten().numpy()).all()
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rate, error = vqvae_quality.quantized(rows, rows, 1)
    assert rate == 0 and error == pytest.approx(rows.var(0).sum())
    rate, error = vqvae_quality.quantized(rows, rows, 60)
    assert rate == pytest.approx(np.log2(60)) and error == pytest.approx(0, abs=1e-12)


def test_the_error_at_a_rate_is_on_the_lower_convex_hull():
    points = [(0.0, 10.0), (4.0, 9.0), (2.0, 4.0), (3.0, 7.0), (6.0, 0.0), (2.0, 5.0)]
    assert [vqvae_quality.at_rate(points, rate) for rate in (0.0, 1.0, 2.0, 4.0, 6.0, 9.0)] == [10, 7, 4, 2, 0, 0]


def test_the_quality_of_a_vq_vae_is_one_command(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    digits = data.load("digits", binarize="dynamic")
    encoder = networks.Conv(digits.shape, [8, 8], flatten=False)
    p = likelihoods.Bernoulli(networks.ConvTranspose((4, 2, 2), [8, 8], digits.shape), digits.shape)
    vq = models.VQVAE(encoder, quantizers.VectorQuantizer(16, 4), p, code_priors.Transformer(8, 1, 1))
    fit(Reconstruction(vq), digits.train, epochs=2, out=tmp_path / "run", progress=False)
    line = ["--run", str(tmp_path / "run"), "--cache", str(tmp_path), "--json", str(tmp_path / "q.json"), "--quick"]
    monkeypatch.setattr(sys, "argv", ["vqvae_quality", *line])
    vqvae_quality.main()
    assert {"binary draws", "grey", "test data", "samples"} <= {w.strip() for w in capsys.readouterr().out.split("|")}
    found = json.loads((tmp_path / "q.json").read_text())
    assert found["classifier_accuracy"] > 0.5 and found["pictures"]["test data"]["recognised"] >= 0
    for one in found["data"].values():
        assert 1 <= one["perplexity"] <= 16 and 0 < one["rate_bits"] < 8 * 4
        assert one["product_quantization_error"] <= one["curve"][0][1]  # that of the mean, at no bits
    assert len([*tmp_path.glob("judge-digits-*.pt")]) == 1
