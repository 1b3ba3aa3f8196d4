"""Train attention-only models, and look at each some sixty times while it learns.

A toy's state is kept at every checkpoint, so that an interrupted run goes on where it was, and a
longer one where a shorter one ended: the batches are drawn by step, and a toy's training does not
depend on which others were asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np

from interp_core import blas
from interp_core.models.language_model import ModelInfo
from interp_core.papers.induction_heads import toys
from interp_core.papers.induction_heads.compute import toy, toy_data
from interp_core.papers.induction_heads.toys import TOYS, Toy
from interp_core.papers.induction_heads.training import (
    LOGGED,
    TESTS,
    TOKENS,
    Training,
    TrainingParams,
    blank,
)
from interp_core.paths import cache_dir
from interp_core.provenance import Recorder
from interp_core.results import Provenance
from interp_core.runtime import holding, report, show
from interp_core.training import Course, every, schedule

CHECKPOINTS = 60
ROWS, RATE = 64, 1e-3
"""Sequences of a training step, and AdamW's learning rate; the rest of it is MLX's default."""
HELD_OUT = 128
"""Sequences of the held-out mixture."""
ENDS = 9
"""Targets at either end of a tiled sequence whose losses make the in-context learning score: the
first nine are within the shortest segment, the last nine past the longest."""

_STATE = {"theta": "weight", "m": "weight", "v": "weight"}
"""What a checkpoint holds beside what was logged, by its axes."""


def compute(params: TrainingParams) -> Training:
    """Train the toys of ``params.toys``, one after another, and return how they learned."""
    steps = schedule(params.steps, CHECKPOINTS)
    logs = blank(len(params.toys), len(steps))
    sizes = [toys.size(name) for name in params.toys]
    weights = np.full(sum(sizes), np.nan, np.float32)
    ends = np.cumsum([0, *sizes])
    work = np.cumsum([0, *(toys.depth(name) for name in params.toys)]) * params.steps
    with Recorder() as recorder, holding(blas.one_thread):
        data, seconds = _Data.of(params.seed), [0.0] * len(params.toys)

        def record() -> Provenance:
            # What was trained before an interruption counts too.
            now = recorder.provenance(_info(), [], params.seed)
            return dataclasses.replace(now, seconds=round(sum(seconds), 3))

        for i, name in enumerate(params.toys):
            training = course(name, params.seed, steps, data)
            learner, told = training.learner, (name, int(work[i]), int(work[-1]))
            for _ in training.run(functools.partial(_tell, *told), resume=params.resume):
                for key, values in learner.logs.items():
                    logs[key][i] = values
                seconds[i] = training.seconds
                if training.logged == len(steps):
                    weights[ends[i] : ends[i + 1]] = np.array(learner.theta)
                show(_result(params, record(), steps, logs, weights))
    return _result(params, record(), steps, logs, weights)


def _tell(name: Toy, before: int, total: int, step: int) -> None:
    """Report a step of a toy; ``before`` it and in all is counted in layers times steps."""
    report(f"training {TOYS[name]}", before + toys.depth(name) * step, total)


def _result(
    params: TrainingParams,
    provenance: Provenance,
    steps: list[int],
    logs: dict[str, np.ndarray],
    weights: np.ndarray,
) -> Training:
    """Return what is there as a result of its own: the arrays go on to be filled."""
    so_far: dict[str, Any] = {name: values.copy() for name, values in logs.items()}
    return Training(
        params=params,
        provenance=provenance,
        models=params.toys,
        steps=np.array(steps),
        weights=weights.copy(),
        **so_far,
    )


@functools.cache
def _digest() -> str:
    """Return the digest of everything but the parameters that decides what a toy becomes."""
    settings = {
        "version": Training.version,
        "shapes": {name: toys.shapes(name) for name in TOYS},
        "heads": toys.HEADS,
        "corpus": [toy_data.PERIODS, toy_data.SUCCESSORS, toy_data.SEGMENT, toy_data.CLIP],
        "batch": [ROWS, toy_data.batch(0, 0, ROWS).tolist()],
        "rate": RATE,
        "tests": [HELD_OUT, TESTS, TOKENS, ENDS],
        "logged": {name: shape for name, (shape, _) in LOGGED.items()},
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _info() -> ModelInfo:
    return ModelInfo(
        id="attention-only toys",
        source="trained here",
        model_type="toy",
        n_layers=toys.DEPTH,
        d_model=toys.D_MODEL,
        n_heads=toys.HEADS,
        d_vocab=toys.D_VOCAB,
        context=toys.CONTEXT,
        dtype="float32",
        weights="trained here",
        weights_sha256=_digest(),
        sha256=_digest(),
    )


@dataclass(frozen=True)
class _Data:
    """What every toy of a seed is measured on; none of it is trained on."""

    held_out: mx.array
    """[HELD_OUT, pos] the first half are tiled."""
    repeated: mx.array
    """[TESTS, pos]"""
    clip: mx.array
    """[1, 2 * CLIP]"""
    tokens: np.ndarray
    """[TOKENS] which of the held-out tokens' losses are kept one by one."""

    @classmethod
    def of(cls, seed: int) -> _Data:
        targets = HELD_OUT * (toys.CONTEXT - 1)
        return cls(
            mx.array(toy_data.held_out(seed, HELD_OUT)),
            mx.array(toy_data.repeated(seed, TESTS)),
            mx.array(toy_data.clip(seed)),
            np.sort(np.random.default_rng(seed).permutation(targets)[:TOKENS]),
        )


