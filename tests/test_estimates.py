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
