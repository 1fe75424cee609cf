"""The players of a stage: each minimises its own loss over its own parameters, with an optimizer of its own.

A player moves at step s if s mod every = at. An objective without players has one, who minimises ``Loss.value`` over
all parameters at every step.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor, nn

from ..checks import check_size
from ..objectives import Loss, Objective, Player
from .settings import Settings, check_number

LONGEST = 10_000  # steps after which the turns must repeat


class Mover:
    """A player with its parameters and its optimizer.

    Args:
        player: as the objective describes it.
        parameters: what it trains, in the objective's order.
        settings: of the stage.
        lr_factor: of the stage.
    """

    def __init__(self, player: Player, parameters: list[nn.Parameter], settings: Settings, lr_factor: float) -> None:
        self.name, self.parameters = player.name, parameters
        self.every, self.at = check_size("every", player.every), check_size("at", player.at, least=0)
        if self.at >= self.every:
            raise ValueError(f"at must be below every = {self.every}, not {self.at}")
        check_number("lr_factor", player.lr_factor)
        own = settings if player.optimizer is None else replace(settings, optimizer=player.optimizer)
        self.optimizer = own.make_optimizer(parameters)
        self.lr_factor = player.lr_factor * lr_factor
        # A function's own learning rate stands, unless something is to change it.
        scheduled = settings.schedule != "constant" or settings.warmup or self.lr_factor != 1
        self.sets_lr = not callable(own.optimizer) or bool(scheduled)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next step, before the factors."""
        if self.sets_lr:
            for group in self.optimizer.param_groups:
                group["lr"] = lr * self.lr_factor


def find_movers(objective: Objective, settings: Settings, lr_factor: float = 1.0) -> list[Mover]:
    """The players of an objective; parameters of no player are the main player's, named "".

    Raises:
        ValueError: nothing to train, a player without parameters, parameters that two players have or the objective
            does not hold, or two players of one name.
    """
    trained = [p for p in objective.itself.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("objective has no parameters that require gradients, so there is nothing to train")
    players = {"": Player("", ())}
    owner: dict[int, str] = {}
    held = {id(p) for p in objective.itself.parameters()}
    names: set[str] = set()
    for player in objective.players():
        if player.name in names:
            raise ValueError(f"players must have different names, and two are named {player.name!r}")
        names.add(player.name)
        players[player.name] = player
        for p in player.parameters:
            if id(p) not in held:
                raise ValueError(f"player {player.name!r} has a parameter that is not among the objective's")
            if owner.setdefault(id(p), player.name) != player.name:
                raise ValueError(
                    f"a parameter of shape {tuple(p.shape)} belongs to the players {owner[id(p)]!r} and "
                    f"{player.name!r}; a parameter must have one player"
                )
    movers = []
    for name, player in players.items():
        own = [p for p in trained if owner.get(id(p), "") == name]
        if own:
            movers.append(Mover(player, own, settings, lr_factor))
        elif name in names and name:
            raise ValueError(f"player {name!r} has no parameters that require gradients")
    return movers


def turns(movers: list[Mover]) -> list[tuple[Mover, ...]]:
    """Who moves at step 0, 1, ..., until the turns repeat.

    Raises:
        ValueError: a step at which nobody moves, or turns that take too long to repeat.
    """
    period = math.lcm(*(mover.every for mover in movers))
    if period > LONGEST:
        raise ValueError(f"the players' turns repeat after {period} steps; choose every so that they do by {LONGEST}")
    out = [tuple(m for m in movers if step % m.every == m.at) for step in range(period)]
    if () in out:
        raise ValueError(f"no player moves at step {out.index(())}; give every step a player by every and at")
    return out


def loss_of(loss: Loss, name: str) -> Tensor:
    """What a player minimises.

    Raises:
        ValueError: the loss has no entry for the player, or one that depends on no parameter.
    """
    if name and name not in loss.others:
        raise ValueError(f"the objective's Loss has no others[{name!r}], the loss of the player of this name")
    value = loss.others[name] if name else loss.value
    if not value.requires_grad:
        whose = f"'s others[{name!r}]" if name else ""
        raise ValueError(f"the objective's loss{whose} does not depend on any parameter that requires a gradient")
    return value
