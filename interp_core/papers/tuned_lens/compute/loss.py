"""What a lens is trained on: its divergence from the output, and the gradient of it."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.runtime import device


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

    The gradient is that of the mean over rows.

    Where the target's entropy is given as 0, this is the cross-entropy.
    """
    if device() != "cpu":
        shifted = logits.astype(mx.float32) + mx.array(of.log_weight)
        total = mx.logsumexp(shifted, axis=-1, keepdims=True)
        weighted = mx.array(of.weighted)
        cross = total[:, 0] - (weighted * logits.astype(mx.float32)).sum(-1)
        return np.array(cross) - of.entropy, (mx.exp(shifted - total) - weighted) / len(logits)
    rows = host_math.as_numpy(logits)
    loss, (gradient,) = np.empty(len(rows), np.float32), host_math.scratch(1, rows.shape)
    share = np.float32(1 / len(rows))

    def work(part: slice) -> None:
        out, z = gradient[part], rows[part]
        weighed = z if of.columns is None else np.add(z, of.log_weight, out=out)
        highest = weighed.max(-1, keepdims=True)
        np.subtract(weighed, highest, out=out)
        np.exp(out, out=out)
        total = out.sum(-1, keepdims=True)
        out *= 1 / total
        cross = np.log(total[:, 0]) + highest[:, 0] - np.vecdot(of.weighted[part], z)
        loss[part] = cross - of.entropy[part]
        out -= of.weighted[part]
        out *= share

    host_math.each_slice(work, rows.shape, 16)
    return loss, mx.array(gradient)
