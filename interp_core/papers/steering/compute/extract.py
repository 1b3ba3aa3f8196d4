"""Read activations at answers, and make directions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx
import numpy as np

from interp_core.block import KV
from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering.compute.prompts import check_length, read_at
from interp_core.papers.steering.pairs import Pair
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report

_TOKENS = 1024
"""Of texts that run together, padding included."""


def activations(
    model: LanguageModel, pairs: Sequence[Pair], protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the two answers of each pair leave in the stream, and how large the stream is.

    Returns:
        [pair, 2, layer, d_model], the mean of each block's output over the tokens read, matching answer
        first; and [layer], the mean norm of the output at these tokens.
    """
    tokenizer = model.require_tokenizer()
    texts = [each for pair in pairs for each in read_at(tokenizer, pair, protocol)]
    check_length(model, max(len(ids) for ids, _ in texts))
    n_layers, d = model.info.n_layers, model.info.d_model
    means = np.empty((len(texts), n_layers, d), np.float32)
    norms, read = np.zeros(n_layers), 0
    front, prefix = _front(model.stream, texts)
    rest = [(ids[front:], start - front) for ids, start in texts]
    order = sorted(range(len(rest)), key=lambda i: len(rest[i][0]))
    done = 0
    for batch in _batches(order, [len(ids) for ids, _ in rest]):
        report("reading answers", done, len(texts))
        mean, norm = _read(model.stream, [rest[i] for i in batch], prefix)
        means[batch] = mean
        norms += norm
        read += sum(len(rest[i][0]) - rest[i][1] for i in batch)
        done += len(batch)
    return means.reshape(len(pairs), 2, n_layers, d), norms / read


def _front(stream: ResidualStream, texts: list[tuple[list[int], int]]) -> tuple[int, dict[int, KV]]:
    """Return how many tokens all texts begin with, none of them read, and their keys and values.

    Those are a chat template's own, as a rule: a system prompt that is there once for all.
    """
    least, most = min(ids for ids, _ in texts), max(ids for ids, _ in texts)
    alike = [a == b for a, b in zip(least, most, strict=False)]
    shared = min([*alike, False].index(False), *(start for _, start in texts))
    if not shared:
        return 0, {}
    run = stream.run(mx.array([least[:shared]]), keep_kv=True, unembed=None)
    return shared, run.kv


def _batches(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Return texts of like lengths, in groups that run together."""
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * lengths[i] > _TOKENS:
            groups.append([])
        groups[-1].append(i)
    return groups


def _read(
    stream: ResidualStream, texts: list[tuple[list[int], int]], prefix: Mapping[int, KV]
) -> tuple[np.ndarray, np.ndarray]:
    """Return means over the tokens read, [text, layer, d_model], and norms summed over all, [layer].

    Shorter texts are padded at their end, where no token that is read looks.
    """
    longest = max(len(ids) for ids, _ in texts)
    tokens = np.zeros((len(texts), longest), np.int32)
    read = np.zeros((len(texts), longest), np.float32)
    for row, (ids, start) in enumerate(texts):
        tokens[row, : len(ids)] = ids
        read[row, start : len(ids)] = 1
    sites = [Site("resid_post", layer) for layer in range(stream.n_layers)]
    run = stream.run(mx.array(tokens), prefix=prefix, keep=sites, unembed=None)
    weight = mx.array(read / read.sum(1, keepdims=True))[:, None]
    mask = mx.array(read)
    means, norms = [], []
    for site in sites:
        x = run.acts[site].astype(mx.float32)
        means.append((weight @ x)[:, 0])
        norms.append((mx.sqrt((x * x).sum(-1)) * mask).sum())
    both = mx.stack(means, 1), mx.stack(norms)
    mx.eval(*both)
    return np.array(both[0]), np.array(both[1], np.float64)


def direction(both: np.ndarray, estimator: str) -> np.ndarray:
    """Return the direction from the other answers to the matching ones, [layer, d_model].

    Args:
        both: [pair, 2, layer, d_model], matching answers first.
        estimator: ``mean``, the mean difference (Rimsky et al. 2024, equation 1); ``pca``, the first
            principal axis of the differences about 0; ``logistic``, the weights of a logistic regression
            that tells the two apart. The latter two point to where matching answers lie, and have
            the mean difference's norm.
    """
    difference = both[:, 0] - both[:, 1]
    mean = difference.mean(0, dtype=np.float64)
    if estimator == "mean":
        return mean.astype(np.float32)
    make = _axis if estimator == "pca" else _weights
    found = np.stack([make(both[:, :, layer]) for layer in range(both.shape[2])])
    sign = np.sign((found * mean).sum(-1, keepdims=True))
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    size = np.linalg.norm(mean, axis=-1, keepdims=True)
    return (np.where(sign == 0, 1, sign) * found / np.maximum(length, 1e-30) * size).astype(
        np.float32
    )


def _axis(both: np.ndarray) -> np.ndarray:
    differences = (both[:, 0] - both[:, 1]).astype(np.float64)
    return np.linalg.svd(differences, full_matrices=False)[2][0]


def _weights(both: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression  # slow to import

    x = both.reshape(-1, both.shape[-1]).astype(np.float64)
    scale = x.std(0) + 1e-6 * (x.std() or 1.0)
    y = np.tile([1, 0], len(both))
    fitted = LogisticRegression(C=0.1, max_iter=200).fit((x - x.mean(0)) / scale, y)
    return fitted.coef_[0] / scale
