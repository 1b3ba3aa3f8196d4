"""The lens over many prompts, or over the documents of a text: statistics by layer, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from interp_core.corpus import TEXTS
from interp_core.estimates import Estimate, Resample, interval, ratios
from interp_core.params import OnModel, ParameterError, param, parameters
from interp_core.paths import SHIPPED
from interp_core.results import Provenance, Result

_PROMPTS = "prompts.json"
PROMPTS, SHUFFLED = "prompts", "shuffled"
"""The text that is no text, but prompts."""

STATISTICS = ("kl", "entropy", "agreement", "median_rank", "input_share")
"""What is averaged, by layer."""
_SHARES = ("agreement", "input_share")

CONTEXT = 64
"""Tokens of a document that are read, at most: as many positions in all as the prompts have, about."""


@parameters
class PromptsParams(OnModel):
    """The lens over the prompts that come with Lensbook, or over ordinary text."""

    text: Literal["prompts", "prose", "code", "shuffled"] = param(
        PROMPTS,
        "Text",
        "to read: prompts, prose, code (all written for Lensbook), or the prose with its tokens shuffled",
        names={
            PROMPTS: "prompts",
            "prose": "prose",
            "code": "code",
            SHUFFLED: "prose, tokens shuffled",
        },
    )
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
    """Sums over the positions of each prompt (or document), by layer; the first ones are left out."""

    version: ClassVar[int] = 3
    files: ClassVar[Mapping[str, str]] = {"prompts": _PROMPTS, "texts": TEXTS}

    params: PromptsParams
    provenance: Provenance
    layers: Annotated[np.ndarray, "layer"]
    """-1 is the embedding."""
    positions: Annotated[np.ndarray, "prompt"]
    """Positions of each prompt that entered."""
    kl: Annotated[np.ndarray, "prompt layer"]
    """KL(final || layer) in nats."""
    entropy: Annotated[np.ndarray, "prompt layer"]
    """In nats."""
    agreement: Annotated[np.ndarray, "prompt layer"]
    """Positions whose top token is the final one."""
    input_share: Annotated[np.ndarray, "prompt layer"]
    """Positions whose top token is the input token."""
    median_rank: Annotated[np.ndarray, "layer 3"]
    """Median rank (0 is the likeliest) of the final top token over all positions, and its interval,
    from resampling prompts."""
    rank_rise: Annotated[np.ndarray, "3"]
    """The largest rise of that median from one block to the next, and its interval: the blocks are
    picked on one half of the prompts and read on the other."""
    crystallisation: Annotated[np.ndarray, "prompt"]
    """Layer from which the last position's top token stays the final one."""
    output_gap: float
    """Largest difference between the last readout and the model's own output, nats."""
    attribution_gap: float
    """Largest difference between summed attributions and the logit."""

    @property
    def n_prompts(self) -> int:
        """How many prompts, or documents, were read."""
        return len(self.positions)

    @property
    def n_positions(self) -> int:
        """Positions that entered, over all of them."""
        return int(self.positions.sum())

    @property
    def of(self) -> str:
        """What was drawn, and what intervals are over."""
        return PROMPTS if self.params.text == PROMPTS else "documents"

    def ends(self, name: str) -> np.ndarray:
        """Return [layer, 3]: one of :data:`STATISTICS` with its 95% interval."""
        if name == "median_rank":
            return self.median_rank
        found = ratios(getattr(self, name).T, self.positions)
        return np.clip(found, 0, 1 if name in _SHARES else None)

    def each(self, name: str) -> np.ndarray:
        """Return [prompt, layer]: the mean over each prompt's positions."""
        return getattr(self, name) / self.positions[:, None]

    def estimate(self, ends: np.ndarray) -> Estimate:
        """Return a value with the ends of its interval, [3], as an estimate over what was drawn."""
        return Estimate.of_ends(ends, self.n_prompts, self.of)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``averages``: one row per layer and statistic, with its interval."""
        ends = ("value", "low", "high")
        tables = [
            pd.DataFrame(
                {
                    "layer": self.layers,
                    "statistic": name,
                    **dict(zip(ends, self.ends(name).T, strict=True)),
                    "n": self.n_prompts,
                }
            )
            for name in STATISTICS
        ]
        return {"averages": pd.concat(tables, ignore_index=True)}

    @property
    def summary(self) -> dict[str, Any]:
        """How much was read, and where the readout is furthest from the output."""
        kl = self.ends("kl")[1:, 0]
        return {
            "text": self.params.text,
            self.of: self.n_prompts,
            "positions": self.n_positions,
            "kl_peak_layer": int(self.layers[1 + kl.argmax()]),
            "kl_peak": float(kl.max()),
        }


def summarise(
    params: PromptsParams, cells: list[dict[str, np.ndarray]], provenance: Provenance
) -> Averages:
    """Sum up what was measured of each prompt (arrays [layer, position]).

    Raises:
        ParameterError: When fewer than two prompts have positions that are not left out.
    """
    cells = [cell for cell in cells if cell["kl"].shape[1] > params.skip_first]
    if len(cells) < 2:
        raise ParameterError(
            f"skip_first: fewer than two {params.text} have more than {params.skip_first} positions"
        )
    kept = [
        {name: value[..., params.skip_first :] for name, value in cell.items()} for cell in cells
    ]
    layers = np.arange(-1, len(kept[0]["kl"]) - 1)
    ranks = [cell["rank"] for cell in kept]

    def sums(values: list[np.ndarray]) -> np.ndarray:
        return np.stack([value.sum(-1, dtype=float) for value in values])

    return Averages(
        params=params,
        provenance=provenance,
        layers=layers,
        positions=np.array([rank.shape[1] for rank in ranks]),
        kl=sums([cell["kl"] for cell in kept]),
        entropy=sums([cell["entropy"] for cell in kept]),
        agreement=sums([rank == 0 for rank in ranks]),
        input_share=sums([cell["is_input"] for cell in kept]),
        median_rank=_medians(ranks, params.seed),
        rank_rise=largest_rise(ranks, params.seed),
        crystallisation=np.array([_crystallised(c["rank"][:, -1] == 0, layers) for c in cells]),
        output_gap=float(max(cell["output_gap"].max() for cell in cells)),
        attribution_gap=float(max(cell["attribution_gap"].max() for cell in cells)),
    )


def _medians(ranks: list[np.ndarray], seed: int) -> np.ndarray:
    """Return [layer, 3]: medians of ``ranks``, [layer, position] by prompt, with their intervals."""
    draws = Resample(len(ranks), PROMPTS, seed).pooled_medians(ranks)
    return np.column_stack([_pooled_median(ranks), interval(draws)])


def _pooled_median(ranks: list[np.ndarray]) -> np.ndarray:
    return np.median(np.concatenate(ranks, axis=1), axis=1)


def largest_rise(ranks: list[np.ndarray], seed: int) -> np.ndarray:
    """Return [3]: the largest rise of the median rank from a block to the next, with its interval.

    Args:
        ranks: [layer, position] by prompt; layer 0 is the embedding, which is no block.
        seed: Of the resampling.

    Each half of the prompts picks the step that the other half is read at, and the mean of the two
    is taken. The pick is made anew in each resample.
    """
    halves = [ranks[0::2], ranks[1::2]]
    whole = [_pooled_median(half)[None] for half in halves]
    draws = [
        Resample(len(half), PROMPTS, seed + number).pooled_medians(half)
        for number, half in enumerate(halves)
    ]
    value = _read_crosswise(*whole)
    return np.concatenate([value, interval(_read_crosswise(*draws))])


def _read_crosswise(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return [draw]: the mean of the steps of medians [draw, layer] that the other half picks."""
    one, other = (np.diff(half[:, 1:], axis=1) for half in (first, second))
    at = np.arange(len(one))
    return (other[at, one.argmax(1)] + one[at, other.argmax(1)]) / 2


def _crystallised(agrees: np.ndarray, layers: np.ndarray) -> int:
    """Return the first layer from which ``agrees`` [layer] is true to the end."""
    later = np.flatnonzero(~agrees)
    return int(layers[later[-1] + 1]) if len(later) else int(layers[0])
