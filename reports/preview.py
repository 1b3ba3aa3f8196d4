"""Build the report without Quarto: the same pages, at the same addresses, marked as a preview.

The pages are executed by `qmd.py` and rendered by pandoc; `_preview/` holds the page template, its style and script,
and the pandoc filter for cross-references and callouts.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import prepare
import pypandoc
import qmd
import yaml

REPORTS = Path(__file__).resolve().parent
SITE = REPORTS / "_site"
PARTS = REPORTS / "_preview"
LIBRARY = Path("site_libs")
DATA = re.compile(r'href="data/([^"]+)"')
LOCAL_REFERENCE = re.compile(r'(?:href|src)="([^":#?]+)"')


@dataclass(frozen=True)
class Site:
    """A folder of pages with their settings, and the folder that they are rendered into."""

    source: Path
    target: Path
    config: Mapping[str, Any]

    def pages(self) -> list[Path]:
        """The pages that the project's `render` list names, in its order; a leading underscore marks an include."""
        patterns = self.config["project"]["render"]
        found = (page for pattern in patterns for page in sorted(self.source.glob(pattern)))
        return [page for page in found if not page.name.startswith("_")]


def build(source: Path = REPORTS, target: Path = SITE) -> Path:
    """Render every page of `source` into `target`, emptied first; return the first page's file."""
    prepare.main()
    config = yaml.safe_load((source / "_quarto.yml").read_text(encoding="utf-8"))
    site = Site(source.resolve(), target, config)
    shutil.rmtree(target, ignore_errors=True)
    with ThreadPoolExecutor() as pool:
        waiting = deque(site.pages())
        for done in [pool.submit(_render_all, waiting, site) for _ in range(os.cpu_count() or 1)]:
            done.result()
    _copy_library(target / LIBRARY)
    shutil.copytree(prepare.CARDS, target / prepare.CARDS.name, dirs_exist_ok=True)
    return target / "index.html"


def _copy_library(folder: Path) -> None:
    folder.mkdir(parents=True)
    sources = [
        *prepare.EXTENSION.glob("*.js"),
        REPORTS / "theme" / "lensbook.css",
    ]
    for source in [*sources, PARTS / "preview.css", PARTS / "preview.js"]:
        shutil.copy(source, folder / source.name)


def _render_all(waiting: deque[Path], site: Site) -> None:
    """Render pages for as long as there are any, with one kernel."""
    with qmd.Session() as session:
        while waiting:
            page = waiting.popleft()
            print(f"  {page.relative_to(site.source)}", flush=True)
            _render(page, site, session)


def _render(page: Path, site: Site, session: qmd.Session) -> None:
    relative = page.relative_to(site.source)
    target = site.target / relative.with_suffix(".html")
    target.parent.mkdir(parents=True, exist_ok=True)
    settings = site.config["format"]["html"]
    defaults = {key: settings[key] for key in ("code-fold", "code-summary") if key in settings}
    markdown = _executed(page, session, {**defaults, **site.config.get("execute", {})})
    try:
        markup = _pandoc(markdown, site, page)
    except RuntimeError as error:
        raise qmd.PageError(f"{page}: {error}") from None
    target.write_text(markup, encoding="utf-8")
    _copy_references(markup, relative.parent, site)


def _executed(page: Path, session: qmd.Session, defaults: Mapping[str, Any]) -> str:
    """The page with its cells executed, now or before; another source is executed again."""
    source = qmd.source(page) + json.dumps(defaults, sort_keys=True)
    digest = hashlib.sha256(source.encode()).hexdigest()
    kept = prepare.FROZEN / "preview" / f"{page.stem}-{digest[:16]}.md"
    data = page.parent / "data"
    if kept.exists():
        markdown = kept.read_text(encoding="utf-8")
        if all((data / name).exists() for name in DATA.findall(markdown)):
            return markdown
    markdown = qmd.execute(page, defaults, session)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(markdown, encoding="utf-8")
    return markdown


def _pandoc(markdown: str, site: Site, page: Path) -> str:
    config, website, current = site.config, site.config["website"], page.relative_to(site.source)
    root = "../" * (len(current.parts) - 1)
    variables = {
        "root": root,
        "library": f"{root}{LIBRARY}",
        "site": website["title"],
        "footer": website["page-footer"]["left"],
        "author": config["author"],
        "date": f"{datetime.fromtimestamp(page.stat().st_mtime):%d %B %Y}".lstrip("0"),
        "menu": "\n".join(_menu(website["navbar"]["left"], root, current, site.source)),
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
        f"--bibliography={site.source / config['bibliography']}",
        "--metadata=link-citations=true",
        # A citation that is not in the bibliography is only a warning to pandoc.
        "--fail-if-warnings",
        f"--metadata=lang={config['lang']}",
        *(f"--variable={name}={value}" for name, value in variables.items()),
    ]
    return pypandoc.convert_text(markdown, "html5", format="markdown", extra_args=options)


def _menu(items: list[dict[str, Any]], root: str, current: Path, source: Path) -> Iterator[str]:
    """The navigation bar's entries, without those whose page is not written yet."""
    for item in items:
        if "menu" in item:
            entries = "\n".join(_menu(item["menu"], root, current, source))
            yield f"<details><summary>{html.escape(item['text'])}</summary><div>{entries}</div></details>"
        elif (source / item["href"]).exists():
            mark = ' aria-current="page"' if Path(item["href"]) == current else ""
            address = root + str(Path(item["href"]).with_suffix(".html"))
            yield f'<a href="{html.escape(address)}"{mark}>{html.escape(item["text"])}</a>'


def _copy_references(markup: str, folder: Path, site: Site) -> None:
    """Copy the files that a page of `folder` links to, as Quarto does."""
    for reference in LOCAL_REFERENCE.findall(markup):
        path = (site.source / folder / html.unescape(reference)).resolve()
        if path.is_file() and path.is_relative_to(site.source):
            copy = site.target / path.relative_to(site.source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
