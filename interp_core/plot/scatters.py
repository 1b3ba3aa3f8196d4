"""Scatters, a few of whose points have their names at the side."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot import theme
from interp_core.plot.heads import PICK
from interp_core.plot.legends import legend
from interp_core.plot.room import fit
from interp_core.plot.titles import layered

_SCATTER, _AXIS, _SIDE = (600, 360), 60, 60
"""Size of a scatter; room of its vertical axis, and of the names at its side, in pixels."""


def side_labels(
    chart: alt.Chart, frame: pd.DataFrame, name: str, size: tuple[int, int], top: alt.Y
) -> list[alt.Chart]:
    """Return names of points in a column right of a chart, and thin lines that lead to them.

    Args:
        chart: What holds the data's x; ``frame`` takes the place of its data.
        frame: The few points that have names.
        name: Its column with them.
        size: Width and height of the chart.
        top: The chart's vertical axis, whose scale has a domain and is linear.
    """
    field, (low, high) = top["shorthand"].split(":")[0], top["scale"]["domain"]
    frame = frame.sort_values(field, ascending=False, kind="stable")
    pixels = (high - frame[field].to_numpy()) / (high - low) * size[1]
    beside = high - apart(pixels, 16, size[1]) / size[1] * (high - low)
    base = chart.properties(data=frame.assign(beside=beside))
    at = top.copy()
    at["shorthand"] = "beside:Q"
    return [
        base.mark_rule(strokeWidth=0.8, opacity=0.7).encode(
            x2=alt.value(size[0] + 8), y=top, y2="beside:Q"
        ),
        base.mark_text(align="left").encode(x=alt.value(size[0] + 12), y=at, text=f"{name}:N"),
    ]


def apart(places: np.ndarray, gap: float, end: float) -> np.ndarray:
    """Return ascending ``places`` moved as little as lets them be ``gap`` apart, from 0 to ``end``."""
    blocks: list[list[float]] = []
    for i, place in enumerate(places):
        blocks.append([place - i * gap, 1])
        # Neighbours that would overlap move together: the mean of where each wants to be.
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    moved = np.repeat([mean for mean, _ in blocks], [int(count) for _, count in blocks])
    last = max(0.0, end - gap * (len(places) - 1))
    return np.clip(moved, 0, last) + gap * np.arange(len(places))


def scatter(
    frame: pd.DataFrame, x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip], named: pd.DataFrame
) -> alt.LayerChart:
    """Return a dot a head, coloured by ``kind``, with the names of a few at the side.

    Args:
        frame: One row a head, with ``name`` and ``kind``, the common kind first in its categories.
        x: The horizontal axis.
        y: The vertical axis; its scale has a domain.
        tooltip: What hovering tells.
        named: The rows that are named.
    """
    kinds = list(frame["kind"].cat.categories)
    # The common kind below, so that it covers none of the other.
    frame = frame.sort_values("kind", kind="stable").assign(kind=frame["kind"].astype(str))
    base = alt.Chart(frame).encode(x=x, tooltip=tooltip)
    colours = [theme.CATEGORIES[6], PICK][: len(kinds)]
    dots = base.mark_point(filled=True, size=46, opacity=0.9).encode(
        y=y,
        color=alt.Color("kind:N", legend=legend(kinds, len(kinds), symbolType="circle")).scale(
            domain=kinds, range=colours
        ),
    )
    width, height = fit(_SCATTER[0], _AXIS + _SIDE), _SCATTER[1]
    names = side_labels(base, named, "name", (width, height), y) if len(named) else []
    return layered(*names[:1], dots, *names[1:], width=width, height=height)
