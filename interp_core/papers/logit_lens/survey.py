"""The post's claims, measured over a set of prompts: what the findings report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
from pydantic import Field

from interp_core.params import parameters
from interp_core.paths import SHIPPED
from interp_core.results import Finding, Provenance, Result

_DRAWS = 2000


@parameters
class SurveyParams:
    """What the survey is taken over."""

    prompts: Annotated[str, Field(description="file of prompts that come with Lensbook")] = "prompts.json"
    skip_first: Annotated[int, Field(ge=0, description="leading positions left out")] = 1
    seed: Annotated[int, Field(description="of the bootstrap")] = 0


def prompts() -> list[dict[str, str]]:
    """Return the prompts that come with Lensbook: ``id``, ``category``, ``prompt``, ``answer``."""
    return json.loads((SHIPPED / SurveyParams().prompts).read_text())


@dataclass(frozen=True, eq=False)
class Survey(Result):
    """Statistics by layer over many prompts, with 95% intervals from resampling prompts."""

    paper: ClassVar[str] = "logit-lens-survey"

    params: SurveyParams
    provenance: Provenance
    items: tuple[Finding, ...]
    n_prompts: int
    n_positions: int
    """Positions that entered, over all prompts."""
    layers: np.ndarray
    """[layer] -1 is the embedding."""
    kl: np.ndarray
    """[layer, 3] mean KL(final || layer) in nats; low and high end of its interval."""
    entropy: np.ndarray
    """[layer, 3] mean entropy in nats, with its interval."""
    agreement: np.ndarray
    """[layer, 3] share of positions whose top token is the final one, with its interval."""
    median_rank: np.ndarray
    """[layer, 3] median rank of the final top token, with its interval."""
    input_share: np.ndarray
    """[layer, 3] share of positions whose top token is the input token, with its interval."""
    crystallisation: np.ndarray
    """[prompt] layer from which the last position's top token stays the final one."""

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``layers``: one row per layer and statistic, with its interval."""
        statistics = ("kl", "entropy", "agreement", "median_rank", "input_share")
        tables = [
            pd.DataFrame({
                "layer": self.layers,
                "statistic": name,
                "value": getattr(self, name)[:, 0],
                "low": getattr(self, name)[:, 1],
                "high": getattr(self, name)[:, 2],
                "n": self.n_positions,
            })
            for name in statistics
        ]
        return {"layers": pd.concat(tables, ignore_index=True)}

    @property
    def summary(self) -> dict[str, Any]:
        """How much was measured, and how many claims hold."""
        return {
            "prompts": self.n_prompts,
            "positions": self.n_positions,
            "claims": len(self.items),
            "hold": sum(finding.holds for finding in self.items),
        }

    @property
    def findings(self) -> list[Finding]:
        """The claims, each with what was measured."""
        return list(self.items)

    def charts(self) -> dict[str, alt.TopLevelMixin]:
        """The curves by layer."""
        from interp_core.charts import logit_lens

        return logit_lens.survey_charts(self)


def summarise(cells: list[dict[str, np.ndarray]], provenance: Provenance) -> Survey:
    """Aggregate what was measured of each prompt (arrays [layer, position])."""
    params = SurveyParams()
    kept = [
        {name: value[..., params.skip_first :] for name, value in cell.items()} for cell in cells
    ]
    draws = np.random.default_rng(params.seed).integers(len(kept), size=(_DRAWS, len(kept)))

    def interval(name: str, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return [layer, 3]: the statistic over all positions, and its bootstrap interval."""
        whole = statistic(np.concatenate([cell[name] for cell in kept], axis=1))
        resampled = _resample([cell[name] for cell in kept], draws, statistic)
        return np.stack([whole, *np.percentile(resampled, [2.5, 97.5], axis=0)], axis=-1)

    def mean(values: np.ndarray) -> np.ndarray:
        return values.mean(-1)

    agreeing = [{"agrees": cell["rank"] == 0} for cell in kept]
    for cell, extra in zip(kept, agreeing, strict=True):
        cell |= extra
    n_layers = len(kept[0]["kl"]) - 1
    measured = {
        "kl": interval("kl", mean),
        "entropy": interval("entropy", mean),
        "agreement": interval("agrees", mean),
        "input_share": interval("is_input", mean),
        "median_rank": interval("rank", lambda values: np.median(values, -1)),
    }
    layers = np.arange(-1, n_layers)
    settled = np.array([_crystallised(cell["rank"][:, -1] == 0, layers) for cell in cells])
    gaps = {
        name: float(max(cell[name].max() for cell in cells))
        for name in ("output_gap", "attribution_gap")
    }
    n = sum(cell["kl"].shape[1] for cell in kept)
    items = findings(layers, measured, settled, gaps, n, draws)
    return Survey(params, provenance, items, len(kept), n, layers, crystallisation=settled, **measured)


