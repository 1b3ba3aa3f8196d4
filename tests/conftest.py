"""Shared fixtures: the default model, tiny checkpoints of every family, and a cache of their own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Tests keep their results and their list of models to themselves, but share converted models.
from interp_core.models.catalogue import DEFAULT
from interp_core.models.packaged import PACKAGED

CONVERTED = PACKAGED[DEFAULT].folder
HERE = [model.folder for model in PACKAGED.values() if model.folder.exists()]
os.environ["LENSBOOK_CACHE"] = tempfile.mkdtemp(prefix="lensbook-tests-")
for folder in HERE:
    PACKAGED[folder.name].folder.symlink_to(folder)

REFERENCE = Path(__file__).parent / "reference"
CHECKPOINTS = sorted(path.parent.name for path in REFERENCE.glob("*/config.json"))


@pytest.fixture(scope="session")
def model():
    """The default model."""
    from interp_core import load_model

    return load_model()


@pytest.fixture(scope="session")
def tiny():
    """Load a tiny reference checkpoint by name, once."""
    from interp_core import load_model

    loaded = {}

    def load(name: str):
        if name not in loaded:
            loaded[name] = load_model(REFERENCE / name)
        return loaded[name]

    return load
