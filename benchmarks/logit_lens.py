"""Time and weigh the forward pass and the logit lens against PyTorch and TransformerLens.

python benchmarks/logit_lens.py [--rounds 5] [--only TEXT] [--no-memory]
python benchmarks/logit_lens.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
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
from sides import SIDES
from tokenizers import Tokenizer

OURS = "Lensbook"
PEERS = [name for name in SIDES if name != OURS]

SHAPES = [(1, 64), (1, 256), (16, 64)]
LENGTHS = [64, 256]
TOP_K = 10

TEXT = """The harbour was quiet when the first boats came home. Old Marta counted them from the
window of the bakery, as she had done every morning for thirty years: the red one, the two that
belonged to the brothers from the island, and last of all the slow grey boat of the doctor, who
fished badly and gave away what he caught. Behind her the ovens ticked while they cooled. In 1987
the storm had taken eleven boats in a single night, and since then nobody in the village trusted a
calm sea. Water is made of hydrogen and oxygen; it boils at 100 degrees and freezes at zero, the
teacher used to say, but it keeps no promises at any temperature. The capital of France is Paris,
the capital of Japan is Tokyo, and the capital of the sea, said the children, is wherever the
doctor happens to be lost. """


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = arguments(__doc__.splitlines()[0], SIDES, rounds=5).parse_args()
    if options.side:
        serve(SIDES[options.side])
        return 0
    if options.threads:
        confine(options.threads)
    folder = options.model or default_model()
    cases = [case for case in _cases(folder) if options.only in case["name"]]
    if not cases:
        print("no case has that in its name", file=sys.stderr)
        return 2
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
        if problems := list(_compare(sides, cases)):
            print(
                "nothing was timed, as the sides computed different numbers:",
                *problems,
                sep="\n  ",
                file=sys.stderr,
            )
            return 1
        times = interleave(sides, cases, options.rounds, options.clock)
        print(time_table(times, OURS), "\n", flush=True)
    if not options.no_memory:
        print(memory_table(memory(commands, folder, cases), OURS))
    return 0


def _cases(folder: Path) -> Iterator[Case]:
    """Yield forwards of random tokens, then lenses over a text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    draw = random.Random(0)
    for batch, length in SHAPES:
        ids = [
            [draw.randrange(tokenizer.get_vocab_size()) for _ in range(length)]
            for _ in range(batch)
        ]
        yield {"name": f"forward {batch}x{length}", "kind": "forward", "ids": ids, "save": False}
    for length in LENGTHS:
        ids = tokenizer.encode(TEXT * 10, add_special_tokens=False).ids[:length]
        text = tokenizer.decode(ids, skip_special_tokens=False)
        if tokenizer.encode(text, add_special_tokens=False).ids != ids:
            raise ValueError(f"{folder}: the text does not survive its tokenizer")
        yield {
            "name": f"lens {length}",
            "kind": "lens",
            "ids": [ids],
            "text": text,
            "top_k": TOP_K,
            "save": False,
        }


def _compare(sides: dict[str, Process], cases: list[Case]) -> Iterator[str]:
    """Run every case once a side, which warms it up, and yield where a peer differs from us."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            results: dict[str, Arrays] = {}
            for name, process in sides.items():
                file = Path(folder) / f"{name}.npz"
                process.run({**case, "save": True}, save=file)
                process.run(case)
                with np.load(file) as saved:
                    results[name] = dict(saved)
            for name in PEERS:
                problems = _differences(results[OURS], results[name])
                yield from (f"{case['name']}, {name}: {problem}" for problem in problems)


def _differences(ours: Arrays, theirs: Arrays) -> Iterator[str]:
    """Yield in words how two sides' results differ by more than float32 explains."""
    for key in ("logits", "top_probs", "entropy", "kl"):
        if key in ours:
            scale = max(1.0, float(np.abs(theirs[key]).max()))
            gap = float(np.abs(ours[key] - theirs[key]).max()) / scale
            if not gap <= 1e-4:
                yield f"{key} differ by {gap:.1e} of their largest value"
    top = "top" if "top" in ours else "top_ids"
    likeliest = (a[top] if top == "top" else a[top][..., 0] for a in (ours, theirs))
    different = float(np.mean(np.not_equal(*likeliest)))
    if different > 0:
        yield f"the likeliest token differs in {different:.2%} of rows"


if __name__ == "__main__":
    sys.exit(main())
