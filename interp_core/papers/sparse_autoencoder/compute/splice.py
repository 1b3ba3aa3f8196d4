"""What a model loses when a dictionary's reconstruction takes a site's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import mlx.core as mx
import numpy as np

from interp_core import readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture
from interp_core.papers.sparse_autoencoder.compute.apply import Applied
from interp_core.papers.sparse_autoencoder.evaluation import NAMES
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import give_way, report

Reconstruct = Callable[[mx.array], mx.array]
SUMS = NAMES[:-2]
"""Those that are measured of every dictionary."""


def measure(
    model: LanguageModel,
    found: Applied,
    windows: np.ndarray,
    beside: Mapping[str, Reconstruct] | None = None,
) -> dict[str, np.ndarray]:
    """Return sums over the positions of each window, [window], by the names of :data:`SUMS`.

    Attention sinks keep their values, and are left out of all but cross-entropies and KL; the last position has
    nothing to predict.

    Args:
        model: That is spliced.
        found: The dictionary.
        windows: [window, pos] ids.
        beside: Other reconstructions of values [row, d_in], whose cross-entropies are summed, too.
    """
    beside = beside or {}
    mean = mx.array(_mean(model, found.site, windows))
    out = {name: np.zeros(len(windows)) for name in (*SUMS, *beside)}
    for row, ids in enumerate(windows):
        report("reading held-out text", row, len(windows))
        give_way()
        for name, value in _window(model, found, ids, mean, beside).items():
            out[name][row] = value
    return out


def _mean(model: LanguageModel, site: Site, windows: np.ndarray) -> np.ndarray:
    """Return the mean of a site over all positions but attention sinks, [d_in]."""
    means = []
    for ids in windows:
        x = np.array(capture.read(model.stream, ids[None], site))[0]
        means.append(x[~capture.sinks(x)].mean(0))
    return np.mean(means, axis=0)


def _window(
    model: LanguageModel,
    found: Applied,
    ids: np.ndarray,
    mean: mx.array,
    beside: Mapping[str, Reconstruct],
) -> dict[str, float]:
    stream, site = model.stream, found.site
    before = Site("resid_pre", site.layer)
    run = stream.run(mx.array(ids[None]), stop=site.layer + 1, keep=[site, before], unembed=None)
    x = run.acts[site][0].astype(mx.float32)
    sink = capture.sinks(np.array(x))
    counted = mx.array(~(sink | (np.arange(len(ids)) == len(ids) - 1)))
    codes = found.encode(x)
    recon = found.decode(codes)
    norms = mx.linalg.norm(x, axis=-1), mx.linalg.norm(recon, axis=-1)
    by_position = {
        "n": mx.ones(len(ids)),
        "l0": (codes > 0).sum(-1),
        "l1": codes.sum(-1),
        "error": mx.square(x - recon).sum(-1),
        "square": mx.square(x).sum(-1),
        "spread": mx.square(x - mean).sum(-1),
        "cosine": (x * recon).sum(-1) / mx.maximum(norms[0] * norms[1], 1e-30),
        "length": norms[1] / mx.maximum(norms[0], 1e-30),
    }
    instead = {"spliced": recon, "zero": mx.zeros_like(x), "mean": mean}
    instead |= {name: make(x) for name, make in beside.items()}
    kept = mx.array(sink)[:, None]
    instead = {name: mx.where(kept, x, value) for name, value in instead.items()}
    sums = {n: float(mx.where(counted, value, 0).sum()) for n, value in by_position.items()}
    return sums | _losses(stream, site, ids, run.acts[before], {"clean": x, **instead})


def _losses(
    stream: ResidualStream,
    site: Site,
    ids: np.ndarray,
    before: mx.array,
    instead: dict[str, mx.array],
) -> dict[str, float]:
    """Return summed cross-entropies, and KL from the clean distributions, nats.

    What is below the site's block is the same for all, and runs once.

    Args:
        stream: What runs.
        site: Whose values are replaced.
        ids: [pos]
        before: [1, pos, d_model] ``resid_pre`` of the site's block.
        instead: By name, values [pos, d_in] of the site; ``clean`` are its own.
    """
    values, targets = mx.stack(list(instead.values())).astype(stream.dtype), ids[2:]
    resid = mx.tile(before, (len(values), 1, 1))
    run = stream.run(resid=resid, start=site.layer, edits={site: lambda _: values}, unembed=None)
    rows = dict(zip(instead, run.resid[:, 1:-1], strict=True))
    found = {}
    for name, row in rows.items():
        found[name] = float(readout.surprisal(stream.unembed, row, targets).sum())
        if f"kl_{name}" in SUMS:
            found[f"kl_{name}"] = sum(_divergences(stream.unembed, rows["clean"], row))
    return found


def _divergences(
    unembed: Callable[[mx.array], mx.array], clean: mx.array, other: mx.array
) -> Iterator[float]:
    for part in readout.chunks(len(clean)):
        reference = readout.final(unembed(clean[part]))
        none = np.zeros((reference.top.shape[0], 0), np.int64)
        yield float(readout.read(unembed(other[part]), reference, none, 1).kl.sum())
