"""The text that a lens is trained and measured on, as windows of ids."""

from __future__ import annotations

import numpy as np

from interp_core import corpus, sampling, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.tuned_lens.params import OWN, TrainParams
from interp_core.params import ParameterError
from interp_core.runtime import stage

_TOGETHER = 64
"""Texts that the model writes at a time."""
_HELD_OUT = 0.1


def split(model: LanguageModel, params: TrainParams) -> tuple[np.ndarray, np.ndarray]:
    """Return windows to train on and windows held out, [window, pos] ids, of different documents.

    Raises:
        ParameterError: When there is too little text; the message says how much is needed.
    """
    length = min(params.context, model.info.context)
    if params.corpus == OWN:
        ids = written(model, params.texts + held_out(params), length, params.seed)
        return ids[held_out(params) :], ids[: held_out(params)]
    train, rest = corpus.split(corpus.load(params.corpus), _HELD_OUT)
    tokenizer = model.require_tokenizer()
    found = [corpus.windows(tokenizer, texts, length) for texts in (train, rest)]
    needed = (params.batch, 1)
    for windows, least, what in zip(found, needed, ("to train on", "held out"), strict=True):
        if len(windows) < least:
            raise ParameterError(
                f"corpus: what is {what} makes {len(windows)} windows of {length} tokens; needed: "
                f"at least {least}, so text of about {least * length * 11:,} tokens in all"
            )
    return found[0], found[1][: held_out(params)]


def held_out(params: TrainParams) -> int:
    """Return how many windows the held-out text has, at most."""
    return max(1, round(_HELD_OUT * params.texts))


def written(model: LanguageModel, count: int, length: int, seed: int) -> np.ndarray:
    """Return [text, pos] ids of texts that the model wrote at temperature 1, written once and kept."""
    front = model.require_tokenizer().front("auto", auto="document") or [0]
    parts = []
    for part in range(-(-count // _TOGETHER)):
        of = {
            "model": model.info.fingerprint,
            "front": front,
            "seed": [seed, part],
            "texts": [_TOGETHER, length],
        }

        def write(part: int = part) -> np.ndarray:
            drawn = sampling.generate(
                model.stream,
                [front] * _TOGETHER,
                length - len(front),
                temperature=1,
                seed=[seed, part],
                label="writing",
            )
            starts = np.tile(np.array(front), (_TOGETHER, 1))
            return np.concatenate([starts, drawn], axis=1).astype(np.int32)

        with stage("writing text to train on", part * _TOGETHER, count):
            parts.append(store.measured("texts", of, f"{_TOGETHER} {length}", write))
    return np.concatenate(parts)[:count]
