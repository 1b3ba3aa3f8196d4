"""Parameters of an analysis: one frozen, validated dataclass per paper, and its link.

The same fields are the command line's flags, the app's controls and the query of a link. pydantic
validates; whatever is wrong becomes one :class:`ParameterError` line that names the field, the
value and what is accepted.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection
from typing import Annotated, Any, TypeVar, dataclass_transform
from urllib.parse import parse_qs, urlencode, urlsplit

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass

from interp_core.messages import one_line, quoted

T = TypeVar("T")

MAX_CHARACTERS = 20_000
MAX_INDEX = 1_000_000_000

VIEW = "view_"
"""Prefix of a link's keys that say how a page shows a result; no analysis reads them."""


class ParameterError(ValueError):
    """A parameter out of bounds: one line that names the field, the value and what is accepted."""


@dataclass_transform(frozen_default=True)
def parameters(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass that validates, and raises :class:`ParameterError`."""
    cls = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    validate = cls.__init__

    @functools.wraps(validate)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise ParameterError(_one_line(error)) from None

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


def _one_line(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = one_line(str(first["loc"][0]), 60) if first["loc"] else "parameters"
    message = first["msg"].removeprefix("Value error, ")
    accepted = message[:1].lower() + message[1:]
    return f"{name}: {quoted(first['input'])} is not accepted; {accepted}"


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("accepted: text that is not empty or only white space")
    return _check_unicode(text)


def _check_unicode(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; accepted: up to {MAX_CHARACTERS}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"it holds a lone surrogate at character {error.start}; accepted: valid Unicode"
        ) from None
    return text


Text = Annotated[str, AfterValidator(_check_text)]
"""Text that is not empty, in valid Unicode, of bounded length."""

MaybeText = Annotated[str, AfterValidator(_check_unicode)]
"""Text that may be empty, where something else then takes its place."""

TokenText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_unicode)]
"""The text of one token, leading space included."""

Span = tuple[int, int | None, int]
"""``(start, stop, stride)`` as of ``range``; a stop of None means the end."""


def _parse_span(value: Any) -> Any:
    """Read ``"2:30:4"``, ``"2:"``, ``"7"``, ``"all"``, a slice, or two or three numbers."""
    if value is None or value in ("", "all"):
        return (0, None, 1)
    if isinstance(value, slice):
        value = (value.start or 0, value.stop, value.step or 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        value = (value, value + 1, 1)
    elif isinstance(value, str):
        parts = value.replace(",", ":").split(":")
        if len(parts) == 1 and parts[0].isdecimal():
            return (int(parts[0]), int(parts[0]) + 1, 1)
        start, stop, stride = [*parts, "", ""][:3] if 2 <= len(parts) <= 3 else (value, "", "")
        value = (start or 0, stop or None, stride or 1)
    if isinstance(value, list | tuple) and len(value) == 2:
        value = (*value, 1)
    return value


def _check_span(span: Span) -> Span:
    start, stop, stride = span
    if start < 0 or stride < 1 or (stop is not None and stop <= start):
        raise ValueError("accepted: start:stop:stride with 0 <= start < stop and stride >= 1")
    if max(start, stop or 0, stride) > MAX_INDEX:
        raise ValueError(f"accepted: start:stop:stride of numbers up to {MAX_INDEX}")
    return span


Range = Annotated[Span, BeforeValidator(_parse_span), AfterValidator(_check_span)]
"""A validated :data:`Span`, read from numbers or from ``start:stop:stride``."""


def show_span(span: Span) -> str:
    """Write a span as links and flags have it, e.g. ``0:30:2``."""
    start, stop, stride = span
    return f"{start}:{'' if stop is None else stop}" + (f":{stride}" if stride != 1 else "")


def resolve(span: Span, size: int, name: str, *, keep_last: bool = False) -> list[int]:
    """Return the indices that ``span`` names in ``range(size)``.

    With ``keep_last`` the stride is counted back from the end, so that the last is always there.

    Raises:
        ParameterError: When the span reaches out of range.
    """
    start, stop, stride = span
    stop = size if stop is None else stop
    if start >= size or stop > size:
        raise ParameterError(
            f"{name}: {show_span(span)} is not accepted; this has {size}, "
            f"so accepted: 0 <= start < stop <= {size}"
        )
    if keep_last:
        return list(range(stop - 1, start - 1, -stride))[::-1]
    return list(range(start, stop, stride))


def to_query(params: Any) -> str:
    """Return the query string of ``params``: the fields that differ from their defaults."""
    return urlencode(changed(params), doseq=True)


def changed(params: Any) -> dict[str, str | list[str]]:
    """Return the fields that differ from their defaults, as text, lists as lists of text."""
    return {
        field.name: _as_text(value)
        for field in dataclasses.fields(params)
        if (value := getattr(params, field.name)) != _default(field)
    }


def keep_only(params: T, names: Collection[str]) -> T:
    """Return ``params`` with every field that is not in ``names`` at its default."""
    unread = {f.name: _default(f) for f in dataclasses.fields(params) if f.name not in names}  # type: ignore[arg-type]
    return dataclasses.replace(params, **unread)  # type: ignore[type-var]


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _as_text(value: Any) -> str | list[str]:
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], int):
        return show_span(value)
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def split_link(link: str) -> tuple[str, str]:
    """Return the path and the query of a URL, of a path with a query, or of a bare query.

    Raises:
        ParameterError: When it is none of these.
    """
    if not (link.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", link)):
        return "", link.removeprefix("?")
    try:
        parts = urlsplit(link)
    except ValueError as error:
        raise ParameterError(f"link: {quoted(link)} is not accepted; {error}") from None
    return parts.path, parts.query


def from_query(cls: type[T], link: str) -> T:
    """Return the parameters that a link describes (see :func:`split_link`).

    Raises:
        ParameterError: When a key is unknown, or a value is not accepted.
    """
    _, query = split_link(link)
    try:
        given = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise ParameterError(f"link: {quoted(query)} is not accepted; {error}") from None
    return from_texts(cls, {k: v for k, v in given.items() if not k.startswith(VIEW)})


def from_texts(cls: type[T], given: dict[str, list[str]]) -> T:
    """Return the parameters that named lists of texts describe, as links and flags hold them."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in given:
        if name not in fields:
            raise ParameterError(
                f"{one_line(name, 60)}: no such parameter; accepted: {', '.join(fields)}"
            )
    return cls(
        **{
            name: tuple(values)
            if isinstance(_default(fields[name]), tuple) and not is_span(fields[name])
            else values[-1]
            for name, values in given.items()
        }
    )


def is_span(field: dataclasses.Field) -> bool:
    """Whether a field holds a :data:`Span`."""
    default = _default(field)
    return isinstance(default, tuple) and len(default) == 3 and isinstance(default[0], int)


def describe(cls: type) -> dict[str, str]:
    """Return each field's one-line description, for help texts."""
    schema: dict[str, Any] = TypeAdapter(cls).json_schema()["properties"]
    return {name: entry.get("description", "") for name, entry in schema.items()}
