"""Time and weigh the causal trace of a prompt against PyTorch and TransformerLens.

python benchmarks/causal_tracing.py [--rounds 1] [--peer-stride 3] [--only TEXT] [--no-memory]
python benchmarks/causal_tracing.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from causal_sides import SIDES, n_forwards
from harness import Case, Process, Seconds, arguments, run

OURS, *PEERS = SIDES

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

    def prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
        cases = list(_cases(sides[OURS], options))
        for case in cases:
            ran, every = n_forwards(case, options.peer_stride), n_forwards(case, 1)
            print(
                f"{case['name']}: {len(case['ids'])} tokens, {options.samples} samples; a peer runs {ran} of "
                f"its {every} forwards, all of one size, and its seconds are multiplied by {every / ran:.3f}"
            )
        return cases, list(_compare(sides, cases, options.stride))

    # Every forward of a peer takes as much memory, so few of them do.
    return run(
        __file__,
        options,
        SIDES,
        prepare,
        whole=_whole,
        weighed=lambda cases: [{**cases[0], "peer_stride": options.stride}],
    )


def _options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0], SIDES, rounds=1)
    parser.add_argument("--samples", type=int, default=10, help="draws of the noise")
    parser.add_argument("--stride", type=int, default=10, help="layers apart that are compared")
    parser.add_argument("--peer-stride", type=int, default=3, help="layers apart that peers time")
    return parser.parse_args()


def _cases(ours: Process, options: argparse.Namespace) -> Iterator[Case]:
    """Yield the prompts' cases: their tokens, answers and noise as Lensbook determines them."""
    for name, (prompt, subject) in PROMPTS.items():
        if options.only not in name:
            continue
        case = {"name": name, "prompt": prompt, "subject": subject, **SETTINGS}
        case |= {"samples": options.samples, "stride": 1, "peer_stride": options.peer_stride}
        inputs = ours.arrays({**case, "kind": "inputs"})
        yield {**case, "kind": "trace", **{key: each.tolist() for key, each in inputs.items()}}


def _compare(sides: Mapping[str, Process], cases: list[Case], stride: int) -> Iterator[str]:
    """Trace every ``stride``-th layer, which warms the sides up, and yield where a peer differs."""
    for case in cases:
        print(f"comparing {case['name']}", file=sys.stderr, flush=True)
        few = {**case, "stride": stride, "peer_stride": stride}
        results = {name: process.arrays(few) for name, process in sides.items()}
        for name in PEERS:
            for key, ours in results[OURS].items():
                gap = float(np.abs(ours - results[name][key]).max())
                print(f"  {name}, {key}: within {gap:.1e}", file=sys.stderr, flush=True)
                if not gap <= TOLERANCE:
                    yield f"{case['name']}, {name}: {key} differ by {gap:.1e}"


def _whole(seconds: Seconds, cases: list[Case]) -> Seconds:
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
