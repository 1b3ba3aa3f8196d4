"""A layer's patterns on a text, and every head's scores on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.heads import ranking
from interp_core.papers.induction_heads.params import SCORES, Front, OneHead, head_name
from interp_core.params import HeadNumber, OnModel, Positions, Text, param, parameters
from interp_core.results import Provenance, Result

WINDOW = 64
"""Most positions of which a pattern is drawn at a time."""

TEXT = (
    "Mrs Abernethy-Kow sold lamps. When the harbour lights went out, the sailors sent for "
    "Mrs Abernethy-Kow, and Mrs Abernethy-Kow sold lamps to every one of them."
)
"""Names come back in it."""


@parameters
class AttentionParams(OneHead, Front, OnModel):
    """A text, and the head whose pattern on it is shown."""

    text: Text = param(TEXT, "Text", "text to show patterns on", placeholder="Type a text.")
    head: HeadNumber | None = param(
        None, "Head", "its number in the layer", identity=False, placeholder="the best"
    )
    positions: Positions = param(
        (0, None, 1), "Positions", f"positions of the text to draw, at most {WINDOW}"
    )


@dataclass(frozen=True, eq=False)
class Pattern(Result):
    """What the heads of one layer look at in a text."""

    params: AttentionParams
    provenance: Provenance
    tokens: tuple[str, ...]
    """[pos] of the whole text, with what stands in front."""
    positions: Annotated[tuple[int, ...], "position"]
    """Those of which the pattern is kept."""
    layer: int
    scores: Annotated[np.ndarray, "score layer head"]
    """Over the whole text, in the order of ``SCORES``; NaN for the first and
    third where no token stands twice."""
    pattern: Annotated[np.ndarray, "head position position"]
    """[head, query, key] attention among ``positions``, float16."""

    @property
    def head(self) -> int:
        """The layer's head that is looked at: the one asked for, or the best on this text."""
        if self.params.head is not None:
            return self.params.head
        best = ranking(self.scores[0, self.layer][None]) or ranking(
            self.scores[1, self.layer][None]
        )
        return best[0][1]

    def score(self, head: int) -> float:
        """Return the prefix-matching score of one of the layer's heads; NaN where no token repeats."""
        return float(self.scores[SCORES.index("prefix_matching"), self.layer, head])

    def tables(self) -> dict[str, pd.DataFrame]:
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
