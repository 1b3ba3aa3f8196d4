"""Measure how a result comes about: time, memory, versions."""

from __future__ import annotations

import datetime
import time
from importlib.metadata import version
from typing import Self

import mlx.core as mx

from interp_core import blas
from interp_core.models.language_model import ModelInfo
from interp_core.results import Provenance
from interp_core.runtime import device

_PACKAGES = ("lensbook", "mlx", "mlx-lm", "numpy", "tokenizers")


class Recorder:
    """A context around a computation; :meth:`provenance` tells how it goes, or how it went."""

    _end: float | None = None

    def __enter__(self) -> Self:
        mx.reset_peak_memory()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = time.perf_counter()

    def provenance(
        self, model: ModelInfo, token_ids: list[int], seed: int | None = None
    ) -> Provenance:
        """Return the record of the computation, up to now if it has not ended."""
        end = time.perf_counter() if self._end is None else self._end
        return Provenance(
            model=model,
            token_ids=tuple(token_ids),
            versions={name: version(name) for name in _PACKAGES},
            device=device(),
            blas=blas.chosen,
            seed=seed,
            seconds=round(end - self._start, 3),
            peak_memory=mx.get_peak_memory(),
            date=datetime.date.today().isoformat(),
        )
