"""The features of a text: which are active at each token, and what they do there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.features import Features
from interp_core.papers.sparse_autoencoder.params import Params
from interp_core.results import Provenance, Result


@dataclass(frozen=True, eq=False)
class Firing(Result):
    """Every active feature of a text; and those at one position with their effects."""

    files: ClassVar[Mapping[str, str]] = {"dictionaries": INDEX}

    params: Params
    provenance: Provenance
    about: str
    site: str
    tokens: Annotated[tuple[str, ...], "position"]
    place: Annotated[np.ndarray, "entry"]
    feature: Annotated[np.ndarray, "entry"]
    activation: Annotated[np.ndarray, "entry"]
    explained: Annotated[np.ndarray, "position"]
    """Share of the site's squared distance to the dictionary's bias that the reconstruction has."""
    position: int
    """Of the ranked features."""
    target: str
    probability: float
    """Of the target after the last token, by the model as it is."""
    ranked: Annotated[np.ndarray, "ranked"]
    """Features active at the position, by falling activation."""
    logit: Annotated[np.ndarray, "ranked"]
    """What each adds to the target's logit through the final norm alone, its scale held."""
    ablation: Annotated[np.ndarray, "ranked"]
    """What removing it at this position takes from the target's log-probability after the last token, nats."""
    promotes: Annotated[tuple[str, ...], "ranked"]

    def tables(self) -> dict[str, pd.DataFrame]:
        """``activations``: one row an active feature and token; ``features``: those ranked."""
        activations = pd.DataFrame(
            {
                "position": self.place,
                "token": [self.tokens[i] for i in self.place],
                "feature": self.feature,
                "activation": self.activation,
            }
        )
        at = self.place == self.position
        own = dict(zip(self.feature[at].tolist(), self.activation[at].tolist(), strict=True))
        features = pd.DataFrame(
            {
                "feature": self.ranked,
                "activation": [own[int(i)] for i in self.ranked],
                "logit_effect": self.logit,
                "ablation_effect": self.ablation,
                "promotes": self.promotes,
            }
        )
        return {"activations": activations, "features": features}

    @property
    def labels(self) -> dict[int, str]:
        """What goes along with features, by a rule on tokens: of all that have one, where it was measured."""
        measured = self.evidence.get("features")
        found = measured.labels if isinstance(measured, Features) else ()
        return {feature: rule for feature, rule in enumerate(found) if rule}

    @property
    def strongest(self) -> np.ndarray:
        """Features of the text by their largest activation, as many as are asked for."""
        order = np.argsort(-self.activation, kind="stable")
        return np.array(list(dict.fromkeys(self.feature[order].tolist()))[: self.params.top])

    @property
    def l0(self) -> float:
        """Active features a token, position 0 left out."""
        return len(self.place) / max(len(self.tokens) - 1, 1)

    @property
    def summary(self) -> dict[str, Any]:
        """How many features are active, and which does most for the target."""
        best = int(self.ranked[self.ablation.argmax()]) if len(self.ranked) else None
        return {
            "dictionary": self.about,
            "l0": self.l0,
            "target": self.target,
            "probability": self.probability,
            "strongest": self.strongest.tolist(),
            "most_ablation": best,
        }
