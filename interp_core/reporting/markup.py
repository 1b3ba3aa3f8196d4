"""Raw HTML inside Markdown, with every text of a result escaped."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown

MISSING = "–"
"""What a cell without a value shows."""


def raw_html(markup: str) -> Markdown:
    """Return HTML as a block that Quarto passes on as it is."""
    return Markdown(f"```{{=html}}\n{markup}\n```\n")


def code(text: str, language: str) -> Markdown:
    """Return code to copy, as the result writes it."""
    return Markdown(f"````{language}\n{text.rstrip()}\n````\n")


def script_json(value: Any) -> str:
    """Return a value as JSON that may stand in a script."""
    # "<" could end the script or open a Quarto shortcode, a backtick the raw block around it.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("`", "\\u0060")


def escaped(value: object) -> str:
    """Return a text for HTML."""
    # A line break inside a token is shown; a backtick could end the raw block that holds the text.
    text = html.escape(str(value)).replace("`", "&#96;")
    return text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵")


def anchor(address: str, text: str, kind: str = "lensbook-app") -> str:
    """Return a link."""
    return f'<a class="{kind}" href="{escaped(address)}">{escaped(text)}</a>'


def shown(value: Any) -> str:
    """Return a value of a table as a reader is shown it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def html_table(
    head: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    kind: str = "",
    numeric: Sequence[bool] = (),
) -> Markdown:
    """Return a table of markup.

    Args:
        head: Titles of the columns.
        rows: Of each, its class and its cells.
        kind: Class of the whole.
        numeric: Whether a column is set right; none is unless given.
    """
    sides = ["right" if right else "left" for right in numeric or [False] * len(head)]
    # On a phone, where rows become blocks, each cell says what it holds.
    names = [_attribute("data-title", title) for title in head]
    body = "\n".join(_row(cells, sides, "td", names, of) for of, cells in rows)
    titles = _row([escaped(title) for title in head], sides, "th", [""] * len(head))
    markup = f'<table class="table table-sm">\n<thead>\n{titles}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>'
    classes = ".lensbook-table" + (f" .{kind}" if kind else "")
    return Markdown(f"::: {{{classes}}}\n{raw_html(markup).data}\n:::\n")


def _row(
    cells: Sequence[str], sides: Sequence[str], tag: str, names: Sequence[str], kind: str = ""
) -> str:
    marked = (
        f'<{tag} style="text-align: {side}"{name}>{cell}</{tag}>'
        for cell, side, name in zip(cells, sides, names, strict=True)
    )
    return f"<tr{_attribute('class', kind)}>{''.join(marked)}</tr>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escaped(value)}"' if value else ""
