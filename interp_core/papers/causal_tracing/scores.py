"""What is asked of many edits, one at a time, and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import Resample
from interp_core.papers.causal_tracing.params import Edited, ManyFacts
from interp_core.params import param, parameters
from interp_core.results import Provenance, Result

ROLES = ("rewrite", "paraphrase", "neighbour")
"""What a prompt tests: the fact itself, the fact in other words, another subject with the old
answer."""


@parameters
class ScoresParams(Edited, ManyFacts):
    """Edits of many facts; the defaults are those that the findings are measured on."""

    limit: int = param(
        24, "Facts at most", "of those that the model knows", slider=(2, 60), ge=1, le=100_000
    )


@dataclass(frozen=True, eq=False)
class EditScores(Result):
    """CounterFact's scores of single edits, each on the model as it was (Meng et al. 2022, 3.4)."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"facts": "facts.json", "prompts": "prompts.json"}
    """The set, and the passages on which the loss is compared."""

    params: ScoresParams
    provenance: Provenance
    layer: int
    prompts: Annotated[tuple[str, ...], "fact"]
    """The facts that were rewritten."""
    old: Annotated[tuple[str, ...], "fact"]
    new: Annotated[tuple[str, ...], "fact"]
    n_wrong: int
    """Facts left out, as the model's own answer is another."""
    prefers: Annotated[np.ndarray, "fact 2 3"]
    """[fact, before/after, role] share of the role's prompts at which the new object is likelier than
    the old (rewrite, paraphrase), or the old than the new (neighbour)."""
    margin: Annotated[np.ndarray, "fact 2 3"]
    """[fact, before/after, role] mean difference of their probabilities, in the same direction."""
    loss: Annotated[np.ndarray, "fact 2"]
    """[fact, before/after] mean loss on unrelated text, nats a token."""
    key_gap: Annotated[np.ndarray, "fact"]
    """|W' k* - v*| / |v*|"""
    rank: Annotated[np.ndarray, "fact"]
    """Of the change of W, numerically."""
    steps: Annotated[np.ndarray, "fact"]
    """Of gradient descent."""

    @cached_property
    def resample(self) -> Resample:
        """Of facts."""
        return Resample(len(self.prompts), "facts", self.params.seed)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``scores``: mean by role, before and after; ``edits``: one row per fact."""
        rows = []
        for i, role in enumerate(ROLES):
            for j, when in enumerate(("before", "after")):
                value = self.resample.mean(self.prefers[:, j, i])
                rows.append(
                    {
                        "score": ("efficacy", "paraphrase", "neighbourhood")[i],
                        "role": role,
                        "when": when,
                        "value": value.value,
                        "low": value.low,
                        "high": value.high,
                        "magnitude": float(self.margin[:, j, i].mean()),
                        "n": len(self.prompts),
                        "layer": self.layer,
                        "covariance": self.params.covariance,
                    }
                )
        edits = pd.DataFrame(
            {
                "prompt": self.prompts,
                "old": self.old,
                "new": self.new,
                "efficacy": self.prefers[:, 1, 0],
                "paraphrase": self.prefers[:, 1, 1],
                "neighbourhood": self.prefers[:, 1, 2],
                "neighbourhood_before": self.prefers[:, 0, 2],
                "loss_change": self.loss[:, 1] - self.loss[:, 0],
                "key_gap": self.key_gap,
                "rank": self.rank,
                "steps": self.steps,
            }
        )
        return {"scores": pd.DataFrame(rows), "edits": edits}

    @property
    def summary(self) -> dict[str, Any]:
        """The scores, and their harmonic mean."""
        after, before = self.prefers[:, 1].mean(0), self.prefers[:, 0].mean(0)
        return {
            "facts": len(self.prompts),
            "wrong": self.n_wrong,
            "layer": self.layer,
            "efficacy": float(after[0]),
            "paraphrase": float(after[1]),
            "neighbourhood": float(after[2]),
            "neighbourhood_before": float(before[2]),
            "score": float(3 / (1 / np.maximum(after[:3], 1e-9)).sum()),
            "loss_change": float((self.loss[:, 1] - self.loss[:, 0]).mean()),
            "largest_key_gap": float(self.key_gap.max()),
            "largest_rank": int(self.rank.max()),
            "set": "CounterFact-style" if self.params.facts == "shipped" else self.params.facts,
        }
