"""The cache never serves a wrong number: entries, what they rest on, and the limit."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from interp_core import archive, paths, store
from interp_core.papers import causal_tracing, logit_lens
from interp_core.papers.causal_tracing import facts
from interp_core.papers.causal_tracing.compute import key_covariance
from interp_core.papers.induction_heads.compute import composition
from interp_core.papers.logit_lens import Params
from interp_core.params import ParameterError
from interp_core.paths import SHIPPED, cache_dir
from interp_core.question import stored
from interp_core.registry import PAPERS
from interp_core.results import Result
from interp_core.runtime import on_compute_thread

QUESTIONS = {
    (paper.name, question.name): question
    for paper in PAPERS.values()
    for question in paper.questions
}
CAT, DOG = Params(prompt="the cat", top_k=2), Params(prompt="the dog", top_k=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def results(tiny):
    return [logit_lens.run(tiny("gpt2"), params, findings=False) for params in (CAT, DOG)]


def path_of(result: Result) -> Path:
    return cache_dir("results") / result.paper / f"{store._key_of(result)}.npz"


def kept(result: Result) -> Result | None:
    return store.get(type(result), result.params, result.provenance.model.fingerprint)


# Entries


def in_time(call):
    """Return what ``call`` returns; a reader that waits for ever fails the test."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    assert found, "it waits for ever"
    return found[0]


def rewritten(result: Result, alter) -> bytes:
    """Return a result's bytes after ``alter`` changed its header and arrays."""
    header, arrays = archive.unpack(io.BytesIO(result.to_bytes()))
    alter(header, arrays)
    file = io.BytesIO()
    archive.pack(file, header, arrays)
    return file.getvalue()


def emptied(header, arrays) -> None:
    arrays |= {name: array[..., :0] for name, array in arrays.items()}


def cut(header, arrays) -> None:
    arrays["kl"] = arrays["kl"][1:]


def flattened(header, arrays) -> None:
    arrays["kl"] = arrays["kl"].ravel()


def lacking(header, arrays) -> None:
    del arrays["kl"]


def with_more(header, arrays) -> None:
    arrays["more"] = np.zeros(3)


def of_text(header, arrays) -> None:
    arrays["kl"] = arrays["kl"].astype(str)


def of_moments(header, arrays) -> None:
    arrays["kl"] = arrays["kl"].astype("m8[s]")


def of_another_kind(header, arrays) -> None:
    header["identity"]["question"] = "prompts"


def of_another_model(header, arrays) -> None:
    header["fields"]["provenance"]["model"]["sha256"] = "0" * 64


def without_a_header(header, arrays) -> None:
    header.clear()


ALTERED = [
    emptied,
    cut,
    flattened,
    lacking,
    with_more,
    of_text,
    of_moments,
    of_another_kind,
    of_another_model,
    without_a_header,
]


@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
def test_an_entry_that_is_not_what_it_should_be_is_set_aside(alter, results, caplog):
    check_refused(results[0], lambda path: path.write_bytes(rewritten(results[0], alter)), caplog)


def check_refused(result: Result, spoil, caplog) -> None:
    """Spoil a kept entry; it is set aside, and the next one is kept in its place."""
    store.put(result)
    path = path_of(result)
    path.unlink()
    spoil(path)
    assert in_time(lambda: kept(result)) is None
    assert "will be computed again" in caplog.text and not path.exists()
    assert [each.suffix for each in path.parent.iterdir()] == [".damaged"]
    store.put(result)
    assert kept(result).params == result.params


def test_another_ones_entry_under_its_name_is_set_aside(results, caplog):
    check_refused(results[0], lambda path: path.write_bytes(results[1].to_bytes()), caplog)
    assert "another question" in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["fifo", "folder", "device"],
)
def test_only_regular_files_are_read(spoil, results, caplog):
    check_refused(results[0], spoil, caplog)


def test_what_would_expand_is_refused_before_it_does(results, monkeypatch, caplog):
    file = io.BytesIO()
    archive.pack(file, {}, {"kl": np.zeros(64 << 20, np.uint8)})
    assert file.tell() < 100_000
    monkeypatch.setattr(archive, "_array", lambda *_: pytest.fail("it was expanded"))
    store.put(results[0])
    path_of(results[0]).write_bytes(file.getvalue())
    assert kept(results[0]) is None and "would expand" in caplog.text


