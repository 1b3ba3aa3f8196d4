"""Every question's page: at its defaults, at both ends of its parameters, and from its own link."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from interp_core import links
from interp_core.fields import Parameter, fields_of
from interp_core.params import ParameterError, reads
from interp_core.query import changed, link
from interp_core.question import stored
from interp_core.registry import PAPERS

APP = Path(__file__).parents[1] / "streamlit_app"
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import page
from interp_core.registry import PAPERS
page.draw(PAPERS[{paper!r}])
"""
QUESTIONS = [
    (paper.name, question.name) for paper in PAPERS.values() for question in paper.questions
]
KNOWN_TO_CRASH = [
    "/causal-tracing?samples=21",
    "/causal-tracing?samples=50",
    "/causal-tracing?noise=8",
    "/causal-tracing?noise=0.05",
    "/causal-tracing?window=31",
    "/induction-heads?tokens=101",
    "/induction-heads?tokens=200&repeats=2",
    "/induction-heads?repeats=16",
    "/induction-heads?seeds=41",
    "/induction-heads?threshold=0.97",
    "/induction-heads?question=training&steps=10000",
    "/induction-heads?question=edit",
]


@pytest.fixture(autouse=True)
def app_module(monkeypatch):
    """Import a module of the app as its script does; what is not there yet is not computed."""
    monkeypatch.syspath_prepend(str(APP))
    jobs = importlib.import_module("jobs")
    monkeypatch.setattr(jobs, "result_for", lambda params, *_, **__: stored(params))
    return importlib.import_module


def opened(paper: str, query: dict[str, list[str]], width: int = 0) -> AppTest:
    page = AppTest.from_string(SCRIPT.format(folder=str(APP), paper=paper), default_timeout=60)
    page.session_state["width"] = width
    for key, values in query.items():
        page.query_params[key] = values
    return page.run()


def query_of(params: object) -> dict[str, list[str]]:
    return parse_qs(link(params).partition("?")[2], keep_blank_values=True)


def end(field: Parameter, largest: bool) -> object:
    """Return the smallest or the largest value of a parameter, or its first or last choice."""
    if field.choices and field.kind != "choices":
        return field.choices[-1 if largest else 0]
    if field.kind == "number" and field.low is not None:
        inside = 1 if field.integer else 1e-3
        bound = field.high if largest else field.low
        open_end = not field.integer and bound in (0, 1)
        return bound - inside if open_end and largest else bound + inside * open_end
    return field.default


def at_ends(question, largest: bool) -> object:
    """Return a question's parameters all at one end, those left alone that another leaves unread."""
    params = question.params()
    for name, field in fields_of(question.params).items():
        if field.shown.control:
            try:
                moved = question.params(**{**vars_of(params), name: end(field, largest)})
            except ParameterError:
                continue
            params = moved
    return params


def vars_of(params: object) -> dict[str, object]:
    fields = fields_of(type(params))
    return {name: getattr(params, name) for name in fields if reads(params, name)}


@pytest.mark.parametrize(("paper", "question"), QUESTIONS)
def test_it_opens_at_its_defaults_with_what_ships(paper, question):
    first = PAPERS[paper].questions[0].name == question
    page = opened(paper, {} if first else {"question": [question]})
    assert not page.exception and not page.warning and not page.error
    asked = PAPERS[paper][question]
    claims = any("Findings" in each.value for each in page.markdown)
    found = stored(asked.params())
    there = bool(found.findings if found else asked.claims) or bool(asked.evidence)
    assert claims == there, "no heading over nothing"


@pytest.mark.parametrize("largest", [False, True], ids=["smallest", "largest"])
@pytest.mark.parametrize(("paper", "question"), QUESTIONS)
def test_it_opens_at_the_ends_of_its_parameters(paper, question, largest):
    params = at_ends(PAPERS[paper][question], largest)
    page = opened(paper, query_of(params))
    assert not page.exception and not page.warning
    address = {key: page.query_params[key] for key in page.query_params}
    for name, text in changed(params).items():
        assert address[name] in (text, [text])


@pytest.mark.parametrize(("paper", "question"), QUESTIONS)
def test_its_link_gives_its_parameters_back(paper, question):
    for largest in (False, True):
        params = at_ends(PAPERS[paper][question], largest)
        assert links.parse(link(params))[0] == params


@pytest.mark.parametrize("address", KNOWN_TO_CRASH)
def test_links_that_once_ended_in_an_exception_open(address):
    path, _, query = address.removeprefix("/").partition("?")
    page = opened(path, parse_qs(query))
    assert not page.exception
    assert bool(page.warning) == ("edit" in address)


def test_a_figure_is_drawn_once_for_all_readers(app_module):
    figure = app_module("figure")
    question = PAPERS["induction-heads"].questions[0]
    result, (grid, *_) = stored(question.params()), question.figures
    figure._made.cache_clear()
    one, again = (
        figure._made(grid, result, (("score", "entropy"),), "light", None) for _ in range(2)
    )
    assert again is one and figure._made.cache_info().misses == 1
    others = {
        figure._made(grid, result, *rest)
        for rest in (
            ((("score", "copying"),), "light", None),
            ((("score", "entropy"),), "dark", None),
            ((("score", "entropy"),), "light", 376),
        )
    }
    assert len({one, *others}) == 4


def test_a_page_is_drawn_for_the_width_that_the_browser_told():
    pages = {pixels: opened("causal-tracing", {}, pixels) for pixels in (0, 400)}
    specs = [page.get("vega_lite_chart")[0].proto.spec for page in pages.values()]
    assert "hconcat" in specs[0] and "hconcat" not in specs[1]
    tables = [len(page.table) for page in pages.values()]
    assert tables == [1, 0], "claims are a list where six columns have no room"
    claim = stored(PAPERS["causal-tracing"].questions[0].params()).findings[0]
    said = [each.value.replace("\\", "") for each in pages[400].caption]
    assert sum(claim.shown.split(" [")[0] in text and "Measured as" in text for text in said) == 1


def test_modules_are_spared_by_the_collector_once(app_module):
    garbage = app_module("garbage")
    try:
        garbage.spare_modules()
        before = gc.get_freeze_count()
        assert before > 100_000
        held = [[] for _ in range(1000)]
        garbage.spare_modules()
        assert gc.get_freeze_count() <= before and len(held) == 1000
    finally:
        gc.unfreeze()
