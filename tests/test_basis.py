"""Causal bases: what they are extracted by, and what their ablation does to lenses and models."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

import interp_core  # noqa: F401  # before MLX
from interp_core import artifacts
from interp_core.papers import tuned_lens
from interp_core.papers.logit_lens.compute import as_it_is
from interp_core.papers.tuned_lens import translators
from interp_core.papers.tuned_lens.basis import Basis, BasisParams, _spearman, without
from interp_core.papers.tuned_lens.compute import basis, extraction
from interp_core.papers.tuned_lens.compute.ablation import ablated, effects
from interp_core.papers.tuned_lens.compute.evaluate import documents
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.translators import Card, Translators
from interp_core.params import ParameterError
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

FAMILIES = ["llama", "gemma2", "gpt2", "gpt_neox", "olmo2"]
IDS = np.array([[3, 17, 5, 40, 8, 21, 33, 2, 19, 11, 7, 26]])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    artifacts._load.cache_clear()


@pytest.fixture
def llama(tiny):
    return tiny("llama")


def a_lens(info, scale=0.1) -> Translators:
    """Return a lens of random numbers for a model."""
    draw, layers = np.random.default_rng(0), tuple(range(-1, info.n_layers - 1))
    card = Card(info.id, info.sha256, info.d_model, info.n_layers, made="drawn")
    shape = (len(layers), info.d_model)
    a = draw.normal(0, scale, (*shape, info.d_model)).astype(np.float32)
    return Translators(card, layers, draw.normal(0, scale, shape).astype(np.float32), a)


def small(info, scale=0.1, **given) -> BasisParams:
    lens = translators.KEPT.keep(a_lens(info, scale).to_bytes())
    of = dict(lens=lens, layers=(0, None, 1), vectors=2, context=16, documents=8, positions=5)
    return BasisParams(**{**of, **given})


def a_reader(model, sample=1_000_000) -> extraction.Reader:
    lens = applied(a_lens(model.info))
    return extraction.reader(model.stream, lens, 0, a_text(model), sample, [0])


def a_text(model) -> mx.array:
    """Return residuals [row, d_model] of a text that nobody wrote."""
    draw = np.random.default_rng(1)
    return mx.array(draw.normal(0, 1, (20, model.info.d_model)).astype(np.float32))


def drawn(d: int, seed=0) -> np.ndarray:
    return extraction.unit(np.random.default_rng(seed).normal(size=d), [])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, float)
    highest = logits.max(-1, keepdims=True)
    return logits - highest - np.log(np.exp(logits - highest).sum(-1, keepdims=True))


# Extraction


@pytest.mark.parametrize("family", FAMILIES)
def test_influence_and_its_gradient_are_those_of_the_plain_definition(tiny, family):
    model = tiny(family)
    translate, v = applied(a_lens(model.info)), drawn(model.info.d_model)

    @on_compute_thread
    def both():
        reading, h = a_reader(model), a_text(model)

        def plain(v):
            changed = h - ((h - h.mean(0)) @ v)[:, None] * v
            p, q = (model.stream.unembed(translate(0, x)) for x in (h, changed))
            p, q = (x - mx.logsumexp(x, -1, keepdims=True) for x in (p, q))
            return (mx.exp(p) * (p - q)).sum(-1).mean()

        at = mx.array(v.astype(np.float32))
        return (plain(at).item(), np.array(mx.grad(plain)(at))), reading.with_gradient(v)

    (value, gradient), (ours, our_gradient) = both()
    assert value > 1e-4 and ours == pytest.approx(value, rel=1e-3, abs=1e-6)
    assert np.allclose(our_gradient, gradient, rtol=1e-2, atol=1e-3 * np.abs(gradient).max())


def test_the_gradient_is_that_of_finite_differences(llama):
    @on_compute_thread
    def slopes():
        reading, v = a_reader(llama), drawn(llama.info.d_model)
        along, step = extraction.unit(drawn(llama.info.d_model, 1), [v]), 1e-2
        ends = [reading.influence(v + sign * step * along) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step), reading.with_gradient(v)[1] @ along

    measured, ours = slopes()
    assert ours == pytest.approx(measured, rel=0.02)


def test_a_sample_of_the_vocabulary_gives_about_the_influence_of_all(llama):
    @on_compute_thread
    def influence(sample):
        reading = a_reader(llama, sample=sample)
        return len(reading.log_weight), np.mean(
            [reading.influence(drawn(llama.info.d_model, seed)) for seed in range(20)]
        )

    (columns, part), (_, whole) = influence(llama.info.d_vocab // 2), influence(10**6)
    assert columns == llama.info.d_vocab // 2 and part == pytest.approx(whole, rel=0.3)


def test_a_causal_basis_is_orthonormal_and_above_every_random_direction(llama):
    d = llama.info.d_model

    @on_compute_thread
    def found():
        reading = a_reader(llama)
        vectors, influence = extraction.causal_basis(reading, reading, 3)
        tried = [reading.influence(drawn(d, seed)) for seed in range(200)]
        begun = [reading.influence(extraction.unit(each, [])) for each in reading.starts()]
        return vectors, influence, [reading.influence(v) for v in vectors], tried, begun

    vectors, influence, own, tried, begun = found()
    assert np.abs(vectors @ vectors.T - np.eye(3)).max() < 1e-5
    assert np.allclose(influence, own, rtol=1e-3) and (np.diff(influence) <= 0).all()
    assert influence[0] > max(tried) and influence[0] > max(begun) and influence[0] > 0


def test_a_search_keeps_off_earlier_vectors_and_ends_above_its_start(llama):
    d = llama.info.d_model
    earlier = list(extraction.random_basis(d, 3, [0]))

    @on_compute_thread
    def search():
        reading = a_reader(llama)
        start = extraction.unit(drawn(d), earlier)
        return (*extraction.ascend(reading, start, earlier), reading.influence(start))

    vector, value, before = search()
    assert value > 1.1 * before
    assert np.abs(np.stack(earlier) @ vector).max() < 1e-8
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_random_directions_are_orthonormal_and_drawn_anew_by_seed():
    one, same, other = (extraction.random_basis(16, 4, seed) for seed in ([0], [0], [1]))
    assert np.allclose(one @ one.T, np.eye(4)) and np.array_equal(one, same)
    assert not np.allclose(one, other)


# Ablation


@on_compute_thread
def residual(model, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the residual [1, pos, d_model] after a block, and the output's logits [pos, d_vocab]."""
    run = model.stream.run(mx.array(IDS), keep=[Site("resid_post", layer)])
    return np.array(run.acts[Site("resid_post", layer)]), np.array(run.logits[0])


