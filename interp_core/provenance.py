"""Measure how a result comes about: time, memory, versions."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from typing import Self

import mlx.core as mx

from interp_core import blas, runtime
from interp_core.models.language_model import ModelInfo
from interp_core.results import Provenance

_PACKAGES = ("lensbook", "mlx", "mlx-lm", "numpy", "scikit-learn", "tokenizers")


class Recorder:
    """A context around a computation; :meth:`provenance` tells how it goes, or how it went.

    What other jobs do meanwhile counts neither for its seconds nor for its peak of memory, but the
    peak holds what they keep.
    """

    _end: float | None = None
    _peak = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(runtime.holding(self._watching_memory))
        self._start = runtime.clock()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = runtime.clock()
        self._stack.close()

    def provenance(
        self, model: ModelInfo, token_ids: list[int], seed: int | None = None
    ) -> Provenance:
        """Return the record of the computation, up to now if it has not ended."""
        end = self._end
        if end is None:
            end = runtime.clock()
            _note_peak()
        return Provenance(
            model=model,
            token_ids=tuple(token_ids),
            versions={name: version(name) for name in _PACKAGES},
            device=runtime.device(),
            blas=blas.chosen,
            seed=seed,
            seconds=round(end - self._start, 3),
            peak_memory=self._peak,
            date=datetime.date.today().isoformat(),
        )

    @contextlib.contextmanager
    def _watching_memory(self) -> Iterator[None]:
        _note_peak()
        mx.reset_peak_memory()
        _watching.append(self)
        try:
            yield
        finally:
            _note_peak()
            _watching.remove(self)


_watching: list[Recorder] = []
"""The recorders of the job that runs, outermost first: MLX keeps one peak for all."""


def _note_peak() -> None:
    for recorder in _watching:
        recorder._peak = max(recorder._peak, mx.get_peak_memory())
