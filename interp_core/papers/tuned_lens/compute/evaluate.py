"""Measure lenses on held-out text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import corpus, readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens.compute import Translate, as_it_is
from interp_core.papers.tuned_lens.compute.learner import Batch, capture, positions
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.evaluation import BIAS_ONLY, FOLDS, LOGIT, TUNED, Evaluation
from interp_core.papers.tuned_lens.params import EvaluateParams, OnText
from interp_core.papers.tuned_lens.translators import (
    SHELF,
    SHIPS_BIAS,
    Translators,
    load_lens,
)
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream
from interp_core.runtime import give_way, report
from interp_core.tokens import Tokenizer

_LEAST = 3
"""Tokens of a document that can be read: the first is left out, and the last has no next one."""


def evaluate(model: LanguageModel, params: EvaluateParams) -> Evaluation:
    """Read every document of the text through every lens. On the compute thread only.

    Raises:
        ParameterError: When a lens does not fit the model, or the text has too few documents.
    """
    lenses, abouts = _lenses(model, params)
    texts = documents(model, params)
    layers = list(range(-1, model.info.n_layers))
    folds = min(FOLDS, len(texts))
    tallies, read, lengths = [], [], []
    sums = _Marginals.empty(len(lenses), len(layers), folds, model.info.d_vocab)
    with Recorder() as recorder:
        for done, ids in enumerate(texts):
            report("reading documents", done, len(texts))
            at = positions((1, len(ids)), params.positions, [params.seed, done])
            batch = capture(model.stream, ids[None], layers, at)
            read.append(at.shape[1])
            lengths.append(_bytes(model.require_tokenizer(), batch.following))
            parts = [
                _tally(model.stream, part, layers, lenses, sums, done % folds)
                for part in batch.parts(model.stream.d_vocab)
            ]
            tallies.append({name: sum(each[name] for each in parts) for name in parts[0]})
        marginal = sums.divergences()
    return Evaluation(
        params=params,
        provenance=recorder.provenance(model.info, [], params.seed),
        abouts=tuple(abouts),
        lenses=tuple(lenses),
        layers=np.array(layers),
        positions=np.array(read),
        bytes=np.array(lengths),
        kl=np.stack([each["kl"] for each in tallies], -1),
        cross_entropy=np.stack([each["cross_entropy"] for each in tallies], -1),
        agreement=np.stack([each["agreement"] for each in tallies], -1),
        depth=np.stack([each["depth"] for each in tallies], -1),
        output=np.array([float(each["output"]) for each in tallies]),
        marginal=marginal,
        translators=_sizes(load_lens(params.lens, model.info), layers),
    )


def _sizes(lens: Translators, layers: list[int]) -> np.ndarray:
    """Return [layer, 3]: norm of A, norm of b, cosine of 1 + A with the identity."""
    out = np.full((len(layers), 3), np.nan)
    identity = np.eye(lens.card.d_model, dtype=np.float32)
    for row, layer in enumerate(lens.layers):
        a = np.zeros_like(identity) if lens.weight is None else lens.weight[row].astype(np.float32)
        whole = identity + a
        cosine = np.trace(whole) / (np.linalg.norm(whole) * np.sqrt(len(whole)))
        bias = np.linalg.norm(lens.bias[row].astype(np.float32))
        out[layers.index(layer)] = np.linalg.norm(a), bias, cosine
    return out


def _lenses(model: LanguageModel, params: EvaluateParams) -> tuple[dict[str, Translate], list[str]]:
    """Return the lenses by name, and what each was trained on."""
    tuned = load_lens(params.lens, model.info)
    found: dict[str, Translate] = {LOGIT: as_it_is, TUNED: applied(tuned)}
    abouts = ["nothing", tuned.about]
    missing = params.beside == SHIPS_BIAS and SHELF.of(model.info.sha256, SHIPS_BIAS) is None
    if params.beside != "none" and not missing:
        beside = load_lens(params.beside, model.info)
        found[BIAS_ONLY if beside.weight is None else "beside"] = applied(beside)
        abouts.append(beside.about)
    return found, abouts


def documents(model: LanguageModel, params: OnText) -> list[np.ndarray]:
    """Return the ids of each document, cut to the context.

    Raises:
        ParameterError: When fewer than two are long enough.
    """
    tokenizer = model.require_tokenizer()
    length = min(params.context, model.info.context)
    texts = corpus.load(params.text)
    if load_lens(params.lens, model.info).card.corpus == params.text:
        texts = corpus.held_out(texts)  # what the lens was trained on says nothing
    if len(texts) > params.documents:
        draw = np.random.default_rng(params.seed).permutation(len(texts))[: params.documents]
        texts = tuple(texts[n] for n in sorted(draw))
    encoded = corpus.openings(tokenizer, texts, length)
    found = [np.array(ids, np.int32) for ids in encoded if len(ids) >= _LEAST]
    if len(found) < 2:
        raise ParameterError("text: it has fewer than two documents of three tokens or more")
    return found


def _bytes(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    # A token that is part of a character is shown by its bytes' escapes.
    texts = (re.sub(r"\\x[0-9a-f]{2}", "?", tokenizer.text(int(i))) for i in ids)
    return sum(len(text.encode()) for text in texts)


@dataclass
class _Marginals:
    """Sums of distributions over positions, by fold of the documents."""

    readouts: np.ndarray
    """[lens, layer, fold, d_vocab]"""
    output: np.ndarray
    """[fold, d_vocab]"""

    @classmethod
    def empty(cls, lenses: int, layers: int, folds: int, d_vocab: int) -> _Marginals:
        shape = (folds, d_vocab)
        return cls(np.zeros((lenses, layers, *shape), np.float32), np.zeros(shape))

    def divergences(self) -> np.ndarray:
        """Return KL(mean output || mean readout), nats, [lens, layer, 1 + fold], each left out."""
        out = np.empty((*self.readouts.shape[:2], 1 + len(self.output)))
        final = _with_each_left_out(self.output)
        for lens, layers in enumerate(self.readouts):
            for layer, sums in enumerate(layers):
                mean = np.maximum(_with_each_left_out(sums), 1e-30)
                out[lens, layer] = (final * np.log(np.maximum(final, 1e-30) / mean)).sum(-1)
        return out


def _with_each_left_out(sums: np.ndarray) -> np.ndarray:
    """Return [1 + fold, d_vocab]: the distribution of all folds, then without each."""
    whole = sums.astype(float).sum(0)
    parts = np.concatenate([whole[None], whole - sums])
    return parts / parts.sum(-1, keepdims=True)


def _tally(
    stream: ResidualStream,
    batch: Batch,
    layers: list[int],
    lenses: Mapping[str, Translate],
    sums: _Marginals,
    fold: int,
) -> dict[str, np.ndarray]:
    """Return the sums over positions, [lens, layer] each; add to the marginals."""
    final = readout.final(stream.unembed(batch.last))
    probs = np.asarray(final.probs)
    shape = (len(lenses), len(layers))
    found = {name: np.zeros(shape) for name in ("kl", "cross_entropy", "agreement")}
    agrees = np.zeros((*shape, len(batch.following)), bool)
    sums.output[fold] += probs.sum(0)
    for column, layer in enumerate(layers):
        for row, translate in enumerate(lenses.values()):
            give_way()
            logits = stream.unembed(translate(layer, batch.states[layer]))
            log_probs = _log_softmax(logits)
            chosen = np.take_along_axis(log_probs, batch.following[:, None], 1)
            cross = -np.vecdot(probs, log_probs)
            found["kl"][row, column] = np.maximum(cross - final.entropy, 0).sum()
            found["cross_entropy"][row, column] = -chosen.sum()
            agrees[row, column] = log_probs.argmax(-1) == final.top
            np.exp(log_probs, out=log_probs)
            sums.readouts[row, column, fold] += log_probs.sum(0)
    found["agreement"] = agrees.sum(-1).astype(float)
    stays = np.logical_and.accumulate(agrees[:, ::-1], axis=1)
    found["depth"] = (len(layers) - stays.sum(1)).sum(-1).astype(float)
    found["output"] = -np.log(np.take_along_axis(probs, batch.following[:, None], 1)).sum()
    return found


def _log_softmax(logits: mx.array) -> np.ndarray:
    """Return log probabilities [row, d_vocab] in memory of its own."""
    rows = np.array(logits.astype(mx.float32))
    return np.subtract(rows, readout.log_normaliser(logits)[:, None], out=rows)
