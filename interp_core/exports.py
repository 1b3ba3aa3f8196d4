"""A result as files: tables, figures, and the code that makes it again."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import altair as alt
import pandas as pd

from interp_core.params import OnModel
from interp_core.plot import font
from interp_core.query import changed
from interp_core.results import Result

Mode = Literal["light", "dark"]


_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet would run, full-width signs included."""
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV, UTF-8; an apostrophe stands before text that spreadsheets would run.

    Numbers have nine digits, by which any two of float32, in which models run, are told apart.
    """
    # Lines end as in RFC 4180: then both of its characters are quoted where a cell holds them.
    text = frame.map(_inert).to_csv(index=False, lineterminator="\r\n", float_format="%.9g")
    return text.encode("utf-8", errors="backslashreplace")


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a table as Parquet."""
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def _spec(chart: alt.TopLevelMixin, mode: Mode) -> dict:
    from interp_core.plot import theme

    with alt.theme.enable("none"):
        spec = chart.to_dict(validate=False)
    background = {"light": "white", "dark": "#0e1117"}[mode]
    return _drawable({**spec, "config": {**theme.config(mode), "background": background}})


def _drawable(spec: Any) -> Any:
    """Return a specification without characters that XML cannot hold; they end vl_convert's process."""
    if isinstance(spec, dict):
        return {name: _drawable(value) for name, value in spec.items()}
    if isinstance(spec, list):
        return [_drawable(value) for value in spec]
    return _NOT_IN_XML.sub("\ufffd", spec) if isinstance(spec, str) else spec


@cache
def _converter() -> ModuleType:
    """Return what draws figures outside a browser; it knows the font of figures."""
    import vl_convert

    vl_convert.register_font_directory(str(font.FOLDER))
    return vl_convert


def png(chart: alt.TopLevelMixin, mode: Mode = "light", *, scale: float = 2.0) -> bytes:
    """Return a figure as PNG, at twice the screen's resolution unless ``scale`` says otherwise."""
    return _converter().vegalite_to_png(_spec(chart, mode), scale=scale)


def svg(chart: alt.TopLevelMixin, mode: Mode = "light") -> bytes:
    """Return a figure as SVG that holds its font."""
    image = _converter().vegalite_to_svg(_spec(chart, mode))
    root, close, marks = image.partition(">")
    return f"{root}{close}<style>{font.faces()}</style>{marks}".encode()


def html(chart: alt.TopLevelMixin, mode: Mode = "light") -> bytes:
    """Return a figure as a page that stands alone, tooltips, font and all, with no network."""
    page = _converter().vegalite_to_html(_spec(chart, mode), bundle=True)
    head, place, body = page.partition('<div id="vega-chart">')
    style = f"{font.faces()}#vg-tooltip-element{{font-family:{font.STACK}}}</style>"
    head = head.replace("</style>", style, 1)
    return (head + place + "\n".join(map(_script, body.split("\n")))).encode()


def _script(line: str) -> str:
    """Return a line of a page's script, safe with any token and waiting for the font."""
    start = line.lstrip()
    if start.startswith("const spec = "):
        # A token may hold "</script>"; within JSON's strings an escape says the same.
        return line.replace("<", "\\u003c")
    if start.startswith("vegaEmbed("):
        # Vega measures text as it draws.
        return f"    {font.LOADED}.then(() => {start.replace('.catch', ').catch')}"
    return line


def snippet(result: Result) -> str:
    """Return the Python that makes the same result."""
    module, on_model = result.paper.replace("-", "_"), isinstance(result.params, OnModel)
    given = {name: getattr(result.params, name) for name in changed(result.params)}
    model = given.pop("model", None)
    arguments = "".join(f"\n    {name}={value!r}," for name, value in given.items())
    made = f"{module}.{type(result.params).__name__}({arguments}{chr(10) if arguments else ''})"
    lines = [
        *(["from interp_core import load_model"] if on_model else []),
        f"from interp_core.papers import {module}",
        "",
        *([f"model = load_model({'' if model is None else repr(model)})"] if on_model else []),
        f"params = {made}",
        f"result = {module}.run({'model' if on_model else 'None'}, params)",
        "print(result.summary)",
    ]
    return "\n".join(lines) + "\n"


def write_folder(result: Result, folder: Path) -> list[Path]:
    """Write every table and figure of a result into ``folder``, and return the files.

    Raises:
        OSError: When the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"result.json": result.to_json().encode(), "snippet.py": snippet(result).encode()}
    files |= result.attachments()
    for name, frame in result.frames.items():
        files |= {f"{name}.csv": csv(frame), f"{name}.parquet": parquet(frame)}
    for name, chart in result.charts().items():
        files |= {f"{name}.svg": svg(chart), f"{name}.png": png(chart), f"{name}.html": html(chart)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]
