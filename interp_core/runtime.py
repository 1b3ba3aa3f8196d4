"""The one thread that owns MLX.

MLX binds its streams to threads: a model loaded in one cannot run in another. So loading and
every MLX operation happen on one worker thread, and only numpy and strings leave it. Work is
handed over as a :class:`Job`, which shows its progress and can be cancelled; :mod:`jobs
<interp_core.jobs>` tells how jobs share the thread.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import mlx.core as mx

from interp_core.jobs import Cancelled, Context, Job, Progress, entered

__all__ = ["Cancelled", "Job", "Progress"]

P = ParamSpec("P")
T = TypeVar("T")


class _Worker:
    """The thread, the jobs that have not ended in the order they came, and the one that runs."""

    def __init__(self) -> None:
        self.jobs: list[Job[Any]] = []
        self.current: Job[Any] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self.thread = threading.Thread(target=self._loop, name="lensbook-compute", daemon=True)
        self.thread.start()

    def add(self, job: Job[Any]) -> None:
        with self._changed:
            self.jobs.append(job)
            self._changed.notify()

    def before(self, job: Job[Any]) -> tuple[int, str]:
        with self._changed:
            now = self.current
            if now is None or now is job or job not in self.jobs:
                return 0, ""
            order = sorted((each for each in self.jobs if each is not now), key=self._rank)
            return 1 + order.index(job), now.title

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            for job in self.jobs:
                job.cancel()
            self._changed.notify()
        self.thread.join(timeout=30)

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            job.take_turn()
            if job.done():
                with self._changed:
                    self.jobs.remove(job)
        # A thread that used MLX and lives at exit may abort the process; this lets it go.
        mx.clear_streams()

    def _next(self) -> Job[Any] | None:
        with self._changed:
            self.current = None
            self._changed.wait_for(lambda: self.jobs or self._stopping)
            self.current = min(self.jobs, key=self._rank, default=None)
            return self.current

    def _rank(self, job: Job[Any]) -> tuple[float, ...]:
        return job.rank(self.jobs)


_starting = threading.Lock()
_worker: _Worker | None = None


def _started() -> _Worker:
    """Return the worker, started by whoever comes first."""
    global _worker
    with _starting:
        if _worker is None:
            _worker = _Worker()
            atexit.register(_worker.stop)
        return _worker


def _here() -> Job[Any] | None:
    """Return the job whose call is running on the calling thread, if there is one."""
    if _worker is None or threading.current_thread() is not _worker.thread:
        return None
    return _worker.current


def enqueue(job: Job[T]) -> Job[T]:
    """Queue a job for the compute thread and return it at once."""
    _started().add(job)
    return job


def submit(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Job[T]:
    """Queue ``call(*args, **kwargs)`` for the compute thread and return its job at once."""
    return enqueue(Job(functools.partial(call, *args, **kwargs)))


def before(job: Job[Any]) -> tuple[int, str]:
    """Return how many jobs come before ``job``, 0 when it runs, and the running one's title."""
    return _started().before(job)


def on_compute_thread(call: Callable[P, T]) -> Callable[P, T]:
    """Make ``call`` run on the compute thread, whichever thread calls it.

    An interrupt (Ctrl-C) while waiting cancels the job before it is raised.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if _here() is not None:
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

    Other jobs may run before it returns. Called from within a job; elsewhere it does nothing.

    Raises:
        Cancelled: When the job was asked to stop.
    """
    if (job := _here()) is not None:
        job.report(label, done, total)
        give_way()


def give_way() -> None:
    """Let other jobs run within a step that takes long, and report nothing.

    Called from within a job; elsewhere it does nothing.

    Raises:
        Cancelled: When the job was asked to stop.
    """
    if (job := _here()) is not None:
        job.check()
        if job.shares and len(_started().jobs) > 1:
            job.change_places()


@contextlib.contextmanager
def stage(label: str, done: int, total: int) -> Iterator[None]:
    """Make what is reported within count as one step, number ``done``, of ``total``.

    Raises:
        Cancelled: When the job was asked to stop.
    """
    report(label, done, total)
    if (job := _here()) is None:
        yield
        return
    outer, job.stage = job.stage, (label, done, total)
    try:
        yield
    finally:
        job.stage = outer


def show(partial: Any) -> None:
    """Show whoever watches what is there of the result so far.

    Called from within a job; elsewhere it does nothing.
    """
    if (job := _here()) is not None:
        job.partial = partial


def clock() -> float:
    """Return seconds that stand still while other jobs run; only differences mean anything."""
    job = _here()
    return time.monotonic() if job is None else job.seconds


@contextlib.contextmanager
def holding(make: Context) -> Iterator[None]:
    """Be in the context that ``make`` returns, but while other jobs run: it is left, and made anew.

    For what a job sets for the whole process, such as the threads of a library.
    """
    if (job := _here()) is None:
        with make():
            yield
        return
    job.held.append((make, entered(make)))
    try:
        yield
    finally:
        job.held.pop()[1].__exit__(None, None, None)


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Let no other job run until the end: for what two jobs must not do at a time."""
    if (job := _here()) is None:
        yield
        return
    job.undivided += 1
    try:
        yield
    finally:
        job.undivided -= 1


def device() -> str:
    """The device MLX computes on: ``cpu`` or ``gpu``."""
    return "gpu" if mx.default_device() == mx.gpu else "cpu"
