"""Describe one feature: its examples, what it writes, what is like it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute.apply import Applied
from interp_core.papers.sparse_autoencoder.compute.codes import Codes, of_feature, writes
from interp_core.papers.sparse_autoencoder.compute.features import logit_weights
from interp_core.papers.sparse_autoencoder.feature import AFTER, BEFORE, BINS, QUANTILES, Feature
from interp_core.papers.sparse_autoencoder.labels import Rules
from interp_core.papers.sparse_autoencoder.params import FeatureParams
from interp_core.provenance import Recorder
from interp_core.residual import norm_parts
from interp_core.runtime import report
from interp_core.tokens import Tokenizer

_WORDS, _NEIGHBOURS, _OTHERS = 10, 8, 20


def feature(model: LanguageModel, params: FeatureParams) -> Feature:
    """Read a text and describe one feature of it. On the compute thread only.

    Raises:
        ParameterError: When there is no such feature, or it is never active in the text.
    """
    tokenizer, n = model.require_tokenizer(), params.feature
    with Recorder() as recorder:
        found, read = of_feature(model, params)
        ids = read.ids
        rules = Rules(ids, {int(i): tokenizer.text(int(i)) for i in np.unique(ids)})
        logits = logit_weights(model, writes(model, found)[n : n + 1])[0]
        parts = {
            **_activity(read, rules, n),
            **_contexts(model, found, read, n, params.examples, logits),
            **_logits(tokenizer, logits),
            **_neighbours(found, read, n),
        }
    return Feature(
        params=params,
        provenance=recorder.provenance(model.info, []),
        about=found.dictionary.card.about,
        **parts,
    )


def _activity(read: Codes, rules: Rules, n: int) -> dict[str, Any]:
    """Return how often and how much a feature is active, and the rule that goes along with it."""
    value, active = read.of(n)[1], read.dense(n) > 0
    peak, rule = float(value.max()), rules.find(active)
    return {
        "positions": read.positions,
        "density": float(read.density[n]),
        "peak": peak,
        "histogram": np.histogram(value, bins=BINS, range=(0, peak))[0],
        "label": "" if rule is None else rule.words,
        "score": rules.score(rule, active),
        "score_random": _by_others(rules, read, n),
    }


def _contexts(
    model: LanguageModel, found: Applied, read: Codes, n: int, each: int, logits: np.ndarray
) -> dict[str, Any]:
    """Return examples of every fifth of activation, with what ablation does there."""
    tokenizer = model.require_tokenizer()
    quantile, where = _examples(read, n, each)
    activation, ablation, direct = _shown(model, found, read, n, where, logits)
    texts = tuple(
        tuple(tokenizer.text(int(i)) for i in read.ids[w, max(0, p - BEFORE) : p + AFTER + 1])
        for w, p in where
    )
    return {
        "direct": direct,
        "quantile": quantile,
        "where": where,
        "texts": texts,
        "activation": activation,
        "ablation": ablation,
    }


def _logits(tokenizer: Tokenizer, logits: np.ndarray) -> dict[str, Any]:
    """Return the tokens that a feature promotes and suppresses, and all its logit weights."""
    order = np.argsort(logits)
    counts, edges = np.histogram(logits, bins=BINS)
    up, down = order[::-1][:_WORDS], order[:_WORDS]
    return {
        "promoted": tuple(tokenizer.text(int(i)) for i in up),
        "promotion": logits[up],
        "suppressed": tuple(tokenizer.text(int(i)) for i in down),
        "suppression": logits[down],
        "logit_histogram": np.stack([edges[:-1], counts], 1),
    }


def _neighbours(found: Applied, read: Codes, n: int) -> dict[str, Any]:
    """Return features of like directions, features active together, and the site's dimensions."""
    similar, cosine = _similar(found, n)
    correlated, correlation = _correlated(read, n)
    direction = np.array(found.weights["W_dec"][n])
    share = np.sign(direction) * direction**2 / max(float((direction**2).sum()), 1e-30)
    neurons = np.argsort(-np.abs(share))[:_NEIGHBOURS]
    return {
        "similar": similar,
        "cosine": cosine,
        "correlated": correlated,
        "correlation": correlation,
        "neurons": neurons,
        "alignment": share[neurons],
    }


