"""Composition between heads, and the path from earlier heads into an induction head's keys."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.circuits import Circuits, CircuitsParams
from interp_core.papers.induction_heads.compute import composition, heads, scores
from interp_core.papers.induction_heads.compute.repeats import Repeated, draw
from interp_core.papers.induction_heads.heads import ranking
from interp_core.papers.induction_heads.params import SCORES, Head
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream, Run, Site
from interp_core.runtime import report

_PREFIX = SCORES.index("prefix_matching")
_PREVIOUS = SCORES.index("previous_token")


def compute(model: LanguageModel, params: CircuitsParams) -> Circuits:
    """Measure how heads compose, and patch the paths into one head's keys. On the compute thread.

    Raises:
        ParameterError: When the model has no such head, or none before it.
    """
    stream, n_heads = model.stream, model.info.n_heads
    with Recorder() as recorder:
        given = next(heads.batches(draw(model, params)))
        found, _, base = heads.measure(stream, given)
        receiver = _receiver(model, params, found[_PREFIX].mean(0))
        drops, own = _into_keys(stream, given, receiver, n_heads)
        sender = ranking(-drops.mean(0))[0]
        matching = found[_PREFIX].mean(0)
        later = [pair for pair in ranking(matching) if pair[0] > sender[0]]
        induction = [pair for pair in later if matching[pair] > params.threshold] or [receiver]
        control = _control(found[_PREVIOUS].mean(0), sender)
        losses = [_without(stream, given, each, induction, n_heads) for each in (sender, control)]
        pairs = composition.composition(stream, n_heads, params.seed)
    return Circuits(
        params=params,
        provenance=recorder.provenance(model.info, given.tokens[0].tolist(), params.seed),
        composition=pairs.astype(np.float16),
        receiver=receiver,
        clean=own.astype(np.float32),
        patched=(own[:, None, None] + drops).astype(np.float32),
        looks=found[_PREVIOUS],
        sender=sender,
        control=control,
        receivers=tuple(induction),
        losses=np.stack([base, *losses]).astype(np.float32),
    )


def _receiver(model: LanguageModel, params: CircuitsParams, score: np.ndarray) -> Head:
    if params.layer is None:
        best = [pair for pair in ranking(score) if pair[0] > 0]
        if not best:
            raise ParameterError("layer: this model has no head with a score after layer 0")
        return best[0] if params.head is None else (best[0][0], params.head)
    if not 1 <= params.layer < model.info.n_layers:
        raise ParameterError(
            f"layer: {params.layer} is not accepted; paths into a head come from earlier layers, so "
            f"accepted: 1 to {model.info.n_layers - 1}"
        )
    in_layer = np.nan_to_num(score[params.layer], nan=-1)
    head = int(in_layer.argmax()) if params.head is None else params.head
    return params.layer, head


def _control(previous_token: np.ndarray, sender: Head) -> Head:
    """Return the head of the sender's layer that looks least at the previous token."""
    layer = sender[0]
    order = [int(head) for head in previous_token[layer].argsort()]
    return layer, next((head for head in order if head != sender[1]), sender[1])


def _into_keys(
    stream: ResidualStream, given: Repeated, receiver: Head, n_heads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of the receiver's prefix matching by each earlier head, and its own.

    [sequence, layer, head], NaN from its own layer on, and [sequence].

    What an earlier head writes beyond its mean is taken out of what the receiver's keys read, and
    of nothing else (path patching; Wang et al. 2022, Goldowsky-Dill et al. 2023).
    """
    layer, head = receiver
    clean = _clean(stream, given, layer)
    own = _score(clean.acts[Site("pattern", layer)], given, stream.windows[layer])[:, head]
    drops = np.full((len(given.tokens), stream.n_layers, n_heads), np.nan)
    for earlier in range(layer):
        report("patching paths", earlier, layer)
        z = clean.acts[Site("z", earlier)]
        for sender in range(n_heads):
            gone = _contribution(stream, earlier, sender, z, n_heads)
            pattern = _keys_without(stream, clean.acts, layer, gone)
            score = _score(pattern, given, stream.windows[layer])[:, head]
            drops[:, earlier, sender] = score - own
    return drops, own


def _clean(stream: ResidualStream, given: Repeated, layer: int) -> Run:
    sites = [Site("z", earlier) for earlier in range(layer)]
    at = [Site(part, layer) for part in ("resid_pre", "q", "pattern")]
    run = stream.run(mx.array(given.tokens), stop=layer + 1, keep=[*sites, *at], unembed=None)
    mx.eval(run.acts)
    return run


def _score(pattern: mx.array, given: Repeated, window: int | None) -> np.ndarray:
    """Return prefix matching [sequence, head]."""
    return scores.of_pattern(host_math.as_numpy(pattern), given, window)[_PREFIX]


def _contribution(
    stream: ResidualStream, layer: int, head: int, z: mx.array, n_heads: int
) -> mx.array:
    """Return what a head writes to the stream beyond its mean, [sequence, pos, d_model]."""
    block = stream.blocks[layer]
    apart = z.reshape(*z.shape[:2], n_heads, -1)
    own = mx.arange(n_heads)[:, None] == head
    mean = apart.mean((0, 1), keepdims=True)
    without = mx.where(own, mean, apart).reshape(z.shape)
    return block.attn_out_norm(block.project(z)) - block.attn_out_norm(block.project(without))


def _keys_without(
    stream: ResidualStream, acts: dict[Site, mx.array], layer: int, gone: mx.array
) -> mx.array:
    """Return the layer's patterns where keys alone are read without ``gone``."""
    run = stream.run(
        resid=acts[Site("resid_pre", layer)] - gone,
        start=layer,
        stop=layer + 1,
        edits={Site("q", layer): lambda _: acts[Site("q", layer)]},
        keep=[Site("pattern", layer)],
        leave=slice(-1, None),
        unembed=None,
    )
    return run.acts[Site("pattern", layer)]


def _without(
    stream: ResidualStream, given: Repeated, sender: Head, receivers: Sequence[Head], n_heads: int
) -> np.ndarray:
    """Return the losses when the receivers' keys are read without what ``sender`` writes.

    Each receiver's pattern is that of the clean run with this one path cut; nats, [sequence, pos-1].
    """
    edits = {}
    for layer in sorted({layer for layer, _ in receivers}):
        clean = _clean(stream, given, layer)
        gone = _contribution(stream, *sender, clean.acts[Site("z", sender[0])], n_heads)
        pattern = _keys_without(stream, clean.acts, layer, gone)
        chosen = [head for each, head in receivers if each == layer]
        mask = mx.array(np.isin(np.arange(n_heads), chosen))[:, None, None]
        edits[Site("pattern", layer)] = lambda x, new=pattern, at=mask: mx.where(at, new, x)
    after = stream.run(mx.array(given.tokens), edits=edits, unembed=None).resid
    return heads.next_losses(stream, after, given.tokens)
