"""The room that figures have: whatever shows them sets it, and they lay themselves out by it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

_ROOM: ContextVar[int | None] = ContextVar("room", default=None)
_NARROW = 560
"""Below it a room is that of a phone, in pixels."""
_LEAST = 100
"""Width of a plot that is never denied, in pixels."""


@contextlib.contextmanager
def within(pixels: int | None) -> Iterator[None]:
    """Draw figures for a column of so many pixels; None for one that is wide enough for all."""
    token = _ROOM.set(pixels)
    try:
        yield
    finally:
        _ROOM.reset(token)


def narrow() -> bool:
    """Whether the room is that of a phone: what stands beside a plot then goes below it."""
    room = _ROOM.get()
    return room is not None and room < _NARROW


def fit(width: int, beside: int = 0) -> int:
    """Return ``width``, or what the room leaves of it with ``beside`` pixels next to the plot."""
    room = _ROOM.get()
    return width if room is None else min(width, max(_LEAST, room - beside))


def holds(width: float) -> bool:
    """Whether there is room for so many pixels."""
    room = _ROOM.get()
    return room is None or width <= room


def in_a_row(count: int, width: float, gap: int, beside: int = 0) -> int:
    """Return how many of ``count`` things of that width stand side by side; at least one.

    ``beside`` is room that all of them together leave.
    """
    fitting = (n for n in range(count, 1, -1) if holds(beside + n * (width + gap) - gap))
    return next(fitting, 1)


def across(count: int, width: int, beside: int = 0, gap: int = 18) -> tuple[int, int]:
    """Return how many of ``count`` panels stand side by side, and how wide each plot is.

    Each has ``width`` if it can; three quarters of it before there are fewer in a row; and up to
    twice as much where a row holds fewer than all.

    Args:
        count: Of panels.
        width: Of a plot, in pixels.
        beside: Room of the axes next to each plot.
        gap: Between panels.
    """
    n = in_a_row(count, math.ceil(0.75 * width) + beside, gap)
    if n == 1:
        return 1, fit(width if count == 1 else 2 * width, beside)
    room = _ROOM.get()
    most = width if n == count else 2 * width
    return n, width if room is None else min(most, (room + gap) // n - gap - beside)
