"""How attention-only models trained: losses, heads and their composition at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import AfterValidator

from interp_core.papers.induction_heads.dynamics import first
from interp_core.papers.induction_heads.toys import CLIP, DEPTH, HEADS, SEGMENT, TOYS, Toy, depth
from interp_core.params import View, param, parameters
from interp_core.results import Provenance, Result

TOKENS = 512
"""Held-out tokens whose losses are kept one by one."""
SCORE = 0.2
"""Prefix matching above which a head of a small model is an induction head."""
TESTS = 64
"""Sequences of the repeated test."""

_HEADS = (DEPTH, HEADS)
LOGGED: dict[str, tuple[tuple[int, ...], type]] = {
    "loss": ((), np.float32),
    "position_loss": ((2 * SEGMENT - 1,), np.float32),
    "in_context": ((), np.float32),
    "prefix_matching": (_HEADS, np.float32),
    "previous_token": (_HEADS, np.float32),
    "k_composition": ((*_HEADS, *_HEADS), np.float32),
    "token_loss": ((TOKENS,), np.float16),
    "patterns": ((*_HEADS, 2 * CLIP, 2 * CLIP), np.uint8),
}
"""What is measured of one toy at one checkpoint: shape and type. Fields of :class:`Training`."""


def blank(*leading: int) -> dict[str, np.ndarray]:
    """Return arrays for what is logged, [*leading, ...], NaN (patterns: 0) until it is there."""
    return {
        name: np.full((*leading, *shape), 0 if kind is np.uint8 else np.nan, kind)
        for name, (shape, kind) in LOGGED.items()
    }


def _in_order(items: tuple[Toy, ...]) -> tuple[Toy, ...]:
    if not items:
        raise ValueError(f"accepted: at least one of {', '.join(TOYS)}")
    return tuple(toy for toy in TOYS if toy in items)


@parameters
class Trained:
    """Small attention-only models, trained from scratch: no model of the reader's is read."""

    base: ClassVar[str]

    toys: Annotated[tuple[Toy, ...], AfterValidator(_in_order)] = param(
        tuple(TOYS), "Models", "attention-only models, by their layers", names=TOYS
    )
    steps: int = param(
        1500, "Training steps", "of 64 sequences", slider=(100, 4000, 100), ge=50, le=20_000
    )


@parameters
class TrainingParams(Trained):
    """Models that are trained from one seed."""

    seed: int = param(1, "Seed", "of weights and sequences", fold=True, ge=0, lt=2**32)
    resume: bool = param(
        True, "Resume", "from a checkpoint in the cache", identity=False, control=False
    )


@parameters
class TrainingView(View):
    """The step and the model that are looked at."""

    step: int | None = param(
        None,
        "Training step",
        "at which models are shown",
        ge=0,
        le=20_000,
        options=lambda result: result.steps.tolist(),
    )
    toy: Toy = param(
        "2",
        "Patterns of",
        "the model whose patterns are shown",
        names=TOYS,
        options=lambda result: list(result.models),
    )