def _resample(
    parts: list[np.ndarray], draws: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return [draw, layer]: the statistic over prompts drawn with replacement."""
    return np.stack([statistic(np.concatenate([parts[i] for i in draw], axis=1)) for draw in draws])


def _crystallised(agrees: np.ndarray, layers: np.ndarray) -> int:
    """Return the first layer from which ``agrees`` [layer] is true to the end."""
    later = np.flatnonzero(~agrees)
    return int(layers[later[-1] + 1]) if len(later) else int(layers[0])


def findings(
    layers: np.ndarray,
    measured: dict[str, np.ndarray],
    settled: np.ndarray,
    gaps: dict[str, float],
    n: int,
    draws: np.ndarray,
) -> tuple[Finding, ...]:
    """Set the post's claims beside what was measured; layers as depth, so that any model fits."""
    depth = (layers + 1) / len(layers[1:])
    kl, rank = measured["kl"], measured["median_rank"]
    agreement, inputs = measured["agreement"], measured["input_share"]

    def triple(row: np.ndarray) -> dict[str, Any]:
        return {"ours": float(row[0]), "ci": (float(row[1]), float(row[2])), "n": n, "of": "positions"}

    late = np.flatnonzero(depth >= 2 / 3)
    falls = np.diff(kl[:, 0])
    deep = int(np.argmin(np.abs(depth - 0.93)))
    near_end = int(np.argmin(np.abs(depth - 0.83)))
    loudest = 1 + int(inputs[1:, 0].argmax())
    peak = 1 + int(kl[1:, 0].argmax())
    means = settled[draws].mean(1)
    return (
        Finding(
            "last_row", "The last layer's readout is the model's own output", "by definition",
            gaps["output_gap"], "nats at most", None, gaps["output_gap"] < 1e-3, n, "positions",
        ),
        Finding(
            "attribution_sums", "Direct attributions add up to the logit", "by definition",
            gaps["attribution_gap"], "logits at most", None, gaps["attribution_gap"] < 1e-2, n, "positions",
        ),
        Finding(
            "embedding_is_input", "The embedding reads as the input token (at least 60%)",
            "inputs look like the inputs", unit="share", holds=bool(inputs[0, 0] >= 0.6),
            **triple(inputs[0]),
        ),
        Finding(
            "input_discarded",
            f"No block's readout looks like the input (at most 15%; most: layer {layers[loudest]})",
            "the input is gone after the first layer", unit="share",
            holds=bool(inputs[loudest, 0] <= 0.15), **triple(inputs[loudest]),
        ),
        Finding(
            "rank_falls",
            f"The final token's median rank is at most 5 by layer {layers[near_end]}, never rising by more than 3",
            "ranks collapse by the middle", unit="rank",
            holds=bool(np.diff(rank[1:, 0]).max() <= 3 and (rank[near_end:, 0] <= 5).all()),
            **triple(rank[near_end]),
        ),
        Finding(
            "kl_monotone",
            f"KL to the final distribution falls at every layer (largest after the embedding: layer {layers[peak]})",
            "smooth convergence", unit="nats", holds=bool((falls < 0).all()), **triple(kl[peak]),
        ),
        Finding(
            "kl_late", f"KL falls at every layer from layer {layers[late[0]]} on (value there)",
            "smooth convergence", unit="nats", holds=bool((falls[late[0] :] < 0).all()),
            **triple(kl[late[0]]),
        ),
        Finding(
            "agreement_late", f"By layer {layers[deep]} the readout agrees with the output (at least 45%)",
            "better guesses in late layers", unit="share", holds=bool(agreement[deep, 0] >= 0.45),
            **triple(agreement[deep]),
        ),
        Finding(
            "crystallisation", "The last position's top token settles in the last third of the layers",
            "later layers refine the guess", float(settled.mean()), "layer",
            tuple(float(x) for x in np.percentile(means, [2.5, 97.5])),  # type: ignore[arg-type]
            bool(settled.mean() >= layers[-1] * 2 / 3), len(settled), "prompts",
        ),
    )
