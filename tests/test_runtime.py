"""The compute thread: jobs, progress, cancelling; a clean exit; a model that serves many readers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS, REFERENCE
from mlx.utils import tree_flatten
from test_loading import TOKENS

from interp_core import runtime
from interp_core.models import checkpoint, dialects
from interp_core.residual import Part, ResidualStream, Site
from interp_core.runtime import Cancelled, on_compute_thread, report, submit


def wait_for(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def test_jobs_report_progress_and_what_remains():
    gates = [threading.Event() for _ in range(3)]

    def work():
        for done, gate in enumerate(gates):
            report("working", done, 4)
            assert gate.wait(10)
        return 42

    job = submit(work)
    wait_for(lambda: job.progress.label == "working")
    assert (job.progress.done, job.progress.total, job.progress.remaining) == (0, 4, None)
    time.sleep(0.05)
    gates[0].set()
    wait_for(lambda: job.progress.done == 1)
    first = job.progress
    assert not job.done() and first.elapsed > 0.05
    assert first.remaining == pytest.approx(3 * first.elapsed)
    gates[1].set()
    wait_for(lambda: job.progress.done == 2)
    second = job.progress
    assert second.remaining == pytest.approx(second.elapsed)
    gates[2].set()
    assert job.result(10) == 42 and job.done()


def test_a_waiting_job_says_so():
    gate = threading.Event()
    first, second = submit(gate.wait, 10), submit(lambda: 1)
    wait_for(lambda: first.progress.label == "starting")
    progress = second.progress
    assert (progress.label, progress.elapsed, progress.remaining) == ("waiting", 0, None)
    gate.set()
    assert second.result(10) == 1


def test_cancel_stops_at_the_next_report_and_the_worker_goes_on():
    steps = []

    def work():
        for step in range(10_000):
            report("working", step, 10_000)
            steps.append(step)
            time.sleep(0.001)

    job, after = submit(work), submit(lambda: "next")
    wait_for(lambda: len(steps) > 3)
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(10)
    assert len(steps) < 10_000 and job.done()
    assert after.result(10) == "next"


def test_a_job_cancelled_while_it_waits_never_runs():
    gate, ran = threading.Event(), []
    submit(gate.wait, 10)
    job = submit(ran.append, 1)
    job.cancel()
    gate.set()
    with pytest.raises(Cancelled):
        job.result(10)
    assert ran == []


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("k"), SystemExit(3), MemoryError()])
def test_errors_reach_who_asked_and_the_worker_goes_on(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as raised:
        submit(fail).result(10)
    assert raised.value is error
    assert submit(lambda: 5).result(10) == 5


def test_the_compute_thread_is_one_and_re_entrant():
    @on_compute_thread
    def inner():
        return threading.current_thread()

    @on_compute_thread
    def outer():
        return threading.current_thread(), inner()

    assert outer()[0] is outer()[1] is inner() is not threading.current_thread()
    assert inner().name == "lensbook-compute"
    assert inner.__name__ == "inner"


def test_report_outside_a_job_does_nothing():
    report("nobody listens", 1, 2)


def test_threads_get_their_own_answers(tiny):
    models = {name: tiny(name) for name in ("llama", "gpt2", "gemma2", "gpt_neox")}

    @on_compute_thread
    def logits(name):
        return np.array(models[name].stream.run(mx.array(TOKENS)).logits)

    expected = {name: logits(name) for name in models}
    answers = {name: [] for name in models}

    def ask(name):
        answers[name] = [logits(name) for _ in range(10)]

    threads = [threading.Thread(target=ask, args=[name]) for name in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for name, found in answers.items():
        assert len(found) == 10
        assert all((answer == expected[name]).all() for answer in found)


def test_an_interrupt_cancels_what_was_waited_for(monkeypatch):
    jobs = []

    def interrupted(job, timeout=None):
        jobs.append(job)
        raise KeyboardInterrupt

    def work():
        for step in range(10_000):
            report("working", step, 10_000)
            time.sleep(0.001)

    with monkeypatch.context() as patch:
        patch.setattr(runtime.Job, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            on_compute_thread(work)()
    with pytest.raises(Cancelled):
        jobs[0].result(10)


USE = f"""
import interp_core, mlx.core as mx
from interp_core.runtime import on_compute_thread
model = interp_core.load_model({str(REFERENCE / "llama")!r})
run = on_compute_thread(lambda: model.stream.run(mx.array([[5, 6, 7]])).logits.sum().item())
assert run() == run()
"""
LEFT_RUNNING = (
    USE
    + """
from interp_core.runtime import submit, report
import time
def work():
    while True:
        report("working", 1, 2)
        mx.eval(mx.random.normal((50, 50)) @ mx.ones((50, 50)))
submit(work)
time.sleep(0.1)
"""
)
FAILED = USE + "\nraise SystemExit(3)"


@pytest.mark.parametrize(("code", "status"), [(USE, 0), (LEFT_RUNNING, 0), (FAILED, 3)])
def test_a_process_that_used_mlx_exits_cleanly(code, status):
    start = lambda: subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, text=True
    )
    processes = [start() for _ in range(5 if code is USE else 2)]
    for process in processes:
        error = process.communicate(timeout=120)[1]
        assert process.returncode == status, error
        assert error == ""


def test_the_command_line_never_imports_streamlit_or_torch():
    code = (
        "import sys, pkgutil, importlib, interp_core\n"
        "for module in pkgutil.walk_packages(interp_core.__path__, 'interp_core.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print([m for m in ('streamlit', 'torch', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@on_compute_thread
def mutations(name: str) -> dict[str, bool]:
    """Run a model with every edit, and tell what is bit for bit as before."""
    config = checkpoint.read_config(REFERENCE / name)
    model = dialects.build(config)
    checkpoint.load_weights(model, config, REFERENCE / name)
    stream = ResidualStream(model, config.model_type, config.windows())
    tokens = mx.array(TOKENS)

    def state() -> dict:
        weights = {n: np.array(v) for n, v in tree_flatten(model.parameters())}
        outputs = {"theirs": np.array(model(tokens)), "ours": np.array(stream.run(tokens).logits)}
        return weights | outputs | {"types": [(n, type(m)) for n, m in model.named_modules()]}

    before = state()
    for site in [Site(part, i) for part in Part.__args__ for i in range(stream.n_layers)]:
        for edit in (lambda x: 2 * x, mx.zeros_like):
            mx.eval(stream.run(tokens, edits={site: edit}, keep=[site], keep_kv=True).logits)
    after = state()
    assert before.keys() == after.keys()
    return {key: bool(np.all(before[key] == after[key])) for key in before}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_edited_runs_change_nothing_on_the_model(name):
    same = mutations(name)
    assert all(same.values()), [key for key in same if not same[key]]
