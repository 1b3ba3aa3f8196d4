"""The tokenizer that a GGUF file's metadata describes, as Hugging Face's ``tokenizers`` has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from interp_core.models.gguf.reader import short

_NORMAL, _CONTROL, _USER = 1, 3, 4  # llama.cpp's types of tokens
_SPACE = "\u2581"


def tokenizer(metadata: dict[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """Return the tokenizer, and what ``tokenizer_config.json`` says of it.

    Raises:
        ValueError: When it is of an unknown kind, or its parts do not fit each other.
    """
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind[0] not in ("gpt2", "llama") or (kind[0] == "gpt2" and kind[1] != "smollm"):
        raise ValueError(
            f"its tokenizer is {short(kind)}; accepted: SentencePiece's ('llama') and SmolLM's ('gpt2', 'smollm')"
        )
    tokens = _texts(metadata, "tokens")
    types = _numbers(metadata, "token_type", len(tokens))
    if len(set(tokens)) < len(tokens):
        raise ValueError("its tokenizer has a token twice")
    build = _byte_level if kind[0] == "gpt2" else _sentencepiece
    try:
        built = build(tokens, types, metadata)
    except ValueError:
        raise
    except Exception as error:  # the Rust side raises plain Exception
        raise ValueError(f"its tokenizer cannot be built: {error}") from None
    built.add_special_tokens(
        [
            AddedToken(token, special=True)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ == _CONTROL
        ]
    )
    bos = _named(metadata, "bos", tokens)
    if metadata.get("tokenizer.ggml.add_bos_token", kind[0] == "llama"):
        id_ = tokens.index(bos)
        built.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, id_)]
        )
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str | None):
        raise ValueError("tokenizer.chat_template is no text")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": template,
        "bos_token": bos,
        "eos_token": _named(metadata, "eos", tokens),
    }
    return built, config


def _byte_level(tokens: list[str], types: np.ndarray, metadata: dict[str, Any]) -> Tokenizer:
    """Build SmolLM's tokenizer: byte-level BPE over single digits."""
    merges: list[Any] = [tuple(merge.split(" ")) for merge in _texts(metadata, "merges")]
    if any(len(pair) != 2 for pair in merges):
        raise ValueError("its tokenizer has a merge that is not two tokens")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    built = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    return built


def _sentencepiece(tokens: list[str], types: np.ndarray, metadata: dict[str, Any]) -> Tokenizer:
    """Build SentencePiece's BPE: it joins whatever makes the token of the highest score first."""
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        raise ValueError("its tokenizer puts a space before every text, which is not supported")
    scores = _numbers(metadata, "scores", len(tokens))
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [
        (tokens[i][:cut], tokens[i][cut:])
        for i in np.argsort(-scores, kind="stable")
        if types[i] == _NORMAL
        for cut in range(1, len(tokens[i]))
        if tokens[i][:cut] in vocabulary and tokens[i][cut:] in vocabulary
    ]
    built = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=_named(metadata, "unknown", tokens),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    built.normalizer = normalizers.Replace(" ", _SPACE)
    built.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    # What the model's makers defined is found before any merge, in text whose spaces are replaced.
    built.add_tokens(
        [
            AddedToken(token, normalized=True)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ == _USER
        ]
    )
    return built


def _texts(metadata: dict[str, Any], name: str) -> list[str]:
    value = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(value, list) or not value:
        raise ValueError(f"tokenizer.ggml.{name} is no list of texts")
    return value


def _numbers(metadata: dict[str, Any], name: str, length: int) -> np.ndarray:
    value = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(value, np.ndarray) or len(value) != length:
        raise ValueError(f"tokenizer.ggml.{name} is no list of {length} numbers, one a token")
    return value


def _named(metadata: dict[str, Any], name: str, tokens: list[str]) -> str:
    """Return the token that stands for ``name``: bos, eos or unknown."""
    id_ = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if type(id_) is not int or not 0 <= id_ < len(tokens):
        raise ValueError(
            f"tokenizer.ggml.{name}_token_id is {short(id_)}; accepted: the id of a token"
        )
    return tokens[id_]
