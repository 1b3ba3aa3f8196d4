"""The report: every page is built, stands alone, and says what the results say."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from interp_core import cli, exports, links
from interp_core.papers.logit_lens import PRESETS
from interp_core.plot import font
from interp_core.question import stored
from interp_core.registry import PAPERS

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "reports"
PAGES = sorted(
    page.relative_to(REPORTS)
    for folder in (REPORTS, REPORTS / "papers")
    for page in folder.glob("*.qmd")
    if not page.name.startswith("_")
)
APP = "https://app.example"
RESOURCES = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}


class Page(HTMLParser):
    """What a page loads, links to and says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self._words: list[str] = []
        self._silent = 0
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids.add(values.get("id") or "")
        self._silent += tag in ("script", "style")
        if address := values.get(RESOURCES.get(tag, "")):
            self.loads.append(address)
        if tag == "a" and (address := values.get("href")):
            self.links.append(address)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._words.append(data)


def build(*arguments: str, reports: Path = REPORTS) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(reports / "build.py"), *arguments]
    environment = {**os.environ, "LENSBOOK_APP_URL": APP + "/"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("report") / "site"
    done = build("--preview", "--output", str(target))
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {page: Page(site / page.with_suffix(".html")) for page in PAGES}


@pytest.fixture(scope="module")
def result():
    return stored(PRESETS["A fact"])


@pytest.fixture(scope="module")
def lens(pages) -> Page:
    return pages[Path("papers/logit_lens.qmd")]


def test_every_page_is_built_and_says_it_is_a_preview(site, pages):
    built = {path.relative_to(site).with_suffix(".qmd") for path in site.rglob("*.html")}
    assert built == set(PAGES)
    assert all("Preview without Quarto" in page.text for page in pages.values())


def test_charts_are_drawn_by_one_bundle(site, pages):
    bundles = list(site.rglob("vega-bundle*.js"))
    assert [bundle.relative_to(site).as_posix() for bundle in bundles] == [
        "site_libs/vega-bundle.js"
    ]
    for page in pages.values():
        named = [address for address in page.loads if address.endswith("vega-bundle.js")]
        assert [(page.path.parent / address).resolve() for address in named] == bundles


def test_figures_bring_their_font(site):
    bundle = (site / "site_libs" / "vega-bundle.js").read_text(encoding="utf-8")
    faces = json.loads(bundle.rpartition("window.lensbookFaces = ")[2].rstrip(";\n"))
    assert faces == font.faces()


def test_nothing_is_loaded_from_another_host(site, pages):
    for page in pages.values():
        assert [address for address in page.loads if re.match(r"(https?:)?//", address)] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_links_within_the_site_lead_somewhere(pages):
    anchors = {page.path.resolve(): page.ids for page in pages.values()}
    for page in pages.values():
        for link in page.links:
            address, fragment = urldefrag(link)
            if urlsplit(address).scheme:
                continue
            target = (page.path.parent / unquote(address)).resolve() if address else page.path
            assert target.is_file(), link
            assert not fragment or fragment in anchors[target.resolve()], link


def test_links_to_the_app_open_the_result(lens, result):
    addresses = [link for link in lens.links if link.startswith(APP)]
    assert len(addresses) >= 10
    asked = set()
    for address in addresses:
        params, _ = links.parse(address)
        asked.add(params)
    assert asked == {result.params, *(each.params for each in result.evidence.values())}
    views = {key for address in addresses for key in re.findall(r"view_\w+=[^&]+", address)}
    supports = {f"view_figure={name}" for name in ("trajectories", "attribution")}
    assert supports | {"view_colour=kl"} <= views


def test_numbers_are_those_of_the_result(lens, result):
    summary = result.summary
    assert f"at a probability of {summary['final_probability']:.0%}" in lens.text
    assert f"layer {summary['crystallisation_layer']} of {summary['n_layers'] - 1}" in lens.text
    for finding in result.findings:
        assert " ".join(finding.claim.split()) in lens.text
        assert finding.shown in lens.text
    for each in result.evidence.values():
        assert f"rises to {each.summary['kl_peak']:.1f} at layer" in lens.text
    assert result.provenance.model.weights_sha256[:16] in lens.text


def test_the_page_says_what_does_not_hold_before_anything_else(lens, result):
    failing = [finding.claim for finding in result.findings if finding.holds is False]
    assert failing
    start = lens.text[: lens.text.index("A transformer turns")]
    assert all(claim in start for claim in failing)


def test_downloads_hold_the_result(site, result):
    data = site / "papers" / "data"
    assert (data / "logit-lens-grid.csv").read_bytes() == exports.csv(result.frames["cells"])
    tables = {path.stem for path in data.glob("*.csv")}
    assert tables == {path.stem for path in data.glob("*.json")}


def test_code_to_copy_is_that_of_the_result(lens, result):
    said = "".join(lens.text.split())
    assert "".join(exports.snippet(result).split()) in said
    assert f'link"{result.link}"' in said


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_a_page_are_commands(page):
    text = (REPORTS / page).read_text(encoding="utf-8")
    for command in re.findall(r"python -m interp_core ([^\n`'\"\\]+)", text):
        words = shlex.split(command)
        if words != ["link"]:
            _, unknown = cli._parser().parse_known_args(cli._with_question(words))
            assert not unknown, command


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "papers"], ids=str)
def test_a_page_is_named_as_its_paper(page):
    assert page.stem in {paper.stem for paper in PAPERS.values()}
    assert (ROOT / "interp_core" / "papers" / page.stem).exists()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_define_nothing(page):
    text = (REPORTS / page).read_text(encoding="utf-8")
    for cell in re.findall(r"^```\{python\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(ast.parse(cell)) if isinstance(node, kinds)]


def test_a_cell_that_raises_fails_the_build_and_is_named(tmp_path):
    shutil.copytree(REPORTS, tmp_path / "reports", ignore=shutil.ignore_patterns("_site", "*.qmd"))
    page = tmp_path / "reports" / "index.qmd"
    page.write_text("---\ntitle: Broken\n---\n\n```{python}\n#| label: sums\n1 / 0\n```\n")
    done = build("--preview", reports=tmp_path / "reports")
    assert done.returncode == 1
    assert "index.qmd: cell 1 (sums) failed" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "The site is at" not in done.stdout


@pytest.mark.skipif(shutil.which("quarto") is None, reason="Quarto is not installed")
def test_quarto_renders_the_same_pages(tmp_path, result):
    done = build("--output", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        rendered = Page((tmp_path / "site" / page).with_suffix(".html"))
        assert [address for address in rendered.loads if re.match(r"(https?:)?//", address)] == []
        assert "Preview without Quarto" not in rendered.text
    text = Page(tmp_path / "site" / "papers" / "logit_lens.html").text
    assert all(finding.shown in text for finding in result.findings)
