"""C, the second moment of an MLP's keys over text, measured once per model and layer and kept."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from interp_core import sampling, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing.compute.subject import start_ids
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
    return store.measured(
        "moments",
        {**_sample(model, start, seed), "layer": layer},
        "d_mlp d_mlp",
        lambda: _measure(model, layer, texts(model, start, seed)),
    )


def texts(model: LanguageModel, start: str, seed: int) -> np.ndarray:
    """Return [text, pos] ids of texts that the model wrote, written once and kept, int32."""
    first = start_ids(model.require_tokenizer(), start) or [0]

    def write() -> np.ndarray:
        length = min(LENGTH, model.info.context) - len(first)
        drawn = sampling.generate(
            model.stream,
            [first] * TEXTS,
            length,
            temperature=1,
            seed=seed,
            label="writing text for C",
        )
        return np.concatenate([np.tile(first, (TEXTS, 1)), drawn], axis=1).astype(np.int32)

    return store.measured("moments", _sample(model, start, seed), f"{TEXTS} position", write)


def _sample(model: LanguageModel, start: str, seed: int) -> dict[str, Any]:
    """Return what decides which texts are written."""
    first = start_ids(model.require_tokenizer(), start)
    return {
        "model": model.info.fingerprint,
        "start": first,
        "seed": seed,
        "texts": [TEXTS, LENGTH],
    }


def _measure(model: LanguageModel, layer: int, tokens: np.ndarray) -> np.ndarray:
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
    return np.array(total) / (tokens.shape[0] * (tokens.shape[1] - 1))
