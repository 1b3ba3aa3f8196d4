"""One edit before and after, and the scores of many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd

from interp_core import bootstrap
from interp_core.papers.causal_tracing.params import Params
from interp_core.paths import shipped_digest
from interp_core.results import Finding, Provenance, Result

ROLES = ("rewrite", "paraphrase", "neighbour", "watched")
"""What a prompt tests: the fact itself, the fact in other words, another subject with the old
answer, or what the reader asks."""


@dataclass(frozen=True, eq=False)
class EditScores(Result):
    """CounterFact's scores of single edits, each on the model as it was (Meng et al. 2022, 3.4)."""

    paper: ClassVar[str] = "causal-tracing"
    version: ClassVar[int] = 2
    axes: ClassVar[dict[str, str]] = {
        "prompts": "fact",
        "old": "fact",
        "new": "fact",
        "prefers": "fact 2 3",
        "margin": "fact 2 3",
        "loss": "fact 2",
        "key_gap": "fact",
        "rank": "fact",
        "steps": "fact",
    }

    params: Params
    provenance: Provenance
    layer: int
    prompts: tuple[str, ...]
    """The facts that were rewritten."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    n_wrong: int
    """Facts left out, as the model's own answer is another."""
    prefers: np.ndarray
    """[fact, before/after, role] share of the role's prompts at which the new object is likelier than
    the old (rewrite, paraphrase), or the old than the new (neighbour)."""
    margin: np.ndarray
    """[fact, before/after, role] mean difference of their probabilities, in the same direction."""
    loss: np.ndarray
    """[fact, before/after] mean loss on unrelated text, nats a token."""
    key_gap: np.ndarray
    """[fact] |W' k* - v*| / |v*|"""
    rank: np.ndarray
    """[fact] of the change of W, numerically."""
    steps: np.ndarray
    """[fact] of gradient descent."""

    @classmethod
    def data(cls) -> dict[str, str]:
        """The facts that ship, and the passages on which the loss is compared."""
        return {name: shipped_digest(f"{name}.json") for name in ("facts", "prompts")}

    @cached_property
    def counts(self) -> np.ndarray:
        """[draw, fact] of the bootstrap over facts."""
        return bootstrap.draws(len(self.prompts), self.params.seed)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Return the 95% interval of the mean over facts of ``values`` [fact]."""
        low, high = bootstrap.interval((self.counts @ values) / self.counts.sum(1))
        return float(low), float(high)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``scores``: mean by role, before and after; ``edits``: one row per fact."""
        rows = []
        for i, role in enumerate(ROLES[:3]):
            for j, when in enumerate(("before", "after")):
                low, high = self.interval(self.prefers[:, j, i])
                rows.append(
                    {
                        "score": ("efficacy", "paraphrase", "neighbourhood")[i],
                        "role": role,
                        "when": when,
                        "value": float(self.prefers[:, j, i].mean()),
                        "low": low,
                        "high": high,
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

    @property
    def findings(self) -> list[Finding]:
        """The paper's claims beside what was measured."""
        from interp_core.papers.causal_tracing import findings

        return findings.of_edits(self)

    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """The figures of this result."""
        from interp_core.charts import causal_tracing_edit

        return causal_tracing_edit.score_charts([self])


@dataclass(frozen=True, eq=False)
class Edit(Result):
    """One fact rewritten, and what became of other prompts."""

    paper: ClassVar[str] = "causal-tracing"
    version: ClassVar[int] = 3
    unsaved: ClassVar[frozenset[str]] = frozenset({"scores"})
    axes: ClassVar[dict[str, str]] = {
        "prompts": "prompt",
        "roles": "prompt",
        "says": "prompt",
        "old_probability": "prompt 2",
        "new_probability": "prompt 2",
        "losses": "step",
    }

    params: Params
    provenance: Provenance
    layer: int
    subject: str
    old: str
    """What the model said."""
    new: str
    prompts: tuple[str, ...]
    roles: tuple[str, ...]
    """Of each prompt, one of ``ROLES``."""
    old_probability: np.ndarray
    """[prompt, before/after] of the old answer's tokens, their geometric mean."""
    new_probability: np.ndarray
    """[prompt, before/after] of the new object's."""
    says: tuple[tuple[str, str], ...]
    """[prompt][before/after] the most likely next token."""
    continuations: tuple[tuple[str, str], ...]
    """[prompt][before/after] what the model writes, always the likeliest token; of the first few."""
    losses: np.ndarray
    """[step] of the search for v*, nats; the value of the least was kept."""
    key_gap: float
    """|W' k* - v*| / |v*|"""
    rank: int
    """Of the change of W, numerically."""
    delta_norm: float
    """|v* - W k*| / |W k*|"""
    scores: EditScores | None = None
    """Scores of many edits on this model, where they were measured."""

    @classmethod
    def data(cls) -> dict[str, str]:
        """The facts that ship: an edit of one is tried on its paraphrases and neighbours."""
        return {"facts": shipped_digest("facts.json")}

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``edit``: one row per prompt and time; ``continuations``; ``search``; scores if measured."""
        when = ("before", "after")
        rows = [
            {
                "role": role,
                "prompt": prompt,
                "when": when[j],
                "old_probability": float(self.old_probability[i, j]),
                "new_probability": float(self.new_probability[i, j]),
                "says": self.says[i][j],
            }
            for i, (prompt, role) in enumerate(zip(self.prompts, self.roles, strict=True))
            for j in range(2)
        ]
        texts = [
            {"prompt": self.prompts[i], "when": when[j], "text": text}
            for i, pair in enumerate(self.continuations)
            for j, text in enumerate(pair)
        ]
        search = {"step": np.arange(len(self.losses)), "loss": self.losses}
        frames = {
            "edit": pd.DataFrame(rows),
            "continuations": pd.DataFrame(texts),
            "search": pd.DataFrame(search),
        }
        return frames if self.scores is None else {**frames, **self.scores.frames}

    @property
    def summary(self) -> dict[str, Any]:
        """What the edit made of the fact."""
        return {
            "subject": self.subject,
            "old": self.old,
            "new": self.new,
            "layer": self.layer,
            "new_probability_before": float(self.new_probability[0, 0]),
            "new_probability_after": float(self.new_probability[0, 1]),
            "old_probability_before": float(self.old_probability[0, 0]),
            "old_probability_after": float(self.old_probability[0, 1]),
            "says_after": self.says[0][1],
            "key_gap": self.key_gap,
            "rank": self.rank,
            "steps": len(self.losses),
            "kept_step": int(self.losses.argmin()),
        }

    @property
    def findings(self) -> list[Finding]:
        """The paper's claims on this model, over many edits."""
        return [] if self.scores is None else self.scores.findings

    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """The figures of this result."""
        from interp_core.charts import causal_tracing_edit

        return causal_tracing_edit.charts(self)
