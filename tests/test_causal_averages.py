"""Averages of causal traces over facts: of what a model knows, and of what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_causal_facts import RECORD, refusal, written

from interp_core import links, store
from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing import Average, AverageParams, Params, Trace, facts
from interp_core.papers.causal_tracing.compute import average, trace
from interp_core.papers.causal_tracing.compute.subject import locate
from interp_core.runtime import on_compute_thread

SUBJECTS = tuple(a + b for a in "BTKMSRZ" for b in ("ob", "im", "ue"))
AVERAGED = dict(samples=2, window=2, kinds=("resid_post", "mlp_out", "sever_mlp"), noise=30.0)


@on_compute_thread
def own_answer(model, prompt: str) -> str:
    ids = locate(model, Params(prompt=prompt, subject=prompt.split()[1])).ids
    return average.says(model, ids)


def known_set(model, folder: Path, end: str = " ", wrong: int = 2) -> tuple[str, list[dict]]:
    """Read a file of facts that the model knows, after some that it does not or that do not fit.

    With a space at a prompt's end the answer is a token without one.
    """
    prompts = {subject: f"a {subject} is{end}" for subject in SUBJECTS}
    said = {subject: own_answer(model, prompt) for subject, prompt in prompts.items()}
    right = [
        {"subject": subject, "prompt": prompts[subject], "attribute": answer}
        for subject, answer in said.items()
        if answer.isascii() and answer.isprintable() and answer.strip() and "\\" not in answer
    ]
    bad = [{"subject": "Bob", "prompt": "Bob is", "attribute": "zz"}] * wrong
    bad += [{"subject": "he", "prompt": "the cat", "attribute": "a"}]
    return facts.read(written(folder, bad + right)), right


def averaged(model, name: str, **changes) -> Average:
    params = AverageParams(facts=name, **{**AVERAGED, **changes})
    return causal_tracing.run(model, params, findings=False)


def means(traces: list[Trace]) -> dict[tuple, float]:
    """Return mean effects by kind, class and layer, by hand from traces' tables."""
    effects: dict[tuple, list[float]] = {}
    for each in traces:
        classes = each.frames["tokens"]["token_class"].str.split(", ")
        for row in each.frames["trace"].itertuples():
            for name in classes[row.position]:
                if name and (not row.kind.startswith("sever_") or name == "last_subject"):
                    effects.setdefault((row.kind, name, row.layer), []).append(row.effect)
    return {key: float(np.mean(values)) for key, values in effects.items()}


@pytest.mark.parametrize("name", ["llama"])
def test_averages_are_of_the_traces(tiny, tmp_path, name):
    model = tiny(name)
    digest, right = known_set(model, tmp_path)
    assert len(right) >= 3
    result = averaged(model, digest)
    assert result.prompts == tuple(record["prompt"] for record in right)
    assert (result.n_wrong, result.n_unusable) == (2, 1)
    params = AverageParams(facts=digest, **AVERAGED)
    traces = [
        causal_tracing.run(model, average.of_fact(model, params, fact), findings=False)
        for fact in facts.load(digest)[3:]
    ]
    by_hand, frame = means(traces), result.frames["average"]
    assert {(row.kind, row.token_class, row.layer) for row in frame.itertuples()} == set(by_hand)
    for row in frame.itertuples():
        assert row.aie == pytest.approx(by_hand[row.kind, row.token_class, row.layer], abs=1e-6)
        assert row.low - 1e-9 <= row.aie <= row.high + 1e-9
        of_class = [any(row.token_class in t.classes(p) for p in t.positions) for t in traces]
        assert row.n == sum(of_class)
    total = np.array([each.total_effect for each in traces])
    np.testing.assert_allclose(result.total, total, atol=1e-6)
    summary = result.summary
    assert summary["average_total_effect"] == pytest.approx(total.mean())
    low, high = summary["average_total_effect_low"], summary["average_total_effect_high"]
    assert low <= total.mean() <= high
    again = Average.from_bytes(result.to_bytes())
    assert again.frames["average"].equals(frame) and again.frames["facts"].equals(
        result.frames["facts"]
    )
    without = means(traces[1:])
    assert max(abs(without[key] - by_hand[key]) for key in without) > 1e-6


