"""Claims about heads, ablation, texts and circuits: what decides them, and what is told beside."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_induction_charts import (
    LAYERS,
    SEQUENCES,
    make_ablated,
    make_circuits,
    make_context,
    make_heads,
)

from interp_core.findings import Finding
from interp_core.papers.induction_heads import Heads, figures
from interp_core.papers.induction_heads.params import SCORES
from interp_core.results import Result


def findings(result: Result) -> dict[str, Finding]:
    return {finding.id: finding for finding in result.own_findings}


def scored(matching: np.ndarray, previous: np.ndarray) -> Heads:
    """Return heads with two scores, [sequence, layer, head] each."""
    sequences = len(matching)
    heads = make_heads()
    scores = np.zeros((len(SCORES), *matching.shape))
    scores[SCORES.index("prefix_matching")] = matching
    scores[SCORES.index("previous_token")] = previous
    return dataclasses.replace(
        heads,
        scores=scores,
        tokens=heads.tokens[[0] * sequences],
        losses=heads.losses[[0] * sequences],
    )


def test_several_heads_are_five_whatever_sequences_are_drawn():
    rng = np.random.default_rng(0)
    for level, verdict in ((0.9, True), (0.1, False)):
        matching = np.full((8, LAYERS, 3), level)
        assert findings(scored(matching, matching))["induction_heads"].holds is verdict
    matching = np.full((8, LAYERS, 3), 0.1)
    matching[:, 2:, :2] = 0.9
    matching[:, 1, 0] = rng.choice([0.0, 1.02], 8)  # the fifth: above in some draws only
    found = findings(scored(matching, matching))["induction_heads"]
    assert found.holds is None and (found.n, found.of) == (8, "sequences")


def test_the_previous_token_head_is_earlier_and_not_read_where_it_was_picked():
    matching = np.full((10, LAYERS, 3), 0.1)
    matching[:, 2, 1] = 0.9
    previous = np.random.default_rng(1).normal(0.5, 0.3, (10, LAYERS, 3))
    largest = previous[:, :2].mean(0).max()
    found = findings(scored(matching, previous))["previous_token_head"]
    assert found.ours < largest and found.holds is None
    previous[:, 0, 2] = 0.8
    assert findings(scored(matching, previous))["previous_token_head"].holds
    late = np.full_like(previous, 0.1)
    late[:, 3, 0] = 0.9  # only after the induction head
    assert findings(scored(matching, late))["previous_token_head"].holds is False
    matching[:, 0, 0] = 1
    none_before = findings(scored(matching, previous))["previous_token_head"]
    assert none_before.ours == 0 and none_before.holds is False


def test_ablation_is_one_claim_of_a_difference():
    result = make_ablated()
    (found,) = result.own_findings
    assert found.id == "ablation_top" and (found.n, found.of) == (SEQUENCES, "sequences")
    assert found.ours == pytest.approx((result.rise[0] - result.rise[1:].mean(0)).mean())
    assert found.holds is False  # 4.8 of at least 5 nats, within a tenth
    losses = result.losses.copy()
    losses[0, :, 5:] += 1
    more = dataclasses.replace(result, losses=losses)
    (found,) = more.own_findings
    assert found.holds and "times as much" in found.criterion
    assert f"cost {result.base[:, 1:5].mean():.1f}" in found.criterion
    assert "L2H1, L1H0" in found.measure and "L2H1" not in found.claim


def test_a_model_that_breaks_as_a_whole_says_nothing():
    result = make_ablated()
    (found,) = dataclasses.replace(result, losses=result.losses + 9).own_findings
    assert found.holds is None and "broken as a whole" in found.criterion
    elsewhere = dataclasses.replace(result, controls=(((2, 0), (2, 2)),))
    (found,) = elsewhere.own_findings
    assert found.holds is None and "controls are of other layers" in found.criterion
    context = make_context()
    losses = context.losses.copy()
    losses[1] += 5
    found = findings(dataclasses.replace(context, losses=losses))["in_context_ablated"]
    assert found.holds is None and "broken as a whole" in found.criterion


def test_a_ratio_to_what_may_be_nothing_is_not_told():
    result = make_ablated(("previous-token",))
    losses = result.losses.copy()
    losses[1:] = result.base + np.array([0.3, -0.3, 0.05])[:, None]
    (found,) = dataclasses.replace(result, losses=losses).own_findings
    assert found.id == "ablation_previous" and "times as much" not in found.criterion


def test_an_effect_that_intervals_do_not_tell_from_nothing_is_undecided():
    found = findings(make_context())
    ends = found["in_context_ablated"].ci
    assert ends[0] < 0 < ends[1] and found["in_context_ablated"].holds is None
    result = make_context()
    better = result.losses.copy()
    better[..., 40:] -= 1.9
    found = findings(dataclasses.replace(result, losses=better))
    assert found["in_context_score"].n == 5 and "ablated" not in found["in_context_score"].claim


def test_a_circuit_is_told_in_words_that_fit_every_model():
    found = findings(make_circuits())
    assert set(found) == {"path_sender", "path_drop", "path_loss"}
    assert found["path_drop"].holds and 0.8 < found["path_drop"].ours < 1
    assert not any("L0H2" in each.claim for each in found.values())
    sender, result = found["path_sender"], make_circuits()
    assert sender.criterion.endswith("over all, L0H2") and "the other half" in sender.measure
    assert sender.ours == pytest.approx(result.looks[:, 0, 2].mean()) and sender.ci
    looks = result.looks.copy()
    looks[:, 0, 2] = 0.9  # the head that is lost most, whatever others look at
    assert findings(dataclasses.replace(result, looks=looks))["path_sender"].holds
    looks[:, 0, 2] = 0.1
    assert findings(dataclasses.replace(result, looks=looks))["path_sender"].holds is False
    even = dataclasses.replace(make_circuits(), patched=make_circuits().patched * 0 + 0.75)
    assert findings(even)["path_drop"].holds is False


def test_where_induction_heads_stand_among_local_layers_is_told():
    heads = make_heads()
    assert heads.in_global_layers is None and "global" not in figures.sentence(heads)
    local = dataclasses.replace(heads, windows=(8, 8, None, 8))
    assert local.in_global_layers == 1
    assert "In the 1 of 4 layers whose attention is global: 1 of these 1." in figures.sentence(
        local
    )
    far = dataclasses.replace(heads, windows=(512, None, 512, 512))
    assert far.in_global_layers == 0 and "see these sequences whole" in figures.sentence(far)
