"""Pyro's examples, made anew and small, through ``Program``, ``SVI``, ``fit`` and ``evaluation``: right or refused."""

import pytest
from pyro_programs import autoencoders, hierarchies, sequences, topics
from pyro_programs.harness import check_fit, check_log_likelihood, check_same

CASES = autoencoders.CASES | hierarchies.CASES | sequences.CASES | topics.CASES
PAIRS = [(name, i) for name, case in CASES.items() for i in range(len(case.pairs))]


@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_loss_and_gradient_are_pyros(name, pair):
    check_same(CASES[name], *CASES[name].pairs[pair]())


@pytest.mark.parametrize("name", CASES)
def test_fit(name):
    check_fit(CASES[name], CASES[name].pairs[0]()[0])


@pytest.mark.parametrize("name", CASES)
def test_log_likelihood(name):
    check_log_likelihood(CASES[name])
