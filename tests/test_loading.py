"""Folders, files and ids become checked models, or one line that says why not."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import mlx.core as mx
import mlx_lm.utils
import numpy as np
import pytest
from conftest import CHECKPOINTS, REFERENCE
from mlx.utils import tree_flatten
from mlx_lm.models import llama

from interp_core import load_model
from interp_core.models import (
    architectures,
    catalogue,
    checkpoint,
    dialects,
)
from interp_core.models.loading import ModelError
from interp_core.papers import logit_lens
from interp_core.params import ParameterError
from interp_core.runtime import on_compute_thread

QUANTISED = {
    "llama_4bit_tied": (True, 4, "affine"),
    "llama_8bit_untied": (False, 8, "affine"),
    "llama_mxfp4_tied": (True, 4, "mxfp4"),
}
TOKENS = np.random.default_rng(3).integers(3, 264, (2, 14))


@on_compute_thread
def write_mlx_folder(folder, tied: bool, bits: int | None = None, mode: str = "affine") -> None:
    """Write a random Llama in mlx-lm's layout, quantised when ``bits``."""
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "vocab_size": 264,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 32,
        "tie_word_embeddings": tied,
    }
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    model.load_weights(
        [
            (n, 0.3 * mx.random.normal(v.shape) + (v.ndim == 1))
            for n, v in tree_flatten(model.parameters())
        ]
    )
    if bits:
        model, config = mlx_lm.utils.quantize_model(model, config, 32, bits, mode)
    mlx_lm.utils.save_model(folder, model)
    mlx_lm.utils.save_config(config, folder / "config.json")


@on_compute_thread
def logits(model) -> np.ndarray:
    return np.array(model.stream.run(mx.array(TOKENS)).logits)


def copy_of(name: str, folder: Path) -> Path:
    return shutil.copytree(REFERENCE / name, folder)


def refusal(name) -> str:
    """Return the one line with which a model is refused."""
    with pytest.raises(ModelError) as raised:
        load_model(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


WRONG_NORMS = {
    "llama": {"mlp_norm": "input_layernorm"},
    "mistral": {"attn_norm": None},
    "qwen2": {"attn_norm": "post_attention_layernorm"},
    "qwen3": {"mlp_norm": None},
    "phi3": {"attn_norm": "post_attention_layernorm"},
    "gemma": {"scaled_embedding": False},
    "gemma2": {"attn_out_norm": None},
    "gemma3_text": {"mlp_out_norm": "post_attention_layernorm"},
    "olmo2": {"mlp_out_norm": None},
    "gpt2": {"mlp_norm": "ln_1"},
    "gpt_neox": {"mlp_norm": None},
}


@pytest.mark.parametrize("name", WRONG_NORMS)
def test_a_wrong_row_of_the_table_fails_the_self_check(name, monkeypatch):
    right = architectures.ARCHITECTURES[name]
    load_model(REFERENCE / name)
    wrong = dataclasses.replace(right, **WRONG_NORMS[name])
    monkeypatch.setitem(architectures.ARCHITECTURES, name, wrong)
    assert "departs from mlx-lm's forward" in refusal(REFERENCE / name)


def test_unknown_names_list_what_is_accepted():
    message = refusal("no-such-model")
    for accepted in ("SmolLM2-135M-Instruct", "gpt2", "hub id", "folder", ".gguf"):
        assert accepted in message


def without(file: str):
    return lambda folder: (folder / file).unlink()


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def set_config(**entries):
    return lambda folder: (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | entries)
    )


