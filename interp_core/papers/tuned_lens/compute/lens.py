"""Read a prompt through both lenses."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.logit_lens.compute import Translate, as_it_is, readings
from interp_core.papers.tuned_lens.params import Params
from interp_core.papers.tuned_lens.reading import Readings
from interp_core.papers.tuned_lens.translators import Translators, load_lens
from interp_core.provenance import Recorder


def lens(model: LanguageModel, params: Params) -> Readings:
    """Read every requested layer and position of one prompt. On the compute thread only.

    Raises:
        ParameterError: When a parameter does not fit this model; the message names it.
    """
    tuned = load_lens(params.lens, model.info)
    with Recorder() as recorder:
        shared, reads = readings(model, params, [as_it_is, applied(tuned)])
    provenance = recorder.provenance(model.info, shared.pop("ids"))
    of_each: dict[str, Any] = {name: np.stack([read[name] for read in reads]) for name in reads[0]}
    return Readings(params=params, provenance=provenance, about=tuned.about, **shared, **of_each)


def applied(tuned: Translators) -> Translate:
    """Return a lens as a function of layer and residual [..., d_model].

    It computes in float32, and returns what it was given.
    """

    def translate(layer: int, resid: mx.array) -> mx.array:
        if layer not in tuned.layers:
            return resid
        row = tuned.layers.index(layer)
        wide = resid.astype(mx.float32)
        out = wide + mx.array(tuned.bias[row]).astype(mx.float32)
        if tuned.weight is not None:
            out = out + wide @ mx.array(tuned.weight[row]).astype(mx.float32).T
        return out.astype(resid.dtype)

    return translate
