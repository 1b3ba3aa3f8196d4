"""Time and weigh the scores of every head against TransformerLens's cache and head detector.

python benchmarks/induction_heads.py [--rounds 5] [--no-memory]
python benchmarks/induction_heads.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from harness import Case, Process, apart, arguments, run
from induction_sides import SIDES

OURS = next(iter(SIDES))
PARAMS = {"tokens": 50, "repeats": 2, "seeds": 8}
TOLERANCE = 1e-4
"""How far two sides' scores may be apart."""


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = arguments(__doc__.splitlines()[0], SIDES, rounds=5).parse_args()
    return run(__file__, options, SIDES, _prepare)


def _prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
    """Return the case, with the tokens that we draw, and where scores are apart."""
    case: Case = {"name": "heads 8x2x50", "params": PARAMS}
    ours = sides[OURS].arrays(case)
    first = ours["ids"].shape[1] - PARAMS["tokens"] * PARAMS["repeats"]
    n_layers = len(ours["prefix_matching"])
    case |= {"ids": ours["ids"].tolist(), "first": first, "n_layers": n_layers}
    gaps = apart(sides, case)
    return [case], [f"{name}: {gap:.1e}" for name, gap in gaps.items() if not gap <= TOLERANCE]


if __name__ == "__main__":
    sys.exit(main())
