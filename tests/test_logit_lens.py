"""The logit lens: identities on every family, options and errors, and the post's findings."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS

from interp_core.papers import logit_lens
from interp_core.papers.logit_lens import Averages, LogitLens, Params
from interp_core.papers.logit_lens.compute import encode
from interp_core.papers.logit_lens.params import MAX_TOKENS
from interp_core.params import ParameterError
from interp_core.question import stored
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

TOLERANCE = 1e-4
"""In nats, logits and probabilities: of float32 sums over 264 tokens and three blocks."""
BROKEN = 100 * TOLERANCE
PROMPT = "the cat in a hat"
every_model = pytest.mark.parametrize("name", CHECKPOINTS)


def run(model, **changes) -> LogitLens:
    return logit_lens.run(model, Params(**{"prompt": PROMPT, **changes}), findings=False)


@on_compute_thread
def log_probs(model, ids, part: str | None = None, layer: int = 0, norm: bool = True) -> np.ndarray:
    """Return log probabilities [pos, token] of the output, or of a site read by hand."""
    site = Site(part or "resid_post", layer)
    run = model.stream.run(mx.array([ids]), keep=[site])
    if part is None:
        logits = run.logits
    elif norm:
        logits = model.stream.unembed(run.acts[site])
    else:
        logits = model.stream.head(run.acts[site])
    logits = np.array(logits[0]).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@every_model
def test_the_last_row_is_the_model_s_own_output(tiny, name):
    model = tiny(name)
    lens = run(model, top_k=100)
    ids = list(lens.provenance.token_ids)
    last = model.info.n_layers - 1

    def gap(own: np.ndarray) -> float:
        gaps = [np.abs(np.sort(np.exp(own))[:, :-101:-1] - lens.top_probs[-1]).max()]
        gaps.append(np.abs(-(np.exp(own) * own).sum(-1) - lens.entropy[-1]).max())
        gaps.append(
            np.abs(own[np.arange(len(ids)), lens.final_top] - lens.log_prob[-1, :, 0]).max()
        )
        return max(gaps)

    own = log_probs(model, ids)
    assert gap(own) < TOLERANCE
    assert lens.kl[-1].max() < TOLERANCE and (lens.rank[-1, :, 0] == 0).all()
    np.testing.assert_array_equal(lens.final_top, own.argmax(-1))
    np.testing.assert_allclose(lens.final_probs, np.exp(own.max(-1)), atol=TOLERANCE)
    assert gap(log_probs(model, ids, "resid_post", last, norm=False)) > BROKEN
    assert gap(log_probs(model, ids, "resid_post", last - 1)) > BROKEN


@every_model
@pytest.mark.parametrize("part", ["resid_post", "resid_mid", "attn_out", "mlp_out"])
def test_every_row_is_its_site_read_by_hand(tiny, name, part):
    model = tiny(name)
    lens = run(model, stream=part, top_k=5)
    ids = list(lens.provenance.token_ids)
    assert list(lens.layers) == [
        *([-1] if part == "resid_post" else []),
        *range(model.info.n_layers),
    ]
    own = log_probs(model, ids)
    for row, layer in enumerate(lens.layers):
        by_hand = log_probs(model, ids, part if layer >= 0 else "resid_pre", max(layer, 0))
        probs = np.exp(by_hand)
        np.testing.assert_allclose(lens.top_probs[row], np.sort(probs)[:, :-6:-1], atol=TOLERANCE)
        kl = (np.exp(own) * (own - by_hand)).sum(-1)
        np.testing.assert_allclose(lens.kl[row], kl, atol=TOLERANCE, rtol=TOLERANCE)
        following = by_hand[np.arange(len(ids) - 1), ids[1:]]
        np.testing.assert_allclose(lens.log_prob[row, :-1, 1], following, atol=TOLERANCE)
    other = log_probs(model, ids, "resid_post" if part != "resid_post" else "resid_mid", 0)
    broken = np.sort(np.exp(other))[:, :-6:-1]
    found = lens.top_probs[list(lens.layers).index(0)]
    assert np.abs(np.log(found / broken)).max() > BROKEN


@every_model
def test_attributions_add_up_to_the_logit(tiny, name):
    model = tiny(name)
    lens = run(model, watch=("o", "e"))
    n = model.info.n_layers
    assert lens.attribution.shape == (3, 2 * n + 2, len(lens.tokens))
    np.testing.assert_allclose(lens.attribution.sum(1), lens.attribution_logit, atol=TOLERANCE)
    without = lens.attribution[:, 1:].sum(1)
    assert np.abs(without - lens.attribution_logit).max() > BROKEN
    ids = mx.array([lens.provenance.token_ids])
    logits = on_compute_thread(lambda: np.array(model.stream.run(ids).logits[0]))()
    if cap := model.stream.softcap:
        logits = np.arctanh(logits.astype(float) / cap) * cap
    targets = np.stack([lens.final_top, *(np.full(len(lens.tokens), i) for i in lens.watched)])
    expected = np.take_along_axis(logits, targets.T, -1).T
    if not cap:  # a capped logit near its cap cannot be undone
        np.testing.assert_allclose(lens.attribution_logit, expected, atol=TOLERANCE)
    bias = lens.frames["attribution"].query("component == 'norm bias'").logit
    assert (bias != 0).all() if name.startswith(("gpt2", "gpt_neox")) else (bias == 0).all()


def handmade(small: LogitLens, ranks: list[list[int]], layers: list[int]) -> LogitLens:
    rank = np.array(ranks).T[:, :, None]
    return dataclasses.replace(small, rank=rank, layers=np.array(layers))


def test_crystallisation_is_the_first_layer_that_stays_on_top(tiny):
    columns = [[5, 3, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [9, 9, 9, 0], [0, 1, 0, 0]]
    settled = handmade(run(tiny("gpt2")), columns, [-1, 0, 1, 2]).crystallised
    np.testing.assert_array_equal(settled, [1, -1, 2, np.nan, 2, 1])
    settled = handmade(run(tiny("gpt2")), columns, [3, 7, 11, 29]).crystallised
    np.testing.assert_array_equal(settled, [11, 3, 29, np.nan, 29, 11])


def test_layers_positions_and_top_k(tiny):
    model, whole = tiny("qwen3"), run(tiny("qwen3"), top_k=20)
    some = run(model, layers="1:3", positions="1:9:3", top_k=4, watch=("o",))
    assert some.layers.tolist() == [1, 2] and some.positions.tolist() == [1, 4, 7]
    assert some.top_ids.shape == (2, 3, 4) and some.rank.shape == (2, 3, 3)
    np.testing.assert_array_equal(some.top_ids, whole.top_ids[2:][:, [1, 4, 7], :4])
    np.testing.assert_allclose(some.kl, whole.kl[2:][:, [1, 4, 7]], atol=TOLERANCE)
    np.testing.assert_array_equal(some.next_ids, whole.next_ids[[1, 4, 7]])
    assert run(model, layers="0::2").layers.tolist() == [-1, 0, 2]
    assert run(model, layers="0:2:2").layers.tolist() == [-1, 1]  # the last is always there
    assert run(model, top_k=100).top_ids.shape[2] == 100


def test_watched_tokens_are_followed(tiny):
    lens = run(tiny("llama"), watch=(" the", "o", "e"))
    tokenizer = tiny("llama").tokenizer
    assert [tokenizer.text(i) for i in lens.watched] == [" the", "o", "e"]
    frame = lens.frames["watched"]
    assert set(frame["target"]) == {"final top", "actual next", " the", "o", "e"}
    ids = list(lens.provenance.token_ids)
    by_hand = np.exp(log_probs(tiny("llama"), ids, "resid_post", 1))[:, lens.watched[1]]
    found = frame.query("target == 'o' and layer == 1")["probability"]
    np.testing.assert_allclose(found, by_hand, atol=TOLERANCE)
    assert len(frame.query("target == 'actual next' and layer == 1")) == len(ids) - 1


def test_chat_and_bos(tiny):
    model = tiny("llama")
    plain = run(model)
    assert run(model, bos=False).tokens == plain.tokens
    assert run(model, bos=True).tokens == ("<|endoftext|>", *plain.tokens)
    chat = run(model, prompt="a cat", chat=True)
    written = "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    assert "".join(chat.tokens) == written and chat.tokens[0] == "<|im_start|>"


def test_one_token(tiny):
    for name in CHECKPOINTS:
        lens = run(tiny(name), prompt="a")
        assert lens.tokens == ("a",) and lens.next_ids.tolist() == [-1]
        assert lens.summary["n_tokens"] == 1 and lens.frames["layers"].empty
        assert lens.frames["watched"]["target"].unique().tolist() == ["final top"]
        assert lens.frames["cells"][["next_rank", "next_probability"]].isna().all(axis=None)


BAD = {
    "prompt": ({"prompt": "a" * 33}, r"prompt: it has 33 tokens; accepted: 1 to 32"),
    "watch": ({"watch": (" of course",)}, r"watch: ' of course' is \d+ tokens .*exactly one"),
    "layers": ({"layers": "0:4"}, "layers: 0:4 is not accepted; this has 3"),
    "layers start": ({"layers": "3:"}, "layers: 3: is not accepted; this has 3"),
    "positions": ({"positions": "0:99"}, "positions: 0:99 is not accepted; this has"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_the_model_is_named(tiny, case):
    given, message = BAD[case]
    with pytest.raises(ParameterError, match=message):
        run(tiny("llama"), **given)


def test_what_the_tokenizer_lacks_is_named(tiny, monkeypatch):
    tokenizer = tiny("llama").tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", None)
    monkeypatch.setattr(tokenizer, "bos_id", None)
    with pytest.raises(ParameterError, match="chat: this model has no chat template"):
        run(tiny("llama"), chat=True)
    with pytest.raises(ParameterError, match="bos: this model's tokenizer has no BOS"):
        run(tiny("llama"), bos=True)


def test_the_page_s_limit(model):
    limit = Params(prompt=" a" * MAX_TOKENS)
    assert len(encode(model, limit)) == MAX_TOKENS
    with pytest.raises(ParameterError, match=f"has {MAX_TOKENS + 1} tokens; accepted: 1 to 1024"):
        encode(model, Params(prompt=" a" * (MAX_TOKENS + 1)))


COLUMNS = {
    "grid": [
        "layer",
        "position",
        "rank",
        "token",
        "token_id",
        "probability",
        "input",
        "top",
        "top_probability",
        "entropy",
        "kl",
        "final_rank",
        "final_probability",
        "agrees",
        "next_rank",
        "next_probability",
        "cross_entropy",
    ],
    "tokens": ["position", "token", "token_id", "next", "final", "crystallisation_layer"],
    "watched": ["target", "layer", "position", "rank", "probability"],
    "attribution": ["target", "token", "position", "component", "layer", "logit"],
    "layers": ["layer", "kl", "entropy", "cross_entropy", "agreement", "median_rank", "positions"],
    "averages": ["layer", "statistic", "value", "low", "high", "n"],
}


@pytest.fixture(scope="module")
def fact() -> LogitLens:
    """The first preset on the default model, as it ships."""
    return stored(logit_lens.PRESETS["A fact"])


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(fact, name):
    assert fact.frames[name].columns.tolist() == COLUMNS[name]


def test_frames_hold_the_arrays(fact):
    grid = fact.frames["grid"].set_index(["layer", "position", "rank"]).sort_index()
    assert len(grid) == fact.top_ids.size and grid.index.is_unique
    for row, column, k in [(0, 0, 0), (5, 3, 9), (30, 8, 1)]:
        cell = grid.loc[(fact.layers[row], fact.positions[column], k)]
        assert cell["token_id"] == fact.top_ids[row, column, k]
        assert cell["token"] == fact.vocabulary[fact.top_ids[row, column, k]]
        assert cell["probability"] == fact.top_probs[row, column, k]
        assert cell["kl"] == fact.kl[row, column] and cell["input"] == fact.tokens[column]
    layers = fact.frames["layers"].set_index("layer")
    np.testing.assert_allclose(layers["kl"], fact.kl[:, 1:].mean(1), rtol=1e-5)
    assert (layers["positions"] == len(fact.tokens) - 1).all()


def test_the_fact_is_recalled(fact):
    assert fact.summary["final_token"] == " Paris"
    assert fact.summary["final_probability"] == pytest.approx(0.70, abs=0.01)
    assert 20 <= fact.summary["crystallisation_layer"] < 30


CHECKS = {"last_row", "attribution_sums", "embedding_is_input"}
HOLD = {
    "input_discarded": True,
    "rank_falls": None,
    "rank_middle": False,
    "kl_monotone": False,
    "agreement_late": True,
    "crystallisation": True,
}


def test_findings_on_the_default_model(fact):
    averages = fact.evidence["prompts"]
    assert isinstance(averages, Averages)
    assert {f.id: f.holds for f in averages.own_findings if not f.check} == HOLD
    assert {f.id for f in averages.own_findings if f.check} == CHECKS
    for finding in fact.findings:
        assert finding.n >= 20 and finding.of in ("prompts", "documents")
        assert finding.ci is not None or finding.check
        assert finding.holds or not finding.check, "a check that fails is a fault"
        assert finding.ci is None or finding.ci[0] <= finding.ours <= finding.ci[1], finding.id
        assert finding.claim and finding.paper and finding.shown and finding.measure


def test_ordinary_text_is_asked_the_same_but_for_what_ends_a_prompt(fact):
    prose = {finding.id: finding for finding in fact.evidence["prose"].own_findings}
    assert set(prose) == {f"{name}_prose" for name in CHECKS | set(HOLD)} - {
        "crystallisation_prose"
    }
    assert not prose["kl_monotone_prose"].holds
