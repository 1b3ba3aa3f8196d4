"""What a report page calls: figures, tables, findings, downloads and links, as Markdown that Quarto can place.

Everything leaves a cell as `IPython.display.Markdown` holding a raw HTML block. Plain `text/html` output would make
Quarto load require.js and jQuery from another host.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import altair as alt
import pandas as pd
from IPython.display import Markdown
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from interp_core import exports, replication
from interp_core.fields import fields_of
from interp_core.findings import Finding
from interp_core.models.info import MODELS
from interp_core.plot import theme
from interp_core.question import Question, stored
from interp_core.registry import PAPERS
from interp_core.results import Result

DEFAULT_APP_URL = "http://localhost:8501"
MISSING = "–"


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
    numeric = [
        is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name]) for name in frame.columns
    ]
    rows = (
        [_text(_shown(value)) for value in row] for row in frame.itertuples(index=False, name=None)
    )
    return _html_table([str(name) for name in frame.columns], rows, numeric)


def findings(items: Iterable[Finding]) -> Markdown:
    """The "paper against ours" table; checks of the computation, which are no findings, come last."""
    head = ["Claim", "Measured as", "Paper", "Ours [95% interval]", "Verdict", "n"]
    rows = (
        [
            _text(f.title),
            _text(f.decided_by),
            _text(f.source),
            _text(f.shown),
            _verdict(f),
            _text(f"{f.n:,} {f.of}"),
        ]
        for f in sorted(items, key=lambda f: f.check)
    )
    return _html_table(head, rows, [False, False, False, False, False, True], "lensbook-findings")


def claims(name: str) -> Markdown:
    """A paper's claims on both models, as they ship: each with what decides it, and its verdicts."""
    head = ["Claim", "Measured as", "Paper", *MODELS.values()]
    rows = (
        [
            _text(each.first.title),
            _text(each.first.measure),
            _text(each.first.source),
            *(_measured(finding) for finding in (each.first, each.second)),
        ]
        for each in sorted(replication.claims(PAPERS[name]), key=lambda each: each.first.check)
    )
    return _html_table(head, rows, [False] * len(head), "lensbook-claims")


def _measured(finding: Finding | None) -> str:
    if finding is None:
        return MISSING
    parts = (finding.criterion, f"n = {finding.n:,} {finding.of}")
    small = "; ".join(part for part in parts if part)
    return f"{_text(finding.shown)}<br>{_verdict(finding)}<br><small>{_text(small)}</small>"


def paper(name: str) -> Markdown:
    """A whole page of a paper as it ships: method, and each question's answer, figures and claims."""
    about = PAPERS[name]
    parts = [f"{about.claim} [{about.reference}]({about.url})", about.method]
    for question in about.questions:
        result = stored(question.params())
        parts.append(f"## {question.label}")
        parts += ["Not measured yet."] if result is None else _answer(question, result)
    return Markdown("\n\n".join(parts))


def _answer(question: Question, result: Result) -> list[str]:
    charts = result.own_charts()
    drawn = [figure(chart, f"{question.name}-{name}").data for name, chart in charts.items()]
    data = [
        downloads(f"{question.name}-{n}", f, app_address(result)).data
        for n, f in result.tables().items()
    ]
    sentence = [] if question.sentence is None else [question.sentence(result)]
    claims = [findings(result.own_findings).data] if result.own_findings else []
    end = [parameters(result.params).data, provenance({"This result": result}).data]
    return [*sentence, *drawn, *data, *claims, *end]


def parameters(params: Any) -> Markdown:
    """The parameters of a result: what each is, its value, and its default."""
    fields = fields_of(type(params)).values()
    rows = [(f.label, str(getattr(params, f.name)), str(f.default), f.help) for f in fields]
    return table(pd.DataFrame(rows, columns=["Parameter", "Value", "Default", "Meaning"]))


def provenance(results: Mapping[str, Result]) -> Markdown:
    """How each result came about, one column per result under the name it is given."""
    columns = {name: _provenance(result) for name, result in results.items()}
    return table(pd.DataFrame(columns).rename_axis("").reset_index())


