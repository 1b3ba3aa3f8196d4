"""Sparse autoencoders: their gradient and training, their use on a model, what is said of features."""

from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest

from interp_core.estimates import ratios
from interp_core.papers import sparse_autoencoder as sae
from interp_core.papers.sparse_autoencoder.compute import capture, sparse, splice
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, fit
from interp_core.papers.sparse_autoencoder.compute.autoencoder import (
    Kind,
    begin,
    encode,
    gradients,
    kth,
    revival,
)
from interp_core.papers.sparse_autoencoder.compute.capture import Activations
from interp_core.papers.sparse_autoencoder.compute.codes import Codes
from interp_core.papers.sparse_autoencoder.compute.learner import Learner
from interp_core.papers.sparse_autoencoder.dictionary import KEPT, Card, Dictionary
from interp_core.papers.sparse_autoencoder.labels import Rules, kurtosis, strongest
from interp_core.params import ParameterError
from interp_core.question import stored
from interp_core.residual import Site
from interp_core.runtime import Cancelled, on_compute_thread, submit

SMALL = {"corpus": "code", "context": 32, "tokens": 2048, "activations": 1000, "batch": 128}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def llama(tiny):
    return tiny("llama")


def planted(features=32, d=16, rows=20_000, active=0.04, seed=0):
    """Return sparse sums of random unit directions: activations [row, d], and the directions."""
    draw = np.random.default_rng(seed)
    directions = draw.normal(size=(features, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = (draw.random((rows, features)) < active) * draw.uniform(0.5, 1.5, (rows, features))
    return (codes @ directions).astype(np.float32), directions.astype(np.float32)


def learnt(params, rows):
    """Train on activations [row, d], and return the learner."""

    @on_compute_thread
    def train():
        half = rows.astype(np.float16)
        data = Activations(
            half,
            np.arange(len(half)),
            float(np.sqrt(rows.shape[1]) / np.linalg.norm(rows, axis=1).mean()),
            1.0,
        )
        learner = Learner(data, data.batch(np.arange(512)), params, 1)
        for step in range(learner.steps):
            learner.learn(step)
        learner.log(0)
        return learner

    return train()


@pytest.mark.parametrize("architecture", ["standard", "topk", "batchtopk", "matryoshka"])
def test_the_gradient_is_that_of_automatic_differentiation(architecture):
    kind = Kind(architecture, 0.3 if architecture == "standard" else 3, 24)
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(10, 8)).astype(np.float32)

    @on_compute_thread
    def both():
        weights = begin(kind, rows, 0)
        weights["b_enc"] = mx.array(draw.normal(0, 0.1, 24).astype(np.float32))
        weights["b_dec"] = mx.array(draw.normal(0, 0.1, 8).astype(np.float32))
        x = mx.array(rows)
        codes, _ = encode(kind, weights, x)
        chosen = codes > 0

        def loss(w):
            own = mx.where(chosen, mx.maximum((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 0), 0)
            parts = [own[:, :end] @ w["W_dec"][:end] + w["b_dec"] - x for end in kind.prefixes]
            return sum((p * p).mean() for p in parts) / len(parts) + kind.l1 * own.sum(-1).mean()

        expected = mx.grad(loss)(weights)
        left, found = gradients(kind, weights, x, codes)
        recon = codes @ weights["W_dec"] + weights["b_dec"]
        assert mx.allclose(left, x - recon, atol=1e-5)
        return {n: (np.array(found[n]), np.array(expected[n])) for n in found}

    for name, (ours, theirs) in both().items():
        np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=name)


def test_what_revives_dead_latents_is_a_gradient_too():
    kind = Kind("topk", 2, 24)
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(10, 8)).astype(np.float32)
    dead = np.arange(24) % 6 == 0  # four, as many as may stand in: d_in / 2

    @on_compute_thread
    def both():
        weights = begin(kind, rows, 0)
        x = mx.array(rows)
        codes, before = encode(kind, weights, x)
        error = x - (codes @ weights["W_dec"] + weights["b_dec"])
        at = mx.array(np.flatnonzero(dead))

        def loss(w):
            own = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])[:, at]
            return mx.square(own @ w["W_dec"][at] - error).mean()

        expected, found = mx.grad(loss)(weights), revival(weights, x, error, before, dead)
        assert revival(weights, x, error, before, np.zeros(24, bool)) is None
        return {n: (np.array(found[n]), np.array(expected[n])) for n in found}

    for name, (ours, theirs) in both().items():
        np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=name)


