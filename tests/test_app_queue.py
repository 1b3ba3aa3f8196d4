"""What a page shows, and what it asks the queue for, while a result is not there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CONVERTED
from streamlit.testing.v1 import AppTest
from test_runtime import wait_for

from interp_core import runtime
from interp_core.papers import PAPERS, stored
from interp_core.papers.induction_heads import TRAINING
from interp_core.papers.induction_heads import Params as HeadsParams
from interp_core.papers.logit_lens import Params
from interp_core.results import Result
from interp_core.runtime import Cancelled, Job, enqueue, report, show

APP = Path(__file__).parents[1] / "streamlit_app"
LENS, TRACING, HEADS = PAPERS["logit-lens"], PAPERS["causal-tracing"], PAPERS["induction-heads"]
ASKED = Params(prompt="A prompt that nobody asked before")

pytestmark = pytest.mark.skipif(not CONVERTED.exists(), reason="the default model is not here")


@pytest.fixture
def engine_module(monkeypatch):
    """The app's engine module, with an engine of its own."""
    monkeypatch.syspath_prepend(str(APP))
    import components.engine as module

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


def open_(stem: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(APP / "app.py"), default_timeout=60)
    page.run().switch_page(f"app_pages/{stem}.py")
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def texts(page: AppTest) -> str:
    return "\n".join(
        each.value for each in [*page.markdown, *page.caption, *page.info, *page.error]
    )


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
    page = open_("logit_lens")
    assert "position 9" in texts(page) and "sha256" in texts(page)
    page.text_area(key="prompt").set_value("The capital of Japan is").run()
    assert "Before: The Eiffel Tower" in texts(page)
    for old in ("position 9", "### Findings", "Take it with you", "sha256"):
        assert old not in texts(page)
    assert any("st-key-dimmed" in str(each.proto) for each in page.get("html"))
    busy.set()
    until(page, "position 4")
    assert "Before:" not in texts(page) and "### Findings" in texts(page)


def test_a_page_that_waits_tells_its_place_what_runs_and_the_time(engine_module, busy):
    page = open_("logit_lens")
    page.text_area(key="prompt").set_value("The capital of Chad is").run()
    behind = f"waiting, number 1 in the queue, behind {TRACING.title}"
    assert told(page)[0].replace("\\", "").startswith(behind)
    time.sleep(1)
    assert int(told(page.run())[0].split(":")[1].split()[0]) >= 1


def test_a_newer_request_takes_the_place_of_the_older(engine_module, busy):
    page = open_("logit_lens")
    page.text_area(key="prompt").set_value("The capital of Peru is").run()
    (first,) = working(engine_module)
    page.text_area(key="prompt").set_value("The capital of Cuba is").run()
    (second,) = working(engine_module)
    assert first is not second
    busy.set()
    with pytest.raises(Cancelled):
        first.result(10)


@pytest.mark.parametrize(
    ("stem", "slider", "value", "told"),
    [
        ("induction_heads", "ih_threshold", 0.8, "heads above 0.8"),
        ("logit_lens", "skip_first", 3, "### Findings"),
    ],
)
def test_what_only_redraws_asks_for_nothing(engine_module, busy, stem, slider, value, told):
    page = open_(stem)
    page.slider(key=slider).set_value(value).run()
    assert told in texts(page) and not working(engine_module)
    again = open_(stem, **{slider.removeprefix("ih_"): str(value)})
    assert told in texts(again) and not working(engine_module)


@pytest.mark.parametrize(
    ("stem", "query", "told"),
    [
        (
            "causal_tracing",
            {"edit": "true", "new_object": "Bonn", "prompt": "The capital of Germany is"},
            "about 3 minutes",
        ),
        ("causal_tracing", {"samples": "20", "seed": "5"}, "about 60 seconds"),
        ("induction_heads", {"tokens": "100", "repeats": "8", "seed": "5"}, "about"),
        ("logit_lens", {"prompt": "one two " * 500}, "about"),
    ],
)
def test_a_link_to_slow_work_waits_for_a_word(engine_module, busy, stem, query, told):
    page = open_(stem, **query)
    assert told in texts(page) and "Run" in buttons(page) and not working(engine_module)
    page.run()
    assert not working(engine_module)
    page.button(key="ask-Run").click().run()
    assert len(working(engine_module)) == 1 and "Run" not in buttons(page)


