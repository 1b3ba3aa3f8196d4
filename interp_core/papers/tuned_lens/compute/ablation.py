"""Mean ablation of directions of the residual stream, and what it does to lenses and to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import host_math, readout
from interp_core.papers.logit_lens.compute import Translate
from interp_core.residual import ResidualStream
from interp_core.runtime import give_way

_TOKENS = 4096
"""Tokens that run through the blocks at a time, those of several ablations together."""
_LEAST = 1e-4
"""Standard deviation of the change of log-probabilities, nats, under which it has no direction:
rounding makes some of a tenth of that."""


@dataclass(frozen=True)
class Effects:
    """Sums over a document's positions of what the ablation of each vector does."""

    model: np.ndarray
    """[vector] KL(output || output after the ablation), nats."""
    lens: np.ndarray
    """[lens, vector] KL(readout || readout after the ablation), nats."""
    alignment: np.ndarray
    """[lens, vector] cosine of stimulus and response."""
    aligned: np.ndarray
    """[lens, vector] positions that have one: lens and model both change."""


def ablated(resid: mx.array, vectors: mx.array, mean: mx.array) -> mx.array:
    """Return ``h - v v.(h - mean)`` of a residual [1, pos, d_model], [vector, pos, d_model].

    Vectors [vector, d_model] are of unit length, the mean is [d_model]. Position 0, the attention
    sink, is left as it is.
    """
    wide = resid.astype(mx.float32)
    along = (wide[0] - mean) @ vectors.T
    along = mx.where(mx.arange(along.shape[0])[:, None] > 0, along, 0)
    return (wide - along.T[:, :, None] * vectors[:, None]).astype(resid.dtype)


def effects(
    stream: ResidualStream,
    lenses: Sequence[Translate],
    layer: int,
    vectors: np.ndarray,
    mean: np.ndarray,
    resid: mx.array,
    at: np.ndarray,
) -> Effects:
    """Ablate each vector at every position of a document but the first, and read some of them.

    Args:
        stream: Whose blocks after ``layer`` run on.
        lenses: That read the layer.
        layer: The output of this block is ablated.
        vectors: [vector, d_model], of unit length.
        mean: [d_model] that stands for the residual along a vector.
        resid: [1, pos, d_model] of the document after block ``layer``.
        at: [row] positions that are read.
    """
    where = mx.array(at)
    states = mx.concatenate([resid, ablated(resid, mx.array(vectors), mx.array(mean))])
    outputs = _resumed(stream, states, layer, where)
    states = states[:, where]
    kinds = [outputs, *(lens(layer, states) for lens in lenses)]
    parts = []
    for rows in readout.chunks(len(at)):
        before = [_Distribution.of(stream.unembed(kind[0, rows])) for kind in kinds]
        groups = readout.together(len(vectors), len(before[0].probs), stream.d_vocab)
        found = []
        for group in groups:
            give_way()
            changed = slice(1 + group.start, 1 + group.stop)
            after = [stream.unembed(kind[changed, rows]) for kind in kinds]
            found.append(_compared(before, after))
        parts.append(np.concatenate(found, axis=1))
    kl, cosine = np.split(np.concatenate(parts, axis=2), [len(kinds)])
    return Effects(
        kl[0].sum(-1), kl[1:].sum(-1), np.nansum(cosine, -1), np.isfinite(cosine).sum(-1)
    )


def _resumed(stream: ResidualStream, states: mx.array, layer: int, at: mx.array) -> mx.array:
    """Return the last residual [variant, row, d_model] at some positions, from block ``layer`` on."""
    step = max(1, _TOKENS // states.shape[1])
    found = []
    for first in range(0, len(states), step):
        give_way()
        part = states[first : first + step]
        found.append(stream.run(resid=part, start=layer + 1, unembed=None).resid[:, at])
        mx.eval(found[-1])
    return mx.concatenate(found)


@dataclass(frozen=True)
class _Distribution:
    """Next-token distributions before the ablation, one row each."""

    logits: np.ndarray
    """[row, d_vocab]"""
    probs: np.ndarray
    """[row, d_vocab]"""
    normaliser: np.ndarray
    """[row] logarithm of the sum of their exponentials."""

    @classmethod
    def of(cls, logits: mx.array) -> _Distribution:
        probs = np.asarray(readout.final(logits).probs)
        return cls(host_math.as_numpy(logits), probs, readout.log_normaliser(logits))


def _compared(before: Sequence[_Distribution], after: Sequence[mx.array]) -> np.ndarray:
    """Return what changed, [kind + lens, vector, row]: KL of each kind, then cosines of each lens.

    ``after`` are logits [vector, row, d_vocab]. The model's own come first, then each lens's. The
    stimulus is the change of a lens's log-probabilities, the response that of the model's: their inner
    product is Aitchison's, weighted by the model's output before the ablation. What is the same for
    every token, as the change of the normaliser, drops out of it.
    """
    vectors, n, d_vocab = after[0].shape
    rows = [host_math.as_numpy(logits) for logits in after]
    flat = [logits.reshape(-1, d_vocab) for logits in after]
    kl = np.stack([readout.log_normaliser(each).reshape(vectors, n) for each in flat])
    kl -= np.stack([each.normaliser for each in before])[:, None]
    cosine = np.full((len(after) - 1, vectors, n), np.nan, np.float32)
    weight = before[0].probs

    def work(part: slice) -> None:
        width = vectors * len(weight[part])
        memory = host_math.scratch(3, (width, d_vocab)).reshape(3, vectors, -1, d_vocab)
        response, weighted, stimulus = memory
        p = weight[part]
        for kind, (old, new) in enumerate(zip(before, rows, strict=True)):
            change = stimulus if kind else response
            np.subtract(new[:, part], old.logits[part], out=change)
            kl[kind, :, part] -= np.vecdot(old.probs[part], change)
            change -= np.vecdot(p, change)[..., None]
            if kind == 0:
                np.multiply(p, response, out=weighted)
                size = np.sqrt(np.vecdot(weighted, response))
                continue
            inner = np.vecdot(weighted, stimulus)
            np.square(stimulus, out=stimulus)
            own = np.sqrt(np.vecdot(p, stimulus))
            changed = (size > _LEAST) & (own > _LEAST)
            np.divide(inner, size * own, out=cosine[kind - 1, :, part], where=changed)

    host_math.each_slice(work, (n, vectors * d_vocab), 1)
    return np.concatenate([np.maximum(kl, 0), cosine])
