"""How a parameter is declared: once, with its bounds, its words, and how it is shown.

Flags, keys of links, refusals, controls of pages and tables of reports are all read from here.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Kind = Literal["flag", "choice", "choices", "number", "text", "texts", "span"]


@dataclass(frozen=True)
class When:
    """A condition on another parameter, outside of which this one is not read."""

    name: str
    values: tuple[Any, ...]
    also: When | None = None
    """A further condition that has to be met."""

    def __call__(self, params: Any) -> bool:
        """Whether ``params`` meet it."""
        value = getattr(params, self.name)
        met = any(
            each in value if isinstance(value, tuple) else each == value for each in self.values
        )
        return met and (self.also is None or self.also(params))

    def __str__(self) -> str:
        own = f"{self.name}={' or '.join(str(each) or 'nothing' for each in self.values)}"
        return own if self.also is None else f"{own} and {self.also}"


@dataclass(frozen=True)
class Size:
    """A bound that only the model knows: a field of ``ModelInfo``, or the prompt's ``tokens``."""

    of: str
    inclusive: bool = False
    """Whether the size itself is accepted."""


@dataclass(frozen=True)
class Shown:
    """How a parameter is shown (see :func:`param`)."""

    slider: tuple[float, ...] = ()
    names: Mapping[Any, str] = dataclasses.field(default_factory=dict)
    when: When | None = None
    fold: bool = False
    identity: bool = True
    control: bool = True
    placeholder: str = ""
    visible: bool = False
    file: Callable[[Path], str] | None = None
    kept: Callable[[str, int], Mapping[str, str]] | None = None
    hub: Callable[[str], str] | None = None
    options: Callable[[Any], list[Any]] | None = None


@dataclass(frozen=True)
class Parameter:
    """One field of a parameters' class, as everything that shows or reads it needs it."""

    name: str
    kind: Kind
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...]
    optional: bool
    """Whether None is accepted: the value is then chosen by the analysis."""
    integer: bool
    most: int | None
    """Longest text, or most items."""
    size: Size | None
    shown: Shown

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def named(self, choice: Any) -> str:
        """Return the words for one of its choices."""
        return self.shown.names.get(choice, str(choice))


def param(
    default: Any,
    label: str,
    help: str,
    *,
    slider: tuple[float, ...] = (),
    names: Mapping[Any, str] | None = None,
    when: When | None = None,
    fold: bool = False,
    identity: bool = True,
    control: bool = True,
    placeholder: str = "",
    visible: bool = False,
    file: Callable[[Path], str] | None = None,
    kept: Callable[[str, int], Mapping[str, str]] | None = None,
    hub: Callable[[str], str] | None = None,
    options: Callable[[Any], list[Any]] | None = None,
    **bounds: Any,
) -> Any:
    """Declare a parameter.

    Args:
        default: Its default value.
        label: Its name on a page.
        help: One line, for pages, the command line and reports.
        slider: Range (low, high[, step]) of its slider, which may be narrower than its bounds: a
            value beyond gets a box of numbers. Of texts ``name=weight``: of one for each of ``names``.
        names: The words for its choices.
        when: Where it is read; elsewhere it has no control, and only its default is accepted.
        fold: Whether its control lies under "More".
        identity: Whether it decides what is computed; results are cached by these alone.
        control: Whether it has a control on the page.
        placeholder: What an empty control shows: what then happens.
        visible: Whether its spaces are shown, as those of tokens.
        file: Reads a file, and returns the value that stands for its content; links name that.
        kept: What there is to choose from besides, with words for each, for a model's digest and
            its number of layers.
        hub: Of a file that may come from the Hugging Face hub, too: a place there that fits a model, by
            the model's id; empty where none is known.
        options: Of a view's field: what a result offers to choose from.
        bounds: Passed to pydantic (``ge``, ``le``, ``max_length``, ``pattern``, ...).
    """
    shown = Shown(
        slider,
        names or {},
        when,
        fold,
        identity,
        control,
        placeholder,
        visible,
        file,
        kept,
        hub,
        options,
    )
    extra: Any = {"shown": shown}  # not JSON: no schema is ever written
    return Field(default=default, title=label, description=help, json_schema_extra=extra, **bounds)


def fields_of(cls: type) -> dict[str, Parameter]:
    """Return the parameters that a class declares, by name."""
    return _fields_of(cls)  # type: ignore[arg-type]  # mypy: a class without a known metaclass


@functools.cache
def _fields_of(cls: type) -> dict[str, Parameter]:
    return {name: _parameter(name, info) for name, info in cls.__pydantic_fields__.items()}  # type: ignore[attr-defined]


def _parameter(name: str, info: FieldInfo) -> Parameter:
    inner, optional = _without_none(info.annotation)
    kind, choices = _kind(inner, info)
    bounds = {type(item): item for item in (*_metadata(info.annotation), *info.metadata)}
    low, high = _bounds(bounds, inner is int)
    extra = info.json_schema_extra
    return Parameter(
        name=name,
        kind=kind,
        default=_default(info),
        label=info.title or name.replace("_", " ").capitalize(),
        help=info.description or "",
        low=low,
        high=high,
        choices=choices,
        optional=optional,
        integer=inner is int,
        most=getattr(bounds.get(annotated_types.MaxLen), "max_length", None),
        size=bounds.get(Size),
        shown=extra["shown"] if isinstance(extra, dict) and "shown" in extra else Shown(),  # type: ignore[arg-type]
    )


def _default(info: FieldInfo) -> Any:
    value = info.get_default(call_default_factory=True)
    if isinstance(value, FieldInfo):
        value = value.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else value


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(rest) == 1:
            return _plain(rest[0]), True
        if len(rest) < len(typing.get_args(annotation)):
            return typing.Union[tuple(rest)], True  # noqa: UP007
    return _plain(annotation), False


def _metadata(annotation: Any) -> list[Any]:
    """Return what bounds the values of a type, and of what it is besides None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _metadata(parts[0]) if len(parts) == 1 else []
    found = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    lists = [each.metadata if isinstance(each, FieldInfo) else [each] for each in found]
    return [item for items in lists for item in items]


def _plain(annotation: Any) -> Any:
    return (
        typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
    )


def _kind(annotation: Any, info: FieldInfo) -> tuple[Kind, tuple[Any, ...]]:
    if annotation is bool:
        return "flag", (True, False)
    if choices := _choices(annotation):
        return "choice", choices
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        if len(arguments) == 3:
            return "span", ()
        choices = _choices(_plain(arguments[0]))
        return ("choices", choices) if choices else ("texts", ())
    return ("number", ()) if annotation in (int, float) else ("text", ())


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [
            _choices(each) or ((True, False) if each is bool else ())
            for each in typing.get_args(annotation)
        ]
        return sum(reversed(parts), ()) if all(parts) else ()
    return ()


def _bounds(found: Mapping[type, Any], integer: bool) -> tuple[float | None, float | None]:
    """Return the least and the greatest value; of an open end among floats, the end itself."""
    step = 1 if integer else 0
    low = getattr(found.get(annotated_types.Ge), "ge", None)
    high = getattr(found.get(annotated_types.Le), "le", None)
    if low is None and annotated_types.Gt in found:
        low = found[annotated_types.Gt].gt + step
    if high is None and annotated_types.Lt in found:
        high = found[annotated_types.Lt].lt - step
    return low, high
