"""Answers of the model as it is and steered, and how they hold together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.papers.steering.pairs import FILE
from interp_core.papers.steering.params import Params
from interp_core.results import Provenance, Result

MOST_PERPLEXITY, LEAST_DISTINCT = 3.0, 0.6
"""An answer is called broken where its perplexity is so many times the unsteered answer's, or where fewer of
its pairs of tokens are different."""


@dataclass(frozen=True, eq=False)
class Generations(Result):
    """Answers to one prompt, the unsteered one first; NaN, or -1 among ids, after their ends."""

    files: ClassVar[Mapping[str, str]] = {"behaviours": FILE}
    answer: ClassVar[str] = "answer"
    """What figures call a text,"""
    direction: ClassVar[str] = "the vector"
    """and what its tokens are projected on."""

    params: Params
    provenance: Provenance
    layers: Annotated[np.ndarray, "layer"]
    """Those that are steered; projections are taken at the first."""
    strengths: Annotated[np.ndarray, "row"]
    frozen: Annotated[np.ndarray, "row"]
    """Whether later attention keeps the unsteered pattern."""
    prompt: Annotated[tuple[str, ...], "position"]
    tokens: Annotated[tuple[tuple[str, ...], ...], "row"]
    """Of the answers."""
    texts: Annotated[tuple[str, ...], "row"]
    ids: Annotated[np.ndarray, "row step"]
    surprise: Annotated[np.ndarray, "row step"]
    """-log p of each token by the unsteered model, nats."""
    projection: Annotated[np.ndarray, "row place"]
    """Of the unsteered model's residual at the layer on the vector's direction, over prompt and answer."""
    vector_norm: float

    @property
    def where(self) -> str:
        """The layers that are steered, in words."""
        first, last = int(self.layers[0]), int(self.layers[-1])
        return f"layer {first}" if first == last else f"layers {first} to {last}"

    @property
    def names(self) -> list[str]:
        """What each answer is called."""
        return [
            ("unsteered" if not s else f"multiplier {s:+g}") + (", frozen attention" if f else "")
            for s, f in zip(self.strengths, self.frozen, strict=True)
        ]

    @property
    def perplexity(self) -> np.ndarray:
        """[row], of each answer by the unsteered model."""
        return np.exp(np.nanmean(self.surprise, 1))

    @property
    def distinct(self) -> np.ndarray:
        """[row], distinct-2: the share of an answer's pairs of tokens that are different."""
        return np.array([_distinct([i for i in row if i >= 0], 2) for row in self.ids.tolist()])

    @property
    def repeated(self) -> np.ndarray:
        """[row], the share of an answer's tokens that repeat one of the sixteen before it."""
        shares = []
        for row in self.ids.tolist():
            ids = [i for i in row if i >= 0]
            again = [ids[i] in ids[max(0, i - 16) : i] for i in range(len(ids))]
            shares.append(float(np.mean(again)) if ids else 0.0)
        return np.array(shares)

    @property
    def broken(self) -> np.ndarray:
        """[row], whether an answer no longer holds together."""
        return (self.perplexity > MOST_PERPLEXITY * self.perplexity[0]) | (
            self.distinct < LEAST_DISTINCT * self.distinct[0]
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """``generations``: one row an answer; ``projections``: one row a token."""
        generations = pd.DataFrame(
            {
                "layer": int(self.layers[0]),
                "through": int(self.layers[-1]),
                "multiplier": self.strengths,
                "frozen": self.frozen,
                "text": self.texts,
                "tokens": [len(tokens) for tokens in self.tokens],
                "perplexity": self.perplexity,
                "distinct_2": self.distinct,
                "repeated": self.repeated,
                "broken": self.broken,
            }
        )
        rows = []
        for row, tokens in enumerate(self.tokens):
            for place, token in enumerate([*self.prompt, *tokens]):
                rows.append(
                    {
                        "multiplier": self.strengths[row],
                        "frozen": self.frozen[row],
                        "position": place,
                        "token": token,
                        "answer": place >= len(self.prompt),
                        "projection": self.projection[row, place],
                    }
                )
        return {"generations": generations, "projections": pd.DataFrame(rows)}

    @property
    def summary(self) -> dict[str, Any]:
        """The answers, by strength."""
        return {
            "layer": int(self.layers[0]),
            "unsteered": self.texts[0],
            "steered": self.texts[1] if len(self.texts) > 1 else "",
            "perplexity": float(self.perplexity[min(1, len(self.texts) - 1)]),
        }


def _distinct(ids: list[int], n: int) -> float:
    grams = list(zip(*(ids[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0
