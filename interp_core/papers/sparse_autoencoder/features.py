"""Every feature of a dictionary on a text: how often it is active, on what, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.params import FeaturesParams
from interp_core.results import Provenance, Result

KINDS = ("feature", "another's rule", "neuron", "random direction")
ENOUGH = 20
"""Positions at which a feature has to be active, to be compared or put first for how well a rule tells it."""
GALLERY = 10
"""Features that a report shows: those whose rule scores best, one for each rule."""


@dataclass(frozen=True, eq=False)
class Features(Result):
    """A dictionary's features, by number; NaN where one is never active."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS, "dictionaries": INDEX}

    params: FeaturesParams
    provenance: Provenance
    about: str
    site: str
    positions: int
    """That were read."""
    density: Annotated[np.ndarray, "feature"]
    """Share of positions at which it is active."""
    peak: Annotated[np.ndarray, "feature"]
    """Largest activation."""
    mean: Annotated[np.ndarray, "feature"]
    """Mean activation where it is active."""
    labels: Annotated[tuple[str, ...], "feature"]
    """The rule that goes along with it best on half of the windows; empty where there is none."""
    promotes: Annotated[tuple[str, ...], "feature"]
    """Tokens whose logits it raises most."""
    suppresses: Annotated[tuple[str, ...], "feature"]
    tokens: Annotated[tuple[str, ...], "feature"]
    """Tokens at its largest activations."""
    scored: Annotated[np.ndarray, "scored"]
    """Features that the comparison is over: drawn of those active at enough positions."""
    scores: Annotated[np.ndarray, "kind scored"]
    """F1 on held-out windows of the one rule that was found on the others, by :data:`KINDS`: of the
    feature; of another feature's rule on it; of the neuron (or the site's dimension) that correlates
    most with it, and of a random direction, both active at as many positions as it is."""
    neuron: Annotated[np.ndarray, "scored"]
    """That dimension."""
    kurtosis: Annotated[np.ndarray, "kind scored"]
    """Excess kurtosis over positions; NaN of another's rule."""
    map: Annotated[np.ndarray, "feature plane"]
    """Decoder directions on their two first principal components."""
    map_share: float
    """Of their variance that these have."""
    rule_scores: Annotated[np.ndarray, "feature"]
    """F1 on held-out windows of each feature's own rule."""

    @property
    def often(self) -> np.ndarray:
        """[feature] which are active at :data:`ENOUGH` positions or more."""
        found: np.ndarray = np.round(self.density * self.positions) >= ENOUGH
        return found

    @property
    def gallery(self) -> list[int]:
        """Features to show: by falling score of their rule, one for each rule, none chosen by hand."""
        order = np.argsort(-np.nan_to_num(self.rule_scores, nan=-1), kind="stable")
        seen: set[str] = set()
        found: list[int] = []
        for i in order:
            if self.labels[i] and self.labels[i] not in seen and self.often[i]:
                seen.add(self.labels[i])
                found.append(int(i))
        return found[:GALLERY]

    @property
    def dead(self) -> float:
        """The share of features that are never active in this text."""
        return float((self.density == 0).mean())

    def tables(self) -> dict[str, pd.DataFrame]:
        """``features``: one row a feature; ``comparison``: one a scored feature and kind."""
        features = pd.DataFrame(
            {
                "feature": np.arange(len(self.density)),
                "density": self.density,
                "peak": self.peak,
                "mean": self.mean,
                "label": self.labels,
                "score": self.rule_scores,
                "tokens": self.tokens,
                "promotes": self.promotes,
                "suppresses": self.suppresses,
            }
        )
        kind, at = np.indices(self.scores.shape).reshape(2, -1)
        comparison = pd.DataFrame(
            {
                "feature": self.scored[at],
                "kind": [KINDS[i] for i in kind],
                "score": self.scores.ravel(),
                "kurtosis": self.kurtosis.ravel(),
                "neuron": self.neuron[at],
            }
        )
        return {"features": features, "comparison": comparison}

    @property
    def summary(self) -> dict[str, Any]:
        """How many features there are, how many are active, and how well rules tell them."""
        means = np.nanmean(self.scores, 1)
        return {
            "dictionary": self.about,
            "features": len(self.density),
            "never_active": self.dead,
            "score": float(means[0]),
            "score_neuron": float(means[2]),
            "score_random": float(means[3]),
            "gallery": self.gallery,
        }
