"""Train dictionaries, with checkpoints, and keep them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from interp_core import store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture, splice
from interp_core.papers.sparse_autoencoder.compute.apply import FIT, Applied, fit
from interp_core.papers.sparse_autoencoder.compute.capture import Activations
from interp_core.papers.sparse_autoencoder.compute.learner import Learner
from interp_core.papers.sparse_autoencoder.dictionary import KEPT, Card, Dictionary
from interp_core.papers.sparse_autoencoder.params import TrainParams
from interp_core.papers.sparse_autoencoder.training import Training
from interp_core.papers.tuned_lens.compute import texts
from interp_core.papers.tuned_lens.params import OWN
from interp_core.params import ParameterError, computed_by
from interp_core.paths import cache_dir
from interp_core.provenance import Recorder
from interp_core.query import command
from interp_core.residual import Site
from interp_core.runtime import clock, report, show, stage
from interp_core.training import Course, schedule

_CHECKPOINTS = 20
_HELD_OUT = 16
"""Windows that are not trained on, at most."""
_MEASURED = 2048
"""Held-out activations that are read at every checkpoint, at most."""


def train(model: LanguageModel, params: TrainParams) -> Training:
    """Train a dictionary for each sparsity that is asked for. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model, or there is too little text.
    """
    layer = model.info.n_layers // 2 if params.layer is None else params.layer
    site = Site(params.site, layer)
    with Recorder() as recorder:
        windows, held_out = texts.split(model, params, 1, _HELD_OUT)
        data = capture.capture(model, _mixed(windows, params.seed), site, params.activations)
        _check(data, params)
        apart = np.concatenate(
            [
                each[~capture.sinks(each)]
                for each in np.array(capture.read(model.stream, held_out, site))
            ]
        )[:_MEASURED] * np.float32(data.whole_scale)
        at = schedule(-(-params.tokens // params.batch), _CHECKPOINTS)
        learner = Learner(data, apart, params, len(at))
        course = _course(learner, at, model, windows)
        spliced = np.full((len(learner.saes), 5), np.nan)

        def result(names: tuple[str, ...] = ()) -> Training:
            logs: dict[str, Any] = {name: each.copy() for name, each in learner.logs.items()}
            return Training(
                params=dataclasses.replace(params, resume=True),
                provenance=recorder.provenance(model.info, [], params.seed),
                names=names,
                layer=layer,
                latents=learner.saes[0].kind.latents,
                activations=len(data.used),
                seconds=course.seconds,
                sparsity=np.array([sae.kind.sparsity for sae in learner.saes]),
                checkpoints=np.array(at),
                spliced=spliced.copy(),
                **logs,
            )

        for _ in course.run(_teller(learner), resume=params.resume):
            show(result())
        names = []
        for row in range(len(learner.saes)):
            with stage("measuring", row, len(learner.saes)):
                found = _folded(model, learner, row, site)
                sums = splice.measure(model, Applied.of(found), held_out)
                n, l0, clean, with_sae, zero, mean = (
                    sums[name].sum() for name in ("n", "l0", "clean", "spliced", "zero", "mean")
                )
            spliced[row] = l0 / n, clean / n, with_sae / n, zero / n, mean / n
            metrics = {"l0": l0 / n, "ce_loss_score": (zero - with_sae) / (zero - clean)}
            metrics["dead"] = float(learner.logs["dead"][row, -1])
            metrics[FIT] = fit(model, Applied.of(found.rounded()))
            card = dataclasses.replace(
                found.card, metrics={k: float(v) for k, v in metrics.items()}
            )
            names.append(KEPT.keep(dataclasses.replace(found, card=card).rounded().to_bytes()))
        return result(tuple(names))


def _mixed(windows: np.ndarray, seed: int) -> np.ndarray:
    """Return the windows in another order, so that the first of them are from all of the text."""
    return windows[np.random.default_rng(seed).permutation(len(windows))]


def _check(data: Activations, params: TrainParams) -> None:
    rows, d = len(data.used), data.rows.shape[1]
    latents = params.width * d
    if rows < latents:
        raise ParameterError(
            f"width: {params.width} gives {latents:,} latents, and the text has {rows:,} activations; "
            f"accepted: at least as many activations as latents"
        )
    if params.architecture != "standard" and max(params.k) > latents:
        raise ParameterError(f"k: {max(params.k)} is not accepted; there are {latents:,} latents")


def _teller(learner: Learner) -> Callable[[int], None]:
    """Return what reports a step: how fast this run goes, and what was last measured."""
    began: list[tuple[int, float]] = []

    def tell(step: int) -> None:
        label = "training"
        if began:
            first, start = began[0]
            rate = learner.params.batch * (step - first) / max(clock() - start, 1e-9)
            last = np.flatnonzero(np.isfinite(learner.logs["mse"][0]))
            if len(last):
                mse, l0, dead = (learner.logs[name][0, last[-1]] for name in ("mse", "l0", "dead"))
                label += (
                    f" (MSE {mse:.3f}, L0 {l0:.0f}, {dead:.0%} dead, {rate:,.0f} tokens a second)"
                )
        began.append((step, clock()))
        report(label, step, learner.steps)

    return tell


def _course(
    learner: Learner, at: list[int], model: LanguageModel, windows: np.ndarray
) -> Course[Learner]:
    of = {
        "sae of": model.info.fingerprint,
        "asked": {
            name: list(v) if isinstance(v, tuple) else v
            for name, v in computed_by(learner.params).items()
        },
        "text": store.array_digest(windows),
        "sinks": capture.SINK,
        "version": Training.version,
    }
    file = cache_dir("training") / f"sae-{store.digest(of)}.npz"
    return Course(learner, at, file, of, learner.axes())


def _folded(model: LanguageModel, learner: Learner, row: int, site: Site) -> Dictionary:
    """Return a trained dictionary that applies to activations as the model has them.

    With inputs scaled by s, ``b_enc``, ``b_dec`` and the threshold shrink by it; ``W_enc`` and the unit
    rows of ``W_dec`` stay, so that activations are lengths along unit directions of the site.
    """
    sae, params, s = learner.saes[row], learner.params, learner.data.whole_scale
    own = {name: np.array(value) for name, value in sae.weights.items()}
    weights = own | {"b_enc": own["b_enc"] / s, "b_dec": own["b_dec"] / s}
    chosen = params.architecture if params.architecture in ("topk", "standard") else "jumprelu"
    if chosen == "jumprelu":
        weights["threshold"] = np.full(sae.kind.latents, sae.threshold / s, np.float32)
    d = own["W_enc"].shape[0]
    card = Card(
        model=model.info.id,
        model_sha256=model.info.sha256,
        d_model=model.info.d_model,
        n_layers=model.info.n_layers,
        part=site.part,
        layer=site.layer,
        architecture=chosen,
        d_in=d,
        d_sae=sae.kind.latents,
        k=int(sae.kind.sparsity) if chosen == "topk" else 0,
        trained_as=params.architecture,
        corpus="text that the model wrote" if params.corpus == OWN else params.corpus,
        tokens=learner.steps * params.batch,
        made=command(dataclasses.replace(params, model=model.info.id, resume=True)),
    )
    return Dictionary(card, {name: value.astype(np.float32) for name, value in weights.items()})
