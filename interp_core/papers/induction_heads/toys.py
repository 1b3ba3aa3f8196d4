"""The small attention-only models that are trained: their names, sizes and weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Toy = Literal["1", "2", "3", "1-smeared"]
"""Their number of layers, and whether keys are smeared."""

TOYS: dict[Toy, str] = {
    "1": "1 layer",
    "2": "2 layers",
    "3": "3 layers",
    "1-smeared": "1 layer, smeared keys",
}

D_VOCAB = D_MODEL = CONTEXT = 64
HEADS, D_HEAD = 4, 16
DEPTH = 3
"""Layers of the deepest toy."""
SEGMENT = CONTEXT // 2
"""Tokens of a segment of the test, which stands there twice."""
CLIP = 12
"""Tokens of the one short segment whose patterns are kept, and which stands there twice too."""


def depth(name: Toy) -> int:
    """Return the number of layers."""
    return int(name[0])


def shapes(name: Toy) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight, in the order of the flat vector.

    Matrices are applied from the right, and heads lie one after another in their columns.
    """
    table = (D_VOCAB, D_MODEL)
    found: dict[str, tuple[int, ...]] = {"embed": table, "positions": (CONTEXT, D_MODEL)}
    for layer in range(depth(name)):
        found |= {f"{layer}.gain": (D_MODEL,), f"{layer}.bias": (D_MODEL,)}
        found |= {f"{layer}.{part}": (D_MODEL, D_MODEL) for part in "qkvo"}
        if name.endswith("smeared"):
            found[f"{layer}.alpha"] = (HEADS,)
    return found | {"gain": (D_MODEL,), "bias": (D_MODEL,), "unembed": (D_MODEL, D_VOCAB)}


def size(name: Toy) -> int:
    """Return the number of weights."""
    return sum(math.prod(shape) for shape in shapes(name).values())


def start(name: Toy, seed: int) -> np.ndarray:
    """Return initial weights [size], float32: tables are normal, matrices uniform within 1/8.

    Positions begin as large as the normed stream that they are added to; much smaller ones take
    thousands of steps to grow, and previous-token heads wait for them.
    """
    rng = np.random.default_rng([seed, depth(name), name.endswith("smeared")])
    scale, parts = D_MODEL**-0.5, []
    for part, shape in shapes(name).items():
        if part in ("embed", "positions"):
            parts.append(rng.normal(0, 1 if part == "positions" else scale, shape))
        elif len(shape) == 2:
            parts.append(rng.uniform(-scale, scale, shape))
        else:
            parts.append(np.full(shape, float(part.endswith("gain"))))
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def unflatten(name: Toy, flat: Any) -> dict[str, Any]:
    """Return the weights by name of a vector [size]."""
    found, at = {}, 0
    for part, shape in shapes(name).items():
        end = at + math.prod(shape)
        found[part], at = flat[at:end].reshape(shape), end
    return found
