"""Read pairs of prompts through both lenses, and score their trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens.compute import Translate, as_it_is
from interp_core.papers.tuned_lens import injections
from interp_core.papers.tuned_lens.compute import outliers
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.detection import (
    LOGIT,
    ORDINARY,
    OUTPUT,
    TUNED,
    Detection,
    DetectParams,
)
from interp_core.papers.tuned_lens.injections import Pair
from interp_core.papers.tuned_lens.translators import load_lens
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import give_way, report

_DIGITS = 4
"""Digits of a nat that detectors see: where a layer reads the same after every prompt, as the embedding
does, they would else part prompts by rounding errors."""


def detect(model: LanguageModel, params: DetectParams) -> Detection:
    """Read every version of every pair, and score it by detectors that did not see it.

    On the compute thread only.

    Raises:
        ParameterError: When lens or prompts do not fit the model; the message says which.
    """
    lens = load_lens(params.lens, model.info)
    pairs = injections.load(params.pairs)
    versions = tuple(pairs[0].versions)
    answers = np.array([_answers(model, pair) for pair in pairs])
    ids = [
        _encoded(model, i, name, pair.versions[name])
        for name in versions
        for i, pair in enumerate(pairs)
    ]
    tasks = np.array([pair.task for pair in pairs])
    folds = outliers.folds_of(tasks, params.seed)
    with Recorder() as recorder:
        read, top = _read(
            model.stream, ids, np.tile(answers, (len(versions), 1)), [as_it_is, applied(lens)]
        )
        shape = (len(versions), len(pairs))
        log_probs = read.reshape(*read.shape[:2], *shape, 2)
        report("fitting detectors", 0, 0)
        readings = _features(log_probs)
        ordinary = versions.index(ORDINARY)
        scores = outliers.scores(readings, tasks, folds, ordinary, params.seed)
    return Detection(
        params=params,
        provenance=recorder.provenance(model.info, [], params.seed),
        about=lens.about,
        tasks=tuple(pair.task for pair in pairs),
        answers=tuple(pair.answers for pair in pairs),
        right=np.array([_right(pair) for pair in pairs]),
        folds=folds,
        versions=versions,
        layers=np.arange(-1, model.info.n_layers),
        log_probs=log_probs,
        top=top.reshape(shape),
        tokens=np.array([len(each) for each in ids]).reshape(shape),
        readings=tuple(readings),
        detectors=tuple(outliers.MADE),
        scores=scores,
    )


def _right(pair: Pair) -> int:
    return pair.answers.index(pair.answer) if pair.answer else -1


def _answers(model: LanguageModel, pair: Pair) -> list[int]:
    try:
        found = [model.require_tokenizer().single(text) for text in pair.answers]
    except ValueError as error:
        raise ParameterError(f"pairs: answers of the task {pair.task[:60]!r}: {error}") from None
    if found[0] == found[1]:
        raise ParameterError(
            f"pairs: answers of the task {pair.task[:60]!r} are the same token; accepted: two tokens"
        )
    return found


def _encoded(model: LanguageModel, i: int, version: str, prompt: str) -> list[int]:
    ids = model.require_tokenizer().prompt(prompt)
    if not 1 <= len(ids) <= model.info.context:
        raise ParameterError(
            f"pairs: record {i}: {version} has {len(ids)} tokens; accepted: 1 to {model.info.context}, "
            "the model's context"
        )
    return ids


def _features(log_probs: np.ndarray) -> dict[str, np.ndarray]:
    """Return what detectors see, [version, item, feature], of log probabilities [2, layer, ...]."""
    rounded = np.round(log_probs.astype(float), _DIGITS)
    logit, tuned = rounded.transpose(0, 2, 3, 4, 1).reshape(2, *rounded.shape[2:4], -1)
    return {TUNED: tuned, LOGIT: logit, OUTPUT: rounded[0, -1]}


def _read(
    stream: ResidualStream,
    ids: Sequence[list[int]],
    answers: np.ndarray,
    lenses: Sequence[Translate],
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is read after each prompt.

    Args:
        stream: The model's.
        ids: Of each prompt.
        answers: [prompt, 2] ids.
        lenses: Through which it is read.

    Returns:
        Log probabilities of the answers [lens, layer, prompt, 2], and the likeliest ids [prompt].
    """
    layers = range(-1, stream.n_layers)
    found, tops = [], []
    for part in readout.chunks(len(ids)):
        states = []
        for done in range(len(ids))[part]:
            report("reading prompts", done, len(ids))
            states.append(_last(stream, ids[done]))
        chosen = mx.array(answers[part])
        read = np.empty((len(lenses), len(layers), len(states), 2), np.float32)
        for column, layer in enumerate(layers):
            state = mx.stack([each[column] for each in states])
            for row, translate in enumerate(lenses):
                give_way()
                logits = stream.unembed(translate(layer, state))
                picked = np.array(mx.take_along_axis(logits, chosen, -1).astype(mx.float32))
                read[row, column] = picked - readout.log_normaliser(logits)[:, None]
        tops.append(np.array(mx.argmax(stream.unembed(state), axis=-1)).astype(np.int64))
        found.append(read)
    return np.concatenate(found, 2), np.concatenate(tops)


def _last(stream: ResidualStream, ids: list[int]) -> mx.array:
    """Return the residual at a prompt's last position, [1 + layer, d_model], float32."""
    sites = [Site("resid_post", layer) for layer in range(stream.n_layers)]
    embedding = stream.embed(mx.array([ids]))
    run = stream.run(resid=embedding, keep=sites, leave=slice(-1, None), unembed=None)
    states = mx.stack([x[0, -1] for x in (embedding, *(run.acts[site] for site in sites))])
    states = states.astype(mx.float32)
    mx.eval(states)
    return states
