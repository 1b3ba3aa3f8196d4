"""Two dictionaries of one site: which latents of one the other has, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.features import ENOUGH
from interp_core.papers.sparse_autoencoder.params import CompareParams
from interp_core.results import Provenance, Result

NEAR = 0.5
"""Cosine from which on a latent of the wider dictionary counts as one of its nearest in the narrower."""


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """The closest latent of another dictionary to each of one, by direction and by activation.

    Rows of ``cosine`` and ``correlation`` are what was measured; its floor: random directions of the mean
    and covariance of the other's, and the other's activations one window further on; and the closest latent
    of the same dictionary, each itself left out. Of a dictionary beside itself, the last is what was measured,
    and there are two rows.
    """

    version: ClassVar[int] = 3
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS, "dictionaries": INDEX}

    params: CompareParams
    provenance: Provenance
    about: tuple[str, ...]
    """Both dictionaries in words, the other after the one asked for."""
    itself: bool
    """Whether they are the same."""
    positions: int
    """That were read."""
    density: Annotated[np.ndarray, "latent"]
    """Share of positions at which it is active."""
    nearest: Annotated[np.ndarray, "latent"]
    """The other's latent of the largest cosine between directions of the decoder."""
    cosine: Annotated[np.ndarray, "row latent"]
    partner: Annotated[np.ndarray, "latent"]
    """The other's latent of the largest correlation of activations; -1 where too few are active."""
    correlation: Annotated[np.ndarray, "row latent"]
    """Pearson's, over positions; NaN of latents active at fewer than ``ENOUGH`` of them."""
    back: Annotated[np.ndarray, "other"]
    """Of each of the other's latents, the nearest one here by cosine."""
    back_cosine: Annotated[np.ndarray, "other"]
    """Its cosine."""
    covered: Annotated[np.ndarray, "3 narrower"]
    """Of each latent of the narrower dictionary, the share of its positions at which one of those nearest to it in
    the wider is active; one of those nearest to the latent most like it; and the most frequent of its own alone. NaN
    where it has none, or is active too seldom."""

    @property
    def wider(self) -> str:
        """Which has more latents: ``other``, ``sae``, or neither, as an empty text."""
        here, there = len(self.nearest), len(self.back)
        return "" if here == there else "other" if there > here else "sae"

    @property
    def splits(self) -> np.ndarray:
        """Of the narrower dictionary, how many of the wider one's latents are nearest to each: [latent].

        Only those whose cosine is :data:`NEAR` or more count; of equal widths, the other takes the narrower's place.
        """
        here, there = len(self.nearest), len(self.back)
        if self.wider == "other":
            return np.bincount(self.back[self.back_cosine >= NEAR], minlength=here)
        return np.bincount(self.nearest[self.cosine[0] >= NEAR], minlength=there)

    @property
    def split(self) -> np.ndarray:
        """[row, latent] of :attr:`covered`, of the narrower's latents that are nearest to two or more."""
        return self.covered[:, (self.splits >= 2) & np.isfinite(self.covered).all(0)]

    @property
    def often(self) -> np.ndarray:
        """[latent] which are active often enough to be correlated."""
        found: np.ndarray = np.isfinite(self.correlation).all(0)
        return found

    def tables(self) -> dict[str, pd.DataFrame]:
        """``compare``: one row a latent; ``splits``: where widths differ, one a latent of the narrower."""
        compare = pd.DataFrame(
            {
                "latent": np.arange(len(self.density)),
                "density": self.density,
                "nearest": self.nearest,
                "cosine": self.cosine[0],
                "cosine_floor": self.cosine[1],
                "partner": self.partner,
                "correlation": self.correlation[0],
                "correlation_floor": self.correlation[1],
            }
        )
        if not self.itself:
            compare["cosine_within"], compare["correlation_within"] = (
                self.cosine[2],
                self.correlation[2],
            )
        counts = self.splits if self.wider else np.zeros(0, int)
        splits = pd.DataFrame({"latent": np.arange(len(counts)), "count": counts})
        if self.wider:
            splits["covered"], splits["covered_by_next"], splits["covered_by_one"] = self.covered
        return {"compare": compare, "splits": splits}

    @property
    def summary(self) -> dict[str, Any]:
        """The middle latent's cosine and correlation, beside their floors."""
        some = self.correlation[:, self.often]
        middle = np.median(some, 1) if some.size else np.full(len(some), np.nan)
        names = ("", "_floor", "_within")
        return {
            "dictionaries": list(self.about),
            **{
                f"cosine{n}": float(v)
                for n, v in zip(names, np.median(self.cosine, 1), strict=False)
            },
            **{f"correlation{n}": float(v) for n, v in zip(names, middle, strict=False)},
            "correlated": int(self.often.sum()),
            "active_at_least": ENOUGH,
        }
