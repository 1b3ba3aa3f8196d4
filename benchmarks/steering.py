"""Time and weigh steering vectors, made and swept, against the steering-vectors package in PyTorch.

python benchmarks/steering.py [--rounds 3] [--only extraction] [--no-memory]
python benchmarks/steering.py --threads 1 --clock cpu    # on a busy machine
python benchmarks/steering.py --pairs 8 --held-out 4     # a short trial

*Extraction*: a vector of every layer, from 100 pairs. *Sweep*: the mean log-likelihood a token of both answers
to each of 50 held-out pairs, under 7 multiples of one vector, added at 45% of depth (layer 13 of the default
model) from the prompt's last token on. Pairs are the shipped behaviours', taken in turn.

The package reads one token of a text. So the vectors are made by protocol ``ab``, the paper's: question and
options in the chat format, read at the answer's letter, which is its only and the text's last token. By ``text``
Lensbook reads the mean over an answer's tokens, which the package cannot. The sweep's answers are those of
protocol ``text``, at most 24 tokens; both sides add the same vector, Lensbook's.

What is not alike, in the peer's favour: it gets texts sorted by length, in batches of about as many tokens
as Lensbook's; the body without the head where a vector is made, which spares it logits that
the package's examples compute; the sweep's texts as tokens; and, there, logits at the answers alone. Lensbook
tokenises, and measures the stream's norms. What is Lensbook's method, and neither the
package's nor its examples': what stands before the steered layer and the steered tokens runs once, for all
multiples of the vector, which then run as one batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sides
from harness import Arrays, Case, Process, Side, arguments, run

if TYPE_CHECKING:
    import torch

MULTIPLIERS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
TOLERANCE = {"vectors": 1e-3, "scores": 1e-3}
"""How far two sides may be apart: a layer's vector, of its length; and nats a token."""
BATCH_PAIRS, BATCH_TOKENS = 8, 1024
"""The peer's batches: of pairs whose answers are read, one after the other, and of tokens that are scored."""


class Lensbook(sides.Lensbook):
    """Lensbook: ``activations`` and ``direction``; and ``Scored``, as its sweeps have it."""

    def run(self, case: Case) -> Arrays:
        from interp_core.runtime import on_compute_thread

        do = {"inputs": self._inputs, "extraction": self._vectors, "sweep": self._scores}
        return on_compute_thread(do[case["kind"]])(case)

    def _inputs(self, case: Case) -> Arrays:
        """Return, as JSON, the tokens of all texts, and the layer that is steered."""
        from interp_core.papers.steering.compute.prompts import item, read_at
        from interp_core.papers.steering.params import layer_of

        tokenizer = self._model.require_tokenizer()
        made, held_out = _pairs(case)
        texts = [[ids for ids, _ in read_at(tokenizer, pair, "ab")] for pair in made]
        items = [item(tokenizer, pair, "text") for pair in held_out]
        layer = layer_of(None, self._model.info.n_layers)
        told = {"texts": texts, "items": [[i.prompt, i.answers] for i in items], "layer": layer}
        return {"json": np.array(json.dumps(told))}

    def _vectors(self, case: Case) -> Arrays:
        from interp_core.papers.steering.compute.extract import activations, direction

        both, _ = activations(self._model, _pairs(case)[0], "ab")
        return {"vectors": direction(both, "mean")}

    def _scores(self, case: Case) -> Arrays:
        from interp_core.papers.steering.compute.intervene import Steering
        from interp_core.papers.steering.compute.prompts import item
        from interp_core.papers.steering.compute.score import Scored

        tokenizer, layer = self._model.require_tokenizer(), case["layer"]
        vector = np.array(case["vector"], np.float32)
        by = Steering({layer: vector[None]}, np.array(case["multipliers"]))
        scores = [
            Scored(self._model, item(tokenizer, pair, "text"), [layer]).read(by)
            for pair in _pairs(case)[1]
        ]
        return {"scores": np.stack(scores, 1)}