BROKEN_FOLDERS = {
    "no weights": (without("model.safetensors"), "holds no model.*safetensors"),
    "pickle only": (pickled, "never unpickled"),
    "no config": (without("config.json"), "has no config.json"),
    "cut short": (cut_short, "model.safetensors is damaged or cut short"),
    "not safetensors": (write("model.safetensors", "<html>"), "damaged or cut short"),
    "config no JSON": (write("config.json", "{"), "config.json is not JSON"),
    "config a list": (write("config.json", "[]"), "config.json holds a list; accepted: an object"),
    "no family": (write("config.json", "{}"), "config.json names no model_type"),
    "family": (
        set_config(model_type="mamba"),
        "'mamba' is not supported; supported: llama, .*neox",
    ),
    "activation": (set_config(hidden_act="relu"), "hidden_act = 'relu': input should be 'silu' or"),
    "layers": (set_config(num_hidden_layers=None), "num_hidden_layers = None: .*integer"),
    "shapes": (
        set_config(hidden_size=32),
        "embed_tokens.weight has shape .264, 24. in the weights, .264, 32.",
    ),
    "more layers": (set_config(num_hidden_layers=4), "config.json has 4 layers, the weights 3"),
    "experts": (
        set_config(num_local_experts=8),
        "sets 'num_local_experts' to 8, which is not known to be",
    ),
    "tokenizer": (write("tokenizer.json", "{}"), "not a readable tokenizer"),
    "code": (set_config(model_file="evil.py"), "cannot be loaded: .*evil.py"),
}


@pytest.mark.parametrize("case", BROKEN_FOLDERS)
def test_broken_folders_are_refused(case, tmp_path):
    change, message = BROKEN_FOLDERS[case]
    folder = copy_of("llama", tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change(folder)
    assert re.search(message, refused := refusal(folder)), refused
    assert not (tmp_path / "ran").exists()


def test_a_model_without_tokenizer_runs_ids_only(tmp_path):
    folder = copy_of("llama", tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    model = load_model(folder)
    np.testing.assert_array_equal(logits(model), logits(load_model(REFERENCE / "llama")))
    with pytest.raises(
        ParameterError, match=r"^model: .*model has no tokenizer.json; text needs one$"
    ):
        logit_lens.run(model, logit_lens.Params(prompt="a"))


@on_compute_thread
def save_as_mlx(name: str, folder: Path) -> None:
    """Save a checkpoint as ``mlx_lm.convert`` does: sanitised weights, mlx-lm's names."""
    config = checkpoint.read_config(REFERENCE / name)
    model = dialects.build(config)
    checkpoint.load_weights(model, config, REFERENCE / name)
    mlx_lm.utils.save_model(folder, model)
    said = json.loads((REFERENCE / name / "config.json").read_text())
    mlx_lm.utils.save_config(said, folder / "config.json")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_an_mlx_folder_gives_the_same_logits(name, tmp_path):
    save_as_mlx(name, tmp_path / "mlx")
    found, expected = load_model(tmp_path / "mlx"), load_model(REFERENCE / name)
    np.testing.assert_allclose(logits(found), logits(expected), atol=1e-5)


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_folders_load(name, tmp_path):
    write_mlx_folder(tmp_path / name, *QUANTISED[name])
    write_mlx_folder(tmp_path / "whole", QUANTISED[name][0])
    model, whole = load_model(tmp_path / name), load_model(tmp_path / "whole")
    bits = QUANTISED[name][1]
    assert model.info.weights == f"{bits}-bit" and model.info.dtype == "float32"
    found, expected = logits(model), logits(whole)
    correlation = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert {4: 0.5, 8: 0.99}[bits] < correlation < 0.999999


@pytest.mark.parametrize("error", [OSError("offline"), ConnectionError("refused\nsecond line")])
def test_no_network_is_one_clear_line(error, monkeypatch):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    for name in ("some-org/some-model", "pythia-70m"):
        message = refusal(name)
        assert "could not be fetched from the hub" in message and "no network" in message
        assert "second line" not in message


def test_what_was_loaded_can_be_named(tmp_path):
    info = load_model(copy_of("gpt2", tmp_path / "mine")).info
    known = catalogue.find(info.id.upper())
    assert (known.fingerprint, known.n_layers, known.context) == (info.fingerprint, 3, 32)
    assert load_model(info.id).info == dataclasses.replace(info)
    assert info.n_heads == 4 and info.d_model == 24 and info.d_vocab == 264


def test_the_default_model(model):
    shipped = catalogue.find(catalogue.DEFAULT)
    assert model.info.fingerprint == shipped.fingerprint
    assert (model.info.n_layers, model.info.context) == (shipped.n_layers, shipped.context)
    assert model.info.weights == "4-bit (GGUF Q4_1)"
