"""The benchmark command runs, names what it skips, and writes what it promises."""

import json
import sys

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import hand, ours, vqvae, works
from ppl_vae import SVI, Reconstruction


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
    print(losses, (byhand.quantizer.codebook - model.quantizer.codebook).abs().max())
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(model.quantizer.codebook, byhand.quantizer.codebook, atol=1e-5, rtol=1e-4)
