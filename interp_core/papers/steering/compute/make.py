"""Vectors of pairs, and what a result is steered by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering import vectors
from interp_core.papers.steering.compute.extract import activations, direction
from interp_core.papers.steering.compute.intervene import Steering
from interp_core.papers.steering.params import (
    Params,
    Steered,
    WithPairs,
    layer_of,
    weight_of,
)
from interp_core.papers.steering.saved import Saved, SaveParams
from interp_core.papers.steering.vectors import KEPT, Card, Vectors
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.query import command
from interp_core.question import obtain
from interp_core.runtime import stage


def save(model: LanguageModel, params: SaveParams) -> Saved:
    """Make a vector of every layer, and keep it. On the compute thread only."""
    made, _ = contrast.load(params.behaviour, params.pairs).split()
    with Recorder() as recorder:
        both, resid_norm = activations(model, made, params.protocol)
        found = direction(both, params.estimator)
        norm = np.linalg.norm(found, axis=-1)
        if params.normalise != "raw":
            wanted = np.ones_like(norm) if params.normalise == "unit" else _equal(model, params)
            found = (found * (wanted / np.maximum(norm, 1e-30))[:, None]).astype(np.float32)
        kept = Vectors(
            _card(model, params, len(made), resid_norm), tuple(range(model.info.n_layers)), found
        )
        name = KEPT.keep(kept.to_bytes())
    return Saved(
        params=params,
        provenance=recorder.provenance(model.info, []),
        vector=name,
        card=kept.card,
        layers=np.arange(model.info.n_layers),
        direction=found,
        resid_norm=resid_norm,
    )


def _equal(model: LanguageModel, params: SaveParams) -> np.ndarray:
    """Return the mean norm over all behaviours that ship, by layer: [layer]."""
    norms = []
    for i, behaviour in enumerate(contrast.BEHAVIOURS):
        with stage("reading behaviours", i, len(contrast.BEHAVIOURS)):
            raw = replace(params, normalise="raw")
            norms.append(np.linalg.norm(shipped(model, raw, behaviour).direction, axis=-1))
    return np.mean(norms, axis=0)


def _card(model: LanguageModel, params: SaveParams, pairs: int, resid_norm: np.ndarray) -> Card:
    behaviour = contrast.load(params.behaviour, params.pairs)
    told = json.dumps([asdict(pair) for pair in behaviour.split()[0]], ensure_ascii=False)
    return Card(
        model=model.info.id,
        model_sha256=model.info.sha256,
        model_type=model.info.model_type,
        d_model=model.info.d_model,
        n_layers=model.info.n_layers,
        behaviour=behaviour.name,
        protocol=params.protocol,
        estimator=params.estimator,
        normalise=params.normalise,
        pairs=pairs,
        pairs_sha256=hashlib.sha256(told.encode()).hexdigest(),
        resid_norm=tuple(float(x) for x in np.round(resid_norm, 4)),
        made=command(replace(saved_by(params), model=model.info.id)),
    )


def saved_by(params: WithPairs) -> SaveParams:
    """Return what asks for the vectors that ``params`` steer by."""
    names = ("model", "behaviour", "pairs", "protocol", "estimator", "normalise")
    return SaveParams(**{name: getattr(params, name) for name in names})


def shipped(model: LanguageModel, params: WithPairs, behaviour: contrast.BehaviourName) -> Saved:
    """Return the vectors of a behaviour that ships, made as ``params`` have theirs made."""
    found: Saved = obtain(model, replace(saved_by(params), behaviour=behaviour, pairs=""))
    return found


def vectors_of(model: LanguageModel, params: WithPairs) -> Vectors:
    """Return the vectors that ``params`` steer by: a file's, or made of pairs where they are not cached.

    Raises:
        ParameterError: When a file's vector is of another model.
    """
    if isinstance(params, Steered) and params.vector:
        loaded = vectors.KEPT.load(params.vector)
        loaded.fits(model.info)
        return loaded
    with stage("making the vector", 0, 1):
        saved: Saved = obtain(model, saved_by(params))
    return saved.vectors


def steering(
    model: LanguageModel, params: Steered, strengths: list[float] | np.ndarray
) -> Steering:
    """Return what steers a batch of ``strengths``, all by one vector.

    In shares of the residual's norm, a strength of 1 adds as much as the stream's mean norm at that layer.

    Raises:
        ParameterError: When a strength overflows, or the vector says no norm to take a share of.
    """
    first = layer_of(params.layer, model.info.n_layers)
    through = getattr(params, "through", None)
    last = first if through is None else through
    if last < first:
        raise ParameterError(f"through: {last} is not accepted; accepted: from layer {first} on")
    of = vectors_of(model, params)
    mixed = [
        (weight, shipped(model, params, name).vectors)
        for name, weight in map(weight_of, getattr(params, "mix", ()))
    ]
    found = {}
    for layer in range(first, last + 1):
        vector = of.at(layer).astype(np.float32)
        for weight, other in mixed:
            vector = vector + weight * other.at(layer)
        found[layer] = _in_shares(of, layer, vector) if params.unit == "share" else vector
    at = np.array(strengths, float)
    largest = np.abs(at).max() * max(np.abs(vector).max() for vector in found.values())
    limit = 6e4 if model.stream.dtype.size == 2 else 1e30
    if not largest < limit:
        name = "multiplier" if isinstance(params, Params) else "most"
        raise ParameterError(
            f"{name}: this strength overflows the model's precision; accepted: less"
        )
    return Steering({k: vector[None] for k, vector in found.items()}, at, params.operator)


def _in_shares(of: Vectors, layer: int, vector: np.ndarray) -> np.ndarray:
    """Return a vector of the length that the residual stream has at that layer in the mean.

    Raises:
        ParameterError: When the vector's file does not say.
    """
    norms = of.card.resid_norm
    if layer >= len(norms):
        raise ParameterError(
            "unit: this vector's file has no norm of the stream; accepted: multiplier"
        )
    return vector / max(float(np.linalg.norm(vector)), 1e-30) * norms[layer]
