"""What is asked of many edits, one at a time, and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import Resample, share
from interp_core.papers.causal_tracing.params import Edited, ManyFacts
from interp_core.params import param, parameters
from interp_core.results import Provenance, Result

ROLES = ("rewrite", "paraphrase", "neighbour")
"""What a prompt tests: the fact itself, the fact in other words, another subject with the old
answer."""
SCORES = ("efficacy", "paraphrase", "neighbourhood")
"""What each role's prompts score."""
SWEPT = 8
"""The block that is edited was picked by edits of so many of the facts that ship, the first ones."""


@parameters
class ScoresParams(Edited, ManyFacts):
    """Edits of many facts; the defaults are those that the findings are measured on."""

    limit: int = param(
        24, "Facts at most", "of those that the model knows", slider=(2, 60), ge=1, le=100_000
    )


@dataclass(frozen=True, eq=False)
class EditScores(Result):
    """CounterFact's scores of single edits, each on the model as it was (Meng et al. 2022, 3.4)."""

    version: ClassVar[int] = 3
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
    top: Annotated[np.ndarray, "fact 2 3"]
    """[fact, before/after, role] share of the role's prompts whose likeliest next token is the first of
    the new object (rewrite, paraphrase), or of the old answer (neighbour)."""
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

    @property
    def held_out(self) -> slice:
        """The facts by which the edited block was not picked; all where there are no others."""
        picked_by = self.params.facts == "shipped" and len(self.prompts) > SWEPT
        return slice(SWEPT if picked_by else 0, None)

    def _row(self, role: int, when: int) -> dict[str, Any]:
        """Return the scores of a role's prompts, before (0) or after (1), with their intervals."""
        compared, top = (share(each[:, when, role], "facts") for each in (self.prefers, self.top))
        margin = self.resample.mean(self.margin[:, when, role])
        return {
            "score": SCORES[role],
            "role": ROLES[role],
            "when": ("before", "after")[when],
            "value": compared.value,
            "low": compared.low,
            "high": compared.high,
            "top": top.value,
            "top_low": top.low,
            "top_high": top.high,
            "magnitude": margin.value,
            "magnitude_low": margin.low,
            "magnitude_high": margin.high,
            "n": len(self.prompts),
            "layer": self.layer,
            "covariance": self.params.covariance,
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """``scores``: by role, before and after; ``edits``: one row per fact.

        Of ``scores``, ``value`` is the share of prompts where one probability is the larger (ES, PS, NS),
        ``magnitude`` the mean difference of the two (EM, PM, NM), ``top`` the share by likeliest token.
        """
        scores = [self._row(role, when) for role in range(len(ROLES)) for when in range(2)]
        edits = pd.DataFrame(
            {
                "prompt": self.prompts,
                "old": self.old,
                "new": self.new,
                "efficacy": self.prefers[:, 1, 0],
                "paraphrase": self.prefers[:, 1, 1],
                "neighbourhood": self.prefers[:, 1, 2],
                "neighbourhood_before": self.prefers[:, 0, 2],
                "efficacy_top": self.top[:, 1, 0],
                "paraphrase_top": self.top[:, 1, 1],
                "neighbourhood_top": self.top[:, 1, 2],
                "neighbourhood_top_before": self.top[:, 0, 2],
                "loss_change": self.loss[:, 1] - self.loss[:, 0],
                "key_gap": self.key_gap,
                "rank": self.rank,
                "steps": self.steps,
            }
        )
        return {"scores": pd.DataFrame(scores), "edits": edits}

    @property
    def summary(self) -> dict[str, Any]:
        """The scores, and their harmonic mean."""
        before, after = self.prefers.mean(0)
        top_before, top = self.top.mean(0)
        return {
            "facts": len(self.prompts),
            "wrong": self.n_wrong,
            "layer": self.layer,
            "efficacy": float(after[0]),
            "paraphrase": float(after[1]),
            "neighbourhood": float(after[2]),
            "neighbourhood_before": float(before[2]),
            "efficacy_top": float(top[0]),
            "paraphrase_top": float(top[1]),
            "neighbourhood_top": float(top[2]),
            "neighbourhood_top_before": float(top_before[2]),
            "score": float(3 / (1 / np.maximum(after[:3], 1e-9)).sum()),
            "loss_change": float((self.loss[:, 1] - self.loss[:, 0]).mean()),
            "largest_key_gap": float(self.key_gap.max()),
            "largest_rank": int(self.rank.max()),
            "set": "CounterFact-style" if self.params.facts == "shipped" else self.params.facts,
        }
