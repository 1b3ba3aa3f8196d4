"""Legends, of categories and of colours that run, where there is room for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt

from interp_core.plot import font, theme
from interp_core.plot.room import holds, in_a_row, narrow

_SYMBOL, _LENGTH = 44, 200
"""Room of a category's symbol, and length of colours that run, in pixels."""


def legend(
    names: Iterable[str], columns: int, orient: Any = "bottom", beside: int = 0, **given: Any
) -> alt.Legend:
    """Return the legend of categories, in ``columns`` or as many as there is room for.

    It begins where the plot does, with ``beside`` pixels left of it.
    """
    widest = _SYMBOL + max(font.width(name, theme.LABEL) for name in names)
    fitting = in_a_row(columns, widest, gap=0, beside=beside)
    return alt.Legend(title=None, orient=orient, columns=fitting, **given)


def strokes(names: Iterable[str], columns: int, orient: Any = "bottom", **given: Any) -> alt.Legend:
    """Return the legend of curves."""
    return legend(names, columns, orient, symbolType="stroke", symbolSize=300, **given)


def gradient(title: str | list[str], whole: int = 0, **given: Any) -> alt.Legend:
    """Return the legend of colours that run: right of the figure or, in a narrow room, below it.

    Below it stands too where ``whole``, the figure's width with the legend, has no room.
    """
    if narrow() or not holds(whole):
        return below(title if isinstance(title, str) else " ".join(title), **given)
    return alt.Legend(title=title, orient="right", gradientLength=_LENGTH, **given)


def below(title: str, length: int = _LENGTH, **given: Any) -> alt.Legend:
    """Return the legend of colours that run, below the figure."""
    return alt.Legend(
        title=title, orient="bottom", direction="horizontal", gradientLength=length, **given
    )
