"""Where the answers of pairs lie at every layer: by behaviour, or by letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from interp_core.estimates import Estimate, jackknife, share
from interp_core.papers.steering.pairs import FILE
from interp_core.papers.steering.params import WithPairs
from interp_core.params import View, param, parameters
from interp_core.results import Provenance, Result


@parameters
class GeometryParams(WithPairs):
    """Where the two answers of each pair lie, at every layer."""


@parameters
class GeometryView(View):
    """The layer whose activations are shown."""

    layer: int | None = param(None, "Layer shown", "of the scatter", ge=0, le=1000)


@dataclass(frozen=True, eq=False)
class Geometry(Result):
    """Activations of both answers of each pair, seen by behaviour and by letter."""

    files: ClassVar[Mapping[str, str]] = {"behaviours": FILE}

    params: GeometryParams
    provenance: Provenance
    behaviour: str
    layers: Annotated[np.ndarray, "layer"]
    held_out: Annotated[np.ndarray, "pair"]
    """Whether a pair is none of those that the vector is made from."""
    letter: Annotated[np.ndarray, "pair"]
    """Of the matching answer: 0 for A, 1 for B."""
    components: Annotated[np.ndarray, "layer pair 2 2"]
    """The two first principal components of all answers, matching ones first."""
    along: Annotated[np.ndarray, "layer pair 2"]
    """Each answer's projection on the vector, of length 1."""
    inner: Annotated[np.ndarray, "layer pair pair"]
    """Inner products of the pairs' differences, matching less other; of those that make the vector, 0
    elsewhere."""
    between_layers: Annotated[np.ndarray, "layer layer"]
    """Cosines of the vectors of two layers."""
    behaviours: Annotated[tuple[str, ...], "other"]
    between_behaviours: Annotated[np.ndarray, "layer other"]
    """Cosines with the vectors of the behaviours that ship."""
    baseline: Annotated[np.ndarray, "pair"]
    """p(matching) of each pair by the unsteered model."""
    says_a: Annotated[np.ndarray, "pair"]
    """Its p(A) among A and B; NaN where letters are not read."""

    @property
    def middle(self) -> int:
        """The layer in the middle, where claims are tested."""
        return len(self.layers) // 2

    @property
    def apart(self) -> np.ndarray:
        """[layer, held-out pair], whether the matching answer lies further along the vector."""
        along = self.along[:, self.held_out.astype(bool)]
        return (along[..., 0] > along[..., 1]).astype(float)

    def _cosine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return [layer, draw], the cosine of mean differences of two groups, given as weights [draw, pair]."""
        of_a, of_b = a @ self.inner, b @ self.inner
        sizes = (of_a * a).sum(-1) * (of_b * b).sum(-1)
        return (of_a * b).sum(-1) / np.sqrt(np.maximum(sizes, 1e-30))

    @property
    def by_letter(self) -> np.ndarray:
        """[2, pair], the pairs that the vector is made from whose matching answer is A, and B."""
        made = ~self.held_out.astype(bool)
        return np.stack([made & (self.letter == i) for i in (0, 1)]).astype(float)

    def letter_cosine(self) -> np.ndarray:
        """Return [layer, 3]: the cosine of the direction of A-positive pairs with that of B-positive ones.

        It is -1 where the "vector" is the direction of the letter, and above 0 where it is one of behaviour.

        It is that of what pairs of a letter have in common: a pair's inner product with itself is left out, as
        its own noise would lengthen the vectors and draw the cosine to 0. The interval is over pairs of both
        letters, by leaving out each. Measured coverage of the nominal 95%, for cosines of -.83, 0 and .6 and 8,
        16 and 24 pairs of either letter, their noise 2 to 6 times as long as what they have in common: 94 to 100%; a
        bootstrap of the vectors' own cosine covers its expectation in 4 to 95%.

        NaN where pairs of a letter are fewer than three or have nothing in common.
        """
        groups = self.by_letter
        if groups.sum(1).min() < 3:
            return np.full((len(self.layers), 3), np.nan)
        without = 1 - np.eye(groups.shape[1])[groups.any(0)]
        a, b = groups[:, None] * np.vstack([np.ones_like(without[:1]), without])
        squares = np.stack([self._in_common(each, each) for each in (a, b)])
        known = (squares > 0).all((0, -1))[:, None]
        cosines = self._in_common(a, b) / np.sqrt(np.where(known, squares.prod(0), np.nan))
        return np.clip(jackknife(cosines), -1, 1)

    def _in_common(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return [layer, draw], the mean inner product of pairs of two groups [draw, pair] of 0 or 1, each with others."""
        own = np.diagonal(self.inner, axis1=1, axis2=2)
        sums = ((a @ self.inner) * b).sum(-1) - own @ (a * b).T
        return sums / (a.sum(-1) * b.sum(-1) - (a * b).sum(-1))

    @property
    def halves_cosine(self) -> np.ndarray:
        """[layer], the cosine of the vectors of two halves of the pairs, either of both letters."""
        made = np.flatnonzero(~self.held_out.astype(bool))
        weights = np.zeros((2, len(self.held_out)))
        half = (
            np.arange(len(made)) // 2 % 2
        )  # letters go by turns, so two that follow stay together
        weights[half, made] = 1
        return self._cosine(weights[:1], weights[1:])[:, 0]

    def correlations(self) -> dict[str, np.ndarray]:
        """Return [layer, 2]: |r| of either principal component with behaviour, and with letter."""
        flat = self.components.reshape(len(self.layers), -1, 2)
        matching = np.tile([1.0, -1.0], len(self.letter))
        said = np.repeat(np.where(self.letter == 0, 1.0, -1.0), 2) * matching
        return {
            "behaviour": np.abs(_correlation(flat, matching)),
            "letter": np.abs(_correlation(flat, said)),
        }

    def behaviour_over_letter(self, row: int) -> Estimate:
        """|r| of a layer's first component with behaviour less that with letter; its interval leaves out each pair.

        Measured coverage of the nominal 95%, for differences of -.89, -.61 and 0 and 48 or 96 pairs: 94 to 96%.
        """
        x = self.components[row, :, :, 0].astype(float)
        said = np.where(self.letter == 0, 1.0, -1.0)
        by_behaviour = x[:, 0] - x[:, 1]
        # Both labels are +1 and -1 once in each pair, so their means are 0 and their variances 1.
        moments = np.stack([x.sum(1), (x * x).sum(1), by_behaviour, said * by_behaviour], -1) / 2

        def gap(means: np.ndarray) -> np.ndarray:
            mean, square, behaviour, letter = np.moveaxis(means, -1, 0)
            spread = np.sqrt(np.maximum(square - mean**2, 1e-30))
            return (np.abs(behaviour) - np.abs(letter)) / spread

        whole = moments.mean(0, keepdims=True)
        without = (whole * len(x) - moments) / (len(x) - 1)
        ends = jackknife(gap(np.concatenate([whole, without])))
        return Estimate.of_ends(np.clip(ends, -1, 1), len(x), "pairs")

    @property
    def accuracy(self) -> Estimate:
        """How often the unsteered model's likelier answer is the matching one."""
        return share(self.baseline > 0.5, "pairs")

    @property
    def is_letter(self) -> bool:
        """Whether the vector is one of the letter: A-positive and B-positive pairs pull apart.

        The whole interval of their cosine is then below 0.
        """
        return bool(self.params.protocol == "ab" and self.letter_cosine()[self.middle, 2] < 0)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``geometry``: by layer; ``components``: one row an answer and layer."""
        correlation, cosine = self.correlations(), self.letter_cosine()
        columns = {
            "layer": self.layers,
            "separated": self.apart.mean(1),
            "split_half": self.halves_cosine,
            "letter_cosine": cosine[:, 0],
            "letter_cosine_low": cosine[:, 1],
            "letter_cosine_high": cosine[:, 2],
        }
        for name, values in correlation.items():
            columns |= {f"pc1_{name}": values[:, 0], f"pc2_{name}": values[:, 1]}
        layer, pair, side = np.indices(self.along.shape).reshape(3, -1)
        letters = np.where(self.letter[pair] == side, "A", "B")
        components = pd.DataFrame(
            {
                "layer": self.layers[layer],
                "pair": pair,
                "answer": np.where(side == 0, "matching", "other"),
                "letter": letters,
                "held_out": self.held_out[pair].astype(bool),
                "pc1": self.components[..., 0].ravel(),
                "pc2": self.components[..., 1].ravel(),
                "projection": self.along.ravel(),
            }
        )
        between = pd.DataFrame(
            {
                "layer": np.repeat(self.layers, len(self.behaviours)),
                "behaviour": np.tile(self.behaviours, len(self.layers)),
                "cosine": self.between_behaviours.ravel(),
            }
        )
        first, second = np.indices(self.between_layers.shape).reshape(2, -1)
        layers = pd.DataFrame(
            {
                "layer": self.layers[first],
                "other_layer": self.layers[second],
                "cosine": self.between_layers.ravel(),
            }
        )
        return {
            "geometry": pd.DataFrame(columns),
            "components": components,
            "between_behaviours": between,
            "between_layers": layers,
        }

    @property
    def summary(self) -> dict[str, Any]:
        """What the vector is of, as far as letters tell, and how well it separates."""
        return {
            "accuracy": self.accuracy.value,
            "p_a": None if np.isnan(self.says_a).all() else float(np.nanmean(self.says_a)),
            "separated": float(self.apart.mean(1)[self.middle]),
            "letter_vector": self.is_letter,
        }


def _correlation(values: np.ndarray, with_: np.ndarray) -> np.ndarray:
    """Return [layer, component] of values [layer, answer, component]."""
    x = values - values.mean(1, keepdims=True)
    y = with_ - with_.mean()
    size = np.sqrt((x * x).sum(1) * (y * y).sum())
    return np.einsum("lac,a->lc", x, y) / np.maximum(size, 1e-30)
