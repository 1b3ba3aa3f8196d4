"""Time training steps of TopK autoencoders against SAELens and dictionary_learning in PyTorch.

python benchmarks/sae_training.py [--rounds 5] [--no-memory] [--only 4,096]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from harness import Arrays, Case, Process, Side, arguments, run, threads

D_IN, K, BATCH, STEPS = 576, 32, 1024, 5
"""Width of the site, active latents, activations a step, steps of a case."""
WIDTHS = (4_096, 16_384)
TOLERANCE = 1e-4
"""How far the first losses of two sides may be apart, as a share."""


def activations() -> np.ndarray:
    """Return activations that are cached once: sparse sums of random directions, and noise."""
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(2_000, D_IN)).astype(np.float32)
    codes = (draw.random((BATCH * STEPS, 2_000)) < 0.02).astype(np.float32)
    rows = codes @ directions + draw.normal(0, 0.5, (BATCH * STEPS, D_IN)).astype(np.float32)
    return rows * np.float32(np.sqrt(D_IN) / np.linalg.norm(rows, axis=1).mean())


def begin(width: int) -> dict[str, np.ndarray]:
    """Return the weights that every side begins with."""
    rows = np.random.default_rng(1).normal(size=(width, D_IN)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {"W_dec": rows, "W_enc": np.ascontiguousarray(rows.T)}


class Lensbook:
    """Lensbook: steps of one autoencoder of its learner."""

    def __init__(self, folder: Path) -> None:
        self._rows = activations()
        self._saes: dict[int, Any] = {}

    def run(self, case: Case) -> Arrays:
        from interp_core.runtime import on_compute_thread

        return on_compute_thread(self._steps)(case)

    def _steps(self, case: Case) -> Arrays:
        import mlx.core as mx

        from interp_core.papers.sparse_autoencoder.compute.autoencoder import Kind, encode
        from interp_core.papers.sparse_autoencoder.compute.learner import Sae
        from interp_core.papers.sparse_autoencoder.params import TrainParams

        width = case["width"]
        losses = []
        if width not in self._saes:
            sae = Sae(Kind("topk", K, width), self._rows[:64], TrainParams(k=(K,)))
            sae.weights |= {name: mx.array(value) for name, value in begin(width).items()}
            sae.weights["b_dec"] = mx.zeros(D_IN)
            x = mx.array(self._rows[:BATCH])
            codes, _ = encode(sae.kind, sae.weights, x)
            left = x - (codes @ sae.weights["W_dec"] + sae.weights["b_dec"])
            losses.append(float(mx.square(left).sum(-1).mean()))
            self._saes[width] = sae
        sae = self._saes[width]
        for step in range(STEPS):
            x = mx.array(self._rows[step * BATCH : (step + 1) * BATCH])
            sae.learn(x, 5e-4, 10**6)
        return {"loss": np.array(losses)}


class SaeLens:
    """SAELens: its training autoencoder, and the step of its trainer."""

    def __init__(self, folder: Path) -> None:
        import torch

        torch.set_num_threads(threads())
        self._rows = torch.tensor(activations())
        self._saes: dict[int, Any] = {}

    def run(self, case: Case) -> Arrays:
        import torch
        from sae_lens.saes.sae import TrainStepInput
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

        width = case["width"]
        losses = []
        if width not in self._saes:
            config = TopKTrainingSAEConfig(d_in=D_IN, d_sae=width, k=K, device="cpu")
            sae = TopKTrainingSAE(config)
            for name, value in begin(width).items():
                getattr(sae, name).data = torch.tensor(value)
            self._saes[width] = sae, torch.optim.Adam(sae.parameters(), lr=5e-4), np.zeros(width)
        sae, optimizer, since = self._saes[width]
        for step in range(STEPS):
            rows = self._rows[step * BATCH : (step + 1) * BATCH]
            dead = torch.tensor(since > 10**6)
            given = TrainStepInput(rows, {}, dead, step, is_logging_step=False)
            made = sae.training_forward_pass(given)
            losses.append(float(made.losses["mse_loss"]))
            with torch.no_grad():
                fired = made.feature_acts.bool().float().sum(-2).bool()
                since[:] = np.where(fired.numpy(), 0, since + 1)
            made.loss.backward()
            torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return {"loss": np.array(losses[:1])}


class DictionaryLearning:
    """dictionary_learning: the update of its trainer of TopK."""

    def __init__(self, folder: Path) -> None:
        import torch

        torch.set_num_threads(threads())
        self._rows = torch.tensor(activations())
        self._trainers: dict[int, Any] = {}

    def run(self, case: Case) -> Arrays:
        import torch
        from dictionary_learning.trainers.top_k import TopKTrainer

        width = case["width"]
        losses = []
        if width not in self._trainers:
            made = TopKTrainer(10_000, D_IN, width, K, 0, "m", lr=5e-4, device="cpu")
            weights = begin(width)
            made.ae.encoder.weight.data = torch.tensor(np.ascontiguousarray(weights["W_enc"].T))
            made.ae.decoder.weight.data = torch.tensor(np.ascontiguousarray(weights["W_dec"].T))
            self._trainers[width] = made
        for step in range(STEPS):
            rows = self._rows[step * BATCH : (step + 1) * BATCH]
            losses.append(float(self._trainers[width].update(step + 1, rows)))
        return {"loss": np.array(losses[:1])}


SIDES: dict[str, type[Side]] = {
    "Lensbook": Lensbook,
    "SAELens": SaeLens,
    "dictionary_learning": DictionaryLearning,
}


def main() -> int:
    """Run the benchmark, or, with ``--side``, be one of its sides."""
    options = arguments(__doc__.splitlines()[0], SIDES, rounds=5).parse_args()

    def prepare(sides: Mapping[str, Process], folder: Path) -> tuple[list[Case], list[str]]:
        """Take the first steps on every side; say where their first losses differ."""
        cases = [
            {"name": f"{STEPS} steps of {BATCH:,}, {width:,} latents", "width": width}
            for width in WIDTHS
        ]
        cases = [case for case in cases if options.only in case["name"]]
        problems = []
        for case in cases:
            first = {name: float(side.arrays(case)["loss"][0]) for name, side in sides.items()}
            print(f"{case['name']}: first losses {first}", flush=True)
            gap = max(first.values()) / min(first.values()) - 1
            problems += [f"{case['name']}: first losses differ: {first}"] if gap > TOLERANCE else []
        return cases, problems

    return run(__file__, options, SIDES, prepare)


if __name__ == "__main__":
    sys.exit(main())
