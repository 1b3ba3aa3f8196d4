"""Sparse autoencoders in training: which latents are active, and the gradient of the loss, written out.

All architectures share the gradient: they differ in which latents are active, in how many prefixes of
the latents reconstruct, and in what is done for latents that are never active.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.papers.sparse_autoencoder.params import Architecture
from interp_core.runtime import device

Weights = dict[str, mx.array]
"""``W_enc`` [d_in, latent], ``b_enc`` [latent], ``W_dec`` [latent, d_in], ``b_dec`` [d_in]."""

_FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Prefixes of a Matryoshka's latents that reconstruct (Bussmann et al. 2025 draw them; these are fixed)."""


@dataclass(frozen=True)
class Kind:
    """What an autoencoder is, beside its weights."""

    architecture: Architecture
    sparsity: float
    """k, or the L1 coefficient."""
    latents: int

    @property
    def prefixes(self) -> list[int]:
        """How many latents each reconstruction has; the last has all."""
        if self.architecture != "matryoshka":
            return [self.latents]
        return [max(1, round(share * self.latents)) for share in _FRACTIONS]

    @property
    def l1(self) -> float:
        """The coefficient of the sum of activations."""
        return self.sparsity if self.architecture == "standard" else 0.0


def begin(kind: Kind, some: np.ndarray, seed: int) -> Weights:
    """Return initial weights: random unit rows of ``W_dec``, ``b_dec`` the geometric median.

    ``W_enc`` is its transpose, for ``standard`` a tenth of it: by the whole, nearly all latents of a short
    training die in its first steps.

    Args:
        kind: Of autoencoder.
        some: [row, d_in] activations, scaled.
        seed: Of the draws.
    """
    draw = np.random.default_rng([seed, kind.latents])
    rows = draw.normal(size=(kind.latents, some.shape[1])).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    share = np.float32(0.1 if kind.architecture == "standard" else 1.0)
    return {
        "W_enc": mx.array(np.ascontiguousarray(share * rows.T)),
        "b_enc": mx.zeros(kind.latents),
        "W_dec": mx.array(rows),
        "b_dec": mx.array(geometric_median(some)),
    }


def geometric_median(rows: np.ndarray) -> np.ndarray:
    """Return the point with the least mean distance to ``rows`` [row, d], by Weiszfeld's steps."""
    at = rows.mean(0)
    for _ in range(50):
        weight = 1 / np.maximum(np.linalg.norm(rows - at, axis=1), 1e-6)
        moved = (weight[:, None] * rows).sum(0) / weight.sum()
        if np.linalg.norm(moved - at) < 1e-5 * max(np.linalg.norm(at), 1):
            break
        at = moved
    return at.astype(np.float32)


def pre_activations(weights: Weights, x: mx.array) -> mx.array:
    """Return what ReLU and top k act on, [row, latent], of scaled inputs [row, d_in]."""
    return (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]


def encode(kind: Kind, weights: Weights, x: mx.array) -> tuple[mx.array, mx.array]:
    """Return activations [row, latent] of scaled inputs [row, d_in], and pre-activations."""
    before = pre_activations(weights, x)
    active = mx.maximum(before, 0)
    if kind.architecture == "standard":
        return active, before
    k = int(kind.sparsity)
    if kind.architecture == "topk":
        return largest(active, k), before
    least = kth(active.reshape(1, -1), k * len(x))
    return mx.where(active >= mx.maximum(least, 1e-30), active, 0), before


def largest(active: mx.array, k: int) -> mx.array:
    """Return activations [row, latent] with all but the ``k`` largest of each row at 0."""
    return mx.where(active >= kth(active, k), active, 0)


