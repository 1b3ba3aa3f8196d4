"""All claims of all papers on the two models that they are measured on; and any of them, measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from interp_core.findings import Finding
from interp_core.messages import quoted, sentence
from interp_core.models.info import SECOND, UNTRAINED
from interp_core.models.loading import ModelError, load_model
from interp_core.params import OnModel, ParameterError
from interp_core.question import Paper, like, question_of, run, stored
from interp_core.registry import PAPERS
from interp_core.results import Result


@dataclass(frozen=True)
class Replicated:
    """A claim, what ships of it on the default model, and on a second one and on untrained weights where it was measured there."""

    paper: Paper
    params: Any
    """Of the result that it is read from."""
    first: Finding
    second: Finding | None
    untrained: Finding | None

    @property
    def name(self) -> str:
        """What the command line calls it: ``causal-tracing/efficacy``."""
        return f"{self.paper.name}/{self.first.id}"


def claims(paper: Paper) -> Iterator[Replicated]:
    """Yield the claims of a paper, in the order of its results; each once."""
    second, untrained = (findings(paper, model) for model in (SECOND, UNTRAINED))
    seen = set()
    for result in _results(paper.headline):
        for finding in result.own_findings:
            if finding.id not in seen:
                seen.add(finding.id)
                others = (found.get(finding.id) for found in (second, untrained))
                yield Replicated(paper, result.params, finding, *others)


def every() -> list[Replicated]:
    """Return the claims of all papers."""
    return [claim for paper in PAPERS.values() for claim in claims(paper)]


def findings(paper: Paper, model: str) -> dict[str, Finding]:
    """Return what ships of a paper's claims, by id, on one of the models that they are compared on."""
    found: dict[str, Finding] = {}
    for result in _results(paper.measured_on[model]):
        for finding in result.own_findings:
            found.setdefault(finding.id, finding)
    return found


def _results(asked: tuple[Any, ...]) -> Iterator[Result]:
    for params in asked:
        if (result := stored(params)) is not None:
            yield result


def named(name: str) -> Replicated:
    """Return the claim that a reader names, with its paper's name or, where it is the only one, without.

    Raises:
        ParameterError: When there is none, or more than one; the message lists them.
    """
    known = every()
    fitting = [claim for claim in known if name in (claim.name, claim.first.id)]
    if len(fitting) != 1:
        accepted = ", ".join(claim.name for claim in fitting or known)
        raise ParameterError(f"claim: {quoted(name)} is not accepted; accepted: {accepted}")
    return fitting[0]


Answer = Literal["same", "differs", "not measured"]


@dataclass(frozen=True)
class Again:
    """A claim that was measured again."""

    claim: Replicated
    answer: Answer
    now: Finding | None = None
    why: str = ""
    """It cannot be measured here."""
    before: Finding | None = None
    """What it is compared with: what ships for this model, or for the claim's own."""

    def __str__(self) -> str:
        """Return the answer in a line."""
        before = self.before or self.claim.first
        if self.now is None:
            return f"not measured: {self.claim.name}: {self.why}"
        return (
            f"{self.answer}: {self.claim.name}: {self.now.shown}, {self.now.verdict}; what ships says {before.shown}, "
            f"{before.verdict} (tolerance {before.tolerance:.2g})"
        )


def again(asked: Iterable[Replicated], model: str = "") -> Iterator[Again]:
    """Measure claims again, whatever is cached; those of one result together.

    Args:
        asked: Claims that ship.
        model: Another model's id; by default each claim's own.

    On a model that it ships for, a claim is the same where its verdict is, and it comes within its
    tolerance (:attr:`Finding.tolerance`); on another model, and for checks, where the verdict is.
    """
    results: dict[Any, Result | str] = {}
    for claim in asked:
        params = claim.params
        if model and isinstance(params, OnModel):
            params = dataclasses.replace(params, model=model)
        if params not in results:
            results[params] = _measured(params)
        yield _compared(claim, params, results[params])


def _measured(params: Any) -> Result | str:
    """Return a fresh result with its evidence, which is as fresh, or why there is none."""
    try:
        model = load_model(params.model) if isinstance(params, OnModel) else None
        result = run(model, _afresh(params))
        kind = type(params)  # what a claim compares a result with asks the same question
        others = question_of(params)[1].evidence.items()
        evidence = {
            name: run(model, _afresh(like(each, params)))
            for name, each in others
            if isinstance(each, kind)
        }
    except (ParameterError, ModelError, MemoryError) as error:
        return sentence(error)
    return dataclasses.replace(result, evidence=evidence)


def _afresh(params: Any) -> Any:
    """Return parameters that take nothing from an earlier run."""
    return dataclasses.replace(params, resume=False) if hasattr(params, "resume") else params


def _compared(claim: Replicated, params: Any, result: Result | str) -> Again:
    if isinstance(result, str):
        return Again(claim, "not measured", why=result)
    now = {finding.id: finding for finding in result.own_findings}.get(claim.first.id)
    if now is None:
        return Again(claim, "not measured", why="this model's result says nothing of it")
    before, shipped = claim.first, params == claim.params
    drawn = {asked.model: claim.untrained for asked in claim.paper.untrained}
    others = {SECOND: claim.second} | drawn
    if (other := others.get(getattr(params, "model", ""))) is not None:
        before, shipped = other, True
    near = abs(now.ours - before.ours) <= before.tolerance
    same = now.holds is before.holds and (near or before.check or not shipped)
    return Again(claim, "same" if same else "differs", now, before=before)
