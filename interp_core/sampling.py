"""Continue texts, by sampling or by always taking the likeliest token."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from interp_core.residual import ResidualStream
from interp_core.runtime import report


def generate(
    stream: ResidualStream,
    tokens: list[list[int]],
    steps: int,
    *,
    temperature: float = 0.0,
    seed: int | list[int] = 0,
    label: str = "",
) -> np.ndarray:
    """Return the ids that continue ``tokens`` [text, pos], [text, step].

    Args:
        stream: What runs.
        tokens: Texts of equal length, as ids.
        steps: How many tokens to add to each.
        temperature: 0 takes the likeliest token, 1 draws from the model's distribution.
        seed: Of the draws.
        label: What to report as progress; nothing when empty.
    """
    draw = np.random.default_rng(seed)
    new, kv = mx.array(tokens), {}
    out = np.empty((len(tokens), steps), np.int64)
    for step in range(steps):
        if label:
            report(label, step, steps)
        run = stream.run(new, prefix=kv, keep_kv=True, leave=slice(-1, None))
        kv = run.kv
        logits = run.logits[:, -1].astype(mx.float32)  # type: ignore[index]
        mx.eval(logits, [(pair.keys, pair.values) for pair in kv.values()])
        out[:, step] = choose(np.array(logits), temperature, draw)
        new = mx.array(out[:, step : step + 1])
    return out


def choose(logits: np.ndarray, temperature: float, draw: np.random.Generator) -> np.ndarray:
    """Return an id for each row of ``logits`` [row, d_vocab]: the likeliest, or one drawn."""
    if temperature:
        # Adding Gumbel noise and taking the largest draws from the softmax.
        logits = logits / temperature + draw.gumbel(size=logits.shape)
    return logits.argmax(-1)
