"""Extract causal bases on some documents, and measure on others what ablating them does."""

from __future__ import annotations

from dataclasses import dataclass, fields

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens.compute import Translate, as_it_is
from interp_core.papers.tuned_lens.basis import BASES, LENSES, RANDOM, Basis, BasisParams
from interp_core.papers.tuned_lens.compute.ablation import Effects, effects
from interp_core.papers.tuned_lens.compute.evaluate import documents
from interp_core.papers.tuned_lens.compute.extraction import causal_basis, random_basis, reader
from interp_core.papers.tuned_lens.compute.learner import positions
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.translators import load_lens
from interp_core.params import ParameterError, resolve
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report

_LEAST = 4
"""Documents, so that two are measured on."""
_ROWS = 768
"""Positions that bases are extracted from, about, in all documents together."""
_PART = 4
"""Where a search begins is found on a fourth of the positions, and of the vocabulary's sample."""


def basis(model: LanguageModel, params: BasisParams) -> Basis:
    """Extract the bases of both lenses, and measure them. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit the model, or the text has too few documents.
    """
    layers = resolve(params.layers, model.info.n_layers, "layers")
    if params.vectors > model.info.d_model:
        raise ParameterError(
            f"vectors: {params.vectors} is not accepted; the residual stream's width is "
            f"{model.info.d_model}, so accepted: 2 to {model.info.d_model}"
        )
    tuned = load_lens(params.lens, model.info)
    lenses = (as_it_is, applied(tuned))
    extraction, rest = halves(documents(model, params))
    with Recorder() as recorder:
        found = _extracted(model.stream, lenses, layers, extraction, params)
        read = [_positions(ids, params.positions, [params.seed, n]) for n, ids in enumerate(rest)]
        of = _measured(model.stream, lenses, layers, rest, read, found)
    return Basis(
        params=params,
        provenance=recorder.provenance(model.info, [], params.seed),
        about=tuned.about,
        lenses=LENSES,
        bases=BASES,
        layers=np.array(layers),
        translated=np.isin(layers, tuned.layers),
        extracted_on=len(extraction),
        extracted=found.influence,
        positions=np.array([len(at) for at in read]),
        on_model=of["model"],
        on_lens=of["lens"],
        alignment=of["alignment"],
        aligned=of["aligned"],
    )


def halves(texts: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the documents to extract bases from, and those to measure on: every other one.

    Raises:
        ParameterError: When there are too few.
    """
    if len(texts) < _LEAST:
        raise ParameterError(f"text: it has {len(texts)} documents; needed: at least {_LEAST}")
    return texts[::2], texts[1::2]


def _positions(ids: np.ndarray, count: int | None, seed: list[int]) -> np.ndarray:
    return positions((1, len(ids)), count, seed)[0]


@dataclass(frozen=True)
class _Bases:
    """What was extracted."""

    vectors: np.ndarray
    """[basis, layer, vector, d_model]"""
    influence: np.ndarray
    """[lens, layer, vector] nats, of the lenses' own vectors where they were extracted."""
    mean: np.ndarray
    """[layer, d_model] of the residuals."""


def _extracted(
    stream: ResidualStream,
    lenses: tuple[Translate, ...],
    layers: list[int],
    texts: list[np.ndarray],
    params: BasisParams,
) -> _Bases:
    """Return the bases of each lens at each layer, and random ones."""
    states, count = _states(stream, layers, texts, params.seed), params.vectors
    vectors = np.empty((len(BASES), len(layers), count, stream.d_model), np.float32)
    influence = np.empty((len(lenses), len(layers), count))
    for column, layer in enumerate(layers):
        for row, lens in enumerate(lenses):
            report("extracting bases", column * len(lenses) + row, len(layers) * len(lenses))
            fine, coarse = (
                reader(
                    stream,
                    lens,
                    layer,
                    states[layer][::part],
                    max(params.vocabulary // part, 64),
                    [params.seed, layer, row],
                )
                for part in (1, _PART)
            )
            vectors[row, column], influence[row, column] = causal_basis(fine, coarse, count)
        drawn = random_basis(stream.d_model, count, [params.seed, layer])
        vectors[BASES.index(RANDOM), column] = drawn
    mean = np.stack([np.array(states[layer].mean(0)) for layer in layers])
    return _Bases(vectors, influence, mean)


def _states(
    stream: ResidualStream, layers: list[int], texts: list[np.ndarray], seed: int
) -> dict[int, mx.array]:
    """Return the residuals [row, d_model] of some positions of every document, by layer."""
    count, found = -(-_ROWS // len(texts)), []
    for n, ids in enumerate(texts):
        report("reading documents", n, len(texts))
        kept, at = _kept(stream, layers, ids), mx.array(_positions(ids, count, [seed, n, 1]))
        found.append([kept[layer][0, at].astype(mx.float32) for layer in layers])
        mx.eval(found[-1])
    return {layer: mx.concatenate(parts) for layer, *parts in zip(layers, *found, strict=True)}


def _kept(stream: ResidualStream, layers: list[int], ids: np.ndarray) -> dict[int, mx.array]:
    """Return the residuals [1, pos, d_model] of a document after some blocks."""
    sites = [Site("resid_post", layer) for layer in layers]
    run = stream.run(mx.array(ids[None]), keep=sites, stop=max(layers) + 1, unembed=None)
    kept = {layer: run.acts[Site("resid_post", layer)] for layer in layers}
    mx.eval(kept)
    return kept


def _measured(
    stream: ResidualStream,
    lenses: tuple[Translate, ...],
    layers: list[int],
    texts: list[np.ndarray],
    read: list[np.ndarray],
    found: _Bases,
) -> dict[str, np.ndarray]:
    """Return the fields of the effects of every vector, [..., basis, layer, vector, document]."""
    cells: list[list[Effects]] = []
    for n, (ids, at) in enumerate(zip(texts, read, strict=True)):
        kept, row = _kept(stream, layers, ids), []
        for column, layer in enumerate(layers):
            report("ablating vectors", n * len(layers) + column, len(texts) * len(layers))
            vectors = found.vectors[:, column].reshape(-1, stream.d_model)
            mean = found.mean[column]
            row.append(effects(stream, lenses, layer, vectors, mean, kept[layer], at))
        cells.append(row)

    def joined(name: str) -> np.ndarray:
        values = np.array([[getattr(cell, name) for cell in row] for row in cells])
        values = values.reshape(*values.shape[:-1], len(BASES), -1)
        document, layer, *lens, of, vector = range(values.ndim)
        return values.transpose(*lens, of, layer, vector, document).astype(float)

    return {field.name: joined(field.name) for field in fields(Effects)}
