"""How jobs share the compute thread: turns, fairness, cancelling, and equal numbers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref

import mlx.core as mx
import numpy as np
import pytest
from test_runtime import wait_for

from interp_core import blas, jobs, runtime, sampling
from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing.compute import sweep
from interp_core.papers.induction_heads.compute import train
from interp_core.provenance import Recorder
from interp_core.runtime import (
    Cancelled,
    Job,
    clock,
    enqueue,
    give_way,
    holding,
    report,
    stage,
    submit,
)

STEPS = 10_000


@pytest.fixture
def quick(monkeypatch):
    """Jobs are long after 50 ms, and share every 10 ms."""
    monkeypatch.setattr(jobs, "SHORT", 0.05)
    monkeypatch.setattr(jobs, "TURN", 0.01)
    monkeypatch.setattr(jobs, "PATIENCE", 0.5)


@pytest.fixture
def every_report(monkeypatch):
    """Jobs change places at every report."""
    for name in ("SHORT", "TURN", "PATIENCE"):
        monkeypatch.setattr(jobs, name, 0.0)


def steps(seen: list, mark: object, count: int = STEPS) -> int:
    """Report often, and note each step."""
    for step in range(count):
        report("working", step, count)
        seen.append(mark)
        time.sleep(0.001)
    return count


@pytest.fixture
def long_job(quick):
    """A job that goes on until the test ends, and is long already."""
    job = enqueue(Job(lambda: steps([], 0), owner="long", title="A long one"))
    wait_for(lambda: job.seconds > jobs.SHORT)
    yield job
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(10)


def test_a_short_job_overtakes_a_long_one(long_job):
    assert submit(lambda: 5).result(5) == 5
    assert not long_job.done()


def test_a_short_job_runs_whole_and_others_wait_for_it(quick, monkeypatch):
    monkeypatch.setattr(jobs, "SHORT", 60.0)  # however slow the machine
    monkeypatch.setattr(jobs, "PATIENCE", 60.0)
    seen: list[str] = []
    both = [enqueue(Job(lambda mark=mark: steps(seen, mark, 20), owner=mark)) for mark in "ab"]
    assert [job.result(10) for job in both] == [20, 20]
    assert seen == ["a"] * 20 + ["b"] * 20


def test_long_jobs_of_several_owners_take_turns(quick):
    seen: list[str] = []
    owners = "abc"
    running = [enqueue(Job(lambda mark=mark: steps(seen, mark), owner=mark)) for mark in owners]
    wait_for(lambda: len(seen) > 400)
    counts = [seen[200:].count(mark) for mark in owners]
    assert min(counts) > 0.15 * sum(counts)
    for job in running:
        job.cancel()
        with pytest.raises(Cancelled):
            job.result(10)


def test_a_crowd_of_short_jobs_does_not_starve_a_long_one(long_job):
    end, done = time.monotonic() + 2, 0
    ran = long_job.seconds
    crowd = [submit(time.sleep, 0.02) for _ in range(20)]
    while time.monotonic() < end:
        crowd = [job for job in crowd if not job.done()]
        crowd += [submit(time.sleep, 0.02) for _ in range(20 - len(crowd))]
        time.sleep(0.005)
        done = max(done, long_job.progress.done)
    assert long_job.seconds > ran + 0.02
    for job in crowd:
        job.result(10)


def test_an_owner_whose_jobs_ran_long_comes_after_others(long_job):
    seen: list[str] = []
    gate = threading.Event()
    other = enqueue(Job(lambda: gate.wait(10), owner="gate"))
    wait_for(lambda: other.seconds > 0)
    waiting = [
        enqueue(Job(lambda mark=mark: seen.append(mark), owner=mark)) for mark in ("long", "new")
    ]
    gate.set()
    for job in waiting:
        job.result(10)
    assert seen == ["new", "long"]


def test_an_error_of_one_never_reaches_another(long_job):
    def fail():
        report("failing", 0, 1)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        submit(fail).result(10)
    before = long_job.progress.done
    wait_for(lambda: long_job.progress.done > before)


def test_a_job_that_stands_aside_can_be_cancelled(long_job):
    gate = threading.Event()
    other = submit(gate.wait, 10)
    wait_for(lambda: other.seconds > 0)
    victim = enqueue(Job(lambda: steps([], 0), owner="victim"))
    gate.set()
    wait_for(lambda: victim.seconds > 2 * jobs.SHORT)
    victim.cancel()
    with pytest.raises(Cancelled):
        victim.result(1)
    assert not long_job.done()


def test_within_a_step_that_takes_long_others_run_and_it_can_be_cancelled(quick):
    seen = []

    def one_step() -> None:
        report("one step", 0, 1)
        while True:
            give_way()
            seen.append(0)
            time.sleep(0.001)

    job = enqueue(Job(one_step, owner="long"))
    wait_for(lambda: job.seconds > jobs.SHORT)
    assert submit(lambda: "short").result(5) == "short"
    before = len(seen)
    wait_for(lambda: len(seen) > before)
    assert job.progress.done == 0
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(5)


def test_a_trace_gives_way_at_every_block(model, monkeypatch):
    """A batch of its runs takes seconds, in which others would wait."""
    blocks = []
    monkeypatch.setattr(sweep, "give_way", lambda: blocks.append(0))
    causal_tracing.run(model, causal_tracing.Params(kinds=("resid_post",), samples=1))
    assert len(blocks) >= model.info.n_layers


@pytest.mark.parametrize("error", [Cancelled, ValueError])
def test_a_job_that_failed_lets_go_of_what_its_call_held(error):
    held = []

    def call() -> None:
        array = np.zeros(1000)
        held.append(weakref.ref(array))
        raise error("it failed")

    job = submit(call)
    with pytest.raises(error, match="it failed"):
        job.result(5)
    assert job.done() and held[0]() is None


def test_who_waits_sees_the_place_what_runs_and_a_clock_that_moves():
    gate = threading.Event()
    first = enqueue(Job(lambda: gate.wait(10), title="Causal Tracing"))
    wait_for(lambda: runtime.before(first) == (0, "") and first.seconds > 0)
    second, third = (enqueue(Job(lambda: 1, owner=name)) for name in "ab")
    assert runtime.before(second) == (1, "Causal Tracing")
    assert runtime.before(third) == (2, "Causal Tracing")
    before = third.progress.waited
    time.sleep(0.05)
    assert third.progress.waited >= before + 0.05 and third.progress.elapsed == 0
    gate.set()
    assert third.result(10) == 1
    assert third.progress.waited == third.progress.waited > 0.05


def test_the_clock_stands_still_while_others_run(long_job):
    seconds = []

    def timed():
        with Recorder() as recorder:
            begin, wall = clock(), time.monotonic()
            while time.monotonic() < wall + 0.4:
                report("working", 0, 1)
                time.sleep(0.001)
            seconds.extend([clock() - begin, recorder._start])
        return recorder._end - recorder._start

    job = submit(timed)
    took = job.result(10)
    assert seconds[0] == pytest.approx(took, abs=0.01)
    assert took < 0.35, "half of the time went to the other job"
    assert job.progress.elapsed + job.progress.waited >= 0.4


def test_a_peak_of_memory_is_the_job_s_own(every_report):
    def large():
        for step in range(20):
            report("working", step, 20)
            mx.eval(mx.zeros((4 << 20,)))

    def small():
        with Recorder() as recorder:
            for step in range(20):
                report("working", step, 20)
                mx.eval(mx.zeros((1 << 10,)))
        return recorder._peak

    alone = submit(small).result(10)
    other, job = submit(large), submit(small)
    assert job.result(10) < alone + (8 << 20)
    other.result(10)


def test_an_inner_recorder_leaves_the_outer_its_peak():
    def nested():
        with Recorder() as outer:
            mx.eval(mx.zeros((4 << 20,)))
            with Recorder() as inner:
                mx.eval(mx.zeros((1 << 10,)))
        return outer._peak, inner._peak

    outer, inner = submit(nested).result(10)
    assert outer >= inner + (8 << 20)


def test_what_a_job_holds_is_let_go_while_others_run(every_report):
    import ctypes

    library = ctypes.CDLL(None)
    if not hasattr(library, "openblas_get_num_threads"):
        pytest.skip("no OpenBLAS here")
    free = library.openblas_get_num_threads()
    held, seen = [], []

    def holds():
        with holding(blas.one_thread):
            for step in range(50):
                report("working", step, 50)
                held.append(library.openblas_get_num_threads())

    def looks():
        for step in range(50):
            report("looking", step, 50)
            seen.append(library.openblas_get_num_threads())

    for job in [submit(holds), submit(looks)]:
        job.result(10)
    assert set(held) == {1} and set(seen) == {free}
    assert submit(library.openblas_get_num_threads).result(10) == free


def test_stages_of_two_jobs_do_not_mix(every_report):
    labels: dict[str, set] = {"a": set(), "b": set()}

    def work(name):
        for step in range(20):
            with stage(f"stage of {name}", step, 20):
                report("within", 1, 2)
                labels[name].add(both[name].progress.label)

    both = {}
    gate = threading.Event()
    hold = submit(gate.wait, 10)
    for name in labels:
        both[name] = submit(work, name)
    gate.set()
    for job in (hold, *both.values()):
        job.result(10)
    assert labels == {"a": {"stage of a"}, "b": {"stage of b"}}


def test_undivided_work_is_not_divided(every_report):
    seen: list[str] = []

    def whole():
        with runtime.undivided():
            steps(seen, "whole", 20)

    both = [submit(whole), submit(steps, seen, "other", 20)]
    for job in both:
        job.result(10)
    first = seen.index("whole")
    assert seen[first : first + 20] == ["whole"] * 20


def learned() -> dict[str, np.ndarray]:
    """Train a toy for a few steps."""
    course = train.course("1", 1, [0, 1, 2, 3], train._Data.of(1))
    for _ in course.run(lambda step: report("training", step, 3), resume=False):
        theta = np.array(course.learner.theta)
    return {"theta": theta, **course.learner.logs}


def traced(model) -> dict[str, np.ndarray]:
    params = causal_tracing.Params(prompt="one two three four", subject="two", samples=2, window=1)
    found = causal_tracing.run(model, params, findings=False)
    return {"score": found.score, "probability": found.probability}


def written(model) -> dict[str, np.ndarray]:
    return {
        "ids": sampling.generate(
            model.stream, [[1]] * 4, 20, temperature=1, seed=1, label="writing"
        )
    }


def test_jobs_that_take_turns_give_the_numbers_of_jobs_that_do_not(tiny, every_report, monkeypatch):
    model = tiny("llama")
    calls = {
        "toy": learned,
        "trace": lambda: traced(model),
        "text": lambda: written(model),
    }
    alone = {name: submit(call).result(60) for name, call in calls.items()}
    turns = []
    change = Job.change_places
    monkeypatch.setattr(Job, "change_places", lambda job: turns.append(job) or change(job))
    gate = threading.Event()
    submit(gate.wait, 10)
    together = {name: submit(call) for name, call in calls.items()}
    gate.set()
    for name, job in together.items():
        for field, value in job.result(60).items():
            np.testing.assert_array_equal(value, alone[name][field], err_msg=f"{name}: {field}")
    assert set(turns) == set(together.values())


FIRST_CALLERS = """
import threading
from interp_core import runtime
gate = threading.Barrier(8)
def call():
    gate.wait()
    runtime.submit(lambda: 1).result(30)
callers = [threading.Thread(target=call) for _ in range(8)]
[each.start() for each in callers]; [each.join() for each in callers]
print(sum(each.name == "lensbook-compute" for each in threading.enumerate()))
"""
TAKING_TURNS = """
import time
from interp_core import jobs
from interp_core.runtime import submit, report
import mlx.core as mx
jobs.SHORT = jobs.TURN = 0
def work():
    while True:
        report("working", 1, 2)
        mx.eval(mx.random.normal((50, 50)) @ mx.ones((50, 50)))
running = [submit(work) for _ in range(3)]
time.sleep(0.2)
print(sum(job.seconds > 0 for job in running))
"""


@pytest.mark.parametrize(("code", "printed"), [(FIRST_CALLERS, "1"), (TAKING_TURNS, "3")])
def test_one_thread_whoever_calls_first_and_however_many_jobs_are_open(code, printed):
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (printed, "", 0)