def test_a_model_that_knows_nothing_is_traced_on_what_it_says(tiny, tmp_path):
    model = tiny("llama")
    digest, right = known_set(model, tmp_path)
    every = [fact for fact in facts.load(digest) if fact.prompt]
    result = averaged(model, digest, answers="own")
    assert (result.n_wrong, result.n_unusable) == (0, 1)
    assert len(result.prompts) == len(every) - 1 > len(right)
    params = AverageParams(facts=digest, answers="own", **AVERAGED)
    asked = [
        average.of_fact(model, params, fact) for fact in every if fact.prompt in result.prompts
    ]
    traces = [causal_tracing.run(model, each, findings=False) for each in asked]
    assert all(each.answer == each.own_answer for each in traces)
    assert result.answers == tuple(each.answer for each in traces)
    np.testing.assert_allclose(result.total, [each.total_effect for each in traces], atol=1e-6)


def test_an_average_follows_what_the_model_says(tiny, tmp_path):
    """A fact is known just when the token that would be traced is the model's own."""
    model, verdicts = tiny("llama"), set()
    knows = on_compute_thread(average.knows)
    for end in ("", " "):
        digest, _ = known_set(model, tmp_path, end=end)
        params = AverageParams(facts=digest, **AVERAGED)
        for fact in facts.load(digest)[3:]:
            asked = average.of_fact(model, params, fact)
            one = causal_tracing.run(model, asked, findings=False)
            known = knows(model, one.provenance.token_ids, fact)
            assert known == (one.answer == one.own_answer), fact
            verdicts.add(known)
    assert verdicts == {True, False}


class Killed(Exception):
    """What ends a run in the middle."""


def test_an_interrupted_average_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    model = tiny("qwen2")
    digest, right = known_set(model, tmp_path)
    calls, whole = [], trace.inputs  # called once by every trace
    dies = len(right) // 2

    def counted(model, params):
        calls.append(params.prompt)
        if len(calls) == dies + 1:
            raise Killed
        return whole(model, params)

    monkeypatch.setattr(trace, "inputs", counted)
    with pytest.raises(Killed):
        averaged(model, digest)
    resumed = averaged(model, digest)
    assert len(calls) == len(right) + 1 and set(calls) == set(resumed.prompts)
    averaged(model, digest)
    assert len(calls) == len(right) + 1
    fresh = averaged(model, digest, resume=False)
    assert len(calls) == 2 * len(right) + 1
    np.testing.assert_array_equal(fresh.effect, resumed.effect)
    keys = {store.key(Average, each.params, model.info.fingerprint) for each in (fresh, resumed)}
    assert len(keys) == 1  # resume changes no number, so no key
    limited = averaged(model, digest, limit=2)
    assert limited.prompts == resumed.prompts[:2] and len(calls) == 2 * len(right) + 1
    np.testing.assert_array_equal(limited.effect, resumed.effect[:2])
    averaged(model, digest, seed=9)
    assert len(calls) == 3 * len(right) + 1


def test_a_set_that_the_model_does_not_know_is_refused(tiny, tmp_path):
    digest = facts.read(written(tmp_path, [{**RECORD, "attribute": "zzz"}] * 2))
    said = refusal(averaged, tiny("llama"), digest)
    assert said.startswith("facts: the model knows none of the 2")


@pytest.mark.parametrize("changes", [{"corruption": "swap"}, {"metric": "logit_difference"}])
def test_an_average_names_what_a_set_of_facts_cannot_have(tiny, tmp_path, changes):
    """It must not say that swap or foil is empty: averages do not read them."""
    digest, _ = known_set(tiny("llama"), tmp_path)
    said = refusal(averaged, tiny("llama"), digest, **changes)
    assert said.startswith(next(iter(changes)))
    assert "it is empty" not in said
    for name in ("swap", "foil"):
        assert refusal(averaged, tiny("llama"), digest, **{name: "Tim"}).startswith(f"{name}: ")
        said = refusal(links.parse, f"/causal-tracing?question=average&{name}=Tim")
        assert said.startswith(f"{name}: ") and "it is read by trace" in said
