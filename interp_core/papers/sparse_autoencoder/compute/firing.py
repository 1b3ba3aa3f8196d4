"""Read the features of a text, and what those at one token do."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, applied
from interp_core.papers.sparse_autoencoder.compute.codes import writes
from interp_core.papers.sparse_autoencoder.compute.features import logit_weights
from interp_core.papers.sparse_autoencoder.firing import Firing
from interp_core.papers.sparse_autoencoder.params import Params
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.runtime import report

_ROWS = 16
"""Ablations of a batch."""
_WORDS = 3


def firing(model: LanguageModel, params: Params) -> Firing:
    """Read a text's features once, and ablate those of one token. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model, or no feature is active.
    """
    found = applied(model, params.sae)
    tokenizer = model.require_tokenizer()
    ids = tokenizer.prompt(params.text)
    if not 2 <= len(ids) <= model.info.context:
        raise ParameterError(
            f"text: it has {len(ids)} tokens; accepted: 2 to {model.info.context:,}, the first of which is left out"
        )
    position = params.position + len(ids) * (params.position < 0)
    if not 1 <= position < len(ids):
        raise ParameterError(
            f"position: {params.position} is not accepted; the text has {len(ids)} tokens, so accepted: 1 "
            f"to {len(ids) - 1}, or {1 - len(ids)} to -1"
        )
    with Recorder() as recorder:
        x = capture.read(model.stream, np.array([ids]), found.site)[0]
        codes = np.array(found.encode(x))
        codes[capture.sinks(np.array(x))] = 0
        place, feature = np.nonzero(codes > 0)
        if not len(place):
            raise ParameterError("text: no feature is active in it; accepted: another text")
        recon = np.array(found.decode(mx.array(codes)))
        bias = np.array(found.weights["b_dec"])
        values = np.array(x)
        lost = ((values - recon) ** 2).sum(1) / np.maximum(((values - bias) ** 2).sum(1), 1e-30)
        target, resid, clean = _target(model, params, ids)
        active = np.flatnonzero(codes[position] > 0)
        ranked = active[np.argsort(-codes[position, active], kind="stable")]
        amounts = mx.array(codes[position, ranked])[:, None]
        steps = amounts * found.weights["W_dec"][mx.array(ranked)]
        linear = model.stream.linear_logit(resid[None], mx.array([[target]]))
        stream_steps = amounts * writes(model, found)[mx.array(ranked)]
        logit = np.array((stream_steps * linear.direction[0, 0]).sum(-1))
        ablation = clean - _without(model, found, ids, position, steps, target)
        words = np.argsort(-logit_weights(model, stream_steps), axis=1)[:, :_WORDS]
    return Firing(
        params=params,
        provenance=recorder.provenance(model.info, ids),
        about=found.dictionary.card.about,
        site=f"{found.site.part} of layer {found.site.layer}",
        tokens=tuple(token.text for token in tokenizer.tokens(ids)),
        place=place,
        feature=feature,
        activation=codes[place, feature],
        explained=1 - lost,
        position=position,
        target=tokenizer.text(target),
        probability=float(np.exp(clean)),
        ranked=ranked,
        logit=logit,
        ablation=ablation,
        promotes=tuple(" ".join(f"“{tokenizer.text(int(i))}”" for i in row) for row in words),
    )


def _target(
    model: LanguageModel, params: Params, ids: list[int]
) -> tuple[int, mx.array, np.floating]:
    """Return the target's id, the last token's final residual, and the target's log-probability."""
    run = model.stream.run(mx.array([ids]), unembed=slice(-1, None))
    logits = np.array(run.logits[0, 0].astype(mx.float32))  # type: ignore[index]
    try:
        target = (
            model.require_tokenizer().single(params.target)
            if params.target
            else int(logits.argmax())
        )
    except ValueError as error:
        raise ParameterError(f"target: {error}") from None
    highest = logits.max()
    return (
        target,
        run.resid[0, -1],
        logits[target] - highest - np.log(np.exp(logits - highest).sum()),
    )


def _without(
    model: LanguageModel,
    found: Applied,
    ids: list[int],
    position: int,
    steps: mx.array,
    target: int,
) -> np.ndarray:
    """Return the target's log-probability after the last token without each step, nats, [row]."""
    out = []
    for start in range(0, len(steps), _ROWS):
        report("ablating features", start, len(steps))
        part = steps[start : start + _ROWS]

        def edit(x: mx.array, part: mx.array = part) -> mx.array:
            changed = x[:, position] - part.astype(x.dtype)
            return mx.concatenate([x[:, :position], changed[:, None], x[:, position + 1 :]], axis=1)

        run = model.stream.run(mx.array([ids] * len(part)), edits={found.site: edit}, unembed=None)
        targets = np.full(len(part), target)
        out.append(-readout.surprisal(model.stream.unembed, run.resid[:, -1], targets))
    return np.concatenate(out) if out else np.zeros(0)
