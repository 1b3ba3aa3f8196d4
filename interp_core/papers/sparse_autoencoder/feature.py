"""One feature: where it is active, what it writes, what is like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.params import FeatureParams
from interp_core.results import Provenance, Result

QUANTILES = ("strongest", "fourth fifth", "third fifth", "second fifth", "weakest fifth")
"""Fifths of the range of activations, from which examples are drawn, the strongest first."""
BINS = 50
BEFORE, AFTER = 20, 12
"""Tokens of an example that stand before and after the one it is chosen for."""


@dataclass(frozen=True, eq=False)
class Feature(Result):
    """One feature on a text; NaN where a window ends."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS, "dictionaries": INDEX}

    params: FeatureParams
    provenance: Provenance
    about: str
    positions: int
    density: float
    peak: float
    histogram: Annotated[np.ndarray, "bin"]
    """Positions with activations in even bins from 0 to the peak, 0 itself left out."""
    label: str
    score: float
    """F1 of the label's rule on held-out windows; NaN where there is none."""
    score_random: float
    """F1 of the rules of other features on this one, in the mean."""
    quantile: Annotated[np.ndarray, "example"]
    """Of :data:`QUANTILES`."""
    where: Annotated[np.ndarray, "example two"]
    """Window and position that it is chosen for."""
    texts: Annotated[tuple[tuple[str, ...], ...], "example"]
    activation: Annotated[np.ndarray, "example place"]
    ablation: Annotated[np.ndarray, "example place"]
    """What removing the feature everywhere in the window adds to the loss of each token, nats."""
    direct: Annotated[np.ndarray, "example place"]
    """What that removal would add to the loss by the logit weights at the token before alone, nats."""
    promoted: Annotated[tuple[str, ...], "word"]
    promotion: Annotated[np.ndarray, "word"]
    """Logit weights, the vocabulary's median taken away."""
    suppressed: Annotated[tuple[str, ...], "word"]
    suppression: Annotated[np.ndarray, "word"]
    logit_histogram: Annotated[np.ndarray, "edge two"]
    """Of all logit weights: left ends of even bins, and how many are in them."""
    similar: Annotated[np.ndarray, "neighbour"]
    """Features whose decoder directions are most like this one's."""
    cosine: Annotated[np.ndarray, "neighbour"]
    correlated: Annotated[np.ndarray, "neighbour"]
    """Features whose activations correlate most with this one's."""
    correlation: Annotated[np.ndarray, "neighbour"]
    neurons: Annotated[np.ndarray, "neighbour"]
    """Dimensions of the site that the decoder direction has most of."""
    alignment: Annotated[np.ndarray, "neighbour"]
    """Their share of the direction, squared and signed."""

    @property
    def agreement(self) -> float:
        """How far logit weights and ablation agree: their correlation over the tokens that an active one precedes."""
        after = np.isfinite(self.direct) & np.isfinite(self.ablation) & (self.direct != 0)
        if after.sum() < 3:
            return float("nan")
        return float(np.corrcoef(self.direct[after], self.ablation[after])[0, 1])

    def tables(self) -> dict[str, pd.DataFrame]:
        """``examples``: one row a token; ``logits``, ``neighbours``, ``histogram``."""
        rows = [
            {
                "quantile": QUANTILES[int(self.quantile[i])],
                "example": i,
                "window": int(self.where[i, 0]),
                "position": int(self.where[i, 1]) + j - min(BEFORE, int(self.where[i, 1])),
                "token": token,
                "activation": float(self.activation[i, j]),
                "loss_change": float(self.ablation[i, j]),
                "direct": float(self.direct[i, j]),
            }
            for i, tokens in enumerate(self.texts)
            for j, token in enumerate(tokens)
        ]
        logits = pd.DataFrame(
            {
                "token": [*self.promoted, *self.suppressed],
                "weight": [*self.promotion, *self.suppression],
            }
        )
        neighbours = pd.DataFrame(
            {
                "similar": self.similar,
                "cosine": self.cosine,
                "correlated": self.correlated,
                "correlation": self.correlation,
                "neuron": self.neurons,
                "alignment": self.alignment,
            }
        )
        edges = np.linspace(0, self.peak, BINS + 1)
        histogram = pd.DataFrame(
            {"low": edges[:-1], "high": edges[1:], "positions": self.histogram}
        )
        return {
            "examples": pd.DataFrame(rows),
            "logits": logits,
            "neighbours": neighbours,
            "histogram": histogram,
        }

    @property
    def summary(self) -> dict[str, Any]:
        """What the feature goes along with, and how often it is active."""
        return {
            "feature": self.params.feature,
            "dictionary": self.about,
            "label": self.label,
            "score": self.score,
            "density": self.density,
            "peak": self.peak,
            "promotes": list(self.promoted[:5]),
        }
