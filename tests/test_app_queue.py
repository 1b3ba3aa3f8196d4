"""What a page shows, and what it asks the queue for, while a result is not there."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONVERTED
from streamlit.testing.v1 import AppTest
from test_runtime import wait_for

from interp_core import runtime
from interp_core.papers.induction_heads import Params as HeadsParams
from interp_core.papers.induction_heads import TrainingParams
from interp_core.papers.logit_lens import Params, PromptsParams
from interp_core.question import stored
from interp_core.registry import PAPERS
from interp_core.results import Result
from interp_core.runtime import Cancelled, Job, enqueue, report, show

APP = Path(__file__).parents[1] / "streamlit_app"
TRACING = PAPERS["causal-tracing"]
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import page
from interp_core.registry import PAPERS
page.draw(PAPERS[{paper!r}])
"""
ASKED = Params(prompt="A prompt that nobody asked before")

pytestmark = pytest.mark.skipif(not CONVERTED.exists(), reason="the default model is not here")


@pytest.fixture
def engine_module(monkeypatch):
    """The app's engine module, with an engine of its own."""
    monkeypatch.syspath_prepend(str(APP))
    import engine as module

    module.engine.clear()
    yield module
    for work in module.engine()._work.values():
        work.job.cancel()


@pytest.fixture
def busy():
    """The compute thread is taken until the test ends, or until this is set."""
    gate = threading.Event()
    job = enqueue(Job(lambda: gate.wait(60), owner="another", title=TRACING.title))
    wait_for(lambda: job.seconds > 0)
    yield gate
    gate.set()
    job.result(10)


