"""Where Lensbook keeps what it made: one folder, movable by ``LENSBOOK_CACHE``."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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


@functools.cache
def shipped_digest(name: str) -> str:
    """Return the digest of a file that comes with the package, e.g. ``facts.json``."""
    return hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest()


@contextlib.contextmanager
def whole(file: Path) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: it appears under its name when the block has ended."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as partial:
        try:
            yield partial
            partial.flush()
            os.chmod(partial.name, 0o644)  # temporary files are their owner's alone
            os.replace(partial.name, file)
        finally:
            Path(partial.name).unlink(missing_ok=True)


@contextlib.contextmanager
def open_regular(file: Path, limit: int) -> Iterator[IO[bytes]]:
    """Open a file for reading; a pipe would make its reader wait for ever, a device never end.

    Raises:
        ValueError: When it is no regular file, or has more than ``limit`` bytes.
        OSError: When it is not there, or cannot be read.
    """
    try:
        with open(file, "rb", opener=_without_waiting) as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                raise ValueError(f"it is no regular file of at most {limit:,} bytes")
            yield opened
    except IsADirectoryError:
        raise ValueError("it is a folder") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` that lasts as long as the context, or its process.

    Its owner holds a lock on it, which ends with the process however that ends; what is found
    without one was left behind, and is removed first.
    """
    with alone(parent):
        for left in parent.glob(f"{_PARTIAL}*"):
            with contextlib.suppress(OSError):
                owner = _lock(left, fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
                os.close(owner)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PARTIAL))
        owner = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def settle(partial: Path, target: Path) -> Path:
    """Give a folder that is whole its name, unless another process has finished one first; return that."""
    try:
        os.replace(partial, target)
    except OSError:
        if not target.exists():
            raise
    return target


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with this folder, and keep others out meanwhile."""
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, flags: int = 0) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
