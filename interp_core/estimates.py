"""Estimates with their intervals, and how they are resampled."""

from __future__ import annotations

from dataclasses import dataclass


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
