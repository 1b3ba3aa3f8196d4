"""C, the second moment of an MLP's keys over text, measured once per model and layer and kept."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np

from interp_core import sampling
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing.subject import start_ids
from interp_core.paths import cache_dir, save_array
from interp_core.residual import Site
from interp_core.runtime import report

TEXTS, LENGTH = 64, 256
"""The sample: the paper's is 100,000 texts of Wikipedia."""

_BATCH = 4


def second_moment(model: LanguageModel, layer: int, start: str, seed: int) -> np.ndarray:
    """Return C = E[k k^T] [d_mlp, d_mlp] of block ``layer``'s keys, not centred, float32.

    The text is the model's own, drawn at temperature 1: it needs no corpus, and its keys are those
    the model meets. The first position, the attention sink, is left out.
    """
    first = "".join(f"{i}-" for i in start_ids(model.require_tokenizer(), start))
    name = f"{model.info.fingerprint[:24]}-{first}{seed}-{TEXTS}x{LENGTH}"
    file = cache_dir("moments") / f"{name}-{layer}.npy"
    if file.exists():
        return np.load(file, allow_pickle=False)
    tokens = _texts(model, start, seed, cache_dir("moments") / f"{name}.npy")
    total: mx.array | None = None
    for row in range(0, TEXTS, _BATCH):
        report("measuring C", row, TEXTS)
        site = Site("mlp_post", layer)
        batch = mx.array(tokens[row : row + _BATCH])
        run = model.stream.run(batch, stop=layer + 1, keep=[site], unembed=None)
        keys = run.acts[site][:, 1:].astype(mx.float32)
        keys = keys.reshape(-1, keys.shape[-1])
        total = keys.T @ keys if total is None else total + keys.T @ keys
        mx.eval(total)
    moment = np.array(total) / (tokens.shape[0] * (tokens.shape[1] - 1))
    save_array(file, moment)
    return moment


def _texts(model: LanguageModel, start: str, seed: int, file: Path) -> np.ndarray:
    """Return [text, pos] ids of texts that the model wrote."""
    if file.exists():
        return np.load(file, allow_pickle=False)
    first = start_ids(model.require_tokenizer(), start) or [0]
    length = min(LENGTH, model.info.context) - len(first)
    drawn = sampling.generate(
        model.stream, [first] * TEXTS, length, temperature=1, seed=seed, label="writing text for C"
    )
    tokens = np.concatenate([np.tile(first, (TEXTS, 1)), drawn], axis=1).astype(np.int32)
    save_array(file, tokens)
    return tokens
