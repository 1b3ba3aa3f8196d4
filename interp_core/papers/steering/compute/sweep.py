"""Steer every layer, one at a time, and score held-out pairs."""

from __future__ import annotations

import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering.compute.intervene import Steering
from interp_core.papers.steering.compute.make import vectors_of
from interp_core.papers.steering.compute.prompts import item
from interp_core.papers.steering.compute.score import Scored, score
from interp_core.papers.steering.params import SweepParams
from interp_core.papers.steering.sweep import Sweep
from interp_core.params import resolve
from interp_core.provenance import Recorder
from interp_core.runtime import give_way, report, show


def sweep(model: LanguageModel, params: SweepParams) -> Sweep:
    """Score every held-out pair at every layer. On the compute thread only."""
    layers = resolve(params.layers, model.info.n_layers, "layers")
    multipliers = np.array(sorted({0.0, *params.multipliers}))
    behaviour = contrast.load(params.behaviour, params.pairs)
    held_out = behaviour.split()[1]
    tokenizer = model.require_tokenizer()
    with Recorder() as recorder:
        of = vectors_of(model, params)
        p = np.full((len(layers), len(multipliers), len(held_out)), np.nan)

        def result(done: int) -> Sweep:
            return Sweep(
                params=params,
                provenance=recorder.provenance(model.info, []),
                behaviour=behaviour.name,
                layers=np.array(layers),
                multipliers=multipliers,
                p=p[..., :done].copy(),
                depth=model.info.n_layers,
            )

        steered = np.flatnonzero(multipliers)
        for i, pair in enumerate(held_out):
            report("scoring pairs", i, len(held_out))
            one = Scored(model, item(tokenizer, pair, params.protocol), layers, params.scope)
            base = one.read(Steering({layers[-1]: of.at(layers[-1])[None]}, np.zeros(1)))
            p[:, multipliers == 0, i] = score(base)[0]
            for row, layer in enumerate(layers):
                give_way()
                by = Steering({layer: of.at(layer)[None]}, multipliers[steered])
                p[row, steered, i] = score(one.read(by))
            if i >= 4:
                show(result(i + 1))
        return result(len(held_out))
