"""The lens over many prompts: statistics by layer, and what they say of the post's claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import Resample, interval
from interp_core.findings import Finding
from interp_core.papers.logit_lens.claims import Measured, findings
from interp_core.params import OnModel, param, parameters
from interp_core.paths import SHIPPED
from interp_core.results import Provenance, Result

_PROMPTS = "prompts.json"
STATISTICS = ("kl", "entropy", "agreement", "median_rank", "input_share")
"""What is averaged, by layer."""


@parameters
class PromptsParams(OnModel):
    """The lens over the prompts that come with Lensbook."""

    skip_first: int = param(
        1,
        "Positions left out",
        "leading positions left out of averages",
        ge=0,
        le=64,
        slider=(0, 64),
    )
    seed: int = param(0, "Seed", "of the bootstrap", ge=0, lt=2**32, fold=True)


def prompts() -> list[dict[str, str]]:
    """Return the prompts that come with Lensbook: ``id``, ``category``, ``prompt``, ``answer``."""
    return json.loads((SHIPPED / _PROMPTS).read_text())


@dataclass(frozen=True, eq=False)
class Averages(Result):
    """Statistics by layer over many prompts, with 95% intervals from resampling prompts."""

    version: ClassVar[int] = 2
    files: ClassVar[Mapping[str, str]] = {"prompts": _PROMPTS}

    params: PromptsParams
    provenance: Provenance
    items: tuple[Finding, ...]
    n_prompts: int
    n_positions: int
    """Positions that entered, over all prompts."""
    layers: Annotated[np.ndarray, "layer"]
    """-1 is the embedding."""
    kl: Annotated[np.ndarray, "layer 3"]
    """Mean KL(final || layer) in nats; low and high end of its interval."""
    entropy: Annotated[np.ndarray, "layer 3"]
    """Mean entropy in nats, with its interval."""
    agreement: Annotated[np.ndarray, "layer 3"]
    """Share of positions whose top token is the final one, with its interval."""
    median_rank: Annotated[np.ndarray, "layer 3"]
    """Median rank of the final top token, with its interval."""
    input_share: Annotated[np.ndarray, "layer 3"]
    """Share of positions whose top token is the input token, with its interval."""
    crystallisation: Annotated[np.ndarray, "prompt"]
    """Layer from which the last position's top token stays the final one."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """``averages``: one row per layer and statistic, with its interval."""
        ends = ("value", "low", "high")
        tables = [
            pd.DataFrame(
                {
                    "layer": self.layers,
                    "statistic": name,
                    **dict(zip(ends, getattr(self, name).T, strict=True)),
                    "n": self.n_positions,
                }
            )
            for name in STATISTICS
        ]
        return {"averages": pd.concat(tables, ignore_index=True)}

    @property
    def summary(self) -> dict[str, Any]:
        """How much was measured, and how many claims hold."""
        return {
            "prompts": self.n_prompts,
            "positions": self.n_positions,
            "claims": len(self.items),
            "hold": sum(finding.holds for finding in self.items),
        }


def summarise(
    params: PromptsParams, cells: list[dict[str, np.ndarray]], provenance: Provenance
) -> Averages:
    """Aggregate what was measured of each prompt (arrays [layer, position])."""
    kept = [
        {name: value[..., params.skip_first :] for name, value in cell.items()} for cell in cells
    ]
    resample = Resample(len(kept), "prompts", params.seed)
    layers = np.arange(-1, len(kept[0]["kl"]) - 1)

    def column(name: str) -> list[np.ndarray]:
        return [cell["rank"] == 0 if name == "agrees" else cell[name] for cell in kept]

    def means(name: str) -> np.ndarray:
        whole = np.concatenate(column(name), axis=1).mean(-1)
        ends = interval(resample.pooled_means(column(name)))
        return np.concatenate([whole[:, None], ends], axis=1)

    ranks = np.median(np.concatenate(column("rank"), axis=1), axis=1)
    rank_ends = interval(resample.pooled_medians(column("rank")))
    measured = Measured(
        layers=layers,
        kl=means("kl"),
        entropy=means("entropy"),
        agreement=means("agrees"),
        input_share=means("is_input"),
        median_rank=np.concatenate([ranks[:, None], rank_ends], axis=1),
        kl_step=_steps(column("kl"), resample),
        crystallisation=np.array([_crystallised(c["rank"][:, -1] == 0, layers) for c in cells]),
        output_gap=float(max(cell["output_gap"].max() for cell in cells)),
        attribution_gap=float(max(cell["attribution_gap"].max() for cell in cells)),
        resample=resample,
        n_positions=sum(cell["kl"].shape[1] for cell in kept),
    )
    kept_too = ("n_positions", "layers", *STATISTICS, "crystallisation")
    fields: dict[str, Any] = {name: getattr(measured, name) for name in kept_too}
    return Averages(params, provenance, findings(measured), len(kept), **fields)


def _steps(kl: list[np.ndarray], resample: Resample) -> np.ndarray:
    """Return [layer - 1, 3]: by how much KL rises from each layer to the next, with intervals."""
    steps = [np.diff(part, axis=0) for part in kl]
    ends = interval(resample.pooled_means(steps))
    return np.concatenate([np.concatenate(steps, axis=1).mean(-1)[:, None], ends], axis=1)


def _crystallised(agrees: np.ndarray, layers: np.ndarray) -> int:
    """Return the first layer from which ``agrees`` [layer] is true to the end."""
    later = np.flatnonzero(~agrees)
    return int(layers[later[-1] + 1]) if len(later) else int(layers[0])