def test_the_sparse_gradient_is_the_dense_one():
    kind = Kind("topk", 3, 24)
    rows = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)

    @on_compute_thread
    def both():
        weights = begin(kind, rows, 0)
        x = mx.array(rows)
        codes, before = encode(kind, weights, x)
        kept = sparse.largest(before, 3)
        ours, theirs = sparse.gradients(weights, x, kept), gradients(kind, weights, x, codes)
        np.testing.assert_allclose(ours[0], np.array(theirs[0]), atol=1e-6)
        np.testing.assert_array_equal(kept.any(24), np.array((codes > 0).any(0)))
        return {n: (np.array(ours[1][n]), np.array(theirs[1][n])) for n in theirs[1]}

    for name, (ours, theirs) in both().items():
        np.testing.assert_allclose(ours, theirs, atol=2e-7, err_msg=name)


@pytest.mark.parametrize(
    ("architecture", "sparsity"),
    [("standard", {"l1": (0.05,)}), ("topk", {"k": (2,)}), ("batchtopk", {"k": (2,)})],
)
def test_a_planted_dictionary_is_found(architecture, sparsity):
    rows, directions = planted()
    params = sae.TrainParams(
        architecture=architecture, width=4, tokens=400_000, batch=256, rate=3e-3, **sparsity
    )
    learner = learnt(params, rows)
    decoder = np.array(learner.saes[0].weights["W_dec"])
    np.testing.assert_allclose(np.linalg.norm(decoder, axis=1), 1, atol=1e-5)
    assert (directions @ decoder.T).max(1).mean() > 0.9
    assert learner.logs["explained_variance"][0, 0] > 0.8


def test_top_k_has_k_active_latents_and_batch_top_k_has_them_in_the_mean():
    rows, _ = planted(rows=64)

    @on_compute_thread
    def counts(architecture):
        kind = Kind(architecture, 4, 64)
        codes, _ = encode(kind, begin(kind, rows, 0), mx.array(rows))
        return np.array((codes > 0).sum(-1))

    assert (counts("topk") == 4).all()
    by_batch = counts("batchtopk")
    assert by_batch.mean() == 4
    assert by_batch.std() > 0


def test_the_kth_largest_is_that_of_a_sort():
    values = np.random.default_rng(0).random((7, 50)).astype(np.float32)
    found = on_compute_thread(lambda: np.array(kth(mx.array(values), 5)))()
    np.testing.assert_array_equal(found[:, 0], np.sort(values, 1)[:, -5])


def test_resampled_latents_come_alive():
    rows, _ = planted()
    params = sae.TrainParams(architecture="standard", width=4, tokens=20_000, batch=256, l1=(0.02,))
    learner = learnt(params, rows)

    @on_compute_thread
    def revive():
        one, dead = learner.saes[0], np.arange(64) < 8
        at = mx.array(np.flatnonzero(dead))
        one.weights["b_enc"][at] = -1e3
        before, _ = encode(one.kind, one.weights, mx.array(rows[:2048]))
        silent = np.array((before > 0).any(0))[dead]
        one.resample(learner.data.batch(np.arange(4096)), dead, [0])
        after, _ = encode(one.kind, one.weights, mx.array(learner.data.batch(np.arange(4096))))
        memory = np.array(one.optimizer.state["W_dec"]["m"][at])
        return silent, np.array((after > 0).any(0))[dead], memory, one.since[dead]

    silent, awake, memory, since = revive()
    assert not silent.any()
    assert awake.all()
    assert not memory.any()
    assert not since.any()


def one_of(info, part="resid_post", layer=1, d=None, **changes):
    """Return a dictionary whose latents are the site's dimensions, of either sign: the identity."""
    d = d or info.d_model
    both = np.concatenate([np.eye(d), -np.eye(d)]).astype(np.float32)
    card = Card(
        info.id, info.sha256, info.d_model, info.n_layers, part, layer, "standard", d, 2 * d
    )
    weights = {"W_enc": both.T.copy(), "b_enc": np.zeros(2 * d, np.float32), "W_dec": both}
    weights["b_dec"] = np.zeros(d, np.float32)
    return Dictionary(dataclasses.replace(card, **changes), weights)


