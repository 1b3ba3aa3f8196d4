"""Time and weigh the causal trace of a prompt against PyTorch and TransformerLens.

python benchmarks/causal_tracing.py [--rounds 1] [--peer-stride 3] [--only TEXT] [--no-memory]
python benchmarks/causal_tracing.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from causal_sides import SIDES, n_forwards
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

OURS = "Lensbook"
PEERS = [name for name in SIDES if name != OURS]

PROMPTS = {
    "subject in the middle": (
        "A plane that lands in South Africa is on the continent of",
        "South Africa",
    ),
    "subject first": ("San Diego is a large city in the American state of", "San Diego"),
}
SETTINGS = {"kinds": ["resid_post", "mlp_out", "attn_out"], "window": 10, "seed": 1}
TOLERANCE = 1e-3
"""How far two sides' probabilities may be apart."""


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = _options()
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
        f"clock: {options.clock}, model: {folder.name}, samples: {options.samples}"
    )
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Process(command, folder))
            for name, command in commands.items()
        }
        cases = list(_cases(sides[OURS], options))
        if not cases:
            print("no case has that in its name", file=sys.stderr)
            return 2
        for case in cases:
            ran, whole = n_forwards(case, options.peer_stride), n_forwards(case, 1)
            print(
                f"{case['name']}: {len(case['ids'])} tokens; a peer runs {ran} of its {whole} "
                f"forwards, all of one size, and its seconds are multiplied by {whole / ran:.3f}"
            )
        print(flush=True)
        if problems := list(_compare(sides, cases, options.stride)):
            print(
                "nothing was timed, as the sides computed different numbers:",
                *problems,
                sep="\n  ",
                file=sys.stderr,
            )
            return 1
        if options.rounds:
            times = interleave(sides, cases, options.rounds, options.clock)
            print(time_table(_whole(times, cases), OURS), "\n", flush=True)
    if not options.no_memory:
        # Every forward of a peer takes as much memory, so few of them do.
        weighed = [{**cases[0], "peer_stride": options.stride}]
        print(memory_table(memory(commands, folder, weighed), OURS))
    return 0


def _options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0], SIDES, rounds=1)
    parser.add_argument("--samples", type=int, default=10, help="draws of the noise")
    parser.add_argument("--stride", type=int, default=10, help="layers apart that are compared")
    parser.add_argument("--peer-stride", type=int, default=3, help="layers apart that peers time")
    return parser.parse_args()


def _cases(ours: Process, options: argparse.Namespace) -> Iterator[Case]:
    """Yield the prompts' cases: their tokens, answers and noise as Lensbook determines them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.npz"
        for name, (prompt, subject) in PROMPTS.items():
            if options.only not in name:
                continue
            case = {"name": name, "prompt": prompt, "subject": subject, **SETTINGS}
            case |= {"samples": options.samples, "stride": 1, "peer_stride": options.peer_stride}
            ours.run({**case, "kind": "inputs"}, save=file)
            with np.load(file) as saved:
                yield {**case, "kind": "trace", **{key: saved[key].tolist() for key in saved}}


def _compare(sides: dict[str, Process], cases: list[Case], stride: int) -> Iterator[str]:
    """Trace every ``stride``-th layer, which warms the sides up, and yield where a peer differs."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            print(f"comparing {case['name']}", file=sys.stderr, flush=True)
            results: dict[str, Arrays] = {}
            for name, process in sides.items():
                file = Path(folder) / f"{name}.npz"
                process.run({**case, "stride": stride, "peer_stride": stride}, save=file)
                with np.load(file) as saved:
                    results[name] = dict(saved)
            for name in PEERS:
                for key, ours in results[OURS].items():
                    gap = float(np.abs(ours - results[name][key]).max())
                    print(f"  {name}, {key}: within {gap:.1e}", file=sys.stderr, flush=True)
                    if not gap <= TOLERANCE:
                        yield f"{case['name']}, {name}: {key} differ by {gap:.1e}"


def _whole(
    seconds: dict[str, dict[str, list[float]]], cases: list[Case]
) -> dict[str, dict[str, list[float]]]:
    """Return seconds of whole traces, given those of the peers' shares."""
    factors = {
        case["name"]: n_forwards(case, 1) / n_forwards(case, case["peer_stride"]) for case in cases
    }
    return {
        case: {
            name: [s if name == OURS else s * factors[case] for s in taken]
            for name, taken in times.items()
        }
        for case, times in seconds.items()
    }


if __name__ == "__main__":
    sys.exit(main())
