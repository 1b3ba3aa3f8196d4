"""Grids of layers by heads."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot import theme
from interp_core.plot.room import fit, holds
from interp_core.plot.titles import layered

_GRID, _CELL, _HEIGHT, _ROW = 560, (20, 54), 540, (11, 26)
"""Width and height that a grid of heads fills, in pixels, with cells within their bounds."""
_LEAST, _SIDE = 12, 60
"""Width of a cell that is never denied, and room of the names of layers, in pixels."""
_ROOM = (36, 15)
"""Size of a cell from which on a number fits in."""
PICK = theme.CATEGORIES[5]
"""Colour of what is picked out."""


def _grid_size(layers: int, heads: int) -> tuple[int, int]:
    """Return the width and height of a cell."""
    least = _CELL[0] if holds(_GRID + _SIDE) else _LEAST
    width = np.clip(fit(_GRID, _SIDE) // heads, least, _CELL[1])
    return int(width), int(np.clip(_HEIGHT // layers, *_ROW))


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
            written where a cell has room, both in ``ink``, or as the page's text where there is none.
        colour: Of the cells; those without a value are grey.
        tooltip: What hovering tells.
        layers: Those that have a row.
        heads: Heads in a layer.
        select: Whether a click picks a head: the parameter ``head`` then holds ``layer`` and
            ``head``.
    """
    width, height = _grid_size(len(layers), heads)
    every = next(step for step in (1, 2, 5, 10, 20) if step * height >= 16 or step == 20)
    bare: dict[str, Any] = {"labelAngle": 0, "ticks": False, "domain": False, "labelOverlap": False}
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
    tiles = base.mark_rect(invalid="show", stroke=PICK, strokeWidth=0).encode(
        color=alt.when(f"!isValid(datum['{field}'])").then(alt.value("#80808038")).otherwise(colour)
    )
    if select:
        wide = alt.when(pick, empty=False).then(alt.value(3)).otherwise(alt.value(0))
        tiles = tiles.encode(strokeWidth=wide).add_params(pick)
    marks = [tiles, *_marks(base, "ink" in frame)]
    if width < _ROOM[0] or height < _ROOM[1]:
        marks.pop()  # no room for numbers
    return layered(*marks, width=alt.Step(width), height=alt.Step(height))


def _marks(base: alt.Chart, inked: bool) -> list[alt.Chart]:
    """Return the outlines and the numbers, in the column ``ink`` or as the page's text."""
    ink: dict[str, Any] = {"color": alt.ExprRef("datum.ink")} if inked else {}
    outline = base.transform_filter("datum.outlined").mark_rect(
        filled=False,
        strokeWidth=1.4,
        width=alt.RelativeBandSize(0.9),
        height=alt.RelativeBandSize(0.8),
        **(ink or {"style": "outline"}),
    )
    numbers = base.transform_filter("datum.number != ''").mark_text(fontSize=11, **ink)
    return [outline, numbers.encode(text="number:N")]
