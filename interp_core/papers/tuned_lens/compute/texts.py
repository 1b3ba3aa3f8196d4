"""The text that a lens is trained and measured on, as windows of ids."""

from __future__ import annotations

import numpy as np

from interp_core import corpus, sampling, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.tuned_lens.params import OWN, TrainingText
from interp_core.params import ParameterError
from interp_core.runtime import stage

_TOGETHER = 64
"""Texts that the model writes at a time."""
_HELD_OUT = 0.1
HELD_OUT = 4
"""Windows of held-out text, at most, that are read at every checkpoint."""
_PROGRAMS = [
    "import",
    "from",
    "def",
    "class",
    "package",
    "function",
    "const",
    "use",
    "SELECT",
    "//",
    "/*",
    "#",
]
"""How programs begin, in several languages; a text begins with the first token of one of them."""


def split(
    model: LanguageModel, params: TrainingText, least: int, held_out: int = HELD_OUT
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows to train on and windows held out, [window, pos] ids, of different documents.

    Args:
        model: That reads them, and writes them where it is asked to.
        params: Which text.
        least: Windows to train on, at least.
        held_out: Windows held out, at most.

    Raises:
        ParameterError: When there is too little text; the message says how much is needed.
    """
    length = min(params.context, model.info.context)
    if params.corpus == OWN:
        ids = written(model, params, length)
        ids = ids[np.random.default_rng(params.seed).permutation(len(ids))]
        apart = max(1, min(held_out, round(_HELD_OUT * len(ids))))
        return ids[apart:], ids[:apart]
    train, rest = corpus.split(corpus.load(params.corpus), _HELD_OUT)
    tokenizer = model.require_tokenizer()
    found = [corpus.windows(tokenizer, texts, length) for texts in (train, rest)]
    for windows, needed, what in zip(found, (least, 1), ("to train on", "held out"), strict=True):
        if len(windows) < needed:
            raise ParameterError(
                f"corpus: what is {what} makes {len(windows)} windows of {length} tokens; needed: "
                f"at least {needed}, so text of about {needed * length * 11:,} tokens in all"
            )
    return found[0], found[1][:held_out]


def written(model: LanguageModel, params: TrainingText, length: int) -> np.ndarray:
    """Return [text, pos] ids of texts that the model wrote at temperature 1, written once and kept."""
    tokenizer = model.require_tokenizer()
    front = tokenizer.front("auto", auto="document") or [0]
    begun = [[*front, tokenizer.encode(each, bos=False)[0]] for each in _PROGRAMS]
    programs = round(params.programs * params.texts)
    found = [
        _some(model, begin, count, length, params.seed)
        for begin, count in (([front], params.texts - programs), (begun, programs))
        if count
    ]
    return np.concatenate(found)


def _some(
    model: LanguageModel, begin: list[list[int]], count: int, length: int, seed: int
) -> np.ndarray:
    """Return [text, pos] ids of texts that begin as one of ``begin``, in turn."""
    fronts = [begin[n % len(begin)] for n in range(_TOGETHER)]
    parts = []
    for part in range(-(-count // _TOGETHER)):

        def write(part: int = part) -> np.ndarray:
            drawn = sampling.generate(
                model.stream,
                fronts,
                length - len(fronts[0]),
                temperature=1,
                seed=[seed, part],
                label="writing",
            )
            return np.concatenate([fronts, drawn], axis=1).astype(np.int32)

        of = {
            "model": model.info.fingerprint,
            "begin": begin,
            "seed": [seed, part],
            "texts": [_TOGETHER, length],
        }
        with stage("writing text to train on", part * _TOGETHER, count):
            parts.append(store.measured("texts", of, f"{_TOGETHER} {length}", write))
    return np.concatenate(parts)[:count]
