"""The paper's model, small: a one-layer transformer on bytes, as a folder that any question opens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.params import TransformerParams
from interp_core.results import Provenance, Result

CONTEXT, D_MODEL, HEADS = 128, 128, 4
BETWEEN = "<|endoftext|>"
D_VOCAB = 257
"""Bytes, and the token between documents."""


def config(d_mlp: int) -> dict[str, Any]:
    """Return the ``config.json`` of such a model: GPT-2's, of one layer, with ReLU."""
    return {
        "model_type": "gpt2",
        "activation_function": "relu",
        "n_layer": 1,
        "n_embd": D_MODEL,
        "n_head": HEADS,
        "n_inner": d_mlp,
        "n_positions": CONTEXT,
        "vocab_size": D_VOCAB,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": False,
    }


def tokenizer() -> Tokenizer:
    """Return its tokenizer: a byte a token, and one between documents."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(models.BPE(vocab={each: i for i, each in enumerate(alphabet)}, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([BETWEEN])
    return built


@dataclass(frozen=True, eq=False)
class Transformer(Result):
    """The training of the paper's model; NaN where it has not come to yet."""

    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS}

    params: TransformerParams
    provenance: Provenance
    seconds: float
    checkpoints: Annotated[np.ndarray, "checkpoint"]
    """Training steps done."""
    loss: Annotated[np.ndarray, "checkpoint"]
    """Cross-entropy of held-out text, nats a byte."""
    names: Annotated[tuple[str, ...], "weight"]
    sizes: Annotated[np.ndarray, "weight two"]
    """Of each weight; the second is 0 of a vector."""
    weights: Annotated[np.ndarray, "number"]
    """All of them, one after another, float32; empty while it is trained."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """``training``: held-out loss by checkpoint."""
        frame = pd.DataFrame({"step": self.checkpoints, "loss": self.loss})
        return {"training": frame.dropna()}

    @property
    def summary(self) -> dict[str, Any]:
        """How well it predicts held-out text."""
        reached = np.flatnonzero(np.isfinite(self.loss))
        return {"steps": int(self.checkpoints[reached[-1]]), "loss": float(self.loss[reached[-1]])}

    def attachments(self) -> dict[str, bytes]:
        """The model as a folder: ``config.json``, ``model.safetensors`` and the tokenizer."""
        if not len(self.weights):
            return {}
        tensors, at = {}, 0
        for name, (rows, columns) in zip(self.names, self.sizes.tolist(), strict=True):
            shape = (rows, columns) if columns else (rows,)
            size = rows * max(columns, 1)
            tensors[name] = self.weights[at : at + size].reshape(shape)
            at += size
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BETWEEN}
        return {
            "config.json": json.dumps(config(self.params.d_mlp), indent=1).encode(),
            "model.safetensors": save(tensors, {"format": "pt"}),
            "tokenizer.json": tokenizer().to_str().encode(),
            "tokenizer_config.json": json.dumps(settings).encode(),
        }