def open_(paper: str, **query: str | list[str]) -> AppTest:
    page = AppTest.from_string(SCRIPT.format(folder=str(APP), paper=paper), default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def control(page: AppTest, kind: str, label: str) -> Any:
    """Return the control of that label, the first where a model's and a view's have the same."""
    return next(each for each in page.get(kind) if each.label == label)


def ask(page: AppTest, prompt: str) -> AppTest:
    return control(page, "text_area", "Prompt").set_value(prompt).run()


def texts(page: AppTest) -> str:
    return "\n".join(
        each.value for each in [*page.markdown, *page.caption, *page.info, *page.error]
    )


def address(page: AppTest) -> dict[str, str]:
    """Return the address's query, the last value of each key."""
    return {k: v if isinstance(v, str) else v[-1] for k, v in dict(page.query_params).items()}


def buttons(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def told(page: AppTest) -> list[str]:
    return [bar.proto.text for bar in page.get("progress")]


def until(page: AppTest, text: str) -> None:
    end = time.monotonic() + 60
    while text not in texts(page.run()):
        assert time.monotonic() < end, texts(page)
        time.sleep(0.1)


def working(module) -> list[Job]:
    return [work.job for work in module.engine()._work.values()]


def test_nothing_of_the_old_result_stands_under_a_new_prompt(engine_module, busy):
    page = open_("logit-lens")
    assert "After “·of”" in texts(page) and "sha256" in texts(page)
    ask(page, "The capital of Japan is")
    assert "Before: The Eiffel Tower" in texts(page)
    for old in ("After “·of”", "### Findings", "### Export", "sha256"):
        assert old not in texts(page)
    assert any("st-key-dimmed" in str(each.proto) for each in page.get("html"))
    busy.set()
    until(page, "After “·is”")
    assert "Before:" not in texts(page) and "### Findings" in texts(page)


def test_a_page_that_waits_tells_its_place_what_runs_and_the_time(engine_module, busy):
    page = open_("logit-lens")
    ask(page, "The capital of Chad is")
    behind = f"waiting, number 1 in the queue, behind {TRACING.title}"
    assert told(page)[0].replace("\\", "").startswith(behind)
    time.sleep(1)
    assert int(told(page.run())[0].split(":")[1].split()[0]) >= 1


def test_a_newer_request_takes_the_place_of_the_older(engine_module, busy):
    page = open_("logit-lens")
    ask(page, "The capital of Peru is")
    (first,) = working(engine_module)
    ask(page, "The capital of Cuba is")
    (second,) = working(engine_module)
    assert first is not second
    busy.set()
    with pytest.raises(Cancelled):
        first.result(10)


@pytest.mark.parametrize(
    ("paper", "label", "name", "value", "told"),
    [
        ("induction-heads", "Threshold", "threshold", 0.8, "score above 0.8"),
        ("logit-lens", "Positions left out of averages", "skip_first", 3, "### Findings"),
    ],
)
def test_what_only_redraws_asks_for_nothing(engine_module, busy, paper, label, name, value, told):
    page = open_(paper)
    control(page, "slider", label).set_value(value).run()
    assert told in texts(page) and not working(engine_module)
    again = open_(paper, **{name: str(value)})
    assert told in texts(again) and not working(engine_module)


@pytest.mark.parametrize(
    ("paper", "query", "told"),
    [
        (
            "causal-tracing",
            {"question": "edit", "new_object": "Bonn", "prompt": "The capital of Germany is"},
            "half a minute",
        ),
        ("causal-tracing", {"samples": "20", "seed": "5"}, "about 60 seconds"),
        ("induction-heads", {"tokens": "100", "repeats": "8", "seed": "5"}, "about"),
        ("logit-lens", {"prompt": "one two " * 500}, "about"),
    ],
)
def test_a_link_to_slow_work_waits_for_a_word(engine_module, busy, paper, query, told):
    page = open_(paper, **query)
    assert told in texts(page) and "Run" in buttons(page) and not working(engine_module)
    page.run()
    assert not working(engine_module)
    page.button(key="run").click().run()
    assert len(working(engine_module)) == 1 and "Run" not in buttons(page)


def test_a_link_to_quick_work_runs_and_so_does_what_the_reader_asks_for(engine_module, busy):
    prompt = {"prompt": "The capital of Japan is", "subject": "Japan"}
    page = open_("causal-tracing", samples="1", kinds="mlp_out", **prompt)
    assert len(working(engine_module)) == 1
    control(page, "slider", "Noise samples").set_value(20).run()
    kinds = ["resid_post", "mlp_out", "attn_out"]
    control(page, "multiselect", "Restore").set_value(kinds).run()
    assert len(working(engine_module)) == 1 and "Run" not in buttons(page)


def test_what_a_cancelled_training_came_to_stays_labelled(engine_module, monkeypatch):
    partial = stored(TrainingParams())
    assert partial is not None
    partial.loss[:, 20:] = np.nan

    def train(*_: object, **__: object) -> Result:
        show(partial)
        for _ in range(10_000):
            report("training", 30, 60)
            time.sleep(0.01)
        return partial

    monkeypatch.setattr(engine_module, "obtain", train)
    page = open_("induction-heads", question="training", seed="7")
    page.button(key="run").click().run()
    (job,) = working(engine_module)
    wait_for(lambda: job.progress.done == 30, 30)
    page.button(key="cancel").click().run()
    with pytest.raises(Cancelled):
        job.result(10)
    for _ in range(2):
        assert "Partial result: cancelled at step 30 of 60" in texts(page).replace("\\", "")
        assert page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")
        page.run()
    assert not working(engine_module)
    control(page, "number_input", "Seed").set_value(8).run()
    assert "Partial result" not in texts(page)


def request(module, session: str = "one", prompt: str = ASKED.prompt) -> Job:
    return module.engine().request(Params(prompt=prompt), session)


def test_a_job_lasts_as_long_as_someone_waits(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "LEASE", 0.2)
    engine = engine_module.engine()
    job = request(engine_module)
    for _ in range(10):
        assert engine.renew(ASKED, "one")
        time.sleep(0.05)
        engine.sweep()
    assert not job._stop.is_set()
    wait_for(job._stop.is_set)
    assert not engine.renew(ASKED, "one") and not working(engine_module)


def test_a_job_of_a_browser_that_is_gone_ends(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "GRACE", 0.1)
    job = request(engine_module)
    assert request(engine_module, "two") is job
    engine_module.engine().closed("one")
    time.sleep(0.2)
    engine_module.engine().sweep()
    assert not job._stop.is_set(), "another browser waits"
    engine_module.engine().closed("two")
    wait_for(job._stop.is_set)


def test_a_connection_that_comes_back_keeps_its_job(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "GRACE", 0.1)
    job = request(engine_module)
    engine_module.engine().closed("one")
    assert engine_module.engine().renew(ASKED, "one")
    time.sleep(0.2)
    engine_module.engine().sweep()
    assert not job._stop.is_set()


def test_a_full_queue_says_so(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "LIMIT", 1)
    request(engine_module)
    with pytest.raises(engine_module.Busy, match="Try again in a minute"):
        request(engine_module, "two", "Another prompt")
    page = open_("logit-lens")
    ask(page, "The capital of Togo is")
    assert "Try again in a minute" in texts(page).replace("\\", "") and "Try again" in buttons(page)


def test_all_pages_together_ask_four_times_a_second(engine_module, busy, monkeypatch):
    engine = engine_module.engine()
    assert engine.interval() == 0.5
    for session in "abcd":
        request(engine_module, session)
    assert engine.interval() == 1.0
    for session in "efghijkl":
        request(engine_module, session)
    assert engine.interval() == 2.0
    assert runtime.before(request(engine_module))[0] == 1
    done = engine_module.Work(Job(int), dict.fromkeys("mnop", 1e9))
    done.job._future.set_result(0)
    monkeypatch.setattr(engine, "_work", {0: done})
    assert engine.interval() == 0.5, "those whose result is there ask no more"


def test_readings_with_other_thresholds_share_what_is_kept(engine_module):
    engine = engine_module.engine()
    found = {t: engine.result(HeadsParams(threshold=t)) for t in (0.3, 0.5, 0.8)}
    counts = [len(result.induction_heads) for result in found.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert all(result.params.threshold == t for t, result in found.items())
    assert "threshold=0.8" in found[0.8].link
    assert all(result.scores is found[0.5].scores for result in found.values())


def test_an_empty_prompt_asks_for_one_and_the_last_stays_asked(engine_module, busy):
    page = ask(open_("logit-lens"), "   ")
    assert [each.value for each in page.warning] == ["Type a prompt."]
    assert "After “·of”" in texts(page) and "sha256" in texts(page) and not working(engine_module)
    assert control(page, "text_area", "Prompt").value == "   "
    page = open_("causal-tracing")
    control(page, "text_input", "Prompt").set_value("").run()
    assert [each.value for each in page.warning] == ["Type a prompt."] and "sha256" in texts(page)


def test_a_choice_of_figure_or_colour_is_not_lost_while_a_result_is_computed(engine_module, busy):
    page = ask(open_("logit-lens"), "The capital of Laos is")
    control(page, "button_group", "Supporting figure").set_value("layers").run()
    control(page, "selectbox", "Colour").set_value("kl").run()
    query = {"prompt": "The capital of Laos is", "view_figure": "layers", "view_colour": "kl"}
    assert address(page) == query
    busy.set()
    until(page, "After “·is”")
    assert address(page) == query


def test_what_is_before_is_named_by_what_differs(engine_module, busy):
    page = open_("induction-heads")
    control(page, "slider", "Repetitions").set_value(3).run()
    assert "Before: Repetitions 4" in texts(page) and "### Findings" not in texts(page)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("[matmul] Last dimension 3 is not 4."), "The computation failed: [matmul]"),
        (RuntimeError("[malloc] Unable to allocate 9 bytes."), "There is not enough memory"),
        (MemoryError(), "There is not enough memory for this."),
    ],
)
def test_what_fails_is_told_in_a_sentence(engine_module, monkeypatch, error, told):
    def fail(*_: object, **__: object) -> Result:
        raise error

    monkeypatch.setattr(engine_module, "obtain", fail)
    page = ask(open_("logit-lens"), "The capital of Mali is")
    end = time.monotonic() + 30
    while not page.error and time.monotonic() < end:
        page.run()
    assert page.error[0].value.replace("\\", "").startswith(told) and "Try again" in buttons(page)


