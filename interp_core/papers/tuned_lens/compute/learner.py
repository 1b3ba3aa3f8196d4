"""Train the translators of all layers at once, on one captured run for each batch.

The gradient of a layer's loss by its translator has two halves: by the logits, which is the lens's
distribution less the target's, and from there back through head, norm and translator. The first is
written out, so that one layer's logits exist at a time; the second is MLX's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np

from interp_core import readout
from interp_core.papers.tuned_lens.compute.loss import Target, divergence, kl, target
from interp_core.papers.tuned_lens.params import TrainParams
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import give_way
from interp_core.training import drawn

CLIP = 1.0
"""Largest norm of the gradient of all translators together (the authors' code)."""

_LOGITS = 32_000_000
"""Logits that exist at a time, at most; 128 MB in float32."""

Weights = dict[str, mx.array]
"""``bias`` [layer, d_model]; and ``weight`` [layer, d_model, d_model], or its factors ``left`` [layer,
d_model, rank] and ``right`` [layer, rank, d_model], or neither."""


def start(layers: int, d_model: int, params: TrainParams) -> Weights:
    """Return translators that change nothing: A and b are 0."""
    weights = {"bias": mx.zeros((layers, d_model))}
    if params.bias_only:
        return weights
    if params.rank is None or params.rank >= d_model:
        return weights | {"weight": mx.zeros((layers, d_model, d_model))}
    draw = np.random.default_rng([params.seed, params.rank])
    right = draw.normal(0, d_model**-0.5, (layers, params.rank, d_model)).astype(np.float32)
    left = mx.zeros((layers, d_model, params.rank))
    return weights | {"left": left, "right": mx.array(right)}


def translate(weights: Weights, resid: mx.array) -> mx.array:
    """Return ``h + A h + b`` of residuals [..., d_model], by one layer's weights."""
    out = resid + weights["bias"]
    if "weight" in weights:
        out = out + resid @ weights["weight"].T
    if "left" in weights:
        out = out + (resid @ weights["right"].T) @ weights["left"].T
    return out


def whole(weights: Weights) -> tuple[np.ndarray | None, np.ndarray]:
    """Return A [layer, d_model, d_model], or None, and b [layer, d_model] of all layers."""
    bias = np.array(weights["bias"])
    if "left" in weights:
        return np.array(weights["left"] @ weights["right"]), bias
    return (np.array(weights["weight"]) if "weight" in weights else None), bias


@dataclass(frozen=True)
class Batch:
    """Residuals of some positions, float32."""

    states: dict[int, mx.array]
    """[row, d_model] by layer; -1 is the embedding."""
    last: mx.array
    """[row, d_model] what the model's output is read from."""
    following: np.ndarray
    """[row] the id that comes next."""

    def parts(self, d_vocab: int) -> Iterator[Batch]:
        """Yield the batch in parts of as many rows as have their logits in memory together."""
        rows = max(1, _LOGITS // d_vocab)
        for start in range(0, len(self.following), rows):
            part = slice(start, start + rows)
            states = {layer: state[part] for layer, state in self.states.items()}
            yield Batch(states, self.last[part], self.following[part])


def capture(stream: ResidualStream, ids: np.ndarray, layers: list[int], at: np.ndarray) -> Batch:
    """Run texts [text, pos] once; keep residuals at positions ``at`` [text, n].

    Position 0 is the attention sink, and nothing is said of what follows the last.
    """
    sites = [Site("resid_post", layer) for layer in layers if layer >= 0]
    embedding = stream.embed(mx.array(ids))
    run = stream.run(resid=embedding, keep=sites, unembed=None)
    rows, columns = mx.array(np.arange(len(ids))[:, None]), mx.array(at)

    def of(resid: mx.array) -> mx.array:
        chosen = resid[rows, columns].astype(mx.float32)
        return chosen.reshape(-1, chosen.shape[-1])

    states = {
        layer: of(embedding if layer < 0 else run.acts[Site("resid_post", layer)])
        for layer in layers
    }
    last = of(run.resid)
    mx.eval(states, last)
    return Batch(states, last, np.take_along_axis(ids, at + 1, 1).ravel())


def gradients(
    stream: ResidualStream,
    weights: Weights,
    batch: Batch,
    layers: list[int],
    params: TrainParams,
    step: int,
) -> tuple[np.ndarray, Weights]:
    """Return the mean loss of each layer, nats, [layer], and the gradient of their sum."""
    losses = np.zeros(len(layers), np.float32)
    total = {name: mx.zeros_like(value) for name, value in weights.items()}
    rows = len(batch.following)
    for number, part in enumerate(batch.parts(stream.d_vocab)):
        seed = [params.seed, step, 1, *([number] if number else [])]
        goal = _goal(stream, part, params, seed)
        loss, gradient = _of_part(stream, weights, part, layers, goal)
        losses += loss / rows
        total = {name: value + gradient[name] / rows for name, value in total.items()}
    return losses, total


def _goal(stream: ResidualStream, batch: Batch, params: TrainParams, seed: list[int]) -> Target:
    """Return what the readouts of a batch are drawn to."""
    if params.loss == "ce":
        probs = np.zeros((len(batch.following), stream.d_vocab), np.float32)
        probs[np.arange(len(probs)), batch.following] = 1
        return target(probs, np.zeros(len(probs), np.float32), params.vocabulary, seed)
    final = readout.final(stream.unembed(batch.last))
    return target(np.asarray(final.probs), final.entropy, params.vocabulary, seed)


def _of_part(
    stream: ResidualStream,
    weights: Weights,
    batch: Batch,
    layers: list[int],
    goal: Target,
) -> tuple[np.ndarray, Weights]:
    """Return the sum over rows of each layer's loss, [layer], and the gradient of their sum."""
    head = None if goal.columns is None else stream.head_rows(goal.columns).astype(mx.float32)
    losses, found = [], []
    for row, layer in enumerate(layers):
        give_way()
        names = list(weights)
        state = batch.states[layer]

        def logits(*values: mx.array, state: mx.array = state) -> mx.array:
            resid = translate(dict(zip(names, values, strict=True)), state)  # noqa: B023
            return stream.unembed(resid) if head is None else stream.logits(resid, head)

        own = [weights[name][row] for name in names]
        loss, gradient = divergence(logits(*own), goal)
        _, parts = mx.vjp(logits, own, [gradient])
        mx.eval(parts)
        losses.append(loss.sum())
        found.append(parts)
    joined = {name: mx.stack([parts[n] for parts in found]) for n, name in enumerate(weights)}
    return np.array(losses), joined


class Learner:
    """Translators in training."""

    def __init__(
        self,
        stream: ResidualStream,
        layers: list[int],
        windows: np.ndarray,
        held_out: np.ndarray,
        params: TrainParams,
        checkpoints: int,
    ) -> None:
        self.stream, self.layers, self.windows, self.params = stream, layers, windows, params
        self.weights = start(len(layers), stream.d_model, params)
        self.optimizer = _optimizer(params)
        self.optimizer.init(self.weights)
        self.held_out = held_out
        self.losses = np.full((params.steps, len(layers)), np.nan, np.float32)
        self.kl = np.full((checkpoints, len(layers)), np.nan, np.float32)

    def learn(self, step: int) -> None:
        """Take a training step."""
        ids = self._texts(step)
        at = positions(ids.shape, self.params.positions, [self.params.seed, step])
        batch = capture(self.stream, ids, self.layers, at)
        self.losses[step], gradient = gradients(
            self.stream, self.weights, batch, self.layers, self.params, step
        )
        rate = self.params.rate or {"sgd": 0.1, "adam": 1e-3}[self.params.optimizer]
        self.optimizer.learning_rate = rate * (1 - step / self.params.steps)
        gradient, _ = optimizers.clip_grad_norm(gradient, CLIP)
        self.weights = self.optimizer.apply_gradients(gradient, self.weights)
        mx.eval(self.weights, self.optimizer.state)

    def _texts(self, step: int) -> np.ndarray:
        """Return the windows of a step."""
        batch = self.params.batch
        return self.windows[drawn(len(self.windows), step * batch, batch, self.params.seed)]

    def log(self, checkpoint: int) -> None:
        """Measure KL to the output, whole vocabulary, on held-out text."""
        self.kl[checkpoint] = held_out_kl(self.stream, self.weights, self.layers, self.held_out)

    def state(self, count: int) -> dict[str, np.ndarray]:
        """Return weights, the optimizer's memory and what was logged."""
        memory = {
            f"{name}.{key}": np.array(value)
            for name, each in self.optimizer.state.items()
            if isinstance(each, dict)
            for key, value in each.items()
        }
        weights = {name: np.array(value) for name, value in self.weights.items()}
        return weights | memory | {"losses": self.losses.copy(), "kl": self.kl[:count]}

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go on from a state.

        Raises:
            ValueError: When it is of other translators.
        """
        if any(state[name].shape != value.shape for name, value in self.weights.items()):
            raise ValueError("it is of other translators")
        self.weights = {name: mx.array(state[name]) for name in self.weights}
        for name in self.weights:
            memory = self.optimizer.state[name]
            for key in memory:
                memory[key] = mx.array(state[f"{name}.{key}"])
        self.optimizer.state["step"] = mx.array(step, mx.uint64)
        self.losses[:] = state["losses"]
        self.kl[: len(state["kl"])] = state["kl"]

    def axes(self) -> dict[str, str]:
        """Return the axes of :meth:`state`'s arrays."""
        shapes = {
            "bias": "layer d_model",
            "weight": "layer d_model d_model",
            "left": "layer d_model rank",
            "right": "layer rank d_model",
        }
        own = {name: shapes[name] for name in self.weights}
        keys = {"sgd": "v", "adam": "mv"}[self.params.optimizer]
        memory = {f"{name}.{key}": axes for name, axes in own.items() for key in keys}
        return own | memory | {"losses": "step layer", "kl": "checkpoint layer"}


def _optimizer(params: TrainParams) -> optimizers.Optimizer:
    if params.optimizer == "adam":
        return optimizers.AdamW(1e-3, weight_decay=params.decay, bias_correction=True)
    return optimizers.SGD(0.1, momentum=0.9, weight_decay=params.decay, nesterov=True)


def positions(shape: tuple[int, int], count: int | None, seed: list[int]) -> np.ndarray:
    """Return the positions of each text that are read, [text, n]: never the first or the last."""
    texts, length = shape
    inside = np.arange(1, length - 1)
    if count is None or count >= len(inside):
        return np.tile(inside, (texts, 1))
    draw = np.random.default_rng(seed)
    return np.sort(np.stack([draw.permutation(inside)[:count] for _ in range(texts)]), axis=1)


def held_out_kl(
    stream: ResidualStream, weights: Weights, layers: list[int], windows: np.ndarray
) -> np.ndarray:
    """Return the mean KL(final || lens) over positions of held-out windows, nats, [layer]."""
    at = positions(windows.shape, None, [])
    total = np.zeros(len(layers))
    for ids, where in zip(windows[:, None], at[:, None], strict=True):
        for batch in capture(stream, ids, layers, where).parts(stream.d_vocab):
            final = readout.final(stream.unembed(batch.last))
            for row, layer in enumerate(layers):
                give_way()
                own = {name: value[row] for name, value in weights.items()}
                total[row] += kl(stream.unembed(translate(own, batch.states[layer])), final).sum()
    return total / at.size
