"""A model is told apart by its files: by all that changes a number, and by nothing it claims."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from conftest import REFERENCE

from interp_core import load_model
from interp_core.models import catalogue, fingerprint
from interp_core.papers.logit_lens import Params
from interp_core.paths import cache_dir
from interp_core.question import obtain

CAT = Params(prompt="the cat", top_k=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def one(tmp_path) -> Path:
    return shutil.copytree(REFERENCE / "llama", tmp_path / "one")


def change(folder: Path, file: str, **values) -> None:
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def add_jinja(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")


def other_vocabulary(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    assert '"the"' in text or '"t"' in text
    (folder / "tokenizer.json").write_text(text.replace('"t"', '"\u0101"', 1))


CHANGES = {
    "epsilon": lambda f: change(f, "config.json", rms_norm_eps=0.5),
    "rope": lambda f: change(f, "config.json", rope_parameters={"rope_theta": 7.0}),
    "a key of the future": lambda f: change(f, "config.json", twist=1),
    "tokenizer": other_vocabulary,
    "bos": lambda f: change(f, "tokenizer_config.json", bos_token="a"),
    "template": lambda f: change(f, "tokenizer_config.json", chat_template="x"),
    "template of its own": add_jinja,
    "quantisation": lambda f: change(f, "hf_quant_config.json", quantization={"quant_algo": "x"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_model_is_all_that_changes_a_number(what, one):
    before = fingerprint.model_sha256(one)
    weights = fingerprint.weights_sha256(one)
    CHANGES[what](one)
    assert fingerprint.model_sha256(one) != before
    assert fingerprint.weights_sha256(one) == weights


def test_a_model_is_not_where_it_came_from(one, tmp_path):
    before = fingerprint.model_sha256(one)
    change(one, "config.json", _name_or_path="/elsewhere", transformers_version="9", dtype="x")
    (one / "README.md").write_text("# A model")
    assert fingerprint.model_sha256(one) == before
    assert fingerprint.model_sha256(shutil.copytree(one, tmp_path / "two")) == before


def test_equal_weights_and_another_epsilon_share_no_result(one, tmp_path):
    two = shutil.copytree(one, tmp_path / "deeper" / "one")
    change(two, "config.json", rms_norm_eps=0.5)
    results = [obtain(load_model(f), CAT) for f in (one, two)]
    first, second = (result.provenance.model for result in results)
    assert first.weights_sha256 == second.weights_sha256
    assert first.fingerprint != second.fingerprint and first.id != second.id
    assert np.abs(results[0].entropy - results[1].entropy).max() > 1e-3


def test_a_folder_cannot_claim_to_be_another_model(tmp_path):
    shipped = catalogue.find(catalogue.DEFAULT)
    folder = shutil.copytree(REFERENCE / "llama", tmp_path / catalogue.DEFAULT)
    claimed = shipped.fingerprint.split("-")[0]
    (folder / "lensbook.json").write_text(json.dumps({"weights_sha256": claimed, "x": claimed}))
    info = load_model(folder).info
    assert info.fingerprint == load_model(REFERENCE / "llama").info.fingerprint
    assert info.fingerprint != shipped.fingerprint and info.weights == "float32"


def test_equal_tensors_are_equal_however_they_are_stored(one, tmp_path):
    expected = fingerprint.weights_sha256(one)
    tensors = list(mx.load(str(one / "model.safetensors")).items())
    two = tmp_path / "two"
    two.mkdir()
    for i, half in enumerate((tensors[1::2], tensors[::2])):
        mx.save_safetensors(str(two / f"model-{i}.safetensors"), dict(half), {"format": "mlx"})
    assert fingerprint.weights_sha256(two) == expected
    name, value = tensors[0]
    for changed in ({name: value + 1}, {name: value.T}, {name: value.view(mx.int32)}, {"x": value}):
        rest = {key: each for key, each in tensors if key != name}
        mx.save_safetensors(str(one / "model.safetensors"), {**rest, **changed})
        assert fingerprint.weights_sha256(one) != expected


def test_weights_are_digested_once_until_they_change(one, monkeypatch):
    before = fingerprint.weights_sha256(one)
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_tensors_sha256", lambda _: pytest.fail("digested again"))
        assert fingerprint.weights_sha256(one) == before
    file = one / "model.safetensors"
    status, data = file.stat(), file.read_bytes()
    file.write_bytes(data[:-4] + b"\0\0\0\1")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as big and as old as before
    assert fingerprint.weights_sha256(one) != before


def test_a_remembered_digest_of_other_files_is_not_believed(one, tmp_path):
    other = shutil.copytree(REFERENCE / "qwen3", tmp_path / "other")
    (theirs,) = remembered(other)
    (ours,) = remembered(one) - {theirs}
    expected = fingerprint.weights_sha256(one)
    for content in (theirs.read_bytes(), b"", b"[]", os.urandom(100)):
        ours.write_bytes(content)
        assert fingerprint.weights_sha256(one) == expected


def remembered(folder: Path) -> set[Path]:
    fingerprint.weights_sha256(folder)
    return set(cache_dir("digests").glob("*.json"))


def test_no_model_is_forgotten_when_several_are_remembered_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))
    names = [f"model-{n}" for n in range(60)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: catalogue.remember(catalogue.KnownModel(name, "", "")), names))
    assert set(names) <= set(catalogue.models())
