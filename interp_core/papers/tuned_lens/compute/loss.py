"""What a lens is trained on: its divergence from the output, and the gradient of it."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math, readout
from interp_core.readout import Final
from interp_core.runtime import device

_SLICE = 1 << 18
"""Logits a core works on at a time: the passes over them stay in its cache."""


@dataclass(frozen=True)
class Target:
    """What every layer's readout is drawn to, on the columns of the vocabulary that are summed over."""

    columns: mx.array | None
    """[column] ids; None for all."""
    log_weight: np.ndarray
    """[column] logarithm of how many tokens a column stands for."""
    weighted: np.ndarray
    """[row, column] target probabilities times that number."""
    entropy: np.ndarray
    """[row] nats, over the whole vocabulary; 0 for a given next token."""


def target(probs: np.ndarray, entropy: np.ndarray, sample: int | None, seed: list[int]) -> Target:
    """Return the target of distributions [row, d_vocab].

    With ``sample`` columns the first half are those with most mass in this batch; the others are
    drawn evenly from the rest, and each stands for as many as it was drawn from. Sums over the
    vocabulary are then unbiased: that of the target, and the one that normalises the softmax. The
    loss is not, since it takes a logarithm: where a readout favours tokens that are seldom drawn, most
    draws miss them, and it comes out too low.
    """
    d_vocab = probs.shape[-1]
    if sample is None or sample >= d_vocab:
        return Target(None, np.zeros(d_vocab, np.float32), probs, entropy)
    half = sample // 2
    by_mass = np.argpartition(-probs.mean(0), half)
    drawn = np.random.default_rng(seed).permutation(by_mass[half:])[: sample - half]
    columns = np.concatenate([np.sort(by_mass[:half]), np.sort(drawn)])
    stands_for = np.ones(len(columns), np.float32)
    stands_for[half:] = (d_vocab - half) / len(drawn)
    weighted = probs[:, columns] * stands_for
    return Target(mx.array(columns), np.log(stands_for), weighted, entropy)


def divergence(logits: mx.array, of: Target) -> tuple[np.ndarray, mx.array]:
    """Return the KL [row] from target to readout, nats, and its gradient by ``logits`` [row, column].

    The gradient is that of the sum over rows. Where the target's entropy is given as 0, this is the
    cross-entropy. On CPUs the gradient takes the place of the logits, in their memory: copying it
    took a tenth of a training step.
    """
    logits = logits.astype(mx.float32)
    if device() != "cpu":
        shifted = logits + mx.array(of.log_weight)
        total = mx.logsumexp(shifted, axis=-1, keepdims=True)
        weighted = mx.array(of.weighted)
        cross = total[:, 0] - (weighted * logits).sum(-1)
        return np.array(cross) - of.entropy, mx.exp(shifted - total) - weighted
    rows = np.asarray(logits)
    loss = np.empty(len(rows), np.float32)

    def work(part: slice) -> None:
        z, weighted = rows[part], of.weighted[part]
        cross = -np.vecdot(weighted, z)
        if of.columns is not None:
            z += of.log_weight
        highest = z.max(-1, keepdims=True)
        z -= highest
        np.exp(z, out=z)
        total = z.sum(-1, keepdims=True)
        z *= 1 / total
        z -= weighted
        loss[part] = cross + np.log(total[:, 0]) + highest[:, 0] - of.entropy[part]

    host_math.each_slice(work, rows.shape, max(1, _SLICE // rows.shape[1]))
    return loss, logits


def kl(logits: mx.array, final: Final) -> np.ndarray:
    """Return KL(final || readout) of logits [row, d_vocab], nats, [row]."""
    crossed = np.vecdot(np.asarray(final.probs), host_math.as_numpy(logits))
    # Rounding can leave a divergence of two equal rows a hair below zero.
    return np.maximum(readout.log_normaliser(logits) - crossed - final.entropy, 0)
