"""Get a result onto the page: at once where it is cached, else with progress and a way to stop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st
from engine import Busy, engine, session_id
from model import offer
from words import plain

from interp_core import runtime
from interp_core.messages import sentence
from interp_core.models import catalogue
from interp_core.models.loading import local_folder
from interp_core.question import kept_by, question_of, read_by
from interp_core.results import Result
from interp_core.runtime import Cancelled, Job

SLOW = 20.0
"""Seconds above which what a link asks for is not computed until its reader says so."""

Draw = Callable[[Any], None]
"""Draws what a job has shown of its result so far."""


@dataclass(frozen=True)
class Ended:
    """How a request of this session ended without a result, and what was there by then."""

    params: Any
    message: str
    cancelled: bool = False
    partial: Any = None


def result_for(params: Any, draw: Draw, *, by_link: bool = False) -> Result | None:
    """Return the result of ``params``, or show why it is not there yet and return None.

    Meanwhile ``draw`` draws as much of it as there is. What takes long waits for the reader's word,
    and so does what a link asks for (``by_link``) where that takes more than a moment.
    """
    result = engine().result(params)
    if result is not None:
        return result
    if not _has_model(params):
        return None
    state, mark = st.session_state, hash(kept_by(params))
    if by_link:
        state["linked"] = mark
    _, question = question_of(params)
    seconds = question.seconds(params) * _times_the_default(params)
    note = question.says_cost(params)
    if not note and seconds > SLOW and state.get("linked") == mark:
        note = f"Not computed yet. It takes about {_duration(seconds)} on two cores."
    asked: set[int] = state.setdefault("asked", set())
    if note and mark not in asked:
        st.markdown(note)
        if st.button("Run", type="primary", key="run"):
            asked.add(mark)
            st.rerun()
        return None
    return _follow(params, draw)


def _has_model(params: Any) -> bool:
    """Whether the model is at hand, or the reader wants it fetched; else it is offered."""
    if not hasattr(params, "model"):
        return True
    known = catalogue.find(params.model)
    wanted: set[str] = st.session_state.setdefault("wanted_models", set())
    if known is not None and (local_folder(known) is not None or params.model in wanted):
        return True
    if offer(params.model, known.size if known else ""):
        wanted.add(params.model)
        st.rerun()
    return False


def _times_the_default(params: Any) -> float:
    """Return how much more work a model is than the default one: as the square of its layers."""
    known = catalogue.find(getattr(params, "model", ""))
    default = catalogue.find(catalogue.DEFAULT)
    return (known.n_layers / default.n_layers) ** 2 if known and known.n_layers else 1.0  # type: ignore[union-attr]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.0f} hours"


def _follow(params: Any, draw: Draw) -> Result | None:
    """Wait for a result without holding the page; how it ended stays until another is asked for."""
    state, kept = st.session_state, kept_by(params)
    end: Ended | None = state.get("ended")
    if end is None or end.params != kept:
        state["ended"] = None
        try:
            job = engine().request(params, session_id())
            if not job.done():
                _watch(params, job, draw)
                return None
            engine().leave(params, session_id())
            return read_by(job.result(), params)
        except Cancelled:
            end = Ended(kept, "Cancelled.", cancelled=True)
        except (Busy, ValueError, OSError, MemoryError, RuntimeError) as error:
            end = Ended(kept, sentence(error))
        state["ended"] = end
    _show_end(end, draw)
    return None


def _show_end(end: Ended, draw: Draw) -> None:
    (st.info if end.cancelled else st.error)(plain(end.message))
    if st.button("Resume" if end.partial is not None else "Try again", key="again"):
        st.session_state["ended"] = None
        st.rerun()
    if end.partial is not None:
        draw(end.partial)


def _watch(params: Any, job: Job, draw: Draw) -> None:
    """Draw how far a job is, and what there is of its result, again and again until it ends."""
    interval = engine().interval()

    def waits() -> bool:
        return engine().renew(params, session_id())

    def stop() -> None:
        engine().leave(params, session_id())
        st.session_state["ended"] = _cancelled(kept_by(params), job)

    st.fragment(_progress, run_every=interval)(job, waits, stop)
    st.fragment(_partial, run_every=max(2, interval))(job, draw)


def _progress(job: Job, waits: Callable[[], bool], stop: Callable[[], None]) -> None:
    if not waits() or job.done():
        st.rerun()
    progress = job.progress
    share = progress.done / progress.total if progress.total else 0.0
    bar, button = st.columns([6, 1], vertical_alignment="center")
    bar.progress(min(share, 1.0), _line(job))
    if button.button("Cancel", key="cancel", width="stretch"):
        stop()
        st.rerun()


def _line(job: Job) -> str:
    """Return how far a job is, or what it waits for, in a line."""
    progress, (ahead, running) = job.progress, runtime.before(job)
    if not progress.elapsed:
        place = f"number {ahead} in the queue, behind {running}" if ahead else "next"
        return plain(f"waiting, {place}: {progress.waited:.0f} s")
    count = f" {int(progress.done)} of {progress.total}" if progress.total else ""
    left = "" if progress.remaining is None else f", about {progress.remaining:.0f} s left"
    shared = f", and {progress.waited:.0f} s in which others ran" if progress.waited >= 1 else ""
    return f"{progress.label}{count}: {progress.elapsed:.0f} s{left}{shared}"


def _cancelled(params: Any, job: Job) -> Ended:
    # The call goes on to its next report, which may still write into what it has shown.
    progress, partial = job.progress, copy.deepcopy(job.partial)
    if partial is None:
        return Ended(params, "Cancelled.", cancelled=True)
    steps = f" at step {int(progress.done)} of {progress.total}" if progress.total else ""
    message = f"Partial result: cancelled{steps}."
    return Ended(params, message, cancelled=True, partial=partial)


def _partial(job: Job, draw: Draw) -> None:
    if job.partial is not None:
        draw(job.partial)
