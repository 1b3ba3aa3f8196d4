"""Score every head on repeated random tokens, one layer's patterns at a time."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from interp_core import host_math, readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.compute import composition, scores
from interp_core.papers.induction_heads.compute.repeats import Repeated, draw
from interp_core.papers.induction_heads.heads import Heads, Params
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report

_TOGETHER = 2048
"""Tokens that run at a time, at most, unless one sequence has more."""


def compute(model: LanguageModel, params: Params) -> Heads:
    """Score the heads of ``model``. On the compute thread only.

    Raises:
        ParameterError: When the sequences do not fit the model.
    """
    stream = model.stream
    with Recorder() as recorder:
        given = draw(model, params)
        found, raised, losses = measure(stream, given)
        eigenvalues = composition.kept_copying(model)
    return Heads(
        params=params,
        provenance=recorder.provenance(model.info, given.tokens[0].tolist(), params.seed),
        tokens=given.tokens,
        first=given.first,
        windows=tuple(stream.windows),
        scores=found,
        copying=eigenvalues,
        raised=raised,
        losses=losses,
    )


def measure(stream: ResidualStream, given: Repeated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores, logit-based copying scores and losses of ``given``.

    [score, sequence, layer, head], [sequence, layer, head], and [sequence, pos - 1] in nats.
    """
    parts = list(batches(given))
    found = [_measure(stream, part, done, len(parts)) for done, part in enumerate(parts)]
    score, raised, losses = zip(*found, strict=True)
    return (
        np.concatenate(score, axis=1).astype(np.float32),
        np.concatenate(raised).astype(np.float32),
        np.concatenate(losses),
    )


def batches(given: Repeated) -> Iterator[Repeated]:
    """Yield the sequences, as many as run together."""
    step = max(1, _TOGETHER // given.tokens.shape[1])
    for start in range(0, len(given.tokens), step):
        part = given.tokens[start : start + step]
        yield Repeated(part, given.first, given.period, given.repeats)


def next_losses(stream: ResidualStream, resid: mx.array, tokens: np.ndarray) -> np.ndarray:
    """Return the loss of each next token, nats, [text, pos - 1], after the last block's ``resid``."""
    rows = resid[:, :-1].reshape(-1, resid.shape[-1])
    found = readout.surprisal(stream.unembed, rows, tokens[:, 1:].reshape(-1))
    return found.reshape(len(tokens), -1)


def _measure(
    stream: ResidualStream, given: Repeated, batch: int, n_batches: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return [score, sequence, layer, head], raised [sequence, layer, head] and losses."""
    resid = stream.embed(mx.array(given.tokens))
    sample = given.tokens[:, given.first : given.first + given.period]
    directions = composition.unembedding(stream, mx.array(sample)).swapaxes(1, 2)
    found, raised = [], []
    for layer in range(stream.n_layers):
        report("scoring heads", batch * stream.n_layers + layer, n_batches * stream.n_layers)
        sites = [Site("pattern", layer), Site("z", layer)]
        run = stream.run(resid=resid, start=layer, stop=layer + 1, keep=sites, unembed=None)
        resid = run.resid
        mx.eval(resid, run.acts)
        pattern = host_math.as_numpy(run.acts[sites[0]])
        found.append(scores.of_pattern(pattern, given, stream.windows[layer]))
        raised.append(_raised(stream, layer, run.acts[sites[1]], pattern, given, directions))
    return np.stack(found, 2), np.stack(raised, 1), next_losses(stream, resid, given.tokens)


def _raised(
    stream: ResidualStream,
    layer: int,
    z: mx.array,
    pattern: np.ndarray,
    given: Repeated,
    directions: mx.array,
) -> np.ndarray:
    """Return the logit-based copying score, [sequence, head].

    A head's own contribution to the logits of the sequence's tokens, less their mean and cut at 0:
    the share of the raise that goes to the token attended to most (what stands in front left out),
    averaged over the queries of later copies. The paper maps shares of 0 to 0.5 onto -1 to 1, on
    sequences without repeats; there, heads of larger models look at the first token and copy
    nothing, so it is measured on the repeats. Chance is 4/n - 1 for n tokens, whose ``directions``
    are [sequence, d_model, token].
    """
    n_heads, start = pattern.shape[1], given.first + given.period
    z = z[:, start:].reshape(len(pattern), -1, n_heads, z.shape[-1] // n_heads)
    out = composition.output_maps(stream, layer, n_heads, z.shape[-1])
    through = out[None] @ directions[:, None]
    logits = host_math.as_numpy(z.swapaxes(1, 2) @ through)
    raised = np.maximum(0, logits - logits.mean(-1, keepdims=True))
    attended = pattern[:, :, start:, given.first :].argmax(-1) % given.period
    at = np.take_along_axis(raised, attended[..., None], -1)[..., 0]
    total = raised.sum(-1)
    shares = np.divide(at, total, out=np.zeros_like(at), where=total > 0).mean(-1)
    return np.minimum(4 * shares - 1, 1)
