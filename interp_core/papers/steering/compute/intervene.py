"""What steering does to the stream, for a batch of strengths at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core.block import KV
from interp_core.residual import Edit, ResidualStream, Site


@dataclass(frozen=True, eq=False)
class Steering:
    """Vectors at some layers, each row of a batch with a strength of its own.

    A strength of 0 leaves a row as it is, whatever the operator.
    """

    vectors: Mapping[int, np.ndarray]
    """By layer, [row or 1, d_model]: added to the output of that block."""
    strengths: np.ndarray
    """[row]"""
    operator: str = "add"

    @property
    def rows(self) -> int:
        """How many strengths there are."""
        return len(self.strengths)

    @property
    def first(self) -> int:
        """The first layer that is steered; what is below stays as it is."""
        return min(self.vectors)

    def edits(self, copies: int = 1) -> dict[Site, Edit]:
        """Return the edits of a batch that holds ``copies`` texts of each row, rows first."""
        return {
            Site("resid_post", layer): self._edit(vector, copies)
            for layer, vector in self.vectors.items()
        }

    def resume(
        self,
        stream: ResidualStream,
        resid: mx.array,
        prefix: Mapping[int, KV],
        held: Mapping[Site, Edit] | None = None,
    ) -> mx.array:
        """Return what leaves the last block when each row steers the same texts.

        Args:
            stream: What runs.
            resid: [text, pos, d_model] after the first steered block, unsteered.
            prefix: Keys and values of what is before.
            held: Further edits, of blocks after it.

        Returns:
            [row * text, pos, d_model], rows first.
        """
        edits = self.edits(len(resid))
        wide = mx.tile(resid, (self.rows, 1, 1))
        x = edits.pop(Site("resid_post", self.first))(wide)
        after = {**edits, **(held or {})}
        start = self.first + 1
        run = stream.run(resid=x, start=start, prefix=prefix, edits=after, unembed=None)
        return run.resid

    def _edit(self, vector: np.ndarray, copies: int) -> Edit:
        wide = np.broadcast_to(vector, (self.rows, vector.shape[-1]))
        v = np.repeat(wide, copies, 0)[:, None].astype(np.float32)
        c = np.repeat(self.strengths, copies)[:, None, None].astype(np.float32)

        def edit(x: mx.array) -> mx.array:
            return mx.where(mx.array(c == 0), x, steered(x, v, c, self.operator))

        return edit


def held(value: mx.array) -> Edit:
    """Return the edit that puts ``value`` in place of whatever is there."""
    return lambda _: value


def steered(x: mx.array, v: np.ndarray, c: np.ndarray, operator: str) -> mx.array:
    """Return the residuals ``x`` [batch, pos, d_model], steered.

    Args:
        x: As they are.
        v: [batch, 1, d_model], the vectors; u is such a one at length 1.
        c: [batch, 1, 1], strengths.
        operator: ``add`` x + c v (Rimsky et al. 2024); ``remove`` x - c (x . u) u, the same for v and
            -v; ``replace`` x - (x . u) u + c v; ``cap`` moves x along u until its projection is no more
            than c |v|, no less where c is below 0.
    """
    shift = mx.array(c * v).astype(x.dtype)
    if operator == "add":
        return x + shift
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    u = mx.array(v / np.maximum(length, 1e-30))
    along = (x.astype(mx.float32) * u).sum(-1, keepdims=True)
    if operator == "remove":
        moved = -mx.array(c) * along * u
    elif operator == "replace":
        moved = -along * u + mx.array(c * v)
    else:
        bound = mx.array(c * length)
        capped = mx.where(mx.array(c > 0), mx.minimum(along, bound), mx.maximum(along, bound))
        moved = (capped - along) * u
    return x + moved.astype(x.dtype)
