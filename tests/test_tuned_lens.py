"""The tuned lens: its algebra, its files, and what it reads of held-out text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import interp_core  # noqa: F401  # before MLX
from interp_core import artifacts, cli, corpus, estimates, paths, torch_files
from interp_core.artifacts import digest
from interp_core.findings import every
from interp_core.papers import logit_lens, tuned_lens
from interp_core.papers.tuned_lens import claims, translators
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.translators import Card, Translators
from interp_core.params import ParameterError
from interp_core.paths import cache_dir
from interp_core.question import stored
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

TEXT = "The man saw a red house."
SMALL = {
    "corpus": "prose",
    "steps": 6,
    "batch": 1,
    "context": 16,
    "vocabulary": None,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    artifacts._load.cache_clear()


@pytest.fixture
def llama(tiny):
    return tiny("llama")


def a_lens(info, layers, seed=0, weight=True, scale=0.02) -> Translators:
    """Return a lens of random numbers for a model."""
    draw = np.random.default_rng(seed)
    card = Card(info.id, info.sha256, info.d_model, info.n_layers, made="drawn")
    shape = (len(layers), info.d_model)
    bias = draw.normal(0, scale, shape).astype(np.float32)
    a = draw.normal(0, scale, (*shape, info.d_model)).astype(np.float32) if weight else None
    return Translators(card, tuple(layers), bias, a)


def kept(lens: Translators) -> str:
    return translators.KEPT.keep(lens.to_bytes())


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(ParameterError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


# The lens


def test_a_lens_of_zeros_is_the_logit_lens(llama):
    zero = a_lens(llama.info, range(-1, llama.info.n_layers - 1), scale=0)
    params = tuned_lens.Params(lens=kept(zero), prompt=TEXT)
    read = tuned_lens.run(llama, params, findings=False)
    plain = logit_lens.run(llama, logit_lens.Params(prompt=TEXT), findings=False)
    for _, grid in read.frames["grid"].groupby("lens"):
        grid = grid.drop(columns="lens")
        assert grid.reset_index(drop=True).equals(plain.frames["grid"])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "phi3"])
def test_the_lens_reads_h_plus_a_h_plus_b(tiny, family):
    model = tiny(family)
    lens = a_lens(model.info, range(-1, model.info.n_layers - 1), scale=0.3)
    read = tuned_lens.run(model, tuned_lens.Params(lens=kept(lens), prompt=TEXT), findings=False)
    assert (read.kl >= 0).all()
    ids = read.provenance.token_ids

    @on_compute_thread
    def by_hand() -> np.ndarray:
        stream = model.stream
        states = [stream.embed(mx.array([ids]))]
        sites = [Site("resid_post", n) for n in range(stream.n_layers)]
        run = stream.run(mx.array([ids]), keep=sites)
        states += [run.acts[site] for site in sites]
        rows = []
        for row, state in enumerate(states):
            h = np.array(state[0].astype(mx.float32))
            if row < len(lens.layers):
                h = h + h @ lens.weight[row].T + lens.bias[row]
            logits = np.array(stream.unembed(mx.array(h)).astype(mx.float32))
            rows.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        return np.stack(rows)

    log_probs = by_hand()
    top = np.take_along_axis(log_probs, read.top_ids[1, :, :, :1], -1)
    assert np.allclose(np.exp(top), read.top_probs[1, :, :, :1], atol=1e-5)
    assert np.allclose(log_probs.max(-1), np.log(read.top_probs[1, :, :, 0]), atol=1e-4)
    final = np.exp(log_probs[-1])
    expected = (final * (log_probs[-1] - log_probs)).sum(-1)
    assert np.allclose(read.kl[1], np.maximum(expected, 0), atol=1e-4)
    assert (read.kl[1, -1] < 1e-5).all(), "the last layer is the output, and is left as it is"


def test_layers_without_a_translator_are_left_as_they_are(llama):
    lens = a_lens(llama.info, [0], scale=0.3)
    read = tuned_lens.run(llama, tuned_lens.Params(lens=kept(lens), prompt=TEXT), findings=False)
    same = np.array([np.array_equal(*pair) for pair in zip(read.kl[0], read.kl[1], strict=True)])
    assert same.tolist() == [n != 0 for n in read.layers]


# Files


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_a_lens_file_reads_back_bit_for_bit(llama, tmp_path, weight, half):
    lens = a_lens(llama.info, [-1, 0, 1], weight=weight)
    lens = lens.rounded() if half else lens
    file = tmp_path / "lens.safetensors"
    file.write_bytes(lens.to_bytes())
    name = translators.read(file)
    back = translators.load_lens(name, llama.info)
    assert name == digest(file.read_bytes()) and back.to_bytes() == lens.to_bytes()
    assert back.card == lens.card and back.layers == (-1, 0, 1)
    assert back.bias.dtype == lens.bias.dtype and np.array_equal(back.bias, lens.bias)
    assert (back.weight is None) is not weight
    if weight:
        assert np.array_equal(back.weight, lens.weight)


def test_a_lens_of_another_model_is_refused(llama, tiny):
    other = a_lens(tiny("qwen2").info, [0])
    assert "was trained on other weights" in refusal(
        tuned_lens.run, llama, tuned_lens.Params(lens=kept(other), prompt=TEXT)
    )
    card = dataclasses.replace(other.card, n_layers=7)
    said = refusal(dataclasses.replace(other, card=card).fits, llama.info)
    assert "7 layers" in said and f"{llama.info.n_layers} layers" in said
    assert "none ships for" in refusal(tuned_lens.run, llama, tuned_lens.Params(prompt=TEXT))
    unknown = tuned_lens.Params(lens="0123456789abcdef", prompt=TEXT)
    assert "is not on this machine" in refusal(tuned_lens.run, llama, unknown)


def test_a_lens_that_was_damaged_on_disk_is_not_offered(llama):
    good, bad = (kept(a_lens(llama.info, [0], seed)) for seed in (1, 2))
    file = cache_dir("lenses") / f"{bad}.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert list(translators.labelled(llama.info.sha256, llama.info.n_layers)) == [good]


def test_a_name_is_no_folder_of_that_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tuned-lens", "evaluate", "--text", "code", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["params"]["text"] == "code"


def test_damaged_lens_files_are_refused(llama, tmp_path):
    whole = a_lens(llama.info, [0, 1]).to_bytes()
    draw = np.random.default_rng(0)
    file = tmp_path / "lens.safetensors"
    for _ in range(200):
        damaged = bytearray(whole)
        if draw.random() < 0.3:
            del damaged[draw.integers(len(damaged)) :]
        else:
            for at in draw.integers(0, 400, 3):
                damaged[at] = draw.integers(256)
        file.write_bytes(damaged)
        try:
            translators.read(file)
        except ParameterError as error:
            assert str(error).startswith("lens: lens.safetensors")


REFERENCE = Path(__file__).parent / "reference"


def test_a_lens_of_the_authors_reads_as_their_package_does(llama):
    lens = translators.load_lens(translators.read(REFERENCE / "lenses" / "llama"), llama.info)
    expected = np.load(REFERENCE / "lenses" / "llama" / "expected.npz")
    assert lens.layers == tuple(range(-1, llama.info.n_layers - 1)), "theirs reads a block's input"

    @on_compute_thread
    def ours() -> np.ndarray:
        translate, states = applied(lens), mx.array(expected["states"])
        rows = [
            llama.stream.unembed(translate(layer, states[i])) for i, layer in enumerate(lens.layers)
        ]
        return np.array(mx.stack(rows))

    assert np.abs(ours() - expected["logits"]).max() < 1e-5


def test_the_authors_translator_of_a_blocks_input_is_ours_of_the_block_before(
    tmp_path, monkeypatch
):
    numbers = {
        "0.weight": np.full((2, 2), 1.0, np.float32),
        "0.bias": np.array([1, 2], np.float32),
        "1.weight": np.full((2, 2), 3.0, np.float32),
        "1.bias": np.array([3, 4], np.float32),
    }
    monkeypatch.setattr(torch_files, "read", lambda _: numbers)
    config = {
        "lens_type": "linear_tuned_lens",
        "bias": True,
        "d_model": 2,
        "num_hidden_layers": 2,
        "base_model_name_or_path": "two",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    lens = tuned_lens.published(tmp_path)
    assert lens.layers == (-1, 0)
    assert lens.bias.tolist() == [[1, 2], [3, 4]] and lens.weight[1].tolist() == [[3, 3], [3, 3]]
    h = mx.array([1.0, 2.0])
    # What enters block 1 is the output of block 0: h + A h + b = [1 + 9 + 3, 2 + 9 + 4].
    assert applied(lens)(0, h).tolist() == [13, 15]
    for key, value in (("bias", False), ("lens_type", "other"), ("d_model", "2")):
        (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
        assert refusal(translators.read, tmp_path).startswith(f"lens: {tmp_path.name}: it")
    numbers["0.weight"] = np.zeros((2, 3), np.float32)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "0.weight has the shape [2, 3]" in refusal(translators.read, tmp_path)


# Held-out text


def test_an_evaluation_is_what_the_lens_reads_of_each_document(llama):
    lens = a_lens(llama.info, range(-1, llama.info.n_layers - 1), scale=0.1)
    bias = a_lens(llama.info, range(-1, llama.info.n_layers - 1), weight=False, scale=0.1)
    params = tuned_lens.EvaluateParams(
        lens=kept(lens), beside=kept(bias), context=24, documents=5, positions=None
    )
    found = tuned_lens.run(llama, params, findings=False)
    assert found.lenses == ("logit", "tuned", "bias-only")
    layers = found.frames["layers"]
    assert list(layers)[:3] == ["lens", "layer", "kl"] and {
        "cross_entropy",
        "bits_per_byte",
        "agreement",
        "low",
        "high",
    } <= {*layers}
    texts = corpus.load("prose")
    drawn = np.random.default_rng(0).permutation(len(texts))[:5]
    texts = [texts[i] for i in sorted(drawn)]
    kl, n, surprisal = np.zeros(2), 0, 0.0
    for text in texts:
        ids = llama.tokenizer.encode(text, bos=False)
        front = llama.tokenizer.front("auto", auto="document")
        prompt = [*front, *ids][:24]

        @on_compute_thread
        def by_hand(prompt=prompt):
            stream = llama.stream
            run = stream.run(mx.array([prompt]), keep=[Site("resid_post", 0)])
            final = run.logits[0, 1:-1]
            h = run.acts[Site("resid_post", 0)][0, 1:-1]
            out = []
            for state in (h, applied(lens)(0, h)):
                q = stream.unembed(state)
                log_q = q - mx.logsumexp(q, -1, keepdims=True)
                log_p = final - mx.logsumexp(final, -1, keepdims=True)
                out.append(float((mx.exp(log_p) * (log_p - log_q)).sum()))
            chosen = mx.take_along_axis(log_q, mx.array(prompt[2:])[:, None], -1)
            return np.array(out), -float(chosen.sum())

        sums, nats = by_hand()
        kl, n, surprisal = kl + sums, n + len(prompt) - 2, surprisal + nats
    rows = layers.query("layer == 0").set_index("lens")
    assert np.allclose(rows.loc[["logit", "tuned"], "kl"], kl / n, atol=1e-4)
    bits = surprisal / np.log(2) / found.bytes.sum()
    assert rows.loc["tuned", "bits_per_byte"] == pytest.approx(bits, abs=1e-4)
    last = layers[layers["layer"] == llama.info.n_layers - 1]
    assert (last["kl"] < 1e-5).all() and (last["agreement"] == 1).all()
    assert (layers["low"] <= layers["kl"]).all() and (layers["kl"] >= 0).all()
    assert (found.marginal >= -1e-9).all() and found.own_findings


def test_a_lens_of_zeros_makes_no_claim_hold(llama):
    zero = a_lens(llama.info, range(-1, llama.info.n_layers - 1), scale=0)
    params = tuned_lens.EvaluateParams(lens=kept(zero), beside="none", context=24, documents=5)
    verdicts = {f.id: f.holds for f in tuned_lens.run(llama, params, findings=False).own_findings}
    undecided, fails = ("lower_prose", "depth_prose"), ("halved_prose", "unbiased_prose")
    assert {name: verdicts[name] for name in (*undecided, *fails)} == {
        **dict.fromkeys(undecided, None),
        **dict.fromkeys(fails, False),
    }


def test_one_layer_decides_a_claim_of_every_layer():
    documents = np.random.default_rng(0).normal(1, 0.1, (4, 20))
    gaps = estimates.means(documents)
    assert every(claims.ABOVE.of_ends(gaps)) is True
    assert every(claims.ABOVE.of_ends(estimates.means(documents - [[0], [0], [1], [0]]))) is None
    assert every(claims.ABOVE.of_ends(estimates.means(documents - [[0], [0], [1], [2]]))) is False


def test_a_translator_is_read_at_every_layer(llama):
    lens = a_lens(llama.info, range(-1, llama.info.n_layers - 1), scale=0.2)
    params = tuned_lens.TransferParams(lens=kept(lens), context=24, documents=4, positions=None)
    found = tuned_lens.run(llama, params, findings=False)
    whole = tuned_lens.EvaluateParams(
        lens=kept(lens), beside="none", context=24, documents=4, positions=None
    )
    own = tuned_lens.run(llama, whole, findings=False).kl[1, : len(lens.layers)]
    diagonal = np.stack([found.kl[i, i] for i in range(len(lens.layers))])
    assert np.allclose(diagonal, own, rtol=1e-3, atol=1e-3)
    # The translator of one layer alone, at another, is a lens whose translator is moved there.
    moved = dataclasses.replace(lens, layers=(1,), bias=lens.bias[:1], weight=lens.weight[:1])
    elsewhere = tuned_lens.run(llama, dataclasses.replace(whole, lens=kept(moved)), findings=False)
    row = elsewhere.layers.tolist().index(1)
    assert np.allclose(found.kl[0, 2], elsewhere.kl[1, row], rtol=1e-3, atol=1e-3)
    assert np.allclose(np.diag(found.penalty), 0)
    blocks = np.diagonal(found.kl[1:, 1:]).mean(1).sum() / found.positions.sum()
    value, low, high = found.relative(1)
    assert value == pytest.approx(found.at_distance(1)[0] / blocks) and low <= value <= high


COVERAGE = {
    "normal": (0.949, 0.952, 0.950),
    "lognormal": (0.910, 0.927, 0.930),
    "share": (0.940, 0.944, 0.943),
}
"""As the docstring of ``ratios`` says, for 10, 25 and 60 groups."""


@pytest.mark.parametrize(("groups", "column"), [(10, 0), (25, 1), (60, 2)])
@pytest.mark.parametrize("kind", list(COVERAGE))
def test_intervals_of_means_over_documents_cover_as_is_said(groups, column, kind):
    draw, covered, times = np.random.default_rng(groups), 0, 1500
    for _ in range(times):
        sizes = draw.integers(50, 150, groups)
        level = draw.normal(0, 0.5, groups)
        if kind == "normal":
            sums, truth = sizes * (3 + level) + draw.normal(0, np.sqrt(sizes)), 3.0
        elif kind == "lognormal":
            sums, truth = sizes * np.exp(level), np.exp(0.125)
        else:
            sums, truth = draw.binomial(sizes, 1 / (1 + np.exp(-(2 + level)))), 0.8710
        low, high = estimates.ratios(sums, sizes)[1:]
        covered += low <= truth <= high
    assert covered / times == pytest.approx(COVERAGE[kind][column], abs=0.025)


# What ships


def test_the_shipped_lens_reads_the_default_model(model):
    info = model.info
    lens, bias = (translators.load_lens(name, info) for name in ("shipped", "shipped-bias"))
    assert lens.layers == bias.layers == tuple(range(-1, info.n_layers - 1))
    assert bias.weight is None and lens.card.model_sha256 == info.sha256
    size = sum(file.stat().st_size for file in (paths.SHIPPED / "lenses").iterdir())
    assert size <= 25_000_000
    params = tuned_lens.EvaluateParams(documents=2, positions=6)
    found = tuned_lens.run(model, params, findings=False)
    kl = found.mean("kl")[..., 0]
    assert (kl[1, :-1] < kl[0, :-1]).all() and (kl[1, 1:21] < 0.5 * kl[0, 1:21]).all()


@pytest.mark.parametrize("text", ["prose", "code"])
def test_what_was_measured_of_the_shipped_lens(text):
    found = stored(tuned_lens.EvaluateParams(text=text))
    verdicts = {finding.id: finding.holds for finding in found.own_findings}
    assert (
        verdicts[f"lower_{text}"] and verdicts[f"halved_{text}"] and verdicts[f"falls_tuned_{text}"]
    )
    assert verdicts[f"depth_{text}"] and verdicts[f"falls_logit_{text}"]
    assert verdicts[f"unbiased_{text}"]
    logit, tuned, bias = found.mean("kl")[:, :-1, 0]
    assert ((tuned < bias) & (bias < logit))[1:].all(), "biases alone lie between at every block"
    assert not verdicts[f"between_{text}"] and bias[0] < tuned[0], "but not at the embedding"
