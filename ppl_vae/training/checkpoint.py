"""Files of a run that must survive anything: written atomically, checked when read, never unpickled.

A checkpoint is one file: a line that names the format, a line with the SHA-256 digest of the rest, and a
``torch.save`` of tensors, numbers, strings and lists, which is read back with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..files import write_atomically

MAGIC = b"ppl_vae checkpoint 1\n"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, None, lists and dicts of them) as one checked file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_atomically(path, MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: the file is not a checkpoint, is cut short, has been changed, or holds anything but plain data.
    """
    content = path.read_bytes()
    head = len(MAGIC) + 65
    if not content.startswith(MAGIC):
        raise ValueError(f"{path} is not a ppl_vae checkpoint; start again in an empty folder")
    if hashlib.sha256(content[head:]).hexdigest().encode() != content[len(MAGIC) : head - 1]:
        raise ValueError(f"{path} is truncated or has been changed since it was written; it was not loaded")
    try:
        return torch.load(io.BytesIO(content[head:]), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} holds more than plain data and was not loaded ({reason})") from None


def of_today(state: dict[str, Any], stages: list[tuple[str, int]], own: dict[str, Tensor] | None) -> dict[str, Any]:
    """A checkpoint in today's form; those of before there were stages are of the main stage, named "".

    Args:
        state: the checkpoint.
        stages: names and epochs of the stages.
        own: state of the main stage's objective, None if it is that of the whole.
    """
    if "stages" in state:
        return state
    found = {name: state.get(name, False) for name in ("capture", "seconds", "stopped_early")}
    none = {"capture": False, "seconds": 0.0, "stopped_early": False}
    names = [name for name, _ in stages]
    return {
        **state,
        "at": [names.index(""), *state["at"]],
        "stages": [{"name": name, "epochs": epochs, **(none if name else found)} for name, epochs in stages],
        "stage": own,
        "optimizers": {"": state["optimizer"]},
        "rows": [{"stage": "", **row} for row in state["rows"]],
    }


def _digest(state: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers as safetensors, with their digest among the metadata."""
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    write_atomically(path, save(state, metadata={"sha256": _digest(state)}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a model's parameters and buffers.

    Raises:
        ValueError: the file is cut short or changed, or is of a differently built model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            recorded = (file.metadata() or {}).get("sha256")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}); it was not loaded") from None
    if recorded is not None and recorded != _digest(state):
        raise ValueError(f"{path} has been changed since it was written; it was not loaded")
    load_state(model, state, path)


def load_state(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """``load_state_dict`` with one sentence when names or shapes differ; nothing is loaded then."""
    own = module.state_dict()
    lazy = {name for name, value in own.items() if torch.nn.parameter.is_lazy(value)}
    shapes = {name: tuple(value.shape) for name, value in own.items() if name not in lazy}
    odd = sorted(set(own) ^ set(state)) or sorted(n for n in shapes if shapes[n] != tuple(state[n].shape))
    if odd:
        raise ValueError(f"{path} is of a model built differently: {odd[0]} does not match; it was not loaded")
    module.load_state_dict(state)
