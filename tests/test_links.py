"""Links in the app: whatever parameters accept opens, and the address always wins."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from conftest import REFERENCE
from streamlit.testing.v1 import AppTest

from interp_core import links
from interp_core.query import changed
from interp_core.question import question_of
from interp_core.registry import PAPERS
from interp_core.runtime import Job

APP = REFERENCE.parents[1] / "streamlit_app"
SCRIPT = f"""
import sys
sys.path.insert(0, {str(APP)!r})
import page
from interp_core.registry import PAPERS
page.draw(PAPERS[{{paper!r}}])
"""
sys.path.insert(0, str(APP))

import address  # noqa: E402
import engine  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """Show what is stored or shipped, and compute nothing: a job that never starts."""
    waiting = Job(lambda: pytest.fail("a job ran"))
    monkeypatch.setattr(engine.Engine, "request", lambda *_, **__: waiting)
    monkeypatch.setattr(engine.Engine, "renew", lambda *_: True)


def visit(paper: str, query: dict[str, Any]) -> AppTest:
    app = AppTest.from_string(SCRIPT.format(paper=paper), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def opens(paper: str, query: dict[str, Any]) -> AppTest:
    """Open a link without a red box, and with the parameters that it names."""
    app = visit(paper, query)
    assert not app.exception, app.exception[0].value
    assert place(app, paper).error == "" and not app.warning
    return app


def place(app: AppTest, paper: str) -> address.Place:
    return app.session_state[address._name(PAPERS[paper])]


def shows(app: AppTest, paper: str) -> Any:
    return place(app, paper).params


def at(app: AppTest) -> dict[str, list[str]]:
    """Return the keys of the address."""
    found = {key: app.query_params[key] for key in app.query_params}
    return {key: value if isinstance(value, list) else [value] for key, value in found.items()}


def control(app: AppTest, kind: str, label: str) -> Any:
    """Return the one control of that kind and label."""
    (found,) = [each for each in getattr(app, kind) if each.label == label]
    return found


KNOWN = [
    "/causal-tracing?samples=21",
    "/causal-tracing?window=31",
    "/induction-heads?threshold=0.97",
    "/induction-heads?question=training&steps=10000",
    "/causal-tracing?question=edit&new_object=Berlin&layer=500",
    "/induction-heads?question=circuits&layer=900&head=77",
    "/induction-heads?question=attention&text=a+b+a+b&positions=5000:5010",
    "/logit-lens?layers=0::20",
    "/logit-lens?positions=1:7:3",
    "/logit-lens?model=gpt2-xl&layers=3:40:2&positions=1:3",
]


@pytest.mark.parametrize("link", KNOWN)
def test_a_link_beyond_a_slider_opens_as_it_is(link):
    """What the model does not have is said in one line, and the link is kept."""
    params, _ = links.parse(link)
    paper, question = question_of(params)
    app = opens(paper.name, parse_qs(link.partition("?")[2]))
    assert shows(app, paper.name) == params
    asked = {} if question is paper.questions[0] else {"question": question.name}
    assert {key: value[-1] for key, value in at(app).items()} == {**asked, **changed(params)}
    beyond = any(part in link for part in ("layer=500", "layer=900", "window=31", "5000"))
    assert [("not accepted" in each.value) for each in app.error] == [True] * beyond


def test_a_number_beyond_the_slider_can_be_brought_back_to_it():
    app = opens("causal-tracing", {"samples": "50"})
    control(app, "number_input", "Noise samples").set_value(7).run()
    assert shows(app, "causal-tracing").samples == 7
    assert at(app)["samples"] == ["7"] and not app.exception
    app.run()
    assert control(app, "slider", "Noise samples").value == 7
    assert shows(app, "causal-tracing").samples == 7


@pytest.mark.parametrize("written", ["GPT2", "gPt2", "smollm2-135m-instruct"])
def test_a_model_written_in_another_case_is_that_model(written):
    listed = {"gpt2": "gpt2"}.get(written.lower(), "SmolLM2-135M-Instruct")
    app = opens("logit-lens", {"model": written, "prompt": "hello"})
    assert app.selectbox(key="model").value == listed
    assert shows(app, "logit-lens").model == listed
    assert links.parse(f"/logit-lens?model={written}")[0].model == listed


JAPAN = "The capital of Japan is"
STRIDE = "Every n-th of the layers"


def prompt_of(app: AppTest) -> str:
    assert not app.exception
    assert shows(app, "logit-lens").prompt == control(app, "text_area", "Prompt").value
    return control(app, "text_area", "Prompt").value


def test_an_empty_address_wins_over_the_session(monkeypatch):
    app = visit("logit-lens", {})
    first = prompt_of(app)
    control(app, "text_area", "Prompt").set_value(JAPAN).run()
    assert at(app)["prompt"] == [JAPAN]
    monkeypatch.setattr(address, "_by_history", lambda: True)
    app.query_params.clear()
    app.run()
    assert prompt_of(app) == first and not app.query_params
    app.query_params["prompt"] = JAPAN
    assert prompt_of(app.run()) == JAPAN


def test_what_is_changed_before_the_browser_heard_of_the_last_address_is_kept():
    """Someone who is quicker than the network, on a slider say, sends the address of before."""
    app = visit("logit-lens", {})
    control(app, "slider", STRIDE).set_value(2).run()
    for stride in (3, 4):
        app.query_params.clear()
        control(app, "slider", STRIDE).set_value(stride).run()
        assert control(app, "slider", STRIDE).value == stride
        assert at(app)["layers"] == [f"0::{stride}"]
    app.run()  # the browser has heard, so whatever is another address now is one
    app.query_params.clear()
    assert control(app.run(), "slider", STRIDE).value == 1


def test_a_preset_right_after_another_change_is_kept():
    app = visit("logit-lens", {})
    control(app, "slider", STRIDE).set_value(2).run()
    app.query_params.clear()
    control(app, "pills", "Preset").set_value("A pattern").run()
    app.query_params.clear()
    control(app, "slider", STRIDE).set_value(3).run()
    assert prompt_of(app).startswith("red blue green")


@pytest.mark.parametrize(
    ("paper", "query", "kind", "label", "message"),
    [
        ("logit-lens", {}, "text_area", "Prompt", "Type a prompt."),
        ("causal-tracing", {}, "text_input", "Prompt", "Type a prompt."),
        ("induction-heads", {"question": "attention"}, "text_area", "Text", "Type a text."),
    ],
)
@pytest.mark.parametrize("typed", ["", " \n"])
def test_an_empty_prompt_is_asked_for_and_the_page_stays(paper, query, kind, label, message, typed):
    app = opens(paper, query)
    before, controls = shows(app, paper), len(app.sidebar)
    control(app, kind, label).set_value(typed).run()
    assert [warning.value for warning in app.warning] == [message] and not app.error
    assert shows(app, paper) == before and not app.exception
    assert len(app.slider) + len(app.number_input) and len(app.sidebar) >= controls
    assert control(app, kind, label).value == typed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("[malloc] Unable to allocate 9 bytes."), "There is not enough memory"),
        (MemoryError(), "There is not enough memory for this."),
        (RuntimeError("[metal] bad\nthing"), "The computation failed: [metal] bad thing"),
        (ValueError("[matmul] shapes (2,3)"), "The computation failed: [matmul]"),
        (ValueError("prompt: too long"), "prompt: too long"),
    ],
)
def test_an_error_of_the_computation_is_one_sentence(monkeypatch, error, told):
    def fail():
        raise error

    failed = Job(fail)
    failed._run()
    monkeypatch.setattr(engine.Engine, "request", lambda *_, **__: failed)
    app = opens("logit-lens", {"prompt": f"Never stored: {uuid4()}"})
    (shown,) = app.error
    text = shown.value.replace("\\", "")
    assert told in text and "\n" not in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("paper", "query", "said"),
    [
        ("logit-lens", {"top_k": "0"}, "top_k: '0' is not accepted"),
        ("logit-lens", {"model": "/etc"}, "model: '/etc' is not accepted in a link"),
        ("logit-lens", {"nonsense": "1"}, "nonsense: no such parameter"),
        ("logit-lens", {"\x1b[2J": "1"}, "no such parameter"),
        ("logit-lens", {"view_colour": "red"}, "view_colour: 'red' is not accepted"),
        ("causal-tracing", {"edit": "true"}, "edit: it is a question"),
        ("causal-tracing", {"new_object": "Rome"}, "it is read by edit"),
        ("induction-heads", {"question": "train"}, "question: 'train' is not accepted"),
    ],
)
def test_a_link_that_is_not_accepted_is_said_in_one_line(paper, query, said):
    app = visit(paper, query)
    assert not app.exception
    (warning,) = app.warning
    text = warning.value.replace("\\", "")
    assert said in text and text.isprintable()
    assert shows(app, paper) == PAPERS[paper].questions[0].params()
