"""Links in the app: whatever parameters accept opens, and the address always wins."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import pytest
from conftest import REFERENCE
from streamlit.testing.v1 import AppTest

from interp_core import links
from interp_core.papers import PAPERS
from interp_core.params import changed, from_query
from interp_core.runtime import Job

APP = REFERENCE.parents[1] / "streamlit_app"
BUILT = {name: paper for name, paper in PAPERS.items() if paper.built}
sys.path.insert(0, str(APP))

from components import bounded, engine, state  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """Show what is stored or shipped, and compute nothing: a job that never starts."""
    waiting = Job(lambda: pytest.fail("a job ran"))
    monkeypatch.setattr(engine.Engine, "request", lambda *_, **__: waiting)


def visit(paper: str, query: dict[str, Any]) -> AppTest:
    app = AppTest.from_file(str(APP / "app_pages" / f"{PAPERS[paper].stem}.py"), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def opens(paper: str, query: dict[str, Any]) -> AppTest:
    """Open a link without a red box, and with the parameters that it names."""
    app = visit(paper, query)
    assert not app.exception, app.exception[0].value
    assert app.session_state["link_error"] is None
    return app


def shows(app: AppTest, paper: str) -> Any:
    return app.session_state[f"{paper}.params"]


KNOWN = [
    ("causal-tracing", "samples=21"),
    ("causal-tracing", "samples=50"),
    ("causal-tracing", "noise=8"),
    ("causal-tracing", "noise=0.05"),
    ("causal-tracing", "window=31"),
    ("induction-heads", "tokens=101"),
    ("induction-heads", "tokens=200&repeats=2"),
    ("induction-heads", "repeats=16"),
    ("induction-heads", "seeds=41"),
    ("induction-heads", "threshold=0.97"),
    ("induction-heads", "train=true&steps=10000"),
    ("causal-tracing", "edit=true&new_object=Rome&layer=500"),
    ("induction-heads", "measure=circuits&layer=900&head=77"),
    ("induction-heads", "text=a+b+a+b&positions=5000:5010"),
    ("logit-lens", "layers=0::20"),
    ("logit-lens", "positions=1:7:3"),
    ("logit-lens", "model=gpt2-xl&layers=3:40:2&positions=1:3"),
]


@pytest.mark.parametrize(("paper", "query"), KNOWN)
def test_a_link_beyond_a_slider_opens_as_it_is(paper, query):
    given = from_query(PAPERS[paper].module.Params, query)
    app = opens(paper, changed(given))
    read = given if paper != "induction-heads" else PAPERS[paper].analysis(given)[1]
    assert shows(app, paper) == read


def ends(cls: type, field: Any) -> list[Any]:
    """Return a field's accepted values at their bounds, or all its choices."""
    info = cls.__pydantic_fields__[field.name]
    if get_origin(info.annotation) is Literal:
        return list(get_args(info.annotation))
    if info.annotation is bool:
        return [False, True]
    low, high = bounded.bounds(cls, field.name)
    if (low, high) == (None, None) or info.annotation is str:
        return []
    assert low is not None and high is not None, f"{field.name} has one bound only"
    strict = {kind for item in info.metadata for kind in ("gt", "lt") if hasattr(item, kind)}
    if info.annotation is float:
        low, high = low + 1e-9 * ("gt" in strict), high - 1e-9 * ("lt" in strict)
    return [low, high]


def panels(paper: str) -> list[dict[str, str]]:
    """What makes each panel of a page draw its controls."""
    return {
        "logit-lens": [{}],
        "causal-tracing": [{}, {"view_panel": "average"}, {"edit": "true", "new_object": "Rome"}],
        "induction-heads": [
            {},
            {"text": "a b a b"},
            {"ablate": "top-8"},
            {"measure": "circuits"},
            {"measure": "context"},
            {"train": "true"},
        ],
    }[paper]


def extremes(paper: str) -> list[dict[str, str]]:
    """All smallest and all largest values by panel; then each other choice, several at a time."""
    cls = PAPERS[paper].module.Params
    values = {field.name: ends(cls, field) for field in fields(cls)}
    values = {name: found for name, found in values.items() if found}
    rounds = max(map(len, values.values()))
    picks = [
        {name: str(found[i % len(found)]).lower() for name, found in values.items()}
        for i in range(rounds)
    ]
    return [
        # What opens a panel stands as it is; a field that decides on one is left to its panel.
        {k: v for k, v in pick.items() if k not in ("edit", "train", "measure")} | panel
        for panel in panels(paper)
        for pick in (picks if panel == panels(paper)[0] else picks[:2])
    ]


