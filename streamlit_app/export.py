"""The link, the files, the code and the provenance of a result."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import address
import figure
import streamlit as st
from words import plain

from interp_core import exports
from interp_core.question import Paper, Question
from interp_core.results import Figure, Result


def draw(paper: Paper, question: Question, result: Result, view: Any) -> None:
    """Offer the link, the files and the code of a result."""
    parts = urlsplit(st.context.url or "")
    query = urlencode(address.query_of(result.params, view), doseq=True)
    st.caption("Copy link")
    st.code(
        f"{parts.scheme}://{parts.netloc}/{paper.name}" + (f"?{query}" if query else ""),
        language=None,
        wrap_lines=True,
    )
    left, right = st.columns(2)
    with left.expander("Download data", icon=":material/table:"):
        name = st.selectbox("Table", list(result.frames), key="export.table")
        frame = result.frames[name]
        for kind, make in (("csv", exports.csv), ("parquet", exports.parquet)):
            _download(f"{name}.{kind}", partial(make, frame))
        _download(f"{paper.name}-{question.name}.json", lambda: result.to_json().encode())
    charts = {each.name: each for each in question.figures if each.when(result)}
    with right.expander("Download figure", icon=":material/image:"):
        name = st.selectbox("Figure", list(charts), key="export.figure")
        for kind, make in (("png", exports.png), ("svg", exports.svg), ("html", exports.html)):
            _download(
                f"{name}.{kind}", partial(_made, charts[name], result, view, make, figure.mode())
            )
    with st.expander("Python", icon=":material/code:"):
        st.code(exports.snippet(result), language="python")
    st.caption(_in_print(paper))


def _in_print(paper: Paper) -> str:
    """Return where the paper's page of the report is."""
    page, site = f"papers/{paper.stem}.html", os.environ.get("LENSBOOK_REPORT_URL", "")
    if site.startswith(("http://", "https://")):
        return f"[The report's page of this paper]({site.rstrip('/')}/{page})"
    return f"In print: `make report` writes `reports/_site/{page}`."


def _made(
    each: Figure, result: Result, view: Any, make: Callable[..., bytes], mode: exports.Mode
) -> bytes:
    return make(figure.drawn(each, result, view), mode)


def _download(name: str, make: Callable[[], bytes]) -> None:
    st.download_button(name, make, name, on_click="ignore", width="stretch", key=f"export.{name}")


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
