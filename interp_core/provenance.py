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
    """A context around a computation; :meth:`provenance` then tells how it went."""

    def __enter__(self) -> Self:
        mx.reset_peak_memory()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._start

    def provenance(
        self, model: ModelInfo, token_ids: list[int], seed: int | None = None
    ) -> Provenance:
        """Return the record of the computation that ended."""
        return Provenance(
            model=model,
            token_ids=tuple(token_ids),
            versions={name: version(name) for name in _PACKAGES},
            device=device(),
            blas=blas.chosen,
            seed=seed,
            seconds=round(self._seconds, 3),
            peak_memory=mx.get_peak_memory(),
            date=datetime.date.today().isoformat(),
        )
