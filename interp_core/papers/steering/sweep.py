"""Every layer, steered by its own vector: how far held-out answers move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import means
from interp_core.papers.steering.pairs import FILE
from interp_core.papers.steering.params import SweepParams
from interp_core.results import Provenance, Result


def halves(n: int) -> tuple[slice, slice]:
    """Return the items that something is chosen on, and those that it is scored on."""
    return slice(0, n // 2), slice(n // 2, None)


@dataclass(frozen=True, eq=False)
class Sweep(Result):
    """p(matching answer) of every held-out pair, by layer and multiplier."""

    files: ClassVar[Mapping[str, str]] = {"behaviours": FILE}

    params: SweepParams
    provenance: Provenance
    behaviour: str
    layers: Annotated[np.ndarray, "layer"]
    multipliers: Annotated[np.ndarray, "multiplier"]
    """Ascending, 0 among them."""
    p: Annotated[np.ndarray, "layer multiplier pair"]
    """p(matching) over p(matching) + p(other): of letters, or of the answers' mean log-likelihoods."""
    depth: int
    """Layers of the model."""

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return self.p.shape[-1]

    @cached_property
    def swing(self) -> np.ndarray:
        """[layer, pair], p at the largest multiplier less p at the least."""
        return self.p[:, -1] - self.p[:, 0]

    @property
    def best(self) -> int:
        """The layer whose steering moves the pairs of the first half most."""
        return int(self.layers[self.swing[:, halves(self.n)[0]].mean(1).argmax()])

    @property
    def gain(self) -> np.ndarray:
        """[3], the swing at that layer on the other half, with its interval."""
        row = list(self.layers).index(self.best)
        return means(self.swing[row, halves(self.n)[1]])

    def tables(self) -> dict[str, pd.DataFrame]:
        """``sweep``: p(matching) by layer and multiplier; ``swing``: between the ends, by layer."""
        ends = means(self.p)
        layer, multiplier = np.indices(self.p.shape[:2]).reshape(2, -1)
        sweep = pd.DataFrame(
            {
                "layer": self.layers[layer],
                "multiplier": self.multipliers[multiplier],
                "system": "none",
                "p_matching": ends[..., 0].ravel(),
                "low": ends[..., 1].ravel(),
                "high": ends[..., 2].ravel(),
                "n": self.n,
            }
        )
        swing = means(self.swing)
        return {
            "sweep": sweep,
            "swing": pd.DataFrame(
                {
                    "layer": self.layers,
                    "swing": swing[:, 0],
                    "low": swing[:, 1],
                    "high": swing[:, 2],
                }
            ),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """The layer chosen on one half of the pairs, and the swing there on the other."""
        return {
            "best_layer": self.best,
            "swing": float(self.gain[0]),
            "baseline": float(self.p[0, list(self.multipliers).index(0)].mean()),
            "n": self.n,
        }
