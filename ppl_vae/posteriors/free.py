"""A posterior freed from its encoder: numbers of its own for every datum take the place of what the encoder gives."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


def refined_layer(posterior: nn.Module) -> str:
    """Name of the posterior's module whose output is refined: its head, or its network if it has none."""
    children = dict(posterior.named_children())
    found = next((name for name in ("head", "network") if name in children), None)
    if found is None:
        raise TypeError(
            f"posterior {type(posterior).__name__} has neither a head nor a network, whose output would be "
            "refined; derive it from posteriors.Posterior"
        )
    return found


class _Given(nn.Module):
    """Stands in for a module: whatever it is asked, it gives these tensors."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Any) -> Any:
        return self.output


def exchanged(module: Any, **children: nn.Module) -> Any:
    """A shallow copy of a module with some of its children exchanged; the others are shared."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin


class FreePosterior:
    """A posterior with parameters of its own for every datum of a batch, started at the encoder's.

    Args:
        posterior: a module with a head or a network.
        batch: (x,) or (x, y).

    Attributes:
        start: the parameters that the encoder gives.
    """

    def __init__(self, posterior: nn.Module, batch: tuple[Tensor, ...]) -> None:
        self.posterior, self.layer = posterior, refined_layer(posterior)
        seen: dict[str, list[Any]] = {"network": [], "head": []}
        hooks = [
            child.register_forward_hook(lambda *call, to=seen[name]: to.append(call[2]))
            for name, child in posterior.named_children()
            if name in seen
        ]
        try:
            posterior(*batch)
        finally:
            for hook in hooks:
                hook.remove()
        # What comes before the layer is the same at every step.
        self.fixed = {name: _Given(calls[0]) for name, calls in seen.items() if name != self.layer and calls}
        first: Any = seen[self.layer][0] if len(seen[self.layer]) == 1 else ()
        self.single = isinstance(first, Tensor)
        self.start: list[Tensor] = [t.detach().clone() for t in ([first] if self.single else first)]
        if not self.start or any(len(t) != len(batch[0]) for t in self.start):
            raise TypeError(
                f"posterior {type(posterior).__name__} does not call its {self.layer} once for a batch, so that "
                "there is nothing to refine for each datum"
            )

    def with_parameters(self, values: list[Tensor]) -> Any:
        """The posterior with these in place of what the encoder gives."""
        given = {self.layer: _Given(values[0] if self.single else tuple(values))}
        return exchanged(self.posterior, **self.fixed, **given)
