"""Trace many facts, one by one, and keep each, so that an interrupted run goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from interp_core.fields import fields_of
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing import facts
from interp_core.papers.causal_tracing.average import CLASSES, Average, AverageParams
from interp_core.papers.causal_tracing.compute.subject import answer_ids, locate
from interp_core.papers.causal_tracing.compute.trace import subject_std
from interp_core.papers.causal_tracing.facts import Fact
from interp_core.papers.causal_tracing.params import Noise, Restored, Seeded
from interp_core.papers.causal_tracing.scores import ScoresParams
from interp_core.papers.causal_tracing.trace import Params, Trace
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.question import obtain
from interp_core.results import Provenance
from interp_core.runtime import report, show, stage


def compute(model: LanguageModel, params: AverageParams) -> Average:
    """Trace the facts of ``params.facts`` that the model knows, ``params.limit`` at most.

    Where ``params.answers`` is ``own``, it is all facts that fit the model, each with the model's next token.

    Every fact's trace is kept as it ends, and taken from there unless ``params.resume`` is false.

    Raises:
        ParameterError: When the set is not there, or the model knows none of it.
    """
    traces: list[Trace] = []
    answers: list[str] = []
    own = params.answers == "own"
    with Recorder() as recorder:
        wanted = facts.load(params.facts)
        traced, wrong, unusable = known_facts(model, params, wanted, "trace", any_answer=own)
        for done, fact in enumerate(traced):
            with stage("tracing facts", done, len(traced)):
                asked = of_fact(model, params, fact)
                traces.append(obtain(model, asked, fresh=not params.resume))
            answers.append(traces[-1].answer if own else fact.attribute)
            begun = recorder.provenance(model.info, [], params.seed)
            average = _average(params, begun, traces, answers, wrong, unusable)
            show(average)
    return average


def known_facts(
    model: LanguageModel,
    params: AverageParams | ScoresParams,
    wanted: Sequence[Fact],
    purpose: str,
    *,
    any_answer: bool = False,
) -> tuple[list[Fact], int, int]:
    """Return the facts that the model knows, and how many it does not, or that do not fit it.

    ``params.limit`` at most; ``purpose`` is what they are for. With ``any_answer`` those that it does not know are
    returned, too.

    Raises:
        ParameterError: When it knows none.
    """
    known: list[Fact] = []
    wrong = unusable = 0
    for done, fact in enumerate(wanted):
        if len(known) == params.limit:
            break
        report("asking what the model knows", done, len(wanted))
        asked = Params(prompt=fact.prompt, subject=fact.subject, start=params.start)
        try:
            ids = locate(model, asked).ids
        except ParameterError:
            unusable += 1
            continue
        if any_answer or knows(model, ids, fact):
            known.append(fact)
        else:
            wrong += 1
    if not known:
        can, accepted = ("knows", "facts whose answer is the model's next token")
        if any_answer:
            can, accepted = ("can read", "facts whose subject has tokens of its own")
        raise ParameterError(
            f"facts: the model {can} none of the {len(wanted)} in {params.facts}, so there is "
            f"nothing to {purpose}; accepted: {accepted}"
        )
    return known, wrong, unusable


def knows(model: LanguageModel, ids: tuple[int, ...], fact: Fact) -> bool:
    """Whether the model's next token is the fact's attribute, whole."""
    tokenizer, said = model.require_tokenizer(), says(model, ids)
    answer = answer_ids(tokenizer, fact.prompt, fact.attribute)
    return said.strip() == fact.attribute.strip() and said == tokenizer.text(answer[0])


def says(model: LanguageModel, ids: tuple[int, ...]) -> str:
    """Return the text of the model's most likely next token."""
    logits = model.stream.run(mx.array([ids]), leave=slice(-1, None)).logits
    return model.require_tokenizer().text(int(np.array(mx.argmax(logits[0, 0]))))


def of_fact(model: LanguageModel, params: AverageParams, fact: Fact) -> Params:
    """Return the parameters that trace one fact as ``params`` trace the set."""
    shared = {
        name: getattr(params, name)
        for part in (Noise, Restored, Seeded)
        for name in fields_of(part)
    }
    if params.noise_unit == "std" and params.facts != "shipped":
        size = params.noise * subject_std(model, params.facts, params.noise_after)
        shared |= {"noise": round(size, 6), "noise_unit": "absolute"}
    return Params(
        model=params.model,
        prompt=fact.prompt,
        subject=fact.subject,
        answer=fact.attribute if params.answers == "known" else "",
        corruption=params.corruption,
        metric=params.metric,
        **shared,
    )


def _average(
    params: AverageParams,
    provenance: Provenance,
    traces: list[Trace],
    answers: list[str],
    wrong: int,
    unusable: int,
) -> Average:
    by_class = [_by_class(each) for each in traces]
    return Average(
        params=params,
        provenance=provenance,
        prompts=tuple(each.params.prompt for each in traces),
        answers=tuple(answers),
        n_wrong=wrong,
        n_unusable=unusable,
        clean=np.array([each.clean_score for each in traces]),
        corrupt=np.array([each.corrupt_score.mean() for each in traces]),
        layers=traces[0].layers,
        effect=np.stack([effect for effect, _ in by_class]),
        cells=np.stack([cells for _, cells in by_class]),
    )


def _by_class(traced: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Return a trace's mean effect [kind, class, layer] and the number of positions [class]."""
    member = np.array(
        [[name in traced.classes(p) for p in traced.positions.tolist()] for name in CLASSES]
    )
    cells = member.sum(1)
    effect = np.nan_to_num(traced.effect)
    sums = np.einsum("klp,cp->kcl", effect, member)
    return (sums / np.maximum(cells, 1)[:, None]).astype(np.float32), cells
