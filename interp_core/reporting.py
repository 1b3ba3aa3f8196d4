"""What a report page calls: figures, tables, findings, downloads and links, as Markdown that Quarto can place.

Everything leaves a cell as `IPython.display.Markdown` holding a raw HTML block. Plain `text/html` output would make
Quarto load require.js and jQuery from another host.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import altair as alt
import pandas as pd
from IPython.display import Markdown
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from interp_core.charts import theme

DEFAULT_APP_URL = "http://localhost:8501"
MISSING = "–"
VERDICTS = {True: ("✓", "holds"), False: ("✗", "does not hold"), None: (MISSING, "not measured")}


class FindingLike(Protocol):
    """The fields of a finding that the table reads."""

    claim: str
    paper: str
    ours: str
    ci: tuple[float, float] | None
    holds: bool | None
    n: int | None


def figure(chart: alt.TopLevelMixin, name: str, min_width: int = 0) -> Markdown:
    """The chart in a frame of its own that follows the page's colour mode and can be saved.

    `name` is unique on the page and names the saved image. A chart as wide as its container scrolls below `min_width`.
    """
    spec = _spec(chart)
    configs = {mode: theme.config(mode) for mode in ("light", "dark")}
    arguments = ", ".join(_script_json(value) for value in (name, spec, configs))
    return _raw_html(
        f'<div class="lensbook-figure" id="chart-{_text(name)}">\n'
        f'<div class="lensbook-scroll" role="group" tabindex="0" aria-label="{_text(_alt_text(spec, name))}">'
        f'<div class="lensbook-chart" style="min-width: {min_width}px"></div></div>\n'
        "<noscript>This figure is drawn by JavaScript, which is off; its data are linked below.</noscript>\n"
        f"</div>\n<script>lensbook.chart({arguments});</script>"
    )


def table(frame: pd.DataFrame) -> Markdown:
    """The frame's columns as a table, numbers set right, every text escaped."""
    numeric = [is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name]) for name in frame.columns]
    rows = ([_text(_shown(value)) for value in row] for row in frame.itertuples(index=False, name=None))
    return _html_table([str(name) for name in frame.columns], rows, numeric)


def findings(items: Iterable[FindingLike]) -> Markdown:
    """The "paper against ours" table: a word and a mark say whether each claim holds."""
    head = ["Claim", "Paper", "Ours (interval)", "Holds", "n"]
    rows = ([_text(f.claim), _text(f.paper), _ours(f), _verdict(f.holds), _text(_shown(f.n))] for f in items)
    return _html_table(head, rows, [False, False, False, False, True], "lensbook-findings")


def downloads(name: str, frame: pd.DataFrame) -> Markdown:
    """Write the frame to `data/` beside the page as CSV and JSON, and link both.

    The links are relative, so Quarto finds the files and copies them into the site with the page.
    """
    folder = Path("data")
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False)
    frame.to_json(folder / f"{name}.json", orient="records", force_ascii=False)
    links = " · ".join(f'<a href="data/{_text(name)}.{kind}" download>{kind.upper()}</a>' for kind in ("csv", "json"))
    count = "1 row" if len(frame) == 1 else f"{len(frame):,} rows"
    return _raw_html(f'<p class="lensbook-data">Data of this figure ({count}): {links}</p>')


def app_link(paper: str, query: str, text: str) -> Markdown:
    """A link that opens the same view in the app; usable in a cell or in an inline expression."""
    base = os.environ.get("LENSBOOK_APP_URL", DEFAULT_APP_URL).rstrip("/")
    address = f"{base}/{paper}?{query}" if query else f"{base}/{paper}"
    return Markdown(f'`<a class="lensbook-app" href="{_text(address)}">{_text(text)}</a>`{{=html}}')


def _spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    # The page gives the theme for its colour mode; a theme baked into the spec would win over it.
    with alt.theme.enable("none"):
        return chart.to_dict()


def _alt_text(spec: dict[str, Any], name: str) -> str:
    title = spec.get("title", name)
    text = spec.get("description") or (title.get("text", name) if isinstance(title, dict) else title)
    return " ".join(text) if isinstance(text, list) else text


def _script_json(value: Any) -> str:
    # "<" could end the script or open a Quarto shortcode, a backtick the raw block around it.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("`", "\\u0060")


def _text(value: object) -> str:
    # A line break inside a token is shown; a backtick could end the raw block that holds the text.
    escaped = html.escape(str(value)).replace("`", "&#96;")
    return escaped.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵")


def _shown(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _ours(item: FindingLike) -> str:
    if item.ci is None:
        return _text(item.ours)
    low, high = (_text(_shown(float(bound))) for bound in item.ci)
    return f'{_text(item.ours)} <span class="lensbook-interval">[{low}, {high}]</span>'


def _verdict(holds: bool | None) -> str:
    mark, word = VERDICTS[holds]
    return f'<span class="lensbook-verdict">{mark} {word}</span>'


def _html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool], kind: str = ""
) -> Markdown:
    def line(cells: Sequence[str], tag: str) -> str:
        styles = ["right" if right else "left" for right in numeric]
        return "<tr>" + "".join(f'<{tag} style="text-align: {s}">{c}</{tag}>' for c, s in zip(cells, styles)) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    titles = line([_text(title) for title in head], "th")
    markup = f'<table class="table table-sm">\n<thead>\n{titles}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>'
    classes = ".lensbook-table" + (f" .{kind}" if kind else "")
    return Markdown(f"::: {{{classes}}}\n{_raw_html(markup).data}\n:::\n")


def _raw_html(markup: str) -> Markdown:
    return Markdown(f"```{{=html}}\n{markup}\n```\n")
