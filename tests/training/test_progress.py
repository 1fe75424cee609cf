"""What a run shows: a bar in a terminal, a few lines in a log file, a few messages in a notebook."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import types

import pytest
import torch

from ppl_vae import Reconstruction, fit, models, networks
from ppl_vae.training import progress
from ppl_vae.training.progress import Bar, Display, Lines, Log

ROW = {"stage": "", "epoch": 1, "examples_per_second": 10.0, "train": {"loss": 3.0}, "valid": {"loss": 4.0}}


class Clock:
    """A clock that stands until it is moved, or moves at every look."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def monotonic(self):
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    return progress.time


def train(epochs=20):
    torch.manual_seed(0)
    ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
    x = torch.rand(64, 6, generator=torch.Generator().manual_seed(1))
    return fit(Reconstruction(ae), x, x[:9], epochs=epochs, batch_size=16)


def run_for(seconds, clock, steps=6000):
    """A run of so many seconds, with an epoch every hundredth of it."""
    log = Log(True, steps, 0)
    for i in range(steps):
        clock.now += seconds / steps
        log.step("", i // 60, 100, lambda: {"loss": 5.0})
        if i % 60 == 59:
            log.epoch(ROW | {"epoch": i // 60 + 1})
    log.close()


# A log file


@pytest.mark.parametrize(("seconds", "most"), [(2, 1), (600, 5), (36_000, 50)])
def test_a_log_file_has_a_handful_of_lines(seconds, most, clock, capsys):
    run_for(seconds, clock)
    lines = capsys.readouterr().err.splitlines()
    assert most // 2 < len(lines) <= most
    assert lines[-1].startswith("epoch 100/100, step 6000 of 6000") and "left" not in lines[-1]
    assert lines[-1].endswith("valid  loss 4.00")


def test_a_line_has_rate_and_time_left(clock, capsys):
    run_for(600, clock)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "epoch 5/100, step 300 of 6000, 10 steps/s, 00:30 so far, 09:30 left  valid  loss 4.00"


def test_before_the_first_epoch_ends_a_line_has_the_means_so_far(clock, capsys):
    log = Log(True, 100, 40)  # resumed after 40 steps
    clock.now = 31.0
    log.step("layer 1", 0, 2, lambda: {"loss": 5.0})
    said = capsys.readouterr().err
    assert said == "layer 1 epoch 1/2, step 41 of 100, 0.0323 steps/s, 00:31 so far, 30:29 left  train  loss 5.00\n"


def test_a_pipe_gets_one_line_of_a_short_run(monkeypatch, capsys):
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        train()
    with os.fdopen(read) as stream:
        said = stream.read()
    assert said.count("\n") == 1 and "\r" not in said and "step 80 of 80" in said
    assert capsys.readouterr().out == ""


def test_a_run_that_was_done_says_nothing(capsys):
    Log(True, 80, 80).close()
    assert capsys.readouterr() == ("", "")


def test_nothing_is_shown_if_nothing_is_to_be(capsys):
    log = Log(False, 10, 0)
    log.step("", 0, 1, pytest.fail)
    log.say("words"), log.epoch(ROW), log.close()
    assert capsys.readouterr() == ("", "")


# A terminal


def test_a_terminal_has_a_bar_and_a_line_an_epoch(monkeypatch, capsys):
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    said = b""
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert progress._kind() is Bar
        train()
        while select.select([main], [], [], 0.2)[0]:
            said += os.read(main, 10_000)
    os.close(main)
    said = said.decode()
    assert "\r" in said and re.search(r"80/80 \[\d\d:\d\d<", said)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 20 and "valid  loss" in lines[0] and "examples/s" in lines[0]


# A notebook


class Shell:
    def __init__(self, config):
        self.config = config


@pytest.fixture
def notebook(monkeypatch):
    """IPython in a kernel, as far as it is used; gives the messages that it is sent."""
    messages = []

    class Handle:
        def update(self, shown):
            messages.append(shown)

    def display(shown, display_id):
        assert display_id is True
        messages.append(shown)
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: Shell({"IPKernelApp": {}})
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return messages


def test_a_two_second_fit_sends_few_messages_to_a_notebook(notebook, monkeypatch, capsys):
    assert progress._kind() is Display
    looks = 200 * 4 + 5  # one a step, besides those at the start, the renewals and the end
    monkeypatch.setattr(progress, "time", Clock(tick=2.0 / looks))
    train(epochs=200)
    assert 2 <= len(notebook) <= 4
    assert capsys.readouterr() == ("", "")
    assert "step 800 of 800" in repr(notebook[-1]) and "valid  loss" in repr(notebook[-1])
    assert notebook[-1]._repr_html_().startswith('<progress value="800" max="800"')


def test_words_stand_under_the_display(notebook):
    log = Log(True, 10, 0)
    log.say("steps run eagerly, since <lambda> is slow")
    log.step("", 0, 1, dict)
    log.close()
    assert repr(notebook[-1]).splitlines()[1] == "steps run eagerly, since <lambda> is slow"
    assert "<br>steps run eagerly, since &lt;lambda&gt; is slow" in notebook[-1]._repr_html_()


def test_ipython_in_a_terminal_is_no_notebook(notebook):
    sys.modules["IPython"].get_ipython = lambda: Shell({"TerminalIPythonApp": {}})
    assert progress._kind() is Lines
    sys.modules["IPython"].get_ipython = lambda: None
    assert progress._kind() is Lines
