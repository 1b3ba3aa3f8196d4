"""The one thread that owns MLX, and the jobs it runs.

MLX binds its streams to threads: a model loaded in one cannot run in another. So loading and
every MLX operation happen on one worker thread, and only numpy and strings leave it. Work is
handed over as a :class:`Job`, which shows its progress and can be cancelled.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import mlx.core as mx

P = ParamSpec("P")
T = TypeVar("T")


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
    """Seconds since the job started (0 while it waits)."""
    remaining: float | None
    """Estimated seconds to the end."""


class Job(Generic[T]):
    """A call waiting for, or running on, the compute thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._future: Future[T] = Future()
        self._stop = threading.Event()
        self._label, self._done, self._total = "waiting", 0.0, 0
        self.partial: Any = None
        """What the call has shown of its result so far (see :func:`show`)."""
        self._started: float | None = None
        self._stage: tuple[str, int, int] | None = None

    @property
    def progress(self) -> Progress:
        """The latest report of the running call."""
        elapsed = 0.0 if self._started is None else time.monotonic() - self._started
        done, total = self._done, self._total
        remaining = elapsed / done * (total - done) if done else None
        return Progress(self._label, done, total, elapsed, remaining)

    def cancel(self) -> None:
        """Ask the call to stop; it does at its next report, and ``result`` raises Cancelled."""
        self._stop.set()

    def done(self) -> bool:
        """Whether the call has ended, in whichever way."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the call and return its value, or raise what it raised."""
        return self._future.result(timeout)

    def _run(self) -> None:
        self._started = time.monotonic()
        self._label = "starting"
        try:
            self._report("starting", 0, 0)
            self._future.set_result(self._call())
        except BaseException as error:
            self._future.set_exception(error)

    def _report(self, label: str, done: float, total: int) -> None:
        if self._stop.is_set():
            raise Cancelled("cancelled")
        if self._stage is not None:
            share = done / total if total else 0.0
            label, whole, total = self._stage
            done = whole + share
        self._label, self._done, self._total = label, done, total


class _Worker:
    """The thread, its queue, and the job that runs now."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self.current: Job[Any] | None = None
        self.thread = threading.Thread(target=self._loop, name="lensbook-compute", daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        while (job := self.jobs.get()) is not None:
            self.current = job
            job._run()
            self.current = None
        # A thread that used MLX and lives at exit may abort the process; this lets it go.
        mx.clear_streams()

    def stop(self) -> None:
        if (job := self.current) is not None:
            job.cancel()
        self.jobs.put(None)
        self.thread.join(timeout=30)


@functools.cache
def _worker() -> _Worker:
    worker = _Worker()
    atexit.register(worker.stop)
    return worker


def submit(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Job[T]:
    """Queue ``call(*args, **kwargs)`` for the compute thread and return its job at once."""
    job = Job(functools.partial(call, *args, **kwargs))
    _worker().jobs.put(job)
    return job


def on_compute_thread(call: Callable[P, T]) -> Callable[P, T]:
    """Make ``call`` run on the compute thread, whichever thread calls it.

    An interrupt (Ctrl-C) while waiting cancels the job before it is raised.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if threading.current_thread() is _worker().thread:
            return call(*args, **kwargs)
        job = submit(call, *args, **kwargs)
        try:
            return job.result()
        except KeyboardInterrupt:
            job.cancel()
            raise

    return wrapper


def report(label: str, done: int, total: int) -> None:
    """Tell whoever watches that ``done`` of ``total`` steps are finished.

    Called from within a job; elsewhere it does nothing.

    Raises:
        Cancelled: When the job was asked to stop.
    """
    job = _worker().current
    if job is not None and threading.current_thread() is _worker().thread:
        job._report(label, done, total)


@contextlib.contextmanager
def stage(label: str, done: int, total: int) -> Iterator[None]:
    """Make what is reported within count as one step, number ``done``, of ``total``.

    Raises:
        Cancelled: When the job was asked to stop.
    """
    report(label, done, total)
    job = _worker().current
    if job is None or threading.current_thread() is not _worker().thread:
        yield
        return
    outer, job._stage = job._stage, (label, done, total)
    try:
        yield
    finally:
        job._stage = outer


def show(partial: Any) -> None:
    """Show whoever watches what is there of the result so far.

    Called from within a job; elsewhere it does nothing.
    """
    job = _worker().current
    if job is not None and threading.current_thread() is _worker().thread:
        job.partial = partial


def device() -> str:
    """The device MLX computes on: ``cpu`` or ``gpu``."""
    return "gpu" if mx.default_device() == mx.gpu else "cpu"