def kth(values: mx.array, k: int) -> mx.array:
    """Return the k-th largest of each row [row, n], [row, 1]; 0 counts as less than all others."""
    n = values.shape[-1]
    if k >= n:
        return mx.zeros((len(values), 1))
    if device() != "cpu":
        return mx.maximum(mx.topk(values, k, axis=-1).min(-1, keepdims=True), 1e-30)
    rows = host_math.as_numpy(values)
    out = np.empty((len(rows), 1), np.float32)

    def work(part: slice) -> None:
        out[part, 0] = np.partition(rows[part], n - k, axis=-1)[:, n - k]

    host_math.each_slice(work, rows.shape, max(1, (1 << 17) // n))
    return mx.array(np.maximum(out, 1e-30))


def gradients(
    kind: Kind, weights: Weights, x: mx.array, codes: mx.array, warmth: float = 1.0
) -> tuple[mx.array, Weights]:
    """Return what is left of each row, ``x - x^`` [row, d_in], and the loss's gradient.

    The loss is the mean of the squared errors over rows, dimensions and prefixes, and ``l1`` times the
    mean over rows of the sum of activations.

    Args:
        kind: Of autoencoder.
        weights: Its weights.
        x: [row, d_in], scaled.
        codes: [row, latent], as :func:`encode` returns them.
        warmth: What ``l1`` is multiplied by.
    """
    rows, d = x.shape
    ends = kind.prefixes
    starts = [0, *ends[:-1]]
    recon, errors = weights["b_dec"], []
    for start, end in zip(starts, ends, strict=True):
        recon = recon + codes[:, start:end] @ weights["W_dec"][start:end]
        errors.append(recon - x)
    back = mx.zeros_like(x)
    by_code, by_decoder, total = [], [], mx.zeros(d)
    for start, end, error in zip(starts[::-1], ends[::-1], errors[::-1], strict=True):
        step = error * (2 / (rows * d * len(ends)))
        back, total = back + step, total + step.sum(0)
        by_code.append(back @ weights["W_dec"][start:end].T)
        by_decoder.append(codes[:, start:end].T @ back)
    by_before = mx.where(codes > 0, mx.concatenate(by_code[::-1], 1) + kind.l1 * warmth / rows, 0)
    summed = by_before.sum(0)
    return -errors[-1], {
        "W_enc": (x - weights["b_dec"]).T @ by_before,
        "b_enc": summed,
        "W_dec": mx.concatenate(by_decoder[::-1]),
        "b_dec": total - weights["W_enc"] @ summed,
    }


def revival(
    weights: Weights, x: mx.array, left: mx.array, before: mx.array, dead: np.ndarray
) -> Weights | None:
    """Return the gradient that lets dead latents reconstruct what the others leave (Gao et al. 2024).

    Of the dead ones the ``d_in / 2`` with the largest pre-activations stand in for the error; its
    square is weighted by how many there are, up to 1, as SAELens has it.

    Args:
        weights: Of the autoencoder.
        x: [row, d_in], scaled.
        left: [row, d_in] what the others leave, as :func:`gradients` returns it.
        before: [row, latent] pre-activations.
        dead: [latent] whether it is.
    """
    rows, d = x.shape
    at = np.flatnonzero(dead)
    most = d // 2
    if not len(at):
        return None
    chosen = mx.array(at)
    own = before[:, chosen]
    if len(at) > most:
        shifted = own - own.min()
        own = mx.where(shifted >= kth(shifted, most), own, 0)
    step = (own @ weights["W_dec"][chosen] - left) * (2 * min(len(at) / most, 1) / (rows * d))
    by_before = mx.where(own != 0, step @ weights["W_dec"][chosen].T, 0)
    summed = by_before.sum(0)
    found = {name: mx.zeros_like(value) for name, value in weights.items()}
    found["W_enc"][:, chosen] = (x - weights["b_dec"]).T @ by_before
    found["b_enc"][chosen] = summed
    found["b_dec"] = -(weights["W_enc"][:, chosen] @ summed)
    found["W_dec"][chosen] = own.T @ step
    return found


def without_parallel(gradient: mx.array, decoder: mx.array) -> mx.array:
    """Return a gradient of ``W_dec`` [latent, d_in] without what would change its rows' lengths."""
    if device() != "cpu":
        return gradient - (gradient * decoder).sum(-1, keepdims=True) * decoder

    def work(g: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
        np.multiply(w, np.einsum("ij,ij->i", g, w)[:, None], out=out)
        np.subtract(g, out, out=out)

    found = mx.zeros_like(gradient)
    host_math.by_rows(work, gradient, decoder, found)
    return found


def unit_rows(decoder: mx.array) -> mx.array:
    """Return ``W_dec`` [latent, d_in] with rows of length 1."""
    if device() != "cpu":
        return decoder / mx.sqrt((decoder * decoder).sum(-1, keepdims=True))

    def work(w: np.ndarray, out: np.ndarray) -> None:
        np.divide(w, np.sqrt(np.einsum("ij,ij->i", w, w))[:, None], out=out)

    found = mx.zeros_like(decoder)
    host_math.by_rows(work, decoder, found)
    return found
