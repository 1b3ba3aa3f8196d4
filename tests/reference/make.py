"""Write tiny random checkpoints of every supported architecture with the activations transformers computes on them.

Each folder next to this file is one variant: `config.json`, `model.safetensors` (or shards with an index),
`tokenizer.json`, `tokenizer_config.json`, and `expected.safetensors` with

    tokens         int32 [2, 14]
    logits         [2, 14, vocab]
    resid_pre.L    [2, 14, d_model]   residual stream entering block L (for L = 0, the embedding)
    attn_out.L     [2, 14, d_model]   what attention adds to the stream, after a post-norm if the family has one
    mlp_out.L      [2, 14, d_model]   the same for the MLP
    resid_post.L   [2, 14, d_model]   residual stream leaving block L
    z.L            [2, 14, n_heads * head_dim]   input of the attention output projection
    pattern.L      [2, n_heads, 14, 14]          attention probabilities

Weights and activations are float32. Run `python tests/reference/make.py [variant ...]` in an environment with
`tests/reference/requirements.txt`; without arguments every variant is rewritten.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

HERE = Path(__file__).parent
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "a")]
VOCAB = len(SPECIALS) + 256 + len(MERGES)
BATCH, SEQ = 2, 14
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# 24 = 4 heads x 6, for families whose configuration has no head_dim. The large epsilon makes it matter.
PLAIN = dict(
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    rms_norm_eps=1e-3,
)
WIDE = PLAIN | dict(head_dim=8)  # 4 heads x 8 is not hidden_size
THREE_HEADS = PLAIN | dict(num_attention_heads=3, num_key_value_heads=1)  # head_dim 8
GEMMA = WIDE | dict(num_key_value_heads=1)
GEMMA3 = GEMMA | dict(num_hidden_layers=3, sliding_window=5, query_pre_attn_scalar=10)
GPT2 = dict(n_embd=24, n_inner=32, n_layer=2, n_head=4, n_positions=32, layer_norm_epsilon=1e-3)
NEOX = THREE_HEADS | dict(hidden_act="gelu", layer_norm_eps=1e-3)
del NEOX["num_key_value_heads"], NEOX["rms_norm_eps"]
DEEP = dict(num_hidden_layers=3)


def rope(theta, **more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=float(theta)) | more)


def gemma3_rope(global_theta, local_theta, **scaled):
    """Scaling of either kind of layer goes by its name."""
    thetas = dict(full_attention=global_theta, sliding_attention=local_theta)
    return dict(
        rope_parameters={
            kind: rope(theta, **scaled.get(kind, {}))["rope_parameters"]
            for kind, theta in thetas.items()
        }
    )


# Of the four frequencies one is kept, one smoothed and two divided by the factor.
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
LLAMA3_ROPE = rope(2000, **LLAMA3, original_max_position_embeddings=64)

LINEAR = dict(rope_type="linear", factor=4.0)
# Frequencies are interpolated from the first to the last, not at its ends only.
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
YARN |= dict(beta_fast=2.0, beta_slow=0.2)
LONG = dict(rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 3.0])

TIED, UNTIED = dict(tie_word_embeddings=True), dict(tie_word_embeddings=False)

# name: (model_type, configuration in the transformers 5 form)
VARIANTS = {
    "llama": ("llama", PLAIN | DEEP | TIED),
    "llama_untied": ("llama", WIDE | UNTIED | dict(attention_bias=True, mlp_bias=True)),
    "llama_rope_scaled": ("llama", WIDE | TIED | LLAMA3_ROPE | dict(max_position_embeddings=512)),
    "llama_v4": ("llama", PLAIN | TIED | rope(500000)),
    "llama_sharded": ("llama", PLAIN | UNTIED),
    "llama_yarn": ("llama", WIDE | TIED | rope(2000, **YARN, attention_factor=0.6)),
    "mistral": ("mistral", WIDE | UNTIED | dict(sliding_window=None)),
    "mistral_windowed": ("mistral", WIDE | TIED | dict(sliding_window=5)),
    "qwen2": ("qwen2", PLAIN | DEEP | TIED),
    "qwen2_windowed": (
        "qwen2",
        PLAIN | UNTIED | dict(use_sliding_window=True, sliding_window=5, max_window_layers=1),
    ),
    "qwen2_wide": ("qwen2", PLAIN | TIED | dict(head_dim=8) | rope(2000, **LINEAR)),
    "qwen3": ("qwen3", WIDE | DEEP | UNTIED),
    "qwen3_tied": ("qwen3", WIDE | TIED),
    "qwen3_v4": ("qwen3", WIDE | TIED | rope(500000)),
    "qwen3_biased": (
        "qwen3",
        (WIDE | TIED | dict(attention_bias=True))
        | rope(2000, **YARN, mscale=1.5, mscale_all_dim=0.7, truncate=False),
    ),
    "gemma": ("gemma", GEMMA | DEEP),
    "gemma_untied": ("gemma", GEMMA | UNTIED | dict(attention_bias=True)),
    "gemma2": (
        "gemma2",
        (GEMMA | DEEP | dict(sliding_window=5, query_pre_attn_scalar=12))
        | dict(attn_logit_softcapping=2.0, final_logit_softcapping=2.0),
    ),
    "gemma2_uncapped": (
        "gemma2",
        (GEMMA | UNTIED | dict(sliding_window=5, attention_bias=True, query_pre_attn_scalar=12))
        | dict(attn_logit_softcapping=None, final_logit_softcapping=None),
    ),
    "gemma3_text": (
        "gemma3_text",
        (GEMMA3 | gemma3_rope(20000, 500))
        | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    ),
    "gemma3_untied": (
        "gemma3_text",
        (GEMMA3 | UNTIED | gemma3_rope(1000000, 10000))
        | dict(layer_types=["full_attention", "sliding_attention", "sliding_attention"]),
    ),
    "gemma3_scaled": (
        "gemma3_text",
        (GEMMA3 | dict(attention_bias=True))
        | gemma3_rope(20000, 500, full_attention=LINEAR, sliding_attention=YARN)
        | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    ),
    "gemma3_v4": (
        "gemma3_text",
        (GEMMA3 | gemma3_rope(20000, 500))
        | dict(layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
    ),
    "olmo2": ("olmo2", PLAIN | DEEP | UNTIED),
    "olmo2_tied": ("olmo2", PLAIN | TIED),
    "olmo2_v4": ("olmo2", PLAIN | TIED | rope(500000)),
    "phi3": ("phi3", THREE_HEADS | DEEP | UNTIED | rope(10000, partial_rotary_factor=0.5)),
    "phi3_tied": ("phi3", THREE_HEADS | TIED),
    "phi3_long": (
        "phi3",
        (THREE_HEADS | TIED | dict(max_position_embeddings=64))
        | dict(original_max_position_embeddings=16)
        | rope(2000, partial_rotary_factor=0.5, **LONG),
    ),
    "phi3_v4": ("phi3", THREE_HEADS | TIED | rope(500, partial_rotary_factor=0.5)),
    "gpt2": ("gpt2", GPT2 | dict(n_layer=3)),
    "gpt2_bare": ("gpt2", GPT2 | dict(n_inner=None)),
    "gpt2_untied": ("gpt2", GPT2 | UNTIED),
    "gpt2_relu": ("gpt2", GPT2 | UNTIED | dict(activation_function="relu")),
    "gpt_neox": ("gpt_neox", NEOX | DEEP | rope(10000, partial_rotary_factor=0.25)),
    "gpt_neox_scaled": (
        "gpt_neox",
        NEOX | dict(attention_bias=False) | rope(500, partial_rotary_factor=0.5, **LINEAR),
    ),
    "gpt_neox_v4": ("gpt_neox", NEOX | rope(500, partial_rotary_factor=0.5)),
    "gpt_neox_sequential": (
        "gpt_neox",
        NEOX | rope(500, partial_rotary_factor=0.5) | dict(use_parallel_residual=False),
    ),
    "gpt_neox_tied": ("gpt_neox", NEOX | TIED | rope(10000, partial_rotary_factor=0.25)),
}

# Variants whose config.json is rewritten to the transformers 4 form: (keys removed, keys added).
LEGACY_CONFIG = {
    "llama_v4": (["head_dim"], dict(rope_theta=500000.0, rope_scaling=None)),
    "qwen3_v4": ([], dict(rope_theta=500000, rope_scaling=None)),
    "gemma3_v4": (
        ["_sliding_window_pattern", "use_bidirectional_attention"],
        dict(
            rope_theta=20000, rope_local_base_freq=500, rope_scaling=None, sliding_window_pattern=3
        ),
    ),
    "olmo2_v4": ([], dict(rope_theta=500000, rope_scaling=None)),
    "phi3_v4": ([], dict(rope_theta=500.0, rope_scaling=None, partial_rotary_factor=0.5)),
    "gpt2_bare": (["tie_word_embeddings", "add_cross_attention", "pad_token_id"], dict(n_ctx=32)),
    "gpt_neox_v4": (["attention_bias", "is_decoder"], dict(rotary_emb_base=500, rotary_pct=0.5)),
}


def build(model_type, settings):
    """A model in which every weight, gain and bias is random, so that each of them shows in the output."""
    torch.manual_seed(0)
    ids = dict(bos_token_id=0, eos_token_id=2, pad_token_id=0)
    config = AutoConfig.for_model(model_type, vocab_size=VOCAB, **ids, **settings)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(0.25 * noise if parameter.ndim > 1 else parameter + 0.2 * noise)
    return model


def first(output):
    return output[0] if isinstance(output, tuple) else output


def record(model, tokens):
    """The reference activations of one forward pass."""
    found = {}

    def keep(name, tensor):
        assert name not in found, name
        found[name] = tensor.detach().clone()

    def on_input(module, name):
        module.register_forward_pre_hook(lambda _, args: keep(name, args[0]))

    def on_output(module, name, pick=first):
        module.register_forward_hook(lambda _, args, output: keep(name, pick(output)))

    body = model.base_model
    for index, block in enumerate(body.h if hasattr(body, "h") else body.layers):
        attention = next(
            getattr(block, n) for n in ("self_attn", "attention", "attn") if hasattr(block, n)
        )
        projection = next(
            getattr(attention, n) for n in ("o_proj", "dense", "c_proj") if hasattr(attention, n)
        )
        post_norms = hasattr(block, "post_feedforward_layernorm")
        on_input(block, f"resid_pre.{index}")
        on_output(block, f"resid_post.{index}")
        on_input(projection, f"z.{index}")
        on_output(attention, f"pattern.{index}", pick=lambda output: output[1])
        on_output(block.post_attention_layernorm if post_norms else attention, f"attn_out.{index}")
        on_output(block.post_feedforward_layernorm if post_norms else block.mlp, f"mlp_out.{index}")
    with torch.no_grad():
        keep("logits", model(tokens, use_cache=False).logits)

    for index in range(model.config.num_hidden_layers):
        total = found[f"resid_pre.{index}"] + found[f"attn_out.{index}"] + found[f"mlp_out.{index}"]
        torch.testing.assert_close(total, found[f"resid_post.{index}"], rtol=0, atol=1e-5)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def make_legacy(name, folder):
    """Rewrite config.json to its transformers 4 form, and the weights where old checkpoints named them differently."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    removed, added = LEGACY_CONFIG[name]
    for key in ["rope_parameters", "layer_types", *removed]:
        config.pop(key, None)
    config |= added | dict(torch_dtype=config.pop("dtype"), transformers_version="4.46.0")
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")

    weights = load_file(folder / "model.safetensors")
    if name == "gpt2_bare":
        mask = torch.ones(config["n_ctx"], config["n_ctx"]).tril()[None, None]
        weights = {key.removeprefix("transformer."): tensor for key, tensor in weights.items()}
        weights |= {f"h.{index}.attn.bias": mask.clone() for index in range(config["n_layer"])}
    elif name == "gpt_neox_v4":
        size = config["max_position_embeddings"]
        rotary = int(config["hidden_size"] // config["num_attention_heads"] * config["rotary_pct"])
        frequencies = config["rotary_emb_base"] ** -(torch.arange(0, rotary, 2) / rotary)
        for index in range(config["num_hidden_layers"]):
            attention = f"gpt_neox.layers.{index}.attention."
            weights[attention + "bias"] = torch.ones(size, size, dtype=torch.bool).tril()[
                None, None
            ]
            weights[attention + "masked_bias"] = torch.tensor(-1e9)
            weights[attention + "rotary_emb.inv_freq"] = frequencies.clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = SPECIALS + alphabet + [left + right for left, right in MERGES]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIALS]
    )
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = dict(
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token=SPECIALS[0],
        eos_token=SPECIALS[2],
        pad_token=SPECIALS[0],
        model_max_length=32,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def check_reload(folder, tokens, logits):
    """The folder as written must give the recorded logits."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(tokens).logits, logits, rtol=0, atol=1e-5)


def write(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = build(*VARIANTS[name])
    tokens = torch.randint(
        len(SPECIALS), VOCAB, (BATCH, SEQ), generator=torch.Generator().manual_seed(1)
    )
    expected = record(model, tokens)
    model.save_pretrained(folder, max_shard_size="40KB" if name == "llama_sharded" else "5GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name in LEGACY_CONFIG:
        make_legacy(name, folder)
    write_tokenizer(folder)
    check_reload(folder, tokens, expected["logits"])
    save_file({"tokens": tokens.to(torch.int32), **expected}, folder / "expected.safetensors")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{name:20} {size / 1000:6.0f} kB")
    return size


if __name__ == "__main__":
    disable_progress_bar()
    sizes = [write(name) for name in sys.argv[1:] or VARIANTS]
    print(f"{len(sizes)} variants, {sum(sizes) / 1e6:.2f} MB")
