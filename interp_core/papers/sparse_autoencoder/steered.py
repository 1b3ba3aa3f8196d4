"""Continuations of a prompt, with a feature and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from interp_core.corpus import MANUAL, TEXTS
from interp_core.papers.sparse_autoencoder.dictionary import INDEX
from interp_core.papers.sparse_autoencoder.params import SteerParams
from interp_core.papers.steering.generations import Generations


@dataclass(frozen=True, eq=False)
class Steered(Generations):
    """Continuations, the one of the model as it is first."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"manual": MANUAL, "texts": TEXTS, "dictionaries": INDEX}
    answer: ClassVar[str] = "continuation"
    direction: ClassVar[str] = "the feature"

    params: SteerParams  # type: ignore[assignment]  # another question's
    about: str
    peak: float
    """The feature's largest activation in the text."""

    @property
    def names(self) -> list[str]:
        """What each continuation is called."""
        words = {"add": "added", "clamp": "clamped to", "ablate": "ablated"}[self.params.mode]
        amount = "" if self.params.mode == "ablate" else f" {self.params.strength:g} times its peak"
        return ["unsteered", f"feature {self.params.feature} {words}{amount}"][
            : len(self.strengths)
        ]
