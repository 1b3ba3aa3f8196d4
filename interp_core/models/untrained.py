"""Models that learnt nothing: the architecture and tokenizer of one that ships, weights drawn at random.

What they show is made by the architecture, the tokenizer or the method, not learnt. Matrices are drawn with the standard
deviation with which training began (SmolLM2's ``initializer_range`` is one over the root of its width), from a uniform
distribution, whose values are the same on every processor; norms are 1 and biases 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from interp_core.models import bundled
from interp_core.models.bundled import ONE_LAYER
from interp_core.models.info import DEFAULT, UNTRAINED, UNTRAINED_ONE_LAYER
from interp_core.models.packaged import PACKAGED, fetch
from interp_core.paths import cache_dir, partial_folder, settle
from interp_core.runtime import report

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Untrained:
    """A model whose weights are drawn at random."""

    like: str
    """The model whose architecture and tokenizer it has."""
    fetch: Callable[[], Path]
    """Returns that model's folder."""
    spread: float
    """The standard deviation of a matrix's numbers."""
    size: str

    @property
    def source(self) -> str:
        """Where it comes from."""
        return f"{self.like}'s architecture, weights drawn at random (seed 0)"


DRAWN = {
    UNTRAINED: Untrained(DEFAULT, lambda: fetch(PACKAGED[DEFAULT]), 576**-0.5, "0.3 GB"),
    UNTRAINED_ONE_LAYER: Untrained(ONE_LAYER, lambda: bundled.folder(ONE_LAYER), 0.02, "1 MB"),
}
"""By name."""


def folder(name: str) -> Path:
    """Return where it is once drawn, or will be."""
    return cache_dir("models") / name


def draw(name: str) -> Path:
    """Return its folder, drawn when missing; the model it is like is fetched for its architecture.

    Raises:
        ConnectionError: When the model it is like is missing and cannot be fetched.
        OSError: When the disk is full.
    """
    target, drawn = folder(name), DRAWN[name]
    if target.exists():
        return target
    model = drawn.fetch()
    report("drawing weights", 0, 0)
    with partial_folder(target.parent) as partial:
        for file in model.glob("*.json"):
            shutil.copy(file, partial)
        save_file(_drawn(model / _WEIGHTS, drawn.spread), partial / _WEIGHTS)
        return settle(partial, target)


def _drawn(weights: Path, spread: float) -> dict[str, np.ndarray]:
    """Return tensors of the same names and shapes, in float16."""
    generator, bound = np.random.default_rng(0), np.float32(3**0.5 * spread)
    drawn = {}
    with safe_open(weights, "numpy") as file:
        for name in sorted(file.keys()):
            shape = file.get_slice(name).get_shape()
            if len(shape) == 1:
                drawn[name] = np.full(shape, not name.endswith("bias"), np.float16)
                continue
            values = (2 * generator.random(shape, np.float32) - 1) * bound
            drawn[name] = values.astype(np.float16)
    return drawn
