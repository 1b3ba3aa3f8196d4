"""Folders, files and ids become checked models, or one line that says why not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx_lm.utils
import numpy as np
import pytest
from conftest import CHECKPOINTS, REFERENCE
from mlx.utils import tree_flatten
from mlx_lm.models import llama

from interp_core import load_model
from interp_core.models import architectures, catalogue, default, dialects, gguf, loading
from interp_core.models.loading import ModelError
from interp_core.papers import logit_lens
from interp_core.params import ParameterError
from interp_core.paths import cache_dir
from interp_core.residual import Part, ResidualStream, Site
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
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 264,
        "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 32, "tie_word_embeddings": tied,
    }
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    model.load_weights([(n, 0.3 * mx.random.normal(v.shape) + (v.ndim == 1))
                        for n, v in tree_flatten(model.parameters())])
    if bits:
        model, config = mlx_lm.utils.quantize_model(model, config, 32, bits, mode)
    mlx_lm.utils.save_model(folder, model)
    mlx_lm.utils.save_config(config, folder / "config.json")


@on_compute_thread
def logits(model) -> np.ndarray:
    return np.array(model.stream.run(mx.array(TOKENS)).logits)


def copy_of(name: str, folder: Path, **config) -> Path:
    """Copy a reference checkpoint, with entries of its config replaced (None removes one)."""
    shutil.copytree(REFERENCE / name, folder)
    (folder / "expected.safetensors").unlink()
    written = json.loads((folder / "config.json").read_text()) | config
    written = {key: value for key, value in written.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(written))
    return folder


def refusal(name) -> str:
    """Return the one line with which a model is refused."""
    with pytest.raises(ModelError) as raised:
        load_model(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)
