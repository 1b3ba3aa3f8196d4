"""Results on disk, by content: the same parameters on the same weights are computed once.

Two layers: one in the user's cache, written atomically, checked when read and evicted by size;
and a read-only one that ships with the package, so that pages have results before any model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from interp_core.paths import SHIPPED, cache_dir
from interp_core.results import Result

R = TypeVar("R", bound=Result)

_log = logging.getLogger("lensbook")

LIMIT = int(os.environ.get("LENSBOOK_STORE_BYTES", 1 << 30))
"""How many bytes of results are kept; the least recently read go first."""


def key(kind: type[Result], params: Any, fingerprint: str) -> str:
    """Return the name under which a result is kept.

    ``fingerprint`` is the model's (weights and precision), for kinds that depend on it; the model's
    name in ``params`` is left out, since the same weights may go by several names.
    """
    fingerprint = fingerprint if kind.reads_model else ""
    fields = {k: v for k, v in dataclasses.asdict(params).items() if k != "model"}
    content = json.dumps([kind.paper, kind.version, fields, fingerprint], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def get(kind: type[R], params: Any, fingerprint: str) -> R | None:
    """Return the kept result, or None. A damaged entry is set aside and not returned."""
    name = f"{key(kind, params, fingerprint)}.npz"
    for folder in (_folder(kind), SHIPPED / "results" / kind.paper):
        path = folder / name
        if not path.exists():
            continue
        try:
            result = kind.from_bytes(path.read_bytes())
        except (ValueError, OSError) as error:
            _set_aside(path, error)
            continue
        if folder == _folder(kind):
            os.utime(path)
        return result
    return None


def put(result: Result, folder: Path | None = None) -> None:
    """Keep a result, whole or not at all; when the disk is full, say so and go on without."""
    folder = folder or _folder(type(result))
    name = key(type(result), result.params, result.provenance.model.fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            try:
                file.write(result.to_bytes())
                file.flush()
                os.chmod(file.name, 0o644)  # temporary files are their owner's alone
                os.replace(file.name, folder / f"{name}.npz")
            finally:
                Path(file.name).unlink(missing_ok=True)
        _evict()
    except OSError as error:
        _log.warning("the result was not kept: %s", error.strerror or error)


def _folder(kind: type[Result]) -> Path:
    return cache_dir("results") / kind.paper


def _set_aside(path: Path, error: Exception) -> None:
    _log.warning("a kept result is damaged and will be computed again: %s", error)
    try:
        path.rename(path.with_suffix(".damaged"))
    except OSError:
        _log.warning("%s could not be set aside", path.name)


def _evict() -> None:
    files = [(f.stat(), f) for f in cache_dir("results").rglob("*") if f.is_file()]
    excess = sum(stat.st_size for stat, _ in files) - LIMIT
    for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime):
        if excess <= 0:
            return
        file.unlink(missing_ok=True)
        excess -= stat.st_size
