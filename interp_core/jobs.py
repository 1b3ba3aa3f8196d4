"""Jobs that take turns on one thread.

Every job runs on a stack of its own (a greenlet) of that one thread, and can change places with
another only where it reports or gives way. A job keeps the thread for its first :data:`SHORT`
seconds, so short ones run one after another and each ends soon; one that takes longer runs a
:data:`TURN` at a time while others wait. Next is whoever has waited longer than :data:`PATIENCE`, the longest first, so
that nobody starves; else short jobs before long ones, then the owner whose jobs ran least, then
the job that ran least, then the first that came.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from greenlet import greenlet

T = TypeVar("T")

SHORT = 2.0
"""Seconds that a job runs before it shares the thread; one that ran longer is a long job."""
TURN = 0.5
"""Seconds that a long job runs at a time while others wait."""
PATIENCE = 8.0
"""Seconds after which a job that waits goes first, whatever it is."""

Context = Callable[[], AbstractContextManager]


class Cancelled(Exception):
    """The job was cancelled by whoever asked for it."""


@dataclass(frozen=True)
class Progress:
    """How far a job has come; ``remaining`` is None until it can be estimated."""

    label: str
    done: float
    """Whole steps, and the share of the current one where it reports by itself."""
    total: int
    elapsed: float
    """Seconds that the job has run; it stands still while others run."""
    remaining: float | None
    """Estimated seconds that it has yet to run."""
    waited: float
    """Seconds since it was asked for in which it did not run."""


class Job(Generic[T]):
    """A call that waits for its thread, runs there, or has changed places with another.

    Args:
        call: What to run.
        owner: On whose behalf; owners share the thread evenly.
        title: What others who wait may know of it.
    """

    def __init__(self, call: Callable[[], T], *, owner: str = "", title: str = "") -> None:
        self.owner, self.title = owner, title
        self.partial: Any = None
        """What the call has shown of its result so far."""
        self.stage: tuple[str, int, int] | None = None
        """The step that its reports are part of: label, number, and of how many."""
        self.held: list[tuple[Context, AbstractContextManager]] = []
        """Contexts that it is in while it runs, and how each is made anew."""
        self.undivided = 0
        """While above 0, it does not change places."""
        self._call = call
        self._future: Future[T] = Future()
        self._stop = threading.Event()
        self._label, self._done, self._total = "waiting", 0.0, 0
        self._stack: Any = None
        self._asked = self._since = time.monotonic()
        self._ran, self._runs, self._ended = 0.0, False, 0.0

    @property
    def progress(self) -> Progress:
        """The latest report of the call."""
        elapsed, done, total = self.seconds, self._done, self._total
        remaining = elapsed / done * (total - done) if done else None
        waited = max(0.0, (self._ended or time.monotonic()) - self._asked - elapsed)
        return Progress(self._label, done, total, elapsed, remaining, waited)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return self._ran + (time.monotonic() - self._since if self._runs else 0.0)

    def cancel(self) -> None:
        """Ask the call to stop; it does at its next report, and ``result`` raises Cancelled."""
        self._stop.set()

    def done(self) -> bool:
        """Whether the call has ended, in whichever way."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the call and return its value, or raise what it raised."""
        return self._future.result(timeout)

    def take_turn(self) -> None:
        """Run until the call ends or changes places; from the thread's own stack only."""
        if self._stack is None:
            self._stack = greenlet(self._run)
        self._since, self._runs = time.monotonic(), True
        self._stack.switch()
        now = time.monotonic()
        self._ran, self._runs, self._since = self._ran + now - self._since, False, now

    def change_places(self) -> None:
        """Let other jobs run, and return when it is this one's turn again; from its call only.

        Raises:
            Cancelled: When it was asked to stop meanwhile.
        """
        for _, context in reversed(self.held):
            context.__exit__(None, None, None)
        self._stack.parent.switch()
        self.held = [(make, entered(make)) for make, _ in self.held]
        self.check()

    def report(self, label: str, done: float, total: int) -> None:
        """Note how far the call has come.

        Raises:
            Cancelled: When it was asked to stop.
        """
        self.check()
        if self.stage is not None:
            share = done / total if total else 0.0
            label, whole, total = self.stage
            done = whole + share
        self._label, self._done, self._total = label, done, total

    def check(self) -> None:
        """Go on, unless the call was asked to stop.

        Raises:
            Cancelled: When it was.
        """
        if self._stop.is_set():
            raise Cancelled("cancelled")

    @property
    def shares(self) -> bool:
        """Whether it has run long enough to let others run."""
        turn = time.monotonic() - self._since
        return not self.undivided and self.seconds >= SHORT and turn >= TURN

    def rank(self, jobs: Sequence[Job[Any]]) -> tuple[float, ...]:
        """Return what decides whose turn it is among ``jobs``: the least goes first."""
        if self._stop.is_set():
            return (0,)
        waited = 0.0 if self._runs else time.monotonic() - self._since
        if waited > PATIENCE:
            return (1, -waited)
        of_owner = sum(job.seconds for job in jobs if job.owner == self.owner)
        return (2, self.seconds >= SHORT, of_owner, self.seconds)

    def _run(self) -> None:
        try:
            self.report("starting", 0, 0)
            value = self._call()
        except BaseException as error:
            # Else the arrays of the call live as long as whoever looks at how it ended.
            traceback.clear_frames(error.__traceback__)
            self._ended = time.monotonic()
            self._future.set_exception(error)
        else:
            self._ended = time.monotonic()
            self._future.set_result(value)


def entered(make: Context) -> AbstractContextManager:
    """Return a new context, entered."""
    context = make()
    context.__enter__()
    return context
