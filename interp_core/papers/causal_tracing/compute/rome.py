"""The rank-one edit of one MLP (Meng et al. 2022, section 3.1).

An MLP's down-projection ``W`` is read as a memory of keys and values. The edit adds a rank-one
matrix so that the subject's key ``k*`` gives a new value ``v*``, and keys like those of other text,
whose second moment is ``C``, change least: ``W + (v* - W k*) (C^-1 k*)^T / ((C^-1 k*)^T k*)``.

One ``k*``, the mean over contexts, stands in both places. The released code takes the bare prompt's
key in the second, which can wreck a model (Gupta, Baskaran and Anumanchipalli 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report

STEPS, RATE, ENOUGH = 20, 0.5, 0.05
KL_WEIGHT, DECAY, CLAMP = 0.0625, 0.5, 4.0
"""The released code's settings for GPT-2 XL."""

_RIDGE = 1e-4
"""Added to C's diagonal, as a share of its mean: few texts leave it ill-conditioned."""


@dataclass(frozen=True)
class Contexts:
    """Prompts in which the subject is to get its new value, and one that is to stay as it is.

    Padded on the right, where attention never looks from.
    """

    tokens: mx.array
    """[context + 1, pos] the last row asks what the subject is."""
    subject: np.ndarray
    """[context + 1] position of the subject's last token."""
    ends: np.ndarray
    """[context + 1] position of the prompt's last token."""
    target: tuple[int, ...]
    """Ids of the new object, which follow each context's prompt."""


def contexts(
    prompts: Sequence[tuple[list[int], int]], essence: tuple[list[int], int], target: Sequence[int]
) -> Contexts:
    """Return a batch of ``prompts`` (ids, position of the subject's last token) with ``target``."""
    rows = [[*ids, *target[:-1]] for ids, _ in prompts] + [essence[0]]
    width = max(map(len, rows))
    padded = [row + [row[-1]] * (width - len(row)) for row in rows]
    every = [*prompts, essence]
    return Contexts(
        mx.array(padded),
        np.array([position for _, position in every]),
        np.array([len(ids) - 1 for ids, _ in every]),
        tuple(target),
    )


@dataclass(frozen=True)
class Update:
    """A rank-one change of a down-projection."""

    layer: int
    left: mx.array
    """[d_model] what the key adds."""
    right: mx.array
    """[d_mlp] scaled so that its product with the key is 1."""
    key: mx.array
    """[d_mlp] k*"""
    value: mx.array
    """[d_model] v*"""
    losses: tuple[float, ...]
    """At each step of the search for v*, in nats."""

    def apply(self, stream: ResidualStream) -> ResidualStream:
        """Return a view of ``stream`` with the update; the stream itself stays as it is."""
        down = stream.blocks[self.layer].down

        def edited(hidden: mx.array) -> mx.array:
            share = (hidden @ self.right[:, None]).astype(hidden.dtype)
            return down(hidden) + share * self.left

        return stream.with_down(self.layer, edited)


def update(
    stream: ResidualStream, given: Contexts, layer: int, moment: np.ndarray | None
) -> Update:
    """Return the edit of block ``layer``; ``moment`` is C [d_mlp, d_mlp], or None for identity."""
    site = Site("mlp_post", layer)
    run = stream.run(given.tokens, stop=layer + 1, keep=[site, Site("resid_pre", layer)])
    rows = np.arange(len(given.subject))
    hidden = run.acts[site][mx.array(rows[:-1]), mx.array(given.subject[:-1])]
    key = hidden.astype(mx.float32).mean(0)
    down = stream.blocks[layer].down
    before = down(key[None].astype(stream.dtype))[0].astype(mx.float32)
    mx.eval(key, before)
    delta, losses = _search(stream, given, layer, run.acts[Site("resid_pre", layer)], before)
    k = np.array(key, np.float64)
    direction = k if moment is None else _solve(moment, k)
    right = mx.array((direction / (direction @ k)).astype(np.float32))
    return Update(layer, delta, right, key, before + delta, losses)


def _solve(moment: np.ndarray, key: np.ndarray) -> np.ndarray:
    ridge = _RIDGE * np.trace(moment) / len(moment)
    return np.linalg.solve(moment.astype(np.float64) + ridge * np.eye(len(moment)), key)


def _search(
    stream: ResidualStream, given: Contexts, layer: int, resid: mx.array, before: mx.array
) -> tuple[mx.array, tuple[float, ...]]:
    """Return what to add to the value, [d_model], by gradient descent (equation 4), and the losses.

    The released code adds what its last step found. Early steps are long and the loss need not fall
    at each, so this is what the step of least loss found; where no step is better than adding
    nothing, that is nothing.
    """
    n, length = given.tokens.shape
    where = np.arange(length)[None] == given.subject[:, None]
    mask = mx.array(where[..., None].astype(np.float32)).astype(stream.dtype)
    scale = float(mx.linalg.norm(before, stream=mx.cpu).item())
    reads = given.ends[:-1, None] + np.arange(len(given.target))[None]
    down = stream.blocks[layer].down

    def outputs(delta: mx.array) -> tuple[mx.array, mx.array]:
        def moved(hidden: mx.array) -> mx.array:
            return down(hidden) + mask * delta.astype(stream.dtype)

        view = stream.with_down(layer, moved)
        last = view.run(resid=resid, start=layer, unembed=None).resid
        rows = mx.arange(n - 1)[:, None]
        return (
            _log_softmax(stream.unembed(last[rows, mx.array(reads)])),
            _log_softmax(stream.unembed(last[n - 1, int(given.ends[-1])])),
        )

    target = mx.array(given.target)[None, :, None]
    own = mx.stop_gradient(outputs(mx.zeros_like(before))[1])

    def loss(delta: mx.array) -> mx.array:
        wanted, essence = outputs(delta)
        nll = -mx.take_along_axis(wanted, target, -1).mean()
        drift = (mx.exp(own) * (own - essence)).sum()
        return nll + KL_WEIGHT * drift + DECAY * _norm(delta) / scale**2

    return _descend(mx.value_and_grad(loss), before, CLAMP * scale)


def _descend(
    value_and_grad: Callable[[mx.array], tuple[mx.array, mx.array]], like: mx.array, limit: float
) -> tuple[mx.array, tuple[float, ...]]:
    optimizer = optim.Adam(learning_rate=RATE, bias_correction=True)
    state = {"delta": mx.zeros_like(like)}
    best, losses = state["delta"], []
    for step in range(STEPS):
        report("searching the value", step, STEPS)
        value, grad = value_and_grad(state["delta"])
        losses.append(float(value.item()))
        if losses.index(min(losses)) == step:
            best = state["delta"]
        if losses[-1] < ENOUGH or step == STEPS - 1:
            break
        state = optimizer.apply_gradients({"delta": grad}, state)
        norm = float(_norm(state["delta"]).item())
        if norm > limit:
            state["delta"] = state["delta"] * (limit / norm)
        mx.eval(state)
    return best, tuple(losses)


def _norm(x: mx.array) -> mx.array:
    # The gradient of a norm at zero would be NaN.
    return mx.sqrt((x * x).sum() + 1e-12)


def _log_softmax(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
