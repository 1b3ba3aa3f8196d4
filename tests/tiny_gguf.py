"""Tiny random checkpoints, as a Hugging Face folder and as the GGUF file that llama.cpp makes of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
from conftest import REFERENCE
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

F32, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "gemma3": gguf.MODEL_ARCH.GEMMA3}
D, MLP, HEAD = 64, 96, 32
HEADS = {"llama": (2, 1), "gemma3": (2, 1)}
LAYERS = {"llama": 2, "gemma3": 7}  # the sixth of Gemma's sees everything
TEXT = Path(__file__).read_text() + "Voilà – naïve, 東京 and 東京.\n" * 3


def byte_level() -> dict:
    """SmolLM's kind of tokenizer, as llama.cpp's keys."""
    spec = json.loads((REFERENCE / "llama" / "tokenizer.json").read_text())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in spec["merges"]],
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
    }


def sentencepiece_model() -> sentencepiece.SentencePieceProcessor:
    """Train SentencePiece's BPE with byte fallback and defined pieces on a little text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=model,
        vocab_size=480,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["<turn>", "\n", "\n\n", "\u2581\u2581"],
        character_coverage=0.98,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def keys_of(model: sentencepiece.SentencePieceProcessor) -> dict:
    """What llama.cpp's converter writes of a SentencePiece model."""
    tokens, types = [], []
    for i in range(model.vocab_size()):
        piece, defined = model.id_to_piece(i), model.is_control(i)
        kind = 3 if defined else 2 if model.is_unknown(i) else 6 if model.is_byte(i) else 1
        if piece in ("<turn>", "\n", "\n\n", "\u2581\u2581"):
            kind, piece = 4, piece.replace("\u2581", " ")
        tokens.append(piece)
        types.append(kind)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [float(model.get_score(i)) for i in range(len(tokens))],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
        "tokenizer.ggml.add_space_prefix": False,
    }


def checkpoint(family: str, tokens: int, kind=F32) -> tuple[dict, dict[str, np.ndarray]]:
    """A random checkpoint's config and weights, such that ``kind`` holds them exactly."""
    heads, kv_heads = HEADS[family]
    rng = np.random.default_rng(5)
    rows = {
        "self_attn.q_proj": (heads * HEAD, D),
        "self_attn.k_proj": (kv_heads * HEAD, D),
        "self_attn.v_proj": (kv_heads * HEAD, D),
        "self_attn.o_proj": (D, heads * HEAD),
        "mlp.gate_proj": (MLP, D),
        "mlp.up_proj": (MLP, D),
        "mlp.down_proj": (D, MLP),
        "input_layernorm": (D,),
        "post_attention_layernorm": (D,),
    }
    config = {
        "model_type": family,
        "hidden_size": D,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS[family],
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": HEAD,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0,
        "tie_word_embeddings": True,
        "vocab_size": tokens,
    }
    if family == "gemma3":
        rows |= dict.fromkeys(["pre_feedforward_layernorm", "post_feedforward_layernorm"], (D,))
        rows |= dict.fromkeys(["self_attn.q_norm", "self_attn.k_norm"], (HEAD,))
        config |= {
            "model_type": "gemma3_text",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": HEAD,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 6,
            "sliding_window_pattern": 6,
        }
    shapes = {"model.embed_tokens.weight": (tokens, D), "model.norm.weight": (D,)}
    shapes |= {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(LAYERS[family])
        for name, shape in rows.items()
    }
    weights = {}
    for name, shape in shapes.items():
        array = rng.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) > 1:
            array = dequantize(quantize(array, kind), kind)
        weights[name] = np.ascontiguousarray(array)
    return config, weights


def write_folder(folder: Path, config: dict, weights: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_gguf(
    file: Path, config: dict, weights: dict[str, np.ndarray], keys: dict, kind=F32
) -> Path:
    """Write the file as llama.cpp's converter does; ``keys`` are the tokenizer's, and any others."""
    family = config["model_type"].removesuffix("_text")
    heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(file, keys.pop("general.architecture", family))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads[0])
    writer.add_head_count_kv(heads[1])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    if family == "gemma3":
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_sliding_window(config["sliding_window"])
    for key, value in keys.items():
        writer.add_key_value(key, value, *_types(value))
    names = gguf.get_tensor_name_map(ARCHITECTURES[family], config["num_hidden_layers"])
    for name, value in weights.items():
        if family == "gemma3" and name.endswith("norm.weight"):
            value = value + 1
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            value = _paired(value, heads["k_proj" in name])
        if value.ndim > 1:
            value = quantize(value, kind)
        raw = kind if value.ndim > 1 else F32
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), value, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _types(value) -> tuple:
    kinds = gguf.GGUFValueType
    if not isinstance(value, list):
        return (kinds.get_type(value) if not isinstance(value, int) else kinds.UINT32,)
    return kinds.ARRAY, kinds.INT32 if isinstance(value[0], int) else kinds.get_type(value[0])


def _paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Put a head's rotary rows side by side in pairs, as llama.cpp wants them."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)
