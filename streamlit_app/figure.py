"""Figures and tables on a page, and clicks on their marks."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from width import room
from words import plain

from interp_core import exports
from interp_core.findings import Finding
from interp_core.plot import theme
from interp_core.plot.checks import unchecked
from interp_core.plot.room import narrow, within
from interp_core.results import Figure, Result

_MOST = 100
"""Figures that are remembered, of some 0.1 MB each."""


def mode() -> exports.Mode:
    """Return the page's theme, light or dark."""
    return "dark" if st.context.theme.type == "dark" else "light"


def drawn(figure: Figure, result: Result, view: Any) -> alt.TopLevelMixin | pd.DataFrame:
    """Draw a figure of a result as the view says."""
    return figure.draw(result, **_chosen(figure, view))


def _chosen(figure: Figure, view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in figure.reads}


def show(
    figure: Figure, result: Result, view: Any, key: str, *, picks: bool = True, live: bool = False
) -> None:
    """Put a figure onto the page; with ``picks``, a click on a mark of it is there in the next run.

    Args:
        figure: Of the result's question.
        result: Whole, or as far as it is.
        view: What the reader chose of how it is shown.
        key: Of the figure among all that the app shows.
        picks: Whether its marks can be clicked.
        live: Whether the result is soon another, so that this one is not worth remembering.
    """
    make = _made.__wrapped__ if live else _made
    made = make(figure, result, (*_chosen(figure, view).items(),), mode(), room())
    if isinstance(made, pd.DataFrame):
        _table(made)
        return
    spec = json.loads(made)
    picking: dict[str, Any] = {}
    if figure.picks and picks:
        param = next(each["name"] for each in spec["params"] if "select" in each)
        picking = {"on_select": lambda: _remember(figure, key, param), "selection_mode": param}
    # A frame scrolls by itself, so a wide figure never widens the page; it holds the figure's room
    # from the start, so that what is below does not move when the browser has drawn it.
    name = "frame-" + re.sub("[^a-zA-Z0-9_-]", "-", key)
    with st.container(key=name):
        st.html(
            f"<style>.st-key-{name} {{overflow-x: auto; min-height: {_height(spec)}px}}</style>"
        )
        st.vega_lite_chart(spec=spec, theme=None, key=key, width="content", **picking)
    if picking:
        st.caption(f"Click a mark to {'open' if figure.opens else 'read'} it.")


@functools.lru_cache(_MOST)
def _made(
    figure: Figure, result: Result, chosen: tuple, mode: exports.Mode, pixels: int | None
) -> str | pd.DataFrame:
    """Return a figure as Vega-Lite's JSON for a page of that mode and width, or a table.

    Drawing takes most of the time of a page, and many readers look at the same results.
    """
    with within(pixels), unchecked():
        made = figure.draw(result, **dict(chosen))
    if isinstance(made, pd.DataFrame):
        return made
    with alt.theme.enable("none"):
        spec = made.to_dict(validate=False)  # tests validate every figure
    spec["config"] = theme.config(mode)
    spec.setdefault("autosize", {"type": "pad"})  # else titles and labels are taken off the plot
    if isinstance(spec.get("title"), dict):
        spec["title"]["limit"] = 0  # else Streamlit cuts titles to the column's first width
    # Streamlit's own takes the last label's half off.
    spec.setdefault("padding", dict.fromkeys(("left", "right", "top", "bottom"), theme.PADDING))
    return json.dumps(spec)


def _remember(figure: Figure, key: str, name: str) -> None:
    points = st.session_state[key]["selection"].get(name)
    if points:
        fields = {field: int(points[0][field]) for field in figure.picks}
        st.session_state["clicked"] = (figure.opens, fields)


@contextlib.contextmanager
def dimmed(what: str) -> Iterator[None]:
    """Draw what is within as that which is being replaced: faint, dead to clicks, and named."""
    with st.container(key="dimmed"):
        st.html("<style>.st-key-dimmed {opacity: 0.3; pointer-events: none}</style>")
        st.caption(f"Before: {plain(what)}")
        yield


