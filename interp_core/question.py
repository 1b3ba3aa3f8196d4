"""Questions and papers: everything that is said of an analysis, in one place.

A value of a question's parameters is the address of one result: its type says which question of
which paper is asked. Everything here takes that one value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from interp_core import store
from interp_core.fields import fields_of
from interp_core.messages import quoted
from interp_core.models import catalogue
from interp_core.models.info import DEFAULT, SECOND, UNTRAINED
from interp_core.models.language_model import LanguageModel
from interp_core.params import OnModel, ParameterError, View, fit
from interp_core.results import Claim, Figure, Result
from interp_core.runtime import on_compute_thread
from interp_core.tokens import Tokenizer

P = TypeVar("P")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Question(Generic[P, R]):
    """One question of a paper, and all that is said of it."""

    name: str
    label: str
    params: type[P]
    result: type[R]
    compute: Callable[..., R]
    """Takes the model, unless the question is not asked of one, and the parameters."""
    figures: tuple[Figure, ...] = ()
    """In order; the first is the main one."""
    claims: tuple[Claim, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of other results that the paper's claims rest on, by name."""
    view: type[View] = View
    """What a reader may choose of how the result is shown."""
    cost: str | Callable[[P], str] = ""
    """What it takes, in words, where that is long: the app then computes it on request only."""
    seconds: Callable[[P], float] = lambda _: 0.0
    """About how long it takes on the default model and two cores."""
    in_minutes: bool = False
    """Whether it is long, and ``seconds`` says its cost as well as words could."""
    sentence: Callable[[R], str] | None = None
    """The answer, in Markdown."""
    tokens: Callable[[Tokenizer, P], list[int]] | None = None
    """The ids of the prompt, which its positions run over."""

    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of its parameters to begin with, by what names them."""

    @property
    def main(self) -> Figure:
        """The first figure that is always shown."""
        return next(figure for figure in self.figures if not figure.label)

    @property
    def on_model(self) -> bool:
        """Whether it is asked of the reader's model."""
        return issubclass(self.params, OnModel)

    @property
    def quick_evidence(self) -> set[str]:
        """Names of the evidence that is measured on the way, as it takes little."""
        return {n for n, each in self.evidence.items() if not question_of(each)[1].says_cost(each)}

    def seen(self, view: View) -> View:
        """Return a view of this question whose supporting figure is one that it has.

        Raises:
            ParameterError: When there is no such figure; the message lists those there are.
        """
        names = [figure.name for figure in self.figures if figure.label]
        if view.figure not in ("", *names):
            raise ParameterError(
                f"view_figure: {quoted(view.figure)} is not accepted; accepted: {', '.join(names)}"
            )
        return view

    def says_cost(self, params: P) -> str:
        """Return what it takes to compute ``params``; empty where that is little."""
        if self.in_minutes:
            minutes = max(1, round(self.seconds(params) / 60))
            return f"about {minutes} minute{'s' * (minutes > 1)} on the default model and two cores"
        return self.cost(params) if callable(self.cost) else self.cost


_OF: dict[type, tuple[Paper, Question]] = {}


@dataclass(frozen=True)
class Paper:
    """A paper: its questions, the first of which its name alone asks."""

    name: str
    title: str
    claim: str
    reference: str
    url: str
    questions: tuple[Question, ...]
    method: str = ""
    """The method in a few lines of Markdown, and where ours departs from it."""
    level: str = ""
    """How much it asks of its reader."""
    presets: Mapping[str, Any] = field(default_factory=dict)
    """Ready-made parameters, whose results ship."""
    headline: tuple[Any, ...] = ()
    """Parameters of the results whose claims are the paper's, on the default model."""
    second: tuple[Any, ...] = ()
    """The same of a second model, by which a claim is told apart from that model."""
    untrained: tuple[Any, ...] = ()
    """The same of untrained weights, by which it is told apart from the architecture and the method."""
    ships: tuple[Any, ...] = ()
    """Parameters of further results that ship, for the report."""

    def __post_init__(self) -> None:
        """Tell each question's parameters and results whose they are."""
        for question in self.questions:
            first = question is self.questions[0]
            _OF[question.params] = (self, question)
            question.params.base = f"/{self.name}" + ("" if first else f"?question={question.name}")
            question.result.paper, question.result.question = self.name, question.name
            question.result.figures, question.result.claims = question.figures, question.claims

    @property
    def stem(self) -> str:
        """Its name in file and module names."""
        return self.name.replace("-", "_")

    def __getitem__(self, name: str) -> Question:
        """Return the question of that name; the first for an empty one.

        Raises:
            ParameterError: When there is none; the message lists them.
        """
        for question in self.questions:
            if name in (question.name, ""):
                return question
        names = ", ".join(question.name for question in self.questions)
        raise ParameterError(f"question: {quoted(name)} is not accepted; accepted: {names}")

    @property
    def measured_on(self) -> dict[str, tuple[Any, ...]]:
        """Parameters of the results that its claims are read from, by the model that they are compared on."""
        return {DEFAULT: self.headline, SECOND: self.second, UNTRAINED: self.untrained}

    @property
    def shipped(self) -> list[Any]:
        """The parameters of every result that ships."""
        own = [question.params() for question in self.questions]
        evidence = [each for question in self.questions for each in question.evidence.values()]
        claims = [each for asked in self.measured_on.values() for each in asked]
        return list(dict.fromkeys([*own, *self.presets.values(), *evidence, *claims, *self.ships]))

    def run(self, model: LanguageModel | None, params: Any, *, findings: bool = True) -> Any:
        """Compute what ``params`` ask of ``model``, whatever is cached.

        Args:
            model: From :func:`interp_core.load_model`; ``params.model`` is replaced by its id. None
                for a question that is asked of no model.
            params: Of one of this paper's questions.
            findings: Whether to attach the evidence that is at hand, and to measure what is quick.

        Raises:
            ParameterError: When a parameter does not fit the model; the message names it.
        """
        result = run(model, params)
        return attach(result, model if findings else None) if findings else result


