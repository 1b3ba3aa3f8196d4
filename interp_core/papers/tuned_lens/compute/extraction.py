"""Causal basis extraction: the directions whose ablation changes a lens's readout most.

Ablating a direction moves each residual along it, so what a lens passes to the final norm moves along
one direction too, and its logits, before the norm's scale, change by an outer product. No product with
the unembedding is needed then, but for one vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.papers.logit_lens.compute import Translate
from interp_core.papers.tuned_lens.compute.loss import Target, divergence, target
from interp_core.residual import ResidualStream, norm_parts
from interp_core.runtime import give_way

_STARTS = 8
"""Directions of each kind that may be where a search begins."""
_EVALUATIONS = 100
"""Of the influence in a search, at most (the authors' code)."""
_TOLERANCE = 1e-5
"""Relative gain of a step that ends a search."""
_SEARCHES = 5
"""For each vector, on the coarse reader."""
_SAME = 0.9
"""Cosine from which on two ends are one."""
_LEFT = 0.1
"""Length of a unit vector, off the earlier ones, under which nothing is left of it."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A lens on the residuals of a text at one layer, ready for their ablation along any direction."""

    deviation: mx.array
    """[row, d_model] residuals less their mean."""
    linear: Callable[[mx.array], mx.array]
    """What the lens does to differences of residuals [..., d_model]."""
    resid: mx.array
    """[row, d_model] as the final norm gets them; around their mean where it takes that away."""
    head: mx.array
    """[column, d_model] rows of the unembedding times the norm's gain."""
    constant: mx.array
    """[column] logits of the norm's bias."""
    eps: float
    centred: bool
    cap: float | None
    log_weight: np.ndarray
    """[column] logarithm of how many tokens a column stands for."""

    def logits(self, v: mx.array) -> mx.array:
        """Return logits [row, column] after the ablation of a unit vector [d_model]; none for 0."""
        along, moved = self.deviation @ v, self.linear(v)
        if self.centred:
            moved = moved - moved.mean()
        square = self._square - 2 * along * (self.resid @ moved) + along * along * (moved @ moved)
        scale = mx.rsqrt(square / moved.size + self.eps)
        changed = self._before - along[:, None] @ (self.head @ moved)[None]
        logits = changed * scale[:, None] + self.constant
        return logits if self.cap is None else mx.tanh(logits / self.cap) * self.cap

    @cached_property
    def _square(self) -> mx.array:
        return (self.resid * self.resid).sum(-1)

    @cached_property
    def _before(self) -> mx.array:
        return self.resid @ self.head.T

    @cached_property
    def _goal(self) -> Target:
        """The readout before any ablation, on the columns."""
        logits = np.array(self.logits(mx.zeros(self.resid.shape[-1])))
        shifted = logits + self.log_weight
        normaliser = readout.log_normaliser(mx.array(shifted))
        probs = np.exp(shifted - normaliser[:, None])
        entropy = normaliser - np.vecdot(probs, logits)
        return Target(mx.arange(len(self.log_weight)), self.log_weight, probs, entropy)

    def influence(self, v: np.ndarray) -> float:
        """Return the mean KL(readout || readout after the ablation) of a unit vector, nats."""
        loss, _ = divergence(self.logits(mx.array(v.astype(np.float32))), self._goal)
        return float(loss.mean())

    def with_gradient(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the influence of a vector, and its gradient by it [d_model]."""
        at = mx.array(v.astype(np.float32))
        loss, by_logits = divergence(self.logits(at), self._goal)
        _, (gradient,) = mx.vjp(self.logits, [at], [by_logits])
        return float(loss.mean()), np.array(gradient).astype(float) / len(loss)

    def starts(self) -> np.ndarray:
        """Return directions where a search may begin, [start, d_model].

        These are what the unembedding after the lens tells apart best (the authors' choice), and what
        the residuals differ in most.
        """
        matrix = np.array(self.linear(mx.eye(self.resid.shape[-1]))).T
        seen = np.exp(self.log_weight)[:, None] ** 0.5 * np.array(self.head) @ matrix
        spread = np.array(self.deviation)
        grams = [each.T.astype(float) @ each for each in (seen, spread)]
        return np.concatenate([np.linalg.eigh(gram)[1][:, : -1 - _STARTS : -1].T for gram in grams])


def reader(
    stream: ResidualStream,
    translate: Translate,
    layer: int,
    states: mx.array,
    sample: int,
    seed: list[int],
) -> Reader:
    """Return a lens on residuals [row, d_model] of a layer, on a sample of the vocabulary.

    Half of the sample are the tokens that the lens gives most mass on average, and the others are drawn
    evenly from the rest, each with the weight of as many as it was drawn from.
    """
    zero = translate(layer, mx.zeros_like(states[:1]))
    resid = translate(layer, states).astype(mx.float32)
    mass = np.sum([_mass(stream, resid[rows]) for rows in readout.chunks(len(states))], axis=0)
    chosen = target(mass[None] / len(states), np.zeros(1), sample, seed)
    columns = mx.arange(len(mass)) if chosen.columns is None else chosen.columns
    head = stream.head_rows(columns).astype(mx.float32)
    gain, bias, centred = norm_parts(stream.norm, states.shape[-1])
    return Reader(
        deviation=states - states.mean(0),
        linear=lambda v: translate(layer, v) - zero[0],
        resid=resid - resid.mean(-1, keepdims=True) if centred else resid,
        head=head * gain,
        constant=head @ bias,
        eps=stream.norm.eps,
        centred=centred,
        cap=stream.softcap,
        log_weight=chosen.log_weight,
    )


def _mass(stream: ResidualStream, resid: mx.array) -> np.ndarray:
    """Return the sum over rows [row, d_model] of the distributions that they give, [d_vocab]."""
    give_way()
    return np.asarray(readout.final(stream.unembed(resid)).probs).sum(0)


def causal_basis(fine: Reader, coarse: Reader, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal vectors [vector, d_model], and their influence [vector], the largest first.

    Each maximises the influence among the directions orthogonal to those before it. The influence has
    several maxima, the best of which may be three times the one that is nearest: some searches go over a
    part of text and vocabulary (``coarse``), and the best end is where that over all of it begins.
    """
    found: list[np.ndarray] = []
    influence = []
    pool = list(coarse.starts())
    for _ in range(count):
        ends = [ascend(coarse, start, found) for start in _best(coarse, pool, found)]
        begin, _ = max(ends, key=lambda end: end[1])
        vector, value = ascend(fine, begin, found)
        found.append(vector)
        influence.append(value)
        # The other maxima are where the next vectors are likely to be.
        for end, _ in ends:
            if all(abs(end @ other) < _SAME for other in (vector, *pool)):
                pool.append(end)
    order = np.argsort(-np.array(influence), kind="stable")
    return np.stack(found)[order], np.array(influence)[order]


def _best(reading: Reader, pool: list[np.ndarray], earlier: list[np.ndarray]) -> list[np.ndarray]:
    """Return the few of some directions, orthogonal to ``earlier`` ones, that have most influence."""
    left = [unit(u, earlier) for u in pool if np.linalg.norm(_off(u, earlier)) > _LEFT]
    tried = [_tried(reading, v) for v in left]
    return [left[i] for i in np.argsort(tried)[: -1 - _SEARCHES : -1]]


def _tried(reading: Reader, v: np.ndarray) -> float:
    give_way()
    return reading.influence(v)


def ascend(
    reading: Reader, start: np.ndarray, earlier: list[np.ndarray]
) -> tuple[np.ndarray, float]:
    """Return the unit vector [d_model] that a search from ``start`` ends at, and its influence.

    It is orthogonal to ``earlier`` ones. The search is L-BFGS over vectors of any length, of which the
    influence sees the direction.
    """
    from scipy.optimize import minimize  # not needed to draw a page, and slow to import

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        give_way()
        v = unit(u, earlier)
        value, gradient = reading.with_gradient(v)
        across = _off(gradient - v * (v @ gradient), earlier)
        return -value, -across / np.linalg.norm(_off(u, earlier))

    limits = {"maxfun": _EVALUATIONS, "ftol": _TOLERANCE}
    ended = minimize(objective, start, jac=True, method="L-BFGS-B", options=limits)
    return unit(ended.x, earlier), -float(ended.fun)


def unit(u: np.ndarray, earlier: list[np.ndarray]) -> np.ndarray:
    """Return a vector [d_model] of unit length, orthogonal to ``earlier`` unit vectors."""
    # Once more, since rounding leaves some of what is nearly within their span.
    off = _off(_off(np.asarray(u, float), earlier), earlier)
    return off / np.linalg.norm(off)


def _off(u: np.ndarray, earlier: list[np.ndarray]) -> np.ndarray:
    for v in earlier:
        u = u - v * (v @ u)
    return u


def random_basis(d_model: int, count: int, seed: list[int]) -> np.ndarray:
    """Return orthonormal vectors in random directions, [vector, d_model]."""
    drawn = np.random.default_rng(seed).normal(size=(d_model, count))
    return np.linalg.qr(drawn)[0].T
