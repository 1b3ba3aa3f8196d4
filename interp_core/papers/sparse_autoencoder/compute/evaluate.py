"""Measure a dictionary on held-out text, beside PCA and random directions at equal sparsity."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture, splice
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, applied
from interp_core.papers.sparse_autoencoder.compute.autoencoder import kth
from interp_core.papers.sparse_autoencoder.compute.codes import codes, windows
from interp_core.papers.sparse_autoencoder.evaluation import NAMES, Evaluation
from interp_core.papers.sparse_autoencoder.params import EvaluateParams
from interp_core.provenance import Recorder

_FITTED = 32
"""Windows that the baselines are fitted on, beyond those measured, where the text has them."""


def evaluate(model: LanguageModel, params: EvaluateParams) -> Evaluation:
    """Read the text with every reconstruction in turn. On the compute thread only.

    Raises:
        ParameterError: When the dictionary does not fit the model, or the text is too short.
    """
    found = applied(model, params.sae)
    with Recorder() as recorder:
        ids = windows(model, params, found, apart=_FITTED)
        measured, other = ids[: params.windows], ids[params.windows :]
        if len(other) < _FITTED // 4:  # a short text: half of it for the baselines
            measured, other = ids[::2], ids[1::2]
        read = codes(model, found, measured)
        k = max(1, round(len(read.place) / read.positions))
        sums = splice.measure(model, found, measured, _baselines(model, found, other, k))
    return Evaluation(
        params=params,
        provenance=recorder.provenance(model.info, []),
        about=found.dictionary.card.about,
        tokens_trained=found.dictionary.card.tokens,
        sums=np.stack([sums[name] for name in NAMES]),
        density=read.density,
        positions=read.positions,
    )


def _baselines(
    model: LanguageModel, found: Applied, ids: np.ndarray, k: int
) -> dict[str, splice.Reconstruct]:
    """Return reconstructions by ``k`` numbers a token, fitted on windows [window, pos]."""
    rows = np.concatenate(
        [np.array(capture.read(model.stream, each[None], found.site))[0] for each in ids]
    )
    rows = rows[~np.concatenate([capture.sinks(each) for each in np.split(rows, len(ids))])]
    mean = rows.mean(0)
    _, vectors = np.linalg.eigh((rows - mean).T.astype(np.float64) @ (rows - mean))
    components = mx.array(np.ascontiguousarray(vectors[:, ::-1][:, :k]).astype(np.float32))
    centre = mx.array(mean)
    draw = np.random.default_rng(0)
    drawn = draw.normal(size=(found.dictionary.card.d_sae, rows.shape[1])).astype(np.float32)
    directions = mx.array(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def pca(x: mx.array) -> mx.array:
        return centre + ((x - centre) @ components) @ components.T

    def raw(x: mx.array) -> mx.array:
        along = (x - centre) @ directions.T
        size = mx.abs(along)
        return mx.where(size >= kth(size, k), along, 0) @ directions

    some = mx.array(rows[:4096])
    made = raw(some)
    scale = ((some - centre) * made).sum() / mx.maximum((made * made).sum(), 1e-30)

    def random(x: mx.array) -> mx.array:
        return centre + scale * raw(x)

    return {"pca": pca, "random": random}
