"""Get a result onto the page: at once where it is kept, else with progress and a way to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from components.engine import engine, session_id
from components.model import offer
from interp_core.messages import sentence
from interp_core.models import catalogue
from interp_core.models.loading import local_folder
from interp_core.papers import Paper
from interp_core.results import Result
from interp_core.runtime import Cancelled, Job

Draw = Callable[[Any], None]
"""Draws what a job has shown of its result so far."""


def result_for(paper: Paper, params: Any, draw: Draw | None = None) -> Result | None:
    """Return the result of ``params``, or show why it is not there yet and return None.

    Meanwhile ``draw`` draws as much of it as there is.
    """
    result = engine().result(paper, params)
    if result is not None:
        return result
    known = catalogue.find(params.model)
    if known is None or (local_folder(known) is None and not _wanted(params.model)):
        _offer_model(params.model, known.size if known else "")
        return None
    return _follow(paper, params, draw, findings=False)


def on_request(
    paper: Paper, params: Any, note: str, draw: Draw | None = None, *, label: str = "Measure"
) -> Result | None:
    """Return a result that takes long: the kept one, or, once the reader asks for it, as above."""
    asked = st.session_state.setdefault("asked", set())
    result = engine().result(paper, params)
    if result is None and (paper.name, params) not in asked:
        st.markdown(note)
        if st.button(label, type="primary", key=f"ask-{label}"):
            asked.add((paper.name, params))
            st.rerun()
        return None
    return result or result_for(paper, params, draw)


def measure_findings(paper: Paper, params: Any) -> Result | None:
    """Return the result with its findings, measured now on this model."""
    return _follow(paper, params, None, findings=True)


def _wanted(model: str) -> bool:
    return model in st.session_state.setdefault("wanted_models", set())


def _offer_model(model: str, size: str) -> None:
    if offer(model, size):
        st.session_state["wanted_models"].add(model)
        st.rerun()


def _follow(paper: Paper, params: Any, draw: Draw | None, *, findings: bool) -> Result | None:
    """Wait for a result without holding the page; errors and cancels stay until parameters change."""
    ended = st.session_state.setdefault("ended", {})
    mark = (paper.name, params, findings)
    if mark in ended:
        _show_end(ended, mark)
        return None
    job = engine().request(paper, params, session_id(), findings=findings)
    if not job.done():
        _progress(paper, params, job, findings)
        if draw is not None:
            _partial(job, draw)
        return None
    try:
        return job.result()
    except Cancelled:
        ended[mark] = "Cancelled."
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        ended[mark] = sentence(error)
    finally:
        engine().leave(paper, params, session_id(), findings=findings)
    _show_end(ended, mark)
    return None


def _show_end(ended: dict, mark: tuple) -> None:
    message = ended[mark]
    (st.info if message == "Cancelled." else st.error)(plain(message))
    if st.button("Try again", key=f"again-{mark[2]}"):
        del ended[mark]
        st.rerun()


@st.fragment(run_every=0.25)
def _progress(paper: Paper, params: Any, job: Job, findings: bool) -> None:
    if job.done():
        st.rerun()
    progress = job.progress
    share = progress.done / progress.total if progress.total else 0.0
    left = "" if progress.remaining is None else f", about {progress.remaining:.0f} s left"
    count = f" {int(progress.done)} of {progress.total}" if progress.total else ""
    bar, button = st.columns([6, 1], vertical_alignment="center")
    bar.progress(min(share, 1.0), f"{progress.label}{count}: {progress.elapsed:.0f} s{left}")
    if button.button("Cancel", key=f"cancel-{findings}", width="stretch"):
        st.session_state["ended"][paper.name, params, findings] = "Cancelled."
        engine().leave(paper, params, session_id(), findings=findings)
        st.rerun()


@st.fragment(run_every=2)
def _partial(job: Job, draw: Draw) -> None:
    if job.partial is not None:
        draw(job.partial)


def plain(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|<>$~:&" else char for char in text)