def code(text: str, language: str) -> Markdown:
    """Code to copy, as the result writes it."""
    return Markdown(f"````{language}\n{text.rstrip()}\n````\n")


def downloads(name: str, frame: pd.DataFrame, app: str = "") -> Markdown:
    """Write the frame to `data/` beside the page as CSV and JSON, and link both.

    The links are relative, so Quarto finds the files and copies them into the site with the page.
    `app` is the address of the same view in the app, for a link behind them.
    """
    folder = Path("data")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_bytes(exports.csv(frame))
    frame.to_json(folder / f"{name}.json", orient="records", force_ascii=False)
    links = " · ".join(
        f'<a href="data/{_text(name)}.{kind}" download>{kind.upper()}</a>'
        for kind in ("csv", "json")
    )
    count = "1 row" if len(frame) == 1 else f"{len(frame):,} rows"
    opens = f" · {_anchor(app, 'Open this view in the app')}" if app else ""
    return _raw_html(f'<p class="lensbook-data">Data of this figure ({count}): {links}{opens}</p>')


def app_address(where: Result | str, **view: str) -> str:
    """The address that opens a result (or a path) in the app, drawn as its `view_` keys say."""
    base = (os.environ.get("LENSBOOK_APP_URL") or DEFAULT_APP_URL).rstrip("/")
    path = where if isinstance(where, str) else where.link
    return (
        f"{base}{path}{'&' if '?' in path else '?'}{urlencode(view)}" if view else f"{base}{path}"
    )


def app_link(where: Result | str, text: str, **view: str) -> Markdown:
    """A link that opens a view in the app; usable in a cell or in an inline expression."""
    return Markdown(f"`{_anchor(app_address(where, **view), text)}`{{=html}}")


def _anchor(address: str, text: str) -> str:
    return f'<a class="lensbook-app" href="{_text(address)}">{_text(text)}</a>'


def _provenance(result: Result) -> dict[str, str]:
    record, model = result.provenance, result.provenance.model
    # What is drawn at random may be seeded by a parameter of the analysis.
    seed = getattr(result.params, "seed", record.seed)
    return {
        "Model": f"{model.id} ({model.n_layers} layers, width {model.d_model}, {model.d_vocab:,} tokens)",
        "Source": model.source,
        "Weights": f"{model.weights}, run in {model.dtype}",
        "Weights hash": f"{model.weights_sha256[:16]}…",
        "Device": f"{record.device} ({record.blas})",
        "Time": f"{record.seconds:,.1f} s",
        "Peak memory": f"{record.peak_memory / 1e9:.2f} GB",
        "Seed": "nothing is random" if seed is None else str(seed),
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "Date": record.date,
    }


def _spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    # The page gives the theme for its colour mode; a theme baked into the spec would win over it.
    with alt.theme.enable("none"):
        return chart.to_dict()


def _alt_text(spec: dict[str, Any], name: str) -> str:
    title = spec.get("title", name)
    text = spec.get("description") or (
        title.get("text", name) if isinstance(title, dict) else title
    )
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


def _verdict(finding: Finding) -> str:
    verdict = f'<span class="lensbook-verdict">{finding.verdict}</span>'
    return verdict if finding.holds else f"<strong>{verdict}</strong>"


def _html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool], kind: str = ""
) -> Markdown:
    sides = ["right" if right else "left" for right in numeric]
    body = "\n".join(_row(row, sides, "td") for row in rows)
    titles = _row([_text(title) for title in head], sides, "th")
    markup = f'<table class="table table-sm">\n<thead>\n{titles}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>'
    classes = ".lensbook-table" + (f" .{kind}" if kind else "")
    return Markdown(f"::: {{{classes}}}\n{_raw_html(markup).data}\n:::\n")


def _row(cells: Sequence[str], sides: Sequence[str], tag: str) -> str:
    marked = (
        f'<{tag} style="text-align: {side}">{cell}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(marked)}</tr>"


def _raw_html(markup: str) -> Markdown:
    return Markdown(f"```{{=html}}\n{markup}\n```\n")
