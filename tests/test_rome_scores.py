"""Edits as results: one with prompts to compare, many with their scores, and what findings say."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from interp_core import question, store
from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing import (
    Edit,
    EditParams,
    EditScores,
    Params,
    ScoresParams,
    Trace,
    claims,
)
from interp_core.papers.causal_tracing.compute import edit, key_covariance, rome
from interp_core.papers.causal_tracing.facts import Fact
from interp_core.params import ParameterError
from interp_core.runtime import on_compute_thread

EDIT = EditParams(prompt="Bob is in", subject="Bob", answer="q", new_object="w", layer=1)
FACTS = [
    Fact("Bob", "q", "{} is in", "r", "w", ("So Bob is in", "Now Bob is in"), ("Tom is in",)),
    Fact("Ann", "a", "{} sees", "r", "s", ("Here Ann sees",), ("Eve sees", "Kim sees")),
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(key_covariance, "TEXTS", 8)
    monkeypatch.setattr(key_covariance, "LENGTH", 20)
    monkeypatch.setattr(edit, "_PREFIXES", ((2, 3),))
    monkeypatch.setattr(edit, "_NEW_TOKENS", 3)


@on_compute_thread
def logits(model) -> np.ndarray:
    return np.array(model.stream.run(mx.array([[5, 9, 70, 33]])).logits.astype(mx.float32))


def scored(model, monkeypatch, **changes) -> EditScores:
    monkeypatch.setattr(edit, "known_facts", lambda *_: (FACTS, 3, 1))
    # Through block 0 a random model's answer can be moved, whatever prefixes are drawn.
    params = ScoresParams(layer=0, limit=2, **changes)
    return causal_tracing.run(model, params, findings=False)


def test_prompts_to_compare_are_asked_of_both_models_and_the_model_stays(tiny):
    model = tiny("llama")
    before = logits(model)
    params = dataclasses.replace(EDIT, watch=("Bob was in", "Zed is in"))
    result = causal_tracing.run(model, params, findings=False)
    assert isinstance(result, Edit) and result.roles == ("rewrite", "watched", "watched")
    assert result.prompts[1:] == params.watch
    assert result.new_probability[0, 1] > result.new_probability[0, 0]
    assert (logits(model) == before).all()
    assert result.new_probability[1, 0] != result.new_probability[1, 1]
    again = Edit.from_bytes(result.to_bytes())
    assert again.continuations == result.continuations and again.params == result.params


def test_many_edits_are_scored_one_at_a_time(tiny, monkeypatch):
    model = tiny("llama")
    before = logits(model)
    # The length of values is left free: a random model's answers hardly depend on any.
    monkeypatch.setattr(rome, "DECAY", 0.0)
    result = scored(model, monkeypatch)
    assert result.prompts == ("Bob is in", "Ann sees") and result.n_wrong == 4
    assert result.prefers.shape == result.margin.shape == (2, 2, 3)
    assert ((result.prefers >= 0) & (result.prefers <= 1)).all()
    assert (result.margin[:, 1, 0] > result.margin[:, 0, 0]).all()
    assert (result.rank == 1).all() and (result.key_gap < 1e-3).all()
    assert np.ptp(result.loss[:, 0]) == 0, "every edit starts from the model as it was"
    assert (logits(model) == before).all()
    again = EditScores.from_bytes(result.to_bytes())
    assert (again.prefers == result.prefers).all() and len(again.findings) == len(result.findings)


def test_c_and_the_identity_are_different_edits(tiny, monkeypatch):
    by_text, plain = (
        scored(tiny("llama"), monkeypatch, covariance=each) for each in ("text", "identity")
    )
    assert not np.allclose(by_text.margin[:, 1, 2], plain.margin[:, 1, 2], atol=1e-7)
    assert by_text.margin[:, 1, 0] == pytest.approx(plain.margin[:, 1, 0], abs=0.2)


def test_findings_say_which_claims_hold(tiny, monkeypatch):
    base = scored(tiny("llama"), monkeypatch)
    good = np.zeros((24, 2, 3))
    good[:, 0] = (0, 0, 1)
    good[:, 1] = (1, 0.9, 0.97)
    bad = good.copy()
    bad[:, 1] = (0.5, 0.5, 0.5)
    loss = np.tile([[3.0, 3.001]], (24, 1))
    fields = {"key_gap": np.zeros(24), "rank": np.ones(24, int), "loss": loss}
    words = {"prompts": ("p",) * 24, "old": ("o",) * 24, "new": ("n",) * 24}
    for prefers, expected in ((good, True), (bad, False)):
        made = dataclasses.replace(base, prefers=prefers, margin=prefers, **fields, **words)
        holds = {each.id: each.holds for each in claims.of_edits(made)}
        assert len(holds) >= 5
        spoiled = [name for name, held in holds.items() if not held]
        assert bool(spoiled) is not expected and len(spoiled) in (0, 3)


def test_results_of_one_prompt_get_the_findings_that_are_kept(tiny, monkeypatch):
    model = tiny("llama")
    result = causal_tracing.run(model, EDIT, findings=False)
    assert result.evidence == question.attach(result).evidence == {}
    kept = dataclasses.replace(scored(model, monkeypatch), params=ScoresParams())
    store.put(kept)
    found = question.attach(result)
    assert found.evidence["scores"].prompts == kept.prompts
    assert found.findings == found.evidence["scores"].findings and not found.own_findings
    # They take long, so that they are not measured on the way: the model is not asked.
    monkeypatch.setattr(edit, "known_facts", None)
    assert causal_tracing.run(model, EDIT).evidence["scores"].prompts == kept.prompts


def test_a_layer_that_is_not_there_and_the_answer_itself_are_refused(tiny):
    with pytest.raises(ParameterError, match=r"^layer: 99"):
        causal_tracing.run(tiny("llama"), dataclasses.replace(EDIT, layer=99))
    with pytest.raises(ParameterError, match=r"^new_object: 'q' is the answer already"):
        causal_tracing.run(tiny("llama"), dataclasses.replace(EDIT, new_object="q"))


@pytest.mark.parametrize("metric", ["joint_probability", "logit_difference", "kl"])
def test_other_metrics_give_the_clean_value_where_everything_is_restored(tiny, metric):
    """Restoring the last position at the last layer gives the clean run, whatever is measured."""
    foil = {"foil": "w"} if metric == "logit_difference" else {}
    params = Params(
        prompt="Bob is in ", subject="Bob", answer="q", metric=metric, samples=2, window=2, **foil
    )
    result = causal_tracing.run(tiny("llama"), params, findings=False)
    assert isinstance(result, Trace)
    at = result.frames["trace"].query("kind == 'resid_post'")
    corner = at[(at["layer"] == at["layer"].max()) & (at["position"] == at["position"].max())]
    assert float(corner["effect"].iloc[0]) == pytest.approx(result.total_effect, rel=1e-3)
    assert result.total_effect != 0
