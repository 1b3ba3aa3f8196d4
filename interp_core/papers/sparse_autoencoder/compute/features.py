"""Describe every feature of a dictionary on a text, and compare some with neurons and directions."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, applied
from interp_core.papers.sparse_autoencoder.compute.codes import Codes, codes, windows, writes
from interp_core.papers.sparse_autoencoder.features import ENOUGH, KINDS, Features
from interp_core.papers.sparse_autoencoder.labels import Rule, Rules, kurtosis, sample, strongest
from interp_core.papers.sparse_autoencoder.params import FeaturesParams
from interp_core.provenance import Recorder
from interp_core.residual import norm_parts
from interp_core.runtime import report
from interp_core.tokens import Tokenizer

_SCORED = 100
"""Features that are compared with neurons and directions."""
_WORDS = 6
"""Tokens that are named of each feature."""


def features(model: LanguageModel, params: FeaturesParams) -> Features:
    """Read a text once and describe every feature. On the compute thread only.

    Raises:
        ParameterError: When the dictionary does not fit the model, or the text is too short.
    """
    found = applied(model, params.sae)
    tokenizer = model.require_tokenizer()
    with Recorder() as recorder:
        ids = windows(model, params, found)
        read = codes(model, found, ids)
        rules = Rules(ids, {int(i): tokenizer.text(int(i)) for i in np.unique(ids)})
        own = [_rule(rules, read, n) for n in range(read.latents)]
        scores = np.array([_score(rules, rule, read, n) for n, rule in enumerate(own)])
        up, down = _logits(model, found)
        values = [read.of(n)[1] for n in range(read.latents)]
        nan = float("nan")
        plane, share = _map(found)
        compared = _compared(model, found, read, rules, own)
    return Features(
        params=params,
        provenance=recorder.provenance(model.info, []),
        about=found.dictionary.card.about,
        site=f"{found.site.part} of layer {found.site.layer}",
        positions=read.positions,
        density=read.density,
        peak=np.array([each.max() if len(each) else nan for each in values]),
        mean=np.array([each.mean() if len(each) else nan for each in values]),
        labels=tuple("" if rule is None else rule.words for rule in own),
        promotes=tuple(_named(tokenizer, row) for row in up),
        suppresses=tuple(_named(tokenizer, row) for row in down),
        tokens=tuple(_named(tokenizer, _top_ids(read, n)) for n in range(read.latents)),
        map=plane,
        map_share=share,
        rule_scores=scores,
        **compared,
    )


def _map(found: Applied) -> tuple[np.ndarray, float]:
    """Return unit decoder directions on their two first principal components, and their share of variance."""
    decoder = found.dictionary.weights["W_dec"].astype(np.float32)
    unit = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-30)
    centred = unit - unit.mean(0)
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return centred @ vectors[:, ::-1][:, :2].astype(np.float32), float(
        values[-2:].sum() / values.sum()
    )


def _rule(rules: Rules, read: Codes, feature: int) -> Rule | None:
    if feature % 256 == 0:
        report("describing features", feature, read.latents)
    return rules.find(read.dense(feature) > 0) if len(read.of(feature)[0]) else None


def _score(rules: Rules, rule: Rule | None, read: Codes, feature: int) -> float:
    return float("nan") if rule is None else rules.score(rule, read.dense(feature) > 0)


def _top_ids(read: Codes, feature: int) -> list[int]:
    """Return the different tokens at a feature's largest activations, the largest first."""
    place, value = read.of(feature)
    order = place[np.argsort(-value, kind="stable")][:50]
    return list(dict.fromkeys(read.ids.ravel()[order].tolist()))[:_WORDS]


def _named(tokenizer: Tokenizer, ids: list[int] | np.ndarray) -> str:
    return " ".join(f"“{tokenizer.text(int(i))}”" for i in ids)


def _logits(model: LanguageModel, found: Applied) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids that each feature promotes most, and least, [latent, word] each."""
    up, down = [], []
    directions = writes(model, found)
    for start in range(0, len(directions), 256):
        report("reading logit weights", start, len(directions))
        part = logit_weights(model, directions[start : start + 256])
        for side, into in ((-part, up), (part, down)):
            first = np.argpartition(side, _WORDS, axis=1)[:, :_WORDS]
            order = np.argsort(np.take_along_axis(side, first, 1), axis=1)
            into.append(np.take_along_axis(first, order, 1))
    return np.concatenate(up), np.concatenate(down)


def logit_weights(model: LanguageModel, directions: mx.array) -> np.ndarray:
    """Return what unit steps along ``directions`` [row, d_model] add to logits: [row, d_vocab].

    By the final norm's gain and the unembedding, less their median over the vocabulary (Bricken et al.
    2023, appendix); the norm's scale, which is the same for all tokens, is left out, and so is a soft-cap.
    """
    gain, _, centred = norm_parts(model.stream.norm, directions.shape[-1])
    scaled = directions - directions.mean(-1, keepdims=True) if centred else directions
    head = model.stream.head
    logits = np.array((head(scaled * gain) - head(mx.zeros_like(scaled[:1]))).astype(mx.float32))
    return logits - np.median(logits, axis=1, keepdims=True)


def _compared(
    model: LanguageModel, found: Applied, read: Codes, rules: Rules, own: list[Rule | None]
) -> dict[str, Any]:
    """Return scores and kurtosis of some features, of neurons, and of random directions."""
    often = np.flatnonzero((read.density * read.positions >= ENOUGH) & (read.density < 0.5))
    chosen = sample(_SCORED, often.tolist(), seed=0)
    x = np.concatenate(
        [np.array(capture.read(model.stream, each[None], found.site)) for each in read.ids]
    )
    inside = ~np.concatenate([capture.sinks(each) for each in x])
    flat = x.reshape(-1, x.shape[-1])
    flat[~inside] = 0
    centred = flat[inside] - flat[inside].mean(0)
    spread = np.maximum(centred.std(0), 1e-12)
    draw = np.random.default_rng(1)
    scores = np.full((len(KINDS), len(chosen)), np.nan)
    peaked = np.full((len(KINDS), len(chosen)), np.nan)
    neuron = np.zeros(len(chosen), np.int64)
    for column, feature in enumerate(chosen):
        report("comparing with neurons", column, len(chosen))
        dense = read.dense(int(feature))
        active, values = dense > 0, dense.ravel()[inside]
        other = own[int(chosen[(column + 1) % len(chosen)])]
        correlation = ((values - values.mean()) @ centred) / (len(values) * spread)
        neuron[column] = np.abs(correlation).argmax()
        side = np.sign(correlation[neuron[column]]) or 1.0
        direction = draw.normal(size=flat.shape[1]).astype(np.float32)
        beside = (side * flat[:, neuron[column]], flat @ direction)
        scores[0, column] = rules.score(own[int(feature)], active)
        scores[1, column] = rules.score(other, active)
        peaked[0, column] = kurtosis(values)
        for row, projected in enumerate(beside, start=2):
            shaped = np.where(inside, projected, -np.inf).reshape(read.ids.shape)
            strong = strongest(shaped, active.mean())
            scores[row, column] = rules.score(rules.find(strong), strong)
            peaked[row, column] = kurtosis(projected[inside])
    return {"scored": chosen, "scores": scores, "neuron": neuron, "kurtosis": peaked}
