"""What makes a fall of the loss over training an abrupt one: a plateau, then most of it at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FALL = 1.5
"""By how many nats the loss must fall in all."""
WINDOW = 0.1
"""The share of training within which the fall is abrupt, and that the plateau before it lasts at least."""
MOST, BEFORE = 0.5, 0.15
"""Shares of the whole fall: at least so much is within the window, and at most so much before it."""


@dataclass(frozen=True)
class Change:
    """Where a loss falls most within ``WINDOW`` of training, and what falls before and in all."""

    start: int
    """Step at which the window begins."""
    end: int
    fall: float
    """Within the window, nats."""
    before: float
    """From the first checkpoint to the window, nats; negative where it rose."""
    whole: float
    """From the first checkpoint to the last, nats."""
    steps: int
    """Of the whole training."""

    @property
    def abrupt(self) -> bool:
        """Whether the loss is on a plateau, and then falls at once.

        An exponential, and a loss linear in the logarithm of the step, fall most at their start, and a
        line nowhere: they have no plateau, or little of their fall is within any window.
        """
        return (
            self.whole > FALL
            and self.fall >= MOST * self.whole
            and self.before <= BEFORE * self.whole
            and self.start >= WINDOW * self.steps
        )


def change(steps: np.ndarray, loss: np.ndarray) -> Change:
    """Return where ``loss`` [checkpoint] falls most, in the shortest of equal windows.

    ``steps`` [checkpoint] are those of the checkpoints.
    """
    apart = steps[None, :] - steps[:, None]
    # Where checkpoints lie further apart than a window, those next to each other are one.
    widest = max(WINDOW * steps[-1], np.diff(steps).max())
    falls = np.where((apart > 0) & (apart <= widest), loss[:, None] - loss, -np.inf)
    most = np.argwhere(falls == falls.max())
    start, end = min(most.tolist(), key=lambda pair: apart[pair[0], pair[1]])
    return Change(
        int(steps[start]),
        int(steps[end]),
        float(falls[start, end]),
        float(loss[0] - loss[start]),
        float(loss[0] - loss[-1]),
        int(steps[-1]),
    )


def first(steps: np.ndarray, there: np.ndarray) -> int | None:
    """Return the first step at which a condition [checkpoint] holds."""
    return int(steps[there.argmax()]) if there.any() else None
