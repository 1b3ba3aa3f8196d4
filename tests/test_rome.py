"""The rank-one edit, sampling, which analysis parameters ask for, and what a trace begins with."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from interp_core import links, sampling, store
from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing import (
    Average,
    AverageParams,
    Edit,
    EditParams,
    EditScores,
    Params,
    ScoresParams,
    Trace,
    facts,
)
from interp_core.papers.causal_tracing.compute import edit, key_covariance, rome, trace
from interp_core.papers.causal_tracing.compute.subject import locate
from interp_core.params import ParameterError
from interp_core.query import from_texts
from interp_core.question import kept_by, question_of
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

FAMILIES = ["llama", "gpt2", "gemma2", "gpt_neox"]
every_family = pytest.mark.parametrize("name", FAMILIES)
BROKEN = 1e-3


def gap(found, expected) -> float:
    return float(np.abs(np.array(found) - expected).max() / np.abs(expected).max())


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(key_covariance, "TEXTS", 8)
    monkeypatch.setattr(key_covariance, "LENGTH", 20)
    monkeypatch.setattr(edit, "_PREFIXES", ((2, 3),))
    monkeypatch.setattr(edit, "_NEW_TOKENS", 3)


EDIT = EditParams(prompt="Bob is in", subject="Bob", answer="q", new_object="w", layer=1)


@pytest.fixture
def unpenalised(monkeypatch):
    """Leave the new value's length free: random models' answers hardly depend on any value."""
    monkeypatch.setattr(rome, "DECAY", 0.0)


def edit_of(name: str, **changes) -> EditParams:
    """Return the edit; in Gemma's block 1, the subject is out of the last block's window."""
    return dataclasses.replace(EDIT, layer=0 if name == "gemma2" else 1, **changes)


TOKENS = [[5, 9, 70, 33, 41, 80]]


@on_compute_thread
def updated(model, params: EditParams) -> dict[str, np.ndarray]:
    stream = model.stream
    before = np.array(stream.run(mx.array(TOKENS)).logits)
    update = edit._update(model, params, locate(model, params), params.layer, "w")
    view = update.apply(stream)
    after = np.array(view.run(mx.array(TOKENS)).logits)
    keys = mx.random.normal((16, update.key.size), key=mx.random.key(2))
    down, edited = (each.blocks[params.layer].down for each in (stream, view))
    return {
        "before": before,
        "view": after,
        "again": np.array(stream.run(mx.array(TOKENS)).logits),
        "given": np.array(edited(update.key[None])[0]),
        "old": np.array(down(update.key[None])[0]),
        "value": np.array(update.value),
        "change": np.array(edited(keys) - down(keys)),
        "right": np.array(update.right),
        "losses": np.array(update.losses),
    }


@every_family
def test_the_edit_gives_the_key_its_value_by_a_rank_one_change(tiny, name, unpenalised):
    found = {c: updated(tiny(name), edit_of(name, covariance=c)) for c in ("text", "identity")}
    for each in found.values():
        assert gap(each["given"], each["value"]) < 1e-3
        assert gap(each["old"], each["value"]) > 1e-2
        values = np.linalg.svd(each["change"].astype(float), compute_uv=False)
        assert values[1] < 1e-4 * values[0]
        np.testing.assert_array_equal(each["again"], each["before"])
        assert gap(each["view"], each["before"]) > BROKEN
        assert np.isfinite(each["losses"]).all()
    a, b = (each["right"] / np.linalg.norm(each["right"]) for each in found.values())
    assert abs(a @ b) < 0.999


@every_family
def test_the_new_object_becomes_likelier(tiny, name, unpenalised):
    result = causal_tracing.run(tiny(name), edit_of(name), findings=False)
    assert isinstance(result, Edit) and result.rank == 1 and result.key_gap < 1e-3
    assert result.new_probability[0, 1] > 1.2 * result.new_probability[0, 0]
    again = Edit.from_bytes(result.to_bytes())
    assert again.frames["edit"].equals(result.frames["edit"])


def test_a_value_that_cannot_reach_the_answer_is_left_as_it_is(tiny):
    result = causal_tracing.run(tiny("gemma2"), EDIT, findings=False)
    assert result.summary["kept_step"] == 0 and len(result.losses) == rome.STEPS
    assert (result.rank, result.delta_norm) == (0, 0)
    np.testing.assert_array_equal(result.new_probability[:, 1], result.new_probability[:, 0])
    (title,) = (chart.title for name, chart in result.charts().items() if name == "search")
    assert "at step 0, whose value is kept" in " ".join(title.subtitle)


def test_the_search_keeps_the_step_of_least_loss():
    losses = iter([3.0, 4.0, 1.0, 2.0, *[2.5] * rome.STEPS])
    seen = []

    def value_and_grad(delta):
        seen.append(np.array(delta))
        return mx.array(next(losses)), mx.array([1.0, -1.0])

    found, kept = on_compute_thread(rome._descend)(value_and_grad, mx.zeros(2), 100.0)
    assert len(kept) == rome.STEPS and int(np.argmin(kept)) == 2
    np.testing.assert_array_equal(found, seen[2])
    assert gap(seen[2], seen[-1]) > 0.5


@every_family
def test_the_second_moment_is_that_of_the_keys(tiny, name):
    model = tiny(name)

    @on_compute_thread
    def both():
        found = key_covariance.second_moment(model, 1, "auto", 3)
        site = Site("mlp_post", 1)
        tokens = key_covariance.texts(model, "auto", 3)
        run = model.stream.run(mx.array(tokens), keep=[site])
        return found, np.array(run.acts[site]).astype(float), tokens

    found, keys, tokens = both()
    assert tokens.shape == (8, 20)
    flat = keys[:, 1:].reshape(-1, keys.shape[-1])
    np.testing.assert_allclose(found, flat.T @ flat / len(flat), rtol=1e-3, atol=1e-5)
    whole = keys.reshape(-1, keys.shape[-1])
    assert gap(found, whole.T @ whole / len(whole)) > BROKEN  # the sink is left out
    np.testing.assert_allclose(found, found.T, rtol=1e-5, atol=1e-7)
    assert np.linalg.eigvalsh(found.astype(float)).min() > -1e-5 * np.trace(found)


@every_family
def test_the_search_s_gradient_is_that_of_finite_differences(tiny, name, monkeypatch):
    model, seen = tiny(name), []
    monkeypatch.setattr(
        rome, "_descend", lambda f, like, limit: seen.append((f, like)) or (like, (1.0,))
    )

    @on_compute_thread
    def differences():
        edit._update(
            model, dataclasses.replace(EDIT, covariance="identity"), locate(model, EDIT), 1, "w"
        )
        loss, like = seen[0]
        scale = float(mx.linalg.norm(like, stream=mx.cpu).item()) / like.size**0.5
        at = 0.3 * scale * mx.random.normal(like.shape, key=mx.random.key(1))
        gradient = np.array(loss(at)[1]).astype(float)
        pairs = []
        for i in range(4):
            way = mx.random.normal(like.shape, key=mx.random.key(10 + i))
            way = way + 3 * mx.array(gradient.astype(np.float32)) / np.linalg.norm(gradient)
            step = 0.01 * scale
            ends = [float(loss(at + sign * step * way)[0].item()) for sign in (1, -1)]
            pairs.append(((ends[0] - ends[1]) / (2 * step), float(gradient @ np.array(way))))
        return np.array(pairs), np.linalg.norm(gradient)

    pairs, size = differences()
    assert np.abs(pairs[:, 0] - pairs[:, 1]).max() < 0.03 * size * 5
    assert np.abs(pairs[:, 0] + pairs[:, 1]).max() > 0.3 * size


@every_family
def test_greedy_text_is_the_argmax_of_full_forwards(tiny, name):
    stream = tiny(name).stream

    @on_compute_thread
    def both():
        texts = [[5, 9, 70], [33, 41, 80]]
        found = sampling.generate(stream, texts, 6)
        rows = [list(t) for t in texts]
        for _ in range(6):
            best = np.array(stream.run(mx.array(rows)).logits)[:, -1].argmax(-1)
            rows = [[*row, int(b)] for row, b in zip(rows, best, strict=True)]
        drawn = [sampling.generate(stream, texts, 6, temperature=1, seed=s) for s in (1, 1, 2)]
        return found, np.array(rows)[:, 3:], drawn

    found, expected, (one, again, other) = both()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and (one != found).any()


KINDS = {
    Params: (Trace, {"covariance": "identity", "limit": 3, "new_object": "x", "watch": ("y",)}),
    AverageParams: (Average, {"prompt": "x y", "subject": "x", "swap": "z", "layer": 1}),
    EditParams: (Edit, {"noise": 1.0, "samples": 9, "kinds": ("z",)}),
    ScoresParams: (EditScores, {"noise": 1.0, "new_object": "q"}),
}


@pytest.mark.parametrize("cls", KINDS)
def test_parameters_that_a_question_does_not_read_are_refused(cls):
    kind, others = KINDS[cls]
    asked = cls()
    assert question_of(asked)[1].result is kind
    for name, value in others.items():
        with pytest.raises(ParameterError, match=f"^{name}: "):
            cls(**{name: value})
    key = store.key(kind, asked, "print")
    assert store.key(kind, dataclasses.replace(asked, model="x"), "print") == key
    assert store.key(kind, dataclasses.replace(asked, seed=5), "print") != key
    assert store.key(kind, asked, "another print") != key


def test_whether_to_resume_does_not_matter():
    fresh, asked = AverageParams(resume=False), AverageParams()
    assert store.key(Average, fresh, "print") == store.key(Average, asked, "print")
    assert kept_by(fresh) == asked
    for cls in (Params, EditParams, ScoresParams):
        with pytest.raises(ParameterError, match=r"^resume: "):
            from_texts(cls, {"resume": ["false"]})


def test_links_give_back_the_parameters(tiny):
    for result in (run(tiny("llama")), causal_tracing.run(tiny("llama"), EDIT, findings=False)):
        assert links.parse(result.link)[0] == result.params


def test_the_default_model_recalls_a_continent(model):
    result = causal_tracing.run(
        model,
        Params(
            prompt="A plane that lands in South Africa is on the continent of",
            subject="South Africa",
            samples=2,
            kinds=("resid_post",),
            layers=(0, None, 6),
        ),
        findings=False,
    )
    assert result.answer == " Africa" and result.total_effect > 0.3
    first, last = result.subject[0], result.subject[1] - 1
    early = result.layers <= 6
    assert (result.effect[0, early, last] > result.effect[0, early, first]).all()
    whole = causal_tracing.run(
        model, dataclasses.replace(result.params, layers=(29, 30, 1)), findings=False
    )
    assert whole.effect[0, -1, -1] == pytest.approx(whole.total_effect, abs=1e-5)


PARAMS = Params(
    prompt="a Bob in Oz is the",
    subject="Bob",
    window=2,
    kinds=("resid_post", "mlp_out", "attn_out", "sever_mlp", "z"),
)


def run(model, **changes):
    return causal_tracing.run(model, dataclasses.replace(PARAMS, **changes), findings=False)


@on_compute_thread
def inputs(model, **changes) -> trace.Inputs:
    return trace.inputs(model, dataclasses.replace(PARAMS, **changes))


@on_compute_thread
def embed(model, ids, positions: bool = True) -> np.ndarray:
    ids = mx.array(ids)
    return np.array(
        model.stream.embed(ids[None])[0] if positions else model.stream.embed_tokens(ids)
    )


def spread_of(model, positions: bool = False) -> float:
    """Return the standard deviation of subjects' embeddings, by hand."""
    texts = [fact.subject for fact in facts.load("shipped")]
    rows = [embed(model, model.tokenizer.encode(t, bos=False), positions) for t in texts]
    return float(np.concatenate(rows).std())


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gpt2_bare", "gpt_neox"])
def test_noise_is_the_released_code_s_and_on_the_subject_alone(tiny, name):
    model = tiny(name)
    given = inputs(model, samples=3, seed=7, noise=2.5)
    subject = given.located.subject
    drawn = np.random.RandomState(7).randn(3, len(subject), given.noise.shape[-1])
    found = given.noise
    expected = np.zeros_like(found)
    expected[:, subject.start : subject.stop] = 2.5 * spread_of(model) * drawn
    np.testing.assert_allclose(found, expected, atol=1e-5)
    outside = np.delete(found, list(subject), axis=1)
    assert (outside == 0).all()
    if name.startswith("gpt2"):  # positions would widen it
        assert abs(spread_of(model, positions=True) / spread_of(model) - 1) > 0.01
    if name == "gemma2":
        raw = on_compute_thread(lambda: float(np.array(model.stream.embedding.weight).std()))()
        assert spread_of(model) > 2 * raw
    absolute = inputs(model, samples=3, seed=7, noise=0.5, noise_unit="absolute")
    part = absolute.noise[:, subject.start : subject.stop]
    np.testing.assert_allclose(part, 0.5 * drawn, atol=1e-5)
    uniform = inputs(model, corruption="uniform", noise=0.5, noise_unit="absolute")
    assert 0.4 < np.abs(uniform.noise).max() <= 0.5 + 1e-6


def test_a_start_in_front_shifts_the_subject(tiny):
    model = tiny("llama")
    with_start, without = run(model), run(model, start="none")
    assert with_start.tokens == ("<|endoftext|>", *without.tokens)
    assert with_start.subject == tuple(p + 1 for p in without.subject)
    for result in (with_start, without):
        assert "".join(result.tokens[slice(*result.subject)]).strip() == PARAMS.subject
    named = run(model, start="<|im_start|>")
    assert named.tokens[0] == "<|im_start|>" and named.subject == with_start.subject
    assert named.summary["start"] == "<|im_start|>" and without.summary["start"] == ""


def test_another_subject_or_prompt_corrupts(tiny):
    model = tiny("llama")
    swapped = run(model, corruption="swap", swap="Tim")
    assert len(swapped.corrupt_score) == 1
    whole = run(model, corruption="prompt", swap=PARAMS.prompt.replace("Bob", "Tim"))
    np.testing.assert_array_equal(swapped.score, whole.score)
    last = swapped.effect[0, -1, -1]
    assert last == pytest.approx(swapped.total_effect, abs=1e-6)
