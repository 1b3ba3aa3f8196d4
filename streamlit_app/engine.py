"""Results for all browsers at once: what is cached, what is being computed, and for whom."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from interp_core.models.language_model import LanguageModel
from interp_core.models.loading import load_model
from interp_core.question import attach, kept_by, obtain, question_of, read_by, stored
from interp_core.results import Result
from interp_core.runtime import Job, enqueue, undivided

_MODELS, _RESULTS = 2, 64
LIMIT = 40
"""Jobs that may wait or run at a time."""
LEASE = 90.0
"""Seconds that a job goes on for a session that asks for it no more: hidden tabs ask seldom."""
GRACE = 5.0
"""Seconds that it goes on for a browser that is gone, which may be a connection that comes back."""


class Busy(Exception):
    """There is no room in the queue."""


@dataclass
class Work:
    """A job, and until when each session that waits for it is taken to wait."""

    job: Job[Result]
    leases: dict[str, float] = field(default_factory=dict)


class Engine:
    """One for the server. A result asked for twice is computed once; a job ends when nobody waits.

    A session waits for one result at a time: what it asks for next takes the place of what it asked
    for before. Results and jobs go by the parameters that decide what is computed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: OrderedDict[str, LanguageModel] = OrderedDict()
        self._results: OrderedDict[Any, Result] = OrderedDict()
        self._work: dict[Any, Work] = {}
        self._watched = False

    def result(self, params: Any) -> Result | None:
        """Return the result if it was computed here, on this machine before, or ships."""
        key = kept_by(params)
        if key not in self._results and (result := stored(params)) is not None:
            self._remember(key, result)
        with self._lock:
            if (result := self._results.get(key)) is None:
                return None
            self._results.move_to_end(key)
            # As it was read last, since its tables are made once for each reading.
            self._results[key] = read_by(result, params)
            return self._results[key]

    def request(self, params: Any, session: str) -> Job[Result]:
        """Return the job that computes a result, begun now unless another session has.

        A session that waits says so again and again (:meth:`renew`), or is taken to have left.

        Raises:
            Busy: When too many jobs wait.
        """
        key = kept_by(params)
        with self._lock:
            for other, work in list(self._work.items()):
                if other != key:
                    self._leave(other, work, session)
            work = self._work.get(key)
            if work is None or (work.job.done() and session not in work.leases):
                work = self._work[key] = Work(self._start(key, session))
            work.leases[session] = time.monotonic() + LEASE
            return work.job

    def renew(self, params: Any, session: str) -> bool:
        """Say that a session waits still; return whether there is what it waits for."""
        with self._lock:
            work = self._work.get(kept_by(params))
            if work is None or session not in work.leases:
                return False
            work.leases[session] = time.monotonic() + LEASE
            return True

    def leave(self, params: Any, session: str) -> None:
        """Stop waiting; the job is cancelled when no other session waits for it."""
        key = kept_by(params)
        with self._lock:
            if (work := self._work.get(key)) is not None:
                self._leave(key, work, session)

    def closed(self, session: str) -> None:
        """Take note that a session's browser is gone."""
        soon = time.monotonic() + GRACE
        with self._lock:
            for work in self._work.values():
                if session in work.leases:
                    work.leases[session] = min(work.leases[session], soon)

    def interval(self) -> float:
        """Return how often a page asks how far its job is, seconds.

        All pages together ask four times a second, since every answer takes a little of the
        processor from the job.
        """
        with self._lock:
            waiting = sum(len(w.leases) for w in self._work.values() if not w.job.done())
        return min(2.0, max(0.5, waiting / 4))

    def sweep(self) -> bool:
        """Let go of sessions whose leases ran out, and return whether anybody waits still."""
        now = time.monotonic()
        with self._lock:
            for key, work in list(self._work.items()):
                for session, until in list(work.leases.items()):
                    if until < now:
                        self._leave(key, work, session)
            self._watched = bool(self._work)
            return self._watched

    def _start(self, params: Any, session: str) -> Job[Result]:
        if sum(not work.job.done() for work in self._work.values()) >= LIMIT:
            raise Busy(
                f"{LIMIT} computations wait for this machine already, which is all it takes on. "
                "Try again in a minute."
            )
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name="lensbook-leases", daemon=True).start()
        paper, _ = question_of(params)
        call = functools.partial(self._compute, params)
        return enqueue(Job(call, owner=session, title=paper.title))

    def _leave(self, key: Any, work: Work, session: str) -> None:
        if work.leases.pop(session, None) is not None and not work.leases:
            work.job.cancel()
            del self._work[key]

    def _watch(self) -> None:
        while self.sweep():
            time.sleep(1)

    def _compute(self, params: Any) -> Result:
        """Run on the compute thread, which other computations share."""
        _, question = question_of(params)
        model = None
        if question.on_model:
            with undivided():  # else two of them might load the same model at a time
                model = self._model(params.model)
        result = attach(obtain(model, params))
        self._remember(params, result)
        self._complete(type(params))
        return result

    def _complete(self, kind: type) -> None:
        """Attach a result of these parameters to those that rest on one and were without."""
        with self._lock:
            held = list(self._results.items())
        for key, result in held:
            rests_on = question_of(key)[1].evidence
            missing = [each for name, each in rests_on.items() if name not in result.evidence]
            if any(type(each) is kind for each in missing):
                self._remember(key, attach(result))

    def _model(self, name: str) -> LanguageModel:
        if name not in self._models:
            self._models[name] = load_model(name)
        self._models.move_to_end(name)
        while len(self._models) > _MODELS:
            self._models.popitem(last=False)
        return self._models[name]

    def _remember(self, key: Any, result: Result) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > _RESULTS:
                self._results.popitem(last=False)


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """Return the server's engine."""
    # The compute thread lets go of the interpreter's lock at every product, and waits this long for
    # every page that is being drawn until it has it back: at Python's 5 ms a lens took twice as long.
    sys.setswitchinterval(0.0005)
    return Engine()


@dataclass
class _Browser:
    """A session's browser, for as long as it is connected."""

    session: str
    engine: Engine

    def gone(self) -> None:
        self.engine.closed(self.session)


@st.cache_resource(scope="session", on_release=_Browser.gone, show_spinner=False)
def _browser(session: str, _engine: Engine) -> _Browser:
    return _Browser(session, _engine)


def session_id() -> str:
    """Return this browser session's id; the engine is told when its browser is gone."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    session = "" if context is None else context.session_id
    _browser(session, engine())
    return session
