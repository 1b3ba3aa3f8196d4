"""Time and weigh a training step of a tuned lens against the tuned-lens package in PyTorch.

python benchmarks/lens_training.py [--rounds 5] [--no-memory]
python benchmarks/lens_training.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from harness import Case, Process, apart, arguments, run
from lens_training_sides import SIDES

SHAPE = (2, 128)
"""Texts of a step, and their tokens."""
TOLERANCE = {"losses": 2e-3, "bias": 1e-4}
"""How far two sides' numbers may be apart: nats, and entries of b after the first step."""


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = arguments(__doc__.splitlines()[0], SIDES, rounds=5).parse_args()
    return run(__file__, options, SIDES, _prepare)


def _prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
    """Take the first step on both sides; say how far losses and biases are apart."""
    case = _case(folder)
    gaps = apart(sides, case)
    return [case], [
        f"{name}: {gap:.1e}" for name, gap in gaps.items() if not gap <= TOLERANCE[name]
    ]


def _case(folder: Path) -> Case:
    """Return a step on the project's own prose."""
    texts = Path(__file__).parents[1] / "interp_core" / "data" / "texts.json"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(" ".join(json.loads(texts.read_text())["prose"])).ids
    rows, length = SHAPE
    tokens = np.array(ids[: rows * length]).reshape(rows, length)
    return {"name": f"step {rows}x{length}, all layers", "ids": tokens.tolist()}


if __name__ == "__main__":
    sys.exit(main())