def test_an_array_is_as_long_as_its_file():
    """An archive whose arrays claim a size that their bytes do not have takes no memory for it."""
    file = io.BytesIO()
    archive.pack(file, {}, {"kl": np.zeros(5)}, compress=False)
    for claimed in (b"(7,)", b"(4,)", b"(-5,)"):
        data = file.getvalue().replace(b"(5,)", claimed)
        with pytest.raises(ValueError, match="not a readable archive"):
            archive.unpack(io.BytesIO(data))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_array_has_its_axes(name):
    kind = QUESTIONS[name].result
    hints = get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)} - {"evidence"}
    assert {field for field in fields if hints[field] is np.ndarray} <= kind.axes().keys() <= fields


@pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda paper: paper.name)
def test_what_ships_is_found_under_its_name(paper):
    for params in paper.shipped:
        found = stored(params)
        assert found is not None and found.params == params
        assert found.findings or params not in (*paper.headline, *paper.second)
    files = sorted((SHIPPED / "results" / paper.name).iterdir())
    for file in files:
        identity = archive.unpack(io.BytesIO(file.read_bytes()))[0]["identity"]
        kind = QUESTIONS[identity["paper"], identity["question"]].result
        result = kind.from_bytes(file.read_bytes())
        assert store._key_of(result) == file.stem
    assert len(files) > 5 and not list(cache_dir("results").rglob("*.npz"))


# Data


_LENS, _SAE = "tuned-lens", "sparse-autoencoder"
_READ = {"feature", "features", "evaluate", "compare", "steer", "train", "transformer"}
DATA = {
    "facts.json": {
        "causal-tracing": {"trace", "average", "edit", "scores"},
        "steering": {"strength"},
    },
    "behaviours.json": {"steering": {"steer", "sweep", "strength", "geometry", "save"}},
    "prompts.json": {"logit-lens": {"prompts"}, "causal-tracing": {"scores"}},
    "manual.txt.gz": {
        "induction-heads": {"context"},
        _LENS: {"evaluate", "transfer", "basis", "train"},
        _SAE: _READ,
    },
    "texts.json": {
        "logit-lens": {"prompts"},
        _LENS: {"evaluate", "transfer", "basis", "train"},
        "steering": {"strength"},
        _SAE: _READ,
    },
    "lenses/index.json": {_LENS: {"lens", "evaluate", "transfer", "basis", "detect"}},
    "dictionaries/index.json": {
        _SAE: {"text", "feature", "features", "evaluate", "compare", "steer"}
    },
    "injections.json": {_LENS: {"detect"}},
}


