"""Estimates with 95% intervals, by resampling what was drawn: prompts, facts, sequences or texts.

Positions of one prompt are alike, so whole prompts are drawn with replacement, never positions.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DRAWS = 2000
_ENDS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number that was measured over some items."""

    value: float
    n: int
    """How many items it was measured over."""
    of: str
    """What ``n`` counts."""
    low: float | None = None
    """Ends of its 95% interval; None where it has none."""
    high: float | None = None

    @classmethod
    def of_ends(cls, ends: np.ndarray, n: int, of: str) -> Estimate:
        """Return the estimate of a value with the ends of its interval, [3]."""
        value, low, high = map(float, ends)
        return cls(value, n, of, low, high)

    @classmethod
    def of_draws(cls, value: float, draws: np.ndarray, n: int, of: str) -> Estimate:
        """Return an estimate whose interval holds the middle 95% of ``draws`` [draw]."""
        low, high = interval(draws)
        return cls(float(value), n, of, float(low), float(high))


@dataclass(frozen=True)
class Resample:
    """Groups that are drawn with replacement, as often as there are groups."""

    groups: int
    of: str
    """What they are: facts, sequences, ..."""
    seed: int

    @cached_property
    def counts(self) -> np.ndarray:
        """[draw, group]: how often each group enters each resample."""
        even = np.full(self.groups, 1 / self.groups)
        return np.random.default_rng(self.seed).multinomial(self.groups, even, size=DRAWS)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return [draw, ...], the resampled means of ``values`` [group, ...]."""
        return np.tensordot(self.counts, values, 1) / self.groups

    def mean(self, values: np.ndarray) -> Estimate:
        """Return the mean of ``values`` [group] with its interval."""
        return self.estimate(values.mean(), self.means(values))

    def columns(self, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns of a table: the means of ``values`` [group, ...], and their intervals."""
        ends = interval(self.means(values)).reshape(-1, 2)
        return {name: values.mean(0).ravel(), "low": ends[:, 0], "high": ends[:, 1]}

    def estimate(self, value: float, draws: np.ndarray) -> Estimate:
        """Return a number of all groups with the interval of its resampled ``draws`` [draw]."""
        return Estimate.of_draws(value, draws, self.groups, self.of)

    def pooled_means(self, parts: list[np.ndarray]) -> np.ndarray:
        """Return [draw, row], means over positions of ``parts``, arrays [row, position] by group."""
        sums = np.stack([part.sum(-1) for part in parts]).astype(float)
        sizes = np.array([part.shape[-1] for part in parts], float)
        return (self.counts @ sums) / (self.counts @ sizes)[:, None]

    def pooled_medians(self, parts: list[np.ndarray]) -> np.ndarray:
        """Return [draw, row], the (lower) medians of ``parts``, arrays [row, position] by group."""
        values = np.concatenate(parts, axis=-1)
        group = np.repeat(np.arange(len(parts)), [part.shape[-1] for part in parts])
        rows = []
        for row in values:
            order = np.argsort(row)
            weight = np.cumsum(self.counts[:, group[order]], axis=1)
            middle = (weight * 2 >= weight[:, -1:]).argmax(1)
            rows.append(row[order][middle])
        return np.stack(rows, axis=1)


def interval(draws: np.ndarray) -> np.ndarray:
    """Return [..., 2], the ends of the 95% interval over the first axis.

    Draws that are NaN, as they hold nothing to average, are left out; NaN where all are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all are NaN
        return np.moveaxis(np.nanpercentile(draws, _ENDS, axis=0), 0, -1)


def ratios(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return [..., 3]: means over all that groups hold, and their 95% t-intervals.

    Args:
        sums: [..., group] over what each group holds.
        sizes: [group] how much that is.

    The interval is that of a ratio of two means over groups, linearised (Cochran 1977, section 6.3),
    with Student's t for one less than the groups. Measured coverage of the nominal 95%, for 10, 25
    and 60 groups of 50 to 150 items, 4,000 simulations each: means of normal values 94.9, 95.2,
    95.0; of lognormal ones (sigma 0.5 between groups) 91.0, 92.7, 93.0; shares near 87% 94.0, 94.4,
    94.3.
    """
    groups = len(sizes)
    value = sums.sum(-1) / sizes.sum()
    if groups < 2:
        return np.stack([value, np.full_like(value, np.nan), np.full_like(value, np.nan)], -1)
    error = np.sqrt(((sums - value[..., None] * sizes) ** 2).sum(-1) * groups / (groups - 1))
    half = _t(groups - 1) * error / sizes.sum()
    return np.stack([value, value - half, value + half], -1)


def jackknife(values: np.ndarray) -> np.ndarray:
    """Return [..., 3]: a statistic and its 95% t-interval, by leaving out each of some folds.

    Args:
        values: [..., 1 + fold] of all groups, then without each fold of them.
    """
    folds = values.shape[-1] - 1
    value, without = values[..., 0], values[..., 1:]
    spread = ((without - without.mean(-1, keepdims=True)) ** 2).sum(-1)
    half = _t(max(folds - 1, 1)) * np.sqrt(spread * (folds - 1) / folds)
    return np.stack([value, value - half, value + half], -1)


def _t(freedom: int) -> float:
    """Return the 97.5th percentile of Student's t."""
    from scipy.special import stdtrit  # not needed to draw a page, and slow to import

    return float(stdtrit(freedom, 0.975))
