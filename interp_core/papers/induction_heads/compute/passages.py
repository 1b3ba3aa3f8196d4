"""Passages on which in-context learning is measured, of the manual that comes with Python."""

from __future__ import annotations

import numpy as np

from interp_core.corpus import manual
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.compute.repeats import start_of
from interp_core.papers.induction_heads.context import ContextParams
from interp_core.params import ParameterError


def draw(model: LanguageModel, params: ContextParams) -> np.ndarray:
    """Return ``params.texts`` passages of ``params.context`` tokens, [text, pos] ids.

    Passages do not overlap, and are drawn from the whole manual; each begins somewhere, after the
    token that stands in front.

    Raises:
        ParameterError: When the model's context, or the manual, is too short.
    """
    if params.context > model.info.context:
        raise ParameterError(
            f"context: {params.context} is not accepted; accepted: up to {model.info.context}, "
            "this model's context"
        )
    front = start_of(model, params.bos)
    ids = np.array(model.require_tokenizer().encode(manual(), bos=False))
    length = params.context - len(front)
    passages = ids[: len(ids) // length * length].reshape(-1, length)
    if params.texts > len(passages):
        raise ParameterError(
            f"texts: {params.texts} is not accepted; Python's manual makes {len(passages)} passages "
            f"of {params.context} tokens, so accepted: up to {len(passages)}"
        )
    picked = np.random.default_rng(params.seed).permutation(len(passages))[: params.texts]
    starts = np.tile(np.array(front, ids.dtype), (params.texts, 1))
    return np.concatenate([starts, passages[np.sort(picked)]], axis=1)
