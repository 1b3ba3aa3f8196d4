"""Columns of a figure: as wide as their texts need, within the room there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shared(needs: Sequence[float], room: float, least: float) -> np.ndarray:
    """Return the widths of columns that share a room, in whole pixels.

    Each gets what it needs. Where all of it is more than the room, the widest give way, down to one
    width that is the same for all of them; below ``least`` none does, and the figure is wider than
    the room.

    Args:
        needs: The width that each column's texts take, in pixels.
        room: Their widths together, in pixels.
        least: A width, in pixels, that no column is denied.
    """
    wanted = np.ceil(np.asarray(needs, float))
    if wanted.sum() <= room:
        return wanted
    ascending, count = np.sort(wanted), len(wanted)
    before = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    # The most that each column could have if it and all wider ones were equal.
    equal = (room - before) / (count - np.arange(count))
    top = np.floor(equal[np.argmax(equal < ascending)])
    return np.minimum(wanted, max(top, least))