class SteeringVectors(sides.PyTorch):
    """The package: ``train_steering_vector``; and ``patch_activations`` for each multiple and batch."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        super().__init__(folder)
        self._model.config.use_cache = False
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")

    def run(self, case: Case) -> Arrays:
        import torch

        with torch.inference_mode():
            return self._vectors(case) if case["kind"] == "extraction" else self._scores(case)

    def _vectors(self, case: Case) -> Arrays:
        import torch
        from steering_vectors import train_steering_vector

        made = train_steering_vector(
            self._model.model,
            self._tokenizer,
            [(matching, other) for matching, other in case["texts"]],
            batch_size=BATCH_PAIRS,
        )
        by_layer = [vector for _, vector in sorted(made.layer_activations.items())]
        return {"vectors": torch.stack(by_layer).numpy()}

    def _scores(self, case: Case) -> Arrays:
        import torch
        from steering_vectors import SteeringVector

        vector = SteeringVector({case["layer"]: torch.tensor(case["vector"])})
        texts = [(prompt, answer) for prompt, answers in case["items"] for answer in answers]
        scores = np.empty((len(case["multipliers"]), len(texts)))
        for batch in _batches([len(prompt) + len(answer) for prompt, answer in texts]):
            fed = _Fed([texts[i] for i in batch])
            for row, multiplier in enumerate(case["multipliers"]):
                handle = vector.patch_activations(
                    self._model, multiplier=multiplier, token_indices=fed.steered
                )
                try:
                    hidden = self._model.model(input_ids=fed.ids).last_hidden_state
                finally:
                    handle.remove()
                scores[row, batch] = fed.likelihoods(self._model.lm_head(hidden[fed.read]))
        return {"scores": scores.reshape(len(scores), len(case["items"]), -1)}


class _Fed:
    """Prompts with answers, padded at their end, where no token that is read looks."""

    def __init__(self, texts: Sequence[tuple[list[int], list[int]]]) -> None:
        import torch

        longest = max(len(prompt) + len(answer) for prompt, answer in texts)
        self.ids = torch.zeros((len(texts), longest), dtype=torch.long)
        self.steered = torch.zeros((len(texts), longest))
        for row, (prompt, answer) in enumerate(texts):
            self.ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
            self.steered[row, len(prompt) - 1 :] = 1
        self._counts = [len(answer) for _, answer in texts]
        self._targets = torch.tensor([token for _, answer in texts for token in answer])
        owner = [row for row, count in enumerate(self._counts) for _ in range(count)]
        at = [len(prompt) - 1 + j for prompt, answer in texts for j in range(len(answer))]
        self.read = (torch.tensor(owner), torch.tensor(at))
        """Where the answers' tokens are predicted: rows, and positions."""

    def likelihoods(self, logits: torch.Tensor) -> list[float]:
        """Return each answer's mean log-likelihood a token, of logits [token, d_vocab]."""
        given = logits.log_softmax(-1).gather(1, self._targets[:, None])[:, 0]
        return [float(each.mean()) for each in given.split(self._counts)]


def _pairs(case: Case) -> tuple[list[Any], list[Any]]:
    """Return the pairs that vectors are made from, and those held out: the behaviours' in turn."""
    from interp_core.papers.steering import pairs

    parts = zip(*(behaviour.split() for behaviour in pairs.shipped().values()), strict=True)
    turns = [[pair for turn in zip(*part, strict=False) for pair in turn] for part in parts]
    return turns[0][: case["pairs"]], turns[1][: case["held_out"]]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield texts of like lengths together, at most ``BATCH_TOKENS`` with their padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[i] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    yield batch


SIDES: dict[str, type[Side]] = {"Lensbook": Lensbook, "steering-vectors": SteeringVectors}
OURS, PEER = SIDES


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = _options()

    def prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
        extraction, sweep = _cases(sides[OURS], folder, options)
        problems, made = _compare(sides, extraction, "vectors")
        sweep["vector"] = made[sweep["layer"]].tolist()
        more, _ = _compare(sides, sweep, "scores")
        cases = [case for case in (extraction, sweep) if options.only in case["name"]]
        return cases, problems + more

    return run(__file__, options, SIDES, prepare)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0], SIDES, rounds=3)
    parser.add_argument("--pairs", type=int, default=100, help="pairs that vectors are made from")
    parser.add_argument("--held-out", type=int, default=50, help="pairs that are scored")
    return parser.parse_args()


def _cases(ours: Process, folder: Path, options: argparse.Namespace) -> tuple[Case, Case]:
    """Return both cases, with tokens as Lensbook determines them; the sweep lacks its vector."""
    from tokenizers import Tokenizer

    case = {"pairs": options.pairs, "held_out": options.held_out}
    told = json.loads(str(ours.arrays({**case, "kind": "inputs"})["json"]))
    if (len(told["texts"]), len(told["items"])) != (options.pairs, options.held_out):
        raise ValueError(f"there are {len(told['texts'])} pairs, and {len(told['items'])} held out")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = []
    for both in sorted(told["texts"], key=lambda both: max(map(len, both))):
        texts.append([tokenizer.decode(ids, skip_special_tokens=False) for ids in both])
        if [tokenizer.encode(text, add_special_tokens=False).ids for text in texts[-1]] != both:
            raise ValueError(f"{folder}: {texts[-1][0]!r} does not survive its tokenizer")
    n, held_out, layer = options.pairs, options.held_out, told["layer"]
    extraction = {"name": f"extraction, {n} pairs, all layers", "kind": "extraction"}
    sweep = {"name": f"sweep {len(MULTIPLIERS)}x{held_out}, layer {layer}", "kind": "sweep"}
    sweep |= {"items": told["items"], "layer": layer, "multipliers": MULTIPLIERS}
    return {**case, **extraction, "texts": texts}, {**case, **sweep}


def _compare(sides: Mapping[str, Process], case: Case, key: str) -> tuple[list[str], np.ndarray]:
    """Do the case once a side, which warms it up; return where they differ, and what is ours."""
    print(f"comparing {case['name']}", file=sys.stderr, flush=True)
    ours, theirs = (sides[name].arrays(case)[key] for name in (OURS, PEER))
    gaps = np.abs(ours - theirs)
    if key == "vectors":
        gaps = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    gap = float(gaps.max())
    print(f"{key}, {case['name']}: within {gap:.1e}", flush=True)
    return [] if gap <= TOLERANCE[key] else [f"{case['name']}: {key} differ by {gap:.1e}"], ours


if __name__ == "__main__":
    sys.exit(main())
