"""How results look on a page: figures, findings, downloads, where they came from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import altair as alt
import pandas as pd
import streamlit as st

from components.state import to_address
from components.work import plain
from interp_core import exports
from interp_core.charts import theme
from interp_core.papers import Paper
from interp_core.results import Finding, Result


def mode() -> exports.Mode:
    """Return the page's theme, light or dark."""
    return "dark" if st.context.theme.type == "dark" else "light"


def figure(
    chart: alt.TopLevelMixin,
    key: str,
    *,
    select: str | None = None,
    then: Callable[[], None] | None = None,
) -> Any:
    """Draw a chart in the page's theme; with ``select``, return what was clicked in it.

    After a click the page runs again, ``then`` first.
    """
    with alt.theme.enable("none"):
        spec = chart.to_dict(validate=False)  # tests validate every figure
    spec["config"] = theme.config(mode())
    spec.setdefault("autosize", {"type": "pad"})  # else titles and labels are taken off the plot
    picking = {"on_select": then or "rerun", "selection_mode": select} if select else {}
    # A container of fixed height scrolls by itself, so a wide figure never widens the page.
    with st.container(height=_height(spec), border=False, key=f"frame-{key}"):
        return st.vega_lite_chart(spec=spec, theme=None, key=key, width="content", **picking)


@contextlib.contextmanager
def dimmed(what: str) -> Iterator[None]:
    """Draw what is within as that which is being replaced: faint, dead to clicks, and named."""
    with st.container(key="dimmed"):
        st.html("<style>.st-key-dimmed {opacity: 0.3; pointer-events: none}</style>")
        st.caption(f"Before: {plain(what)}")
        yield


def _height(spec: dict) -> int:
    """Return the pixels that a figure takes, with room for title, axes and a scroll bar."""
    if "hconcat" in spec:
        return 250 + max(_rows(panel) for panel in spec["hconcat"])
    if "concat" in spec:
        columns = spec.get("columns", 1)
        return 110 + sum(_rows(panel) + 90 for panel in spec["concat"][::columns])
    panels = spec.get("vconcat", [spec])
    return max(280, 110 + sum(_rows(panel) + 45 for panel in panels))


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


def header(paper: Paper, method: str) -> None:
    """Open a page: title, claim, reference, and the method in a fold."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### {paper.title}", width="content")
        st.markdown(f"{paper.claim} [{paper.reference}]({paper.url})", width="stretch")
        with st.popover("Method", icon=":material/functions:"):
            st.markdown(method)


def findings(items: list[Finding]) -> None:
    """Show the paper's claims beside ours, failures named first."""
    failing = [item for item in items if not item.holds]
    if failing:
        names = "; ".join(plain(item.claim) for item in failing)
        st.markdown(f"**Does not hold on this model:** {names}.")
    table = pd.DataFrame(
        {
            "Claim": [item.claim for item in items],
            "Paper": [item.paper for item in items],
            "Ours": [item.shown for item in items],
            "": ["\u2713 holds" if item.holds else "\u2717 does not hold" for item in items],
            "n": [f"{item.n:,} {item.of}" for item in items],
        }
    )
    st.table(table.map(plain).set_index("Claim"))


def ending(
    paper: Paper,
    result: Result,
    view: dict[str, str],
    figures: dict[str, Callable[[], alt.TopLevelMixin]],
    where: str,
) -> None:
    """Close a page: findings (``where`` they are measured if there are none), files, provenance."""
    st.markdown("### Findings")
    if result.findings:
        findings(result.findings)
    else:
        st.markdown(f"Not measured on this model yet: see {where}.")
    st.markdown("### Take it with you")
    take_away(paper, result, view, figures)
    provenance(result)


def take_away(
    paper: Paper,
    result: Result,
    view: dict[str, str],
    figures: dict[str, Callable[[], alt.TopLevelMixin]],
) -> None:
    """Offer the link, the files and the code of a result."""
    parts = urlsplit(st.context.url or "")
    query = urlencode(to_address(result.params, view), doseq=True)
    link = f"{parts.scheme}://{parts.netloc}/{paper.name}" + (f"?{query}" if query else "")
    st.caption("Copy link")
    st.code(link, language=None, wrap_lines=True)
    left, right = st.columns(2)
    with left.expander("Download data", icon=":material/table:"):
        name = st.selectbox("Table", list(result.frames), key="download_table")
        frame = result.frames[name]
        for kind, make in (("csv", exports.csv), ("parquet", exports.parquet)):
            _download(f"{name}.{kind}", lambda make=make: make(frame))
        _download(f"{paper.name}.json", lambda: result.to_json().encode())
    with right.expander("Download figure", icon=":material/image:"):
        name = st.selectbox("Figure", list(figures), key="download_figure")
        look = mode()
        for kind, make in (("png", exports.png), ("svg", exports.svg), ("html", exports.html)):
            _download(f"{name}.{kind}", lambda make=make: make(figures[name](), look))
    with st.expander("Python", icon=":material/code:"):
        st.code(exports.snippet(result), language="python")


def _download(name: str, make: Any) -> None:
    st.download_button(name, make, name, on_click="ignore", width="stretch", key=f"file-{name}")


def provenance(result: Result) -> None:
    """Say in small print how a result came about."""
    p = result.provenance
    versions = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    st.caption(
        plain(
            f"{p.model.id}, weights {p.model.weights}, run in {p.model.dtype}; "
            f"sha256 {p.model.weights_sha256[:16]}; {p.seconds:.2f} s and "
            f"{p.peak_memory / 1e9:.2f} GB on {p.device} ({p.blas}); "
            f"{'nothing is random' if p.seed is None else f'seed {p.seed}'}; {versions}; {p.date}"
        )
    )
