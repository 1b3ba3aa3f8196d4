"""In-context learning: how much better late tokens of a text are predicted than early ones."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.compute import ablation, heads, passages, repeats
from interp_core.papers.induction_heads.context import ContextParams, InContext
from interp_core.papers.induction_heads.params import Head
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import Site
from interp_core.runtime import report

_TOGETHER = 2048
"""Tokens that run at a time."""


def compute(model: LanguageModel, params: ContextParams) -> InContext:
    """Measure losses by position, and without ``params.ablate`` if it names heads.

    On the compute thread only.

    Raises:
        ParameterError: When the texts or heads do not fit the model.
    """
    with Recorder() as recorder:
        tokens = passages.draw(model, params)
        chosen = _chosen(model, params)
        step = max(1, _TOGETHER // tokens.shape[1])
        parts = []
        for row in range(0, len(tokens), step):
            report("reading texts", row, len(tokens))
            parts.append(_losses(model, params, tokens[row : row + step], chosen))
    return InContext(
        params=params,
        provenance=recorder.provenance(model.info, tokens[0].tolist(), params.seed),
        heads=tuple(chosen),
        losses=np.concatenate(parts, axis=1).astype(np.float16),
    )


def _chosen(model: LanguageModel, params: ContextParams) -> list[Head]:
    if not params.ablate:
        return []
    if params.ablation == "pattern":
        raise ParameterError("ablation: pattern is not accepted over texts; accepted: zero, mean")
    scores, _, _ = heads.measure(model.stream, repeats.draw(model, params))
    return ablation.chosen_heads(model, params, scores)


def _losses(
    model: LanguageModel, params: ContextParams, tokens: np.ndarray, chosen: list[Head]
) -> np.ndarray:
    """Return the losses whole, and without ``chosen`` where there are any, [1 or 2, text, pos - 1]."""
    stream = model.stream
    lowest = min((layer for layer, _ in chosen), default=stream.n_layers)
    start = stream.run(mx.array(tokens), stop=lowest, unembed=None).resid
    layers = sorted({layer for layer, _ in chosen})
    sites = [Site("z", layer) for layer in layers] if params.ablation == "mean" else []
    whole = stream.run(resid=start, start=lowest, keep=sites, unembed=None)
    found = [heads.next_losses(stream, whole.resid, tokens)]
    if chosen:
        means = {site.layer: z.mean((0, 1)) for site, z in whole.acts.items()}
        changes = ablation.edits(chosen, params.ablation, model.info.n_heads, means=means)
        after = stream.run(resid=start, start=lowest, edits=changes, unembed=None).resid
        found.append(heads.next_losses(stream, after, tokens))
    return np.stack(found)
