"""Pieces of the figures of induction heads: grids of heads, scatters with names, curves of losses."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.parts import points

_GRID, _CELL, _HEIGHT, _ROW = 560, (20, 54), 540, (11, 26)
"""Width and height that a grid of heads fills, in pixels, with cells within their bounds."""
_ROOM = (36, 15)
"""Size of a cell from which on a number fits in."""
_SCATTER = (600, 360)
_POINTS = 400
"""Points from which on lines have no dots."""
_PICK = theme.CATEGORIES[5]


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
    frame = frame.sort_values(field, ascending=False)
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


def _grid_size(layers: int, heads: int) -> tuple[int, int]:
    """Return the width and height of a cell."""
    return int(np.clip(_GRID // heads, *_CELL)), int(np.clip(_HEIGHT // layers, *_ROW))


def shown_layers(layers: int, heads: int, marks: int = 2) -> range:
    """Return the layers that a grid has room for, the last ones, with so many marks a head."""
    return range(max(0, layers - max(1, theme.MAX_MARKS // (marks * heads))), layers)


def head_cells(
    frame: pd.DataFrame,
    colour: alt.Color,
    tooltip: list[alt.Tooltip],
    layers: range,
    heads: int,
    *,
    select: bool = True,
) -> alt.LayerChart:
    """Return layers by heads, the first layer at the bottom.

    Args:
        frame: One row per ``layer`` and ``head``; ``outlined`` ones have an outline, ``number`` is
            written where a cell has room, both in ``ink``.
        colour: Of the cells; those without a value are grey.
        tooltip: What hovering tells.
        layers: Those that have a row.
        heads: Heads in a layer.
        select: Whether a click picks a head: the parameter ``head`` then holds ``layer`` and
            ``head``.
    """
    width, height = _grid_size(len(layers), heads)
    every = next(step for step in (1, 2, 5, 10, 20) if step * height >= 16 or step == 20)
    bare = {"labelAngle": 0, "ticks": False, "domain": False, "labelOverlap": False}
    base = alt.Chart(frame).encode(
        x=alt.X(
            "head:O",
            title="head",
            scale=alt.Scale(domain=list(range(heads)), paddingInner=0.05),
            axis=alt.Axis(**bare),
        ),
        y=alt.Y(
            "layer:O",
            title="layer",
            scale=alt.Scale(domain=list(reversed(layers)), paddingInner=0.08),
            axis=alt.Axis(values=[layer for layer in layers if layer % every == 0], **bare),
        ),
        tooltip=tooltip,
    )
    pick = alt.selection_point(name="head", fields=["layer", "head"])
    field = colour["shorthand"].split(":")[0]
    tiles = base.mark_rect(invalid="show", stroke=_PICK, strokeWidth=0).encode(
        color=alt.when(f"!isValid(datum['{field}'])").then(alt.value("#80808038")).otherwise(colour)
    )
    if select:
        wide = alt.when(pick, empty=False).then(alt.value(3)).otherwise(alt.value(0))
        tiles = tiles.encode(strokeWidth=wide).add_params(pick)
    ink = alt.ExprRef("datum.ink")
    marks: list[alt.Chart] = [
        tiles,
        base.transform_filter("datum.outlined").mark_rect(
            filled=False,
            stroke=ink,
            strokeWidth=1.4,
            width=alt.RelativeBandSize(0.9),
            height=alt.RelativeBandSize(0.8),
        ),
    ]
    if width >= _ROOM[0] and height >= _ROOM[1]:
        marks.append(
            base.transform_filter("datum.number != ''")
            .mark_text(fontSize=11, color=ink)
            .encode(text="number:N")
        )
    return alt.layer(*marks).properties(width=alt.Step(width), height=alt.Step(height))


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
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle")
    colours = [theme.CATEGORIES[6], _PICK][: len(kinds)]
    dots = base.mark_point(filled=True, size=46, opacity=0.9).encode(
        y=y, color=alt.Color("kind:N", legend=legend).scale(domain=kinds, range=colours)
    )
    names = side_labels(base, named, "name", _SCATTER, y) if len(named) else []
    return alt.layer(*names[:1], dots, *names[1:]).properties(width=_SCATTER[0], height=_SCATTER[1])


def loss_curves(frame: pd.DataFrame, x: alt.X, colour: alt.Color) -> alt.LayerChart:
    """Return losses with their bands, a line for each ``name``."""
    top = 1.04 * max(float(frame["high"].max()), 1e-6)
    y = alt.Y(
        "loss:Q",
        title="loss (nats)",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(grid=True, tickCount=6),
    )
    place = alt.Tooltip(x["shorthand"], title=x["title"].split(" (")[0], format="d")
    named = {"loss": "loss (nats)", "low": "95% interval from", "high": "to"}
    tips = [alt.Tooltip(f"{field}:Q", title=name, format=".2f") for field, name in named.items()]
    tips = [alt.Tooltip("name:N", title="curve"), place, *tips]
    base = alt.Chart(frame).encode(x=x, color=colour, tooltip=tips)
    dots = points() if len(frame) <= _POINTS else {"opacity": 0, "size": 40}
    return alt.layer(
        base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(point=dots, strokeWidth=2, strokeJoin="round").encode(y=y),
    )
