"""Gradients of TopK on the host: all but the encoder's product is over active latents alone.

A row has k active latents of thousands, so decoding, and every gradient, is a product with a sparse matrix.
On GPUs the dense products of :mod:`autoencoder` are faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.papers.sparse_autoencoder.compute.autoencoder import Weights

_GATHERED = 1 << 21
"""Numbers of ``W_dec`` that a core gathers at a time."""


@dataclass(frozen=True)
class Active:
    """The latents that are kept of each row."""

    at: np.ndarray
    """[row, k]"""
    value: np.ndarray
    """[row, k] activations; 0 where fewer are above 0."""

    def any(self, latents: int) -> np.ndarray:
        """Return which latents are active in some row, [latent] boolean."""
        found = np.zeros(latents, bool)
        found[self.at[self.value > 0]] = True
        return found


def largest(before: mx.array, k: int) -> Active:
    """Return the ``k`` largest pre-activations of each row [row, latent], through ReLU."""
    rows = host_math.as_numpy(before)
    n = rows.shape[1]
    at = np.empty((len(rows), k), np.int32)

    def work(part: slice) -> None:
        at[part] = np.argpartition(rows[part], n - k, axis=1)[:, n - k :]

    host_math.each_slice(work, rows.shape, max(1, (1 << 17) // n))
    return Active(at, np.maximum(np.take_along_axis(rows, at, 1), 0))


def gradients(weights: Weights, x: mx.array, active: Active) -> tuple[np.ndarray, Weights]:
    """Return what is left of each row, ``x - x^`` [row, d_in], and the gradient of its mean square.

    It equals :func:`autoencoder.gradients` of TopK.
    """
    from scipy.sparse import csr_array  # slow to import, and needed in training alone

    rows, k = active.at.shape
    decoder, inputs = np.asarray(weights["W_dec"]), np.asarray(x)
    bias = np.asarray(weights["b_dec"])
    latents, d = decoder.shape
    ends = np.arange(0, rows * k + 1, k, dtype=np.int32)

    def matrix(values: np.ndarray) -> csr_array:
        return csr_array((values.ravel(), active.at.ravel(), ends), shape=(rows, latents))

    codes = matrix(active.value)
    error = codes @ decoder + bias - inputs
    step = error * np.float32(2 / (rows * d))
    by_code = np.empty((rows, k), np.float32)

    def work(part: slice) -> None:
        by_code[part] = (decoder[active.at[part]] @ step[part][..., None])[..., 0]

    host_math.each_slice(work, error.shape, max(1, _GATHERED // (k * d)))
    by_code *= active.value > 0
    summed = np.bincount(active.at.ravel(), by_code.ravel(), latents).astype(np.float32)
    found = {
        "W_enc": _transposed(matrix(by_code).T @ (inputs - bias)),
        "b_enc": mx.array(summed),
        "W_dec": mx.array(codes.T @ step),
    }
    found["b_dec"] = mx.array(step.sum(0)) - weights["W_enc"] @ found["b_enc"]
    return -error, found


def _transposed(rows: np.ndarray) -> mx.array:
    """Return [d, row] of rows [row, d], in that order in memory, too: a few rows at a time, from the cache."""
    made = mx.zeros(rows.shape[::-1])
    out = np.asarray(made)

    def work(part: slice) -> None:
        out[:, part] = rows[part].T

    host_math.each_slice(work, rows.shape, 256)
    return made
