"""A layer's patterns on a text, and every head's scores on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.heads_result import head_name, ranking
from interp_core.papers.induction_heads.params import Params
from interp_core.papers.induction_heads.scores import SCORES
from interp_core.results import Finding, Provenance, Result


@dataclass(frozen=True, eq=False)
class Pattern(Result):
    """What the heads of one layer look at in a text."""

    paper: ClassVar[str] = "induction-heads"
    unsaved: ClassVar[frozenset[str]] = frozenset({"others"})
    axes: ClassVar[dict[str, str]] = {
        "positions": "position",
        "scores": "score layer head",
        "pattern": "head position position",
    }

    params: Params
    provenance: Provenance
    tokens: tuple[str, ...]
    """[pos] of the whole text, with what stands in front."""
    positions: tuple[int, ...]
    """Those of which the pattern is kept."""
    layer: int
    scores: np.ndarray
    """[score, layer, head] over the whole text, in the order of ``SCORES``; NaN for the first and
    third where no token stands twice."""
    pattern: np.ndarray
    """[head, query, key] attention among ``positions``, float16."""
    others: tuple[Result, ...] = ()
    """The analyses that findings rest on, where they were made on this model."""

    @property
    def head(self) -> int:
        """The layer's head that is looked at: the one asked for, or the best on this text."""
        if self.params.head is not None:
            return self.params.head
        best = ranking(self.scores[0, self.layer][None]) or ranking(
            self.scores[1, self.layer][None]
        )
        return best[0][1]

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``text_heads`` by layer and head; ``pattern`` by head, query and key."""
        layers, heads = np.indices(self.scores.shape[1:]).reshape(2, -1)
        named = {name: self.scores[i].ravel() for i, name in enumerate(SCORES)}
        where = np.array(self.positions)
        head, query, key = np.nonzero(np.tril(np.ones(self.pattern.shape)))
        return {
            "text_heads": pd.DataFrame({"layer": layers, "head": heads, **named}),
            "pattern": pd.DataFrame(
                {
                    "layer": self.layer,
                    "head": head,
                    "query": where[query],
                    "key": where[key],
                    "query_token": [self.tokens[i] for i in where[query]],
                    "key_token": [self.tokens[i] for i in where[key]],
                    "attention": self.pattern[head, query, key].astype(np.float32),
                }
            ),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """The layer, its best head on this text, and whether any token stands twice."""
        best = ranking(self.scores[0])
        return {
            "tokens": len(self.tokens),
            "repeats": bool(best),
            "best_head": head_name(*best[0]) if best else None,
            "best_prefix_matching": float(self.scores[0][best[0]]) if best else None,
            "layer": self.layer,
            "shown_positions": len(self.positions),
        }

    @property
    def findings(self) -> list[Finding]:
        """Those of the analyses made on this model; one text shows none."""
        return [each for other in self.others for each in other.findings]

    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """The pattern of one head, and of all heads of its layer."""
        from interp_core.charts import induction_heads as charts

        return {name: make() for name, make in charts.pattern_makers(self).items()}
