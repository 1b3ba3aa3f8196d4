"""Running text whose tokens are coloured by a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot import font, theme
from interp_core.plot.titles import layered
from interp_core.plot.tokens import formed, shown

_LINE, _HEAD, _SPACE, _LEAST = 22, 30, 12, 5
"""Height of a line and of what stands above a text, room after it, least width of a token, in pixels."""
_PART = re.compile(r"(.)\((\d)/\d\)", re.DOTALL)


@dataclass(frozen=True)
class Passage:
    """A text, and what its tokens are coloured by."""

    heading: str
    """Empty for one that goes on under the last heading."""
    tokens: Sequence[str]
    values: np.ndarray
    """[token]; NaN for none."""
    more: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further columns for tooltips, [token] each."""
    bold: int = -1
    """The token that the passage is shown for."""


def passages(
    texts: Sequence[Passage], colour: alt.Color, tips: Sequence[Any], width: float
) -> alt.LayerChart:
    """Return texts under one another, broken into lines.

    Args:
        texts: In order.
        colour: Of the field ``value``.
        tips: What hovering tells of ``token``, ``value`` and each passage's further columns.
        width: Of a line, in pixels.
    """
    rows: list[dict[str, Any]] = []
    heads, y = [], 0.0
    for each in texts:
        for heading in font.wrapped(each.heading, width, theme.LABEL, 600) if each.heading else ():
            heads.append({"y": y + _HEAD / 2, "name": heading})
            y += _LINE
        y += _HEAD - _LINE if each.heading else 0
        placed, y = _placed(each, width, y)
        rows += placed
        y += _SPACE
    frame = pd.DataFrame(rows)
    frame["middle"] = (frame["y"] + frame["y2"]) / 2
    scale = alt.Scale(domain=[-2, width - 2], nice=False)  # a line under the first token is wider
    down = alt.Scale(domain=[y, 0], nice=False)
    base = alt.Chart(frame)
    boxes = base.mark_rect(cornerRadius=2, opacity=0.75).encode(
        x=alt.X("x:Q", scale=scale, axis=None),
        x2="x2:Q",
        y=alt.Y("y:Q", scale=down, axis=None),
        y2="y2:Q",
        color=colour,
        tooltip=[alt.Tooltip("token:N"), *tips],
    )
    words = base.mark_text(align="left", baseline="middle", fontSize=theme.LABEL, dx=1).encode(
        x=alt.X("x:Q", scale=scale), y=alt.Y("middle:Q", scale=down), text="text:N"
    )
    rule = (
        alt.Chart(frame[frame["bold"]])
        .mark_rule(strokeWidth=1.6)
        .encode(
            x=alt.X("x:Q", scale=scale),
            x2="x2:Q",
            y=alt.Y("y2:Q", scale=down),
            tooltip=alt.value(None),
        )
    )
    names = (
        alt.Chart(pd.DataFrame(heads, columns=["y", "name"]))
        .mark_text(align="left", baseline="middle", fontSize=theme.LABEL, fontWeight=600)
        .encode(x=alt.value(2), y=alt.Y("y:Q", scale=down), text="name:N")
    )
    layers = [boxes, words, *([rule] if frame["bold"].any() else []), names]
    return layered(*layers, width=width, height=max(y, 40))


def _placed(each: Passage, width: float, y: float) -> tuple[list[dict[str, Any]], float]:
    """Return a passage's tokens in lines, and where it ends."""
    rows, x = [], 0.0
    for i, text in enumerate(formed(tuple(each.tokens))):
        visible = text if text.strip() and "\n" not in text else shown(text)
        if part := _PART.fullmatch(visible):  # of a character of several tokens: the first shows it
            visible = part[1] if part[2] == "1" else ""
        size = max(font.width(visible, theme.LABEL) + 2, _LEAST)
        if x and x + size > width - 2 * _LEAST:  # another font may draw wider what this one lacks
            x, y = 0.0, y + _LINE
        value = float(each.values[i]) if np.isfinite(each.values[i]) else None
        row = {"x": x, "x2": x + size, "y": y, "y2": y + _LINE - 2, "text": visible}
        row |= {"token": shown(text), "value": value, "bold": i == each.bold}
        rows.append(row | {name: column[i] for name, column in each.more.items()})
        x += size
    return rows, y + _LINE