def test_mean_ablation_leaves_the_mean_along_the_vector_and_all_else(llama):
    h, _ = residual(llama, 0)
    mean, v = h[0, 1:].mean(0), drawn(h.shape[-1]).astype(np.float32)

    @on_compute_thread
    def after():
        return np.array(ablated(mx.array(h), mx.array(v[None]), mx.array(mean)))

    changed = after()
    assert changed.shape == h.shape and np.array_equal(changed[0, 0], h[0, 0])
    assert np.allclose(changed[0, 1:] @ v, mean @ v, atol=1e-5)
    across = np.eye(len(v)) - np.outer(v, v)
    assert np.allclose(changed[0, 1:] @ across, h[0, 1:] @ across, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_those_of_the_plain_definitions(tiny, family):
    model = tiny(family)
    h, logits = residual(model, 0)
    v = drawn(h.shape[-1]).astype(np.float32)
    mean = h[0, 1:].mean(0) + v  # far from each position, so that each changes
    at, lenses = np.array([2, 5, 9]), (as_it_is, applied(a_lens(model.info)))

    @on_compute_thread
    def both():
        found = effects(model.stream, lenses, 0, v[None], mean, mx.array(h), at)

        def edit(x):
            moved = x - (((x - mx.array(mean)) @ mx.array(v))[..., None] * mx.array(v))
            return mx.concatenate([x[:, :1], moved[:, 1:]], axis=1)

        run = model.stream.run(
            mx.array(IDS), edits={Site("resid_post", 0): edit}, keep=[Site("resid_post", 0)]
        )
        states = [mx.array(h)[0], run.acts[Site("resid_post", 0)][0]]
        read = [[np.array(model.stream.unembed(lens(0, x))) for x in states] for lens in lenses]
        return found, np.array(run.logits[0]), read

    found, changed, read = both()
    p, after = log_softmax(logits[at]), log_softmax(changed[at])
    assert found.model[0] == pytest.approx((np.exp(p) * (p - after)).sum(), rel=1e-2, abs=1e-5)
    for row, pair in enumerate(read):
        q, q_after = (log_softmax(each[at]) for each in pair)
        divergence = (np.exp(q) * (q - q_after)).sum()
        assert found.lens[row, 0] == pytest.approx(divergence, rel=1e-2, abs=1e-5)
        cosines = []
        for weight, s, t in zip(np.exp(p), q_after - q, after - p, strict=True):
            s, t = s - weight @ s, t - weight @ t
            cosines.append(weight @ (s * t) / np.sqrt((weight @ s**2) * (weight @ t**2)))
        assert found.aligned[row, 0] == len(at)
        assert found.alignment[row, 0] == pytest.approx(sum(cosines), abs=0.01)


def test_at_the_last_layer_lens_and_model_are_one(llama):
    last = llama.info.n_layers - 1
    h, _ = residual(llama, last)
    vectors = extraction.random_basis(h.shape[-1], 3, [0]).astype(np.float32)

    @on_compute_thread
    def found():
        lenses, mean = (as_it_is, applied(a_lens(llama.info))), h[0].mean(0)
        at = np.arange(1, 11)
        return effects(llama.stream, lenses, last, vectors, mean, mx.array(h), at)

    same = found()
    assert (same.model > 0).all() and np.array_equal(same.lens, np.stack([same.model] * 2))
    assert (same.aligned >= 8).all(), "here and there nothing changes: one token is certain"
    assert np.allclose(same.alignment, same.aligned, atol=1e-4)


def test_what_changes_nothing_has_no_alignment(llama):
    h, _ = residual(llama, 0)
    h = np.repeat(h[:, 3:4], h.shape[1], axis=1)  # no position differs from the mean
    vectors = extraction.random_basis(h.shape[-1], 2, [0]).astype(np.float32)

    @on_compute_thread
    def found():
        return effects(
            llama.stream, (as_it_is,), 0, vectors, h[0, 0], mx.array(h), np.array([2, 4])
        )

    none = found()
    assert np.allclose(none.model, 0, atol=1e-5) and np.allclose(none.lens, 0, atol=1e-5)
    assert (none.aligned == 0).all() and (none.alignment == 0).all()


# The question


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3"])
def test_bases_of_tiny_models_are_measured_end_to_end(tiny, family):
    model = tiny(family)
    found = tuned_lens.run(model, small(model.info), findings=False)
    n = model.info.n_layers
    assert found.on_lens.shape == (2, 3, n, 2, 4) and found.on_model.shape == (3, n, 2, 4)
    assert (found.positions == 5).all() and found.extracted_on == 4
    assert found.translated.tolist() == [True] * (n - 1) + [False]
    assert (np.diff(found.extracted, axis=-1) <= 0).all() and (found.extracted > 0).all()
    assert (np.abs(found.alignment) <= found.aligned + 1e-3).all()
    last = found.alignment[:, :, -1].sum() / found.aligned[:, :, -1].sum()
    assert last == pytest.approx(1, abs=1e-4), "at the output the lenses are the model"
    assert np.array_equal(found.on_lens[0, :, -1], found.on_model[:, -1])
    vectors = found.frames["basis"]
    assert len(vectors) == 2 * 3 * n * 2 and (vectors["on_lens_low"] <= vectors["on_lens"]).all()
    assert {f.id.rsplit("_", 1)[0] for f in found.own_findings} == {"fidelity", "aligned"}
    assert found.own_charts().keys() == found.own_charts(layer=0).keys() and found.to_json()
    back = Basis.from_bytes(found.to_bytes())
    assert back.frames["bases"].equals(found.frames["bases"])


def test_bases_are_measured_on_documents_they_were_not_extracted_from(llama, monkeypatch):
    params = small(llama.info, layers=(0, 1, 1))
    texts = documents(llama, params)
    one, other = basis.halves(texts)
    assert len(one) + len(other) == len(texts) and len(other) == len(texts) // 2
    assert not {ids.tobytes() for ids in one} & {ids.tobytes() for ids in other}
    first = tuned_lens.run(llama, params, findings=False)

    def run_on(texts):
        monkeypatch.setattr(basis, "documents", lambda *_: texts)
        return tuned_lens.run(llama, params, findings=False)

    backwards = [ids[::-1].copy() if n % 2 else ids for n, ids in enumerate(texts)]
    measured_elsewhere = run_on(backwards)
    assert np.array_equal(measured_elsewhere.extracted, first.extracted)
    assert not np.allclose(measured_elsewhere.on_model, first.on_model)
    extracted_elsewhere = run_on(
        [ids[::-1].copy() if n % 2 == 0 else ids for n, ids in enumerate(texts)]
    )
    assert not np.allclose(extracted_elsewhere.extracted, first.extracted)


def test_a_lens_of_zeros_is_no_better_aligned_than_the_logit_lens(llama):
    found = tuned_lens.run(llama, small(llama.info, scale=0), findings=False)
    assert np.array_equal(found.on_lens[0], found.on_lens[1])
    verdicts = {finding.id: finding.holds for finding in found.own_findings}
    assert not verdicts["aligned_prose"]


def test_a_lens_that_has_no_translator_there_makes_no_claim(llama):
    last = llama.info.n_layers - 1
    found = tuned_lens.run(llama, small(llama.info, layers=(last, None, 1)), findings=False)
    assert found.own_findings == []


def test_too_few_documents_or_too_narrow_a_stream_are_refused(llama):
    with pytest.raises(ParameterError, match="documents"):
        basis.halves([np.arange(4)] * 3)
    width = llama.info.d_model
    if width < 64:
        with pytest.raises(ParameterError, match="width"):
            tuned_lens.run(llama, small(llama.info, vectors=width + 1), findings=False)


def test_rank_correlations_and_folds_are_as_defined():
    from scipy.stats import spearmanr

    x, y = np.random.default_rng(0).normal(size=(2, 3, 7, 1))
    ours = _spearman(x, y)[:, 0]
    assert np.allclose(
        ours, [spearmanr(a[:, 0], b[:, 0]).statistic for a, b in zip(x, y, strict=True)]
    )
    assert np.isnan(_spearman(x * 0, y)).all()
    sums = np.arange(12.0)
    parts = without(sums)
    assert parts[0] == 66 and parts[1] == 66 - 0 - 8 and len(parts) == 9


def test_nothing_aligned_is_nan_and_drawn_without_it(llama):
    found = tuned_lens.run(llama, small(llama.info), findings=False)
    none = dataclasses.replace(
        found, alignment=np.zeros_like(found.alignment), aligned=np.zeros_like(found.aligned)
    )
    assert none.frames["basis"]["alignment"].isna().all()
    verdicts = {finding.id: finding.holds for finding in none.own_findings}
    assert not verdicts["aligned_prose"]
    assert none.own_charts() and none.to_json()
