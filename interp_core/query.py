"""Parameters as texts: in links, and as flags."""

from __future__ import annotations

import re
import shlex
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from interp_core.fields import fields_of
from interp_core.messages import one_line, quoted
from interp_core.params import ParameterError, show_span

T = TypeVar("T")

VIEW = "view_"
"""Prefix of a link's keys that say how a page shows a result; nothing that is computed reads them."""


def link(params: Any) -> str:
    """Return path and query that address the result of ``params``, in app and command line."""
    query = to_query(params)
    base = type(params).base
    return f"{base}{'&' if '?' in base else '?'}{query}" if query else base


def command(params: Any) -> str:
    """Return what asks for the result of ``params`` on the command line, behind its name."""
    path, query = split_link(type(params).base)
    words = [path.strip("/"), query.removeprefix("question=")]
    for name, value in changed(params).items():
        words += [f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else value)]
    return " ".join(shlex.quote(word) for word in words if word)


def to_query(params: Any) -> str:
    """Return the query string of ``params``: the fields that differ from their defaults."""
    return urlencode(changed(params), doseq=True)


def changed(params: Any) -> dict[str, str | list[str]]:
    """Return the fields that differ from their defaults, as text, lists as lists of text."""
    return {
        name: _as_text(value)
        for name, field in fields_of(type(params)).items()
        if (value := getattr(params, name)) != field.default
    }


def _as_text(value: Any) -> str | list[str]:
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], int):
        return show_span(value)
    if isinstance(value, tuple):
        return [str(item) for item in value] or [""]
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


def from_texts(cls: type[T], given: dict[str, list[str]], prefix: str = "") -> T:
    """Return the parameters that named lists of texts describe, as links and flags hold them.

    Raises:
        ParameterError: When a name is unknown, or a value is not accepted; names have ``prefix``.
    """
    fields = fields_of(cls)
    for name in given:
        if name not in fields:
            accepted = ", ".join(prefix + field for field in fields)
            raise ParameterError(
                f"{one_line(prefix + name, 60)}: no such parameter; accepted: {accepted}"
            )
    many = ("texts", "choices")
    values = {
        n: (() if v == [""] else tuple(v)) if fields[n].kind in many else v[-1]
        for n, v in given.items()
    }
    try:
        return cls(**{n: None if fields[n].optional and v == "" else v for n, v in values.items()})
    except ParameterError as error:
        raise ParameterError(f"{prefix}{error}") from None
