"""Results for all browsers at once: what is kept, what is being computed, and for whom."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from interp_core.models.language_model import LanguageModel
from interp_core.models.loading import load_model
from interp_core.papers import Paper, obtain, stored
from interp_core.results import Result
from interp_core.runtime import Job, submit

_MODELS, _RESULTS = 2, 64

Key = tuple[str, Any, bool]
"""Paper, parameters, and whether its findings are measured."""


@dataclass
class Work:
    """A job, and the sessions that wait for it."""

    job: Job[Result]
    waiting: set[str] = field(default_factory=set)


class Engine:
    """One for the server. A result asked for twice is computed once; a job ends when nobody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: OrderedDict[str, LanguageModel] = OrderedDict()
        self._results: OrderedDict[tuple[str, Any], Result] = OrderedDict()
        self._work: dict[Key, Work] = {}

    def result(self, paper: Paper, params: Any) -> Result | None:
        """Return the result if it was computed here, on this machine before, or ships."""
        key = (paper.name, params)
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        result = stored(paper, params)
        if result is not None:
            self._remember(key, result)
        return result

    def request(
        self, paper: Paper, params: Any, session: str, *, findings: bool = False
    ) -> Job[Result]:
        """Return the job that computes a result, started now unless another session has."""
        key = (paper.name, params, findings)
        with self._lock:
            work = self._work.get(key)
            if work is None or (work.job.done() and session not in work.waiting):
                work = self._work[key] = Work(submit(self._compute, paper, params, findings))
            work.waiting.add(session)
            return work.job

    def leave(self, paper: Paper, params: Any, session: str, *, findings: bool = False) -> None:
        """Stop waiting; the job is cancelled when no other session waits for it."""
        with self._lock:
            work = self._work.get((paper.name, params, findings))
            if work is None:
                return
            work.waiting.discard(session)
            if not work.waiting:
                work.job.cancel()
                del self._work[paper.name, params, findings]

    def _compute(self, paper: Paper, params: Any, findings: bool) -> Result:
        """Run on the compute thread, so no two of these run at once."""
        model = self._model(params.model)
        result = obtain(paper, model, params, findings=findings)
        self._remember((paper.name, params), result)
        return result

    def _model(self, name: str) -> LanguageModel:
        if name not in self._models:
            self._models[name] = load_model(name)
        self._models.move_to_end(name)
        while len(self._models) > _MODELS:
            self._models.popitem(last=False)
        return self._models[name]

    def _remember(self, key: tuple[str, Any], result: Result) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > _RESULTS:
                self._results.popitem(last=False)


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """Return the server's engine."""
    return Engine()


def session_id() -> str:
    """Return this browser session's id."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    return "" if context is None else context.session_id
