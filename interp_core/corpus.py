"""Texts to read and to train on: those at hand without a network, and those a reader brings.

A corpus is documents, and is split by them. What is measured is measured on held-out text that stands
nowhere in what was trained on; curves along a training are on all that is held out.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from interp_core.artifacts import NAME, Artifacts
from interp_core.params import ParameterError
from interp_core.paths import SHIPPED, open_regular
from interp_core.tokens import Tokenizer

MANUAL = "manual.txt.gz"
"""All topics of Python 3.11.7's ``pydoc``, one after another; their licence is beside them. They ship
with Lensbook, since every release of Python brings others, and numbers would differ with them."""

TEXTS = "texts.json"
"""Documents that were written for Lensbook, of two kinds: ``prose`` and ``code``."""

Documents = tuple[str, ...]

CORPUS_NAME = f"manual|prose|code|{NAME}"
"""The pattern of what a parameter may call a corpus that needs no model."""

HUB = "hf:"
"""What the name of a dataset on the Hugging Face hub begins with, on the command line."""

_KEPT: Artifacts[Documents] = Artifacts(
    "corpus",
    ".json",
    TypeAdapter(Documents).validate_json,
    "manual, prose, code, or a file or folder read here on the command line or the page",
)
_LARGEST, _DOCUMENTS = 200_000_000, 200_000
_SUFFIXES = (".txt", ".md", ".rst", ".py", ".json", ".jsonl", ".parquet")
_HUB_SUFFIXES = (".txt", ".json", ".jsonl", ".parquet")
"""Of a dataset's own files on the hub; the others tell of it, as its card does, or load it."""
_PARAGRAPH = "\n\n"
_PIECE = 4_000
"""Characters of the documents that a single text file is cut into."""
_TITLE = re.compile(r"\n(?=[^\n]+\n[*=]{3,}\n)")


def manual() -> str:
    """Return the Python manual that ships."""
    return gzip.decompress((SHIPPED / MANUAL).read_bytes()).decode()


@cache
def load(name: str) -> Documents:
    """Return a corpus: ``manual``, ``prose``, ``code``, or one that was read on this machine.

    Raises:
        ParameterError: When this machine never read it.
    """
    if name == "manual":
        return tuple(dict.fromkeys(topic.strip() for topic in _TITLE.split(manual())))
    if name in ("prose", "code"):
        return tuple(json.loads((SHIPPED / TEXTS).read_text())[name])
    return _KEPT.load(name)


def read(path: Path) -> str:
    """Read a reader's text, keep it, and return the name that parameters give it.

    Accepts a text file, which is cut into documents at blank lines; JSON (a list of texts, or of
    records with ``text``), JSON lines and Parquet with a column ``text``; a folder of these; and
    ``hf:owner/name``, a dataset on the Hugging Face hub, of which files of the last three kinds
    and ``.txt`` are fetched.

    Raises:
        ParameterError: When it is none of these, or holds no text.
    """
    try:
        wanted = _files(path)
        _check_size(sum(file.stat().st_size for file in wanted))
        alone = len(wanted) == 1
        found = [text for file in wanted for text in _documents(file, alone=alone)]
    except OSError as error:
        raise ParameterError(f"text: {path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"text: {path.name}: {str(error)[:200]}") from None
    documents = list(dict.fromkeys(text for text in found if text.strip()))
    if not documents:
        accepted = ", ".join(_SUFFIXES)
        raise ParameterError(f"text: {path.name} holds no text; accepted: files of {accepted}")
    return _KEPT.keep(json.dumps(documents[:_DOCUMENTS]).encode())


def _files(path: Path) -> list[Path]:
    """Return the files of text that a path names, in order."""
    if str(path).startswith(HUB):
        folder, suffixes = _fetched(str(path).removeprefix(HUB)), _HUB_SUFFIXES
    elif path.is_dir():
        folder, suffixes = path, _SUFFIXES
    else:
        return [path]
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in suffixes and f.is_file())