def test_a_model_goes_by_its_name_in_any_case(engine_module):
    page = open_("logit-lens", model="GPT2")
    assert not page.warning and page.selectbox(key="model").value == "gpt2"
    assert "Fetch gpt2 (0.5 GB)" in buttons(page)
    assert address(page)["model"] == "GPT2", "a link stays as it was written"


def test_evidence_that_is_missing_is_named_and_is_a_click_away(engine_module, monkeypatch):
    without = dataclasses.replace(stored(HeadsParams()), evidence={})
    monkeypatch.setattr(engine_module, "stored", lambda params: without)
    page = open_("induction-heads")
    rest = ["Ablation", "Ablation: previous-token", "Circuits", "In-context learning"]
    assert "not measured on this model yet" in texts(page)
    assert [label for label in buttons(page) if label in rest] == rest
    monkeypatch.setattr(engine_module, "stored", stored)
    next(b for b in page.button if b.label == rest[1]).click().run()
    assert address(page) == {"question": "ablation", "ablate": "previous-token"}
    assert not page.exception and "sha256" in texts(page)


def test_what_was_missing_is_attached_once_it_is_measured(engine_module):
    engine, averages = engine_module.engine(), stored(PromptsParams())
    lens = dataclasses.replace(stored(Params()), evidence={})
    engine._remember(Params(), lens)
    engine._complete(type(averages.params))
    assert "prompts" in engine.result(Params()).evidence


def test_a_file_of_facts_is_chosen_as_it_comes_or_refused_in_a_sentence(engine_module):
    facts = [{"prompt": "The capital of Chad is", "subject": "Chad", "attribute": "N'Djamena"}]
    page = open_("causal-tracing", question="average")
    box = page.get("file_uploader")[0]
    box.set_value(("mine.json", json.dumps(facts).encode(), "application/json")).run()
    name = address(page)["facts"]
    assert len(name) == 16 and not page.exception
    assert "mine.json" in control(page, "selectbox", "Facts").options
    page.run()
    control(page, "selectbox", "Facts").set_value("shipped").run()
    assert "facts" not in address(page), "the reader's choice stands, file or not"
    page.get("file_uploader")[0].set_value(("bad.json", b"{", "application/json")).run()
    assert [each.value.replace("\\", "") for each in page.error] == [
        "facts: bad.json is not JSON; accepted: a list of records with subject, attribute and "
        "prompt, or counterfact.json"
    ]
    assert "sha256" in texts(page)
