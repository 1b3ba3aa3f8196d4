"""All claims of all papers on the two models that they are measured on; and any of them, measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from interp_core.findings import Finding
from interp_core.messages import quoted
from interp_core.models.loading import load_model
from interp_core.params import OnModel, ParameterError
from interp_core.question import Paper, attach, obtain, stored
from interp_core.registry import PAPERS
from interp_core.results import Result


@dataclass(frozen=True)
class Replicated:
    """A claim, what ships of it on the default model, and on a second one where it was measured there."""

    paper: Paper
    params: Any
    """Of the result that it is read from."""
    first: Finding
    second: Finding | None

    @property
    def name(self) -> str:
        """What the command line calls it: ``causal-tracing/efficacy``."""
        return f"{self.paper.name}/{self.first.id}"


def claims(paper: Paper) -> Iterator[Replicated]:
    """Yield the claims of a paper, in the order of its results; each once."""
    others = findings(paper, second=True)
    seen = set()
    for result in _results(paper.headline):
        for finding in result.own_findings:
            if finding.id not in seen:
                seen.add(finding.id)
                second = others.get(finding.id)
                yield Replicated(paper, result.params, finding, second)


def findings(paper: Paper, *, second: bool) -> dict[str, Finding]:
    """Return what ships of a paper's claims, by id, on the default model or the second."""
    found: dict[str, Finding] = {}
    for result in _results(paper.second if second else paper.headline):
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
    every = [claim for paper in PAPERS.values() for claim in claims(paper)]
    fitting = [claim for claim in every if name in (claim.name, claim.first.id)]
    if len(fitting) != 1:
        accepted = ", ".join(claim.name for claim in fitting or every)
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

    def __str__(self) -> str:
        """Return the answer in a line."""
        before = self.claim.first
        if self.now is None:
            return f"not measured  {self.claim.name}: {self.why}"
        return (
            f"{self.answer}  {self.claim.name}: {self.now.shown}, {self.now.verdict}; what ships says {before.shown}, "
            f"{before.verdict} (tolerance {before.tolerance:.2g})"
        )


def again(asked: Iterable[Replicated], model: str = "") -> Iterator[Again]:
    """Measure claims again, whatever is cached; those of one result together.

    Args:
        asked: Claims that ship.
        model: Another model's id; by default each claim's own.

    On its own model a claim is the same where it comes within its tolerance (:attr:`Finding.tolerance`),
    on another where the verdict is the same.
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
    """Return a fresh result, or why there is none."""
    try:
        on_model = isinstance(params, OnModel)
        model = load_model(params.model) if on_model else None
        return attach(obtain(model, params, fresh=True))
    except ParameterError as error:
        return str(error)


def _compared(claim: Replicated, params: Any, result: Result | str) -> Again:
    if isinstance(result, str):
        return Again(claim, "not measured", why=result)
    now = {finding.id: finding for finding in result.own_findings}.get(claim.first.id)
    if now is None:
        return Again(claim, "not measured", why="this model's result says nothing of it")
    near = abs(now.ours - claim.first.ours) <= claim.first.tolerance
    same = near if params == claim.params else now.holds is claim.first.holds
    return Again(claim, "same" if same else "differs", now)
