"""What a reader brings or makes, beside results: sets of facts, texts, lenses.

Each is kept in the cache under the digest of its content, and parameters name it by that: a link
then describes an analysis wholly, and can name no path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from interp_core.params import ParameterError
from interp_core.paths import cache_dir, open_regular, whole

T = TypeVar("T")

NAME = "[0-9a-f]{16}"
"""The pattern of their names."""


@dataclass(frozen=True)
class Artifacts(Generic[T]):
    """One kind of them."""

    kind: str
    """Folder of the cache, and the parameter that names one."""
    suffix: str
    parse: Callable[[bytes], T]
    """Reads a content that was kept; raises ValueError when it is damaged."""
    accepted: str
    """What else the parameter accepts, for messages."""
    largest: int = 1 << 30
    """Bytes of a content, at most."""

    def file(self, name: str) -> Path:
        """Return where what has this name is kept, whether it is there or not."""
        return cache_dir(self.kind) / f"{name}{self.suffix}"

    def keep(self, content: bytes) -> str:
        """Keep a content, and return its name."""
        name = digest(content)
        with whole(self.file(name)) as file:
            file.write(content)
        return name

    def load(self, name: str) -> T:
        """Return what was kept under ``name``.

        Raises:
            ParameterError: When this machine never had it, or what is kept is something else.
        """
        return _load(self, name)

    def names(self) -> list[str]:
        """Return the names of all that is kept, the newest first."""
        files = cache_dir(self.kind).glob(f"*{self.suffix}")
        newest = sorted(((file.stat().st_mtime, file) for file in files), reverse=True)
        return [file.name.removesuffix(self.suffix) for _, file in newest]


def read_text(path: Path, kind: str, limit: int) -> str:
    """Return the text that a reader's file holds.

    Args:
        path: Of the file.
        kind: The parameter that it is for.
        limit: Bytes, at most.

    Raises:
        ParameterError: When it cannot be read, is too large, or is not text in UTF-8.
    """
    try:
        if path.is_file() and path.stat().st_size > limit:
            raise ParameterError(f"{kind}: {path.name} is over {limit // 10**6} MB")
        with open_regular(path, limit) as file:
            return file.read().decode()
    except OSError as error:
        raise ParameterError(f"{kind}: {path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ParameterError(f"{kind}: {path.name} is not text in UTF-8") from None
    except ValueError as error:
        raise ParameterError(f"{kind}: {path.name} cannot be read: {error}") from None


def read_json(path: Path, kind: str, limit: int, accepted: str) -> Any:
    """Return what a reader's JSON file holds.

    Args:
        path: Of the file.
        kind: The parameter that it is for.
        limit: Bytes, at most.
        accepted: What such a file holds, for messages.

    Raises:
        ParameterError: When it cannot be read, is too large, or is not JSON.
    """
    text = read_text(path, kind, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterError(f"{kind}: {path.name} is not JSON; accepted: {accepted}") from None


def digest(content: bytes) -> str:
    """Return the name of a content."""
    return hashlib.sha256(content).hexdigest()[:16]


@lru_cache(maxsize=8)
def _load(of: Artifacts[T], name: str) -> T:
    try:
        with open_regular(of.file(name), of.largest) as file:
            content = file.read()
        if digest(content) != name:
            raise ValueError("it is something else")
        return of.parse(content)
    except (OSError, ValueError):
        raise ParameterError(
            f"{of.kind}: {name!r} is not on this machine; accepted: {of.accepted}"
        ) from None
