"""Induction heads: scores of synthetic patterns, circuits as matrices, ablation, and the paper's signs."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS

from interp_core import links
from interp_core.block import Tape
from interp_core.papers import induction_heads
from interp_core.papers.induction_heads import (
    AblationParams,
    AttentionParams,
    CircuitsParams,
    ContextParams,
    InContext,
    Params,
    SeedsParams,
    TrainingParams,
)
from interp_core.papers.induction_heads.compute import (
    ablation,
    composition,
    heads,
    path_patching,
    scores,
)
from interp_core.papers.induction_heads.compute.repeats import Repeated, draw, vocabulary
from interp_core.papers.induction_heads.heads import ranking
from interp_core.papers.induction_heads.params import KINDS, PREVIOUS, SCORES
from interp_core.params import ParameterError
from interp_core.query import link
from interp_core.question import question_of, stored
from interp_core.residual import Site, norm_parts
from interp_core.runtime import on_compute_thread, submit

every_model = pytest.mark.parametrize("name", CHECKPOINTS)
NORMALISED = {"qwen3", "gemma3_text", "olmo2"}
"""Families that normalise queries and keys."""


def score(pattern: np.ndarray, given: Repeated, window: int | None = None) -> dict[str, float]:
    found = scores.of_pattern(pattern[None, None].astype(np.float32), given, window)[:, 0, 0]
    return dict(zip(SCORES, found.tolist(), strict=True))


def sequence(period: int = 5, repeats: int = 4, first: int = 1) -> Repeated:
    ids = np.random.default_rng(0).permutation(50)[:period] + 10
    tokens = np.concatenate([[0] * first, np.tile(ids, repeats)])[None]
    return Repeated(tokens.astype(int), first, period, repeats)


def looking(given: Repeated, back: int) -> np.ndarray:
    """Return the pattern of a head that looks ``back`` positions back, or at the first."""
    n = given.tokens.shape[1]
    pattern = np.zeros((n, n))
    for query in range(n):
        pattern[query, query - back if query - back >= given.first else 0] = 1
    return pattern


class TestScores:
    @pytest.mark.parametrize("first", [0, 1])
    def test_a_perfect_induction_head_scores_one(self, first):
        given = sequence(first=first)
        found = score(looking(given, given.period - 1), given)
        assert found["prefix_matching"] == pytest.approx(1)
        assert found["duplicate_token"] == found["entropy"] == pytest.approx(0, abs=1e-6)

    def test_attention_shared_among_copies_counts_in_full(self):
        given = sequence()
        n = given.tokens.shape[1]
        pattern = np.zeros((n, n))
        for query in range(n):
            back = [given.period * r - 1 for r in range(1, given.repeats)]
            keys = [query - b for b in back if query - b > given.first]
            pattern[query, keys or [0]] = 1 / len(keys or [0])
        assert score(pattern, given)["prefix_matching"] == pytest.approx(1)

    def test_uniform_attention_scores_one_over_n(self):
        given = sequence(period=6, repeats=2)
        n = given.tokens.shape[1]
        pattern = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
        expected = np.mean([1 / (query + 1) for query in range(given.first + 6, n)])
        found = score(pattern, given)
        assert found["prefix_matching"] == pytest.approx(expected, rel=1e-5)
        assert found["first_token"] == pytest.approx(np.mean(1 / np.arange(2, n + 1)), rel=1e-5)
        assert found["entropy"] == pytest.approx(np.mean(np.log(np.arange(2, n + 1))), rel=1e-5)

    @pytest.mark.parametrize(
        ("name", "back"), [("previous_token", 1), ("duplicate_token", 5), ("current_token", 0)]
    )
    def test_other_heads_score_in_their_own_column(self, name, back):
        given = sequence(first=0)
        found = score(looking(given, back), given)
        assert found[name] > 0.9 and found["prefix_matching"] < 0.1

    def test_a_window_that_hides_the_copy_gives_no_score(self):
        given = sequence(period=8, repeats=3)
        pattern = looking(given, 7)
        assert np.isnan(score(pattern, given, window=7)["prefix_matching"])
        assert score(pattern, given, window=8)["prefix_matching"] == pytest.approx(1)

    def test_text_scores_equal_loops(self):
        draw_ = np.random.default_rng(3)
        ids = draw_.integers(0, 6, 20)
        pattern = np.tril(draw_.random((2, 20, 20)))
        pattern = (pattern / pattern.sum(-1, keepdims=True)).astype(np.float32)
        expected = []
        for query in range(20):
            after = [k for k in range(1, query + 1) if k - 1 < query and ids[k - 1] == ids[query]]
            if after:
                expected.append(pattern[:, query, after].sum(-1))
        found = scores.of_text(pattern, ids)[0]
        assert found == pytest.approx(np.mean(expected, axis=0), rel=1e-5)
        assert not np.allclose(found, scores.of_text(pattern, ids[::-1])[0])

    def test_a_text_without_repeats_has_no_induction_score(self):
        pattern = np.full((1, 4, 4), 0.25, np.float32)
        found = scores.of_text(pattern, np.arange(4))
        assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


class TestSequences:
    def test_they_repeat_differ_and_are_drawn_again_alike(self, tiny):
        model = tiny(CHECKPOINTS[0])
        params = Params(tokens=6, repeats=3, seeds=4)
        given = draw(model, params)
        body = given.tokens[:, given.first :].reshape(4, 3, 6)
        assert (body == body[:, :1]).all() and len({tuple(row) for row in body[:, 0]}) == 4
        assert all(len(set(row)) == 6 for row in body[:, 0])
        assert (draw(model, params).tokens == given.tokens).all()

    def test_neither_special_nor_broken_nor_common_tokens(self, model):
        ids = vocabulary(model)
        assert not set(ids.tolist()) & set(model.tokenizer.special.values())
        assert len(ids) > 20_000 and ids.min() > 900 and ids.max() < 0.8 * model.info.d_vocab

    @pytest.mark.parametrize(
        ("params", "named"),
        [
            (Params(tokens=512, repeats=16), "tokens"),
            (AttentionParams(text="a"), "text"),
            (AttentionParams(text="word " * 2000), "text"),
            (AttentionParams(text="one two one two", layer=99), "layer"),
            (AttentionParams(text="one two one two", head=99), "head"),
            (AblationParams(ablate=("L99H0",)), "ablate"),
            (AblationParams(ablate=("top-999",)), "ablate"),
            (CircuitsParams(layer=0), "layer"),
            (CircuitsParams(head=99), "head"),
            (ContextParams(texts=10_000), "texts"),
            (ContextParams(texts=2, ablation="pattern"), "ablation"),
        ],
    )
    def test_what_does_not_fit_the_model_is_named(self, model, params, named):
        if hasattr(params, "seeds"):
            params = dataclasses.replace(params, seeds=1)
        with pytest.raises(ParameterError, match=rf"^{named}: .* accepted"):
            induction_heads.run(model, params)

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            (Params, {"seeds": 0}),
            (Params, {"tokens": 1}),
            (Params, {"repeats": 1}),
            (Params, {"threshold": 1}),
            (AblationParams, {"ablate": ("H1",)}),
            (AblationParams, {"ablate": ("top-0",)}),
            (AblationParams, {"ablate": ("top-8", "L1H1")}),
            (AblationParams, {"ablate": ("previous-token", "L1H1")}),
            (AblationParams, {"ablate": ()}),
            (TrainingParams, {"toys": ()}),
            (TrainingParams, {"toys": ("4",)}),
            (TrainingParams, {"steps": 0}),
            (AttentionParams, {"text": "\ud800"}),
        ],
    )
    def test_what_no_model_takes_is_refused(self, kind, given):
        with pytest.raises(ParameterError, match=rf"^{next(iter(given))}: .* accepted"):
            kind(**given)


class TestCircuits:
    @every_model
    @on_compute_thread
    def test_maps_are_what_the_block_computes(self, tiny, name):
        """Grouped values repeat as their heads use them; z through the output map is attn_out."""
        model = tiny(name)
        stream, n_heads = model.stream, model.info.n_heads
        layer = stream.n_layers - 1
        maps = composition.head_maps(stream, layer, n_heads)
        token = mx.array([[7]])
        sites = [Site(part, layer) for part in ("resid_pre", "v", "z", "attn_out")]
        acts = stream.run(token, keep=sites).acts
        block = stream.blocks[layer]
        x = np.array(block.attn_norm(acts[sites[0]])[0, 0].astype(mx.float32))
        zero = mx.zeros((1, 1, stream.d_model), stream.dtype)
        seen = {}

        def look(part, value):
            seen[part] = np.array(value.astype(mx.float32))
            return value

        block.heads(zero, mx.ones((1, 1), dtype=mx.bool_), Tape(None, look, True))
        value = np.array(acts[sites[1]].astype(mx.float32))[0, :, 0] - seen["v"][0, :, 0]
        group = n_heads // len(value)
        gain, _, centred = norm_parts(block.attn_norm, stream.d_model)
        if not centred:  # x is gain times the unit stream; a centred norm adds its bias too
            unit = x / np.array(gain)
            for head in range(n_heads):
                assert unit @ maps.v[head] == pytest.approx(value[head // group], abs=2e-4)
        family = model.info.model_type
        assert (maps.q is None) == (family in NORMALISED)
        if family not in {"gemma2", "gemma3_text", "olmo2"}:  # what they write is normalised after
            z = np.array(acts[sites[2]].astype(mx.float32))[0, 0].reshape(n_heads, -1)
            bias = block.project(mx.zeros((1, z.size), stream.dtype)).astype(mx.float32)
            wrote = sum(z[head] @ maps.o[head] for head in range(n_heads)) + np.array(bias)[0]
            expected = np.array(acts[sites[3]].astype(mx.float32))[0, 0]
            assert wrote == pytest.approx(
                expected, abs=2e-4 * max(1.0, float(np.abs(expected).max()))
            )

    @on_compute_thread
    def test_copying_equals_the_full_matrix_s(self, tiny):
        model = tiny("llama-tied" if "llama-tied" in CHECKPOINTS else CHECKPOINTS[0])
        stream, n_heads, size = model.stream, model.info.n_heads, model.info.d_vocab
        ids = mx.arange(size)
        read = np.array(stream.embed_tokens(ids).astype(mx.float32), float)
        write = np.array(composition.unembedding(stream, ids), float)
        found = composition.copying(stream, n_heads, size)
        for layer in range(stream.n_layers):
            maps = composition.head_maps(stream, layer, n_heads)
            for head in range(n_heads):
                values = np.linalg.eigvals(read @ maps.v[head] @ maps.o[head] @ write.T)
                expected = values.sum().real / np.abs(values).sum()
                assert found[layer, head] == pytest.approx(expected, abs=1e-3)

    @on_compute_thread
    def test_composition_equals_the_full_matrices(self, tiny):
        model = tiny(next(n for n in CHECKPOINTS if n.startswith("llama")))
        stream, n_heads = model.stream, model.info.n_heads
        found = composition.composition(stream, n_heads, seed=1)
        first, last = (composition.head_maps(stream, i, n_heads) for i in (0, stream.n_layers - 1))
        base = composition._baseline(stream.d_model, first.v.shape[-1], 1)
        ov, qk = first.v[0] @ first.o[0], last.q[1] @ last.k[1].T
        later = last.v[1] @ last.o[1]
        norm = np.linalg.norm
        for kind, product, other in (
            ("q", ov @ qk, qk),
            ("k", ov @ qk.T, qk),
            ("v", ov @ later, later),
        ):
            expected = norm(product) / (norm(ov) * norm(other)) - base
            at = (KINDS.index(kind), 0, 0, stream.n_layers - 1, 1)
            assert found[at] == pytest.approx(expected, abs=1e-5)
        assert np.isnan(found[:, 0, :, 0]).all() and abs(expected + base) < 1.01

    @every_model
    @on_compute_thread
    def test_paths_change_keys_alone_and_only_by_what_is_written(self, tiny, name):
        model = tiny(name)
        stream, n_heads = model.stream, model.info.n_heads
        layer = stream.n_layers - 1
        given = draw(model, Params(tokens=5, repeats=2, seeds=2))
        clean = path_patching._clean(stream, given, layer)
        own = np.array(clean.acts[Site("pattern", layer)].astype(mx.float32))
        nothing = mx.zeros(clean.acts[Site("resid_pre", layer)].shape, stream.dtype)
        same = np.array(
            path_patching._keys_without(stream, clean.acts, layer, nothing).astype(mx.float32)
        )
        assert same == pytest.approx(own, abs=1e-5)
        gone = path_patching._contribution(stream, 0, 0, clean.acts[Site("z", 0)], n_heads)
        cut = np.array(
            path_patching._keys_without(stream, clean.acts, layer, gone).astype(mx.float32)
        )
        assert cut.sum(-1) == pytest.approx(np.ones(cut.shape[:-1]), abs=1e-4)
        assert np.abs(cut - own).max() > 1e-6


class TestAblation:
    @every_model
    @on_compute_thread
    def test_zero_takes_one_head_s_output_away(self, tiny, name):
        model = tiny(name)
        stream, n_heads = model.stream, model.info.n_heads
        tokens = mx.array([[5, 9, 11, 5, 9]])
        site = Site("z", 0)
        edits = ablation.edits([(0, 1)], "zero", n_heads)
        before = np.array(stream.run(tokens, keep=[site]).acts[site].astype(mx.float32))
        after = np.array(stream.run(tokens, keep=[site], edits=edits).acts[site].astype(mx.float32))
        width = before.shape[-1] // n_heads
        apart = after.reshape(*after.shape[:2], n_heads, width)
        assert not apart[:, :, 1].any()
        others = np.delete(before.reshape(apart.shape), 1, axis=2)
        assert (np.delete(apart, 1, axis=2) == others).all()

    @on_compute_thread
    def test_the_mean_stands_in_and_patterns_are_held(self, tiny):
        model = tiny(CHECKPOINTS[0])
        stream, n_heads, depth = model.stream, model.info.n_heads, model.stream.n_layers
        tokens = mx.array([[5, 9, 11, 5, 9]])
        sites = [Site("z", 0), *(Site("pattern", layer) for layer in range(depth))]
        clean = stream.run(tokens, keep=sites).acts
        means = {0: clean[sites[0]].mean((0, 1))}
        edits = ablation.edits([(0, 0)], "mean", n_heads, means=means)
        after = np.array(stream.run(tokens, keep=sites[:1], edits=edits).acts[sites[0]])
        assert np.ptp(after[0, :, : after.shape[-1] // n_heads], axis=0).max() < 1e-6
        held = {layer: clean[Site("pattern", layer)] for layer in range(depth)}
        edits = ablation.edits([(0, 0)], "pattern", n_heads, patterns=held)
        kept = stream.run(tokens, keep=sites, edits=edits).acts
        loose = stream.run(tokens, keep=sites, edits=ablation.edits([(0, 0)], "zero", n_heads)).acts
        last = sites[-1]
        assert np.array(mx.array_equal(kept[last], clean[last]))
        assert not np.array(mx.array_equal(loose[last], clean[last]))

    def test_controls_are_other_heads_of_the_same_layers(self):
        params = AblationParams(ablate=("top-8",), controls=20)
        chosen, induction = [(3, 0), (3, 1), (5, 2)], [(3, 0), (3, 1), (5, 2), (5, 3)]
        drawn = ablation.controls(chosen, induction, 8, 20, params.seed)
        assert len(drawn) == 20 and len({tuple(each) for each in drawn}) > 5
        for each in drawn:
            assert sorted(layer for layer, _ in each) == [3, 3, 5]
            assert not set(each) & set(induction) and len(set(each)) == 3
        with pytest.raises(ParameterError, match=r"^ablate: no other heads"):
            ablation.controls([(0, 0), (0, 1)], [], 2, 20, params.seed)

    @every_model
    def test_previous_token_stands_for_the_head_that_looks_there_most(self, tiny, name):
        model = tiny(name)
        shape = (len(SCORES), 2, model.info.n_layers, model.info.n_heads)
        found = np.random.default_rng(0).uniform(0, 0.5, shape).astype(np.float32)
        found[SCORES.index("prefix_matching"), :, 0, 0] = 1
        found[SCORES.index("previous_token"), :, 1, 1] = 0.4, 1  # the mean over sequences counts
        found[SCORES.index("previous_token"), 0, 0, 1] = 0.9
        found[SCORES.index("previous_token"), 1, 0, 1] = 0
        for kind in (AblationParams, ContextParams):
            assert ablation.chosen_heads(model, kind(ablate=(PREVIOUS,)), found) == [(1, 1)]
        assert ablation.chosen_heads(model, AblationParams(ablate=("top-1",)), found) == [(0, 0)]

    def test_previous_token_ablates_what_its_name_does(self, tiny):
        model = tiny("llama")
        given = {"tokens": 6, "repeats": 2, "seeds": 2, "controls": 1}
        result = induction_heads.run(model, AblationParams(ablate=(PREVIOUS,), **given))
        scored = induction_heads.run(
            model, Params(tokens=6, repeats=2, seeds=2, bos=result.params.bos), findings=False
        )
        name = scored.summary["previous_token_head"]
        assert result.summary["heads"] == [name] and f"ablate={PREVIOUS}" in result.link
        named = induction_heads.run(model, AblationParams(ablate=(name,), **given))
        assert (result.losses == named.losses).all() and (result.losses[0] != result.base).any()
        assert [f.id for f in result.findings] == ["ablation_previous"]
        assert [f.id for f in named.findings] == ["ablation_named"]

    @pytest.mark.parametrize(
        ("ablate", "told"),
        [
            (("top-1",), "the top head by prefix matching"),
            ((PREVIOUS,), "the head that looks most at the previous token"),
        ],
    )
    def test_what_is_ablated_over_texts_is_told(self, ablate, told):
        losses = np.random.default_rng(0).uniform(1, 3, (3, 3, 511)).astype(np.float16)
        result = InContext(ContextParams(ablate=ablate), None, ((1, 1),), (((1, 0),),), losses)
        assert result.findings[1].claim.startswith(f"Ablating {told} reduces")
        assert "without L1H1" in result.findings[1].measure


@every_model
def test_every_family_s_heads_are_scored(tiny, name):
    model = tiny(name)
    result = submit(heads.compute, model, Params(tokens=5, repeats=3, seeds=3)).result()
    found = result.scores
    assert found.shape == (len(SCORES), 3, model.info.n_layers, model.info.n_heads)
    shares = found[:5][np.isfinite(found[:5])]
    assert (shares >= 0).all() and (shares <= 1 + 1e-5).all()
    assert (np.abs(result.copying) <= 1 + 1e-5).all() and np.isfinite(result.losses).all()
    again = type(result).from_bytes(result.to_bytes())
    assert (again.scores[np.isfinite(found)] == found[np.isfinite(found)]).all()
    for frame in result.frames.values():
        assert len(frame)


def test_hidden_copies_are_told(tiny):
    model = tiny(next(name for name in CHECKPOINTS if any(tiny(name).stream.windows)))
    window = max(filter(None, model.stream.windows))
    params = Params(tokens=window + 2, repeats=2, seeds=1)
    result = submit(heads.compute, model, params).result()
    frame = result.frames["heads"]
    hidden = frame["window"].notna()
    assert hidden.any() and frame.loc[hidden, "prefix_matching"].isna().all()
    assert all(result.windows[layer] is None for layer, _ in result.ranked)


@pytest.fixture(scope="module")
def found(model):
    """The default model's heads, on fewer sequences than ship."""
    return induction_heads.run(model, Params(seeds=4), findings=False)


