"""Objectives: modules whose ``forward(*batch)`` gives a ``Loss`` for ``fit`` to minimise."""

from .adjusted import Adjusted
from .clustering import Clustering
from .contrastive_divergence import ContrastiveDivergence
from .loss import Loss as Loss
from .objective import Objective, Player, Stage
from .objective import as_objective as as_objective
from .reconstruction import Reconstruction
from .semi_supervised import SemiSupervised
from .svi import SVI

__all__ = [
    "SVI",
    "Adjusted",
    "Clustering",
    "ContrastiveDivergence",
    "Objective",
    "Player",
    "Reconstruction",
    "SemiSupervised",
    "Stage",
]
