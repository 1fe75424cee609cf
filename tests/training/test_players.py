"""Players: a game under ``fit`` against the same game by hand, captured, resumed, and what cannot be played."""

import functools

import pytest
import torch
from torch import nn
from training.fixtures import Adversarial

from ppl_vae import fit
from ppl_vae.objectives import Loss, Objective, Player
from ppl_vae.training import run as run_module

X = torch.rand(50, 16, generator=torch.Generator().manual_seed(1))
run = functools.partial(fit, train=X, epochs=2, batch_size=20, progress=False, seed=4)


def made(alternate=False):
    torch.manual_seed(0)
    return Adversarial(alternate=alternate)


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_game_is_played_as_by_hand(alternate, clip):
    game, by_hand = made(alternate), made(alternate).train()
    history = run(game, shuffle=False, clip=clip, compile=False, lr=0.01)
    players = {
        "": (by_hand.model, torch.optim.Adam(by_hand.model.parameters(), 0.01, fused=True)),
        "critic": (by_hand.critic, torch.optim.RMSprop(by_hand.critic.parameters(), 0.005)),
    }
    torch.manual_seed(4)
    losses, step = [], 0
    for _ in range(2):
        for x in X.split(20):
            movers = [["critic"], [""]][step % 2] if alternate else ["", "critic"]
            loss = by_hand(x)
            losses.append([loss.value.item(), loss.others["critic"].item()])
            for name in movers:
                module, _ = players[name]
                value = loss.others[name] if name else loss.value
                own = torch.autograd.grad(value, [*module.parameters()], retain_graph=True)
                for p, gradient in zip(module.parameters(), own, strict=True):
                    p.grad = gradient
                if clip:
                    nn.utils.clip_grad_norm_(module.parameters(), clip)
            for name in movers:
                players[name][1].step()
            step += 1
    assert equal(game, by_hand)
    means = torch.tensor(losses[3:]).mul(torch.tensor([[20.0], [20.0], [10.0]])).sum(0) / 50
    assert history.rows[1]["train"]["loss"] == pytest.approx(means[0].item(), rel=1e-5)
    assert history.rows[1]["train"]["critic"] == pytest.approx(means[1].item(), rel=1e-5)
    assert 0 < history.rows[1]["train"]["told"] <= 1 and history.rows[1]["lr"] == 0.01


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "clip": 0.05, "schedule": "cosine"}], ids=["plain", "more"])
def test_the_graphs_of_a_game_give_the_bits_of_eager_steps(uncompiled, monkeypatch, alternate, more):
    captures, step = [], run_module.Loop._step

    def counted(self, group):
        step(self, group)
        captures.append(len(uncompiled))

    monkeypatch.setattr(run_module.Loop, "_step", counted)
    game, reference = made(alternate), made(alternate)
    a = run(game, valid=X[:10], compile=True, **more)
    assert captures == [1 + alternate] * len(captures)  # one for each set of movers, all before the first step
    b = run(reference, valid=X[:10], compile=False, **more)
    assert (a.steps, b.steps) == ("captured", "eager") and equal(game, reference)
    assert [(r["train"], r["valid"]) for r in a.rows] == [(r["train"], r["valid"]) for r in b.rows]


@pytest.mark.slow
@pytest.mark.parametrize("alternate", [False, True])
def test_compiled_steps_of_a_game_follow_eager_ones(alternate):
    game, reference = made(alternate), made(alternate)
    assert run(game, compile=True, epochs=5).steps == "captured"
    run(reference, compile=False, epochs=5)
    for p, q in zip(game.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-4)


@pytest.mark.parametrize("captured", [False, True])
def test_a_game_killed_between_any_two_steps_ends_with_the_same_bits(tmp_path, uncompiled, monkeypatch, captured):
    more, step = {"compile": captured, "schedule": "linear"}, run_module.Loop._step
    whole, kills = made(alternate=True), []
    run(whole, **more)

    def dying(self, group):
        step(self, group)
        if self.step == len(kills) + 1:
            kills.append(self.step)
            self.save()
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module.Loop, "_step", dying)
    for n in range(7):
        parts = made(alternate=True)
        try:
            run(parts, out=tmp_path / "run", resume=n > 0, **more)
        except KeyboardInterrupt:
            continue
    assert kills == [1, 2, 3, 4, 5, 6] and equal(whole, parts)


class Game(Objective):
    """Two weights, whose players are given."""

    watch = None

    def __init__(self, players, others=("b",)):
        super().__init__()
        self.model, self.given, self.others = (
            nn.ParameterDict({"a": torch.ones(16), "b": torch.ones(16)}),
            players,
            others,
        )
        self.listed = players(self.model)

    def players(self):
        return self.listed

    def forward(self, x, *_):
        value = (self.model["a"] - self.model["b"] - x).square().mean()
        return Loss(value, {}, dict.fromkeys(self.others, -value))


CANNOT = {
    "shared": (lambda m: [Player("a", [m["a"]]), Player("b", [m["a"]])], r"\(16,\) belongs to the players 'a' and 'b'"),
    "foreign": (lambda m: [Player("b", [nn.Parameter(torch.ones(1))])], "'b' has a parameter that is not among the"),
    "empty": (lambda m: [Player("b", [])], "player 'b' has no parameters that require gradients"),
    "twice": (lambda m: [Player("b", [m["b"]]), Player("b", [])], "different names, and two are named 'b'"),
    "nobody": (lambda m: [Player("", (), every=2), Player("b", [m["b"]], every=2)], "no player moves at step 1"),
    "at": (lambda m: [Player("b", [m["b"]], every=2, at=2)], "at must be below every = 2, not 2"),
    "every": (lambda m: [Player("b", [m["b"]], every=0)], "every must be a whole number of at least 1, not 0"),
    "long": (lambda m: [Player("", (), every=10_007), Player("b", [m["b"]])], "turns repeat after 10007 steps"),
    "loss": (lambda m: [Player("c", [m["b"]])], r"Loss has no others\['c'\], the loss of the player"),
    "word": (lambda m: [Player("b", [m["b"]], "adamm")], "optimizer 'adamm' is unknown; .*did you mean adam"),
    "factor": (lambda m: [Player("b", [m["b"]], lr_factor=-1)], "lr_factor must be a positive number, not -1"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_games_that_cannot_be(name):
    players, message = CANNOT[name]
    with pytest.raises(ValueError, match=message):
        run(Game(players))


def test_patience_has_nothing_to_watch():
    with pytest.raises(ValueError, match="patience is 2, but the objective of the main stage watches no term"):
        run(made(), valid=X[:10], patience=2)


def test_a_frozen_player_and_a_lost_game():
    game = Game(lambda m: [Player("b", [m["b"]])])
    game.model["a"].requires_grad_(False)
    run(game, lr=0.1)
    assert torch.equal(game.model["a"], torch.ones(16)) and not torch.equal(game.model["b"], torch.ones(16))
    lost = Game(lambda m: [Player("b", [m["b"]], lambda p: torch.optim.SGD(p, lr=1e30))])
    with pytest.raises(ValueError, match="the loss became (nan|inf|-inf) at step [23]; use a smaller lr or clip="):
        run(lost)
