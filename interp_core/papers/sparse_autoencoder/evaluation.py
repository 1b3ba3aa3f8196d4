"""A dictionary on held-out text: how sparse it is, and what it keeps of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.estimates import Estimate, ratios
from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.params import EvaluateParams
from interp_core.results import Provenance, Result

METRICS = {
    "l0": "active latents a token",
    "l1": "sum of activations a token",
    "mse": "squared error a token, summed over dimensions",
    "explained_variance": "1 - sum |x - x^|^2 / sum |x - mean|^2 (SAELens since March 2026)",
    "explained_variance_legacy": "1 - sum |x - x^|^2 / sum |x|^2 (SAELens before; SAEBench, Neuronpedia)",
    "cossim": "cosine of x and x^, mean over tokens",
    "l2_ratio": "|x^| / |x|, mean over tokens",
    "kl_div_score": "1 - KL(clean || spliced) / KL(clean || zeros)",
    "ce_loss_score": "(CE zeros - CE spliced) / (CE zeros - CE clean)",
    "ce_loss_score_mean_ablation": "(CE mean - CE spliced) / (CE mean - CE clean)",
    "ce_loss_without_sae": "cross-entropy as the model is, nats a token",
    "ce_loss_with_sae": "cross-entropy with the reconstruction, nats a token",
    "ce_loss_with_ablation": "cross-entropy with zeros, nats a token",
    "ce_loss_score_pca": "ce_loss_score of as many principal components as l0, rounded",
    "ce_loss_score_random": "ce_loss_score of as many of equally many random directions",
}
"""By SAELens's name, where it has one: the formula. Sums and means are over tokens, position 0 left out."""
DENSE = 0.1
"""Share of tokens from which on a latent is called dense."""


@dataclass(frozen=True, eq=False)
class Evaluation(Result):
    """Sums over the tokens of each window, and each latent's density."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS, "dictionaries": INDEX}

    params: EvaluateParams
    provenance: Provenance
    about: str
    tokens_trained: int
    sums: Annotated[np.ndarray, "sum window"]
    """By :data:`NAMES`."""
    density: Annotated[np.ndarray, "latent"]
    """Share of tokens at which each latent is active."""
    positions: int
    """That densities are over."""

    def sum(self, name: str) -> np.ndarray:
        """Return the sums of that name, [window]."""
        found: np.ndarray = self.sums[NAMES.index(name)]
        return found

    def metric(self, name: str) -> np.ndarray:
        """Return [3]: a metric of :data:`METRICS` with its 95% interval over windows."""
        n, s = self.sum("n"), self.sum
        match name:
            case "mse" | "l0" | "l1" | "cossim" | "l2_ratio":
                of = {"mse": "error", "cossim": "cosine", "l2_ratio": "length"}.get(name, name)
                return ratios(s(of), n)
            case "explained_variance":
                return _of_loss(s("spread") - s("error"), s("spread"))
            case "explained_variance_legacy":
                return _of_loss(s("square") - s("error"), s("square"))
            case "kl_div_score":
                return _of_loss(s("kl_zero") - s("kl_spliced"), s("kl_zero"))
            case "ce_loss_score_mean_ablation":
                return _of_loss(s("mean") - s("spliced"), s("mean") - s("clean"))
            case "ce_loss_score" | "ce_loss_score_pca" | "ce_loss_score_random":
                of = name.removeprefix("ce_loss_score").removeprefix("_") or "spliced"
                return _of_loss(s("zero") - s(of), s("zero") - s("clean"))
            case _:
                which = {"without_sae": "clean", "with_sae": "spliced", "with_ablation": "zero"}
                return ratios(s(which[name.removeprefix("ce_loss_")]), n)

    def gain(self, over: str) -> Estimate:
        """Return what is recovered more than by ``over`` (``pca``, ``random``), in shares of the loss."""
        gap = _of_loss(self.sum(over) - self.sum("spliced"), self.sum("zero") - self.sum("clean"))
        return Estimate.of_ends(gap, self.n, "windows")

    @property
    def n(self) -> int:
        """How many windows there are."""
        return self.sums.shape[1]

    @property
    def dead(self) -> float:
        """The share of latents that are never active in this text."""
        return float((self.density == 0).mean())

    @property
    def decades(self) -> float:
        """Decades between the 1st and the 99th percentile of the densities of active latents."""
        active = self.density[self.density > 0]
        return float(np.ptp(np.log10(np.percentile(active, (1, 99))))) if len(active) else 0.0

    def tables(self) -> dict[str, pd.DataFrame]:
        """``metrics``: one row each, with its formula; ``densities``: one row a latent."""
        values = np.stack([self.metric(name) for name in METRICS])
        metrics = pd.DataFrame(
            {
                "metric": METRICS.keys(),
                "value": values[:, 0],
                "low": values[:, 1],
                "high": values[:, 2],
                "formula": METRICS.values(),
            }
        )
        more = {
            "dead": (self.dead, f"share of latents never active in {self.positions:,} tokens"),
            "dense": (
                float((self.density > DENSE).mean()),
                f"share of latents active at more than {DENSE:.0%} of tokens",
            ),
        }
        extra = pd.DataFrame(
            [{"metric": n, "value": v, "formula": said} for n, (v, said) in more.items()]
        )
        latents = pd.DataFrame({"latent": np.arange(len(self.density)), "density": self.density})
        return {"metrics": pd.concat([metrics, extra], ignore_index=True), "densities": latents}

    @property
    def summary(self) -> dict[str, Any]:
        """How sparse it is, and what it keeps."""
        names = ("l0", "ce_loss_score", "ce_loss_score_mean_ablation", "explained_variance")
        return {"dictionary": self.about, "windows": self.n, "dead": self.dead} | {
            name: float(self.metric(name)[0]) for name in names
        }


def _of_loss(kept: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return [3]: the share of ``whole`` [window] that is kept; NaN where there is nothing to keep."""
    return ratios(kept, whole) if whole.sum() > 0 else np.full(3, np.nan)


NAMES = (
    "n",
    "l0",
    "l1",
    "error",
    "square",
    "spread",
    "cosine",
    "length",
    "clean",
    "spliced",
    "zero",
    "mean",
    "kl_spliced",
    "kl_zero",
    "pca",
    "random",
)
"""Of a window: positions; and sums over them of active latents, of activations, of the squared error,
of the squared norm, of the squared distance to the mean, of the cosine of input and reconstruction, of
the ratio of their norms; of cross-entropies as the model is, with the reconstruction, with zeros and with
the mean in the site's place; of KL(clean || other), nats; of cross-entropies with PCA's and with random
directions' reconstruction."""
