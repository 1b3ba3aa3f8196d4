"""How attention-only models train from several seeds: what claims about training rest on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.papers.induction_heads.dynamics import Change, change, first
from interp_core.papers.induction_heads.toys import Toy
from interp_core.papers.induction_heads.training import SCORE, Trained, Training
from interp_core.params import param, parameters
from interp_core.results import Provenance, Result


@parameters
class SeedsParams(Trained):
    """The same models, each trained from several seeds."""

    runs: int = param(
        5, "Runs", "of every model, each from a seed of its own", slider=(2, 10), ge=2, le=10
    )
    seed: int = param(
        1, "First seed", "of weights and sequences; the others follow", fold=True, ge=0, lt=2**31
    )
    resume: bool = param(True, "Resume", "from runs in the cache", identity=False, control=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return tuple(range(self.seed, self.seed + self.runs))


@dataclass(frozen=True, eq=False)
class Seeds(Result):
    """Curves of several trainings of each model (Olsson et al. 2022, arguments 1 and 2).

    Every run is a :class:`Training` of its own seed; of its heads those are kept that claims are about.
    """

    version: ClassVar[int] = Training.version

    params: SeedsParams
    provenance: Provenance
    models: Annotated[tuple[Toy, ...], "model"]
    seeds: Annotated[tuple[int, ...], "run"]
    steps: Annotated[np.ndarray, "checkpoint"]
    """Training steps done."""
    second_copy_loss: Annotated[np.ndarray, "model run checkpoint"]
    """Nats, on what the first copy of a random segment predicts."""
    best_prefix_matching: Annotated[np.ndarray, "model run checkpoint"]
    """Attention, of each checkpoint's best head."""
    in_context: Annotated[np.ndarray, "model run checkpoint"]
    """Nats, the loss of late less that of early tokens of tiled sequences; negative is better."""
    circuits: Annotated[np.ndarray, "model run 4"]
    """Layer and head of the previous-token head, then of the induction head; -1 in one layer."""
    composition: Annotated[np.ndarray, "model run checkpoint layer head"]
    """K-composition of each head with its run's induction head, less that of random matrices, float16;
    NaN from that head's layer on."""

    @cached_property
    def changes(self) -> dict[Toy, list[Change]]:
        """Where the second copy's loss falls most, by model and run."""
        return {
            name: [change(self.steps, loss) for loss in self.second_copy_loss[row]]
            for row, name in enumerate(self.models)
        }

    def formed(self, name: Toy) -> list[int | None]:
        """Return the step at which a head's prefix matching first passes ``SCORE``, by run."""
        best = self.best_prefix_matching[self.models.index(name)]
        return [first(self.steps, each > SCORE) for each in best]

    def composed(self, name: Toy) -> tuple[np.ndarray, np.ndarray]:
        """Return how much K-composition with the induction head rises over training, [run] each.

        Of the previous-token head, and of that other earlier head for which it rises most.
        """
        row = self.models.index(name)
        curves = self.composition[row].astype(np.float32)
        rises = curves[:, -1] - curves[:, 0]
        own = []
        for rise, (layer, head, *_) in zip(rises, self.circuits[row], strict=True):
            own.append(rise[layer, head])
            rise[layer, head] = np.nan
        return np.array(own), np.nanmax(rises, axis=(1, 2))

    @cached_property
    def pair_composition(self) -> np.ndarray:
        """[model, run, checkpoint] K-composition of the two heads of each run's circuit."""
        found = np.full(self.second_copy_loss.shape, np.nan)
        for row, run in np.argwhere(self.circuits[..., 0] >= 0):
            layer, head = self.circuits[row, run, :2]
            found[row, run] = self.composition[row, run, :, layer, head]
        return found

    def tables(self) -> dict[str, pd.DataFrame]:
        """``runs`` by model, seed and step; ``changes`` by model and seed."""
        at = pd.MultiIndex.from_product(
            [self.models, self.seeds, self.steps], names=["model", "seed", "step"]
        )
        curves = {
            "second_copy_loss": self.second_copy_loss.ravel(),
            "best_prefix_matching": self.best_prefix_matching.ravel(),
            "in_context": self.in_context.ravel(),
            "k_composition": self.pair_composition.ravel(),
        }
        return {
            "runs": pd.DataFrame(curves, index=at).reset_index(),
            "changes": pd.DataFrame(self._changes()),
        }

    def _changes(self) -> list[dict[str, Any]]:
        return [
            {
                "model": name,
                "seed": seed,
                "start": found.start,
                "end": found.end,
                "fall": found.fall,
                "before": found.before,
                "whole": found.whole,
                "abrupt": found.abrupt,
                "heads_form": formed,
                "in_context": float(self.in_context[row, run, -1]),
            }
            for row, name in enumerate(self.models)
            for run, (seed, found, formed) in enumerate(
                zip(self.seeds, self.changes[name], self.formed(name), strict=True)
            )
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """How many runs of each model change abruptly, when, and what they end with."""
        models = {}
        for row, name in enumerate(self.models):
            found, formed = self.changes[name], self.formed(name)
            models[name] = {
                "abrupt": sum(each.abrupt for each in found),
                "form_heads": sum(step is not None for step in formed),
                "earliest": min(each.start for each in found),
                "latest": max(each.start for each in found),
                "second_copy_loss": float(self.second_copy_loss[row, :, -1].mean()),
                "in_context": float(self.in_context[row, :, -1].mean()),
            }
        return {"steps": self.params.steps, "runs": len(self.seeds), "models": models}