def test_a_link_to_quick_work_runs_and_so_does_what_the_reader_asks_for(engine_module, busy):
    prompt = {"prompt": "The capital of Japan is", "subject": "Japan"}
    page = open_("causal_tracing", samples="1", kinds="mlp_out", **prompt)
    assert len(working(engine_module)) == 1
    page.slider(key="ct_samples").set_value(20).run()
    page.multiselect(key="ct_kinds").set_value(["resid_post", "mlp_out", "attn_out"]).run()
    assert len(working(engine_module)) == 1 and "Run" not in buttons(page)


def test_what_a_cancelled_training_came_to_stays_labelled(engine_module, monkeypatch):
    partial = stored(HEADS, TRAINING)
    assert partial is not None
    partial.loss[:, 20:] = np.nan

    def train(*_: object, **__: object) -> Result:
        show(partial)
        for _ in range(10_000):
            report("training", 30, 60)
            time.sleep(0.01)
        return partial

    monkeypatch.setattr(engine_module, "obtain", train)
    page = open_("induction_heads", train="true", seed="7")
    page.button(key="ask-Train").click().run()
    (job,) = working(engine_module)
    wait_for(lambda: job.progress.done == 30, 30)
    page.button(key="cancel-False").click().run()
    with pytest.raises(Cancelled):
        job.result(10)
    for _ in range(2):
        assert "Partial result: cancelled at step 30 of 60" in texts(page).replace("\\", "")
        assert page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")
        page.run()
    assert not working(engine_module)
    page.number_input(key="ih_seed").set_value(8).run()
    assert "Partial result" not in texts(page)


def request(module, session: str = "one", prompt: str = ASKED.prompt) -> Job:
    return module.engine().request(LENS, Params(prompt=prompt), session)


def test_a_job_lasts_as_long_as_someone_waits(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "LEASE", 0.2)
    engine = engine_module.engine()
    job = request(engine_module)
    for _ in range(10):
        assert engine.renew(LENS, ASKED, "one")
        time.sleep(0.05)
        engine.sweep()
    assert not job._stop.is_set()
    wait_for(job._stop.is_set)
    assert not engine.renew(LENS, ASKED, "one") and not working(engine_module)


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
    assert engine_module.engine().renew(LENS, ASKED, "one")
    time.sleep(0.2)
    engine_module.engine().sweep()
    assert not job._stop.is_set()


def test_a_full_queue_says_so(engine_module, busy, monkeypatch):
    monkeypatch.setattr(engine_module, "LIMIT", 1)
    request(engine_module)
    with pytest.raises(engine_module.Busy, match="Try again in a minute"):
        request(engine_module, "two", "Another prompt")
    page = open_("logit_lens")
    page.text_area(key="prompt").set_value("The capital of Togo is").run()
    assert "Try again in a minute" in texts(page).replace("\\", "") and "Try again" in buttons(page)


def test_all_pages_together_ask_twice_a_second(engine_module, busy):
    assert engine_module.engine().interval() == 0.5
    for session in "abcd":
        request(engine_module, session)
    assert engine_module.engine().interval() == 2.0
    assert runtime.before(request(engine_module))[0] == 1


def test_readings_with_other_thresholds_share_what_is_kept(engine_module):
    engine = engine_module.engine()
    found = {t: engine.result(HEADS, HeadsParams(threshold=t)) for t in (0.3, 0.5, 0.8)}
    counts = [len(result.induction_heads) for result in found.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert all(result.params.threshold == t for t, result in found.items())
    assert "threshold=0.8" in found[0.8].link
    assert all(result.scores is found[0.5].scores for result in found.values())
