"""Programs by the hundred: our estimators against Pyro's, or against the exact figure; equal, or refused in words.

Each family of programs is one test. ``test_counts`` prints the table; run it with ``-s``.
"""

import functools
import time
from collections import Counter

import families
import pytest
from compare import ESTIMATORS, KINDS, OTHERS, outcome

MORE = {"scales": 4, "masks": 4, "factors and helpers": 4}  # estimators besides TraceELBO; 3 elsewhere


def comparisons(cases, others):
    """(case, estimator, K): TraceELBO, and others in turn, at K = 1 and 3 in turn."""
    for i, case in enumerate(cases):
        turn = [OTHERS[(others * i + j) % len(OTHERS)] for j in range(others)]
        trace = [("TraceELBO", 1 + 2 * (i % 2))] if "scored" in case.traits else [("TraceELBO", 1), ("TraceELBO", 3)]
        for name, k in (*trace, *((name, 1 if i % 3 == 0 else 3) for name in turn)):
            if not case.traits & ESTIMATORS[name].skips:
                yield case, name, k


@functools.cache
def found(family, others):
    """Outcomes of a family: (program, estimator, K, kind, what was said); its own number of others for None."""
    start = time.process_time()
    cases = families.FAMILIES[family]()
    compared = comparisons(cases, others or MORE.get(family, 3))
    outcomes = [(case.name, name, k, *outcome(case, name, k)) for case, name, k in compared]
    return len(cases), outcomes, time.process_time() - start


def third_things(family, others=None):
    outcomes = found(family, others)[1]
    return [f"{program} | {name} {k} | {said}" for program, name, k, kind, said in outcomes if kind == KINDS[3]]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_family(family):
    third = third_things(family)
    assert not third, "\n".join(third)


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_estimator_on_every_program(family):
    third = third_things(family, len(OTHERS))
    assert not third, "\n".join(third)


def table():
    """Counts of every family, and the refusals by reason."""
    rows = [f"{'family':24}{'programs':>9}" + "".join(f"{kind:>13}" for kind in KINDS) + f"{'s':>7}"]
    total, reasons = Counter(), Counter()
    for family in families.FAMILIES:
        programs, outcomes, seconds = found(family, None)
        counts = Counter(kind for *_, kind, _ in outcomes)
        total.update({**counts, "programs": programs, "s": seconds})
        reasons.update(families.reason(said) for *_, kind, said in outcomes if kind == "refused")
        numbers = "".join(f"{counts[kind]:13}" for kind in KINDS)
        rows.append(f"{family:24}{programs:9}{numbers}{seconds:7.1f}")
    numbers = "".join(f"{total[kind]:13}" for kind in KINDS)
    rows.append(f"{'all':24}{total['programs']:9}{numbers}{total['s']:7.1f}")
    return "\n".join([*rows, "", "refused", *(f"{count:6}  {said}" for said, count in reasons.most_common())])


def test_counts():
    print("\n" + table())
    programs = sum(found(family, None)[0] for family in families.FAMILIES)
    equal = sum(kind in KINDS[:2] for family in families.FAMILIES for *_, kind, _ in found(family, None)[1])
    assert programs >= 500 and equal >= 1500
