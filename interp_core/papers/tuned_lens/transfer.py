"""How well the translator of one layer reads another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.estimates import ratios
from interp_core.papers.tuned_lens.params import TransferParams
from interp_core.papers.tuned_lens.translators import INDEX
from interp_core.results import Provenance, Result


@dataclass(frozen=True, eq=False)
class Transfer(Result):
    """KL(final || lens) of every translator at every layer (Belrose et al. 2023)."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"lenses": INDEX, "texts": TEXTS, "manual": MANUAL}

    params: TransferParams
    provenance: Provenance
    layers: Annotated[np.ndarray, "layer"]
    """Those that have a translator; -1 is the embedding."""
    positions: Annotated[np.ndarray, "document"]
    """Positions of each document that were read."""
    kl: Annotated[np.ndarray, "layer layer document"]
    """[translator, layer, document] sums over positions, nats."""

    @property
    def penalty(self) -> np.ndarray:
        """[translator, layer] mean KL beyond that of the layer's own translator, nats."""
        mean = self.kl.sum(-1) / self.positions.sum()
        return mean - np.diag(mean)

    def at_distance(self, distance: int) -> np.ndarray:
        """Return [3]: the mean penalty between blocks so many layers apart, with its interval."""
        return ratios(self._extra(distance), self.positions)

    def relative(self, distance: int) -> np.ndarray:
        """Return [3]: that penalty over the mean KL of the blocks' own translators, with its interval."""
        blocks = np.flatnonzero(self.layers >= 0)
        return ratios(self._extra(distance), self.kl[blocks, blocks].mean(0))

    def _extra(self, distance: int) -> np.ndarray:
        """Return [document]: sums of the penalty over positions, mean over such pairs of blocks."""
        rows, columns = np.indices(self.kl.shape[:2])
        apart = (np.abs(self.layers[rows] - self.layers[columns]) == distance) & (
            (self.layers[rows] >= 0) & (self.layers[columns] >= 0)
        )
        own = np.stack([self.kl[i, i] for i in range(len(self.layers))])
        return (self.kl - own)[apart].mean(0)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``transfer``: one row per translator and layer that it reads."""
        at = pd.MultiIndex.from_product([self.layers, self.layers], names=["translator", "layer"])
        mean = self.kl.sum(-1) / self.positions.sum()
        columns = {"kl": mean.ravel(), "penalty": self.penalty.ravel()}
        return {"transfer": pd.DataFrame(columns, index=at).reset_index()}

    @property
    def summary(self) -> dict[str, Any]:
        """Penalties between neighbours, and ten layers apart."""
        found = {"documents": len(self.positions), "positions": int(self.positions.sum())}
        blocks = self.layers[self.layers >= 0]
        for distance in (1, 10):
            if len(blocks) > distance:
                found[f"penalty_at_{distance}"] = float(self.at_distance(distance)[0])
        return found
