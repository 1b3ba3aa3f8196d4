"""Dictionaries' files: ours, and those of other libraries, each with numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_torch_files import save, torch_names  # noqa: F401

from interp_core.papers import sparse_autoencoder as sae
from interp_core.papers.sparse_autoencoder import formats, layouts
from interp_core.papers.sparse_autoencoder.compute.apply import Applied
from interp_core.papers.sparse_autoencoder.dictionary import KEPT, Card, Dictionary, site_of
from interp_core.params import ParameterError
from interp_core.runtime import on_compute_thread

W_ENC = np.array([[1, 0, 2], [0, 1, 1]], np.float32)
"""[d_in, latent]"""
W_DEC = np.array([[1, 0], [0, 2], [3, 4]], np.float32)
"""[latent, d_in]"""
B_ENC = np.array([0, -1, -2], np.float32)
B_DEC = np.array([1, 0], np.float32)
THRESHOLD = np.array([0, 1, 3], np.float32)
X = np.array([[3.0, 2.0]], np.float32)
"""Less ``b_dec`` it is [2, 2], so pre-activations are [2, 1, 4]; with it left in, [3, 1, 6]."""
CENTRED = {"standard": [2, 1, 4], "topk": [2, 0, 4], "jumprelu": [2, 0, 4]}
RAW = {"standard": [3, 1, 6], "jumprelu": [3, 0, 6]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))


@on_compute_thread
def encoded(dictionary: Dictionary) -> list[float]:
    return np.array(Applied.of(dictionary).encode(mx.array(X)))[0].tolist()


@on_compute_thread
def reconstructed(dictionary: Dictionary) -> list[float]:
    return np.array(Applied.of(dictionary).reconstruct(mx.array(X)))[0].tolist()


def saelens(folder, tensors, **config):
    folder.mkdir(parents=True)
    base = {"architecture": "standard", "d_in": 2, "d_sae": 3, "normalize_activations": "none"}
    base |= {"metadata": {"model_name": "m", "hook_name": "blocks.1.hook_resid_post"}}
    (folder / "cfg.json").write_text(json.dumps(base | config))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


OURS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}


def loaded(folder) -> Dictionary:
    return KEPT.load(formats.read(folder))


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("centred", [True, False])
def test_saelens(tmp_path, kind, centred):
    tensors = dict(OURS)
    config = {"architecture": kind, "apply_b_dec_to_input": centred}
    if kind == "jumprelu":
        tensors["threshold"] = THRESHOLD
    if kind == "topk":
        config |= {"k": 2, "rescale_acts_by_decoder_norm": False}
    found = loaded(saelens(tmp_path / "a", tensors, **config))
    expected = CENTRED[kind] if centred else RAW.get(kind, [3, 0, 6])
    assert encoded(found) == expected
    assert (found.card.part, found.card.layer, found.card.model) == ("resid_post", 1, "m")
    f = np.array(expected, np.float32)
    assert reconstructed(found) == (f @ W_DEC + B_DEC).tolist()


def test_saelens_gated(tmp_path):
    """Gates are [2, 2, 6] + [-1, -3, 0]; magnitudes twice the pre-activations, less 1."""
    tensors = {"W_enc": W_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
    tensors |= {"b_gate": np.array([-1, -3, 0], np.float32), "b_mag": np.full(3, -1, np.float32)}
    tensors |= {"r_mag": np.full(3, np.log(2), np.float32)}
    found = loaded(saelens(tmp_path / "a", tensors, architecture="gated"))
    assert encoded(found) == pytest.approx([3, 0, 11], abs=1e-5)


def test_saelens_top_k_chooses_by_what_is_written_where_it_says_so(tmp_path):
    """By norms [1, 2, 5] of the decoder's rows another latent is the largest."""
    small = {**OURS, "b_enc": np.array([3, -1, -5.5], np.float32)}  # pre-activations [5, 1, 0.5]
    one = {"architecture": "topk", "k": 1}
    plain = loaded(saelens(tmp_path / "a", small, **one))
    scaled = loaded(saelens(tmp_path / "b", small, **one, rescale_acts_by_decoder_norm=True))
    assert encoded(plain) == [5, 0, 0]
    assert encoded(scaled) == [5, 0, 0]
    other = {
        **OURS,
        "b_enc": np.array([0, -1, -4.5], np.float32),
    }  # [2, 1, 1.5], scaled [2, 2, 7.5]
    assert encoded(loaded(saelens(tmp_path / "c", other, **one))) == [2, 0, 0]
    chosen = loaded(saelens(tmp_path / "d", other, **one, rescale_acts_by_decoder_norm=True))
    assert encoded(chosen) == [0, 0, 7.5]
    assert reconstructed(chosen) == pytest.approx((1.5 * W_DEC[2] + B_DEC).tolist())