def measure(name: Toy, weights: dict[str, mx.array], data: _Data) -> dict[str, np.ndarray]:
    """Return what is logged of a toy, by name, as :data:`LOGGED` has it."""
    found = blank()
    held_out = np.array(toy.losses(toy.forward(name, weights, data.held_out)[0], data.held_out))
    tiled = held_out[: HELD_OUT // 2]
    logits, patterns = toy.forward(name, weights, data.repeated)
    found["loss"][...] = held_out.mean()
    found["token_loss"][...] = held_out.ravel()[data.tokens]
    found["in_context"][...] = tiled[:, -ENDS:].mean() - tiled[:, :ENDS].mean()
    found["position_loss"][...] = np.array(toy.losses(logits, data.repeated)).mean(0)
    clips = toy.forward(name, weights, data.clip)[1]
    second, n = np.arange(toy_data.SEGMENT, 2 * toy_data.SEGMENT), 2 * toy_data.SEGMENT
    for layer, (pattern, clip) in enumerate(zip(patterns, clips, strict=True)):
        mean = np.array(pattern.mean(0))
        after_first = second - toy_data.SEGMENT + 1
        found["prefix_matching"][layer] = mean[:, second, after_first].mean(-1)
        found["previous_token"][layer] = mean[:, np.arange(1, n), np.arange(n - 1)].mean(-1)
        found["patterns"][layer] = np.rint(255 * np.array(clip[0]))
    plain = {part: np.array(values) for part, values in weights.items()}
    found["k_composition"][...] = toy.k_composition(name, plain)
    return found


class _Learner:
    """A toy in training: its weights, the optimizer's memory, and what was logged so far."""

    def __init__(self, name: Toy, seed: int, steps: list[int], data: _Data) -> None:
        self.name, self.seed, self.data = name, seed, data
        self.theta = mx.array(toys.start(name, seed))
        self.optimizer = optimizers.AdamW(RATE)
        self.optimizer.init({"theta": self.theta})
        self.logs = blank(len(steps))

    def learn(self, step: int) -> None:
        """Take a training step."""
        tokens = mx.array(toy_data.batch(self.seed, step, ROWS))

        def loss(weights: dict[str, mx.array]) -> mx.array:
            return toy.losses(toy.forward(self.name, weights, tokens)[0], tokens).mean()

        gradient = toy.flatten(self.name, mx.grad(loss)(toys.unflatten(self.name, self.theta)))
        self.theta = self.optimizer.apply_gradients({"theta": gradient}, {"theta": self.theta})[
            "theta"
        ]
        mx.eval(self.theta, self.optimizer.state)

    def log(self, checkpoint: int) -> None:
        """Measure the toy at a checkpoint."""
        weights = toys.unflatten(self.name, self.theta)
        for key, values in measure(self.name, weights, self.data).items():
            self.logs[key][checkpoint] = values

    def state(self, count: int) -> dict[str, np.ndarray]:
        """Return weights, the optimizer's memory, and the first ``count`` logs."""
        memory = self.optimizer.state["theta"]
        arrays = {key: values[:count] for key, values in self.logs.items()}
        return arrays | {"theta": np.array(self.theta), **{k: np.array(memory[k]) for k in "mv"}}

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go on from a state.

        Raises:
            ValueError: When it has another number of weights.
        """
        if state["theta"].size != self.theta.size:
            raise ValueError(f"it has {state['theta'].size} weights")
        self.theta = mx.array(state["theta"])
        self.optimizer.state["theta"] = {key: mx.array(state[key]) for key in "mv"}
        self.optimizer.state["step"] = mx.array(step, mx.uint64)
        for key in LOGGED:
            self.logs[key][: len(state[key])] = state[key]


def course(name: Toy, seed: int, steps: list[int], data: _Data) -> Course[_Learner]:
    """Return the training of a toy, with checkpoints at ``steps``."""
    of = {"toy": name, "seed": seed, "every": every(steps[-1], CHECKPOINTS), "settings": _digest()}
    file = cache_dir("training") / f"{'-'.join(str(part)[:16] for part in of.values())}.npz"
    axes = _STATE | {name: Training.axes()[name].removeprefix("model ") for name in LOGGED}
    return Course(_Learner(name, seed, steps, data), steps, file, of, axes)
