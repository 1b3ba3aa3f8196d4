"""A vector of every layer, as it is made, kept and exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import AfterValidator

from interp_core.papers.steering.pairs import FILE
from interp_core.papers.steering.params import WithPairs
from interp_core.papers.steering.vectors import Card, Vectors
from interp_core.params import Layers, Span, param, parameters, resolve
from interp_core.results import Provenance, Result


def _exported(span: Span) -> Span:
    if span[0] == 0:
        raise ValueError(
            "llama.cpp cannot steer the output of block 0, so it cannot be exported; accepted: from 1 on"
        )
    return span


@parameters
class SaveParams(WithPairs):
    """A vector of every layer, to keep and to export."""

    layers: Annotated[Layers, AfterValidator(_exported)] = param(
        (1, None, 1),
        "Layers exported",
        "to the GGUF control vector; from 1 on, as llama.cpp has it",
        slider=(0, 1),
        identity=False,
        fold=True,
    )


@dataclass(frozen=True, eq=False)
class Saved(Result):
    """One direction a layer, from the answers that do not match to those that do."""

    files: ClassVar[Mapping[str, str]] = {"behaviours": FILE}

    params: SaveParams
    provenance: Provenance
    vector: str
    """The name under which the vector is kept on the machine that made it."""
    card: Card
    layers: Annotated[np.ndarray, "layer"]
    direction: Annotated[np.ndarray, "layer width"]
    resid_norm: Annotated[np.ndarray, "layer"]
    """Mean norm of the residual stream at the tokens read."""

    @property
    def vectors(self) -> Vectors:
        """The vector as its file holds it."""
        return Vectors(self.card, tuple(int(k) for k in self.layers), self.direction)

    @property
    def norm(self) -> np.ndarray:
        """[layer], of the vector."""
        return np.linalg.norm(self.direction, axis=-1)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``vectors``: by layer, the vector's norm and the residual stream's."""
        columns = {"layer": self.layers, "norm": self.norm, "resid_norm": self.resid_norm}
        return {"vectors": pd.DataFrame(columns).assign(share=self.norm / self.resid_norm)}

    @property
    def summary(self) -> dict[str, Any]:
        """What the vector is of, and where it is kept."""
        return {"vector": self.vector, "behaviour": self.card.behaviour, "pairs": self.card.pairs}

    def attachments(self) -> dict[str, bytes]:
        """``vector.safetensors`` and, for llama.cpp, ``vector.gguf``."""
        found = {"vector.safetensors": self.vectors.to_bytes()}
        if len(self.layers) > 1:
            layers = resolve(self.params.layers, len(self.layers), "layers")
            found["vector.gguf"] = self.vectors.to_gguf(layers)
        return found
