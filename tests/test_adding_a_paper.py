"""The document that adds a seventh paper: its code, run through every reader of papers."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from interp_core import cli, links, papers, registry, reporting
from interp_core.params import ParameterError
from interp_core.question import stored

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "adding_a_paper.md").read_text()
MODULE, LINE, PAGE = re.findall(r"^(`{3,4})(?:python|markdown)\n(.*?)^\1$", TEXT, re.S | re.M)
PAGE_SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT / "streamlit_app")!r})
import page
from interp_core.registry import PAPERS
page.draw(PAPERS["token-norms"])
"""


@pytest.fixture(scope="module")
def token_norms():
    """The module of the document, among the papers."""
    patch = pytest.MonkeyPatch()
    module = types.ModuleType("interp_core.papers.token_norms")
    patch.setitem(sys.modules, module.__name__, module)
    exec(compile(MODULE[1], "docs/adding_a_paper.md", "exec"), module.__dict__)
    patch.setattr(papers, "token_norms", module, raising=False)
    paper = eval(LINE[1].strip().rstrip(","), {"token_norms": module})
    patch.setitem(registry.PAPERS, paper.name, paper)
    patch.setitem(registry.PAPERS, paper.name, paper)
    yield module
    patch.undo()


@pytest.fixture(scope="module")
def result(token_norms, model):
    """Its result on the default model, through the command line, and cached by it."""
    assert cli.main(["token-norms", "--json", "/dev/null"]) == 0
    return stored(token_norms.Params())


def test_it_takes_few_lines_and_none_of_streamlit():
    code = [*MODULE[1].splitlines(), *LINE[1].splitlines(), *PAGE[1].splitlines()]
    assert len(code) <= 120
    assert "streamlit" not in MODULE[1]


def test_its_result_has_all_that_results_have(token_norms, result):
    assert result.summary["growth"] > 2
    assert list(result.frames) == ["norms"] and list(result.charts()) == ["norms"]
    assert [finding.holds for finding in result.findings] == [True]
    assert set(json.loads(result.to_json())) >= {"paper", "params", "findings", "frames", "link"}


def test_its_links_open_it_and_others_are_refused(token_norms, result):
    asked = token_norms.Params(prompt="A b c", skip_first=0)
    assert links.parse(token_norms.PAPER.questions[0].params.base)[0] == token_norms.Params()
    assert links.parse("/token-norms?prompt=A+b+c&skip_first=0")[0] == asked
    for query in ("threshold=1", "skip_first=99", "question=edit", "view_colour=red"):
        with pytest.raises(ParameterError, match="accepted"):
            links.parse(f"/token-norms?{query}")


def test_the_command_line_refuses_what_leaves_nothing(token_norms, model, capsys):
    assert cli.main(["token-norms", "--prompt", "A b", "--skip-first", "9"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("skip_first", ["0", "1", "64"])
def test_its_page_draws_itself(result, skip_first):
    page = AppTest.from_string(PAGE_SCRIPT, default_timeout=30)
    if skip_first != "1":
        page.query_params["skip_first"] = skip_first
    page.run()
    assert not page.exception
    beyond = skip_first == "64"
    control = (page.number_input if beyond else page.slider)[0]
    assert (control.label, control.value) == ("Positions left out", int(skip_first))


def test_its_page_in_print_is_whole(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```\{python\}\n(.*?)```", PAGE[1], re.S)[1]
    body, last = code.strip().rsplit("\n", 1)
    scope: dict = {}
    exec(body, scope)
    shown = eval(last, scope)
    assert isinstance(shown, type(reporting.table(result.frames["norms"].head())))
    for part in (
        "Norm of the residual stream by layer",
        "at least doubles",
        "Positions left out",
        "SHA-256",
    ):
        assert part in shown.data