@dataclass(frozen=True, eq=False)
class Training(Result):
    """Attention-only models over training (Olsson et al. 2022, arguments 1 and 2).

    Where a model has no such layer, or has not come to a checkpoint yet, there is NaN.
    """

    params: TrainingParams
    provenance: Provenance
    models: Annotated[tuple[Toy, ...], "model"]
    steps: Annotated[np.ndarray, "checkpoint"]
    """Training steps done."""
    loss: np.ndarray
    """[model, checkpoint] nats, on held-out sequences like those trained on."""
    position_loss: np.ndarray
    """[model, checkpoint, target] nats, on the test: random segments of 32 tokens, each twice.

    Targets are tokens 1 to 63; the first, token 0, is not predicted.
    """
    in_context: np.ndarray
    """[model, checkpoint] nats: on held-out tiled sequences, the mean loss of tokens 55 to 63, all
    past their first segment, minus that of tokens 1 to 9, all within it. Negative is better."""
    prefix_matching: np.ndarray
    """[model, checkpoint, layer, head] attention, on the test, from the second copy's tokens to the
    token after their first occurrence; mean over the 32."""
    previous_token: np.ndarray
    """[model, checkpoint, layer, head] mean attention to the token before, on the test."""
    k_composition: np.ndarray
    """[model, checkpoint, earlier layer, head, later layer, head], see :func:`toy.k_composition`."""
    token_loss: np.ndarray
    """[model, checkpoint, token] nats, of the same held-out tokens every time, float16."""
    patterns: np.ndarray
    """[model, checkpoint, layer, head, query, key] on 12 tokens that stand there twice, of 255."""
    weights: Annotated[np.ndarray, "weight"]
    """All models' trained weights, one after another; NaN until trained."""

    @classmethod
    def axes(cls) -> dict[str, str]:
        """Return the axes of every array, those that are logged as :data:`LOGGED` has them."""
        shapes = {name: "".join(f" {n}" for n in shape) for name, (shape, _) in LOGGED.items()}
        return super().axes() | {name: f"model checkpoint{n}" for name, n in shapes.items()}

    @property
    def formed(self) -> dict[Toy, int | None]:
        """The step at which a head's prefix matching first passes ``SCORE``, by model."""
        best = self.best(self.prefix_matching)
        return {name: first(self.steps, best[row] > SCORE) for row, name in enumerate(self.models)}

    @property
    def second_copy_loss(self) -> np.ndarray:
        """[model, checkpoint] nats: the test's tokens 33 to 63, which the first copy predicts."""
        return self.position_loss[..., SEGMENT:].mean(-1)

    @property
    def derivative(self) -> np.ndarray:
        """[model, checkpoint] of the loss by the logarithm of the step; NaN at step 0."""
        logs = np.log(np.maximum(self.steps, 1))
        slope = np.gradient(self.loss[:, 1:], logs[1:], axis=1)
        return np.pad(slope, ((0, 0), (1, 0)), constant_values=np.nan)

    def best(self, scores: np.ndarray) -> np.ndarray:
        """Return [model, checkpoint], the highest of scores [model, checkpoint, ...]; NaN without."""
        flat = scores.reshape(*scores.shape[:2], -1)
        top = np.nan_to_num(flat, nan=-np.inf).max(-1)
        return np.where(np.isfinite(top), top, np.nan)

    def circuit(self, name: Toy) -> tuple[int, int, int, int] | None:
        """Return layer and head of a model's previous-token head, and of its induction head.

        At the last checkpoint there is: the head after the first layer that matches prefixes best,
        and, of the layers before it, the head that looks most at the token before. None in one
        layer, where heads cannot compose.
        """
        row = self.models.index(name)
        there = np.flatnonzero(np.isfinite(self.loss[row]))
        if depth(name) < 2 or not len(there):
            return None
        prefix = np.nan_to_num(self.prefix_matching[row, there[-1], 1:], nan=-1)
        layer, head = np.unravel_index(prefix.argmax(), prefix.shape)
        previous = self.previous_token[row, there[-1], : layer + 1]
        earlier, other = np.unravel_index(previous.argmax(), previous.shape)
        return int(earlier), int(other), int(layer) + 1, int(head)

    @cached_property
    def composition(self) -> np.ndarray:
        """[model, checkpoint] K-composition of the two heads of each :meth:`circuit`."""
        found = np.full(self.loss.shape, np.nan)
        for row, name in enumerate(self.models):
            if (pair := self.circuit(name)) is not None:
                found[row] = self.k_composition[(row, slice(None), *pair)]
        return found

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Principal components of the vectors of per-token losses, of all models together.

        Scores [model, checkpoint, 2], in nats, NaN where there are none; and the share [2] of the
        variance that each explains. Signs are such that models end higher than they begin, on
        average.
        """
        scores = np.full((*self.loss.shape, 2), np.nan)
        there = np.isfinite(self.loss)
        if there.sum() < 3:
            return scores, np.full(2, np.nan)
        vectors = self.token_loss[there].astype(float)
        left, sizes, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
        scores[there] = left[:, :2] * sizes[:2]
        scores *= np.where(np.nansum(scores[:, -1:] - scores[:, :1], (0, 1)) < 0, -1, 1)
        return scores, sizes[:2] ** 2 / max((sizes**2).sum(), 1e-12)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``training`` by model and step; ``training_heads`` by head too; ``components``."""
        at = pd.MultiIndex.from_product([self.models, self.steps], names=["model", "step"])
        scores = self.components[0].reshape(-1, 2)
        training = pd.DataFrame(
            {
                "loss": self.loss.ravel(),
                "derivative": self.derivative.ravel(),
                "second_copy_loss": self.second_copy_loss.ravel(),
                "in_context": self.in_context.ravel(),
                "best_prefix_matching": self.best(self.prefix_matching).ravel(),
                "best_previous_token": self.best(self.previous_token).ravel(),
                "k_composition": self.composition.ravel(),
            },
            index=at,
        )
        heads = pd.MultiIndex.from_product(
            [self.models, self.steps, range(DEPTH), range(HEADS)],
            names=["model", "step", "layer", "head"],
        )
        each = {
            "prefix_matching": self.prefix_matching.ravel(),
            "previous_token": self.previous_token.ravel(),
        }
        components = pd.DataFrame({"pc1": scores[:, 0], "pc2": scores[:, 1]}, index=at)
        return {
            "training": training.dropna(subset="loss").reset_index(),
            "training_heads": pd.DataFrame(each, index=heads).dropna().reset_index(),
            "components": components.dropna().reset_index(),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """Where each model ended."""
        frame = self.frames["training"].drop_duplicates("model", keep="last")
        columns = [
            "step",
            "loss",
            "second_copy_loss",
            "in_context",
            "best_prefix_matching",
            "best_previous_token",
        ]
        rows = frame.set_index("model")[columns].to_dict("index")
        return {"steps": self.params.steps, "seed": self.params.seed, "models": rows}