@pytest.mark.parametrize(
    "part", ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "mlp_post"]
)
def test_the_identity_recovers_all_of_the_loss_and_nothing_recovers_none(llama, part):
    ids = np.random.default_rng(0).integers(3, llama.info.d_vocab, (3, 12))

    @on_compute_thread
    def sums(scale):
        width = capture.read(llama.stream, ids[:1], Site(part, 1)).shape[-1]
        found = one_of(llama.info, part, d=width)
        weights = {**found.weights, "W_dec": found.weights["W_dec"] * np.float32(scale)}
        return splice.measure(llama, Applied.of(Dictionary(found.card, weights)), ids)

    whole, none = sums(1), sums(0)
    np.testing.assert_allclose(whole["spliced"], whole["clean"], atol=1e-3)
    np.testing.assert_allclose(whole["kl_spliced"], 0, atol=1e-3)
    np.testing.assert_allclose(none["spliced"], none["zero"], rtol=1e-6)
    np.testing.assert_allclose(none["kl_spliced"], none["kl_zero"], rtol=1e-6)
    assert np.abs(whole["zero"] - whole["clean"]).max() > 1e-4


def test_metrics_are_their_formulas(llama):
    ids = np.random.default_rng(0).integers(3, llama.info.d_vocab, (4, 12))

    @on_compute_thread
    def run():
        found = Applied.of(one_of(llama.info))
        half = Dictionary(found.dictionary.card, {**found.dictionary.weights})
        half.weights["W_dec"] = half.weights["W_dec"] * np.float32(0.5)
        x = [np.array(capture.read(llama.stream, each[None], found.site))[0, 1:] for each in ids]
        return splice.measure(llama, Applied.of(half), ids), x

    sums, x = run()
    read = np.concatenate([each[:-1] for each in x])
    mean = np.mean([each.mean(0) for each in x], 0)
    assert sums["error"].sum() == pytest.approx((read**2).sum() / 4, rel=1e-4)
    assert sums["spread"].sum() == pytest.approx(((read - mean) ** 2).sum(), rel=1e-4)
    assert sums["cosine"].sum() == pytest.approx(len(read), rel=1e-4)
    assert sums["length"].sum() == pytest.approx(len(read) / 2, rel=1e-4)
    assert sums["l1"].sum() == pytest.approx(np.abs(read).sum(), rel=1e-4)
    assert (sums["n"] == 10).all()


def test_what_is_trained_is_kept_measured_and_used(llama):
    params = sae.TrainParams(**SMALL, width=2, k=(4, 8))
    trained = sae.run(llama, params)
    assert len(trained.names) == 2
    kept = KEPT.load(trained.names[0])
    assert kept.card.k == 4
    assert kept.card.made.endswith("--batch 128") or "--k" in kept.card.made
    decoder = kept.weights["W_dec"].astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(decoder, axis=1), 1, atol=1e-3)
    frame = trained.frames["pareto"]
    assert frame["l0"].tolist() == pytest.approx([4, 8], abs=0.2)
    assert frame["ce_loss_without_sae"].nunique() == 1
    on = {"sae": trained.names[0], "text": "code", "windows": 8, "context": 32}
    for params in (
        sae.EvaluateParams(**on),
        sae.FeaturesParams(**on),
        sae.Params(sae=trained.names[0], text="def f(x):"),
    ):
        found = sae.run(llama, params)
        assert type(found).from_bytes(found.to_bytes()).summary.keys() == found.summary.keys()
        assert json.loads(found.to_json())["frames"]
        assert found.charts()
    density = found.evidence["features"].density if "features" in found.evidence else None
    assert density is None or len(density)


