"""The pattern of any head on any text."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from interp_core import host_math
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.attention import WINDOW, AttentionParams, Pattern
from interp_core.papers.induction_heads.compute import scores
from interp_core.papers.induction_heads.compute.repeats import bos_ids
from interp_core.papers.induction_heads.heads import ranking
from interp_core.papers.induction_heads.params import MAX_TOKENS, SCORES
from interp_core.params import ParameterError, resolve
from interp_core.provenance import Recorder
from interp_core.residual import Site
from interp_core.runtime import report
from interp_core.tokens import Tokenizer


def compute(model: LanguageModel, params: AttentionParams) -> Pattern:
    """Return the patterns of one layer on ``params.text``, and every head's scores on it.

    On the compute thread only.

    Raises:
        ParameterError: When the text is too short or too long, or there is no such layer.
    """
    stream = model.stream
    with Recorder() as recorder:
        ids = _ids(model, params)
        asked = resolve(params.positions, len(ids), "positions")[:WINDOW]
        resid = stream.embed(mx.array([ids]))
        window = np.ix_(range(model.info.n_heads), asked, asked)
        found, patterns = [], []
        for layer in range(stream.n_layers):
            report("reading patterns", layer, stream.n_layers)
            site = Site("pattern", layer)
            run_ = stream.run(resid=resid, start=layer, stop=layer + 1, keep=[site], unembed=None)
            resid = run_.resid
            pattern = host_math.as_numpy(run_.acts[site])[0]
            found.append(scores.of_text(pattern, np.array(ids), stream.windows[layer]))
            patterns.append(pattern[window].astype(np.float16))
        each = np.stack(found, 1)
        layer = _layer(each) if params.layer is None else params.layer
    tokenizer = model.require_tokenizer()
    return Pattern(
        params=params,
        provenance=recorder.provenance(model.info, ids),
        tokens=tuple(tokenizer.text(i) for i in ids),
        positions=tuple(asked),
        layer=layer,
        scores=each.astype(np.float32),
        pattern=patterns[layer],
    )


def _ids(model: LanguageModel, params: AttentionParams) -> list[int]:
    ids = model.require_tokenizer().encode(params.text, bos=False)
    if len(ids) < 3:
        raise ParameterError(
            f"text: it has {len(ids)} tokens, too few to hold a repeat; accepted: at least 3"
        )
    ids = tokens(model.require_tokenizer(), params)
    longest = min(MAX_TOKENS, model.info.context)
    if len(ids) > longest:
        raise ParameterError(f"text: it has {len(ids)} tokens; accepted: up to {longest}")
    return ids


def tokens(tokenizer: Tokenizer, params: AttentionParams) -> list[int]:
    """Return the text's ids, with what stands in front."""
    return [*bos_ids(tokenizer, params.bos), *tokenizer.encode(params.text, bos=False)]


def _layer(each: np.ndarray) -> int:
    """Return the layer with the best head on this text: by prefix matching where tokens repeat."""
    repeats = ranking(each[SCORES.index("prefix_matching")])
    return (repeats or ranking(each[SCORES.index("previous_token")]))[0][0]
