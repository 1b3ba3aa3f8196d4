"""Score prompts by how unlike ordinary ones they are, with detectors that never saw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from interp_core.papers.tuned_lens.detection import FOLDS, FOREST, NEIGHBOURS
from interp_core.runtime import give_way

_TREES, _NEAREST = 300, 20
"""Trees of a forest, three times scikit-learn's, as scores of few prompts hang on the seed else; and
scikit-learn's number of neighbours, where there are as many."""


def _forest(seed: int, prompts: int) -> Any:
    from sklearn.ensemble import IsolationForest  # slow to import, and not needed to draw a page

    return IsolationForest(n_estimators=_TREES, random_state=seed)


def _neighbours(seed: int, prompts: int) -> Any:
    from sklearn.neighbors import LocalOutlierFactor

    return LocalOutlierFactor(n_neighbors=min(_NEAREST, prompts - 1), novelty=True)


MADE: dict[str, Callable[[int, int], Any]] = {FOREST: _forest, NEIGHBOURS: _neighbours}
"""Makes a detector for a seed and a number of prompts to fit it on."""


def folds_of(tasks: np.ndarray, seed: int) -> np.ndarray:
    """Return [item]: the fold that holds each item out, drawn within its task, of even sizes.

    Args:
        tasks: [item] their names.
        seed: Of the draw.
    """
    out = np.zeros(len(tasks), int)
    draw = np.random.default_rng(seed)
    for task in dict.fromkeys(tasks.tolist()):
        at = np.flatnonzero(tasks == task)
        out[draw.permutation(at)] = np.arange(len(at)) % FOLDS
    return out


def scores(
    readings: Mapping[str, np.ndarray],
    tasks: np.ndarray,
    folds: np.ndarray,
    ordinary: int,
    seed: int,
) -> np.ndarray:
    """Return [reading, detector, version, item]: higher for what is less like ordinary prompts.

    Each task and fold has detectors of its own, fitted on the ordinary prompts of the task's other
    folds; all versions of an item are scored by those of its fold.

    Args:
        readings: By name, features [version, item, feature].
        tasks: [item] their names.
        folds: [item]
        ordinary: Row of the ordinary version.
        seed: Of the forests.
    """
    versions, items = next(iter(readings.values())).shape[:2]
    out = np.full((len(readings), len(MADE), versions, items), np.nan)
    for task in dict.fromkeys(tasks.tolist()):
        for fold in range(FOLDS):
            held = np.flatnonzero((tasks == task) & (folds == fold))
            fitted = np.flatnonzero((tasks == task) & (folds != fold))
            for row, features in enumerate(readings.values()):
                for column, make in enumerate(MADE.values()):
                    give_way()
                    detector = make(seed, len(fitted)).fit(features[ordinary, fitted])
                    tested = features[:, held].reshape(-1, features.shape[-1])
                    found = -detector.score_samples(tested)
                    out[row, column, :, held] = found.reshape(versions, len(held)).T
    return out
