"""What every page of a paper has: how it opens and ends; and whole pages, as papers ship."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from IPython.display import Markdown

from interp_core.question import Question, stored
from interp_core.registry import PAPERS
from interp_core.reporting.figures import downloads, figure
from interp_core.reporting.markup import anchor, escaped, html_table
from interp_core.reporting.tables import findings, parameters, provenance
from interp_core.results import Result

_CODE = re.compile(r"^```.*?^```|`[^`]*`", re.DOTALL | re.MULTILINE)
_PACE = 200
"""Words that a reader takes a minute for."""


def contents() -> Markdown:
    """Return the papers in the order in which they are best read: what each does, how hard, and how long to read."""
    rows = []
    for number, about in enumerate(PAPERS.values(), 1):
        page = Path("papers") / f"{about.stem}.qmd"
        title = f"<strong>{anchor(str(page.with_suffix('.html')), about.title, 'lensbook-page')}</strong>"
        said = f"{number}. {title}<br>{escaped(about.claim)}"
        paper = anchor(about.url, about.reference, "lensbook-paper")
        rows.append(("", [said, paper, escaped(about.level), f"{_minutes(page)} minutes"]))
    return html_table(["Page", "Paper", "Difficulty", "To read"], rows)


def opening(name: str) -> Markdown:
    """Return a page's first line: which of the papers it is, whose, how hard, and how long to read."""
    about, names = PAPERS[name], list(PAPERS)
    parts = [
        f"Paper {names.index(name) + 1} of {len(names)}",
        f"[{about.reference}]({about.url})",
        about.level,
        f"{_minutes(Path(f'{about.stem}.qmd'))} minutes to read",
    ]
    said = " · ".join(part for part in parts if part)
    return Markdown(f"::: {{.lensbook-opening}}\n{said}\n:::\n")


def _minutes(page: Path) -> int:
    words = len(_CODE.sub("", page.read_text(encoding="utf-8")).split())
    return max(1, round(words / _PACE))


def turn(name: str) -> Markdown:
    """Return links to the pages before and after, in the order in which they are best read."""
    pages = [(each.title, f"{each.stem}.qmd") for each in PAPERS.values()]
    pages = [("All six papers", "../index.qmd"), *pages, ("All claims", "../claims.qmd")]
    place = list(PAPERS).index(name) + 1
    (before, back), (after, on) = pages[place - 1], pages[place + 1]
    return Markdown(f"::: {{.lensbook-turn}}\n[← {before}]({back})\n\n[{after} →]({on})\n:::\n")


def cite(name: str, *results: Result) -> Markdown:
    """Return how to cite a page, as BibTeX; its date is that of its newest result."""
    about, date = PAPERS[name], max(result.provenance.date for result in results)
    lines = [
        f"@misc{{lensbook_{about.stem},",
        "  author = {{The Lensbook developers}},",
        f"  title = {{{{{about.title}: {about.reference} reproduced on small models}}}},",
        f"  year = {{{date[:4]}}},",
        f"  note = {{Lensbook {version('lensbook')}, results of {date}}}",
        "}",
    ]
    return Markdown("````bibtex\n" + "\n".join(lines) + "\n````\n")


def paper(name: str) -> Markdown:
    """Return a whole page of a paper as it ships: method, and each question's answer, figures and claims."""
    about = PAPERS[name]
    parts = [f"{about.claim} [{about.reference}]({about.url})", about.method]
    for question in about.questions:
        result = stored(question.params())
        parts.append(f"## {question.label}")
        parts += ["Not measured yet."] if result is None else _answer(question, result)
    return Markdown("\n\n".join(parts))


def _answer(question: Question, result: Result) -> list[str]:
    drawn = [
        figure(f"{question.name}-{name}", result.chart, name).data for name in result.own_charts()
    ]
    data = [downloads(f"{question.name}-{n}", f, result).data for n, f in result.tables().items()]
    sentence = [] if question.sentence is None else [question.sentence(result)]
    claims = [findings(result.own_findings).data] if result.own_findings else []
    end = [parameters(result.params).data, provenance({"This result": result}).data]
    return [*sentence, *drawn, *data, *claims, *end]
