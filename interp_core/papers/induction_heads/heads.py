"""The scores of every head of a model, and the loss that repeats leave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from interp_core.estimates import Resample
from interp_core.papers.induction_heads.params import SCORES, Sequences, Threshold, head_name
from interp_core.params import View, param, parameters
from interp_core.results import Provenance, Result

Score = Literal[
    "prefix_matching",
    "previous_token",
    "duplicate_token",
    "first_token",
    "current_token",
    "entropy",
    "copying",
    "logit_copying",
]

NAMES: dict[Score, str] = {
    "prefix_matching": "Prefix matching",
    "previous_token": "Attention to the previous token",
    "duplicate_token": "Attention to earlier copies of the same token",
    "first_token": "Attention to the first position",
    "current_token": "Attention to the current token itself",
    "entropy": "Entropy of attention",
    "copying": "Copying score by eigenvalues",
    "logit_copying": "Copying score by logits",
}


@parameters
class Params(Threshold, Sequences):
    """The scores of every head on repeated random tokens."""

    threshold: float = param(
        0.5,
        "Threshold",
        "prefix-matching score above which a head is an induction head",
        slider=(0.05, 0.95, 0.05),
        identity=False,
        gt=0,
        lt=1,
    )


@parameters
class HeadsView(View):
    """Which score is shown."""

    score: Score = param("prefix_matching", "Score", "what colours the heads", names=NAMES)


@dataclass(frozen=True, eq=False)
class Heads(Result):
    """Every head's scores on repeated random tokens."""

    params: Params
    provenance: Provenance
    tokens: Annotated[np.ndarray, "sequence position"]
    """[sequence, pos] ids."""
    first: int
    """Position of the first random token."""
    windows: Annotated[tuple[int | None, ...], "layer"]
    """How many positions attention sees; None for all."""
    scores: Annotated[np.ndarray, "score sequence layer head"]
    """In the order of ``SCORES``; NaN where a layer's window does
    not reach the copy before."""
    copying: Annotated[np.ndarray, "layer head"]
    """Eigenvalue score of the circuit from embedding to unembedding, -1 to 1."""
    raised: Annotated[np.ndarray, "sequence layer head"]
    """Logit-based copying score, -1 to 1."""
    losses: Annotated[np.ndarray, "sequence target"]
    """[sequence, pos - 1] of each next token, nats."""

    @cached_property
    def prefix_matching(self) -> np.ndarray:
        """[layer, head] mean over sequences."""
        return self.scores[SCORES.index("prefix_matching")].mean(0)

    @cached_property
    def ranked(self) -> list[tuple[int, int]]:
        """Layer and head, by prefix matching, best first; heads without a score are left out."""
        return ranking(self.prefix_matching)

    @property
    def induction_heads(self) -> list[tuple[int, int]]:
        """Those whose prefix matching is above ``params.threshold``, best first."""
        return [each for each in self.ranked if self.prefix_matching[each] > self.params.threshold]

    @property
    def in_global_layers(self) -> int | None:
        """How many of the induction heads are in layers that see all positions; None where all layers do."""
        if not any(self.windows):
            return None
        return sum(self.windows[layer] is None for layer, _ in self.induction_heads)

    @cached_property
    def copy_losses(self) -> np.ndarray:
        """[sequence, copy] mean loss in each copy, the first token of each left out, nats."""
        copies = self.losses[:, -self.params.tokens * self.params.repeats + 1 :]
        padded = np.pad(copies, ((0, 0), (1, 0)), constant_values=np.nan)
        by_copy = padded.reshape(len(self.losses), self.params.repeats, self.params.tokens)
        return by_copy[:, :, 1:].mean(-1)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``heads`` by layer and head; ``losses`` by position and copy."""
        losses = loss_table({"none": self.losses}, self.resample, self.params)
        return {"heads": self._heads(), "losses": losses}

    def _heads(self) -> pd.DataFrame:
        layers, heads = np.indices(self.prefix_matching.shape).reshape(2, -1)
        means = {name: self.scores[i].mean(0).ravel() for i, name in enumerate(SCORES)}
        spread = self.scores[0].std(0, ddof=1) if len(self.tokens) > 1 else 0 * self.copying
        ranks = {pair: rank + 1 for rank, pair in enumerate(self.ranked)}
        return pd.DataFrame(
            {
                "layer": layers,
                "head": heads,
                **means,
                "copying": self.copying.ravel(),
                "logit_copying": self.raised.mean(0).ravel(),
                "spread": spread.ravel(),
                "rank": [ranks.get(pair) for pair in zip(layers, heads, strict=True)],
                "window": [self.windows[layer] for layer in layers],
            }
        )

    @cached_property
    def resample(self) -> Resample:
        """Of sequences."""
        return Resample(len(self.tokens), "sequences", self.params.seed)

    @property
    def summary(self) -> dict[str, Any]:
        """The induction heads, the best previous-token head, and the losses of the copies."""
        previous = self.scores[SCORES.index("previous_token")].mean(0)
        best = np.unravel_index(previous.argmax(), previous.shape)
        return {
            "induction_heads": [head_name(*pair) for pair in self.induction_heads],
            "best_prefix_matching": float(np.nanmax(self.prefix_matching, initial=0)),
            "previous_token_head": head_name(*best),
            "previous_token": float(previous.max()),
            "first_copy_loss": float(self.copy_losses[:, 0].mean()),
            "last_copy_loss": float(self.copy_losses[:, -1].mean()),
            "sequences": len(self.tokens),
        }


def ranking(score: np.ndarray) -> list[tuple[int, int]]:
    """Return layer and head by ``score`` [layer, head], highest first; NaN left out."""
    order = np.argsort(-score, axis=None, kind="stable")
    pairs = zip(*np.unravel_index(order, score.shape), strict=True)
    found = [(int(layer), int(head)) for layer, head in pairs]
    return [pair for pair in found if np.isfinite(score[pair])]


def loss_table(
    conditions: dict[str, np.ndarray], resample: Resample, params: Sequences
) -> pd.DataFrame:
    """Return losses [sequence, pos - 1] by condition as a table of means with their intervals.

    Copies count from 1, places from 0.
    """
    frames = []
    for condition, losses in conditions.items():
        position = np.arange(1, losses.shape[1] + 1)
        first = losses.shape[1] + 1 - params.tokens * params.repeats
        frames.append(
            pd.DataFrame(
                {
                    "position": position,
                    "copy": 1 + (position - first) // params.tokens,
                    "place": (position - first) % params.tokens,
                    "condition": condition,
                    **resample.columns("loss", losses),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
