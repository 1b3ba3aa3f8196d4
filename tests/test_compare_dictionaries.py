"""Two dictionaries beside each other: what recurs, what splits, and what neither does; the claims of all of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from interp_core.papers import sparse_autoencoder as sae
from interp_core.papers.sparse_autoencoder import claims, figures_dictionary
from interp_core.papers.sparse_autoencoder.comparison import Comparison
from interp_core.papers.sparse_autoencoder.compute.codes import Codes
from interp_core.papers.sparse_autoencoder.compute.compare import (
    alike,
    closest,
    correlated,
    match,
)
from interp_core.papers.sparse_autoencoder.dictionary import Card, Dictionary
from interp_core.papers.sparse_autoencoder.evaluation import NAMES
from interp_core.papers.sparse_autoencoder.features import ENOUGH
from interp_core.params import ParameterError
from interp_core.question import stored

LATENTS, D, WINDOWS, LENGTH = 60, 40, 20, 51


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))


def unit(seed, rows=LATENTS):
    drawn = np.random.default_rng(seed).normal(size=(rows, D)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def dense(seed, active=0.05):
    """Return activations [latent, position] of which each is active at a share of positions, none at the first."""
    draw = np.random.default_rng(seed)
    shape = LATENTS, WINDOWS * LENGTH
    values = (draw.random(shape) < active) * draw.uniform(0.5, 1.5, shape)
    values[:, ::LENGTH] = 0
    return values


def as_codes(values):
    feature, place = np.nonzero(values)
    return Codes(
        np.zeros((WINDOWS, LENGTH), int), place, feature, values[feature, place], len(values)
    )


def beside(here, there, read, other, itself=False):
    """Return what is said of two planted dictionaries: directions and activations of each."""
    codes = as_codes(read), as_codes(other)
    return Comparison(
        params=sae.CompareParams(),
        provenance=None,
        about=("one", "another"),
        itself=itself,
        positions=WINDOWS * (LENGTH - 1),
        density=codes[0].density,
        **match(here, there, *codes, itself=itself),
    )


def test_a_dictionary_in_another_order_is_found_whole():
    order = np.random.default_rng(7).permutation(LATENTS)
    directions, values = unit(0), dense(0)
    found = beside(directions, directions[order], values, values[order])
    np.testing.assert_array_equal(order[found.nearest], np.arange(LATENTS))
    np.testing.assert_array_equal(found.nearest, found.partner)
    np.testing.assert_array_equal(found.back, order)
    np.testing.assert_allclose(found.cosine[0], 1, atol=1e-5)
    np.testing.assert_allclose(found.correlation[0], 1, atol=1e-5)
    assert found.cosine[1].max() < 0.8
    assert found.correlation[1].max() < 0.5
    assert claims.recurs(found).holds
    assert claims.splits(found) is None  # of equal widths


def test_unrelated_dictionaries_are_at_the_floor():
    found = beside(unit(0), unit(1), dense(0), dense(1))
    for measured, floor, within in (found.cosine, found.correlation):
        assert np.median(measured) == pytest.approx(np.median(floor), abs=0.03)
        assert np.median(measured) == pytest.approx(np.median(within), abs=0.03)
    assert claims.recurs(found).holds is False


def test_features_that_are_as_close_to_one_another_do_not_recur():
    """Of groups of like features some of every group are in the other dictionary, whichever they are."""
    groups = np.repeat(unit(0)[:6], 10, axis=0)
    values = np.repeat(dense(0)[:6], 10, axis=0)
    near = [values * np.random.default_rng(seed).uniform(0.8, 1.2, values.shape) for seed in (1, 2)]
    found = beside(groups, groups, *near)
    claim = claims.recurs(found)
    assert np.median(found.correlation[0]) > 0.9
    assert claim.holds is not True


def test_what_all_directions_share_is_in_the_floor_too():
    shared = 3 * unit(9, 1)
    here, there = (unit(seed) + shared for seed in (0, 1))
    here, there = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (here, there))
    assert np.median(closest(here, there)[1]) > 0.85
    assert np.median(closest(here, alike(there))[1]) > 0.85


def test_latents_that_were_doubled_split_in_two_whichever_is_asked_for():
    draw = np.random.default_rng(3)
    twice = np.concatenate([unit(0)] * 2) + 0.02 * draw.normal(size=(2 * LATENTS, D))
    twice = (twice / np.linalg.norm(twice, axis=1, keepdims=True)).astype(np.float32)
    values = dense(0)
    halves = np.concatenate([values * (np.arange(values.shape[1]) % 2 == i) for i in (0, 1)])
    for found in (
        beside(unit(0), twice, values, halves),
        beside(twice, unit(0), halves, values),
    ):
        assert found.splits.tolist() == [2] * LATENTS
        assert claims.splits(found).holds
        assert claims.splits(found).ours == 1  # halves of where each was active
        assert found.split[1].mean() < 0.15
        assert 0.5 <= found.split[2].mean() < 0.65  # one half, or a little more
        assert claims.recurs(found) is None  # of other widths
    alone = np.concatenate([unit(0), unit(1)])
    one_each = beside(unit(0), alone, values, halves)
    assert (one_each.splits == 1).mean() > 0.9 and claims.splits(one_each) is None
    elsewhere = beside(unit(0), twice, values, halves[::-1])
    assert claims.splits(elsewhere).holds is False


def test_of_a_dictionary_beside_itself_each_latent_is_left_out():
    values = dense(0)
    found = beside(unit(0), unit(0), values, values, itself=True)
    assert (found.nearest != np.arange(LATENTS)).all()
    assert (found.partner != np.arange(LATENTS)).all()
    assert found.cosine[0].max() < 0.9
    assert claims.recurs(found) is None


def test_correlations_are_pearson_s_of_latents_active_often_enough():
    values, other = dense(0), dense(0) + dense(5, 0.02)
    values[3] *= np.cumsum(values[3] > 0) < ENOUGH
    partner, best = correlated(as_codes(values), as_codes(other))
    assert partner[3] == -1
    assert np.isnan(best[3])
    inside = np.arange(values.shape[1]) % LENGTH > 0
    for latent in (0, 20):
        every = np.corrcoef(values[latent, inside], other[:, inside])[0, 1:]
        assert partner[latent] == every.argmax()
        assert best[latent] == pytest.approx(every.max())


def test_two_trainings_are_compared_and_sites_must_agree(llama):
    small = {"corpus": "code", "context": 32, "tokens": 2048, "activations": 1000, "batch": 128}
    one, two, elsewhere = (
        sae.run(llama, sae.TrainParams(**small, **more)).names[0]
        for more in (
            {"width": 2, "k": (4,)},
            {"width": 4, "k": (4,), "seed": 1},
            {"width": 2, "k": (4,), "layer": 0},
        )
    )
    on = {"sae": one, "text": "code", "windows": 8, "context": 32}
    found = sae.run(llama, sae.CompareParams(**on, other=two))
    again = Comparison.from_bytes(found.to_bytes())
    assert again.summary == found.summary
    assert found.wider == "other"
    assert len(found.frames["splits"]) == len(found.nearest) == len(found.back) // 2
    assert set(found.charts()) == {"correlations", "cosines", "splits"}
    same = sae.run(llama, sae.CompareParams(**on, other=one))
    assert same.itself
    assert set(same.charts()) == {"correlations", "cosines"}
    with pytest.raises(ParameterError, match=r"^other: it is of resid_post of layer 0; accepted"):
        sae.run(llama, sae.CompareParams(**on, other=elsewhere))
    with pytest.raises(ParameterError, match=r"^other: '0123456789abcdef' is not on this machine"):
        sae.run(llama, sae.CompareParams(**on, other="0123456789abcdef"))


@pytest.fixture
def llama(tiny):
    return tiny("llama")


def test_claims_of_one_model_have_ids_of_their_own():
    by_model: dict[str, list[str]] = {}
    for params in sae.PAPER.headline:
        if (result := stored(params)) is None:  # not shipped yet
            continue
        by_model.setdefault(params.model, []).extend(f.id for f in result.own_findings)
    for ids in by_model.values():
        assert len(ids) == len(set(ids))


def test_a_training_says_what_an_evaluation_says_under_the_same_ids():
    trained = {f.id: f for f in stored(sae.TrainParams()).own_findings}
    kept = {f.id: f for f in stored(sae.EvaluateParams()).own_findings}
    silent = trained.pop("alive_training")  # in training, not on held-out text
    assert trained.keys() == {"sparse", "recovered", "recovered_mean"} and silent.ci
    for name, finding in trained.items():
        assert finding.claim == kept[name].claim and finding.ci is None
    assert trained["sparse"].check  # TopK has it so
    assert kept["sparse"].check
    assert not {f.id for f in stored(sae.SMALL_TRAINING).own_findings} - {"trade_off"}


def evaluation(positions, density, recovered=0.9):
    """Return an evaluation of windows that all recover the same."""
    rows = {name: np.ones(6) for name in NAMES}
    rows |= {"zero": np.full(6, 3.0), "mean": np.full(6, 3.0)}
    rows["spliced"] = 3 - 2 * np.full(6, recovered) + np.linspace(-0.01, 0.01, 6)
    result = object.__new__(sae.Evaluation)
    given = {"sums": np.stack([rows[n] for n in NAMES]), "density": density, "params": None}
    for name, value in (given | {"positions": positions}).items():
        object.__setattr__(result, name, value)
    object.__setattr__(result, "params", sae.EvaluateParams())
    return {f.id: f for f in claims.kept(result)}


def test_densities_are_undecided_where_the_text_is_too_short_to_show_their_spread():
    wide, narrow = np.logspace(-5, -1, 1000), np.logspace(-3, -1, 1000)
    assert evaluation(10**6, wide)["decades"].holds is True
    assert evaluation(10**6, narrow)["decades"].holds is False
    assert evaluation(2000, narrow)["decades"].holds is None


def test_shares_are_decided_by_their_whole_interval():
    few, some, many = (np.r_[np.zeros(n), np.full(1000 - n, 0.01)] for n in (50, 95, 200))
    assert [evaluation(10**6, each)["alive"].holds for each in (few, some, many)] == [
        True,
        None,
        False,
    ]
    verdicts = [evaluation(10**6, few, r)["recovered"].holds for r in (0.9, 0.75, 0.6)]
    assert verdicts == [True, None, False]


def test_features_active_at_few_tokens_are_not_put_first():
    listed = stored(sae.FeaturesParams())
    rare = np.flatnonzero(~listed.often & (listed.rule_scores == np.nanmax(listed.rule_scores)))
    shown = figures_dictionary.listed(listed)["feature"].to_numpy()
    assert listed.often[shown[: min(200, listed.often.sum())]].all()
    best = np.where(listed.often, np.nan_to_num(listed.rule_scores, nan=-1), -1)
    assert shown[0] == best.argmax()
    assert not set(rare) & set(shown[:10])


def test_the_sentence_tells_kurtosis():
    listed = stored(sae.FeaturesParams(model=sae.ONE_LAYER, windows=216))
    feature, neuron = np.nanmedian(listed.kurtosis[[0, 2]], 1)
    said = figures_dictionary.described(listed)
    assert f"{feature:,.0f} of features, {neuron:,.1f} of these neurons" in said


def test_a_dictionary_s_digest_is_of_weights_and_card():
    card = Card("m", "", 2, 1, "resid_post", 0, "standard", 2, 1)
    weights = {"W_enc": np.ones((2, 1)), "W_dec": np.ones((1, 2)), "b_dec": np.ones(2)}
    weights = {n: v.astype(np.float32) for n, v in (weights | {"b_enc": np.ones(1)}).items()}
    one = Dictionary(card, weights)
    other = Dictionary(card, weights | {"b_enc": np.zeros(1, np.float32)})
    assert one.sha256 == Dictionary.from_bytes(one.to_bytes()).sha256
    assert (
        len(
            {
                one.sha256,
                other.sha256,
                Dictionary(dataclasses.replace(card, tokens=1), weights).sha256,
            }
        )
        == 3
    )
