"""Titles, tooltips and what else makes a chart a figure."""

from __future__ import annotations

from itertools import chain
from typing import Any, TypeVar

import altair as alt
import numpy as np
import pandas as pd

from interp_core.plot import font, theme

C = TypeVar("C", bound=alt.TopLevelMixin)

_WIDTH = 720
"""Width to which the lines under a title are broken, in pixels."""


def figure(chart: C, heading: str, *lines: str, **size: Any) -> C:
    """Return a chart with its title, and both as a description for those who cannot see it.

    Args:
        chart: Any chart.
        heading: States what is plotted.
        lines: Say what to see; empty ones are left out.
        size: ``width`` and ``height``, where the chart has none.
    """
    text = title(heading, *lines)
    return chart.properties(title=text, description=alt_text(text), **size)  # type: ignore[attr-defined]


def title(text: str, *lines: str) -> alt.TitleParams:
    """Return a title that states what is plotted over sentences that say what to see."""
    wrapped = [font.wrapped(line, _WIDTH, theme.LABEL) for line in lines if line]
    return alt.TitleParams(text, subtitle=[*chain.from_iterable(wrapped)])


def alt_text(heading: alt.TitleParams) -> str:
    """Return the title and its lines as a description, for those who cannot see the figure."""
    return " ".join([f"{heading.text}.", *heading.subtitle])


def points() -> alt.OverlayMarkDef:
    """Return the dots on a line, where hovering tells its values."""
    return alt.OverlayMarkDef(size=28, filled=True, strokeWidth=0)


def small(text: str) -> alt.TitleParams:
    """Return the title of one panel of several."""
    return alt.TitleParams(text, fontSize=13, fontWeight="normal", offset=8)


def tip(field: str, name: str, form: str = ".3~g") -> alt.Tooltip:
    """Return a number in a tooltip."""
    return alt.Tooltip(f"{field}:Q", title=name, format=form)


def top_of(values: pd.Series, otherwise: float = 1.0) -> float:
    """Return the upper end of the colours that maps share."""
    top = float(np.nanmax([*values, 0.0]))
    return top if top > 0 else max(abs(otherwise), 1e-6)


def beside(panels: list[alt.Chart], heading: alt.TitleParams) -> alt.HConcatChart:
    """Return panels side by side under one title."""
    chart = alt.hconcat(*panels, spacing=18).resolve_scale(color="independent")
    return chart.properties(title=heading, description=alt_text(heading))
