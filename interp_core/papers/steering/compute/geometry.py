"""Where answers lie: components, cosines, and what the unsteered model says."""

from __future__ import annotations

import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering.compute.extract import activations
from interp_core.papers.steering.compute.intervene import Steering
from interp_core.papers.steering.compute.make import shipped, vectors_of
from interp_core.papers.steering.compute.prompts import item
from interp_core.papers.steering.compute.score import Scored, score
from interp_core.papers.steering.geometry import Geometry, GeometryParams
from interp_core.papers.steering.pairs import LETTERS
from interp_core.provenance import Recorder
from interp_core.runtime import report, stage


def geometry(model: LanguageModel, params: GeometryParams) -> Geometry:
    """Read both answers of every pair. On the compute thread only."""
    behaviour = contrast.load(params.behaviour, params.pairs)
    made, held_out = behaviour.split()
    every = [*made, *held_out]
    layers = range(model.info.n_layers)
    with Recorder() as recorder:
        own = vectors_of(model, params).direction
        with stage("reading answers", 0, 2):
            both, _ = activations(model, every, params.protocol)
        with stage("scoring pairs", 1, 2):
            baseline, says_a = _baseline(model, params, every)
        units = _unit(own)
        others = {name: shipped(model, params, name).direction for name in contrast.BEHAVIOURS}
        along = np.einsum("pald,ld->lpa", both, units)
        difference = both[:, 0] - both[:, 1]
        difference[len(made) :] = 0
        inner = np.einsum("pld,qld->lpq", difference, difference, optimize=True)
        components = np.stack([_components(both[:, :, layer]) for layer in layers])
    return Geometry(
        params=params,
        provenance=recorder.provenance(model.info, []),
        behaviour=behaviour.name,
        layers=np.array(layers),
        held_out=np.arange(len(every)) >= len(made),
        letter=np.array([LETTERS.index(pair.letter) for pair in every]),
        components=components,
        along=along,
        inner=inner,
        between_layers=units @ units.T,
        behaviours=tuple(others),
        between_behaviours=np.stack([(units * _unit(v)).sum(1) for v in others.values()], -1),
        baseline=baseline,
        says_a=says_a,
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-30)


def _components(both: np.ndarray) -> np.ndarray:
    """Return the two first principal components of answers [pair, 2, d_model]: [pair, 2, 2]."""
    x = both.reshape(-1, both.shape[-1]).astype(np.float64)
    x = x - x.mean(0)
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    kept = np.zeros((len(x), 2))
    count = min(2, len(size))
    kept[:, :count] = left[:, :count] * size[:count]
    return kept.reshape(*both.shape[:2], 2).astype(np.float32)


def _baseline(
    model: LanguageModel, params: GeometryParams, pairs: list
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unsteered model's p(matching) of each pair, and its p(A)."""
    tokenizer, p = model.require_tokenizer(), []
    still = Steering({0: np.zeros((1, model.info.d_model), np.float32)}, np.zeros(1))
    for done, pair in enumerate(pairs):
        report("scoring pairs", done, len(pairs))
        p.append(score(Scored(model, item(tokenizer, pair, params.protocol), [0]).read(still))[0])
    found = np.array(p)
    if params.protocol != "ab":
        return found, np.full(len(found), np.nan)
    return found, np.where([pair.letter == "A" for pair in pairs], found, 1 - found)
