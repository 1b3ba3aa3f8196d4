"""The analyses of this paper: which of them parameters ask for, and how each is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from interp_core import analyses, store
from interp_core.analyses import Analyses
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads import ablation, context, heads, paths, pattern, train
from interp_core.papers.induction_heads.ablation_result import Ablated
from interp_core.papers.induction_heads.context_result import InContext
from interp_core.papers.induction_heads.heads_result import Heads
from interp_core.papers.induction_heads.params import Params
from interp_core.papers.induction_heads.paths_result import Circuits
from interp_core.papers.induction_heads.pattern_result import Pattern
from interp_core.papers.induction_heads.training_result import Training
from interp_core.params import keep_only
from interp_core.results import Result
from interp_core.runtime import on_compute_thread

_SEQUENCES = {"model", "tokens", "repeats", "seeds", "bos", "seed"}
_ABLATE = {"ablate", "ablation"}
_ANALYSES: Analyses = {
    Heads: (_SEQUENCES | {"threshold"}, heads.run),
    Ablated: (_SEQUENCES | _ABLATE | {"threshold", "controls"}, ablation.run),
    Circuits: (_SEQUENCES | {"measure", "layer", "head", "threshold"}, paths.run),
    InContext: ({"model", "bos", "seed", "measure", "texts", "context"}, context.run),
    Pattern: ({"model", "bos", "text", "positions", "layer", "head"}, pattern.run),
    Training: ({"train", "layers", "steps", "seed"}, lambda _, params: train.run(params)),
}
TOP = Params(ablate=("top-8",))
CONTEXT = Params(measure="context", ablate=("top-8",))
CIRCUITS = Params(measure="circuits")
TRAINING = Params(train=True)
"""What the findings are measured on, beside the scores of the default parameters."""

FILES: dict[str, Callable] = {}
"""No parameter is read from a file."""


def analysis(params: Params) -> tuple[type[Result], Params]:
    """Return the kind of result that ``params`` ask for, and ``params`` without what it ignores."""
    kind = _kind(params)
    reads = _ANALYSES[kind][0]
    if kind is InContext and params.ablate:
        reads = reads | _SEQUENCES | _ABLATE
    return kind, keep_only(params, reads)


def _kind(params: Params) -> type[Result]:
    if params.train:
        return Training
    if params.text.strip():
        return Pattern
    if params.measure != "heads":
        return {"circuits": Circuits, "context": InContext}[params.measure]
    return Ablated if params.ablate else Heads


@on_compute_thread
def run(model: LanguageModel, params: Params, *, findings: bool = True) -> Result:
    """Run what ``params`` ask for: scores, an ablation, circuits, texts, a pattern, a training.

    Args:
        model: From :func:`interp_core.load_model`; training does not use it.
        params: ``params.model`` is replaced by the id of ``model``.
        findings: Whether to attach the findings where they were measured on this model.

    Raises:
        ParameterError: When a parameter does not fit the model; the message names it.
    """
    result = analyses.run(_ANALYSES, analysis, model, params)
    return attach(result, model.info.fingerprint) if findings else result


def attach(result: Any, fingerprint: str, model: LanguageModel | None = None) -> Any:
    """Return ``result`` with the analyses that findings rest on, where they are kept.

    They are never measured on the way, whether ``model`` is given or not.
    """
    if not isinstance(result, Heads | Pattern):
        return result
    own = store.get(Heads, analysis(Params())[1], fingerprint)
    others = [own] if own and isinstance(result, Pattern) else []
    for params in wanted(own):
        kind, asked = analysis(params)
        if kept := store.get(kind, asked, fingerprint):
            others.append(kept)
    return dataclasses.replace(result, others=tuple(others))


def surveys(model: LanguageModel) -> list[Result]:
    """Return what the findings rest on, measured unless kept."""
    own = _kept(model, Params())
    assert isinstance(own, Heads)
    return [own, *(_kept(model, params) for params in wanted(own))]


def wanted(own: Heads | None) -> Iterator[Params]:
    """Yield what to measure; the previous-token head to ablate is known once heads are scored."""
    yield TOP
    if own is not None:
        yield Params(ablate=(own.summary["previous_token_head"],))
    yield CIRCUITS
    yield CONTEXT
    yield TRAINING


def _kept(model: LanguageModel, params: Params) -> Result:
    kind, asked = analysis(params)
    return store.get(kind, asked, model.info.fingerprint) or run(model, params, findings=False)
