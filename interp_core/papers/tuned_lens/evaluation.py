"""How well lenses read held-out text, by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.estimates import columns, jackknife, ratios
from interp_core.papers.tuned_lens.params import EvaluateParams
from interp_core.papers.tuned_lens.translators import INDEX
from interp_core.results import Provenance, Result

FOLDS = 8
"""Parts of the documents that are left out in turn, for intervals of what is no mean."""

LOGIT, TUNED, BIAS_ONLY = "logit", "tuned", "bias-only"


@dataclass(frozen=True, eq=False)
class Evaluation(Result):
    """Sums over a document's positions, for every lens and layer; the first position is left out.

    Divergences are KL(final || lens); nats.
    """

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"lenses": INDEX, "texts": TEXTS, "manual": MANUAL}

    params: EvaluateParams
    provenance: Provenance
    abouts: Annotated[tuple[str, ...], "lens"]
    """What each lens was trained on."""
    lenses: Annotated[tuple[str, ...], "lens"]
    """``logit``, ``tuned``, and what stands beside them."""
    layers: Annotated[np.ndarray, "layer"]
    """-1 is the embedding."""
    positions: Annotated[np.ndarray, "document"]
    """Positions of each document that were read."""
    bytes: Annotated[np.ndarray, "document"]
    """Bytes of UTF-8 that their next tokens stand for."""
    kl: Annotated[np.ndarray, "lens layer document"]
    cross_entropy: Annotated[np.ndarray, "lens layer document"]
    """Surprisal of the actual next token."""
    agreement: Annotated[np.ndarray, "lens layer document"]
    """Positions whose top token is the model's."""
    depth: Annotated[np.ndarray, "lens document"]
    """Of prediction depths: the blocks that have run when the top token is the final one for good."""
    output: Annotated[np.ndarray, "document"]
    """Surprisal of the actual next token in the model's own output."""
    marginal: Annotated[np.ndarray, "lens layer fold"]
    """KL between the mean output and the mean readout over all positions, nats: of all documents,
    then without each of some folds of them."""

    translators: Annotated[np.ndarray, "layer 3"]
    """Of the tuned lens: Frobenius norm of A, norm of b, cosine of 1 + A with the identity; NaN
    where it has no translator."""

    def mean(self, name: str) -> np.ndarray:
        """Return [lens, layer, 3]: the mean over positions of a field, and its 95% interval."""
        return ratios(getattr(self, name), self.positions)

    @cached_property
    def bits_per_byte(self) -> np.ndarray:
        """[lens, layer, 3] surprisal of the text, in bits per byte of it, with its interval."""
        return ratios(self.cross_entropy / np.log(2), self.bytes)

    @cached_property
    def bias(self) -> np.ndarray:
        """[lens, layer, 3] the KL of the marginals, with its interval over folds of documents."""
        return jackknife(self.marginal)

    def row(self, depth: float) -> int:
        """Return the row of the layer at which that share of the blocks has run."""
        return round(depth * (len(self.layers) - 1))

    def tables(self) -> dict[str, pd.DataFrame]:
        """``layers``: one row per lens and layer; ``depths``: prediction depth by lens."""
        at = pd.MultiIndex.from_product([self.lenses, self.layers], names=["lens", "layer"])
        ends = {
            "kl": self.mean("kl"),
            "cross_entropy": self.mean("cross_entropy"),
            "bits_per_byte": self.bits_per_byte,
            "agreement": self.mean("agreement"),
            "marginal_kl": self.bias,
        }
        depths = columns({"depth": ratios(self.depth, self.positions)})
        return {
            "layers": _plain(pd.DataFrame(columns(ends), index=at).reset_index(), "kl"),
            "depths": _plain(pd.DataFrame({"lens": self.lenses, **depths}), "depth"),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """How much was read, and the mean KL over the layers of each lens."""
        kl = self.mean("kl")[..., 0].mean(1)
        return {
            "text": self.params.text,
            "documents": len(self.positions),
            "positions": int(self.positions.sum()),
            "output_bits_per_byte": float(self.output.sum() / np.log(2) / self.bytes.sum()),
            "mean_kl": dict(zip(self.lenses, map(float, kl), strict=True)),
            "lens": self.abouts[1],
        }


def _plain(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Call the ends of the main quantity's interval ``low`` and ``high``."""
    return frame.rename(columns={f"{name}_low": "low", f"{name}_high": "high"})
