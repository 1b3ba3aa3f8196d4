"""One prompt through the logit lens and through a tuned lens, as numbers and strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.papers.tuned_lens.params import Params
from interp_core.papers.tuned_lens.translators import INDEX
from interp_core.results import Provenance, Result

Lens = Literal["logit", "tuned"]
LENSES: tuple[Lens, ...] = ("logit", "tuned")
_OF_EACH = ("top_ids", "top_probs", "entropy", "kl", "rank", "log_prob")


@dataclass(frozen=True, eq=False)
class Readings(Result):
    """Next-token distributions read through both lenses (Belrose et al. 2023).

    Arrays whose first axis is the lens hold the logit lens, then the tuned one; all else is as of
    :class:`LogitLens`.
    """

    files: ClassVar[Mapping[str, str]] = {"lenses": INDEX}

    params: Params
    provenance: Provenance
    about: str
    """What the tuned lens was trained on."""
    tokens: tuple[str, ...]
    vocabulary: dict[int, str]
    layers: Annotated[np.ndarray, "layer"]
    positions: Annotated[np.ndarray, "position"]
    watched: Annotated[np.ndarray, "watched?"]
    final_top: Annotated[np.ndarray, "position"]
    final_probs: Annotated[np.ndarray, "position"]
    next_ids: Annotated[np.ndarray, "position"]
    top_ids: Annotated[np.ndarray, "2 layer position k"]
    top_probs: Annotated[np.ndarray, "2 layer position k"]
    entropy: Annotated[np.ndarray, "2 layer position"]
    kl: Annotated[np.ndarray, "2 layer position"]
    rank: Annotated[np.ndarray, "2 layer position target"]
    log_prob: Annotated[np.ndarray, "2 layer position target"]
    attribution: Annotated[np.ndarray, "followed component position"]
    attribution_logit: Annotated[np.ndarray, "followed position"]

    def through(self, lens: Lens) -> LogitLens:
        """Return what one of the lenses reads, which every figure of the logit lens shows."""
        return self._each[lens]

    @cached_property
    def _each(self) -> dict[Lens, LogitLens]:
        names = [field.name for field in fields(LogitLens) if field.name != "evidence"]
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        return {
            lens: LogitLens(**values | {name: values[name][row] for name in _OF_EACH})
            for row, lens in enumerate(LENSES)
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """As of :class:`LogitLens`, with a column ``lens``; attributions are of no lens."""
        each = {lens: self.through(lens).tables() for lens in LENSES}
        found = {name: _stacked({n: t[name] for n, t in each.items()}) for name in each["logit"]}
        return found | {"attribution": each["logit"]["attribution"]}

    @property
    def summary(self) -> dict[str, Any]:
        """What the model says at the last position read, and from where on each lens says so."""
        said = self.through("tuned").summary
        layer = "crystallisation_layer"
        said[layer] = {lens: self.through(lens).summary[layer] for lens in LENSES}
        return said | {"lens": self.about}


def _stacked(tables: dict[Lens, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for lens, table in tables.items():
        table = table.copy()
        table.insert(0, "lens", lens)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
