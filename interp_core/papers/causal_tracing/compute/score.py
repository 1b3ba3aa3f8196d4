"""What is measured of a run: how likely it makes the answer."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.papers.causal_tracing.params import Metric
from interp_core.residual import ResidualStream


@dataclass(frozen=True)
class Scorer:
    """Scores the last residuals of runs."""

    stream: ResidualStream
    metric: Metric
    answer: tuple[int, ...]
    """Ids that are followed: the answer's first token, or all of them."""
    foil: int | None
    clean: np.ndarray
    """[d_vocab] log-probabilities of the clean run at the prompt's end."""

    def __call__(self, resid: mx.array) -> tuple[np.ndarray, np.ndarray]:
        """Score residuals [row, read, d_model] of the positions that predict the answer.

        Returns:
            The answer's log-probability in nats [row], and the metric [row].
        """
        parts = [self._chunk(resid[part]) for part in readout.chunks(resid.shape[0])]
        log_prob, score = (np.concatenate(column) for column in zip(*parts, strict=True))
        return log_prob, score

    def _chunk(self, resid: mx.array) -> tuple[np.ndarray, np.ndarray]:
        rows, reads = resid.shape[:2]
        logits = self.stream.unembed(resid.reshape(rows * reads, -1)).astype(mx.float32)
        total = readout.log_normaliser(logits).reshape(rows, reads)
        apart = logits.reshape(rows, reads, -1)
        at = mx.take_along_axis(apart, mx.array(self.answer)[None, :, None], -1)[..., 0]
        log_prob = (np.array(at) - total).sum(-1)
        if self.metric == "logit_difference":
            return log_prob, np.array(at[:, 0] - apart[:, 0, self.foil])
        if self.metric == "kl":
            p = np.exp(self.clean)
            cross = np.array(apart[:, 0] @ mx.array(p))
            return log_prob, np.maximum(p @ self.clean - cross + total[:, 0], 0)
        return log_prob, log_prob if self.metric == "log_probability" else np.exp(log_prob)


def log_probs(stream: ResidualStream, resid: mx.array) -> np.ndarray:
    """Return the log-probabilities of a residual [row, d_model]: [row, d_vocab], in nats."""
    logits = stream.unembed(resid).astype(mx.float32)
    return np.array(logits) - readout.log_normaliser(logits)[:, None]
