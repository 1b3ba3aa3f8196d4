"""Texts from the hub, from folders, and by name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.hf_api import RepoFile, RepoFolder

from interp_core import artifacts, cli, corpus
from interp_core.papers.tuned_lens import EvaluateParams, TrainParams
from interp_core.params import ParameterError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    artifacts._load.cache_clear()
    corpus.load.cache_clear()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one dataset: files by path, those that were fetched, and sizes that differ."""
    folder = tmp_path / "snapshot"
    known = SimpleNamespace(files={}, sizes={}, asked=[])

    class Api:
        def dataset_info(self, name):
            if name != "owner/texts":
                raise OSError("404: no such dataset")
            return SimpleNamespace(sha="abc")

        def list_repo_tree(self, name, *, repo_type, revision, recursive):
            assert (name, repo_type, revision, recursive) == ("owner/texts", "dataset", "abc", True)
            yield RepoFolder(path="data", oid="0")
            for path, content in known.files.items():
                size = known.sizes.get(path, len(content))
                yield RepoFile(path=path, size=size, oid="0")

    def snapshot_download(name, *, repo_type, revision, allow_patterns):
        known.asked.append((name, repo_type, revision))
        items = huggingface_hub.utils.filter_repo_objects(
            known.files, allow_patterns=allow_patterns
        )
        for path in items:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(known.files[path])
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    known.folder = folder
    return known


def test_a_dataset_on_the_hub_is_read_without_its_card(hub):
    hub.files = {
        "README.md": "About this dataset.",
        "load.py": "print()",
        "data/b.jsonl": json.dumps({"text": "second"}),
        "data/a.txt": "first",
        "picture.png": "x",
    }
    hub.sizes = {"picture.png": 10**12, "README.md": 10**12}
    hub.folder.mkdir()
    (hub.folder / "README.md").write_text("Fetched by another program, earlier.")
    found = corpus.load(corpus.read(Path("hf:owner/texts")))
    assert found == ("first", "second")
    assert hub.asked == [("owner/texts", "dataset", "abc")]


def test_a_dataset_that_is_too_large_is_not_fetched(hub):
    hub.files = {"a.parquet": "", "b.json": "[]"}
    hub.sizes = {"a.parquet": 1_234_000_000, "b.json": 1_000_000}
    with pytest.raises(
        ParameterError, match=r"^text: texts: it has 1,235 MB of text; accepted: at most 200 MB$"
    ):
        corpus.read(Path("hf:owner/texts"))
    assert hub.asked == []


def test_a_dataset_that_is_not_there_says_so(hub):
    with pytest.raises(ParameterError, match="it could not be looked up: 404"):
        corpus.read(Path("hf:owner/none"))


def test_what_is_held_out_stands_nowhere_in_what_is_trained_on():
    shared = "Every topic has this paragraph."
    documents = tuple(f"Topic {n} begins.\n\n{shared}\n\nIt ends at {n}." for n in range(20))
    _, rest = corpus.split(documents)
    found = corpus.held_out(documents)
    assert len(found) == len(rest) == 2 and shared in rest[0]
    assert not any(shared in text for text in found)
    assert {text.split("\n\n")[0] for text in found} == {text.split("\n\n")[0] for text in rest}
    manual = corpus.load("manual")
    known = "\n".join(corpus.split(manual)[0])
    parts = [part for text in corpus.held_out(manual) for part in text.split("\n\n")]
    assert sum(len(part) for part in parts if part in known) < 0.03 * sum(map(len, parts))
    with pytest.raises(ParameterError, match="all that is held out stands"):
        corpus.held_out(("the same",) * 4)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (TrainParams, "corpus"),
        (EvaluateParams, "text"),
        (EvaluateParams, "lens"),
    ],
)
def test_what_a_parameter_accepts_is_a_name(tmp_path, monkeypatch, params, name):
    monkeypatch.chdir(tmp_path)
    accepted = {
        "corpus": ["model", "prose", "code", "0123456789abcdef"],
        "text": ["prose", "code", "manual"],
        "lens": ["shipped", "shipped-bias", "0123456789abcdef"],
    }[name]
    for value in accepted:
        (tmp_path / value).mkdir()
        assert not cli._is_file(params, name, value)
        assert cli._is_file(params, name, f"./{value}")
    assert cli._is_file(params, name, "hf:owner/texts")
    assert not cli._is_file(params, name, "nowhere.txt")
