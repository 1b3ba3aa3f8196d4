"""The axes that figures share: layers, ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np


def layer_name(layer: int, output: int | None) -> str:
    """Return what an axis calls a layer; ``output`` is the one that is the model's own output."""
    if layer < 0:
        return "embed"
    return f"{layer} (output)" if layer == output else str(layer)


def layer_axis(layers: Sequence[int] | np.ndarray, *, named: bool = True) -> alt.X:
    """Return the horizontal axis of curves over layers, from the embedding to the output.

    Without ``named`` it has ticks only, for panels above one that has the names.
    """
    first, last = int(min(layers)), int(max(layers))
    step = max(1, int(np.ceil((last - first) / 8 / 5)) * 5) if last - first > 10 else 1
    inner = [tick for tick in range(0, last, step) if tick - first > 1 and last - tick > step / 2]
    axis = alt.Axis(
        values=sorted({first, *inner, last}),
        labelExpr="datum.value < 0 ? 'embed' : datum.label",
        labels=named,
        labelFlush=False,
        format="d",
    )
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False)
    return alt.X("layer:Q", title="layer" if named else None, axis=axis, scale=scale)


def x_axis(field: str, title: str, domain: Sequence[float], **axis: Any) -> alt.X:
    """Return a horizontal axis of numbers, from end to end of ``domain``."""
    scale = alt.Scale(domain=list(domain), nice=False)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(**axis))


def y_axis(field: str, title: str, domain: Sequence[float], **axis: Any) -> alt.Y:
    """Return a vertical axis of numbers, from end to end of ``domain``, with a grid."""
    scale = alt.Scale(domain=list(domain), nice=False)
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(grid=True, **axis))


def rank_axis(field: str) -> alt.Y:
    """Return the vertical axis of ranks counted from 1: logarithmic, the likeliest on top."""
    decades = [10**power for power in range(7)]
    return alt.Y(
        field,
        title="rank (log scale; 1 = likeliest)",
        scale=alt.Scale(type="log", reverse=True, domainMin=1),
        axis=alt.Axis(values=decades, format=",d", grid=True),
    )
