"""Intervals for statistics over positions that come in groups (prompts, facts, texts).

Positions of one prompt are alike, so whole prompts are drawn with replacement, never positions.
"""

from __future__ import annotations

import warnings

import numpy as np

DRAWS = 2000
_ENDS = (2.5, 97.5)


def draws(groups: int, seed: int) -> np.ndarray:
    """Return [draw, group]: how often each group enters each resample."""
    even = np.full(groups, 1 / groups)
    return np.random.default_rng(seed).multinomial(groups, even, size=DRAWS)


def mean(parts: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Return [draw, row], the resampled means of ``parts``, arrays [row, position] by group."""
    sums = np.stack([part.sum(-1) for part in parts]).astype(float)
    sizes = np.array([part.shape[-1] for part in parts], float)
    return (counts @ sums) / (counts @ sizes)[:, None]


def median(parts: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Return [draw, row], the resampled (lower) medians of ``parts``, arrays [row, position]."""
    values = np.concatenate(parts, axis=-1)
    group = np.repeat(np.arange(len(parts)), [part.shape[-1] for part in parts])
    rows = []
    for row in values:
        order = np.argsort(row)
        weight = np.cumsum(counts[:, group[order]], axis=1)
        middle = (weight * 2 >= weight[:, -1:]).argmax(1)
        rows.append(row[order][middle])
    return np.stack(rows, axis=1)


def interval(resampled: np.ndarray) -> np.ndarray:
    """Return [..., 2], the ends of the 95% interval over the first axis.

    Draws that are NaN, as they hold nothing to average, are left out; NaN where all are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all are NaN
        return np.moveaxis(np.nanpercentile(resampled, _ENDS, axis=0), 0, -1)
