"""Train a lens, with checkpoints, and keep it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from interp_core import store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.tuned_lens.compute import texts
from interp_core.papers.tuned_lens.compute.learner import CLIP, Learner, positions, whole
from interp_core.papers.tuned_lens.params import OWN, TrainParams
from interp_core.papers.tuned_lens.training import Training
from interp_core.papers.tuned_lens.translators import KEPT, Card, Translators
from interp_core.params import ParameterError, computed_by, resolve
from interp_core.paths import cache_dir
from interp_core.provenance import Recorder
from interp_core.query import command
from interp_core.runtime import clock, report, show
from interp_core.training import Course, schedule

_CHECKPOINTS = 10


def train(model: LanguageModel, params: TrainParams) -> Training:
    """Train the translators of the layers asked for. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model, or there is too little text.
    """
    layers = resolve(params.layers, model.info.n_layers, "layers")
    layers = [layer for layer in layers if layer < model.info.n_layers - 1]
    if params.layers[0] == 0:
        layers = [-1, *layers]
    if not layers:
        raise ParameterError("layers: the last layer is the output, and gets no translator")
    with Recorder() as recorder:
        windows, held_out = texts.split(model, params, params.batch)
        at = schedule(params.steps, _CHECKPOINTS)
        learner = Learner(model.stream, layers, windows, held_out, params, len(at))
        course = _course(learner, at, model)
        seen = (
            params.batch * positions(windows[: params.batch].shape, params.positions, [0]).shape[1]
        )

        def result(lens: str = "") -> Training:
            now = recorder.provenance(model.info, [], params.seed)
            return Training(
                params=dataclasses.replace(params, resume=True),
                provenance=now,
                lens=lens,
                windows=len(windows),
                positions=seen,
                seconds=course.seconds,
                layers=np.array(layers),
                losses=learner.losses.copy(),
                checkpoints=np.array(at),
                kl=learner.kl.copy(),
            )

        for _ in course.run(_teller(learner, seen), resume=params.resume):
            show(result())
        lens = Translators(
            _card(model, params, learner, seen), tuple(layers), *reversed(whole(learner.weights))
        )
        return result(KEPT.keep(lens.rounded().to_bytes()))


def _teller(learner: Learner, seen: int) -> Callable[[int], None]:
    """Return what reports a step: the last one's loss, and how fast this run goes."""
    began: list[tuple[int, float]] = []

    def tell(step: int) -> None:
        label = "training"
        if began:
            first, start = began[0]
            rate = seen * (step - first) / max(clock() - start, 1e-9)
            loss = learner.losses[step - 1].mean()
            label += f" (loss {loss:.2f} nats, {rate:,.0f} tokens a second)"
        began.append((step, clock()))
        report(label, step, learner.params.steps)

    return tell


def _course(learner: Learner, at: list[int], model: LanguageModel) -> Course[Learner]:
    of = {
        "lens of": model.info.fingerprint,
        "asked": {
            name: list(v) if isinstance(v, tuple) else v
            for name, v in computed_by(learner.params).items()
        },
        "text": [store.array_digest(each) for each in (learner.windows, learner.held_out)],
        "clip": CLIP,
        "version": Training.version,
    }
    file = cache_dir("training") / f"lens-{store.digest(of)}.npz"
    return Course(learner, at, file, of, learner.axes())


def _card(model: LanguageModel, params: TrainParams, learner: Learner, seen: int) -> Card:
    corpus = "text that the model wrote" if params.corpus == OWN else params.corpus
    return Card(
        model=model.info.id,
        model_sha256=model.info.sha256,
        d_model=model.info.d_model,
        n_layers=model.info.n_layers,
        corpus=corpus,
        tokens=seen * params.steps,
        steps=params.steps,
        loss=params.loss,
        made=command(dataclasses.replace(params, model=model.info.id, resume=True)),
        metrics={
            "held_out_kl_before": float(learner.kl[0].mean()),
            "held_out_kl": float(learner.kl[-1].mean()),
        },
    )
