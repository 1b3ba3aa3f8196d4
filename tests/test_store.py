"""Results on disk: whole or not at all, checked when read, bounded in size; and those that ship."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest

from interp_core import question, store
from interp_core.models import catalogue
from interp_core.models.info import SECOND, UNTRAINED
from interp_core.papers import logit_lens
from interp_core.papers.induction_heads import TrainingParams
from interp_core.papers.logit_lens import Averages, LogitLens, Params, PromptsParams
from interp_core.paths import SHIPPED, cache_dir
from interp_core.question import obtain, on, question_of, stored

PARAMS = Params(prompt="the cat\x00 <b> 👩‍👩‍👧", watch=("o", "e"), top_k=3, layers="0:2")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def result(tiny):
    return logit_lens.run(tiny("gpt2"), PARAMS, findings=False)


def entries() -> list[str]:
    return sorted(f.name for f in cache_dir("results").rglob("*") if f.is_file())


def kept(result) -> LogitLens | None:
    return store.get(LogitLens, result.params, result.provenance.model.fingerprint)


def path_of(result):
    return cache_dir("results") / "logit-lens" / entries()[0]


def same(one: LogitLens, other: LogitLens) -> None:
    assert one.frames.keys() == other.frames.keys()
    for name, frame in one.frames.items():
        pd.testing.assert_frame_equal(frame, other.frames[name], check_exact=True)
    assert one.params == other.params and one.provenance == other.provenance
    assert one.summary == other.summary and one.vocabulary == other.vocabulary


def test_a_result_comes_back_as_it_was(result):
    assert kept(result) is None
    store.put(result)
    found = kept(result)
    same(result, found)
    same(result, LogitLens.from_bytes(result.to_bytes()))
    assert len(entries()) == 1


def test_keys_tell_apart_what_gives_other_numbers(result, monkeypatch):
    key = store.key(LogitLens, PARAMS, "weights-float32")
    others = [
        store.key(LogitLens, Params(prompt="the dog"), "weights-float32"),
        store.key(LogitLens, PARAMS, "weights-float16"),
        store.key(Averages, PromptsParams(), "weights-float32"),
    ]
    monkeypatch.setattr(LogitLens, "version", LogitLens.version + 1)
    others.append(store.key(LogitLens, PARAMS, "weights-float32"))
    assert len({key, *others}) == 5
    monkeypatch.undo()
    for how in ({"model": "another-name"}, {"skip_first": 9}):
        other = dataclasses.replace(PARAMS, **how)
        assert store.key(LogitLens, other, "weights-float32") == key


def test_obtain_computes_once(tiny, monkeypatch):
    first = obtain(tiny("gpt2"), PARAMS)
    monkeypatch.setattr(question, "run", lambda *_: pytest.fail("computed again"))
    same(first, obtain(tiny("gpt2"), PARAMS))
    read = obtain(tiny("gpt2"), dataclasses.replace(PARAMS, skip_first=3))
    assert read.params.skip_first == 3
    np.testing.assert_array_equal(read.kl, first.kl)


def test_obtain_computes_anew_when_asked_to(tiny, monkeypatch):
    obtain(tiny("gpt2"), PARAMS)
    counted = []
    compute = question.run
    monkeypatch.setattr(question, "run", lambda *each: counted.append(1) or compute(*each))
    obtain(tiny("gpt2"), PARAMS, fresh=True)
    obtain(tiny("gpt2"), PARAMS)
    assert counted == [1]


def damage(data: bytes, how: str) -> bytes:
    half = len(data) // 2
    return {
        "empty": b"",
        "truncated": data[:half],
        "garbage": os.urandom(1000),
        "garbage in a zip's clothes": data[:4] + os.urandom(1000),
        "one byte off": data[:half] + bytes([data[half] ^ 0xFF]) + data[half + 1 :],
        "other paper": data.replace(b"logit-lens", b"tuned-lens"),
        "html": b"<html>404</html>",
        "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    }[how]


HOW = [
    "empty",
    "truncated",
    "garbage",
    "garbage in a zip's clothes",
    "one byte off",
    "html",
    "pickle",
]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_entry_is_set_aside(result, how, caplog):
    store.put(result)
    path = path_of(result)
    path.write_bytes(damage(path.read_bytes(), how))
    with caplog.at_level(logging.WARNING, "lensbook"):
        assert kept(result) is None
    assert "damaged" in caplog.text and not path.exists()
    assert entries() == [path.with_suffix(".damaged").name]
    store.put(result)
    same(result, kept(result))


def test_any_flipped_byte_is_noticed_or_harmless(result):
    data = result.to_bytes()
    noticed = 0
    for at in np.linspace(0, len(data) - 1, 1500).astype(int):
        flipped = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            found = LogitLens.from_bytes(flipped)
        except ValueError:
            noticed += 1
        else:
            same(result, found)
    assert noticed > 1000


def test_another_version_is_not_read(result, monkeypatch):
    data = result.to_bytes()
    monkeypatch.setattr(LogitLens, "version", 99)
    with pytest.raises(ValueError, match=r"it is of .*logit-lens.*version"):
        LogitLens.from_bytes(data)
    with pytest.raises(ValueError, match=r"not a readable logit-lens result: it is of .*'lens'"):
        Averages.from_bytes(data)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", [(os, "replace"), (tempfile, "NamedTemporaryFile")])
def test_a_full_disk_keeps_the_result_usable(tiny, where, monkeypatch, caplog):
    monkeypatch.setattr(*where, full)
    with caplog.at_level(logging.WARNING, "lensbook"):
        found = obtain(tiny("gpt2"), PARAMS)
    assert len(found.frames["grid"]) == found.top_ids.size
    assert "not kept: No space left on device" in caplog.text
    assert entries() == []
    monkeypatch.undo()


def test_an_unwritable_cache_keeps_the_result_usable(tiny, cache, caplog):
    (cache / "results").mkdir()
    (cache / "results" / "logit-lens").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "lensbook"):
        found = obtain(tiny("gpt2"), PARAMS)
    assert found.summary["n_tokens"] == len(found.tokens) and "not kept" in caplog.text


def test_what_ships_is_read_without_a_cache(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "file"))
    assert stored(Params()).summary["final_token"] == " Paris"
    assert stored(Params(prompt="Never seen")) is None
    told = [each.message for each in caplog.records]
    assert len(told) == len(set(told)) and all("set LENSBOOK_CACHE" in each for each in told)


def test_the_oldest_goes_first(result, tiny, monkeypatch):
    results = [
        logit_lens.run(tiny("gpt2"), Params(prompt=f"cat {i}", top_k=2), findings=False)
        for i in range(4)
    ]
    size = max(len(r.to_bytes()) for r in results)
    monkeypatch.setattr(store, "LIMIT", 3 * size + size // 2)
    for age, r in enumerate(results[:3]):
        store.put(r)
        name = store.key(LogitLens, r.params, r.provenance.model.fingerprint)
        os.utime(cache_dir("results") / "logit-lens" / f"{name}.npz", (age + 1, age + 1))
    assert kept(results[0]) is not None  # now the one read last
    store.put(results[3])
    assert [kept(r) is not None for r in results] == [True, False, True, True]


def test_a_reader_never_sees_half_an_entry(result, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LogitLens, "to_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put(result)
    assert entries() == [] and kept(result) is None


@pytest.mark.parametrize("name", [None, *logit_lens.PRESETS])
def test_presets_ship_with_findings(name):
    params = logit_lens.PRESETS.get(name, Params())
    found = stored(params)
    assert found is not None and found.params == params
    assert {"last_row", "kl_monotone", "crystallisation"} <= {f.id for f in found.findings}
    assert set(found.frames) == {
        "grid",
        "cells",
        "tokens",
        "watched",
        "attribution",
        "layers",
        "averages",
        "averages_prose",
    }
    assert entries() == []


def test_nothing_else_ships():
    folder = SHIPPED / "results" / "logit-lens"
    asked = [PromptsParams(), PromptsParams(text="prose")]
    wanted = [Params(), *logit_lens.PRESETS.values(), *asked]
    wanted += [*on(SECOND, *asked), *on(UNTRAINED, *asked)]
    wanted.append(PromptsParams(text="shuffled"))
    assert set(wanted) == set(logit_lens.PAPER.shipped)
    expected = {
        store.key(question_of(each)[1].result, each, catalogue.find(each.model).fingerprint)
        for each in wanted
    }
    assert {file.stem for file in folder.iterdir()} == expected


@pytest.mark.parametrize("name", ["A fact", "A chat turn"])
def test_shipped_numbers_are_what_is_computed(model, name):
    shipped = stored(logit_lens.PRESETS[name])
    fresh = logit_lens.run(model, logit_lens.PRESETS[name], findings=False)
    assert fresh.tokens == shipped.tokens
    np.testing.assert_array_equal(fresh.final_top, shipped.final_top)
    np.testing.assert_allclose(fresh.top_probs, shipped.top_probs, atol=1e-3)
    np.testing.assert_allclose(np.exp(fresh.log_prob), np.exp(shipped.log_prob), atol=1e-3)
    np.testing.assert_allclose(fresh.entropy, shipped.entropy, atol=1e-2)
    np.testing.assert_allclose(fresh.kl, shipped.kl, atol=1e-2)


def test_presets_need_no_model_and_no_mlx_work():
    code = (
        "from interp_core.papers import logit_lens\n"
        "from interp_core.question import stored\n"
        "import sys, threading\n"
        "r = stored(logit_lens.PRESETS['A fact'])\n"
        "print(r.summary['final_token'], [t.name for t in threading.enumerate()],"
        " 'mlx_lm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Paris ['MainThread'] False"


def test_parameters_that_say_not_to_resume_are_computed_so(monkeypatch):
    asked = []
    shipped = stored(TrainingParams())
    monkeypatch.setattr(question, "run", lambda _, params: asked.append(params.resume) or shipped)
    obtain(None, TrainingParams(resume=False))
    obtain(None, TrainingParams(), fresh=True)
    assert asked == [False, True]
    assert obtain(None, TrainingParams()).params.resume and len(asked) == 2