def test_saelens_before_version_6(tmp_path):
    """Names of their own, top k as an activation function, and a factor on features."""
    folder = tmp_path / "a"
    folder.mkdir()
    config = {"hook_point": "blocks.2.hook_mlp_out", "model_name": "old", "d_in": 2, "d_sae": 3}
    config |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}
    (folder / "cfg.json").write_text(json.dumps(config | {"normalize_activations": False}))
    tensors = {**OURS, "scaling_factor": np.array([1, 1, 2], np.float32)}
    save_file(tensors, folder / "sae_weights.safetensors")
    found = loaded(folder)
    assert (found.card.part, found.card.layer) == ("mlp_out", 2)
    assert encoded(found) == [2, 0, 4]
    assert reconstructed(found) == (2 * W_DEC[0] + 8 * W_DEC[2] + B_DEC).tolist()


def test_what_is_saved_for_saelens_reads_back(tmp_path):
    card = Card("m", "", 0, 0, "mlp_post", 1, "topk", 2, 3, k=2)
    folder = tmp_path / "a"
    folder.mkdir()
    for name, content in Dictionary(card, dict(OURS)).to_saelens().items():
        (folder / name).write_bytes(content)
    config = json.loads((folder / "cfg.json").read_text())
    assert config["metadata"]["hook_name"] == "blocks.1.mlp.hook_post"
    assert (config["d_in"], config["d_sae"], config["k"]) == (2, 3, 2)
    found = loaded(folder)
    assert encoded(found) == CENTRED["topk"]
    for name, value in OURS.items():
        np.testing.assert_array_equal(found.weights[name], value)


def test_sparsify_does_not_turn_its_decoder(tmp_path):
    folder = tmp_path / "layers.3.mlp"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 2, "d_in": 2}))
    tensors = {"encoder.weight": np.ascontiguousarray(W_ENC.T), "encoder.bias": B_ENC}
    save_file({**tensors, "W_dec": W_DEC, "b_dec": B_DEC}, folder / "sae.safetensors")
    found = loaded(folder)
    assert (found.card.part, found.card.layer) == ("mlp_out", 3)
    assert encoded(found) == CENTRED["topk"]
    assert reconstructed(found) == (2 * W_DEC[0] + 4 * W_DEC[2] + B_DEC).tolist()


