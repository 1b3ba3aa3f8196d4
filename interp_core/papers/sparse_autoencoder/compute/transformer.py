"""Train the paper's one-layer transformer, small, with checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from interp_core import corpus, store
from interp_core.models.families import Gpt2
from interp_core.models.language_model import ModelInfo
from interp_core.papers.sparse_autoencoder.one_layer import (
    BETWEEN,
    CONTEXT,
    D_MODEL,
    D_VOCAB,
    HEADS,
    Transformer,
    config,
    tokenizer,
)
from interp_core.papers.sparse_autoencoder.params import TransformerParams
from interp_core.params import ParameterError, computed_by
from interp_core.paths import cache_dir
from interp_core.provenance import Recorder
from interp_core.runtime import report, show
from interp_core.training import Course, drawn, schedule

_RATE = 2e-3
_CHECKPOINTS = 20
_HELD_OUT = 64
"""Windows of held-out text that are read at every checkpoint, at most."""


def train(params: TransformerParams) -> Transformer:
    """Train the model on bytes. On the compute thread only.

    Raises:
        ParameterError: When the text is too short.
    """
    with Recorder() as recorder:
        windows, held_out = _windows(params.corpus)
        if len(windows) < params.batch or not len(held_out):
            raise ParameterError(
                f"corpus: it makes {len(windows)} windows of {CONTEXT} bytes to train on; "
                f"needed: at least {params.batch}"
            )
        at = schedule(params.steps, _CHECKPOINTS)
        learner = _Learner(params, windows, held_out[:_HELD_OUT], len(at))
        of = {"one-layer transformer": computed_by(params) | {"version": Transformer.version}}
        file = cache_dir("training") / f"one-layer-{store.digest(of)}.npz"
        axes = dict.fromkeys(("theta", "m", "v"), "number") | {"loss": "checkpoint"}
        course = Course(learner, at, file, of, axes)

        def result(*, done: bool = False) -> Transformer:
            named = learner.named() if done else {}
            return Transformer(
                params=dataclasses.replace(params, resume=True),
                provenance=recorder.provenance(_info(), [], params.seed),
                seconds=course.seconds,
                checkpoints=np.array(at),
                loss=learner.loss.copy(),
                names=tuple(named),
                sizes=np.array([(*v.shape, 0)[:2] for v in named.values()], np.int64).reshape(
                    -1, 2
                ),
                weights=np.concatenate([v.ravel() for v in named.values()] or [np.zeros(0)]).astype(
                    np.float32
                ),
            )

        def tell(step: int) -> None:
            report("training", step, params.steps)

        for _ in course.run(tell, resume=params.resume):
            show(result())
        return result(done=True)


def _windows(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return windows to train on and windows held out, [window, CONTEXT] ids."""
    backend = tokenizer()
    between = backend.encode(BETWEEN).ids
    found = []
    for documents in corpus.split(corpus.load(name)):
        ids = [i for text in documents for i in (*between, *backend.encode(text).ids)]
        found.append(corpus.cut(ids, CONTEXT))
    return found[0], found[1]


def _info() -> ModelInfo:
    """Return what a result says of the model that is trained here."""
    return ModelInfo(
        id="one-layer transformer, trained here",
        source="trained from scratch",
        model_type="gpt2",
        n_layers=1,
        d_model=D_MODEL,
        n_heads=HEADS,
        d_vocab=D_VOCAB,
        context=CONTEXT,
        dtype="float32",
        weights="float32",
        weights_sha256="",
        sha256="",
    )


