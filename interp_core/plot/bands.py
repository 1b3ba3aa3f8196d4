"""Curves with their bands."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot.axes import layer_axis, y_axis
from interp_core.plot.legends import strokes
from interp_core.plot.titles import ends, layered, points, tip

_POINTS = 400
"""Points from which on lines have no dots."""


def lines(
    frame: pd.DataFrame,
    layers: np.ndarray,
    colours: dict[str, str],
    axis: alt.Y,
    *more: alt.Tooltip,
) -> alt.LayerChart:
    """Return curves of ``value`` by ``name`` over layers, with bands where there are intervals."""
    name = str(axis["title"])
    legend = strokes(colours, 3, symbolOpacity=1)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    banded = "low" in frame
    base = alt.Chart(frame).encode(
        x=layer_axis(layers),
        color=alt.Color("name:N", scale=scale, legend=legend),
        tooltip=[
            alt.Tooltip("name:N", title="curve"),
            tip("layer", "layer", "d"),
            tip("value", name),
            *(ends() if banded else []),
            *more,
        ],
    )
    line = base.mark_line(point=points(), strokeWidth=2.2).encode(y=axis)
    # A band without the axis' own scale would draw it down to 0.
    low = alt.Y("low:Q", scale=axis["scale"])
    band = base.mark_area(opacity=0.16, line=False).encode(y=low, y2="high:Q")
    return layered(*([band] if banded else []), line)


def values_axis(name: str, frame: pd.DataFrame) -> alt.Y:
    """Return the axis of effects, with 0 and every interval on it."""
    ends = [frame[column] for column in ("value", "low", "high") if column in frame]
    low = min(0.0, *(end.min() for end in ends), 0.0)
    high = max(0.0, *(end.max() for end in ends), low + 1e-6)
    scale = alt.Scale(domain=[low, high], nice=True)
    return alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(grid=True, tickCount=6))


def loss_curves(frame: pd.DataFrame, x: alt.X, colour: alt.Color) -> alt.LayerChart:
    """Return losses with their bands, a line for each ``name``."""
    top = 1.04 * max(float(frame["high"].max()), 1e-6)
    y = y_axis("loss", "loss (nats)", (0, top), tickCount=6)
    place = alt.Tooltip(x["shorthand"], title=x["title"].split(" (")[0], format="d")
    tips = [alt.Tooltip("name:N", title="curve"), place, tip("loss", "loss (nats)", ".2f")]
    base = alt.Chart(frame).encode(x=x, color=colour, tooltip=[*tips, *ends(".2f")])
    dots = points() if len(frame) <= _POINTS else {"opacity": 0, "size": 40}
    return layered(
        base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(point=dots, strokeWidth=2, strokeJoin="round").encode(y=y),
    )
