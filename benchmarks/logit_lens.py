"""Time and weigh the forward pass and the logit lens against PyTorch and TransformerLens.

python benchmarks/logit_lens.py [--rounds 5] [--only TEXT] [--no-memory]
python benchmarks/logit_lens.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import subprocess
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
    confine,
    interleave,
    machine,
    markdown,
    memory,
    ratio_text,
    serve,
    threads,
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
    options = _options()
    if options.side:
        serve(SIDES[options.side])
        return 0
    if options.threads:
        confine(options.threads)
    folder = options.model or _default_model()
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
        print(_time_table(times), "\n", flush=True)
    if not options.no_memory:
        print(_memory_table(memory(commands, folder, cases)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed repetitions of each case")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out")
    parser.add_argument("--threads", type=int, help="cores and threads a side (Linux); all if none")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="what seconds are: by the clock, or of processor time",
    )
    parser.add_argument("--model", type=Path, help="a Llama-like folder; the default model if none")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _default_model() -> Path:
    """Return the default model's folder, fetched in a process that takes MLX with it."""
    code = "from interp_core.models import default; print(default.fetch())"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.splitlines()[-1])


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


def _time_table(seconds: dict[str, dict[str, list[float]]]) -> str:
    header = ["case", *(f"{name} s" for name in SIDES), *(f"{name} / {OURS}" for name in PEERS)]
    rows = [
        [
            case,
            *(f"{statistics.median(times[name]):.3f}" for name in SIDES),
            *(ratio_text(times[name], times[OURS]) for name in PEERS),
        ]
        for case, times in seconds.items()
    ]
    return markdown(header, rows)


def _memory_table(peaks: dict[str, dict[str, tuple[int, int]]]) -> str:
    def megabytes(pair: tuple[int, int]) -> str:
        return f"{pair[1] / 1e6:.0f} ({pair[0] / 1e6:.0f})"

    header = ["peak MB, and (after load)", *SIDES, *(f"{name} / {OURS}" for name in PEERS)]
    rows = [
        list(
            itertools.chain(
                [case],
                (megabytes(sides[name]) for name in SIDES),
                (f"{sides[name][1] / sides[OURS][1]:.2f}" for name in PEERS),
            )
        )
        for case, sides in peaks.items()
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    sys.exit(main())
