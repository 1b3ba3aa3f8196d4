"""Attention-only transformers of one to three layers, small enough to be trained while one waits.

A toy is its name and its weights, a dict or one flat vector; everything here is a function of the
two. Positions are learned and added to what queries and keys read, never to the stream, so that
what a head moves says nothing of where it was. With smeared keys a key is mixed with the one
before it, which is what a previous-token head does for the layer above it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.block import on_host
from interp_core.papers.induction_heads.toys import (
    D_HEAD,
    D_MODEL,
    D_VOCAB,
    DEPTH,
    HEADS,
    Toy,
    depth,
    shapes,
    size,
    unflatten,
)
from interp_core.papers.induction_heads.training import Training

_EPS = 1e-5
_DRAWS = 64


def trained(training: Training, name: Toy) -> Callable[[mx.array], tuple[mx.array, list[mx.array]]]:
    """Return a trained toy: tokens [batch, pos] to logits and patterns.

    Raises:
        ValueError: When it was not trained.
    """
    at = sum(size(each) for each in training.models[: training.models.index(name)])
    weights = unflatten(name, mx.array(training.weights[at : at + size(name)]))
    return functools.partial(forward, name, weights)


def flatten(name: Toy, weights: dict[str, mx.array]) -> mx.array:
    """Return the vector [size] of weights by name."""
    return mx.concatenate([weights[part].reshape(-1) for part in shapes(name)])


def smear(keys: mx.array, alpha: mx.array) -> mx.array:
    """Return keys [batch, head, pos, d_head] mixed with those before them; the first as it is.

    ``alpha`` [head] is the logit of a key's own share.
    """
    before = mx.concatenate([keys[:, :, :1], keys[:, :, :-1]], axis=2)
    own = mx.sigmoid(alpha)[:, None, None]
    return own * keys + (1 - own) * before


def forward(
    name: Toy, weights: dict[str, mx.array], tokens: mx.array
) -> tuple[mx.array, list[mx.array]]:
    """Return logits [batch, pos, d_vocab], and each layer's pattern [batch, head, query, key]."""
    rows, n = tokens.shape
    # Rows of all sequences lie under one another, so that a weight's gradient is one large product
    # and not one per sequence.
    x, positions = weights["embed"][tokens.reshape(-1)], weights["positions"][:n]
    future = mx.triu(mx.full((n, n), -mx.inf), k=1)
    patterns = []

    def heads(x: mx.array) -> mx.array:
        return x.reshape(rows, n, HEADS, D_HEAD).swapaxes(1, 2)

    for layer in range(depth(name)):
        part = {key: weights.get(f"{layer}.{key}") for key in ("gain", "bias", *"qkvo", "alpha")}
        normed = mx.fast.layer_norm(x, part["gain"], part["bias"], _EPS)
        placed = (normed.reshape(rows, n, -1) + positions).reshape(x.shape)
        q, k = heads(placed @ part["q"]), heads(placed @ part["k"])
        if part["alpha"] is not None:
            k = smear(k, part["alpha"])
        patterns.append(_softmax((q * D_HEAD**-0.5) @ k.swapaxes(-1, -2) + future))
        z = patterns[-1] @ heads(normed @ part["v"])
        x = x + z.swapaxes(1, 2).reshape(x.shape) @ part["o"]
    x = mx.fast.layer_norm(x, weights["gain"], weights["bias"], _EPS)
    return (x @ weights["unembed"]).reshape(rows, n, D_VOCAB), patterns


def losses(logits: mx.array, tokens: mx.array) -> mx.array:
    """Return [batch, pos - 1], in nats, the loss of every token but the first."""
    logits = logits[:, :-1]
    said = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    return mx.logsumexp(logits, axis=-1) - said


def _softmax(scores: mx.array) -> mx.array:
    if on_host():
        return host_math.softmax(scores)  # type: ignore[return-value]  # a custom function of MLX
    return mx.softmax(scores, axis=-1, precise=True)


def k_composition(name: Toy, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return how much keys of a head read what an earlier head writes.

    [earlier layer, head, later layer, head], NaN where there are no such layers: ||W_OV W_QK^T|| /
    (||W_OV|| ||W_QK||) of Frobenius norms, with the gains of the norms taken into the matrices,
    less what random matrices of these shapes have. Above 0 is more than by chance.
    """

    def read(layer: int, part: str) -> np.ndarray:
        return weights[f"{layer}.gain"][:, None] * weights[f"{layer}.{part}"]

    found = np.full((DEPTH, HEADS, DEPTH, HEADS), np.nan)
    for later in range(1, depth(name)):
        q, k = read(later, "q"), read(later, "k")
        for earlier in range(later):
            o = weights[f"{earlier}.o"]
            found[earlier, :, later] = _alignment(read(earlier, "v"), o, q, k) - _chance()
    return found


def _alignment(v: np.ndarray, o: np.ndarray, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return [first, second] of a layer's W_V and W_O and the next one's W_Q and W_K, uncorrected."""
    v, q, k = (each.reshape(D_MODEL, HEADS, D_HEAD).swapaxes(0, 1) for each in (v, q, k))
    ov = v @ o.reshape(HEADS, D_HEAD, D_MODEL)
    kq = k @ q.swapaxes(1, 2)
    norm = functools.partial(np.linalg.norm, axis=(-2, -1))
    return norm(ov[:, None] @ kq) / (norm(ov)[:, None] * norm(kq))


@functools.cache
def _chance() -> float:
    draws = np.random.default_rng(0).normal(size=(_DRAWS, 4, D_MODEL, D_MODEL))
    return float(np.mean([_alignment(*draw) for draw in draws]))
