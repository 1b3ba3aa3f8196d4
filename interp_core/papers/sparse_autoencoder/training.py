"""How dictionaries trained: what was logged at checkpoints, and what each of them keeps of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.dictionary import SHELF
from interp_core.papers.sparse_autoencoder.params import TrainParams
from interp_core.params import ParameterError
from interp_core.results import Provenance, Result


@dataclass(frozen=True, eq=False)
class Training(Result):
    """The training of one or several dictionaries; NaN where it has not come to yet."""

    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS}

    params: TrainParams
    provenance: Provenance
    names: tuple[str, ...]
    """Under which the dictionaries are kept on this machine; empty while they are trained."""
    layer: int
    latents: int
    activations: int
    """That were captured."""
    seconds: float
    """Of training, interrupted runs included."""
    sparsity: Annotated[np.ndarray, "sae"]
    """k, or the L1 coefficient."""
    checkpoints: Annotated[np.ndarray, "checkpoint"]
    """Training steps done."""
    mse: Annotated[np.ndarray, "sae checkpoint"]
    """Of held-out activations scaled to a mean norm of sqrt(d_in), a mean over dimensions."""
    l0: Annotated[np.ndarray, "sae checkpoint"]
    explained_variance: Annotated[np.ndarray, "sae checkpoint"]
    """Of held-out activations, about their mean."""
    dead: Annotated[np.ndarray, "sae checkpoint"]
    """Share of latents that were not active in the last twentieth of training."""
    spliced: Annotated[np.ndarray, "sae figure"]
    """Of the trained dictionaries on held-out text: L0, cross-entropy of the model, with the
    dictionary's reconstruction, with zeros, and with the mean in place of the site; NaN until then."""

    @property
    def recovered(self) -> np.ndarray:
        """[sae, 2], the share of the loss that is recovered: against zero and mean ablation."""
        _, clean, spliced, zero, mean = self.spliced.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([(base - spliced) / (base - clean) for base in (zero, mean)], 1)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``training``: by checkpoint and sparsity; ``pareto``: by sparsity, once trained."""
        sae, checkpoint = np.indices(self.mse.shape).reshape(2, -1)
        log = pd.DataFrame(
            {
                "sparsity": self.sparsity[sae],
                "step": self.checkpoints[checkpoint],
                "tokens": self.checkpoints[checkpoint] * self.params.batch,
                "mse": self.mse.ravel(),
                "l0": self.l0.ravel(),
                "explained_variance": self.explained_variance.ravel(),
                "dead": self.dead.ravel(),
            }
        )
        pareto = pd.DataFrame(
            {
                "sparsity": self.sparsity,
                "l0": self.spliced[:, 0],
                "ce_loss_without_sae": self.spliced[:, 1],
                "ce_loss_with_sae": self.spliced[:, 2],
                "ce_loss_score": self.recovered[:, 0],
                "ce_loss_score_mean_ablation": self.recovered[:, 1],
                "explained_variance": self.explained_variance[:, -1],
                "dead": self.dead[:, -1],
            }
        )
        return {"training": log.dropna(subset="mse"), "pareto": pareto.dropna(subset="l0")}

    @property
    def summary(self) -> dict[str, Any]:
        """What was trained, on how much, and what it keeps of the model."""
        done = int(np.isfinite(self.mse[0]).sum())
        last = self.checkpoints[max(done - 1, 0)] * self.params.batch
        return {
            "dictionaries": list(self.names),
            "latents": self.latents,
            "tokens": int(last),
            "l0": [round(float(each), 2) for each in self.spliced[:, 0]],
            "ce_loss_score": [round(float(each), 4) for each in self.recovered[:, 0]],
            "tokens_per_second": round(float(last) / max(self.seconds, 1e-9)),
        }

    def attachments(self) -> dict[str, bytes]:
        """Each dictionary as SAELens reads it: ``cfg.json`` and ``sae_weights.safetensors``."""
        found = {}
        for name, sparsity in zip(self.names, self.sparsity, strict=False):
            folder = f"{sparsity:g}/" if len(self.names) > 1 else ""
            try:
                files = SHELF.load(name).to_saelens()
            except ParameterError:  # trained on another machine
                continue
            found |= {folder + file: content for file, content in files.items()}
        return found
