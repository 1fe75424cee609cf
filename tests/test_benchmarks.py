"""The benchmark command runs, names what it skips, and writes what it promises."""

import json
import sys

import torch

from benchmarks import __main__ as command
from benchmarks import hand, ours, works
from ppl_vae import SVI


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
