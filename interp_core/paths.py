"""Where Lensbook keeps what it made: one folder, movable by ``LENSBOOK_CACHE``."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

SHIPPED = Path(__file__).parent / "data"
"""Prompts and presets' results that come with the package; read only."""


def cache_dir(name: str) -> Path:
    """Return the folder ``name`` of the user's cache, made when missing."""
    root = os.environ.get("LENSBOOK_CACHE") or platformdirs.user_cache_dir("lensbook")
    folder = Path(root).expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