@pytest.mark.parametrize("paper", BUILT)
def test_every_bound_opens(paper):
    for query in extremes(paper):
        from_query(BUILT[paper].module.Params, "&".join(f"{k}={v}" for k, v in query.items()))
        opens(paper, query)


def test_a_number_beyond_the_slider_can_be_brought_back_to_it():
    app = opens("causal-tracing", {"samples": "50"})
    app.number_input(key="ct_samples").set_value(7).run()
    assert app.slider(key="ct_samples").value == 7
    assert shows(app, "causal-tracing").samples == 7
    assert app.query_params["samples"] == "7" and not app.exception


@pytest.mark.parametrize("written", ["GPT2", "gPt2", "smollm2-135m-instruct"])
def test_a_model_written_in_another_case_is_that_model(written):
    listed = {"gpt2": "gpt2"}.get(written.lower(), "SmolLM2-135M-Instruct")
    app = opens("logit-lens", {"model": written, "prompt": "hello"})
    assert app.selectbox(key="model").value == listed
    assert shows(app, "logit-lens").model == listed
    assert links.parse(f"/logit-lens?model={written}")[1].model == listed


JAPAN = "The capital of Japan is"


def prompt_of(app: AppTest) -> str:
    assert not app.exception
    assert shows(app, "logit-lens").prompt == app.text_area(key="prompt").value
    return app.text_area(key="prompt").value


def test_an_empty_address_wins_over_the_session(monkeypatch):
    app = visit("logit-lens", {})
    first = prompt_of(app)
    app.text_area(key="prompt").set_value(JAPAN).run()
    assert app.query_params["prompt"] == JAPAN
    monkeypatch.setattr(state, "_by_history", lambda: True)
    app.query_params.clear()
    app.run()
    assert prompt_of(app) == first and not app.query_params
    app.query_params["prompt"] = JAPAN
    assert prompt_of(app.run()) == JAPAN


def test_what_is_changed_before_the_browser_heard_of_the_last_address_is_kept():
    """Someone who is quicker than the network, on a slider say, sends the address of before."""
    app = visit("logit-lens", {})
    app.slider(key="stride").set_value(2).run()
    for stride in (3, 4):
        app.query_params.clear()
        app.slider(key="stride").set_value(stride).run()
        assert app.slider(key="stride").value == stride
        assert app.query_params["layers"] == f"0::{stride}"
    app.run()  # the browser has heard, so whatever is another address now is one
    app.query_params.clear()
    assert app.run().slider(key="stride").value == 1


def test_a_preset_right_after_another_change_is_kept():
    app = visit("logit-lens", {})
    app.slider(key="stride").set_value(2).run()
    app.query_params.clear()
    app.pills(key="preset").set_value("A pattern").run()
    app.query_params.clear()
    app.slider(key="stride").set_value(3).run()
    assert prompt_of(app).startswith("red blue green")


@pytest.mark.parametrize(
    ("paper", "query", "kind", "key", "message"),
    [
        ("logit-lens", {}, "text_area", "prompt", "Type a prompt."),
        ("causal-tracing", {}, "text_input", "ct_prompt", "Type a prompt."),
        ("induction-heads", {"text": "a b a b"}, "text_area", "ih_text", "Type a text."),
    ],
)
@pytest.mark.parametrize("typed", ["", " \n"])
def test_an_empty_prompt_is_asked_for_and_the_page_stays(paper, query, kind, key, message, typed):
    app = opens(paper, query)
    before, controls = shows(app, paper), len(app.main)
    getattr(app, kind)(key=key).set_value(typed).run()
    assert [warning.value for warning in app.warning] == [message] and not app.error
    assert shows(app, paper) == before and not app.exception
    assert len(app.slider) + len(app.number_input) and len(app.main) >= controls


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
    app = opens("logit-lens", {"prompt": JAPAN})
    (shown,) = app.error
    text = shown.value.replace("\\", "")
    assert told in text and "\n" not in text and "Traceback" not in text
