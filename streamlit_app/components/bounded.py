"""Controls of numbers, whose bounds are those that the parameters state."""

from __future__ import annotations

from typing import Any

import streamlit as st

Number = int | float

_MARKS = (("ge", "low", 0), ("gt", "low", 1), ("le", "high", 0), ("lt", "high", -1))
"""How a field's metadata name a bound, which one it is, and how far an excluded integer is off."""


def bounds(params: type, name: str) -> tuple[Number | None, Number | None]:
    """Return the least and the greatest value of a field, in its type; None where it states none.

    Of a float's bound that is itself excluded this returns the bound.
    """
    field = params.__pydantic_fields__[name]  # type: ignore[attr-defined]
    kind = float if field.annotation is float else int
    stated = {
        side: kind(getattr(item, mark) + (inward if kind is int else 0))
        for item in field.metadata
        for mark, side, inward in _MARKS
        if hasattr(item, mark)
    }
    return stated.get("low"), stated.get("high")


def bounded(label: str, params: type, name: str, key: str, **options: Any) -> None:
    """Draw the control of a numeric field of ``params``; ``options`` as of :func:`number`."""
    number(label, key, *bounds(params, name), **options)


def number(
    label: str,
    key: str,
    low: Number | None,
    high: Number | None,
    *,
    slider: tuple[Number, Number, Number] | None = None,
    last: int | None = None,
    **box: Any,
) -> None:
    """Draw a slider, or a box for any other value: what parameters accept always has a control.

    Args:
        label: What stands above it.
        key: Where the session holds its value.
        low: Least value that is accepted, None for any.
        high: Greatest value that is accepted, None for any.
        slider: Where a slider reaches from and to, and its step; without one there is a box.
        last: Where a box ends that holds no more than that, as the loaded model goes no further.
        **box: Options of the box.
    """
    value = st.session_state[key]
    if slider is not None:
        first, end, step = slider
        if first <= value <= end:
            st.slider(label, first, end, step=step, key=key)
            return
        box = {"step": step, "on_change": _hold, "args": (key,)} | box
    if last is not None and (value is None or value <= last):
        high = last
    st.number_input(label, low, high, key=key, **box)


def _hold(key: str) -> None:
    """Hand a box's value on to the slider that may take its place."""
    st.session_state[key] = st.session_state[key]
