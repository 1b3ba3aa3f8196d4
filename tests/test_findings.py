"""One rule decides every claim."""

from __future__ import annotations

import numpy as np
import pytest

from interp_core.estimates import Estimate
from interp_core.findings import Bar, Finding, at_least, at_most, counted, every


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.6, 0.8, True), (0.1, 0.4, False), (0.4, 0.6, None)]
)
def test_the_whole_interval_decides(low, high, verdict):
    estimate = Estimate(0.5, 20, "facts", low, high)
    assert at_least(0.5).verdict(estimate) is verdict
    other = {True: False, False: True, None: None}[verdict]
    assert at_most(0.5).verdict(estimate) is other
    assert Bar(0, 1).verdict(estimate) is True
    assert Bar(0.5, 2).of_ends(np.array([[0.5, low, high]])) == [verdict]


def test_a_value_without_an_interval_decides_by_itself():
    assert at_least(5).verdict(Estimate(5, 30, "heads")) is True
    assert at_least(5).verdict(Estimate(4, 30, "heads")) is False


def test_several_verdicts_make_one():
    assert (every([True, True]), every([True, None]), every([None, False])) == (True, None, False)


def test_a_finding_says_what_decided_it():
    estimate = Estimate(0.72, 24, "facts", 0.5, 0.9)
    found = Finding.measured(
        "efficacy",
        "The edit takes",
        "100%",
        estimate,
        "share",
        bar=at_least(0.95),
        measure="share of edits after which the new object is likelier",
        place="table 4",
    )
    assert (found.holds, found.verdict) == (False, "\u2717 not replicated")
    assert found.decided_by.endswith("likelier: at least 95% (bar: ours)")
    assert (found.shown, found.source) == ("72% [50%, 90%]", "100% (table 4)")


def test_checks_are_not_counted_among_claims():
    estimate = Estimate(1, 1, "runs")
    claim, check = (
        Finding.measured("a", "A", "B", estimate, "x", bar=at_least(0), check=check)
        for check in (False, True)
    )
    undecided = Finding.measured("c", "C", "D", Estimate(1, 9, "runs", 0, 2), "x", bar=at_least(1))
    assert counted([claim, check]) == "of 1 claims 1 holds"
    assert counted([claim, check, undecided]) == "of 2 claims 1 holds, 1 is undecided"
