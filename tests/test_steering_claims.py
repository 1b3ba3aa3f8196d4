"""Steering's claims, and the numbers that decide them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from interp_core.papers.steering import (
    PAPER,
    SECOND,
    GeometryParams,
    StrengthParams,
    claims,
    figures_geometry,
    figures_sweep,
    pairs,
)
from interp_core.papers.steering.strength import RANDOM, SHUFFLED
from interp_core.question import stored

APP = Path(__file__).parents[1] / "streamlit_app"


@pytest.fixture(scope="module")
def dose():
    return stored(StrengthParams())


@pytest.fixture(scope="module")
def letters():
    return stored(GeometryParams(protocol="ab"))


def found(result, make=claims.strengthened):
    """Return claims by their ids without behaviour and protocol."""
    return {f.id.removesuffix("_ab").removesuffix("_formality"): f for f in make(result)}


def test_ids_are_of_one_claim_and_the_same_on_both_models():
    ids = Counter(f.id for each in PAPER.headline for f in stored(each).own_findings)
    assert set(ids.values()) == {1}
    assert {"dose_formality", "dose_agreement", "dose_formality_ab", "knows_refusal_ab"} <= set(ids)
    assert {f.id for each in SECOND for f in stored(each).own_findings} <= set(ids)
    texts = [f.claim for each in PAPER.headline for f in stored(each).own_findings]
    assert len(set(texts)) == len(texts)


def test_a_readers_own_pairs_name_no_behaviour(dose):
    own = dataclasses.replace(dose, params=dataclasses.replace(dose.params, pairs="0" * 16))
    assert [f.id for f in claims.strengthened(own)] == [
        "dose", "monotone", "random_floor", "shuffled_floor", "chosen", "cost",
    ]  # fmt: skip


def test_claims_of_one_are_made_where_one_was_measured(dose):
    halved = dataclasses.replace(dose, multipliers=dose.multipliers * 0.7)
    shares = dataclasses.replace(dose, params=dataclasses.replace(dose.params, unit="share"))
    for result in (halved, shares):
        assert not {"dose", "cost"} & set(found(result))


@pytest.mark.parametrize(
    ("swing", "holds"), [(0.3, True), (0.1, None), (0.02, False), (-0.3, False)]
)
def test_the_rise_is_decided_by_its_whole_interval(dose, swing, holds):
    noise = np.random.default_rng(0).normal(0, 0.05, dose.n)
    p = np.full_like(dose.p, 0.5)
    p[0, dose.row(1)] += swing + noise - noise.mean()
    finding = found(dataclasses.replace(dose, p=p))["dose"]
    assert finding.ours == pytest.approx(swing) and finding.n == dose.n
    assert finding.holds is holds


def test_one_step_that_falls_decides_and_is_shown(dose):
    draw = np.random.default_rng(1)
    steps = 0.05 + draw.normal(0, 0.02, (len(dose.multipliers) - 1, dose.n))
    for size, holds in ((0.05, True), (0.0, None), (-0.05, False)):
        steps[3] = size + (steps[3] - steps[3].mean())
        p = dose.p.copy()
        p[0] = np.concatenate([np.zeros((1, dose.n)), np.cumsum(steps, 0)])
        finding = found(dataclasses.replace(dose, p=p))["monotone"]
        assert finding.holds is holds
        assert holds or finding.ours == pytest.approx(size)


def test_a_choice_of_nothing_does_not_hold(dose):
    assert dose.chosen == dose.zero
    finding = found(dose)["chosen"]
    assert finding.holds is False and "nothing is steered" in finding.criterion


@pytest.mark.parametrize(("of", "holds"), [(0.05, True), (0.1, None), (-0.2, False)])
def test_the_cost_keeps_within_its_bar_on_either_side(dose, of, holds):
    loss = np.tile(3.0 * dose.sizes, (len(dose.multipliers), 1))
    spread = np.where(np.arange(len(dose.sizes)) % 2, 0.02, -0.02)
    loss[dose.row(-1)] += (of + spread) * dose.sizes
    finding = found(dataclasses.replace(dose, loss=loss))["cost"]
    assert finding.holds is holds and finding.of == "documents"
    assert finding.ours == pytest.approx(of, abs=5e-3)
    assert "every token of it steered" in finding.measure
    assert "from the end of the instruction on" in finding.measure


def planted(dose, own, of_random):
    """Return a result whose vector swings by ``own`` of mean and spread, and random ones by so much."""
    draw = np.random.default_rng(2)
    kinds = np.array(dose.floors)
    floor = np.full_like(dose.floor, 0.5)
    noise = draw.normal(0, own[1], dose.n)
    floor[0, 1] += own[0] + noise - noise.mean()
    floor[kinds == RANDOM, 1] += of_random * np.linspace(0.9, 1.1, (kinds == RANDOM).sum())[:, None]
    return dataclasses.replace(dose, floor=floor)


@pytest.mark.parametrize(("of_random", "holds"), [(0.02, True), (0.05, None), (0.1, False)])
def test_a_floor_is_held_against_a_quarter(dose, of_random, holds):
    result = planted(dose, (0.2, 0.05), of_random)
    value, low, high = result.floor_share(RANDOM)
    assert value == pytest.approx(of_random / 0.2) and 0 <= low < value < high
    assert found(result)["random_floor"].holds is holds


def test_a_floors_interval_is_over_pairs_as_well_as_vectors(dose):
    width = [np.ptp(planted(dose, (0.2, s), 0.05).floor_share(RANDOM)[1:]) for s in (0.01, 0.2)]
    assert width[1] > 2 * width[0]


def test_a_share_of_what_may_be_nothing_decides_nothing(dose):
    result = planted(dose, (0.001, 0.2), 0.0)
    assert np.isnan(result.floor_share(RANDOM)[1:]).all()
    finding = found(result)["random_floor"]
    assert finding.ours == 0 and finding.ci is None and finding.holds is None
    assert figures_sweep.told(result, RANDOM) == "0%"
    assert np.isfinite(dose.floor_share(SHUFFLED)).all()


def behaviour_over_letter(letters, behaviour, letter):
    """Return the claim where a component follows behaviour and letter by so much, and noise."""
    said = np.where(letters.letter == 0, 1.0, -1.0)
    sides = np.array([1.0, -1.0])
    x = behaviour * sides + letter * said[:, None] * sides
    x = x + np.random.default_rng(3).normal(0, 1, x.shape)
    parts = letters.components.copy()
    parts[letters.middle, :, :, 0] = x
    result = dataclasses.replace(letters, components=parts)
    r = {name: values[result.middle, 0] for name, values in result.correlations().items()}
    finding = found(result, claims.located)["clusters"]
    assert finding.ours == pytest.approx(r["behaviour"] - r["letter"], abs=1e-6)
    assert finding.ci[0] < finding.ours < finding.ci[1]
    return finding.holds


def test_behaviour_and_letter_are_told_apart_by_an_interval_over_pairs(letters):
    assert behaviour_over_letter(letters, 2.0, 0.2) is True
    assert behaviour_over_letter(letters, 1.0, 1.0) is None
    assert behaviour_over_letter(letters, 0.2, 2.0) is False


@pytest.mark.parametrize("true", [-0.8, 0.0, 0.6])
def test_the_cosine_of_letters_is_that_of_planted_directions_whatever_the_noise(letters, true):
    made, by_letter = ~letters.held_out.astype(bool), np.array([1.0, -1.0])[letters.letter]
    draws, rng = len(letters.layers), np.random.default_rng(0)
    differences = 3 * rng.normal(size=(draws, len(made), 300)) / np.sqrt(300)
    differences[:, :, 0] += np.sqrt((1 + true) / 2)
    differences[:, :, 1] += np.sqrt((1 - true) / 2) * by_letter
    differences[:, ~made] = 0
    inner = differences @ differences.swapaxes(1, 2)
    value, low, high = dataclasses.replace(letters, inner=inner).letter_cosine().T
    assert value.mean() == pytest.approx(true, abs=0.05)
    assert ((low <= true) & (true <= high)).mean() > 0.85
    assert (high - low).max() < 0.6


@pytest.mark.parametrize("less", ["no B", "two B", "nothing in common"])
def test_pairs_that_do_not_tell_letters_apart_are_said_to(letters, less):
    made, inner = ~letters.held_out.astype(bool), letters.inner
    letter = np.zeros_like(letters.letter)
    if less == "two B":
        letter[np.flatnonzero(made)[:2]] = 1
    if less == "nothing in common":
        letter, inner = letters.letter, np.eye(len(made)) * np.ones_like(inner)
    alone = dataclasses.replace(letters, letter=letter, inner=inner)
    assert "behaviour_vector" not in found(alone, claims.located)
    assert "are not told apart" in figures_geometry.sentence(alone) and not alone.is_letter


def test_how_long_the_vector_is_beside_the_stream_is_told(dose):
    share = dose.vector_norm / dose.resid_norm
    assert f"norm is {share:.0%} of the residual stream's" in figures_sweep.strengthened(dose)
    unknown = figures_sweep.strengthened(dataclasses.replace(dose, resid_norm=0.0))
    assert unknown.endswith(f"The vector's norm is {dose.vector_norm:.1f}.")


def test_what_ships_calls_the_letter_vector_one_and_the_others_not():
    for behaviour in ("formality", "refusal"):
        letters = stored(GeometryParams(behaviour=behaviour, protocol="ab"))
        middle = len(letters.layers) // 2
        assert letters.is_letter
        assert letters.letter_cosine()[middle, 2] < 0
        assert letters.correlations()["letter"][middle, 0] > 0.9
        holds = {f.id: f.holds for f in letters.own_findings}
        assert holds[f"behaviour_vector_{behaviour}_ab"] is False
    texts = stored(GeometryParams())
    assert not texts.is_letter and texts.apart[15].mean() > 0.9


def test_what_ships_moves_answers_further_than_random_vectors_do():
    doses = {name: stored(StrengthParams(behaviour=name)) for name in pairs.BEHAVIOURS}
    claims = {f.id: f for each in doses.values() for f in each.own_findings}
    assert claims["dose_formality"].holds and claims["monotone_formality"].holds
    for name, result in doses.items():
        assert result.n == 48
        assert result.cost[result.zero] == pytest.approx(0)
        ends = result.p[0].mean(1)
        assert ends[result.row(-1)] < ends[result.zero] < ends[result.row(1)], name
        assert claims[f"dose_{name}"].ci[0] > 0, name
        assert result.swings[0].mean() == pytest.approx(
            (result.p[0, result.row(1)] - result.p[0, result.row(-1)]).mean(), abs=1e-5
        )


MIXER = """
import sys
sys.path.insert(0, {folder!r})
import controls
import streamlit as st
from interp_core.fields import fields_of
from interp_core.papers.steering import Params
st.write(repr(controls.one(fields_of(Params)["mix"], {value!r}, controls.Sizes(), "mix")))
"""


def mixer(*value):
    return AppTest.from_string(MIXER.format(folder=str(APP), value=value)).run()


def test_behaviours_are_mixed_by_sliders():
    page = mixer("refusal=-0.5")
    assert [each.label for each in page.slider] == [
        "Formality", "Optimism", "Refusal", "Agreement with the user",
    ]  # fmt: skip
    assert page.markdown[0].value == "('refusal=-0.5',)"
    page.slider[1].set_value(1.25).run()
    page.slider[2].set_value(0.0).run()
    assert page.markdown[0].value == "('optimism=1.25',)" and not page.exception


@pytest.mark.parametrize("value", [("refusal=50",), ("refusal=1", "refusal=1")])
def test_a_mixture_that_sliders_cannot_show_stays_as_it_was_typed(value):
    page = mixer(*value)
    assert not page.slider and page.markdown[0].value == repr(value)
