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
        sets = _sets(model, params)
        step = max(1, _TOGETHER // tokens.shape[1])
        parts = []
        for row in range(0, len(tokens), step):
            report("reading texts", row, len(tokens))
            parts.append(_losses(model, params, tokens[row : row + step], sets))
    return InContext(
        params=params,
        provenance=recorder.provenance(model.info, tokens[0].tolist(), params.seed),
        heads=tuple(sets[0]) if sets else (),
        controls=tuple(tuple(each) for each in sets[1:]),
        losses=np.concatenate(parts, axis=1).astype(np.float16),
    )


def _sets(model: LanguageModel, params: ContextParams) -> list[list[Head]]:
    """Return the heads to ablate and their controls; nothing where none are asked for."""
    if not params.ablate:
        return []
    if params.ablation == "pattern":
        raise ParameterError("ablation: pattern is not accepted over texts; accepted: zero, mean")
    scores, _, _ = heads.measure(model.stream, repeats.draw(model, params))
    chosen = ablation.chosen_heads(model, params, scores)
    induction = ablation.induction_heads(scores, params.threshold)
    return [
        chosen,
        *ablation.controls(chosen, induction, model.info.n_heads, params.controls, params.seed),
    ]


def _losses(
    model: LanguageModel, params: ContextParams, tokens: np.ndarray, sets: list[list[Head]]
) -> np.ndarray:
    """Return the losses whole, and without the heads and the mean of controls, [1 or 3, text, pos - 1]."""
    stream = model.stream
    layers = sorted({layer for chosen in sets for layer, _ in chosen})
    lowest = min(layers, default=stream.n_layers)
    start = stream.run(mx.array(tokens), stop=lowest, unembed=None).resid
    sites = [Site("z", layer) for layer in layers] if params.ablation == "mean" else []
    whole = stream.run(resid=start, start=lowest, keep=sites, unembed=None)
    found = [heads.next_losses(stream, whole.resid, tokens)]
    means = {site.layer: z.mean((0, 1)) for site, z in whole.acts.items()}
    without = []
    for chosen in sets:
        changes = ablation.edits(chosen, params.ablation, model.info.n_heads, means=means)
        after = stream.run(resid=start, start=lowest, edits=changes, unembed=None).resid
        without.append(heads.next_losses(stream, after, tokens))
    if without:
        found += [without[0], np.mean(without[1:], axis=0)]
    return np.stack(found)