def _examples(read: Codes, n: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the fifth of each example, and its window and position, one a window and fifth.

    The first fifth's are its largest; those of the others are drawn.
    """
    place, value = read.of(n)
    width = read.ids.shape[1]
    fifth = np.minimum((5 * (1 - value / value.max())).astype(int), len(QUANTILES) - 1)
    draw = np.random.default_rng(n)
    quantile, where = [], []
    for number in range(len(QUANTILES)):
        at = np.flatnonzero(fifth == number)
        at = at[np.argsort(-value[at])] if number == 0 else draw.permutation(at)
        _, first = np.unique(place[at] // width, return_index=True)
        for i in at[np.sort(first)][:each]:
            quantile.append(number)
            where.append(divmod(int(place[i]), width))
    return np.array(quantile), np.array(where, np.int64).reshape(-1, 2)


def _shown(
    model: LanguageModel,
    found: Applied,
    read: Codes,
    n: int,
    where: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return activations, what ablation adds to losses, and what the feature writes directly.

    Of the tokens shown, [3, example, place]; see :class:`Feature`.
    """
    out = np.full((3, len(where), BEFORE + AFTER + 1), np.nan, np.float32)
    dense = read.dense(n)
    changed: dict[int, np.ndarray] = {}
    for i, (window, position) in enumerate(where.tolist()):
        report("ablating the feature", i, len(where))
        if window not in changed:
            own = dense[window]
            moved = _ablated(model, found, read.ids[window], own, n, weights)
            changed[window] = np.concatenate([own[None], moved])
        part = changed[window][:, max(0, position - BEFORE) : position + AFTER + 1]
        out[:, i, : part.shape[1]] = part
    return out


def _ablated(
    model: LanguageModel,
    found: Applied,
    ids: np.ndarray,
    values: np.ndarray,
    n: int,
    weights: np.ndarray,
) -> np.ndarray:
    """Return what the loss of each token of a window grows by without the feature, [2, pos].

    Row 0 is measured; row 1 is what the feature's logit weights alone make, the final norm's scale held. The
    first token has 0.
    """
    stream = model.stream
    shift = mx.array(values)[:, None] * found.weights["W_dec"][n]

    def edit(x: mx.array) -> mx.array:
        return mx.stack([x[0], x[1] - shift.astype(x.dtype)])

    run = stream.run(mx.array(np.stack([ids, ids])), edits={found.site: edit}, unembed=None)
    clean, without = run.resid[:, :-1]
    lost = [readout.surprisal(stream.unembed, each, ids[1:]) for each in (clean, without)]
    gain = []
    for part in readout.chunks(len(clean)):
        probs = np.asarray(readout.final(stream.unembed(clean[part])).probs)
        gain.append(weights[ids[1:][part]] - probs @ weights)
    x = clean.astype(mx.float32)
    if norm_parts(stream.norm, x.shape[-1])[2]:
        x = x - x.mean(-1, keepdims=True)
    scale = np.array(mx.sqrt((x * x).mean(-1) + stream.norm.eps))
    both = np.stack([lost[1] - lost[0], values[:-1] * np.concatenate(gain) / scale])
    return np.concatenate([np.zeros((2, 1)), both], 1)


def _similar(found: Applied, n: int) -> tuple[np.ndarray, np.ndarray]:
    decoder = np.array(found.weights["W_dec"])
    norms = np.maximum(np.linalg.norm(decoder, axis=1), 1e-30)
    cosine = decoder @ decoder[n] / (norms * norms[n])
    cosine[n] = -np.inf
    order = np.argsort(-cosine)[:_NEIGHBOURS]
    return order, cosine[order]


def _correlated(read: Codes, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the features whose activations correlate most with a feature's, and by how much."""
    positions, own = read.positions, read.dense(n).ravel()
    sums = np.bincount(read.feature, read.value, read.latents)
    squares = np.bincount(read.feature, read.value.astype(float) ** 2, read.latents)
    products = np.bincount(read.feature, read.value * own[read.place], read.latents)
    means = sums / positions
    covariance = products / positions - means * means[n]
    spread = np.sqrt(np.maximum(squares / positions - means**2, 1e-30))
    correlation = covariance / (spread * spread[n])
    correlation[n] = -np.inf
    order = np.argsort(-correlation)[:_NEIGHBOURS]
    return order, correlation[order]


def _by_others(rules: Rules, read: Codes, n: int) -> float:
    """Return how well the rules of other features tell this one, in the mean of some."""
    active = read.dense(n) > 0
    often = np.flatnonzero(np.diff(read.starts) >= 20)
    others = np.random.default_rng(n).permutation(often[often != n])[:_OTHERS]
    scores = [rules.score(rules.find(read.dense(int(i)) > 0), active) for i in others]
    return float(np.mean(scores)) if scores and np.isfinite(scores).all() else float("nan")
