"""How a lens trained: losses by step and layer, and what it reads of held-out text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.tuned_lens import translators
from interp_core.papers.tuned_lens.params import TrainParams
from interp_core.params import ParameterError
from interp_core.results import Provenance, Result


@dataclass(frozen=True, eq=False)
class Training(Result):
    """The training of a lens; NaN where it has not come to yet."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS}

    params: TrainParams
    provenance: Provenance
    lens: str
    """The name under which the lens is kept on this machine; empty while it is trained."""
    windows: int
    """Of the training text."""
    positions: int
    """Trained on at each step."""
    seconds: float
    """Of training, interrupted runs included."""
    layers: Annotated[np.ndarray, "layer"]
    """-1 is the embedding."""
    losses: Annotated[np.ndarray, "step layer"]
    """Mean loss of a step's positions, nats; on the vocabulary sample where there is one."""
    checkpoints: Annotated[np.ndarray, "checkpoint"]
    """Training steps done."""
    kl: Annotated[np.ndarray, "checkpoint layer"]
    """Mean KL(final || lens) of held-out text, nats, whole vocabulary."""

    @property
    def done(self) -> int:
        """Training steps so far."""
        return int(np.isfinite(self.losses[:, 0]).sum())

    def tables(self) -> dict[str, pd.DataFrame]:
        """``training``: loss by step and layer; ``held_out``: KL by checkpoint and layer."""
        steps = np.arange(1, len(self.losses) + 1)
        losses = pd.DataFrame(
            {
                "step": np.repeat(steps, len(self.layers)),
                "layer": np.tile(self.layers, len(steps)),
                "loss": self.losses.ravel(),
            }
        )
        held_out = pd.DataFrame(
            {
                "step": np.repeat(self.checkpoints, len(self.layers)),
                "layer": np.tile(self.layers, len(self.checkpoints)),
                "kl": self.kl.ravel(),
            }
        )
        return {"training": losses.dropna(), "held_out": held_out.dropna()}

    @property
    def summary(self) -> dict[str, Any]:
        """What was trained, on how much, and how well it reads."""
        seen = self.done * self.positions
        reached = np.flatnonzero(np.isfinite(self.kl[:, 0]))
        return {
            "lens": self.lens,
            "steps": self.done,
            "tokens": seen,
            "tokens_per_second": seen / self.seconds if self.seconds else None,
            "of_the_papers_tokens": seen / PAPERS_TOKENS,
            "held_out_kl_before": float(self.kl[0].mean()),
            "held_out_kl": float(self.kl[reached[-1]].mean()) if len(reached) else None,
        }

    def attachments(self) -> dict[str, bytes]:
        """``lens.safetensors``, where this machine has it: what the training made."""
        try:
            return {"lens.safetensors": translators.SHELF.load(self.lens).to_bytes()}
        except ParameterError:
            return {}


PAPERS_TOKENS = 250 * 2**18
"""The authors' recipe: 250 steps of 262,144 tokens."""
