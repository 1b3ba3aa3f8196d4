"""What is asked of a causal trace of one prompt, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from interp_core.fields import When
from interp_core.papers.causal_tracing.params import (
    AT,
    BY_TEXT,
    CORRUPTIONS,
    METRICS,
    Metric,
    Noise,
    Prompt,
    Restored,
)
from interp_core.params import MaybeText, Positions, param, parameters
from interp_core.results import Provenance, Result


@parameters
class Corrupted:
    """How the prompt is corrupted, by noise or by another text."""

    corruption: Literal["gaussian", "uniform", "swap", "prompt"] = param(
        "gaussian",
        "Corruption",
        "noise on the subject's embeddings, another subject or another prompt of equally many tokens",
        names=CORRUPTIONS,
    )
    swap: MaybeText = param(
        "", "Other subject or prompt", "it must make equally many tokens", when=BY_TEXT
    )


@parameters
class Params(Restored, Noise, Corrupted, Prompt):
    """A trace of one prompt; the defaults are the paper's, with fewer noise samples."""

    positions: Positions = param((0, None, 1), "Positions", "positions to restore", fold=True)
    metric: Metric = param(
        "probability",
        "Metric",
        "of the target's first token, of all its tokens (joint), or KL to the clean run",
        names=METRICS,
    )
    foil: MaybeText = param(
        "",
        "Against the token",
        "the other token of the logit difference",
        when=When("metric", ("logit_difference",)),
        placeholder="the corrupted run's",
    )


@dataclass(frozen=True, eq=False)
class Trace(Result):
    """What restoring one state in corrupted runs brings back of the answer (Meng et al. 2022)."""

    files: ClassVar[Mapping[str, str]] = {"facts": "facts.json"}
    """The subjects that a noise in ``std`` is measured on."""

    params: Params
    provenance: Provenance
    tokens: tuple[str, ...]
    """Every token of the prompt, the one in front included."""
    subject: tuple[int, int]
    """First position of the subject, and the one after its last."""
    answer: str
    """The text that is followed, as the tokens that are scored give it."""
    answer_rank: int
    """How many tokens the model finds likelier than the answer's first; 0 is its own answer."""
    own_answer: str
    """The model's most likely next token."""
    own_probability: float
    layers: Annotated[np.ndarray, "layer"]
    """Blocks restored at."""
    positions: Annotated[np.ndarray, "position"]
    """Restored at."""
    clean_probability: float
    """Of the answer, in the clean run."""
    clean_score: float
    """The metric of the clean run."""
    corrupt_probability: Annotated[np.ndarray, "sample"]
    corrupt_score: Annotated[np.ndarray, "sample"]
    probability: Annotated[np.ndarray, "kind layer position sample"]
    """The answer's probability with one thing restored; NaN where it
    was not traced."""
    score: Annotated[np.ndarray, "kind layer position sample"]
    """The metric."""
    head_probability: Annotated[np.ndarray, "headed_layer? head? sample"]
    """[layer, head, sample] with one head's ``z`` restored at every position; empty unless asked."""
    head_score: Annotated[np.ndarray, "headed_layer? head? sample"]

    @property
    def effect(self) -> np.ndarray:
        """[kind, layer, position] indirect effect (Meng et al. 2022, section 2.1).

        The restored runs' mean score less the corrupted runs'.
        """
        return self.score.mean(-1) - self.corrupt_score.mean()

    @property
    def total_effect(self) -> float:
        """The clean score less the corrupted runs' mean."""
        return float(self.clean_score - self.corrupt_score.mean())

    def classes(self, position: int) -> list[str]:
        """Return the paper's names for a position; a subject of one token is first and last."""
        first, end = self.subject
        last = len(self.tokens) - 1
        names = {
            "first_subject": position == first,
            "middle_subject": first < position < end - 1,
            "last_subject": position == end - 1,
            "first_subsequent": position == end,
            "further": end < position < last,
            "last": position == last,
        }
        return [name for name, inside in names.items() if inside]

    def tables(self) -> dict[str, pd.DataFrame]:
        """``trace``, ``tokens``; ``heads`` where requested."""
        frames = {"trace": self._trace(), "tokens": self._tokens()}
        if self.head_score.size:
            frames["heads"] = self._heads()
        return frames

    def _trace(self) -> pd.DataFrame:
        """One row per kind, layer and position that was traced."""
        kinds = [kind for kind in self.params.kinds if kind != "z"]
        rows = [self.params.kinds.index(kind) for kind in kinds]
        kind, layer, position = np.meshgrid(kinds, self.layers, self.positions, indexing="ij")
        frame = pd.DataFrame(
            {
                "kind": kind.ravel(),
                "layer": layer.ravel(),
                "position": position.ravel(),
                "token": [self.tokens[p] for p in position.ravel()],
                "effect": self.effect[rows].ravel().astype(float),
                "probability": self.probability[rows].mean(-1).ravel().astype(float),
                "spread": self.score[rows].std(-1).ravel().astype(float),
            }
        )
        return frame.dropna(subset="effect").reset_index(drop=True)

    def _tokens(self) -> pd.DataFrame:
        position = np.arange(len(self.tokens))
        return pd.DataFrame(
            {
                "position": position,
                "token": self.tokens,
                "token_id": self.provenance.token_ids,
                "subject": (position >= self.subject[0]) & (position < self.subject[1]),
                "token_class": [", ".join(self.classes(int(p))) for p in position],
            }
        )

    def _heads(self) -> pd.DataFrame:
        layer, head = np.meshgrid(self.layers, np.arange(self.head_score.shape[1]), indexing="ij")
        effect = self.head_score.mean(-1) - self.corrupt_score.mean()
        return pd.DataFrame(
            {
                "layer": layer.ravel(),
                "head": head.ravel(),
                "effect": effect.ravel().astype(float),
                "probability": self.head_probability.mean(-1).ravel().astype(float),
            }
        ).dropna(ignore_index=True)

    @property
    def summary(self) -> dict[str, Any]:
        """The clean and corrupted probabilities, and where restoring brings back most."""
        maps = [i for i, kind in enumerate(self.params.kinds) if kind not in (*AT, "z")]
        best: dict[str, Any] = {}
        if maps and np.isfinite(self.effect[maps]).any():
            effect = self.effect[maps]
            towards = -1 if self.params.metric == "kl" else 1
            best_cell = np.nanargmax(effect * towards)
            kind, layer, position = np.unravel_index(best_cell, effect.shape)
            best = {
                "best_kind": self.params.kinds[maps[kind]],
                "best_layer": int(self.layers[layer]),
                "best_position": int(self.positions[position]),
                "best_token": self.tokens[self.positions[position]],
                "best_effect": float(effect[kind, layer, position]),
            }
        return {
            "subject": "".join(self.tokens[slice(*self.subject)]).strip(),
            "answer": self.answer,
            "answer_rank": self.answer_rank,
            "own_answer": self.own_answer,
            "own_probability": self.own_probability,
            "start": self.tokens[0] if self.params.start != "none" else "",
            "clean_probability": self.clean_probability,
            "corrupt_probability": float(self.corrupt_probability.mean()),
            "total_effect": self.total_effect,
            "samples": len(self.corrupt_score),
            "n_layers": self.provenance.model.n_layers,
            "n_tokens": len(self.tokens),
            **best,
        }
