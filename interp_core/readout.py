"""What a residual says of the next token: statistics over the whole vocabulary, never stored.

Logits of a few dozen positions exist at a time. From each row come its most likely tokens, its
entropy, its divergence from the model's own output, and the rank and probability of chosen
tokens; the row itself is dropped. On CPUs numpy reads MLX's memory in slices that fit the cache
(see :mod:`interp_core.host_math`); elsewhere MLX reduces on the device, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.runtime import device

CHUNK = 64
"""Positions compared with the model's own output at a time."""

_LOGITS = 10_000_000
"""Logits that exist at a time, at most, where one layer has no more; 40 MB in float32."""

_FOLDS = 16
"""Lines a row is folded into to find its top tokens (see :func:`_top`)."""

_ROWS = 16
"""Rows of logits a core reduces at a time: a few passes over them stay in its cache."""


@dataclass(frozen=True)
class Readout:
    """Statistics of next-token distributions, one row each."""

    top_ids: np.ndarray
    """[row, k] the most likely tokens, likeliest first."""
    top_probs: np.ndarray
    """[row, k] their probabilities."""
    entropy: np.ndarray
    """[row] in nats."""
    kl: np.ndarray
    """[row] KL(final || this) in nats, Belrose et al. 2023's direction."""
    rank: np.ndarray
    """[row, target] how many tokens are likelier than the target; 0 is the likeliest."""
    log_prob: np.ndarray
    """[row, target] natural logarithm of the target's probability."""


@dataclass(frozen=True)
class Final:
    """The model's own output at some positions, to compare readouts with."""

    probs: np.ndarray | mx.array
    """[row, d_vocab]"""
    entropy: np.ndarray
    """[row] in nats."""
    top: np.ndarray
    """[row] the likeliest token."""
    top_prob: np.ndarray
    """[row] its probability."""


def chunks(n: int) -> Iterator[slice]:
    """Yield the slices of ``range(n)`` that are unembedded together."""
    for start in range(0, n, CHUNK):
        yield slice(start, min(start + CHUNK, n))


