"""Maps of rows by layers."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

MAP, _CELL, _ROW, _HEIGHT = 215, (6, 24), (11, 20), 440
"""Width and height that a map fills, in pixels, with cells and rows within their bounds."""


def heat(
    frame: pd.DataFrame,
    layers: Sequence[int] | np.ndarray,
    y: alt.Y,
    rows: int,
    colour: alt.Color,
    tooltip: list[alt.Tooltip],
    width: int = MAP,
) -> alt.Chart:
    """Return rows by layers; what is not there yet is grey."""
    layers = [int(layer) for layer in layers]
    every = int(np.ceil(len(layers) / 8 / 5)) * 5 if len(layers) > 10 else 1
    axis = alt.Axis(values=layers[::every], labelAngle=0, ticks=False, domain=False)
    return (
        alt.Chart(frame, view=alt.ViewBackground(fill="#80808024"))
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="layer", scale=alt.Scale(domain=layers), axis=axis),
            y=y,
            color=colour,
            tooltip=tooltip,
        )
        .properties(
            width=len(layers) * int(np.clip(width // len(layers), *_CELL)),
            height=rows * int(np.clip(_HEIGHT // max(rows, 1), *_ROW)),
        )
    )


def rows_axis(domain: list[str], name: str | None) -> alt.Y:
    """Return the axis of rows labelled by the first line of each name; without ``name``, bare."""
    label = "split(datum.label, '\\n')[0]"
    axis = alt.Axis(labelExpr=label, labelOverlap=False, ticks=False, domain=False)
    return alt.Y("row:N", title=name, scale=alt.Scale(domain=domain), axis=axis if name else None)
