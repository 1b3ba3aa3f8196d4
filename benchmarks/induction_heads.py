"""Time and weigh the scores of every head against TransformerLens's cache and head detector.

python benchmarks/induction_heads.py [--rounds 5] [--no-memory]
python benchmarks/induction_heads.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from harness import (
    Arrays,
    Case,
    Process,
    arguments,
    confine,
    default_model,
    interleave,
    machine,
    memory,
    memory_table,
    serve,
    threads,
    time_table,
)
from induction_sides import SIDES

OURS, PEER = SIDES
PARAMS = {"tokens": 50, "repeats": 2, "seeds": 8}
TOLERANCE = 1e-4
"""How far two sides' scores may be apart."""


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = arguments(__doc__.splitlines()[0], SIDES, rounds=5).parse_args()
    if options.side:
        serve(SIDES[options.side])
        return 0
    if options.threads:
        confine(options.threads)
    folder = options.model or default_model()
    commands = {name: [sys.executable, __file__, "--side", name] for name in SIDES}
    print(machine())
    print(
        f"float32, threads a side: {threads()}, rounds: {options.rounds}, "
        f"clock: {options.clock}, model: {folder.name}\n",
        flush=True,
    )
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Process(command, folder))
            for name, command in commands.items()
        }
        case, gaps = _compare(sides)
        for name, gap in gaps.items():
            print(f"{name}: within {gap:.1e}")
        if not max(gaps.values()) <= TOLERANCE:
            print("nothing was timed, as the sides computed different numbers", file=sys.stderr)
            return 1
        times = interleave(sides, [case], options.rounds, options.clock)
        print("", time_table(times, OURS), "", sep="\n", flush=True)
    if not options.no_memory:
        print(memory_table(memory(commands, folder, [case]), OURS))
    return 0


def _compare(sides: dict[str, Process]) -> tuple[Case, dict[str, float]]:
    """Run both sides once; return the case with Lensbook's tokens, and how far scores are apart."""
    case: Case = {"name": "heads 8x2x50", "params": PARAMS}
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Arrays] = {}
        for name, process in sides.items():
            file = Path(folder) / f"{name}.npz"
            process.run(case, save=file)
            with np.load(file) as saved:
                found[name] = dict(saved)
            if name == OURS:
                ids = found[OURS]["ids"]
                first = ids.shape[1] - PARAMS["tokens"] * PARAMS["repeats"]
                n_layers = len(found[OURS]["prefix_matching"])
                case |= {"ids": ids.tolist(), "first": first, "n_layers": n_layers}
    gaps = {
        name: float(np.abs(scores - found[OURS][name]).max())
        for name, scores in found[PEER].items()
    }
    return case, gaps


if __name__ == "__main__":
    sys.exit(main())
