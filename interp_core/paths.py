"""Where Lensbook keeps what it made: one folder, movable by ``LENSBOOK_CACHE``."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs

SHIPPED = Path(__file__).parent / "data"
"""Prompts and presets' results that come with the package; read only."""

_PARTIAL = ".partial-"


def cache_dir(name: str) -> Path:
    """Return the folder ``name`` of the user's cache, made when missing.

    Where it cannot be made a warning says so, once. Then nothing is found there, and whoever writes
    to it gets an OSError; what ships with the package can still be read.
    """
    root = os.environ.get("LENSBOOK_CACHE") or platformdirs.user_cache_dir("lensbook")
    folder = Path(root).expanduser() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _warn(folder, error.strerror)
    return folder


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    logging.getLogger("lensbook").warning(
        "nothing can be kept in %s (%s): set LENSBOOK_CACHE to a folder that can be written",
        folder,
        reason,
    )


def save_array(file: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as partial:
        np.save(partial, array, allow_pickle=False)
    os.replace(partial.name, file)


def save_bytes(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as partial:
        partial.write(content)
    os.replace(partial.name, file)


@contextlib.contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` that lasts as long as the context, or its process.

    Its owner holds a lock on it, which ends with the process however that ends; what is found
    without one was left behind, and is removed first.
    """
    gate = _lock(parent)
    try:
        for left in parent.glob(f"{_PARTIAL}*"):
            with contextlib.suppress(OSError):
                owner = _lock(left, fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
                os.close(owner)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PARTIAL))
        owner = _lock(folder)
    finally:
        os.close(gate)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def _lock(folder: Path, flags: int = 0) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
