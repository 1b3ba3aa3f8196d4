"""Where Lensbook keeps what it made: one folder, movable by ``LENSBOOK_CACHE``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import platformdirs

SHIPPED = Path(__file__).parent / "data"
"""Prompts and presets' results that come with the package; read only."""


def cache_dir(name: str) -> Path:
    """Return the folder ``name`` of the user's cache, made when missing."""
    root = os.environ.get("LENSBOOK_CACHE") or platformdirs.user_cache_dir("lensbook")
    folder = Path(root).expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
