"""Build the report without Quarto: the same pages, at the same addresses, marked as a preview.

The pages are executed by `qmd.py` and rendered by pandoc; `_preview/` holds the page template, its style and script,
and the pandoc filter for cross-references and callouts.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pypandoc
import yaml

import prepare
import qmd

REPORTS = Path(__file__).resolve().parent
SITE = REPORTS / "_site"
PARTS = REPORTS / "_preview"
LIBRARY = Path("site_libs")
LOCAL_REFERENCE = re.compile(r'(?:href|src)="([^":#?]+)"')


def build() -> Path:
    """Render every page into `_site` and return the address of the first."""
    config = yaml.safe_load((REPORTS / "_quarto.yml").read_text(encoding="utf-8"))
    shutil.rmtree(SITE, ignore_errors=True)
    _copy_library()
    for page in pages(config):
        print(f"  {page.relative_to(REPORTS)}", flush=True)
        _render(page, config)
    return SITE / "index.html"


def pages(config: Mapping[str, Any]) -> list[Path]:
    """The pages that the project's `render` list names, in its order; a leading underscore marks an include."""
    found = (page for pattern in config["project"]["render"] for page in sorted(REPORTS.glob(pattern)))
    return [page for page in found if not page.name.startswith("_")]


def _copy_library() -> None:
    folder = SITE / LIBRARY
    folder.mkdir(parents=True)
    sources = [prepare.write_bundle(), prepare.EXTENSION / "charts.js", REPORTS / "theme" / "lensbook.css"]
    for source in [*sources, PARTS / "preview.css", PARTS / "preview.js"]:
        shutil.copy(source, folder / source.name)


def _render(page: Path, config: Mapping[str, Any]) -> None:
    relative = page.relative_to(REPORTS)
    target = SITE / relative.with_suffix(".html")
    target.parent.mkdir(parents=True, exist_ok=True)
    settings = config["format"]["html"]
    defaults = {key: settings[key] for key in ("code-fold", "code-summary") if key in settings}
    markdown = qmd.execute(page, {**defaults, **config.get("execute", {})})
    try:
        markup = _pandoc(markdown, config, root="../" * (len(relative.parts) - 1), current=relative)
    except RuntimeError as error:
        raise qmd.PageError(f"{page}: {error}") from None
    target.write_text(markup, encoding="utf-8")
    _copy_references(markup, page.parent, target.parent)


def _pandoc(markdown: str, config: Mapping[str, Any], root: str, current: Path) -> str:
    website = config["website"]
    variables = {
        "root": root,
        "library": f"{root}{LIBRARY}",
        "site": website["title"],
        "menu": "\n".join(_menu(website["navbar"]["left"], root, current)),
    }
    options = [
        f"--template={PARTS / 'page.html'}",
        "--standalone",
        "--mathml",
        "--toc",
        f"--toc-depth={config['format']['html']['toc-depth']}",
        # The filter claims @fig-, @tbl- and @sec- before citeproc takes them for citations.
        f"--lua-filter={PARTS / 'filter.lua'}",
        "--citeproc",
        f"--bibliography={REPORTS / config['bibliography']}",
        "--metadata=link-citations=true",
        # A citation that is not in the bibliography is only a warning to pandoc.
        "--fail-if-warnings",
        f"--metadata=lang={config['lang']}",
        *(f"--variable={name}={value}" for name, value in variables.items()),
    ]
    return pypandoc.convert_text(markdown, "html5", format="markdown", extra_args=options)


def _menu(items: list[dict[str, Any]], root: str, current: Path) -> Iterator[str]:
    """The navigation bar's entries, without those whose page is not written yet."""
    for item in items:
        if "menu" in item:
            entries = "\n".join(_menu(item["menu"], root, current))
            yield f"<details><summary>{html.escape(item['text'])}</summary><div>{entries}</div></details>"
        elif (REPORTS / item["href"]).exists():
            mark = ' aria-current="page"' if Path(item["href"]) == current else ""
            address = root + str(Path(item["href"]).with_suffix(".html"))
            yield f'<a href="{html.escape(address)}"{mark}>{html.escape(item["text"])}</a>'


def _copy_references(markup: str, source: Path, target: Path) -> None:
    """Copy the files that the page links to, as Quarto does."""
    for reference in LOCAL_REFERENCE.findall(markup):
        path = (source / html.unescape(reference)).resolve()
        if path.is_file() and path.is_relative_to(REPORTS):
            copy = target / html.unescape(reference)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
