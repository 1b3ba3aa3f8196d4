"""Causal bases: the directions that a lens reads most from, and what they do to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.estimates import columns, jackknife, ratios
from interp_core.papers.tuned_lens.evaluation import FOLDS, LOGIT, TUNED
from interp_core.papers.tuned_lens.params import OnText
from interp_core.papers.tuned_lens.reading import LENSES
from interp_core.papers.tuned_lens.translators import INDEX
from interp_core.params import Layers, View, param, parameters
from interp_core.results import Provenance, Result

RANDOM = "random"
BASES = (*LENSES, RANDOM)
"""The causal basis of each lens, and random orthonormal directions."""


@parameters
class BasisParams(OnText):
    """The causal bases of a lens and of the logit lens, extracted on half of a text's documents."""

    layers: Layers = param((0, None, 5), "Layers", "blocks whose output is ablated", slider=(0, 1))
    vectors: int = param(8, "Vectors", "of each basis", slider=(2, 16), ge=2, le=64)
    context: int = param(
        64, "Context", "tokens of a document, at most", slider=(32, 256, 32), ge=8, le=8192
    )
    documents: int = param(
        24,
        "Documents at most",
        "to read: every other one is measured on, the rest extracted from",
        slider=(4, 64, 4),
        ge=4,
        le=10_000,
        fold=True,
    )
    positions: int | None = param(
        32,
        "Positions of a document",
        "that are measured, drawn at random; all but the first when empty",
        ge=1,
        le=8192,
        placeholder="all",
        fold=True,
    )
    vocabulary: int = param(
        2048,
        "Vocabulary sample",
        "tokens that bases are extracted on: half the likeliest, half drawn and weighted",
        ge=64,
        le=1_000_000,
        fold=True,
    )


@parameters
class BasisView(View):
    """The layer whose vectors are shown."""

    layer: int | None = param(
        None, "Layer", "the nearest that is measured", ge=0, le=1000, placeholder="the middle one"
    )


