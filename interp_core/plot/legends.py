"""Legends, of categories and of colours that run, where there is room for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt

from interp_core.plot import font, theme
from interp_core.plot.room import across, narrow

_SYMBOL, _LENGTH = 44, 200
"""Room of a category's symbol, and length of colours that run, in pixels."""


def legend(names: Iterable[str], columns: int, orient: Any = "bottom", **given: Any) -> alt.Legend:
    """Return the legend of categories, in ``columns`` or as many as there is room for."""
    widest = _SYMBOL + max(font.width(name, theme.LABEL) for name in names)
    fitting, _ = across(columns, int(widest / 0.75), gap=0)
    return alt.Legend(title=None, orient=orient, columns=fitting, **given)


def strokes(names: Iterable[str], columns: int, orient: Any = "bottom", **given: Any) -> alt.Legend:
    """Return the legend of curves."""
    return legend(names, columns, orient, symbolType="stroke", symbolSize=300, **given)


def gradient(title: str | list[str], **given: Any) -> alt.Legend:
    """Return the legend of colours that run: right of the figure or, in a narrow room, below it."""
    if narrow():
        return below(title if isinstance(title, str) else " ".join(title), **given)
    return alt.Legend(title=title, orient="right", gradientLength=_LENGTH, **given)


def below(title: str, length: int = _LENGTH, **given: Any) -> alt.Legend:
    """Return the legend of colours that run, below the figure."""
    return alt.Legend(
        title=title, orient="bottom", direction="horizontal", gradientLength=length, **given
    )
