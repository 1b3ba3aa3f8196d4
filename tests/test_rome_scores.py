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
    claims_edits,
    figures_scores,
)
from interp_core.papers.causal_tracing.compute import edit, key_covariance, rome
from interp_core.papers.causal_tracing.facts import Fact
from interp_core.papers.causal_tracing.scores import SWEPT
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
    assert result.prefers.shape == result.margin.shape == result.top.shape == (2, 2, 3)
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


def many(base: EditScores, prefers: np.ndarray) -> EditScores:
    """Return scores of as many facts as ``prefers`` [fact, before/after, role] has."""
    n = len(prefers)
    words = {name: (name,) * n for name in ("prompts", "old", "new")}
    loss = np.tile([[3.0, 3.001]], (n, 1))
    arrays = {"prefers": prefers, "margin": prefers, "top": prefers, "loss": loss}
    return dataclasses.replace(
        base, **arrays, **words, key_gap=np.zeros(n), rank=np.ones(n, int), steps=np.ones(n, int)
    )


def alike(n: int, after: tuple[float, float, float]) -> np.ndarray:
    """Return [fact, before/after, role] of facts that all go the same way."""
    return np.stack([np.tile((0.0, 0.0, 1.0), (n, 1)), np.tile(after, (n, 1))], axis=1)


def verdicts(made: EditScores) -> dict[str, bool | None]:
    return {each.id: each.holds for each in claims_edits.of_edits(made)}


def test_findings_say_which_claims_hold(tiny, monkeypatch):
    base = scored(tiny("llama"), monkeypatch)
    good = verdicts(many(base, alike(100, (1, 0.95, 0.97))))
    assert len(good) >= 6 and set(good.values()) == {True}
    bad = verdicts(many(base, alike(100, (0.5, 0.3, 0.5))))
    spoiled = {name for name, held in bad.items() if held is False}
    assert spoiled == {"efficacy", "paraphrase", "paraphrase_top", "neighbourhood"}
    # A few facts that all go right leave open whether nearly all would.
    few = verdicts(many(base, alike(20, (1, 1, 1))))
    assert few["efficacy"] is None and few["efficacy_top"] is few["neighbourhood"] is True


def test_claims_are_measured_on_facts_by_which_the_block_was_not_picked(tiny, monkeypatch):
    base = scored(tiny("llama"), monkeypatch)
    first_fail = alike(SWEPT + 40, (1, 1, 1))
    first_fail[:SWEPT, 1] = 0
    found = {f.id: f for f in claims_edits.of_edits(many(base, first_fail))}
    for name in ("efficacy", "paraphrase", "efficacy_top", "paraphrase_top"):
        assert (found[name].ours, found[name].n) == (1, 40)
        assert f"first {SWEPT}" in found[name].criterion
    assert found["neighbourhood"].ours == 0 and found["neighbourhood"].n == 40
    assert found["key_to_value"].check and found["key_to_value"].n == SWEPT + 40
    swept = {f.id: f for f in claims_edits.of_edits(many(base, first_fail[:SWEPT]))}
    assert (swept["efficacy"].ours, swept["efficacy"].n) == (0, SWEPT)
    other = dataclasses.replace(base, params=dataclasses.replace(base.params, facts="0" * 16))
    assert claims_edits.of_edits(many(other, first_fail))[0].n == SWEPT + 40


def test_the_likeliest_token_is_the_one_that_the_model_says(tiny, monkeypatch):
    model = tiny("llama")
    monkeypatch.setattr(rome, "DECAY", 0.0)
    result = scored(model, monkeypatch)
    assert result.top.shape == (2, 2, 3) and ((result.top >= 0) & (result.top <= 1)).all()

    @on_compute_thread
    def both() -> tuple[list[str], list[str]]:
        texts = ("Bob is in", "So Bob is in", "Ann sees")  # of several lengths
        pairs = [edit._pair(model, result.params, text, "q", "w") for text in texts]
        likeliest = edit._likeliest(model.stream, pairs).tolist()
        return [model.tokenizer.text(i) for i in likeliest], edit._says(model, model.stream, pairs)

    likeliest, said = both()
    assert likeliest == said


def test_both_kinds_of_scores_are_in_the_table_and_in_the_figure(tiny, monkeypatch):
    values = alike(30, (1, 0.9, 0.8))
    made = dataclasses.replace(many(scored(tiny("llama"), monkeypatch), values), top=values / 2)
    table = made.tables()["scores"].set_index(["score", "when"])
    after = table.loc[("paraphrase", "after")]
    assert (after["value"], after["top"]) == pytest.approx((0.9, 0.45))
    assert after["low"] < 0.9 < after["high"] and after["top_low"] < 0.45 < after["top_high"]
    assert after["magnitude"] == pytest.approx(0.9)
    spec = figures_scores.own_scores(made).to_dict()
    drawn = [
        {row["value"] for row in spec["datasets"][panel["data"]["name"]]}
        for panel in spec["hconcat"]
    ]
    assert [max(each) for each in drawn] == [1.0, 0.5]


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
