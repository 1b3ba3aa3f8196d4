"""Titles, tooltips and what else makes a chart a figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot import font, theme
from interp_core.plot.room import fit, narrow

_WIDTH = 720
"""Width to which titles are broken into lines, in pixels, where there is room."""
_AXIS = 80
"""Room of what stands left of a plot, where titles begin, in pixels; most have no more."""


def figure(chart: Any, heading: str, *lines: str, left: int = _AXIS, **size: Any) -> Any:
    """Return a chart with its title, and both as a description for those who cannot see it.

    Args:
        chart: Any chart.
        heading: States what is plotted.
        lines: Say what to see; empty ones are left out.
        left: Room of what stands left of the plot, in pixels.
        size: ``width`` and ``height``, where the chart has none.
    """
    said = [line for line in lines if line]
    width = fit(_WIDTH, 0 if narrow() else left)
    # In a narrow room the title begins at the figure's edge, else, by the theme, at the plot's.
    frame: Any = "bounds" if narrow() else alt.Undefined
    wrapped = chain.from_iterable(font.wrapped(line, width, theme.LABEL) for line in said)
    title = alt.TitleParams(
        in_lines(heading, width, theme.TITLE, 600), subtitle=[*wrapped], frame=frame
    )
    return chart.properties(title=title, description=" ".join([f"{heading}.", *said]), **size)


def layered(*charts: alt.Chart | alt.LayerChart, **given: Any) -> alt.LayerChart:
    """Return charts on top of each other; ``given`` are a size, and the title of a panel."""
    chart: Any = alt.layer(*charts)  # Altair's hints take layers for facets
    return chart.properties(**given)


def beside(panels: Sequence[Any], columns: int, spacing: Any = 18, color: Any = "shared") -> Any:
    """Return panels side by side, in rows of ``columns``; ``color`` is whether they share colours."""
    if columns == len(panels):
        chart = alt.hconcat(*panels, spacing=spacing)
    else:
        chart = alt.concat(*panels, columns=columns, spacing=spacing)
    return chart.resolve_scale(color=color)


def in_lines(text: str, width: float, size: float, weight: int = 400) -> str | list[str]:
    """Return a text as Vega takes it: whole, or in lines where it is wider than ``width``."""
    lines = font.wrapped(text, width, size, weight)
    return text if len(lines) == 1 else lines


def points() -> alt.OverlayMarkDef:
    """Return the dots on a line, where hovering tells its values."""
    return alt.OverlayMarkDef(size=28, filled=True, strokeWidth=0)


def small(
    text: str, width: float | None = None, offset: int = 8, *, wide: bool = False
) -> alt.TitleParams:
    """Return the title of one panel of several, in lines where it is wider than ``width``.

    One that is ``wide`` begins as the figure's does.
    """
    lines = text if width is None else in_lines(text, width, theme.LABEL)
    frame: Any = ("bounds" if narrow() else "group") if wide else alt.Undefined
    return alt.TitleParams(
        lines, fontSize=theme.LABEL, fontWeight="normal", offset=offset, frame=frame
    )


def tip(field: str, name: str, form: str = ".3~g") -> alt.Tooltip:
    """Return a number in a tooltip."""
    return alt.Tooltip(f"{field}:Q", title=name, format=form)


def ends(form: str = ".3~g") -> list[alt.Tooltip]:
    """Return the ends of an interval in a tooltip."""
    return [tip("low", "95% interval from", form), tip("high", "to", form)]


def top_of(values: pd.Series, otherwise: float = 1.0) -> float:
    """Return the upper end of the colours that maps share."""
    top = float(np.nanmax([*values, 0.0]))
    return top if top > 0 else max(abs(otherwise), 1e-6)