def test_a_feature_and_its_steering(llama):
    trained = sae.run(llama, sae.TrainParams(**SMALL, width=2, k=(4,)))
    on = {"sae": trained.names[0], "text": "code", "windows": 8, "context": 32}
    listed = sae.run(llama, sae.FeaturesParams(**on)).frames["features"]
    often = int(listed["density"].idxmax())
    one = sae.run(llama, sae.FeatureParams(**on, feature=often))
    examples = one.frames["examples"]
    assert examples["activation"].max() == pytest.approx(one.peak)
    assert one.density == pytest.approx(listed["density"][often])
    assert one.histogram.sum() == round(one.density * one.positions)
    assert set(one.quantile) <= set(range(5))
    assert one.cosine.max() <= 1 + 1e-6
    for mode in ("add", "clamp", "ablate"):
        given = {} if mode == "ablate" else {"strength": 50.0}
        steered = sae.run(
            llama,
            sae.SteerParams(**on, feature=often, prompt="def f", mode=mode, max_tokens=4, **given),
        )
        assert len(steered.texts) == 2
        again = sae.run(llama, dataclasses.replace(steered.params, mode="ablate", strength=2.0))
        assert again.texts[0] == steered.texts[0]  # nothing is left behind
    dead = listed.index[listed["density"] == 0]
    if len(dead):
        with pytest.raises(ParameterError, match="never active"):
            sae.run(llama, sae.FeatureParams(**on, feature=int(dead[0])))
    with pytest.raises(ParameterError, match=r"feature: 999999 .* accepted: 0 to"):
        sae.run(llama, sae.FeatureParams(**on, feature=999_999))


def test_ablation_of_every_feature_is_what_it_adds(llama):
    """Through a linear remainder, the logit that a feature adds is what its ablation takes."""
    trained = sae.run(
        llama, sae.TrainParams(**SMALL, width=2, k=(4,), layer=llama.info.n_layers - 1)
    )
    found = sae.run(llama, sae.Params(sae=trained.names[0], text="def f(x):"))
    assert len(found.ranked) == 4
    assert np.corrcoef(found.logit, found.ablation)[0, 1] > 0.5
    assert found.frames["activations"]["position"].min() >= 1


def test_a_training_goes_on_where_it_was(llama, monkeypatch):
    params = sae.TrainParams(**SMALL, width=2, architecture="standard", l1=(0.01,))
    whole = sae.run(llama, params)
    file = next((capture.cache_dir("training")).glob("sae-*"))
    file.unlink()
    seen = []

    def stop(learner, step, learn=Learner.learn):
        if step == 9 and not seen:
            seen.append(step)
            raise Cancelled
        learn(learner, step)

    monkeypatch.setattr(Learner, "learn", stop)
    job = submit(sae.run, llama, params)
    with pytest.raises(Cancelled):
        job.result()
    assert seen
    assert file.exists()
    again = sae.run(llama, params)
    assert again.names == whole.names
    np.testing.assert_array_equal(again.mse, whole.mse)


def test_a_dictionary_that_does_not_fit_is_refused_with_the_figure(llama):
    found = one_of(llama.info)
    wrong = {**found.weights, "W_dec": -3 * found.weights["W_dec"]}
    name = KEPT.keep(Dictionary(found.card, wrong).to_bytes())
    with pytest.raises(ParameterError, match=r"explains -\d+\.\d\d of the variance"):
        sae.run(llama, sae.Params(sae=name, text="one two three"))
    told = dataclasses.replace(found.card, metrics={"fit": 1.0})
    at_other_site = dataclasses.replace(told, part="resid_post", layer=0)
    shifted = {**found.weights, "b_dec": np.ones_like(found.weights["b_dec"])}
    name = KEPT.keep(
        Dictionary(at_other_site, {**shifted, "W_enc": 0 * found.weights["W_enc"]}).to_bytes()
    )
    with pytest.raises(ParameterError, match=r"and 1\.00 when it was trained"):
        sae.run(llama, sae.Params(sae=name, text="one two three"))
    assert on_compute_thread(fit)(llama, Applied.of(found)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 32, "site": "mlp_post"}, "at least as many activations as latents"),
        ({"k": (5000,)}, "k: 5000 is not accepted"),
        ({"layer": 77}, "layer: 77 is not accepted"),
    ],
)
def test_trainings_that_cannot_be_are_refused(llama, changes, message):
    with pytest.raises(ParameterError, match=message):
        sae.run(llama, sae.TrainParams(**(SMALL | {"width": 2} | changes)))


def test_too_little_disk_is_said(llama, monkeypatch):
    monkeypatch.setattr(capture.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ParameterError, match="MB are free"):
        sae.run(llama, sae.TrainParams(**SMALL, width=2))