@pytest.fixture
def other_data(tmp_path, monkeypatch):
    """Change a file that ships."""

    def change(name: str) -> None:
        folder = shutil.copytree(SHIPPED, tmp_path / "data")
        (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
        monkeypatch.setattr(paths, "SHIPPED", folder)
        paths.shipped_digest.cache_clear()

    yield change
    monkeypatch.undo()
    paths.shipped_digest.cache_clear()


@pytest.mark.parametrize("name", DATA)
def test_keys_hold_the_data_that_results_rest_on(name, other_data):
    def keys() -> dict[tuple[str, str], str]:
        return {
            asked: store.key(each.result, each.params(), "model")
            for asked, each in QUESTIONS.items()
        }

    before = keys()
    other_data(name)
    after = keys()
    expected = {(paper, each) for paper, questions in DATA[name].items() for each in questions}
    assert {asked for asked in before if after[asked] != before[asked]} == expected


def test_results_on_other_data_are_not_served_under_any_name(other_data):
    trace = stored(causal_tracing.Params())
    store.put(trace)
    old = path_of(trace)
    assert kept(trace) is not None
    other_data("facts.json")
    assert kept(trace) is None
    shutil.copy(old, path_of(trace))
    assert kept(trace) is None


def test_a_set_of_facts_is_the_one_of_its_name(tmp_path):
    def read(subject: str) -> str:
        record = {"subject": subject, "attribute": "x", "prompt": f"{subject} is"}
        (tmp_path / "set.json").write_text(json.dumps([record]))
        return facts.read(tmp_path / "set.json")

    one, other = read("Ann"), read("Bob")
    assert facts.load(other)[0].subject == "Bob"
    kept = cache_dir("facts")
    shutil.copy(kept / f"{other}.json", kept / f"{one}.json")
    with pytest.raises(ParameterError, match="is not on this machine"):
        facts.load(one)
    assert read("Ann") == one and facts.load(one)[0].subject == "Ann"


# What is measured once


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(key_covariance, "TEXTS", 4)
    monkeypatch.setattr(key_covariance, "LENGTH", 12)


def second(model, layer: int) -> np.ndarray:
    return on_compute_thread(lambda: key_covariance.second_moment(model, layer, "auto", 0))()


def test_second_moments_are_of_a_layer_and_a_precision(tiny, small, monkeypatch, caplog):
    model = tiny("llama")
    moments = [second(model, layer) for layer in (0, 1)]
    np.testing.assert_array_equal(second(model, 1), moments[1])
    names = sorted(cache_dir("moments").iterdir())
    assert len(names) == 3  # and the texts
    half = dataclasses.replace(model, info=dataclasses.replace(model.info, dtype="float16"))
    second(half, 1)
    assert len(list(cache_dir("moments").iterdir())) == 5
    largest = sorted(names, key=lambda file: file.stat().st_size)[1:]
    shutil.copy(largest[0], largest[1])
    np.testing.assert_array_equal(second(model, 0), moments[0])
    np.testing.assert_array_equal(second(model, 1), moments[1])
    assert "something else" in caplog.text


def test_copying_scores_are_kept_of_a_model(tiny):
    model = tiny("gpt2")
    copying = on_compute_thread(lambda: composition.kept_copying(model))
    first = copying()
    (file,) = cache_dir("copying").iterdir()
    np.testing.assert_array_equal(copying(), first)
    file.write_bytes(file.read_bytes()[:-20])
    np.testing.assert_array_equal(copying(), first)


# The limit


def test_the_limit_is_over_all_that_can_be_computed_again(results, monkeypatch):
    store.put(results[0])
    size = path_of(results[0]).stat().st_size
    monkeypatch.setattr(store, "LIMIT", 3 * size)
    now = time.time()
    ages = {
        "moments/old.npz": 9_000,
        "copying/old.npz": 8_000,
        "training/done.npz": 7_000,
        "training/in-use.npz": 3_000,
        "results/logit-lens/left.partial": 6_000,
        "results/logit-lens/being-written.partial": 2_000,
        "results/logit-lens/x.damaged": 1_500,
        "facts/mine.json": 99_000,
        "models/mine.safetensors": 99_000,
    }
    for name, age in ages.items():
        file = cache_dir(name.split("/")[0]).parent / name
        file.write_bytes(b"x" * size)
        os.utime(file, (now - age, now - age))
    os.utime(path_of(results[0]), (now - 1_000, now - 1_000))
    store.put(results[1])
    left = {name for name in ages if (cache_dir("results").parent / name).exists()}
    protected = {"training/in-use.npz", "results/logit-lens/being-written.partial"}
    assert left == protected | {"facts/mine.json", "models/mine.safetensors"}
    assert kept(results[0]) is None and kept(results[1]) is not None


def test_what_is_read_is_not_the_next_to_go(tiny, small):
    second(tiny("llama"), 0)
    files = list(cache_dir("moments").iterdir())
    for file in files:
        os.utime(file, (1, 1))
    second(tiny("llama"), 0)
    assert sum(file.stat().st_mtime > 1 for file in files) == 1  # the texts were not needed


def test_a_full_disk_loses_no_moment(tiny, small, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        found = second(tiny("llama"), 0)
    assert "not kept: No space left on device" in caplog.text
    assert list(cache_dir("moments").iterdir()) == []
    np.testing.assert_array_equal(second(tiny("llama"), 0), found)


def test_no_limit_hides_what_ships(results, monkeypatch):
    monkeypatch.setattr(store, "LIMIT", 0)
    store.put(results[0])
    assert kept(results[0]) is None
    assert stored(Params()).findings


WRITER = """
import dataclasses, sys
from interp_core import store
from interp_core.papers import logit_lens
from interp_core.question import stored
result = stored(logit_lens.Params())
logit_lens.LogitLens.to_bytes = lambda self: b"x" * 500
print(flush=True)
input()
for i in range(150):
    params = dataclasses.replace(result.params, prompt=f"{sys.argv[1]} {i}")
    store.put(dataclasses.replace(result, params=params))
"""


def test_processes_near_the_limit_do_not_disturb_each_other(cache):
    """Each writes while the others evict: nothing that is being written is taken away."""
    environment = {**os.environ, "LENSBOOK_STORE_BYTES": "5000"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(3)
    ]
    for writer in writers:  # all have imported what they need before the first one writes
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    said = []
    for writer in writers:
        said.append(writer.communicate(timeout=120)[1])
        assert writer.returncode == 0, said[-1]
    assert said == [""] * 3
    files = [file for file in (cache / "results").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 5_000 + 3 * 500
    assert all(file.suffix == ".npz" for file in files)
