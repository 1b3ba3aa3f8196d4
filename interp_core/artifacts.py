"""What a reader brings or makes, beside results: sets of facts, texts, lenses.

Each is kept in the cache under the digest of its content, and parameters name it by that: a link
then describes an analysis wholly, and can name no path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

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