def clicked() -> tuple[str, dict[str, int]] | None:
    """Return the question that the last click opens (or none), and the fields that it sets; once."""
    return st.session_state.pop("clicked", None)


def _table(frame: pd.DataFrame) -> None:
    """Show texts whole, and numbers with their decimals aligned."""
    numbers = frame.select_dtypes("number")
    if numbers.empty:
        st.table(frame.map(plain))
        return
    config = {
        name: st.column_config.ProgressColumn(format="%.4f", min_value=0, max_value=1)
        if name == "probability"
        else st.column_config.NumberColumn(format="%.3f" if frame[name].dtype.kind == "f" else "%d")
        for name in numbers
    }
    st.dataframe(frame, hide_index=True, width="content", column_config=config)


def findings(items: list[Finding], other: str, beside: Mapping[str, Finding]) -> None:
    """Show the paper's claims beside ours, those that are not replicated named first, checks last.

    Args:
        items: What was measured on this model.
        other: Another model's name.
        beside: What was measured on that one, by claim.
    """
    items = sorted(items, key=lambda item: item.check)
    for words, verdict in (
        ("Not replicated on this model", False),
        ("Undecided on this model", None),
    ):
        if names := [plain(item.claim) for item in items if item.holds is verdict]:
            st.markdown(f"**{words}:** {'; '.join(names)}.")
    with within(room()):
        if narrow():  # six columns would have a word a line
            for item in items:
                _finding(item, other, beside.get(item.id))
            return
    table = pd.DataFrame(
        {
            "Claim": [item.title for item in items],
            "Measured as": [item.decided_by for item in items],
            "Paper": [item.source for item in items],
            "Ours": [item.shown for item in items],
            "Verdict": [item.verdict for item in items],
            "n": [f"{item.n:,} {item.of}" for item in items],
            other: [_beside(beside.get(item.id)) for item in items],
        }
    )
    if not any(item.id in beside for item in items):
        table = table.drop(columns=other)
    if not any(item.decided_by for item in items):
        table = table.drop(columns="Measured as")
    for name in ("Verdict", "n"):
        table[name] = table[name].str.replace(" ", "\u00a0")  # stays on one line
    st.table(table.map(plain).set_index("Claim"))


def _beside(item: Finding | None) -> str:
    return "" if item is None else f"{item.shown}: {item.verdict}"


def _finding(item: Finding, other: str, beside: Finding | None) -> None:
    """Show a claim on a phone."""
    measured = f" Measured as {item.decided_by}." if item.decided_by else ""
    st.markdown(f"**{plain(item.claim)}:** {plain(item.verdict)}")
    said = f"Ours: {item.shown} (n = {item.n:,} {item.of}). Paper: {item.source}.{measured}"
    if beside is not None:
        said += f" {other}: {_beside(beside)}."
    st.caption(plain(said))


def _height(spec: dict) -> int:
    """Return the pixels that a figure takes at least: its panels, and a title above them."""
    if "hconcat" in spec:
        return 100 + max(_rows(panel) for panel in spec["hconcat"])
    if "concat" in spec:
        return 80 + sum(_rows(panel) + 30 for panel in spec["concat"][:: spec.get("columns", 1)])
    return 80 + sum(_rows(panel) for panel in spec.get("vconcat", [spec]))


def _rows(panel: dict) -> int:
    height = panel.get("height", 300)
    if isinstance(height, dict):  # so many pixels a row
        height = height["step"] * max(map(len, _row_names(panel)))
    return int(height)


def _row_names(panel: dict) -> Iterator[list]:
    """Yield what the vertical axes of a panel and its layers say their rows are."""
    axis = panel.get("encoding", {}).get("y", {})
    for names in (axis.get("scale", {}).get("domain"), axis.get("sort")):
        if isinstance(names, list):
            yield names
    for layer in panel.get("layer", []):
        yield from _row_names(layer)
