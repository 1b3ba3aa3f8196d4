"""What an analysis returns: arrays of numbers and strings, and where they came from.

A result holds numpy and strings only, so it crosses threads, is stored, and is drawn without a
model. Everything a reader sees is derived from it: tidy frames, findings, charts, downloads.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, get_type_hints

import altair as alt
import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from interp_core import archive
from interp_core.models.language_model import ModelInfo
from interp_core.params import to_query


@dataclass(frozen=True)
class Finding:
    """A claim of the paper beside what was measured here."""

    id: str
    claim: str
    """What the paper says, or what would have to be true."""
    paper: str
    """The paper's own figure, in words."""
    ours: float
    """What was measured, in ``unit``."""
    unit: str
    """nats, share, layer, ..."""
    ci: tuple[float, float] | None
    """95% interval of ``ours``, where it is an estimate."""
    holds: bool
    """Whether the claim holds in our measurement."""
    n: int
    """How many items ``ours`` was measured over."""
    of: str
    """What ``n`` counts."""

    @property
    def shown(self) -> str:
        """``ours`` with its interval and unit, with the digits that it supports."""
        percent = self.unit == "share"

        def show(x: float) -> str:
            if percent:
                return f"{100 * x:.0f}%"
            if x == round(x) or abs(x) >= 100:
                return f"{x:,.0f}"
            return f"{x:.2g}" if abs(x) < 1 else f"{x:.1f}"

        interval = "" if self.ci is None else f" [{show(self.ci[0])}, {show(self.ci[1])}]"
        return f"{show(self.ours)}{interval}{'' if percent else ' ' + self.unit}"


@dataclass(frozen=True)
class Provenance:
    """How a result came about."""

    model: ModelInfo
    token_ids: tuple[int, ...]
    """The prompt as the model saw it."""
    versions: dict[str, str]
    device: str
    blas: str
    seed: int | None
    """None where nothing is drawn at random."""
    seconds: float
    peak_memory: int
    """Bytes that MLX held at most, weights included."""
    date: str
    """Day of the computation, ISO 8601."""


class Result(ABC):
    """Base of every paper's result, a frozen dataclass with ``params`` and ``provenance``."""

    paper: ClassVar[str]
    """The paper's name on the command line, in links and in files."""
    version: ClassVar[int] = 1
    """Raised when the same parameters would give other numbers, so that old entries go unread."""
    reads_model: ClassVar[bool] = True
    """Whether it depends on the reader's model; results of models trained here do not."""
    unsaved: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold another result, kept under a key of its own."""
    axes: ClassVar[Mapping[str, str]] = {}
    """The axes of every array, and of tuples that go along; see :func:`archive.check_axes`."""
    redraws: ClassVar[frozenset[str]] = frozenset()
    """Parameters that no array depends on: they say how it is read, and it is kept without them."""

    params: Any
    provenance: Provenance

    @classmethod
    def data(cls) -> dict[str, str]:
        """Digests of what it reads beside its parameters and the model, by name: part of its key."""
        return {}

    @classmethod
    def identity(cls) -> dict[str, Any]:
        """Return what tells this kind's results from others of equal parameters."""
        return {
            "paper": cls.paper,
            "kind": cls.__name__,
            "version": cls.version,
            "data": cls.data(),
        }

    @cached_property
    @abstractmethod
    def frames(self) -> dict[str, pd.DataFrame]:
        """The numbers as tidy tables."""

    @property
    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The few values that answer the paper's question for this input."""

    @property
    @abstractmethod
    def findings(self) -> list[Finding]:
        """The paper's claims beside what was measured on this model."""

    @abstractmethod
    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """The figures, by name."""

    @property
    def link(self) -> str:
        """Path and query that open this result in the app."""
        query = to_query(self.params)
        return f"/{self.paper}" + (f"?{query}" if query else "")

    def read_by(self, params: Any) -> Self:
        """Return this result as ``params`` read it, which ask for the same arrays."""
        given = {name: getattr(params, name) for name in self.redraws}
        params = dataclasses.replace(self.params, **given)
        return self if params == self.params else dataclasses.replace(self, params=params)

    def to_json(self) -> str:
        """Return the whole result as the JSON document that the command line writes."""
        document = {
            "paper": self.paper,
            "params": dataclasses.asdict(self.params),
            "model": self.provenance.model.id,
            "summary": self.summary,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "frames": {
                name: json.loads(frame.to_json(orient="records", double_precision=10))
                for name, frame in self.frames.items()
            },
            "provenance": dataclasses.asdict(self.provenance),
            "link": self.link,
        }
        return json.dumps(_plain(document), ensure_ascii=True, allow_nan=False)

    def to_bytes(self) -> bytes:
        """Return the result as an ``.npz`` archive of its arrays and one JSON text."""
        arrays, texts = {}, {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in self.unsaved:
                continue
            if isinstance(value, np.ndarray):
                arrays[field.name] = value
            else:
                adapter = TypeAdapter(get_type_hints(type(self))[field.name])
                texts[field.name] = adapter.dump_python(value, mode="json")
        file = io.BytesIO()
        archive.pack(file, {"identity": self.identity(), "fields": texts}, arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the result that :meth:`to_bytes` wrote.

        Raises:
            ValueError: When the bytes are damaged, of another kind or version, measured on other
                data, or of other fields and shapes than this kind has.
        """
        try:
            header, arrays = archive.unpack(io.BytesIO(data))
            if header["identity"] != cls.identity():
                raise ValueError(f"it is of {header['identity']}")
            return cls._of(header["fields"], arrays)
        except Exception as error:  # damage shows itself as almost any of them
            raise ValueError(f"not a readable {cls.paper} result: {error}") from error

    @classmethod
    def _of(cls, texts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        hints = get_type_hints(cls)
        fields = {f.name for f in dataclasses.fields(cls)} - cls.unsaved  # type: ignore[arg-type]
        expected = {name for name in fields if hints[name] is np.ndarray}
        if arrays.keys() != expected or texts.keys() != fields - expected:
            raise ValueError("its fields are not those of its kind")
        kept = {name: TypeAdapter(hints[name]).validate_python(texts[name]) for name in texts}
        archive.check_axes({**kept, **arrays}, cls.axes)
        return cls(**kept, **arrays)


def _plain(value: Any) -> Any:
    """Return ``value`` with numpy scalars as Python's and numbers that JSON lacks as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