def test_rules_are_found_on_half_and_scored_on_the_other():
    draw = np.random.default_rng(0)
    texts = {0: " the", 1: "7", 2: "A", 3: "\n", 4: "x"}
    ids = draw.integers(0, 5, (40, 20))
    rules = Rules(ids, texts)
    digits = ids == 1
    rule = rules.find(digits)
    assert rule.words == "a digit"
    assert rules.score(rule, digits) == 1
    after = np.zeros_like(digits)
    after[:, 1:] = ids[:, :-1] == 3
    assert rules.find(after).words.startswith("after ")
    assert rules.score(rules.find(after), after) == 1
    noise = draw.random(ids.shape) < 0.1
    assert rules.score(rules.find(noise), noise) < 0.4
    assert rules.find(np.zeros_like(digits)) is None
    assert np.isnan(rules.score(rule, np.zeros_like(digits)))


def test_kurtosis_and_the_strongest():
    draw = np.random.default_rng(0)
    assert kurtosis(draw.normal(size=200_000)) == pytest.approx(0, abs=0.1)
    assert kurtosis(draw.laplace(size=200_000)) == pytest.approx(3, abs=0.5)
    assert strongest(np.arange(100.0).reshape(10, 10), 0.05).sum() == 5


def test_codes_are_of_each_feature():
    read = Codes(
        np.zeros((2, 3), int),
        np.array([1, 4, 2]),
        np.array([0, 0, 3]),
        np.array([1.0, 2.0, 3.0]),
        5,
    )
    assert read.of(0)[0].tolist() == [1, 4]
    assert read.dense(3).tolist() == [[0, 0, 3], [0, 0, 0]]
    assert read.density.tolist() == [0.5, 0, 0, 0.25, 0]


def test_shares_of_the_loss_are_ratios_of_sums():
    rows = {name: np.ones(6) for name in sae.evaluation.NAMES}
    rows |= {"zero": np.array([4.0, 5, 6, 4, 5, 6]), "spliced": np.array([2.0, 2, 3, 2, 2, 3])}
    result = object.__new__(sae.Evaluation)
    object.__setattr__(result, "sums", np.stack([rows[n] for n in sae.evaluation.NAMES]))
    expected = ratios(rows["zero"] - rows["spliced"], rows["zero"] - 1)
    np.testing.assert_allclose(result.metric("ce_loss_score"), expected)
    assert result.metric("ce_loss_score")[0] == pytest.approx(16 / 24)


SHIPPED = {"model": sae.ONE_LAYER, "windows": 216}


def test_what_ships_of_the_paper_s_model_is_sparse_and_faithful():
    found = stored(sae.EvaluateParams(**SHIPPED)).own_findings
    kept = {f.id.removesuffix("_one_layer"): f for f in found}
    assert kept["sparse"].ours <= 20
    assert kept["recovered"].ci[0] >= 0.75
    assert kept["recovered_mean"].ci[0] >= 0.5
    assert kept["recovered_over_pca"].holds
    assert kept["recovered_over_random"].holds
    assert kept["decades"].holds is None  # the text is too short for it
    trade = stored(sae.SMALL_TRAINING)
    assert all(finding.holds for finding in trade.own_findings)
    pareto = trade.frames["pareto"]
    assert len(pareto) >= 3
    assert pareto.loc[pareto["l0"] <= 20, "dead"].max() < 0.1


def test_features_that_ship_are_more_specific_than_neurons():
    small, large = (
        {finding.id.removesuffix("_one_layer"): finding for finding in stored(params).own_findings}
        for params in (sae.FeaturesParams(**SHIPPED), sae.FeaturesParams())
    )
    assert small["over_neuron"].holds and large["over_neuron"].holds is not False
    assert small["over_random"].holds and large["over_random"].holds


def test_the_gallery_is_what_its_rule_says():
    listed = stored(sae.FeaturesParams(**SHIPPED))
    assert [params.feature for params in sae.SMALL_FEATURES] == listed.gallery
    shown = [stored(params) for params in sae.SMALL_FEATURES]
    assert sum(set(one.quantile) == {0, 1, 2, 3, 4} for one in shown) >= 5
    assert sum(one.agreement > 0.3 for one in shown) >= 5  # logit weights and ablation agree


def test_the_default_model_s_dictionary_keeps_its_loss():
    kept = {f.id: f for f in stored(sae.EvaluateParams()).own_findings}
    assert kept["sparse"].holds
    assert kept["recovered_mean"].ci[0] > 0.9