class _Learner:
    """A one-layer transformer in training."""

    def __init__(
        self, params: TransformerParams, windows: np.ndarray, held_out: np.ndarray, checkpoints: int
    ) -> None:
        from interp_core.models import dialects  # brings transformers, which is slow to import

        self.params, self.windows, self.held_out = params, windows, held_out
        self.model = dialects.build(Gpt2.model_validate(config(params.d_mlp)))
        self._begin()
        self.optimizer = optimizers.Adam(_RATE, bias_correction=True)
        self.optimizer.init(self.model.trainable_parameters())
        self.loss = np.full(checkpoints, np.nan, np.float32)
        self._step = nn.value_and_grad(self.model, _loss)

    def _begin(self) -> None:
        """Draw initial weights: normal, of standard deviation 0.02; gains 1, biases 0 (GPT-2)."""
        draw = np.random.default_rng(self.params.seed)
        fresh = []
        for name, value in _flat(self.model.parameters()):
            if value.ndim == 2:
                drawn = np.asarray(draw.normal(0, 0.02, value.shape), np.float32)
                fresh.append((name, mx.array(drawn)))
            else:
                fresh.append((name, mx.zeros_like(value) + float(name.endswith("weight"))))
        self.model.update(tree_unflatten(fresh))

    def learn(self, step: int) -> None:
        """Take a training step."""
        batch = self.params.batch
        picked = drawn(len(self.windows), step * batch, batch, self.params.seed)
        warm = min(1.0, (step + 1) / 100)
        left = 1 - step / self.params.steps
        self.optimizer.learning_rate = _RATE * warm * (0.1 + 0.9 * left)
        _, gradient = self._step(self.model, mx.array(self.windows[picked]))
        self.optimizer.update(self.model, gradient)
        mx.eval(self.model.parameters(), self.optimizer.state)

    def log(self, checkpoint: int) -> None:
        """Measure the loss of held-out text."""
        self.loss[checkpoint] = _loss(self.model, mx.array(self.held_out)).item()

    def named(self) -> dict[str, np.ndarray]:
        """Return the weights by the names and in the layout of transformers' GPT-2."""
        found = {}
        for name, value in _flat(self.model.parameters()):
            array = np.array(value)
            turned = array.ndim == 2 and any(
                f".{part}." in name for part in ("c_attn", "c_proj", "c_fc")
            )
            renamed = (
                name.replace("model.", "transformer.", 1) if name.startswith("model.") else name
            )
            found[renamed] = np.ascontiguousarray(array.T) if turned else array
        return found

    def state(self, count: int) -> dict[str, np.ndarray]:
        """Return weights, the optimizer's memory and what was logged."""
        names = [name for name, _ in _flat(self.model.parameters())]
        memory = dict(_flat(self.optimizer.state))
        own = dict(_flat(self.model.parameters()))
        return {
            "theta": _joined([own[name] for name in names]),
            "m": _joined([memory[f"{name}.m"] for name in names]),
            "v": _joined([memory[f"{name}.v"] for name in names]),
            "loss": self.loss[:count],
        }

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go on from a state.

        Raises:
            ValueError: When it has another number of weights.
        """
        own = _flat(self.model.parameters())
        if sum(value.size for _, value in own) != state["theta"].size:
            raise ValueError(f"it has {state['theta'].size} weights")
        at, parts = 0, {"theta": [], "m": [], "v": []}
        for name, value in own:
            for key, kept in parts.items():
                kept.append((name, mx.array(state[key][at : at + value.size].reshape(value.shape))))
            at += value.size
        self.model.update(tree_unflatten(parts["theta"]))
        memory = [(f"{n}.{key}", value) for key in "mv" for n, value in parts[key]]
        self.optimizer.state.update(tree_unflatten(memory))
        self.optimizer.state["step"] = mx.array(step, mx.uint64)
        self.loss[: len(state["loss"])] = state["loss"]


def _flat(tree: Any) -> list[tuple[str, mx.array]]:
    """Return arrays with their paths."""
    found: list[tuple[str, mx.array]] = tree_flatten(tree)  # type: ignore[assignment]
    return found


def _joined(values: list[mx.array]) -> np.ndarray:
    return np.concatenate([np.array(value).ravel() for value in values])


def _loss(model: nn.Module, tokens: mx.array) -> mx.array:
    logits = model(tokens[:, :-1])
    return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")
