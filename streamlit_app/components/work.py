"""Get a result onto the page: at once where it is kept, else with progress and a way to stop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from components.engine import Busy, engine, session_id
from components.model import offer
from interp_core import runtime
from interp_core.messages import sentence
from interp_core.models import catalogue
from interp_core.models.loading import local_folder
from interp_core.papers import Paper
from interp_core.results import Result
from interp_core.runtime import Cancelled, Job

SLOW = 20.0
"""Seconds above which what a link asks for is not computed until its reader says so."""

Draw = Callable[[Any], None]
"""Draws what a job has shown of its result so far."""


@dataclass(frozen=True)
class Ended:
    """How a request of this session ended without a result, and what was there by then."""

    paper: Paper
    params: Any
    message: str
    cancelled: bool = False
    partial: Any = None


def opened(*, by_link: bool) -> None:
    """Say whether a link asks for what the page shows now, and not yet its reader."""
    st.session_state["by_link"] = by_link


def result_for(
    paper: Paper, params: Any, draw: Draw | None = None, *, seconds: float = 0.0
) -> Result | None:
    """Return the result of ``params``, or show why it is not there yet and return None.

    Meanwhile ``draw`` draws as much of it as there is. It takes about ``seconds`` on the default
    model; where a link asks for what is slow, it waits for the reader's word.
    """
    state, mark = st.session_state, _mark(paper, params)
    seconds *= _times_the_default(params.model)
    if state.get("by_link"):
        state["linked"] = mark
    if seconds <= SLOW or state.get("linked") != mark:
        _asked().add(mark)
    note = f"Not computed yet. It takes about {_duration(seconds)} on two cores."
    return on_request(paper, params, note, draw, label="Run")


def on_request(
    paper: Paper, params: Any, note: str, draw: Draw | None = None, *, label: str = "Measure"
) -> Result | None:
    """Return a result that takes long: the kept one, or, once the reader asks for it, as above."""
    result = engine().result(paper, params)
    if result is not None:
        return result
    known = catalogue.find(params.model)
    if known is None or (local_folder(known) is None and not _wanted(params.model)):
        _offer_model(params.model, known.size if known else "")
        return None
    if _mark(paper, params) not in _asked():
        st.markdown(note)
        if st.button(label, type="primary", key=f"ask-{label}"):
            _asked().add(_mark(paper, params))
            st.rerun()
        return None
    return _follow(paper, params, draw, findings=False)


def measure_findings(paper: Paper, params: Any) -> Result | None:
    """Return the result with its findings, measured now on this model."""
    return _follow(paper, params, None, findings=True)


def _times_the_default(model: str) -> float:
    """Return how much more work a model is than the default one: as the square of its layers."""
    known, default = catalogue.find(model), catalogue.find(catalogue.DEFAULT)
    return (known.n_layers / default.n_layers) ** 2 if known and known.n_layers else 1.0


def _mark(paper: Paper, params: Any) -> int:
    return hash((paper.name, paper.kept_by(params)))


def _asked() -> set[int]:
    """Return the marks of what this session's reader asked for."""
    return st.session_state.setdefault("asked", set())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.0f} hours"


def _wanted(model: str) -> bool:
    return model in st.session_state.setdefault("wanted_models", set())


def _offer_model(model: str, size: str) -> None:
    if offer(model, size):
        st.session_state["wanted_models"].add(model)
        st.rerun()


def _follow(paper: Paper, params: Any, draw: Draw | None, *, findings: bool) -> Result | None:
    """Wait for a result without holding the page; how it ended stays until another is asked for."""
    kept = paper.kept_by(params)
    end = _ended().get(findings)
    if end is not None and (end.paper, end.params) == (paper, kept):
        _show_end(end, draw, findings)
        return None
    _ended().pop(findings, None)
    try:
        job = engine().request(paper, params, session_id(), findings=findings)
        if not job.done():
            _watch(paper, params, job, draw, findings)
            return None
        engine().leave(paper, params, session_id(), findings=findings)
        return job.result().read_by(params)
    except Cancelled:
        end = Ended(paper, kept, "Cancelled.", cancelled=True)
    except (Busy, ValueError, OSError, MemoryError, RuntimeError) as error:
        end = Ended(paper, kept, sentence(error))
    _ended()[findings] = end
    _show_end(end, draw, findings)
    return None


def _ended() -> dict[bool, Ended]:
    """Return how this session's last requests ended: of a result, and of its findings."""
    return st.session_state.setdefault("ended", {})


def _show_end(end: Ended, draw: Draw | None, findings: bool) -> None:
    (st.info if end.cancelled else st.error)(plain(end.message))
    if st.button("Go on" if end.partial is not None else "Try again", key=f"again-{findings}"):
        del _ended()[findings]
        st.rerun()
    if draw is not None and end.partial is not None:
        draw(end.partial)


def _watch(paper: Paper, params: Any, job: Job, draw: Draw | None, findings: bool) -> None:
    """Draw how far a job is, and what is there of its result, again and again until it ends."""
    interval = engine().interval()

    def waits() -> bool:
        return engine().renew(paper, params, session_id(), findings=findings)

    def stop() -> None:
        engine().leave(paper, params, session_id(), findings=findings)
        _ended()[findings] = _cancelled(paper, paper.kept_by(params), job)

    st.fragment(_progress, run_every=interval)(job, waits, stop, findings)
    if draw is not None:
        st.fragment(_partial, run_every=max(2, interval))(job, draw)


def _progress(
    job: Job, waits: Callable[[], bool], stop: Callable[[], None], findings: bool
) -> None:
    if not waits() or job.done():
        st.rerun()
    progress = job.progress
    share = progress.done / progress.total if progress.total else 0.0
    bar, button = st.columns([6, 1], vertical_alignment="center")
    bar.progress(min(share, 1.0), _told(job))
    if button.button("Cancel", key=f"cancel-{findings}", width="stretch"):
        stop()
        st.rerun()


def _told(job: Job) -> str:
    """Return how far a job is, or what it waits for, in a line."""
    progress, (ahead, running) = job.progress, runtime.before(job)
    if not progress.elapsed:
        place = f"number {ahead} in the queue, behind {running}" if ahead else "next"
        return plain(f"waiting, {place}: {progress.waited:.0f} s")
    count = f" {int(progress.done)} of {progress.total}" if progress.total else ""
    left = "" if progress.remaining is None else f", about {progress.remaining:.0f} s left"
    shared = f", and {progress.waited:.0f} s in which others ran" if progress.waited >= 1 else ""
    return f"{progress.label}{count}: {progress.elapsed:.0f} s{left}{shared}"


def _cancelled(paper: Paper, params: Any, job: Job) -> Ended:
    # The call goes on to its next report, which may still write into what it has shown.
    progress, partial = job.progress, copy.deepcopy(job.partial)
    if partial is None:
        return Ended(paper, params, "Cancelled.", cancelled=True)
    steps = f" at step {int(progress.done)} of {progress.total}" if progress.total else ""
    message = f"Partial result: cancelled{steps}."
    return Ended(paper, params, message, cancelled=True, partial=partial)


def _partial(job: Job, draw: Draw) -> None:
    if job.partial is not None:
        draw(job.partial)


def plain(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|<>$~:&" else char for char in text)
