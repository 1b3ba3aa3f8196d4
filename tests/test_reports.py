"""The report: every page is built, stands alone, and says what the results say."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pandas as pd
import pytest
from conftest import APP, REPORTS, build

from interp_core import cli, exports, links, reporting
from interp_core.models.info import UNTRAINED
from interp_core.papers.logit_lens import PRESETS, PromptsParams
from interp_core.plot import font
from interp_core.question import on, stored
from interp_core.registry import PAPERS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page.relative_to(REPORTS)
    for folder in (REPORTS, REPORTS / "papers")
    for page in folder.glob("*.qmd")
    if not page.name.startswith("_")
)
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


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {page: Page(site / page.with_suffix(".html")) for page in PAGES}


@pytest.fixture(scope="module")
def result():
    return stored(PRESETS["A fact"])


@pytest.fixture(scope="module")
def lens(pages) -> Page:
    return pages[Path("papers/logit_lens.qmd")]


def test_every_page_is_built_and_a_preview_says_so(site, pages):
    built = {path.relative_to(site).with_suffix(".qmd") for path in site.rglob("*.html")}
    assert built == set(PAGES)
    for page in pages.values():
        assert ("Preview without Quarto" in page.text) == (site.name == "preview")


def test_charts_are_drawn_by_one_bundle(site, pages):
    [bundle] = site.rglob("vega-bundle*.js")
    for page in pages.values():
        [named] = [address for address in page.loads if address.endswith("vega-bundle.js")]
        assert (page.path.parent / named).resolve() == bundle


def test_figures_bring_their_font(site):
    [bundle] = site.rglob("vega-bundle*.js")
    assert json.dumps(font.faces()) in bundle.read_text(encoding="utf-8")


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
    others = on(UNTRAINED, PromptsParams())
    assert asked == {result.params, *(each.params for each in result.evidence.values()), *others}
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
    start = lens.text[: lens.text.index("The method", lens.text.index("In short"))]
    assert all(claim.removesuffix(" (prose)") in start for claim in failing)


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


LABEL = re.compile(r"#\| label: ((?:fig|tbl)-[\w-]+)|\{#((?:fig|tbl)-[\w-]+)\}")
COMPUTED = (
    r"\A---.*?^---\n",  # front matter
    r"^```.*?^```",
    r"`[^`]*`",
    r"\$\$.*?\$\$",
    r"\$[^$]*\$",
    r"\[[^\]]*\]\{\.cited\}",  # the paper's own figures
    r"\{[#.][^}]*\}",
    r"\]\([^)]*\)",
    r"@[\w-]+",
    r"SmolLM2-\d+M|GPT-\w+|Gemma \d(?: \d+M)?|Llama \d|95%|F1|known_1000",
    r"(?<![\w.])-?[01](?![\w.%]*\d|%|\.\d)",  # ends of a scale
)


def typed_numbers(text: str) -> list[str]:
    """Return the lines of a page's prose with a number that nothing computes."""
    for pattern in COMPUTED:
        text = re.sub(
            pattern, lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
    return [line for line in text.splitlines() if re.search(r"\d", line)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_number_in_prose_is_typed_by_hand(page):
    assert typed_numbers((REPORTS / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "prose", ["It rises to 3 nats.", "In 40% of prompts.", "By 0.5 nats.", "After 12 blocks."]
)
def test_typed_numbers_are_found(prose):
    computed = "After block 0, `{python} x` of [48]{.cited} in GPT-2 XL, $x^2$, 95% intervals.\n"
    assert typed_numbers(computed) == []
    assert typed_numbers(computed + prose) == [prose]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_figure_and_table_is_referred_to(page):
    text = (REPORTS / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    labels = {one or other for one, other in LABEL.findall(text)}
    assert {label for label in labels if not re.search(rf"@{label}\b(?!-)", prose)} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_define_nothing(page):
    text = (REPORTS / page).read_text(encoding="utf-8")
    for cell in re.findall(r"^```\{python\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(ast.parse(cell)) if isinstance(node, kinds)]


def test_search_shows_prose_and_no_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPORTS)
    import finish

    cell = "import numpy as np\nfound = np.ones(3) &lt; 4"
    page = f"<p>A head &amp; its pattern.</p><details><summary>Code</summary><pre><code>{cell}</code></pre></details>"
    (tmp_path / "page.html").write_text(page)
    said = f"A head &amp; its pattern.\nCode\n{cell}\nMore."
    (tmp_path / "search.json").write_text(json.dumps([{"href": "page.html#a", "text": said}]))
    finish.without_code(tmp_path)
    [entry] = json.loads((tmp_path / "search.json").read_text())
    assert "numpy" not in entry["text"]
    assert entry["text"].startswith("A head &amp; its pattern.") and entry["text"].endswith("More.")


def test_a_cell_that_raises_fails_the_build_and_is_named(tmp_path):
    ignored = shutil.ignore_patterns("_site", "_freeze", "*.qmd")
    shutil.copytree(REPORTS, tmp_path / "reports", ignore=ignored)
    (tmp_path / "streamlit_app").mkdir()
    shutil.copy(ROOT / "streamlit_app" / "icon.png", tmp_path / "streamlit_app")
    page = tmp_path / "reports" / "index.qmd"
    page.write_text("---\ntitle: Broken\n---\n\n```{python}\n#| label: sums\n1 / 0\n```\n")
    done = build("--preview", reports=tmp_path / "reports")
    assert done.returncode == 1
    assert "index.qmd: cell 1 (sums) failed" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "The site is at" not in done.stdout


def test_numbers_of_a_column_have_as_many_decimals_and_stand_right():
    frame = pd.DataFrame(
        {
            "nats": [-1, -0.8, np.nan],
            "share": ["1.5%", None, "22.0%"],
            "wide": [0.00012, 345.0, 2],
            "name": ["x<", "y", "z"],
        }
    )
    markup = reporting.table(frame).data
    cells = re.findall(r'<td style="text-align: (\w+)" data-title="(\w+)">(.*?)</td>', markup)
    shown = {name: [cell for _, of, cell in cells if of == name] for _, name, _ in cells}
    assert shown["nats"] == ["-1.0", "-0.8", "–"] and shown["share"] == ["1.5%", "–", "22.0%"]
    assert shown["wide"] == ["0.00012", "345", "2"] and shown["name"][0] == "x&lt;"
    assert {name for side, name, _ in cells if side == "right"} == {"nats", "share", "wide"}
