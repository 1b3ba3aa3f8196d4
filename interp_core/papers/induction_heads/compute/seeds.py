"""Train the small models from several seeds, and keep each run, so that an interrupted one goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from interp_core.papers.induction_heads.seeds import Seeds, SeedsParams
from interp_core.papers.induction_heads.training import Training, TrainingParams
from interp_core.provenance import Recorder
from interp_core.question import obtain
from interp_core.runtime import stage


def compute(params: SeedsParams) -> Seeds:
    """Train the models of ``params.toys`` from each seed, and return what claims are about.

    Every seed's training is kept as it ends, and taken from there unless ``params.resume`` is false.
    """
    runs: list[Training] = []
    with Recorder() as recorder:
        for done, seed in enumerate(params.seeds):
            with stage("training from several seeds", done, params.runs):
                asked = TrainingParams(
                    toys=params.toys, steps=params.steps, seed=seed, resume=params.resume
                )
                runs.append(obtain(None, asked))
        record = recorder.provenance(runs[0].provenance.model, [], params.seed)
    # What was trained before counts too.
    seconds = sum(each.provenance.seconds for each in runs)
    found = [_of_run(each) for each in runs]
    arrays: dict[str, Any] = {
        name: np.stack([each[name] for each in found], axis=1) for name in found[0]
    }
    return Seeds(
        params=params,
        provenance=dataclasses.replace(record, seconds=round(seconds, 3)),
        models=params.toys,
        seeds=params.seeds,
        steps=runs[0].steps,
        **arrays,
    )


def _of_run(training: Training) -> dict[str, np.ndarray]:
    """Return the arrays of one run, [model, ...], by their names in :class:`Seeds`."""
    circuits = [training.circuit(name) for name in training.models]
    into = np.full(training.prefix_matching.shape, np.nan, np.float16)
    for row, pair in enumerate(circuits):
        if pair is not None:
            into[row] = training.k_composition[row, ..., pair[2], pair[3]]
    return {
        "second_copy_loss": training.second_copy_loss,
        "best_prefix_matching": training.best(training.prefix_matching).astype(np.float32),
        "in_context": training.in_context,
        "circuits": np.array([pair or (-1,) * 4 for pair in circuits], np.int16),
        "composition": into,
    }
