"""What an analysis returns: arrays of numbers and strings, and where they came from.

A result holds numpy and strings only, so it crosses threads, is stored, and is drawn without a
model. Everything a reader sees is derived from it: tidy frames, findings, charts, downloads.
"""

from __future__ import annotations

import dataclasses
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, get_type_hints

import altair as alt
import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from interp_core import archive
from interp_core.findings import Finding
from interp_core.models.info import ModelInfo
from interp_core.paths import shipped_digest
from interp_core.plot.checks import unchecked
from interp_core.query import link

T = TypeVar("T")


Claim = Callable[[Any], "Finding | list[Finding] | None"]
"""What a result says of a claim; None where it cannot say."""


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


@dataclass(frozen=True)
class Figure:
    """A chart or a table, drawn from a result alone."""

    name: str
    draw: Callable[..., alt.TopLevelMixin | pd.DataFrame]
    """Takes the result, and the fields of the view that it reads as keywords."""
    label: str = ""
    """Its name among the figures that are shown one at a time; without one it is always shown."""
    reads: tuple[str, ...] = ()
    """Fields of the question's view that it depends on."""
    live: bool = False
    """Whether it is drawn of partial results, while they are computed."""
    when: Callable[[Any], bool] = lambda _: True
    """Whether a result has it."""
    picks: tuple[str, ...] = ()
    """Fields that a click on one of its marks sets: of the view or, with ``opens``, of parameters."""
    opens: str = ""
    """The question that a click opens, of the same paper."""


@dataclass(frozen=True, eq=False)
class Result(ABC):
    """Base of every result, a frozen dataclass with ``params`` and ``provenance``.

    A subclass declares its fields, :meth:`tables` and :attr:`summary`. Its figures and claims, and
    the names of its paper and question, are those of the question that it answers, which sets them.
    """

    paper: ClassVar[str]
    """The paper's name on the command line, in links and in files."""
    question: ClassVar[str]
    """The question's name."""
    figures: ClassVar[tuple[Figure, ...]] = ()
    claims: ClassVar[tuple[Claim, ...]] = ()
    version: ClassVar[int] = 1
    """Raised when the same parameters would give other numbers, so that old entries go unread."""

    files: ClassVar[Mapping[str, str]] = {}
    """What ships and is read beside the parameters and the model, by name: part of its key."""

    if TYPE_CHECKING:
        params: Any
        provenance: Provenance
    evidence: Mapping[str, Result] = field(default_factory=dict, kw_only=True, repr=False)
    """Other results that the paper's claims rest on, by name, where they are at hand. Not stored."""

    @classmethod
    def axes(cls) -> dict[str, str]:
        """Return the axes of every array, and of tuples that go along, as their types have them.

        See :func:`archive.check_axes`.
        """
        hints = get_type_hints(cls, include_extras=True).items()
        return {n: hint.__metadata__[0] for n, hint in hints if hasattr(hint, "__metadata__")}

    @classmethod
    def identity(cls) -> dict[str, Any]:
        """Return what tells this question's results from others of equal parameters."""
        return {
            "paper": cls.paper,
            "question": cls.question,
            "version": cls.version,
            "data": {name: shipped_digest(file) for name, file in cls.files.items()},
        }

    @abstractmethod
    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the result's own numbers as tidy tables."""

    @property
    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The few values that answer the question for this input."""

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The numbers as tidy tables, those of the evidence after the result's own."""
        return self._with_evidence(lambda result: result.tables())

    @property
    def findings(self) -> list[Finding]:
        """The paper's claims beside what was measured on this model, here and in the evidence."""
        return [
            *self.own_findings,
            *(f for each in self.evidence.values() for f in each.own_findings),
        ]

    @cached_property
    def own_findings(self) -> list[Finding]:
        """The claims that this result alone bears on."""
        found = [claim(self) for claim in self.claims]
        lists = [each if isinstance(each, list) else [each] for each in found]
        return [finding for items in lists for finding in items if finding is not None]

    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """Return the figures by name, as they are first seen, those of the evidence last."""
        return self._with_evidence(lambda result: result.own_charts())

    def own_charts(self, **view: Any) -> dict[str, alt.TopLevelMixin]:
        """Return the result's own charts, drawn for the fields of a view that each of them reads."""
        drawn = {
            figure.name: self._drawn(figure, view) for figure in self.figures if figure.when(self)
        }
        return {name: chart for name, chart in drawn.items() if not isinstance(chart, pd.DataFrame)}

    def chart(self, name: str, **view: Any) -> alt.TopLevelMixin:
        """Return one of the result's own charts, drawn for the fields of a view that it reads."""
        return self._drawn(next(each for each in self.figures if each.name == name), view)

    def _drawn(self, figure: Figure, view: Mapping[str, Any]) -> Any:
        with unchecked():
            return figure.draw(self, **{name: view[name] for name in figure.reads if name in view})

    def _with_evidence(self, read: Callable[[Result], dict[str, T]]) -> dict[str, T]:
        found = dict(read(self))
        for name, each in self.evidence.items():
            for key, value in read(each).items():
                found[f"{key}_{name}" if key in found else key] = value
        return found

    def attachments(self) -> dict[str, bytes]:
        """Return further files that go with the result, by name, as what it trained."""
        return {}

    @property
    def link(self) -> str:
        """Path and query that open this result in the app."""
        return link(self.params)

    def to_json(self) -> str:
        """Return the whole result as the JSON document that the command line writes."""
        document = {
            "paper": self.paper,
            "question": self.question,
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
        return json.dumps(archive.jsonable(document), ensure_ascii=True, allow_nan=False)

    def to_bytes(self) -> bytes:
        """Return the result as an ``.npz`` archive of its arrays and one JSON text."""
        arrays, texts = {}, {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.name == "evidence":
                continue
            if isinstance(value, np.ndarray):
                arrays[each.name] = value
            else:
                adapter = TypeAdapter(get_type_hints(type(self))[each.name])
                texts[each.name] = adapter.dump_python(value, mode="json")
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
        fields = {each.name for each in dataclasses.fields(cls)} - {"evidence"}
        expected = {name for name in fields if hints[name] is np.ndarray}
        if arrays.keys() != expected or texts.keys() != fields - expected:
            raise ValueError("its fields are not those of its kind")
        kept = {name: TypeAdapter(hints[name]).validate_python(texts[name]) for name in texts}
        archive.check_axes({**kept, **arrays}, cls.axes())
        values: dict[str, Any] = {**kept, **arrays}
        return cls(**values)
