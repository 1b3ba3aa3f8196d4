"""What the figures of several questions share."""

from __future__ import annotations

import altair as alt
import pandas as pd

from interp_core.papers.induction_heads.params import Sequences
from interp_core.plot import legend, theme

AXIS = 60
"""Room of a vertical axis with its title, in pixels."""

CONDITIONS = {
    "none": ("whole model", theme.CATEGORIES[0]),
    "ablated": ("heads ablated", theme.CATEGORIES[5]),
    "others": ("as many other heads ablated, mean of draws", theme.CATEGORIES[6]),
}
"""What each condition is called, and its colour."""


def sequences(params: Sequences, count: int) -> str:
    """Return over what a figure's means are."""
    of = f"{params.tokens} random tokens, {params.repeats} times"
    return f"n = {count} sequence{'s' * (count != 1)} of {of}"


def by_condition(frame: pd.DataFrame) -> tuple[pd.DataFrame, alt.Color]:
    """Return a frame with a ``name`` for each condition, and the colours of these."""
    there = [condition for condition in CONDITIONS if condition in set(frame["condition"])]
    names, colours = zip(*[CONDITIONS[condition] for condition in there], strict=True)
    key = legend(names, 3, symbolType="stroke", symbolOpacity=1)
    colour = alt.Color("name:N", legend=key).scale(domain=[*names], range=[*colours])
    called = {condition: name for condition, (name, _) in CONDITIONS.items()}
    return frame.assign(name=frame["condition"].map(called).astype(object)), colour
