"""How heads compose, and what paths into an induction head's keys carry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import Resample
from interp_core.papers.induction_heads.params import (
    KINDS,
    OneHead,
    Sequences,
    Threshold,
    head_name,
)
from interp_core.params import parameters
from interp_core.results import Provenance, Result


@parameters
class CircuitsParams(Threshold, OneHead, Sequences):
    """The head whose keys are patched, and the sequences that its prefix matching is measured on."""


@dataclass(frozen=True, eq=False)
class Circuits(Result):
    """Composition between all heads, and path patching into one head's keys."""

    version: ClassVar[int] = 2

    params: CircuitsParams
    provenance: Provenance
    composition: Annotated[np.ndarray, "3 layer head layer head"]
    """[kind, layer, head, layer, head] Frobenius scores less those of random matrices, float16: the
    first head writes, the second reads through q, k or v; NaN where there is none."""
    receiver: tuple[int, int]
    """Layer and head whose keys are patched."""
    clean: Annotated[np.ndarray, "sequence"]
    """Its prefix matching."""
    patched: Annotated[np.ndarray, "sequence layer head"]
    """The same when its keys are read without what that head writes."""
    looks: Annotated[np.ndarray, "sequence layer head"]
    """Attention to the previous token."""
    sender: tuple[int, int]
    """The head without which the receiver loses most."""
    control: tuple[int, int]
    """Another head of its layer, which looks least at the previous token."""
    receivers: tuple[tuple[int, int], ...]
    """The induction heads after the sender, whose keys are patched together for ``losses``."""
    losses: Annotated[np.ndarray, "3 sequence target"]
    """[3, sequence, pos - 1] of each next token, nats: whole; with the receivers' keys read without
    the sender; without the control."""

    @property
    def previous_token(self) -> np.ndarray:
        """[layer, head] mean attention to the previous token."""
        mean: np.ndarray = self.looks.mean(0)
        return mean

    @property
    def drop(self) -> np.ndarray:
        """[sequence, layer, head] how much prefix matching is lost."""
        return self.clean[:, None, None] - self.patched

    @cached_property
    def resample(self) -> Resample:
        """Of sequences."""
        return Resample(len(self.clean), "sequences", self.params.seed)

    @property
    def rise(self) -> np.ndarray:
        """[2, sequence] rise of the loss on the last copy without the sender, without the control."""
        last = self.losses[..., -self.params.tokens + 1 :].mean(-1)
        return last[1:] - last[:1]

    def rank(self, kind: str = "k") -> int | None:
        """Return the sender's rank among the heads before the receiver by composition, from 1."""
        found = self.composition[(KINDS.index(kind), ..., *self.receiver)].astype(np.float32)
        own = found[self.sender]
        return None if np.isnan(own) else int((found > own).sum()) + 1

    def tables(self) -> dict[str, pd.DataFrame]:
        """``paths`` by earlier head; ``composition``, the strongest 200 pairs of each kind."""
        return {"paths": self._paths(), "composition": self._pairs()}

    def _paths(self) -> pd.DataFrame:
        before = slice(0, self.receiver[0])
        drop = self.drop[:, before]
        layers, heads = np.indices(drop.shape[1:]).reshape(2, -1)
        into = self.composition[:, before, :, self.receiver[0], self.receiver[1]]
        return pd.DataFrame(
            {
                "layer": layers,
                "head": heads,
                **self.resample.columns("drop", drop),
                "previous_token": self.previous_token[before].ravel(),
                "k_composition": into[KINDS.index("k")].astype(np.float32).ravel(),
            }
        )

    def _pairs(self, most: int = 200) -> pd.DataFrame:
        rows = []
        for kind, scores in zip(KINDS, self.composition.astype(np.float32), strict=True):
            order = np.argsort(-scores, axis=None, kind="stable")[:most]
            for place in zip(*np.unravel_index(order, scores.shape), strict=True):
                if np.isfinite(scores[place]):
                    rows.append((kind, *map(int, place), float(scores[place])))
        names = ["kind", "layer", "head", "later_layer", "later_head", "composition"]
        return pd.DataFrame(rows, columns=names)

    @property
    def summary(self) -> dict[str, Any]:
        """The receiver, the sender, and what the path between them carries."""
        drop = self.resample.mean(self.drop[(slice(None), *self.sender)])
        return {
            "receiver": head_name(*self.receiver),
            "prefix_matching": float(self.clean.mean()),
            "sender": head_name(*self.sender),
            "sender_previous_token": float(self.previous_token[self.sender]),
            "drop": drop.value,
            "drop_low": drop.low,
            "drop_high": drop.high,
            "k_composition_rank": self.rank(),
            "rise": float(self.rise[0].mean()),
            "control_rise": float(self.rise[1].mean()),
        }
