"""Two processes have the codebook of one on the joint batch, whether they wait for each other in forward or settle."""

import socket
from pathlib import Path

import forked
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(out, count):
    out.mkdir()
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    made = []
    for rank in range(count):
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        error = out / f"{rank}.txt"
        made.append((forked.script(SCRIPT, [out], error, RANK=rank, WORLD_SIZE=count, **place), error))
    for code, error in [forked.ended(*process) for process in made]:
        assert code == 0, error[-3000:]
    return load_file(out / "state.safetensors")


def test_two_processes_learn_what_one_learns_of_the_joint_batch(tmp_path):
    one, two = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert one.keys() == two.keys()
    for name, value in one.items():
        if not name.startswith("revived"):  # by vectors drawn at random; the script sees that all processes draw alike
            torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    assert any(name.startswith("revived") for name in two)