def _fetched(name: str) -> Path:
    """Return a folder with the files of a dataset on the hub, fetched when they are not there.

    Raises:
        ValueError: When they cannot be fetched; when they are too large, and then none is.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    try:
        commit = HfApi().dataset_info(name).sha
        tree = HfApi().list_repo_tree(name, repo_type="dataset", revision=commit, recursive=True)
        sizes = {each.path: each.size for each in tree if isinstance(each, RepoFile)}
    except Exception as error:  # the hub's own kinds, and those of the network below it
        raise ValueError(f"it could not be looked up: {error}") from None
    _check_size(sum(size for file, size in sizes.items() if file.endswith(_HUB_SUFFIXES)))
    patterns = [f"*{suffix}" for suffix in _HUB_SUFFIXES]
    try:
        folder = snapshot_download(
            name, repo_type="dataset", revision=commit, allow_patterns=patterns
        )
    except Exception as error:
        raise ValueError(f"it could not be fetched: {error}") from None
    return Path(folder)


def _check_size(size: int) -> None:
    if size > _LARGEST:
        megabytes = f"{size / 10**6:,.0f} MB of text"
        raise ValueError(f"it has {megabytes}; accepted: at most {_LARGEST // 10**6} MB")


def _documents(file: Path, *, alone: bool) -> Iterator[str]:
    with open_regular(file, _LARGEST) as opened:
        content = opened.read()
    match file.suffix.lower():
        case ".parquet":
            yield from _texts(pd.read_parquet(io.BytesIO(content), columns=["text"])["text"])
        case ".json":
            yield from _texts(json.loads(content))
        case ".jsonl":
            yield from _texts(json.loads(line) for line in content.splitlines() if line.strip())
        case _:
            text = content.decode()
            yield from _pieces(text) if alone else [text]


def _texts(records: Iterable[Any]) -> Iterator[str]:
    if isinstance(records, dict | str | int | float | None):
        raise ValueError("it is no list of texts or of records")
    for i, record in enumerate(records):
        text = record.get("text") if isinstance(record, dict) else record
        if not isinstance(text, str):
            raise ValueError(f"record {i} is no text, and has none under the key 'text'")
        yield text.encode(errors="replace").decode()


def _pieces(text: str) -> Iterator[str]:
    piece = ""
    for block in re.split(r"(?<=\n)\s*\n", text):
        piece += block + "\n"
        if len(piece) >= _PIECE:
            yield piece.strip()
            piece = ""
    if piece.strip():
        yield piece.strip()


def split(documents: Documents, share: float = 0.1) -> tuple[Documents, Documents]:
    """Return the documents to train on, and those held out: about ``share`` of them, at least one.

    Which are held out depends on the documents alone.

    Raises:
        ParameterError: When there are fewer than two.
    """
    if len(documents) < 2:
        raise ParameterError("corpus: it is one document; accepted: at least two, to hold one out")
    ordered = sorted(documents, key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = max(1, round(share * len(ordered)))
    return tuple(ordered[held_out:]), tuple(ordered[:held_out])


def held_out(documents: Documents, share: float = 0.1) -> Documents:
    """Return what :func:`split` holds out, less the paragraphs that stand in what is trained on, too.

    Documents of one collection repeat each other: 44% of a manual's held-out topics did.

    Raises:
        ParameterError: When there are fewer than two documents, or nothing is left.
    """
    trained, rest = split(documents, share)
    known = {part.strip() for text in trained for part in text.split(_PARAGRAPH)}
    kept = (
        _PARAGRAPH.join(part for part in text.split(_PARAGRAPH) if part.strip() not in known)
        for text in rest
    )
    if found := tuple(text for text in kept if text.strip()):
        return found
    raise ParameterError("corpus: all that is held out stands in what is trained on, too")


def windows(tokenizer: Tokenizer, documents: Documents, length: int) -> np.ndarray:
    """Return the documents' ids one after another, cut into windows [window, length], int32.

    What the tokenizer has between documents stands in front of each; the last tokens, which fill no
    window, are left out.
    """
    front = tokenizer.front("auto", auto="document")
    ids = [i for text in documents for i in (*front, *tokenizer.encode(text, bos=False))]
    return cut(ids, length)


def cut(ids: list[int], length: int) -> np.ndarray:
    """Return ids cut into windows [window, length], int32; the last ones, which fill none, are left out."""
    return np.array(ids[: len(ids) // length * length], np.int32).reshape(-1, length)


def openings(tokenizer: Tokenizer, documents: Documents, length: int) -> list[list[int]]:
    """Return the first ids of each document, ``length`` at most.

    What the tokenizer has between documents stands in front, and counts.
    """
    front = tokenizer.front("auto", auto="document")
    return [[*front, *tokenizer.encode(text, bos=False)][:length] for text in documents]
