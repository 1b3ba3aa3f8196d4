"""The claims on tracing: each can hold and fail, and rests on facts, not on the layer they pick."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from interp_core.findings import Finding
from interp_core.papers.causal_tracing import (
    WINDOWS,
    Average,
    AverageParams,
    figures_average,
)
from interp_core.papers.causal_tracing.average import CLASSES
from interp_core.question import stored

WIDE, SINGLE = AverageParams().window, 1


@pytest.fixture(scope="module")
def average() -> Average:
    return stored(AverageParams())


def by_id(average: Average) -> dict[str, Finding]:
    return {each.id: each for each in average.own_findings}


def with_effect(average: Average, at: dict[tuple[str, str], dict[int, float]]) -> Average:
    """Return an average with an effect of 0.01, and that of ``at`` by kind, class and layer."""
    effect = np.full_like(average.effect, 0.01)
    effect += np.random.default_rng(0).normal(0, 1e-3, effect.shape)
    for (kind, token_class), values in at.items():
        for layer, value in values.items():
            effect[:, *average.row(kind, token_class), layer] += value
    return dataclasses.replace(average, effect=effect, evidence={})


def single(average: Average, values: dict[int, float], **changes) -> Average:
    """Return what single MLPs bring back of the same facts: ``values`` by layer."""
    restored = with_effect(average, {("mlp_out", "last_subject"): values})
    params = dataclasses.replace(average.params, window=SINGLE, kinds=("mlp_subject",), **changes)
    at = average.params.kinds.index("mlp_out")
    return dataclasses.replace(restored, params=params, effect=restored.effect[:, [at]])


def beside(average: Average, values: dict[int, float], **changes) -> Average:
    evidence = {"window_1": single(average, values, **changes)}
    return dataclasses.replace(average, evidence=evidence)


def test_every_claim_says_what_it_measures_and_counts_facts(average):
    found = average.own_findings
    assert len(found) == len({each.id for each in found}) >= 8
    for each in found:
        assert each.measure and each.of == "facts" and each.n <= len(average.prompts)
        assert each.ci is not None and not any(np.isnan(each.ci))


SITES = {("mlp_out", "last_subject"): {3: 0.3}, ("attn_out", "last"): {20: 0.3}}
STATES = {("resid_post", "last_subject"): dict.fromkeys(range(19), 0.2)}


def test_claims_hold_and_fail(average):
    there = by_id(with_effect(average, {**SITES, **STATES}))
    for name in ("mlp_over_attention", "early_mlp_site", "late_attention_site"):
        assert there[name].holds is True
    assert there["late_attention_over_mlp"].holds is there["last_over_neighbours"].holds is True
    turned = {("mlp_out", "last_subject"): {20: 0.3}, ("attn_out", "last"): {3: 0.3}}
    turned |= {("mlp_out", "last"): {3: 0.4}, ("attn_out", "last_subject"): {5: 0.3}}
    turned |= {("resid_post", "first_subject"): dict.fromkeys(range(19), 0.3)}
    there = by_id(with_effect(average, turned))
    for name in ("mlp_over_attention", "early_mlp_site", "late_attention_site"):
        assert there[name].holds is False
    assert there["late_attention_over_mlp"].holds is there["last_over_neighbours"].holds is False


def test_a_lead_over_the_token_after_the_subject_is_needed_too(average):
    after = {("resid_post", "first_subsequent"): {4: 0.5}}
    found = by_id(with_effect(average, {**STATES, **after}))["last_over_neighbours"]
    assert found.holds is False and found.ours == pytest.approx(-0.3, abs=0.01)
    cells = average.cells.copy()
    cells[:10, CLASSES.index("first_subsequent")] = 0
    fewer = dataclasses.replace(with_effect(average, STATES), cells=cells)
    assert by_id(fewer)["last_over_neighbours"].n == len(average.prompts) - 10


def test_what_is_undecided_is_neither(average):
    wavering = with_effect(average, {("attn_out", "last"): {20: 0.3}})
    effect = wavering.effect.copy()
    effect[::2, *wavering.row("mlp_out", "last"), 20] += 0.6
    found = by_id(dataclasses.replace(wavering, effect=effect))["late_attention_over_mlp"]
    assert found.holds is None


def test_what_single_blocks_bring_back(average):
    wide = with_effect(average, {("mlp_out", "last_subject"): {4: 0.3}})
    assert not {"single_blocks", "first_block"} & by_id(wide).keys()
    by_first = by_id(beside(wide, {0: 0.3, 7: 0.02}))
    assert by_first["single_blocks"].holds is False and by_first["first_block"].holds is True
    assert by_first["single_blocks"].ours == pytest.approx(0.1, abs=0.02)
    by_others = by_id(beside(wide, {0: 0.05, 7: 0.2}))
    assert by_others["single_blocks"].holds is True and by_others["first_block"].holds is False
    assert by_others["first_block"].ours == pytest.approx(-0.15, abs=0.01)
    assert str(WIDE) in by_others["early_mlp_site"].claim


def test_windows_of_other_runs_are_not_compared(average):
    wide = with_effect(average, {})
    for changes in ({"samples": 9}, {"seed": 3}, {"noise": 1.0}, {"facts": "0" * 16}):
        other = beside(wide, {0: 0.3}, **changes)
        assert list(other.windows()) == [WIDE] and "first_block" not in by_id(other)
        assert not figures_average.has_windows(other)
    fewer = single(wide, {0: 0.3})
    fewer = dataclasses.replace(fewer, prompts=("another", *fewer.prompts[1:]))
    assert list(dataclasses.replace(wide, evidence={"window_1": fewer}).windows()) == [WIDE]


def test_windows_repeat_no_claim_and_have_a_line_each(average):
    wide = with_effect(average, {})
    whole = beside(wide, {0: 0.3})
    alone = whole.evidence["window_1"]
    assert alone.own_findings == []
    ids = [each.id for each in whole.findings]
    assert len(ids) == len(set(ids))
    spec = figures_average.windows(whole).to_dict()
    rows = [row for data in spec["datasets"].values() for row in data]
    assert {row["name"] for row in rows} == {"1 layer", f"{WIDE} layers"}
    assert {row["token_class"] for row in rows} == {"last_subject"}
    drawn = {row["layer"]: row["value"] for row in rows if row["name"] == "1 layer"}
    row = alone.row("mlp_subject", "last_subject")
    assert drawn == pytest.approx(dict(enumerate(alone.aie[row])))
    assert figures_average.has_windows(whole) and not figures_average.has_windows(wide)


def test_windows_are_those_of_single_blocks_and_a_few():
    assert [params.window for params in WINDOWS] == [1, 3, 5]
    for params in WINDOWS:
        default = dataclasses.replace(AverageParams(), window=params.window, kinds=("mlp_subject",))
        assert params == default


def test_a_set_says_how_many_subjects_spell_the_answer(average):
    assert average.given_away.shape == (len(average.prompts),)
    assert average.summary["given_away"] == average.given_away.mean() < 0.1
    unknown = dataclasses.replace(average.params, facts="0" * 16)
    elsewhere = dataclasses.replace(average, params=unknown, evidence={})
    assert np.isnan(elsewhere.given_away).all() and elsewhere.to_json()
