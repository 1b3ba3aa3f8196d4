"""Files that were made for one model: their cards, whether they fit it, and how readers bring them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from interp_core.artifacts import Artifacts, digest
from interp_core.models import safetensors_header
from interp_core.models.info import ModelInfo
from interp_core.params import ParameterError
from interp_core.paths import SHIPPED, open_regular

_LARGEST = 10_000
"""Characters of a card, at most."""


class OfModel(Protocol):
    """What every card says of the model."""

    @property
    def model(self) -> str:
        """Its name."""

    @property
    def model_sha256(self) -> str:
        """Its digest; empty where the file does not say."""

    @property
    def d_model(self) -> int:
        """Its width."""

    @property
    def n_layers(self) -> int:
        """Its layers; 0, as its width, where the file does not say."""


C = TypeVar("C", bound=OfModel)
T = TypeVar("T")


def described(opened: IO[bytes], size: int, kind: type[C]) -> tuple[C, dict[str, tuple[int, ...]]]:
    """Return the card of a safetensors file of ``size`` bytes, and its tensors' shapes by name.

    Raises:
        ValueError: When it is no such file, or has no such card.
    """
    metadata, shapes = safetensors_header.described(opened, size)
    text = metadata.get("card", "")
    if len(text) > _LARGEST:
        raise ValueError(f"its card has {len(text):,} characters; accepted: {_LARGEST:,}")
    try:
        return TypeAdapter(kind).validate_json(text), shapes
    except ValueError:
        raise ValueError("it has no card that says which model it is of") from None


def fits(card: OfModel, info: ModelInfo, name: str, made: str) -> None:
    """Check that what has this card is of the model.

    Args:
        card: Of the file.
        info: The model.
        name: What it is, as its parameter is called.
        made: How it came about: ``trained``, ``made``.

    Raises:
        ParameterError: When it is not; the message says which model it is of.
    """
    sizes = card.d_model, card.n_layers
    if any(sizes) and sizes != (info.d_model, info.n_layers):
        raise ParameterError(
            f"{name}: it is of {card.model}, of {card.n_layers} layers and width {card.d_model}; "
            f"{info.id} has {info.n_layers} layers and width {info.d_model}"
        )
    if card.model_sha256 and card.model_sha256 != info.sha256:
        raise ParameterError(
            f"{name}: it was {made} on other weights ({card.model}, {card.model_sha256[:12]}) than "
            f"those of {info.id} ({info.sha256[:12]}); accepted: a {name} of this model"
        )


def brought(path: Path, name: str, kept: Artifacts[Any], content: Callable[[Path], bytes]) -> str:
    """Keep what a reader brings, and return the name that parameters give it.

    Args:
        path: Of a file or folder.
        name: What it is, as its parameter is called.
        kept: Where it goes.
        content: Returns what is to be kept of the path.

    Raises:
        ParameterError: When it is no such thing; the message says what is wrong.
    """
    try:
        found = content(path)
        kept.parse(found)
        return kept.keep(found)
    except OSError as error:
        raise ParameterError(f"{name}: {path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{name}: {path.name}: {error}") from None


def labelled(
    kept: Artifacts[Any],
    about: Callable[[IO[bytes], int], tuple[OfModel, str]],
    model_sha256: str,
    n_layers: int,
) -> dict[str, str]:
    """Return what is kept on this machine and fits a model, by name, with words for each.

    Args:
        kept: Where it is.
        about: Returns a file's card and words for it, by its header alone.
        model_sha256: The model's digest.
        n_layers: The model's layers; 0 where they are not known, and then nothing fits.
    """
    found = {}
    for name in kept.names():
        try:
            with open_regular(kept.file(name), kept.largest) as file:
                card, words = about(file, os.fstat(file.fileno()).st_size)
        except (OSError, ValueError):  # damaged, or gone since
            continue
        if card.model_sha256 in ("", model_sha256) and card.n_layers in (0, n_layers) and n_layers:
            found[name] = words
    return found


@dataclass(frozen=True)
class Shelf(Generic[T]):
    """What ships of one kind, beside what is kept of it on this machine."""

    folder: str
    """Of the data that ship; its ``index.json`` has, by a model's digest, files and their digests."""
    kept: Artifacts[T]

    @property
    def index(self) -> dict[str, dict[str, dict[str, str]]]:
        """By a model's digest, and the name that it ships under: ``file`` and ``name``, its digest."""
        found: dict[str, dict[str, dict[str, str]]] = json.loads(
            (SHIPPED / self.folder / "index.json").read_text()
        )
        return found

    def of(self, model_sha256: str, name: str) -> T | None:
        """Return what ships under that name for a model, or None."""
        entry = self.index.get(model_sha256, {}).get(name)
        return None if entry is None else _parsed(self, entry["file"])

    def load(self, name: str) -> T:
        """Return what has that digest, whether it ships or is kept on this machine.

        Raises:
            ParameterError: When it is neither.
        """
        for entries in self.index.values():
            for entry in entries.values():
                if entry["name"] == name:
                    return _parsed(self, entry["file"])
        return self.kept.load(name)

    def ship(self, model_sha256: str, name: str, file: str, content: bytes) -> None:
        """Place a content among the data that ship, and write it into the index."""
        folder, entries = SHIPPED / self.folder, self.index
        (folder / file).write_bytes(content)
        entries.setdefault(model_sha256, {})[name] = {"file": file, "name": digest(content)}
        (folder / "index.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")


@lru_cache(maxsize=8)
def _parsed(shelf: Shelf[T], file: str) -> T:
    return shelf.kept.parse((SHIPPED / shelf.folder / file).read_bytes())
