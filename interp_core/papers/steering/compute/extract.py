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
    done = 0
    for shared, batch in _batches(rest):
        report("reading answers", done, len(texts))
        rows = [row for pair in batch for row in (2 * pair, 2 * pair + 1)]
        mean, norm = _read_pairs(model.stream, [rest[row] for row in rows], shared, prefix)
        means[rows] = mean
        norms += norm
        read += sum(len(rest[row][0]) - rest[row][1] for row in rows)
        done += len(rows)
    return means.reshape(len(pairs), 2, n_layers, d), norms / read


def _front(stream: ResidualStream, texts: list[tuple[list[int], int]]) -> tuple[int, dict[int, KV]]:
    """Return how many tokens all texts begin with, none of them read, and their keys and values.

    Those are a chat template's own, as a rule: a system prompt that is there once for all.
    """
    shared = _shared(texts)
    if not shared:
        return 0, {}
    run = stream.run(mx.array([texts[0][0][:shared]]), keep_kv=True, unembed=None)
    return shared, run.kv


def _shared(texts: list[tuple[list[int], int]]) -> int:
    """Return how many tokens texts begin with alike, none of them read: the question, as a rule."""
    alike = [len(set(column)) == 1 for column in zip(*(ids for ids, _ in texts), strict=False)]
    return min([*alike, False].index(False), *(start for _, start in texts))


def _batches(texts: list[tuple[list[int], int]]) -> list[tuple[int, list[int]]]:
    """Return pairs that run together: how much of their two texts runs once for both, and which.

    Where answers are longer than what they share, as whole sentences are, nothing does: larger batches
    then save more.
    """
    both = [texts[i : i + 2] for i in range(0, len(texts), 2)]
    longest = [max(len(ids) for ids, _ in pair) for pair in both]
    shared = [_shared(pair) for pair in both]
    shared = [some if 2 * some > most else 0 for some, most in zip(shared, longest, strict=True)]
    groups: list[tuple[int, list[int]]] = []
    for i in sorted(range(len(both)), key=lambda i: (shared[i], longest[i])):
        tokens = max(shared[i], 2 * (longest[i] - shared[i]))
        if not groups or groups[-1][0] != shared[i] or (len(groups[-1][1]) + 1) * tokens > _TOKENS:
            groups.append((shared[i], []))
        groups[-1][1].append(i)
    return groups


def _read_pairs(
    stream: ResidualStream,
    texts: list[tuple[list[int], int]],
    shared: int,
    prefix: Mapping[int, KV],
) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`_read` does; the ``shared`` first tokens of each pair's two texts run once."""
    if shared:
        questions = mx.array([ids[:shared] for ids, _ in texts[::2]])
        run = stream.run(questions, prefix=prefix, keep_kv=True, unembed=None)
        prefix = {
            layer: KV(mx.repeat(kv.keys, 2, axis=0), mx.repeat(kv.values, 2, axis=0))
            for layer, kv in run.kv.items()
        }
    return _read(stream, [(ids[shared:], start - shared) for ids, start in texts], prefix)


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