@pytest.mark.parametrize(
    ("kind", "tensors", "expected"),
    [
        ("AutoEncoder", {"bias": B_DEC, "encoder.bias": B_ENC}, [2, 1, 4]),
        ("AutoEncoderNew", {"decoder.bias": B_DEC, "encoder.bias": B_ENC}, [3, 1, 6]),
        (
            "AutoEncoderTopK",
            {"b_dec": B_DEC, "encoder.bias": B_ENC, "k": np.array(2), "threshold": np.array(-1.0)},
            [2, 0, 4],
        ),
        (
            "BatchTopKSAE",
            {"b_dec": B_DEC, "encoder.bias": B_ENC, "k": np.array(9), "threshold": np.array(1.5)},
            [2, 0, 4],
        ),
        (
            "MatryoshkaBatchTopKSAE",
            {
                "W_enc": W_ENC,
                "W_dec": W_DEC,
                "b_dec": B_DEC,
                "b_enc": B_ENC,
                "threshold": np.array(1.5),
            },
            [2, 0, 4],
        ),
        (
            "JumpReluAutoEncoder",
            {
                "W_enc": W_ENC,
                "W_dec": W_DEC,
                "b_dec": B_DEC,
                "b_enc": B_ENC,
                "threshold": THRESHOLD,
            },
            [3, 0, 6],
        ),
        (
            "GatedAutoEncoder",
            {
                "decoder_bias": B_DEC,
                "gate_bias": np.array([-1, -3, 0], np.float32),
                "mag_bias": np.full(3, -1, np.float32),
                "r_mag": np.full(3, np.log(2), np.float32),
            },
            [3, 0, 11],
        ),
    ],
)
def test_dictionary_learning(tmp_path, torch_names, kind, tensors, expected):  # noqa: F811
    if "W_enc" not in tensors:
        linear = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T}
        tensors = {**tensors, **{n: np.ascontiguousarray(v) for n, v in linear.items()}}
    trainer = {
        "dict_class": kind,
        "layer": 2,
        "lm_name": "m",
        "submodule_name": "resid_post_layer_2",
    }
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    save(tmp_path / "ae.pt", tensors)
    found = loaded(tmp_path)
    assert encoded(found) == pytest.approx(expected, abs=1e-5)
    assert (found.card.part, found.card.layer) == ("resid_post", 2)
    np.testing.assert_array_equal(found.weights["W_dec"], W_DEC)


@pytest.mark.parametrize("upper", [True, False])
def test_gemma_scope(tmp_path, upper):
    folder = tmp_path / "layer_7" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    named = {("W_" if upper else "w_") + n: v for n, v in (("enc", W_ENC), ("dec", W_DEC))}
    np.savez(folder / "params.npz", **named, b_enc=B_ENC, b_dec=B_DEC, threshold=THRESHOLD)
    found = loaded(folder)
    assert (found.card.part, found.card.layer) == ("resid_post", 7)
    assert encoded(found) == RAW["jumprelu"]
    assert encoded(KEPT.load(formats.read(folder / "params.npz"))) == RAW["jumprelu"]


@pytest.mark.parametrize(
    ("point", "site"),
    [
        ("model.layers.22.output", ("resid_post", 22)),
        ("model.layers.3.post_feedforward_layernorm.output", ("mlp_out", 3)),
        ("model.layers.3.self_attn.o_proj.input", ("z", 3)),
    ],
)
def test_gemma_scope_2(tmp_path, point, site):
    config = {"architecture": "jump_relu", "model_name": "gemma-3-270m", "width": 3, "l0": 2}
    config |= {"hf_hook_point_in": point, "hf_hook_point_out": point}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC}
    save_file({**tensors, "threshold": THRESHOLD}, tmp_path / "params.safetensors")
    found = loaded(tmp_path)
    assert (found.card.part, found.card.layer) == site
    assert encoded(found) == RAW["jumprelu"]