class TestDefaultModel:
    """Heads of known places, what ablation does, and what it does not."""

    def test_induction_heads_are_where_they_were_seen(self, found):
        heads_ = found.induction_heads
        assert heads_[0] == (18, 6) and {(17, 3), (17, 4), (17, 5)} <= set(heads_)
        assert 5 <= len(heads_) <= 12 and found.copy_losses[:, -1].mean() < 2
        assert found.copy_losses[:, 0].mean() > np.log(49152)
        assert found.summary["previous_token_head"] == "L16H0"

    def test_without_them_repeats_are_lost_and_without_others_they_are_not(self, model):
        params = AblationParams(ablate=("top-8",), seeds=4, controls=3)
        result = induction_heads.run(model, params, findings=False)
        assert result.rise[0].mean() > 5
        assert result.rise[0].mean() > 10 * abs(result.rise[1:].mean())

    def test_the_previous_token_head_alone_breaks_them(self, model):
        params = AblationParams(ablate=(PREVIOUS,), seeds=4, controls=2)
        result = induction_heads.run(model, params, findings=False)
        assert result.summary["heads"] == ["L16H0"]
        assert result.rise[0].mean() > 2 > 10 * abs(result.rise[1:].mean())

    def test_names_coming_back_are_looked_up(self, model):
        result = induction_heads.run(model, AttentionParams(), findings=False)
        rows = result.pattern.astype(float)
        assert result.summary["best_prefix_matching"] > 0.3
        assert (rows.sum(-1) <= 1.01).all() and rows.shape == (
            9,
            len(result.positions),
            rows.shape[2],
        )
        assert np.triu(rows, 1).max() == 0


