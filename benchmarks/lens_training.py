"""Time and weigh a training step of a tuned lens against the tuned-lens package in PyTorch.

python benchmarks/lens_training.py [--rounds 5] [--no-memory]
python benchmarks/lens_training.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import json
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
from lens_training_sides import SIDES

OURS, PEER = SIDES
SHAPE = (2, 128)
"""Texts of a step, and their tokens."""
TOLERANCE = {"losses": 2e-3, "bias": 1e-4}
"""How far two sides' numbers may be apart: nats, and entries of b after the first step."""


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
    case = _case(folder)
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
        gaps = _compare(sides, case)
        for name, gap in gaps.items():
            print(f"{name}: within {gap:.1e}")
        if any(gap > TOLERANCE[name] for name, gap in gaps.items()):
            print("nothing was timed, as the sides computed different numbers", file=sys.stderr)
            return 1
        times = interleave(sides, [case], options.rounds, options.clock)
        print("", time_table(times, OURS), "", sep="\n", flush=True)
    if not options.no_memory:
        print(memory_table(memory(commands, folder, [case]), OURS))
    return 0


def _case(folder: Path) -> Case:
    """Return a step on the project's own prose."""
    texts = Path(__file__).parents[1] / "interp_core" / "data" / "texts.json"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(" ".join(json.loads(texts.read_text())["prose"])).ids
    rows, length = SHAPE
    tokens = np.array(ids[: rows * length]).reshape(rows, length)
    return {"name": f"step {rows}x{length}, all layers", "ids": tokens.tolist()}


def _compare(sides: dict[str, Process], case: Case) -> dict[str, float]:
    """Take the first step on both sides; return how far losses and biases are apart."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Arrays] = {}
        for name, process in sides.items():
            file = Path(folder) / f"{name}.npz"
            process.run(case, save=file)
            with np.load(file) as saved:
                found[name] = dict(saved)
    return {
        name: float(np.abs(values - found[OURS][name]).max())
        for name, values in found[PEER].items()
    }


if __name__ == "__main__":
    sys.exit(main())
