"""Figures on a page, drawn for every width that a column can have, and their data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from IPython.display import Markdown

from interp_core import exports
from interp_core.plot import theme
from interp_core.plot.checks import unchecked
from interp_core.plot.room import within
from interp_core.reporting.addresses import app_address, opens
from interp_core.reporting.markup import escaped, raw_html, script_json
from interp_core.results import Result

WIDTHS = (780, 640, 500, 330)
"""Widths of a column that a figure is drawn for, in pixels; the page takes the widest that fits."""


def figure(name: str, draw: Callable[..., alt.TopLevelMixin], *of: Any, **given: Any) -> Markdown:
    """Return a figure in a frame of its own that follows the page's width and colour mode, and can be saved.

    Args:
        name: Unique on the page; it names the saved image.
        draw: Returns the chart for the arguments that follow; called once for each of :data:`WIDTHS`.
        *of: What is drawn.
        **given: How.
    """
    data: dict[str, Any] = {}
    drawn: list[tuple[int, dict[str, Any]]] = []
    for width in WIDTHS:
        with within(width - 2 * theme.PADDING), unchecked():
            spec = _spec(draw(*of, **given))
        data |= _rounded(spec.pop("datasets", {}), 5)
        if drawn and drawn[-1][1] == spec:
            drawn.pop()
        drawn.append((width, spec))
    arguments = ", ".join(script_json(value) for value in (name, drawn, data))
    alt_text = escaped(_alt_text(drawn[0][1], name))
    return raw_html(
        f'<div class="lensbook-figure" id="chart-{escaped(name)}">\n'
        f'<div class="lensbook-scroll" role="group" tabindex="0" aria-label="{alt_text}">'
        '<div class="lensbook-chart"></div></div>\n'
        "<noscript>This figure is drawn by JavaScript, which is off; its data are linked below.</noscript>\n"
        f"</div>\n<script>lensbook.chart({arguments});</script>"
    )


def downloads(name: str, frame: pd.DataFrame, of: Result | None = None, **view: Any) -> Markdown:
    """Write the frame to `data/` beside the page as CSV, and as JSON with six digits, and link both.

    The links are relative, so Quarto finds the files and copies them into the site with the page.

    Args:
        name: Of the files.
        frame: What the figure above shows.
        of: The result that shows the same in the app, for a link behind them.
        view: How it is drawn there.
    """
    folder = Path("data")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_bytes(exports.csv(frame))
    records = _rounded(json.loads(frame.to_json(orient="records")), 6)
    text = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    links = " · ".join(
        f'<a href="data/{escaped(name)}.{kind}" download>{kind.upper()}</a>'
        for kind in ("csv", "json")
    )
    count = "1 row" if len(frame) == 1 else f"{len(frame):,} rows"
    app = "" if of is None else opens(app_address(of, **view), "Open this view in the app")
    return raw_html(
        f'<div class="lensbook-data"><span>Data ({count}): {links}</span>{app and f" {app}"}</div>'
    )


def _spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    # The page gives the theme for its colour mode; a theme baked into the spec would win over it.
    with alt.theme.enable("none"):
        return chart.to_dict(validate=False)


def _rounded(data: Any, digits: int) -> Any:
    """Return JSON with so many digits of each number: what is drawn, or read by eye, needs few."""
    if isinstance(data, dict):
        return {name: _rounded(value, digits) for name, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value, digits) for value in data]
    return float(f"{data:.{digits}g}") if isinstance(data, float) else data


def _alt_text(spec: dict[str, Any], name: str) -> str:
    title = spec.get("title", name)
    text = spec.get("description") or (
        title.get("text", name) if isinstance(title, dict) else title
    )
    return " ".join(text) if isinstance(text, list) else text