def on(model: str, *asked: Any) -> tuple[Any, ...]:
    """Return parameters that ask the same of another model."""
    return tuple(dataclasses.replace(params, model=model) for params in asked)


def question_of(params: Any) -> tuple[Paper, Question]:
    """Return the paper and the question that ``params`` belong to."""
    return _OF[type(params)]


def kept_by(params: Any) -> Any:
    """Return ``params`` with whatever does not decide what is computed at its default."""
    fields = fields_of(type(params)).items()
    other = {n: f.default for n, f in fields if not f.shown.identity and n != "model"}
    return dataclasses.replace(params, **other)


def read_by(result: R, params: Any) -> R:
    """Return a result as ``params`` read it, which ask for the same computation.

    A threshold, say, decides nothing but how arrays are read.
    """
    return result if params == result.params else dataclasses.replace(result, params=params)


@on_compute_thread
def run(model: LanguageModel | None, params: Any) -> Any:
    """Compute the result of ``params``, on ``model`` where the question is asked of one.

    Raises:
        ParameterError: When a parameter does not fit the model; the message names it.
    """
    _, question = question_of(params)
    if not question.on_model:
        return question.compute(params)
    assert model is not None
    params = dataclasses.replace(params, model=model.info.id)
    fit(params, model.info)
    return question.compute(model, params)


def stored(params: Any) -> Any | None:
    """Return the result of ``params`` with its evidence, cached or shipped; nothing is computed."""
    found = _cached(params)
    return None if found is None else attach(found)


def _cached(params: Any) -> Result | None:
    if not isinstance(params, OnModel):
        return _lookup(params, "")
    known = catalogue.find(params.model)
    return _lookup(params, known.fingerprint) if known and known.fingerprint else None


def _lookup(params: Any, fingerprint: str) -> Result | None:
    """Return the cached result of ``params`` on the model of that fingerprint."""
    found = store.get(question_of(params)[1].result, params, fingerprint)
    return None if found is None else read_by(found, params)


def obtain(model: LanguageModel | None, params: Any, *, fresh: bool = False) -> Any:
    """Return the result of ``params``: the cached one unless ``fresh``, or computed now and cached.

    It comes without evidence. Parameters that say not to resume ask for a fresh one.

    Raises:
        ParameterError: When a parameter does not fit the model.
    """
    fresh = fresh or not getattr(params, "resume", True)
    found = None if fresh else _lookup(params, model.info.fingerprint if model else "")
    if found is None:
        asked = kept_by(params)
        if not getattr(params, "resume", True):  # no part of the result, but of how it is computed
            asked = dataclasses.replace(asked, resume=False)
        found = read_by(run(model, asked), params)
        store.put(found)
    return found


def like(params: Any, asked: Any) -> Any:
    """Return ``params`` asked of the same model, lens or dictionary, and of the same facts and answers, as ``asked``."""
    shared = [
        n
        for n in ("model", "lens", "sae", "facts", "limit", "answers")
        if hasattr(params, n) and hasattr(asked, n)
    ]
    return dataclasses.replace(params, **{name: getattr(asked, name) for name in shared})


def attach(result: Result, model: LanguageModel | None = None) -> Any:
    """Return ``result`` with the evidence at hand; given a model, what is quick is measured on it.

    What does not fit the model (sequences longer than its context, say) is left out.
    """
    _, question = question_of(result.params)
    quick = set() if model is None else question.quick_evidence
    found = {}
    for name, params in question.evidence.items():
        params = like(params, result.params)
        if question_of(params)[1].on_model:
            params = dataclasses.replace(params, model=result.provenance.model.id)
        each = _lookup(params, result.provenance.model.fingerprint)
        if each is None and name in quick:
            with suppress(ParameterError):
                each = obtain(model, params)
        if each is not None:
            found[name] = each
    return dataclasses.replace(result, evidence=found)
