"""Parameters of an analysis: one frozen, validated dataclass per paper, and its link.

The same fields are the command line's flags, the app's controls and the query of a link. pydantic
validates; whatever is wrong becomes one :class:`ParameterError` line that names the field, the
value and what is accepted.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from interp_core.fields import Parameter, Size, fields_of, param
from interp_core.messages import one_line, quoted
from interp_core.models.info import DEFAULT

T = TypeVar("T")

MAX_CHARACTERS = 20_000
MAX_INDEX = 1_000_000_000


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
        _refuse_unread(self)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


def reads(params: Any, name: str) -> bool:
    """Whether ``params`` read the parameter ``name``: a condition on others may leave it unread."""
    when = fields_of(type(params))[name].shown.when
    return when is None or when(params)


def _refuse_unread(params: Any) -> None:
    for name, each in fields_of(type(params)).items():
        if getattr(params, name) != each.default and not reads(params, name):
            raise ParameterError(
                f"{name}: it is read only with {each.shown.when}; accepted: {each.default!r}"
            )


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


def computed_by(params: Any) -> dict[str, Any]:
    """Return the fields that decide what is computed, by name."""
    fields = fields_of(type(params)).items()
    return {name: getattr(params, name) for name, field in fields if field.shown.identity}


def fit(params: Any, sizes: Any) -> None:
    """Check the parameters whose bounds only the model knows (see :class:`fields.Size`).

    ``sizes`` has them as attributes; those that are 0 or not there are not known.

    Raises:
        ParameterError: When one of them is out of the model's bounds.
    """
    for name, field in fields_of(type(params)).items():
        value = getattr(params, name)
        size = 0 if field.size is None else getattr(sizes, field.size.of, 0)
        if size and value is not None and reads(params, name):
            _fit(field, value, size)


def _fit(field: Parameter, value: Any, size: int) -> None:
    if field.kind == "span":
        resolve(value, size, field.name)
        return
    assert field.size is not None
    last = size if field.size.inclusive else size - 1
    if value > last:
        what = field.size.of.removeprefix("n_")
        first = field.low or 0
        raise ParameterError(
            f"{field.name}: {value} is not accepted; this model has {size} {what}, "
            f"so accepted: {first:g} to {last}"
        )


@parameters
class OnModel:
    """A question that is asked of the reader's model."""

    base: ClassVar[str]
    """Path (and question) of its links, set by the paper that asks it."""

    model: str = param(
        DEFAULT,
        "Model",
        "short name, hub id, folder or GGUF",
        identity=False,
        control=False,
        min_length=1,
        max_length=500,
    )


@parameters
class View:
    """How a result is shown: no part of what is asked for, but of its link."""

    figure: str = param(
        "", "Supporting figure", "the one that is shown; the first if none", max_length=60
    )


Layer = Annotated[int, Field(ge=0, le=1000), Size("n_layers")]
"""A layer of the model."""

HeadNumber = Annotated[int, Field(ge=0, le=1000), Size("n_heads")]
"""A head's number in its layer."""

Blocks = Annotated[int, Field(ge=1, le=200), Size("n_layers", inclusive=True)]
"""How many blocks of the model."""

Layers = Annotated[Range, Size("n_layers")]
"""Some of the model's layers, as a :data:`Span`."""

Positions = Annotated[Range, Size("n_tokens")]
"""Some of the prompt's positions, as a :data:`Span`."""
