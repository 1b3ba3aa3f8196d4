"""Training with checkpoints: an interrupted run goes on where it was, a longer one where a shorter ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

import numpy as np

from interp_core import archive, store
from interp_core.runtime import clock

_log = logging.getLogger(__name__)


def every(steps: int, checkpoints: int) -> int:
    """Return how many steps lie between checkpoints, of about so many."""
    return max(1, round(steps / checkpoints))


def schedule(steps: int, checkpoints: int) -> list[int]:
    """Return the steps at which a training is looked at: the first, evenly spaced ones, the last."""
    return [*range(0, steps, every(steps, checkpoints)), steps]


def drawn(n: int, first: int, count: int, seed: int) -> np.ndarray:
    """Return which of ``n`` items are trained on, [count], from the ``first``-th on.

    Every item comes once, in an order of its own; then again, in another one.
    """
    at = np.arange(first, first + count)
    out = np.empty(count, np.int64)
    for epoch in np.unique(at // n):
        here = at // n == epoch
        out[here] = np.random.default_rng([seed, epoch]).permutation(n)[at[here] % n]
    return out


class Learner(Protocol):
    """Something that is trained."""

    def learn(self, step: int) -> None:
        """Take a training step; what it draws depends on the step alone."""

    def log(self, checkpoint: int) -> None:
        """Measure what is to be known at a checkpoint, counted from 0."""

    def state(self, count: int) -> dict[str, np.ndarray]:
        """Return what it takes to go on after ``count`` checkpoints, and what was logged."""

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go on from a state, kept after so many training steps.

        Raises:
            ValueError: When the state is of another one; nothing was changed then.
        """


L = TypeVar("L", bound=Learner)


@dataclass
class Course(Generic[L]):
    """A training: who learns, when it is looked at, and where its state is kept."""

    learner: L
    steps: Sequence[int]
    """Training steps done at each checkpoint, ascending from 0."""
    file: Path
    of: Mapping[str, Any]
    """What tells it from other trainings, as JSON takes it."""
    axes: Mapping[str, str]
    """Of the state's arrays, as of :func:`archive.check_axes`; ``checkpoint`` is one of them."""
    logged: int = 0
    """Checkpoints so far."""
    seconds: float = 0.0
    """Of training, in this run and in those before it."""

    def run(self, tell: Callable[[int], None], *, resume: bool) -> Iterator[None]:
        """Train, and stop at every checkpoint, once its state is kept.

        Args:
            tell: Takes each step before it is done; may raise, to cancel.
            resume: Whether to go on from a kept state.
        """
        if resume:
            self._load()
        if self.logged:
            yield
        while self.logged < len(self.steps):
            begin = self.steps[self.logged - 1] if self.logged else 0
            started = clock() - self.seconds
            for step in range(begin, self.steps[self.logged]):
                tell(step)
                self.learner.learn(step)
            self.learner.log(self.logged)
            self.logged += 1
            self.seconds = clock() - started
            self._save()
            yield

    def _save(self) -> None:
        """Keep the state, whole or not at all; where it is too large or the disk full, say so and go on."""
        arrays = self.learner.state(self.logged)
        arrays["steps"] = np.array(self.steps[: self.logged])
        arrays["seconds"] = np.array(self.seconds)
        if (size := sum(each.nbytes for each in arrays.values())) > archive.LARGEST * 0.99:
            _log.warning("a state of %.1f GB is not kept: it is more than is read back", size / 1e9)
            return
        of = dict(self.of)
        store.write(self.file, lambda file: archive.pack(file, of, arrays, compress=False))

    def _load(self) -> None:
        """Go on from a kept state, if there is one and its checkpoints are the first of ours."""
        store.read(self.file, self._restore)

    def _restore(self, file: IO[bytes]) -> bool:
        """Take over what :meth:`_save` wrote; return whether it is the beginning of this training.

        Raises:
            ValueError: When it is damaged, or of another training.
        """
        header, arrays = archive.unpack(file)
        axes = {**self.axes, "steps": "checkpoint", "seconds": ""}
        if header != self.of or arrays.keys() != axes.keys():
            raise ValueError("it is of another training")
        archive.check_axes(arrays, axes)
        steps = arrays["steps"].tolist()
        if steps != list(self.steps[: len(steps)]):
            return False
        self.learner.restore(arrays, steps[-1])
        self.logged, self.seconds = len(steps), float(arrays["seconds"])
        return True
