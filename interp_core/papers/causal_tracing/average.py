"""Effects averaged over facts, by class of token and by layer, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from interp_core.estimates import Resample, interval
from interp_core.papers.causal_tracing import facts
from interp_core.papers.causal_tracing.params import (
    ALONE,
    AT,
    CORRUPTIONS,
    METRICS,
    Kind,
    ManyFacts,
    Noise,
    Restored,
)
from interp_core.params import ParameterError, param, parameters
from interp_core.results import Provenance, Result

CLASSES = (
    "first_subject",
    "middle_subject",
    "last_subject",
    "first_subsequent",
    "further",
    "last",
)
"""The paper's classes of positions; a token may be in two, as a subject of one token is."""


@parameters
class AverageParams(Restored, Noise, ManyFacts):
    """Traces of many facts; the defaults are those that the findings are measured on."""

    answers: Literal["known", "own"] = param(
        "known",
        "Answers",
        "what is traced of each fact: its answer, where the model knows it; or the model's own next token, right or wrong",
        names={"known": "of facts the model knows", "own": "the model's own, right or wrong"},
    )
    samples: int = param(5, "Noise samples", "samples of the noise", slider=(1, 20), ge=1, le=100)
    corruption: Literal["gaussian", "uniform"] = param(
        "gaussian", "Corruption", "noise on the subject's embeddings", names=CORRUPTIONS
    )
    metric: Literal["probability", "joint_probability", "log_probability", "kl"] = param(
        "probability",
        "Metric",
        "of the target's first token, of all its tokens (joint), or KL to the clean run",
        names=METRICS,
    )
    resume: bool = param(
        True, "Resume", "take facts traced before from the cache", identity=False, control=False
    )


@dataclass(frozen=True, eq=False)
class Average(Result):
    """Total, and average indirect, effects over facts (Meng et al. 2022, 2.2)."""

    files: ClassVar[Mapping[str, str]] = {"facts": "facts.json"}
    """The set, and the subjects that a noise in ``std`` is measured on."""

    params: AverageParams
    provenance: Provenance
    prompts: Annotated[tuple[str, ...], "fact"]
    """Of the facts traced."""
    answers: Annotated[tuple[str, ...], "fact"]
    n_wrong: int
    """Facts looked at and left out, as the model's own answer is another."""
    n_unusable: int
    """Facts left out as they cannot be traced, e.g. where the subject shares a token."""
    clean: Annotated[np.ndarray, "fact"]
    """The metric in the clean run."""
    corrupt: Annotated[np.ndarray, "fact"]
    """Its mean over corrupted runs."""
    layers: Annotated[np.ndarray, "layer"]
    effect: Annotated[np.ndarray, "fact kind class layer"]
    """Mean indirect effect over the class's positions; 0 without any."""
    cells: Annotated[np.ndarray, "fact class"]
    """How many positions of the prompt are of the class."""

    @cached_property
    def resample(self) -> Resample:
        """Of facts."""
        return Resample(len(self.prompts), "facts", self.params.seed)

    @cached_property
    def draws(self) -> np.ndarray:
        """[draw, kind, class, layer] average indirect effects of resampled facts."""
        sums = self.resample.means(self.effect * self.cells[:, None, :, None])
        sizes = self.resample.means(self.cells)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / sizes[:, None, :, None]

    @cached_property
    def aie(self) -> np.ndarray:
        """[kind, class, layer] average indirect effect over the class's positions; NaN for none."""
        sums = (self.effect * self.cells[:, None, :, None]).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / self.cells.sum(0)[None, :, None]

    @property
    def total(self) -> np.ndarray:
        """[fact] total effect."""
        return self.clean - self.corrupt

    def windows(self, kind: Kind = "mlp_subject") -> dict[int, Average]:
        """Return this result and those of the evidence that restored a kind in the same runs, by window.

        Args:
            kind: Of :data:`ALONE`; a result that restored it at every token has it, too.
        """
        whole, _ = ALONE[kind]
        others = [each for each in self.evidence.values() if isinstance(each, Average)]
        alike = [each for each in others if kind in each.params.kinds and self._same_runs(each)]
        own = [self] if whole in self.params.kinds else []
        return {each.params.window: each for each in sorted([*alike, *own], key=_window)}

    def alone(self, kind: Kind) -> tuple[int, int]:
        """Return where a kind of :data:`ALONE` is in :attr:`aie`, whether or not it was traced alone.

        Raises:
            ValueError: When it was not traced.
        """
        whole, token_class = ALONE[kind]
        return self.row(kind if kind in self.params.kinds else whole, token_class)

    def _same_runs(self, other: Average) -> bool:
        """Whether another result differs in what is restored alone."""
        restored = {name: getattr(self.params, name) for name in ("kinds", "window", "model")}
        asked = dataclasses.replace(other.params, resume=self.params.resume, **restored)
        return asked == self.params and other.prompts == self.prompts

    @cached_property
    def given_away(self) -> np.ndarray:
        """[fact] whether the subject spells the answer, see :func:`facts.spells`.

        NaN where the set is not on this machine.
        """
        try:
            spelt = {
                (f.prompt, f.attribute): facts.spells(f) for f in facts.load(self.params.facts)
            }
        except ParameterError:
            spelt = {}
        asked = zip(self.prompts, self.answers, strict=True)
        return np.array([spelt.get(each, np.nan) for each in asked], float)

    def row(self, kind: str, token_class: str) -> tuple[int, int]:
        """Return where a kind and a class are in :attr:`aie`.

        Raises:
            ValueError: When the kind was not traced.
        """
        return self.params.kinds.index(kind), CLASSES.index(token_class)  # type: ignore[arg-type]

    def tables(self) -> dict[str, pd.DataFrame]:
        """``average`` by kind, class and layer; ``facts``."""
        low, high = np.moveaxis(interval(self.draws), -1, 0)
        kind, token_class, layer = np.meshgrid(
            self.params.kinds, CLASSES, self.layers, indexing="ij"
        )
        n = np.broadcast_to((self.cells > 0).sum(0)[None, :, None], layer.shape)
        average = pd.DataFrame(
            {
                "kind": kind.ravel(),
                "token_class": token_class.ravel(),
                "layer": layer.ravel(),
                "aie": self.aie.ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
                "n": n.ravel(),
            }
        )
        traced = pd.DataFrame(
            {
                "prompt": self.prompts,
                "answer": self.answers,
                "clean": self.clean,
                "corrupt": self.corrupt,
                "total_effect": self.total,
                "given_away": self.given_away,
            }
        )
        there = average["kind"].map(AT)
        average = average[there.isna() | (average["token_class"] == there)]
        return {"average": average.dropna(subset="aie").reset_index(drop=True), "facts": traced}

    @property
    def summary(self) -> dict[str, Any]:
        """How many facts entered, and the average total effect."""
        total = self.resample.mean(self.total)
        return {
            "facts": len(self.prompts),
            "wrong": self.n_wrong,
            "unusable": self.n_unusable,
            "average_total_effect": total.value,
            "average_total_effect_low": total.low,
            "average_total_effect_high": total.high,
            "clean": float(self.clean.mean()),
            "corrupt": float(self.corrupt.mean()),
            "given_away": float(self.given_away.mean()),
            "samples": self.params.samples,
            "start": self.params.start,
        }


def _window(average: Average) -> int:
    return average.params.window