def together(n_layers: int, positions: int, d_vocab: int) -> Iterator[slice]:
    """Yield the slices of ``range(n_layers)`` whose positions are unembedded in one product.

    A product of a few hundred rows takes less time per row than one of a few dozen.
    """
    step = max(1, _LOGITS // (positions * d_vocab))
    for start in range(0, n_layers, step):
        yield slice(start, min(start + step, n_layers))


def final(logits: mx.array) -> Final:
    """Return the reference that the model's own ``logits`` [row, d_vocab] give."""
    if device() != "cpu":
        log_probs = logits.astype(mx.float32)
        log_probs = log_probs - mx.logsumexp(log_probs, axis=-1, keepdims=True)
        probs = mx.exp(log_probs)
        entropy = -(probs * log_probs).sum(-1)
        top = np.array(mx.argmax(log_probs, axis=-1))
        return Final(probs, np.array(entropy), top, np.array(probs.max(-1)))
    rows = host_math.as_numpy(logits)
    shares, spread = np.empty_like(rows), np.empty(len(rows), np.float32)

    def work(part: slice) -> None:
        (shifted,), p = host_math.scratch(1, rows[part].shape), shares[part]
        np.subtract(rows[part], rows[part].max(-1, keepdims=True), out=shifted)
        np.exp(shifted, out=p)
        total = p.sum(-1, keepdims=True)
        p /= total
        spread[part] = np.log(total[:, 0]) - np.vecdot(p, shifted)

    host_math.each_slice(work, rows.shape, _ROWS)
    return Final(shares, spread, rows.argmax(-1), shares.max(-1))


def log_normaliser(logits: mx.array) -> np.ndarray:
    """Return log(sum(exp(logits))) of each row [row, d_vocab]: [row], float32."""
    if device() != "cpu":
        return np.array(mx.logsumexp(logits.astype(mx.float32), axis=-1))
    rows = host_math.as_numpy(logits)
    out = np.empty(len(rows), np.float32)

    def work(part: slice) -> None:
        z = rows[part]
        (weights,) = host_math.scratch(1, z.shape)
        highest = z.max(-1, keepdims=True)
        np.exp(np.subtract(z, highest, out=weights), out=weights)
        out[part] = np.log(weights.sum(-1)) + highest[:, 0]

    host_math.each_slice(work, rows.shape, _ROWS)
    return out


def surprisal(
    unembed: Callable[[mx.array], mx.array], resid: mx.array, targets: np.ndarray
) -> np.ndarray:
    """Return -log p(target) of each residual [row, d_model], nats, [row]; ``targets`` are ids."""
    out = np.empty(len(targets), np.float32)
    for part in chunks(len(targets)):
        logits = unembed(resid[part]).astype(mx.float32)
        chosen = mx.take_along_axis(logits, mx.array(targets[part])[:, None], -1)[:, 0]
        out[part] = log_normaliser(logits) - np.array(chosen)
    return out


def read(logits: mx.array, reference: Final, targets: np.ndarray, top_k: int) -> Readout:
    """Reduce ``logits`` [row, d_vocab] to their statistics.

    Args:
        logits: One row per distribution.
        reference: The model's own output for the same rows.
        targets: Token ids [row, target] to rank.
        top_k: How many of the most likely tokens to keep.
    """
    top_k = min(top_k, logits.shape[-1])
    if device() == "cpu":
        return _read_host(host_math.as_numpy(logits), reference, targets, top_k)
    return _read_device(logits, reference, targets, top_k)


def _read_host(rows: np.ndarray, reference: Final, targets: np.ndarray, top_k: int) -> Readout:
    n, n_targets = targets.shape
    out = Readout(
        np.empty((n, top_k), np.int32),
        np.empty((n, top_k), np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty((n, n_targets), np.int32),
        np.empty((n, n_targets), np.float32),
    )

    def work(part: slice) -> None:
        z = rows[part]
        top, highest = _top(z, top_k)
        shifted, weights = host_math.scratch(2, z.shape)
        np.subtract(z, highest, out=shifted)
        np.exp(shifted, out=weights)
        total = weights.sum(-1)
        log_total = np.log(total)
        out.top_ids[part] = top
        out.top_probs[part] = np.take_along_axis(weights, top, -1) / total[:, None]
        out.entropy[part] = log_total - np.vecdot(weights, shifted) / total
        cross = log_total - np.vecdot(reference.probs[part], shifted)
        # Rounding can leave a divergence of two equal rows a hair below zero.
        out.kl[part] = np.maximum(cross - reference.entropy[part], 0)
        at = np.take_along_axis(z, targets[part], -1)
        out.log_prob[part] = at - highest - log_total[:, None]
        for t in range(n_targets):
            likelier = z > at[:, t, None]
            out.rank[part, t] = [np.count_nonzero(row) for row in likelier]

    host_math.each_slice(work, rows.shape, _ROWS)
    return out


def _top(z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of each row's ``k`` largest, in order, and the largest itself [row, 1].

    A row is laid out as ``_FOLDS`` lines under each other. The k largest lie in the k columns with
    the largest maxima, so only those are sorted: exact, and one pass over the row where a
    partition takes several.
    """
    n, vocabulary = z.shape
    width = -(-vocabulary // _FOLDS)
    maxima = z[:, :width].copy()
    for start in range(width, vocabulary, width):
        line = z[:, start : start + width]
        covered = maxima[:, : line.shape[1]]
        np.maximum(covered, line, out=covered)
    keep = min(k, width)
    columns = np.argpartition(maxima, width - keep, axis=1)[:, width - keep :]
    ids = (columns[:, :, None] + width * np.arange(_FOLDS)).reshape(n, -1)
    inside = ids < vocabulary
    values = np.where(inside, np.take_along_axis(z, np.where(inside, ids, 0), 1), -np.inf)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    top = np.take_along_axis(ids, order, 1)
    return top, np.take_along_axis(values, order[:, :1], 1)


def _read_device(logits: mx.array, reference: Final, targets: np.ndarray, top_k: int) -> Readout:
    z = logits.astype(mx.float32)
    log_probs = z - mx.logsumexp(z, axis=-1, keepdims=True)
    probs = mx.exp(log_probs)
    ids = mx.argpartition(-z, top_k - 1, axis=-1)[:, :top_k]
    values = mx.take_along_axis(z, ids, -1)
    ids = mx.take_along_axis(ids, mx.argsort(-values, axis=-1), -1)
    # Ranks compare logits: rounding makes ties of close log-probabilities.
    at = mx.take_along_axis(z, mx.array(targets), -1)
    rank = [(z > at[:, t, None]).sum(-1) for t in range(targets.shape[1])]
    cross = -(mx.array(reference.probs) * log_probs).sum(-1)
    kl = mx.maximum(cross - mx.array(reference.entropy), 0)
    entropy = -(probs * log_probs).sum(-1)
    top_probs = mx.take_along_axis(probs, ids, -1)
    ranks = mx.stack(rank, -1) if rank else mx.zeros(targets.shape)
    at = mx.take_along_axis(log_probs, mx.array(targets), -1)
    mx.eval(ids, top_probs, entropy, kl, ranks, at)
    return Readout(
        np.array(ids, np.int32),
        np.array(top_probs),
        np.array(entropy),
        np.array(kl),
        np.array(ranks).astype(np.int32),
        np.array(at),
    )
