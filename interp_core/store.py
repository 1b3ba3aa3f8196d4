"""Results on disk, by content: the same parameters on the same model are computed once.

Two layers: one in the user's cache, written atomically, checked when read and evicted by size;
and a read-only one that ships with the package, so that pages have results before any model.
Whatever else can be computed again is kept in the same way, and counts against the same limit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from interp_core import archive
from interp_core.params import OnModel, computed_by
from interp_core.paths import SHIPPED, cache_dir, open_regular, whole
from interp_core.results import Result

R = TypeVar("R", bound=Result)
T = TypeVar("T")

_log = logging.getLogger("lensbook")

LIMIT = int(os.environ.get("LENSBOOK_STORE_BYTES", 1 << 30))
"""How many bytes are kept of what can be computed again; the least recently used go first."""

_KEPT = ("results", "moments", "texts", "copying", "training", "digests", "activations")
"""Folders of the cache that the limit is over; models and sets of facts are their owner's."""

_IN_USE = 3600
"""Seconds for which a file that is being written, or a training's checkpoint, is left alone."""


def key(kind: type[Result], params: Any, fingerprint: str) -> str:
    """Return the name under which a result is kept.

    ``fingerprint`` is the model's, for questions that are asked of one; its name in ``params`` is
    left out, since the same model may go by several names.
    """
    fingerprint = fingerprint if isinstance(params, OnModel) else ""
    return digest([kind.identity(), computed_by(params), fingerprint])


def get(kind: type[R], params: Any, fingerprint: str) -> R | None:
    """Return the kept result, or None. What is not what its name says is set aside."""
    name = key(kind, params, fingerprint)

    def parse(file: IO[bytes]) -> R:
        result = kind.from_bytes(file.read())
        if _key_of(result) != name:
            raise ValueError("it answers another question")
        return result

    if (kept := read(_folder(kind) / f"{name}.npz", parse)) is not None:
        return kept
    try:
        return _parsed(SHIPPED / "results" / kind.paper / f"{name}.npz", parse)
    except (OSError, ValueError) as error:
        _log.warning("a shipped result is damaged: %s", error)
        return None


def put(result: Result, folder: Path | None = None) -> None:
    """Keep a result in the cache, or in ``folder``; see :func:`write`."""
    file = (folder or _folder(type(result))) / f"{_key_of(result)}.npz"
    write(file, lambda opened: opened.write(result.to_bytes()))


def measured(
    folder: str, of: Mapping[str, Any], axes: str, compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return an array that is computed once, and kept in ``folder`` of the cache.

    Args:
        folder: One of those that are evicted.
        of: Everything that decides its numbers, as JSON: kept with it, and compared.
        axes: As of :func:`archive.check_axes`.
        compute: Called when it is not there.
    """
    name = digest(of)

    def parse(file: IO[bytes]) -> np.ndarray:
        header, arrays = archive.unpack(file)
        if digest(header) != name:
            raise ValueError("it is of something else")
        archive.check_axes(arrays, {"array": axes})
        return arrays["array"]

    file = cache_dir(folder) / f"{name}.npz"
    if (kept := read(file, parse)) is not None:
        return kept
    array = compute()
    write(file, lambda opened: archive.pack(opened, of, {"array": array}, compress=False))
    return array


def read(file: Path, parse: Callable[[IO[bytes]], T]) -> T | None:
    """Return what ``parse`` makes of a kept file, or None; what it refuses is set aside.

    ``parse`` raises ValueError for what is not what its name says.
    """
    try:
        found = _parsed(file, parse)
    except ValueError as error:
        _log.warning("%s is damaged, and will be computed again: %s", file.name, error)
        _set_aside(file)
        return None
    except OSError as error:
        _log.warning("%s could not be read: %s", file.name, error.strerror or error)
        return None
    if found is not None:
        with suppress(OSError):
            os.utime(file)
    return found


def write(file: Path, dump: Callable[[IO[bytes]], Any]) -> None:
    """Keep what ``dump`` writes, whole or not at all, and evict what has become too much.

    When the disk is full, it is said, and the program goes on without.
    """
    try:
        with whole(file) as opened:
            dump(opened)
    except OSError as error:
        _log.warning("%s was not kept: %s", file.name, error.strerror or error)
    else:
        _evict()


def _parsed(file: Path, parse: Callable[[IO[bytes]], T]) -> T | None:
    try:
        with open_regular(file, archive.LARGEST) as opened:
            return parse(opened)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _key_of(result: Result) -> str:
    return key(type(result), result.params, result.provenance.model.fingerprint)


def digest(content: Any) -> str:
    """Return the name under which something is kept that JSON describes."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def array_digest(array: np.ndarray) -> str:
    """Return the digest of an array's content, to be a part of what a name is made of."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _folder(kind: type[Result]) -> Path:
    return cache_dir("results") / kind.paper


def _set_aside(file: Path) -> None:
    try:
        file.rename(file.with_suffix(".damaged"))
    except OSError:
        _log.warning("%s could not be set aside", file.name)


def _evict() -> None:
    """Remove what was least recently used, until the rest is within the limit.

    Other processes do the same at the same time: what is gone already is no error.
    """
    files: list[tuple[float, int, Path]] = []
    for file in (file for name in _KEPT for file in cache_dir(name).rglob("*")):
        with suppress(FileNotFoundError):
            status = file.lstat()
            if stat.S_ISREG(status.st_mode):
                files.append((status.st_mtime, status.st_size, file))
    excess = sum(size for _, size, _ in files) - LIMIT
    for used, size, file in sorted(files):
        if excess <= 0:
            return
        fragile = file.suffix == ".partial" or file.parent.name == "training"
        if fragile and time.time() - used < _IN_USE:
            continue
        with suppress(OSError):
            file.unlink(missing_ok=True)
            excess -= size
