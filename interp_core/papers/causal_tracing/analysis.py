"""The analyses of this paper: which of them parameters ask for, and how each is run."""

from __future__ import annotations

import dataclasses
from typing import Any

from interp_core import analyses, store
from interp_core.analyses import Analyses
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing import average, edit, facts, trace
from interp_core.papers.causal_tracing.average_result import Average
from interp_core.papers.causal_tracing.edit_result import Edit, EditScores
from interp_core.papers.causal_tracing.params import Params
from interp_core.papers.causal_tracing.result import Trace
from interp_core.params import keep_only
from interp_core.results import Result
from interp_core.runtime import on_compute_thread

_NOISE = {"noise", "noise_unit", "corruption", "samples"}
_TRACE = _NOISE | {"start", "window", "kinds", "layers", "metric", "seed"}
_ONE = {"prompt", "subject", "answer"}
_EDIT = {"start", "layer", "covariance", "seed"}
_ANALYSES: Analyses = {
    Trace: (_ONE | _TRACE | {"swap", "foil", "positions"}, trace.run),
    Average: (_TRACE | {"facts", "limit"}, average.run),
    Edit: (_ONE | _EDIT | {"edit", "new_object", "watch"}, edit.run),
    EditScores: (_EDIT | {"edit", "facts", "limit"}, edit.run_scores),
}
AVERAGE = Params(facts="shipped", samples=5, limit=50)
"""The averages that the findings on tracing are measured on."""
SCORES = Params(edit=True, facts="shipped", limit=24)
"""The edits that the findings on editing are measured on."""
SWEEP = tuple(
    Params(edit=True, facts="shipped", limit=8, layer=layer, covariance=covariance)
    for layer, covariance in (
        (1, "text"),
        (3, "text"),
        (5, "text"),
        (8, "text"),
        (20, "text"),
        (1, "identity"),
        (8, "identity"),
    )
)
"""Edits of fewer facts, by block, and with C left out: what the report shows of both choices."""
EDIT = Params(
    prompt="Our tickets for the Eiffel Tower were the best part of our weekend in",
    subject="the Eiffel Tower",
    edit=True,
    new_object="Rome",
)
"""The edit that ships, and that the report shows."""

FILES = {"facts": facts.read}
"""Parameters that the command line reads from a file: how, to what it then stands for."""


def analysis(params: Params) -> tuple[type[Result], Params]:
    """Return the kind of result that ``params`` ask for, and ``params`` without what it ignores."""
    kinds = {(False, False): Trace, (False, True): Average, (True, False): Edit}
    kind = kinds.get((params.edit, bool(params.facts)), EditScores)
    return kind, keep_only(params, _ANALYSES[kind][0] | {"model"})


@on_compute_thread
def run(model: LanguageModel, params: Params, *, findings: bool = True) -> Result:
    """Run what ``params`` ask for: a trace, averages, an edit, or the scores of edits.

    Args:
        model: From :func:`interp_core.load_model`.
        params: ``params.model`` is replaced by the id of ``model``.
        findings: Whether to attach the findings where they were measured on this model. They take
            many minutes: measure them by ``run(model, Params(facts="shipped", samples=5,
            limit=50))`` and ``run(model, Params(edit=True, facts="shipped", limit=24))``.

    Raises:
        ParameterError: When a parameter does not fit the model; the message names it.
    """
    result = analyses.run(_ANALYSES, analysis, model, params)
    return attach(result, model.info.fingerprint) if findings else result


def attach(result: Any, fingerprint: str, model: LanguageModel | None = None) -> Any:
    """Return ``result`` with the findings kept for its model, where it is of one prompt.

    They are never measured on the way, whether ``model`` is given or not.
    """
    if isinstance(result, Trace):
        found = store.get(Average, analysis(AVERAGE)[1], fingerprint)
        return dataclasses.replace(result, average=found)
    if isinstance(result, Edit):
        scores = store.get(EditScores, analysis(SCORES)[1], fingerprint)
        return dataclasses.replace(result, scores=scores)
    return result


def surveys(model: LanguageModel) -> list[Result]:
    """Return what findings and report rest on, measured unless kept: averages, and edits."""
    found = []
    depth = model.info.n_layers
    for params in (AVERAGE, SCORES, EDIT, *(p for p in SWEEP if p.layer and p.layer < depth)):
        kind, asked = analysis(params)
        kept = store.get(kind, asked, model.info.fingerprint)
        found.append(kept or run(model, params, findings=False))
    return found
