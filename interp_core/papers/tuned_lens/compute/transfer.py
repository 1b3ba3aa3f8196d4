"""Read every layer through every translator."""

from __future__ import annotations

import numpy as np

from interp_core import readout
from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens.compute import Translate
from interp_core.papers.tuned_lens.compute.evaluate import documents
from interp_core.papers.tuned_lens.compute.learner import Batch, capture, positions
from interp_core.papers.tuned_lens.compute.lens import applied
from interp_core.papers.tuned_lens.compute.loss import kl
from interp_core.papers.tuned_lens.params import TransferParams
from interp_core.papers.tuned_lens.transfer import Transfer
from interp_core.papers.tuned_lens.translators import load_lens
from interp_core.provenance import Recorder
from interp_core.residual import ResidualStream
from interp_core.runtime import give_way, report


def transfer(model: LanguageModel, params: TransferParams) -> Transfer:
    """Measure every pair of a translator and a layer. On the compute thread only.

    Raises:
        ParameterError: When the lens does not fit the model, or the text has too few documents.
    """
    lens = load_lens(params.lens, model.info)
    translate, layers, sums, read = applied(lens), list(lens.layers), [], []
    texts = documents(model, params)
    with Recorder() as recorder:
        for done, ids in enumerate(texts):
            report("reading documents", done, len(texts))
            at = positions((1, len(ids)), params.positions, [params.seed, done])
            batch = capture(model.stream, ids[None], layers, at)
            sums.append(_pairs(model.stream, batch, layers, translate))
            read.append(at.shape[1])
        return Transfer(
            params=params,
            provenance=recorder.provenance(model.info, [], params.seed),
            layers=np.array(layers),
            positions=np.array(read),
            kl=np.stack(sums, -1),
        )


def _pairs(
    stream: ResidualStream, batch: Batch, layers: list[int], translate: Translate
) -> np.ndarray:
    """Return [translator, layer], the sums of KL over the positions of a batch."""
    sums = np.zeros((len(layers), len(layers)))
    for part in batch.parts(stream.d_vocab):
        final = readout.final(stream.unembed(part.last))
        for column, layer in enumerate(layers):
            for row, other in enumerate(layers):
                give_way()
                logits = stream.unembed(translate(other, part.states[layer]))
                sums[row, column] += kl(logits, final).sum()
    return sums
