"""What repeats lose without some heads, and without as many others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pandas as pd

from interp_core.estimates import Resample
from interp_core.papers.induction_heads.heads import loss_table
from interp_core.papers.induction_heads.params import (
    Removed,
    Sequences,
    Threshold,
    controls_of,
    head_name,
    matched,
)
from interp_core.params import parameters
from interp_core.results import Provenance, Result


@parameters
class AblationParams(Threshold, Removed, Sequences):
    """Heads to ablate, and how many other sets of heads to compare with."""

    controls: int = controls_of(8, 20)


@dataclass(frozen=True, eq=False)
class Ablated(Result):
    """Losses on repeated random tokens, whole and with heads ablated."""

    params: AblationParams
    provenance: Provenance
    heads: tuple[tuple[int, int], ...]
    """Layer and head of those ablated."""
    controls: tuple[tuple[tuple[int, int], ...], ...]
    """Draws of other heads of the same layers, no induction heads among them."""
    base: Annotated[np.ndarray, "sequence target"]
    """[sequence, pos - 1] loss of each next token in the whole model, nats."""
    losses: Annotated[np.ndarray, "condition sequence target"]
    """[1 + control, sequence, pos - 1] the same without ``heads``, and without each control."""

    @property
    def rise(self) -> np.ndarray:
        """[1 + control, sequence] rise of the mean loss on the last copy, its first token left out."""
        last = slice(-self.params.tokens + 1, None)
        return (self.losses[..., last] - self.base[..., last]).mean(-1)

    @cached_property
    def resample(self) -> Resample:
        """Of sequences."""
        return Resample(len(self.base), "sequences", self.params.seed)

    @property
    def lead(self) -> np.ndarray:
        """[sequence] how much more the last copy's loss rises than without other heads, mean of draws."""
        return self.rise[0] - self.rise[1:].mean(0)

    @property
    def unpredicted(self) -> float:
        """Mean loss of the whole model on the first copy, which nothing predicts, nats."""
        return float(self.base[:, self._first_copy].mean())

    @property
    def unpredicted_without(self) -> float:
        """The same without the heads: much more where ablation breaks the model as a whole."""
        return float(self.losses[0][:, self._first_copy].mean())

    @property
    def _first_copy(self) -> slice:
        tokens, whole = self.params.tokens, self.params.tokens * self.params.repeats
        return slice(1 - whole, tokens - whole)

    @property
    def matched(self) -> bool:
        """Whether every control has as many heads of each layer as are ablated there."""
        return matched(self.heads, self.controls)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``losses`` by position, copy and condition; ``rises`` by set of heads."""
        rows = {"none": self.base, "ablated": self.losses[0], "others": self.losses[1:].mean(0)}
        return {"losses": loss_table(rows, self.resample, self.params), "rises": self._rises()}

    def _rises(self) -> pd.DataFrame:
        sets = [self.heads, *self.controls]
        return pd.DataFrame(
            {
                "condition": ["ablated"] + ["others"] * len(self.controls),
                "heads": [", ".join(head_name(*pair) for pair in each) for each in sets],
                **self.resample.columns("rise", self.rise.T),
            }
        )

    @property
    def summary(self) -> dict[str, Any]:
        """The rise of the last copy's loss, beside that of other heads."""
        rise = self.resample.mean(self.rise[0])
        last = slice(-self.params.tokens + 1, None)
        return {
            "heads": [head_name(*pair) for pair in self.heads],
            "base_last_copy_loss": float(self.base[:, last].mean()),
            "ablated_last_copy_loss": float(self.losses[0][:, last].mean()),
            "rise": rise.value,
            "rise_low": rise.low,
            "rise_high": rise.high,
            "others_rise": float(self.rise[1:].mean()),
            "others": len(self.controls),
        }
