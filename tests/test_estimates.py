"""Intervals of estimates cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interp_core import estimates


@pytest.mark.parametrize(("n", "least"), [(24, 0.93), (48, 0.91)])
def test_the_interval_of_a_share_covers(n, least):
    every = [estimates.share(np.arange(n) < hits, "pairs") for hits in range(n + 1)]
    low, high = (np.array([getattr(each, end) for each in every]) for end in ("low", "high"))
    for p in (0.5, 0.8, 0.95, 0.99):
        weight = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
        assert weight[(low <= p) & (p <= high)].sum() > least
    assert every[-1].low < 1 and every[-1].high == pytest.approx(1)


@pytest.mark.parametrize("n", [10, 25, 60])
def test_the_interval_of_a_mean_covers(n):
    values = np.random.default_rng(0).normal(3, 2, (2000, n))
    _, low, high = estimates.means(values).T
    assert 0.93 < ((low <= 3) & (high >= 3)).mean() < 0.97


@pytest.mark.parametrize("n", [10, 25, 60])
def test_a_row_that_was_picked_is_not_tested_on_what_picked_it(n):
    rng = np.random.default_rng(0)
    null = [rng.normal(size=(n, 30)) for _ in range(1000)]
    above = np.mean([estimates.picked(each)[1] > 0 for each in null])
    own = [estimates.means(each[:, each.mean(0).argmax()])[1] > 0 for each in null]
    assert above < 0.07 and np.mean(own) > 0.35
    real = rng.normal(size=(n, 30))
    real[:, 7] += 3
    assert estimates.picked(real)[1] > 1


def test_a_row_can_be_picked_by_other_values():
    values = np.random.default_rng(0).normal(size=(40, 3))
    by = np.tile([0, 2, 1], (40, 1))
    assert estimates.picked(values, by=by) == pytest.approx(estimates.means(values[:, 1]))


def test_the_lowest_can_be_picked_too():
    values = np.random.default_rng(1).normal(size=(20, 5))
    values[:, 2] -= 4
    assert estimates.picked(values, np.argmin)[0] == pytest.approx(values[:, 2].mean())