@dataclass(frozen=True, eq=False)
class Basis(Result):
    """What ablating each vector of three bases does, as sums over a document's positions.

    Documents are those that no basis was extracted from; the first position is left out.
    """

    files: ClassVar[Mapping[str, str]] = {"lenses": INDEX, "texts": TEXTS, "manual": MANUAL}

    params: BasisParams
    provenance: Provenance
    about: str
    """What the tuned lens was trained on."""
    lenses: Annotated[tuple[str, ...], "lens"]
    """``logit``, ``tuned``"""
    bases: Annotated[tuple[str, ...], "basis"]
    """``logit`` and ``tuned``, the causal basis of each lens, and ``random``."""
    layers: Annotated[np.ndarray, "layer"]
    translated: Annotated[np.ndarray, "layer"]
    """Whether the tuned lens has a translator there; where it has none the lenses are one."""
    extracted_on: int
    """Documents that the bases are extracted from."""
    extracted: Annotated[np.ndarray, "lens layer vector"]
    """Mean influence of a lens's own vectors where they were extracted, nats, on the sample of the
    vocabulary; descending."""
    positions: Annotated[np.ndarray, "document"]
    """Positions of each document that were read."""
    on_model: Annotated[np.ndarray, "basis layer vector document"]
    """KL(output || output after the ablation), nats."""
    on_lens: Annotated[np.ndarray, "lens basis layer vector document"]
    """KL(readout || readout after the ablation), nats."""
    alignment: Annotated[np.ndarray, "lens basis layer vector document"]
    """Cosine of stimulus and response in Aitchison's geometry."""
    aligned: Annotated[np.ndarray, "lens basis layer vector document"]
    """Positions that have one, since lens and model both change."""

    @property
    def middle(self) -> int:
        """The row of the layer after which about half of the blocks have run."""
        half = self.provenance.model.n_layers / 2
        return int(np.abs(self.layers + 1 - half).argmin())

    def at(self, name: str) -> int:
        """Return the row of a basis, and of the lens of the same name."""
        return self.bases.index(name)

    def mean_alignment(self, lens: str, basis: str) -> np.ndarray:
        """Return [layer, 1 + fold] mean cosines: over all documents, then without each fold."""
        row, column = self.at(lens), self.at(basis)
        return _share(self.alignment[row, column].sum(1), self.aligned[row, column].sum(1))

    def fidelity(self, lens: str) -> np.ndarray:
        """Return [layer, 1 + fold]: Spearman's correlation of influence on lens and on model.

        Over the vectors of the lens's own basis: of all documents, then without each fold of them.
        """
        row = self.at(lens)
        return _spearman(without(self.on_lens[row, row]), without(self.on_model[row]))

    def faithful(self, lens: str) -> np.ndarray:
        """Return [layer]: whether its fidelity is clearly above 0."""
        return correlation(self.fidelity(lens))[:, 1] > 0

    def better_aligned(self, basis: str) -> np.ndarray:
        """Return [layer]: whether the tuned lens is clearly better aligned, see :meth:`alignment_gap`."""
        return self.alignment_gap(basis)[:, 1] > 0

    def alignment_gap(self, basis: str) -> np.ndarray:
        """Return [layer, 3]: the tuned lens's mean alignment on its basis less the logit lens's on ``basis``."""
        return jackknife(self.mean_alignment(TUNED, TUNED) - self.mean_alignment(LOGIT, basis))

    def tables(self) -> dict[str, pd.DataFrame]:
        """``basis``: rows by lens, basis, layer and vector; ``bases``: their means; ``fidelity``."""
        return {"basis": self._vectors(), "bases": self._means(), "fidelity": self._fidelities()}

    def _vectors(self) -> pd.DataFrame:
        shape = self.alignment.shape[:-1]
        vectors = np.arange(shape[-1])
        names = ["lens", "basis", "layer", "vector"]
        at = pd.MultiIndex.from_product(
            [self.lenses, self.bases, self.layers, vectors], names=names
        )
        on_model = ratios(self.on_model, self.positions)
        ends = {
            "on_lens": ratios(self.on_lens, self.positions),
            "on_model": np.broadcast_to(on_model, (*shape, 3)),
            "alignment": jackknife(_share(self.alignment, self.aligned)),
        }
        return pd.DataFrame(columns(ends), index=at).reset_index()

    def _means(self) -> pd.DataFrame:
        at = pd.MultiIndex.from_product(
            [self.lenses, self.bases, self.layers], names=["lens", "basis", "layer"]
        )
        on_lens = ratios(self.on_lens.mean(3), self.positions)
        on_model = ratios(self.on_model.mean(2), self.positions)
        alignment = jackknife(_share(self.alignment.sum(3), self.aligned.sum(3)))
        ends = {
            "on_lens": on_lens,
            "on_model": np.broadcast_to(on_model, on_lens.shape),
            "alignment": alignment,
        }
        return pd.DataFrame(columns(ends), index=at).reset_index()

    def _fidelities(self) -> pd.DataFrame:
        at = pd.MultiIndex.from_product([self.lenses, self.layers], names=["lens", "layer"])
        ends = correlation(np.stack([self.fidelity(lens) for lens in self.lenses]))
        return pd.DataFrame(columns({"fidelity": ends}), index=at).reset_index()

    @property
    def summary(self) -> dict[str, Any]:
        """Fidelity and alignment at the middle layer, and how much was read."""
        row = self.middle
        return {
            "text": self.params.text,
            "extracted_from": self.extracted_on,
            "documents": len(self.positions),
            "positions": int(self.positions.sum()),
            "layer": int(self.layers[row]),
            "fidelity": {lens: float(self.fidelity(lens)[row, 0]) for lens in self.lenses},
            "alignment": {
                lens: float(self.mean_alignment(lens, lens)[row, 0]) for lens in self.lenses
            },
            "alignment_of_random": float(self.mean_alignment(TUNED, RANDOM)[row, 0]),
            "lens": self.about,
        }


def without(sums: np.ndarray) -> np.ndarray:
    """Return [..., 1 + fold] sums of [..., document]: of all, then without each fold of them."""
    folds = min(FOLDS, sums.shape[-1])
    parts = np.stack([sums[..., fold::folds].sum(-1) for fold in range(folds)], -1)
    whole = parts.sum(-1, keepdims=True)
    return np.concatenate([whole, whole - parts], -1)


def correlation(values: np.ndarray) -> np.ndarray:
    """Return [..., 3] of correlations [..., 1 + fold]: with their intervals, within -1 to 1."""
    return np.clip(jackknife(values), -1, 1)


def _share(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return means [..., 1 + fold] of sums [..., document]; NaN where nothing is counted."""
    of, among = without(sums), without(counts.astype(float))
    return np.divide(of, among, out=np.full_like(of, np.nan), where=among > 0)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the rank correlation over vectors of [layer, vector, any], [layer, any].

    NaN where all are equal.
    """
    from scipy.stats import rankdata  # not needed to draw a page, and slow to import

    a, b = (rankdata(each, axis=1) - (each.shape[1] + 1) / 2 for each in (x, y))
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), size, out=np.full_like(size, np.nan), where=size > 0)