def test_shipped_findings_are_whole():
    """What ships bears out the issue's figures: each analysis is there, with its interval."""
    result = stored(Params())
    assert result is not None
    kinds = {name: type(other).__name__ for name, other in result.evidence.items()}
    assert kinds == {
        "ablation": "Ablated",
        "previous_token": "Ablated",
        "circuits": "Circuits",
        "context": "InContext",
        "seeds": "Seeds",
    }
    assert result.evidence["previous_token"].summary["heads"] == ["L16H0"]
    holds = {finding.id: finding.holds for finding in result.findings}
    assert len(holds) == len(result.findings)
    for needed in ("induction_heads", "copy_loss", "previous_token_head", "in_context_score"):
        assert holds[needed]
    context = result.evidence["context"]
    assert context.losses.shape[1:] == (200, 511) and context.score(0).high < 0
    assert not any("L16" in each.id + each.claim for each in result.findings)  # one model's own


def test_texts_are_read_whole_where_no_heads_are_named(tiny):
    given = {"texts": 2, "context": 32, "tokens": 5, "repeats": 2, "seeds": 1}
    for ablate, conditions in {(): 1, (PREVIOUS,): 3}.items():
        params = ContextParams(ablate=ablate, **given)
        result = induction_heads.run(tiny("llama"), params, findings=False)
        assert result.losses.shape == (conditions, 2, 31) and len(result.heads) == len(ablate)
        assert len(result.controls) == 2 * len(ablate)


def test_links_go_to_the_analysis_they_name():
    kinds = {
        Params(): "Heads",
        AblationParams(ablate=("L1H1",)): "Ablated",
        AblationParams(ablate=(PREVIOUS,)): "Ablated",
        AttentionParams(text="a b a"): "Pattern",
        CircuitsParams(layer=3): "Circuits",
        ContextParams(ablate=("L1H1",)): "InContext",
        TrainingParams(toys=("2",)): "Training",
        SeedsParams(runs=3, seed=7): "Seeds",
    }
    for params, name in kinds.items():
        asked, _ = links.parse(link(params))
        assert asked == params and question_of(asked)[1].result.__name__ == name


def test_ranks_leave_out_heads_without_a_score():
    assert ranking(np.array([[0.1, np.nan], [0.4, 0.2]])) == [(1, 0), (1, 1), (0, 0)]