def test_folding_a_scale_keeps_reconstructions():
    """What is trained on s x applies to x with biases and threshold divided by s (formats of SAELens)."""
    s = np.float32(3)
    card = Card("m", "", 0, 0, "resid_post", 0, "jumprelu", 2, 3)
    trained = Dictionary(card, {**OURS, "threshold": THRESHOLD})
    folded = {**OURS, "b_enc": B_ENC / s, "b_dec": B_DEC / s, "threshold": THRESHOLD / s}

    @on_compute_thread
    def both():
        x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
        by_scale = np.array(Applied.of(trained).reconstruct(mx.array(s * x))) / s
        return by_scale, np.array(Applied.of(Dictionary(card, folded)).reconstruct(mx.array(x)))

    np.testing.assert_allclose(*both(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"W_dec": W_DEC.T.copy()}, {}, r"W_dec has the shape \[2, 3\]; expected: \[3, 2\]"),
        ({"b_enc": np.array([0, np.nan, 0], np.float32)}, {}, "b_enc is not all finite"),
        ({"threshold": THRESHOLD}, {}, "it has threshold, which standard lacks"),
        ({}, {"d_sae": 4}, "its cfg.json says d_sae = 4"),
        ({}, {"architecture": "temporal"}, "its architecture is 'temporal'; accepted: standard"),
        ({}, {"normalize_activations": "layer_norm"}, "scaled by 'layer_norm'"),
        ({}, {"metadata": {"hook_name": "blocks.1.hook_q"}}, "its site is 'blocks.1.hook_q'"),
        ({}, {"architecture": "topk", "k": 9}, "its k is 9; accepted: from 1 to its 3"),
        ({}, {"architecture": "jumprelu"}, "it lacks threshold"),
    ],
)
def test_a_cfg_that_lies_or_is_not_read_is_refused(tmp_path, change, config, message):
    folder = saelens(tmp_path / "a", {**OURS, **change}, **config)
    with pytest.raises(ParameterError, match=message):
        formats.read(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation": "groupmax", "k": 2}, "its activation is 'groupmax'"),
        ({"transcode": True, "k": 2}, "says transcode"),
        ({"k": "many"}, "its config says k = 'many'"),
    ],
)
def test_what_sparsify_may_say_besides_is_refused(tmp_path, config, message):
    folder = tmp_path / "layers.3"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({"W_dec": W_DEC}, folder / "sae.safetensors")
    with pytest.raises(ParameterError, match=message):
        formats.read(folder)


def test_other_folders_and_sites_are_refused(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(ParameterError, match="it holds none of sae_weights"):
        formats.read(tmp_path / "x")
    with pytest.raises(ValueError, match="accepted: blocks"):
        site_of("blocks.x.hook_resid_post")
    assert site_of("blocks.12.hook_out") == ("resid_post", 12)
    config = {"architecture": "jump_relu", "hf_hook_point_in": "model.layers.1.output"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"hf_hook_point_out": "elsewhere"}))
    save_file({"w_enc": W_ENC}, tmp_path / "params.safetensors")
    with pytest.raises(ParameterError, match="writes 'elsewhere'"):
        formats.read(tmp_path)


def test_a_kept_file_reads_back_bit_for_bit_and_of_another_model_is_refused(tiny):
    info = tiny("llama").info
    card = Card(
        info.id, info.sha256, info.d_model, info.n_layers, "resid_post", 1, "standard", 2, 3
    )
    found = Dictionary(card, dict(OURS))
    again = Dictionary.from_bytes(found.to_bytes())
    assert again.card == card
    for name, value in OURS.items():
        np.testing.assert_array_equal(again.weights[name], value)
    name = KEPT.keep(found.to_bytes())
    assert sae.load_sae(name, info).card == card
    other = tiny("gpt2").info
    with pytest.raises(ParameterError, match="sae: it was trained on other weights"):
        sae.load_sae(name, other)
    with pytest.raises(ParameterError, match="sae: none ships for"):
        sae.load_sae("shipped", other)
    with pytest.raises(ValueError, match="its site is"):
        Dictionary.from_bytes(Dictionary(dataclasses.replace(card, layer=9), dict(OURS)).to_bytes())


def test_a_site_of_another_width_is_refused(tiny):
    model = tiny("llama")
    card = Card("m", "", 0, 0, "resid_post", 1, "standard", 2, 3)
    name = KEPT.keep(Dictionary(card, dict(OURS)).to_bytes())
    with pytest.raises(
        ParameterError, match="it reads 2 dimensions, and resid_post of layer 1 has"
    ):
        sae.run(model, sae.Params(sae=name, text="one two"))
    deep = dataclasses.replace(card, layer=40)
    name = KEPT.keep(Dictionary(deep, dict(OURS)).to_bytes())
    with pytest.raises(ParameterError, match="it is of layer 40"):
        sae.run(model, sae.Params(sae=name, text="one two"))


def test_layouts_are_told_by_their_files():
    assert set(formats._LAYOUTS.values()) == {
        layouts.saelens,
        layouts.sparsify,
        layouts.dictionary_learning,
        layouts.gemma_scope,
        layouts.gemma_scope_2,
    }
