"""A tensor function that is called over and over: compiled at its first call, with the noise of eager calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .graphs import NotCapturable, compiled_function


class Repeated:
    """A function of tensors, compiled for inputs like those of its first call; eager, with a warning, if it cannot be.

    Args:
        function: gives one tensor from tensors; the caller calls it with inputs of one shape.
        what: what it computes, for the warning, as in "log-weights".
    """

    def __init__(self, function: Callable[..., Tensor], what: str) -> None:
        self.function, self.what = function, what
        self.run: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's tensor."""
        if self.run is None:
            self.run = self._compiled(inputs)
        return self.run(*inputs)[0]

    def _compiled(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        outputs = lambda *inputs: [self.function(*inputs)]  # noqa: E731
        try:
            return compiled_function(outputs, inputs)
        except NotCapturable as error:
            warnings.warn(
                f"{self.what} are computed eagerly, since {error}", stacklevel=6
            )  # of who called the evaluation
            return outputs
