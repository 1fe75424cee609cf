"""ppl_vae: a laboratory for variational autoencoders written as probabilistic programs in Pyro.

Names are imported on first use (PEP 562), so that ``import ppl_vae`` is quick and changes no global state.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "VAE": "models",
    "compare": "comparison",
    "SVI": "objectives",
    "Reconstruction": "objectives",
    "fit": "training",
    "load": "training",
    "open_run": "trained",
    "Trained": "trained",
}
_MODULES = (
    "code_priors",
    "comparison",
    "corruptions",
    "data",
    "distributions",
    "estimators",
    "evaluation",
    "handlers",
    "likelihoods",
    "models",
    "networks",
    "objectives",
    "penalties",
    "posteriors",
    "priors",
    "quantizers",
    "reporting",
    "sklearn",
    "training",
)
__all__ = ["SVI", "VAE", "Reconstruction", "Trained", "__version__", "compare", "fit", "load", "open_run", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
