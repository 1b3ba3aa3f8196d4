"""A config is computed as transformers does, or refused by name, before memory is taken."""

from __future__ import annotations

import json
import math
import random
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REFERENCE
from safetensors.numpy import load_file, save_file
from test_loading import copy_of, refusal, set_config

from interp_core import load_model
from interp_core.models.loading import ModelError

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 2000.0}

REFUSED = {
    "no width": ("llama", {"hidden_size": 0}, "hidden_size = 0: .*greater than or equal to 1"),
    "negative width": ("llama", {"intermediate_size": -5}, "intermediate_size = -5"),
    "no tokens": ("llama", {"vocab_size": 0}, "vocab_size = 0"),
    "negative tokens": ("llama", {"vocab_size": -1}, "vocab_size = -1"),
    "other tokens": ("llama", {"vocab_size": 300}, "vocab_size = 300, the weights 264"),
    "no heads": ("llama", {"num_attention_heads": 0}, "num_attention_heads = 0"),
    "a billion heads": ("llama", {"num_attention_heads": 10**9}, "num_attention_heads = 10+:"),
    "many heads": ("llama", {"num_attention_heads": 2**19}, "wider than 1,048,576"),
    "a million layers": ("llama", {"num_hidden_layers": 10**6}, "num_hidden_layers = 1000000"),
    "more layers": ("llama", {"num_hidden_layers": 10**12}, "num_hidden_layers = 10+:"),
    "layers": ("llama", {"num_hidden_layers": 900}, "has 900 layers, the weights 3"),
    "rope a text": ("llama", {"rope_scaling": "x"}, "rope_scaling = 'x'"),
    "rope unknown": ("llama", {"rope_scaling": {"type": "odd"}}, "rope_scaling = .*'odd' found"),
    "rope without factor": ("llama", {"rope_scaling": {"type": "linear"}}, "rope_scaling.*factor"),
    "rope key": ("llama", {"rope_parameters": {**YARN, "mrope_section": [1]}}, "mrope_section"),
    "rope part": ("llama", {"rope_parameters": {**YARN, "partial_rotary_factor": 0.5}}, "0.5 of a"),
    "theta a text": ("llama", {"rope_parameters": None, "rope_theta": "x"}, "rope_theta = 'x'"),
    "epsilon": ("llama", {"rms_norm_eps": 1e300}, "rms_norm_eps = 1e.300: .*less than or equal"),
    "window": ("llama", {"sliding_window": 4}, "'sliding_window' to 4, which is not known"),
    "pieces": ("llama", {"quantization_config": {"quant_method": "awq"}}, "config 'awq'; accepted"),
    "untied": ("gemma", {"tie_word_embeddings": False}, "but the weights hold none"),
    "caps": ("gemma3_text", {"attn_logit_softcapping": 2.0}, "'attn_logit_softcapping' to 2.0"),
    "both ways": ("gemma2", {"use_bidirectional_attention": True}, "'use_bidirectional_attention'"),
    "exact gelu": ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation = 'gelu'"),
    "unscaled": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
    "by layer": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True},
        "by_inverse_layer_idx' to True",
    ),
    "bias": ("qwen3", {"attention_bias": True}, "the weights lack .*k_proj.bias and 11 more"),
    "no bias": ("qwen3_biased", {"attention_bias": False}, "hold 'model.*k_proj.bias' and 7 more"),
    "head width": ("qwen2_wide", {"head_dim": 6}, "k_proj.* has shape .* in the weights"),
    "phi3 rope": ("phi3", {"rope_parameters": YARN}, "rope is yarn; accepted for phi3: longrope"),
    "neox base": (
        "gpt_neox",
        {"rope_theta": 500.0},
        "rope_theta is 500.0; accepted: as rotary_emb",
    ),
    "layer types": ("gemma2", {"layer_types": ["full_attention"]}, "names 1 of 3 layers"),
    "no window": ("gemma2", {"sliding_window": None}, "no sliding_window says how wide"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_to_be_right_is_refused_by_name(case, tmp_path):
    name, change, message = REFUSED[case]
    folder = copy_of(name, tmp_path / "model")
    set_config(**change)(folder)
    with pytest.raises(ModelError, match=message) as raised:
        load_model(folder)
    assert len(str(raised.value)) < 400 + len(str(folder)) and "\n" not in str(raised.value)


def test_keys_that_change_no_number_or_say_nothing_are_read_over(tmp_path):
    folder = copy_of("llama", tmp_path / "model")
    set_config(use_mrope=False, sliding_window=None, transformers_version="6", top_k=3)(folder)
    assert load_model(folder).info.n_layers == 3
    folder = copy_of("phi3_long", tmp_path / "phi4")  # whose configs say these
    set_config(full_attn_mod=1, interpolate_factor=1, lm_head_bias=False)(folder)
    assert load_model(folder).info.n_layers == 2


def test_weights_of_whole_numbers_are_refused(tmp_path):
    file = copy_of("llama", tmp_path / "model") / "model.safetensors"
    save_file({n: v.astype(np.int32) for n, v in load_file(file).items()}, file)
    assert "holds int32; accepted: floating point" in refusal(tmp_path / "model")


def test_unused_weights_are_refused_and_old_buffers_are_not(tmp_path):
    file = copy_of("qwen3", tmp_path / "model") / "model.safetensors"
    weights, ones = load_file(file), np.ones(4, np.float32)
    save_file({**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": ones}, file)
    assert load_model(tmp_path / "model").info.n_layers == 3
    save_file({**weights, "model.extra": ones}, file)
    assert "the weights hold 'model.extra', which config.json" in refusal(tmp_path / "model")


def test_positions_past_a_short_rope_are_no_context(tiny):
    assert tiny("phi3_long").info.context == 16
    assert tiny("phi3").info.context == 32


TOKENIZER_CONFIGS = {
    "a list": ([], "tokenizer_config.json holds a list; accepted: an object"),
    "a number": ({"bos_token": 3}, "tokenizer_config.json has bos_token.* = 3"),
    "no content": (
        {"eos_token": {"x": 1}},
        "tokenizer_config.json has eos_token.*",
    ),
    "template": ({"chat_template": {"a": "b"}}, "tokenizer_config.json has chat_template"),
}


@pytest.mark.parametrize("case", TOKENIZER_CONFIGS)
def test_odd_tokenizer_configs_are_refused(case, tmp_path):
    config, message = TOKENIZER_CONFIGS[case]
    folder = copy_of("llama", tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def add_token(folder: Path, text: str, special: bool) -> None:
    file = folder / "tokenizer.json"
    spec = json.loads(file.read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    spec["added_tokens"].append({"id": 264, "content": text, "special": special, **flags})
    file.write_text(json.dumps(spec))


def test_a_tokenizer_with_ids_that_the_model_lacks_is_refused(tmp_path):
    folder = copy_of("llama", tmp_path / "model")
    add_token(folder, "more", special=False)
    assert "tokenizer.json has ids up to 264, but the model has 264 tokens" in refusal(folder)


def test_special_tokens_of_larger_siblings_are_text(tmp_path):
    """As Gemma 3's image token, which its models for text do not embed."""
    folder = copy_of("llama", tmp_path / "model")
    add_token(folder, "<image>", special=True)
    tokenizer = load_model(folder).tokenizer
    assert max(tokenizer.encode("the <image>")) < 264
    assert tokenizer.encode("the cat") == load_model(REFERENCE / "llama").tokenizer.encode(
        "the cat"
    )


ODD = [
    *(None, True, False, -1, 0, 1, 3, 0.5, 1e300, -1e300, math.nan, math.inf),
    *(10**6, 10**12, 2**31, 2**63, 10**30, "x", "", "\ud800", [], {}, [1], [[]], {"a": 1}),
    *({"rope_type": "yarn"}, {"type": []}, {"rope_type": "linear", "factor": 0}),
    {"rope_type": "llama3", "factor": 1e300},
]
MORE_KEYS = [
    *("rope_scaling", "rope_parameters", "rope_theta", "quantization", "quantization_config"),
    *("layer_types", "head_dim", "sliding_window", "tie_word_embeddings", "text_config"),
]
CONFIGS = ("config.json", "tokenizer_config.json")
FUZZED = [
    *("llama_yarn", "mistral_windowed", "qwen2_windowed", "qwen3_biased", "phi3_long", "gemma"),
    *("gemma2", "gemma3_scaled", "olmo2", "gpt2", "gpt_neox_scaled"),
]


def mutated(settings: dict, draw: random.Random) -> object:
    """Return settings with one to three values, some of them nested, replaced by odd ones."""
    if draw.random() < 0.02:
        return draw.choice(ODD)
    settings = dict(settings)
    for _ in range(draw.choice((1, 1, 2, 3))):
        key = draw.choice([*settings, *MORE_KEYS])
        inner = settings.get(key)
        if isinstance(inner, dict) and inner and draw.random() < 0.7:
            settings[key] = {**inner, draw.choice(list(inner)): draw.choice(ODD)}
        else:
            settings[key] = draw.choice(ODD)
    return settings


@pytest.mark.parametrize("name", FUZZED)
def test_odd_values_load_or_are_refused_in_one_line(name, tmp_path):
    draw = random.Random(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = copy_of(name, tmp_path / "model")
    files = {file: json.loads((folder / file).read_text()) for file in CONFIGS}
    outcomes = set()
    for changed in draw.choices(CONFIGS, weights=(4, 1), k=30):
        for file, settings in files.items():
            odd = mutated(settings, draw) if file == changed else settings
            (folder / file).write_text(json.dumps(odd))
        try:
            load_model(folder)
            outcomes.add("loaded")
        except ModelError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 2**28
