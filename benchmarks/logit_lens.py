"""Time and weigh the forward pass and the logit lens against PyTorch and TransformerLens.

python benchmarks/logit_lens.py [--rounds 5] [--only TEXT] [--no-memory]
python benchmarks/logit_lens.py --threads 1 --clock cpu    # on a busy machine
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from harness import Arrays, Case, Process, arguments, run
from sides import SIDES
from tokenizers import Tokenizer

OURS, *PEERS = SIDES

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

    def prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
        cases = [case for case in _cases(folder) if options.only in case["name"]]
        return cases, list(_compare(sides, cases))

    return run(__file__, options, SIDES, prepare)


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


def _compare(sides: Mapping[str, Process], cases: list[Case]) -> Iterator[str]:
    """Run every case once a side, which warms it up, and yield where a peer differs from us."""
    for case in cases:
        results: dict[str, Arrays] = {}
        for name, process in sides.items():
            results[name] = process.arrays({**case, "save": True})
            process.run(case)
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
