"""The in-context learning score, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL
from interp_core.estimates import Estimate, Resample
from interp_core.papers.induction_heads.params import (
    Heads,
    Removed,
    Sequences,
    Threshold,
    controls_of,
)
from interp_core.params import param, parameters
from interp_core.results import Provenance, Result

EARLY, LATE, OF = 50, 500, 512
"""The paper's score: loss of token 500 less that of token 50, in contexts of 512."""

NEAR = 10
"""Positions on either side that the steadier score averages over."""


@parameters
class ContextParams(Threshold, Removed, Sequences):
    """Texts to read, whole, without heads that the repeated sequences single out, and without as many others."""

    ablate: Heads = param(
        ("top-8",),
        "Heads",
        "to ablate: as of the ablation, or none, to read whole alone",
        placeholder="none",
    )
    controls: int = controls_of(2, 8, "; each reads all texts again")
    texts: int = param(200, "Texts", "to average over", slider=(20, 400, 20), ge=2, le=10_000)
    context: int = param(
        512, "Context", "tokens of each text", slider=(64, 1024, 64), ge=32, le=4096
    )


@dataclass(frozen=True, eq=False)
class InContext(Result):
    """Losses by position in texts, whole, with heads ablated, and with others ablated."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL}

    params: ContextParams
    provenance: Provenance
    heads: tuple[tuple[int, int], ...]
    """Layer and head of those ablated; none if nothing was."""
    controls: tuple[tuple[tuple[int, int], ...], ...]
    """Draws of other heads of the same layers, no induction heads among them."""
    losses: Annotated[np.ndarray, "condition text target"]
    """[condition, text, pos - 1] of each next token, nats, float16: whole, ablated, and without others, the mean of
    draws."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the first axis of ``losses`` stands for."""
        return ("none", "ablated", "others")[: len(self.losses)]

    @property
    def early(self) -> int:
        """The early position: 50 in a context of 512, in proportion in others."""
        return round(EARLY * self.params.context / OF)

    @property
    def late(self) -> int:
        """The late position: 500 in a context of 512, in proportion in others."""
        return round(LATE * self.params.context / OF)

    def scores(self, near: int = 0) -> np.ndarray:
        """Return late less early loss, nats, [condition, text], averaged over ``near`` on each side."""
        # losses[..., i] is that of token i + 1.
        losses = self.losses.astype(np.float32)
        ends = [losses[..., max(0, at - 1 - near) : at + near] for at in (self.early, self.late)]
        return ends[1].mean(-1) - ends[0].mean(-1)

    @cached_property
    def resample(self) -> Resample:
        """Of texts."""
        return Resample(self.losses.shape[1], "texts", self.params.seed)

    def score(self, condition: int, near: int = 0) -> Estimate:
        """Return the mean score, nats."""
        return self.resample.mean(self.scores(near)[condition])

    def tables(self) -> dict[str, pd.DataFrame]:
        """``context`` by position and condition; ``context_scores`` by condition."""
        losses = self.losses.astype(np.float32)
        position = np.arange(1, losses.shape[-1] + 1)
        frames, rows = [], []
        for i, condition in enumerate(self.conditions):
            columns = self.resample.columns("loss", losses[i])
            frames.append(pd.DataFrame({"position": position, "condition": condition, **columns}))
            for near in (0, NEAR):
                score = self.score(i, near)
                ends = (score.value, score.low, score.high)
                rows.append((condition, self.early, self.late, near, *ends))
        names = ["condition", "early", "late", "averaged_over", "score", "low", "high"]
        return {
            "context": pd.concat(frames, ignore_index=True),
            "context_scores": pd.DataFrame(rows, columns=names),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """The score with its interval, whole and ablated."""
        score = self.score(0)
        found: dict[str, Any] = {
            "in_context_score": score.value,
            "in_context_score_low": score.low,
            "in_context_score_high": score.high,
            "early": self.early,
            "late": self.late,
            "texts": self.losses.shape[1],
        }
        if self.heads:
            found["ablated_score"] = self.score(1).value
            found["others_score"] = self.score(2).value
        return found
