"""Which features are active where in a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from interp_core import corpus, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, applied
from interp_core.papers.sparse_autoencoder.params import FeatureParams, OnText, SteerParams
from interp_core.params import ParameterError
from interp_core.runtime import report

_LEAST = 4
"""Windows that a text must have."""


def windows(model: LanguageModel, params: OnText, found: Applied, *, apart: int = 0) -> np.ndarray:
    """Return windows [window, pos] of a text, spread over it; of what was trained on, held-out ones.

    Args:
        model: That reads them.
        params: Which text, and how many windows.
        found: The dictionary.
        apart: How many further windows to return behind them, where the text has them.

    Raises:
        ParameterError: When the text is too short.
    """
    documents = corpus.load(params.text)
    if found.dictionary.card.corpus == params.text:
        documents = corpus.held_out(documents)
    length = min(params.context, model.info.context)
    all_ = corpus.windows(model.require_tokenizer(), documents, length)
    if len(all_) < _LEAST:
        raise ParameterError(
            f"text: it makes {len(all_)} windows of {length} tokens; accepted: at least {_LEAST}, or a "
            "shorter context"
        )
    order = np.random.default_rng(0).permutation(len(all_))
    main = np.sort(order[: params.windows])
    more = np.sort(order[params.windows : params.windows + apart])
    return all_[np.concatenate([main, more])]


@dataclass(frozen=True, eq=False)
class Codes:
    """The active features of a text; attention sinks have none."""

    ids: np.ndarray
    """[window, pos]"""
    place: np.ndarray
    """[entry] position, counted through all windows."""
    feature: np.ndarray
    """[entry]; entries of a feature lie together, by position."""
    value: np.ndarray
    """[entry] activation, above 0."""
    latents: int

    @cached_property
    def starts(self) -> np.ndarray:
        """[latent + 1], where a feature's entries begin."""
        return np.searchsorted(self.feature, np.arange(self.latents + 1))

    @property
    def positions(self) -> int:
        """How many positions were read: all but the first ones, the few other sinks among them."""
        return self.ids.shape[0] * (self.ids.shape[1] - 1)

    @cached_property
    def density(self) -> np.ndarray:
        """[latent], the share of positions at which a feature is active."""
        return np.diff(self.starts) / self.positions

    def of(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where a feature is active, and how much: [entry] each."""
        part = slice(*self.starts[feature : feature + 2])
        return self.place[part], self.value[part]

    def dense(self, feature: int) -> np.ndarray:
        """Return a feature's activations, [window, pos]."""
        out = np.zeros(self.ids.size, np.float32)
        place, value = self.of(feature)
        out[place] = value
        return out.reshape(self.ids.shape)


def codes(model: LanguageModel, found: Applied, ids: np.ndarray) -> Codes:
    """Return the active features of windows [window, pos]; computed once, and kept."""
    latents = found.dictionary.card.d_sae
    of = {
        "codes": found.dictionary.sha256,
        "model": model.info.fingerprint,
        "text": store.array_digest(ids),
        "sinks": capture.SINK,
    }

    def compute() -> np.ndarray:
        parts = []
        for row, each in enumerate(ids):
            report("reading the text", row, len(ids))
            x = capture.read(model.stream, each[None], found.site)[0]
            dense = np.array(found.encode(x))
            dense[capture.sinks(np.array(x))] = 0
            at, feature = np.nonzero(dense > 0)
            parts.append(np.stack([at + row * len(each), feature, dense[at, feature]], 1))
        entries = np.concatenate(parts)
        return entries[np.lexsort((entries[:, 0], entries[:, 1]))]

    entries = store.measured("activations", of, "entry three", compute)
    place, feature = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
    return Codes(ids, place, feature, entries[:, 2].astype(np.float32), latents)


def of_feature(model: LanguageModel, params: FeatureParams | SteerParams) -> tuple[Applied, Codes]:
    """Return the dictionary, and the text's active features, of which the one asked for is one.

    Raises:
        ParameterError: When the dictionary does not fit, or has no such feature; when that is never
            active in the text.
    """
    found, n = applied(model, params.sae), params.feature
    latents = found.dictionary.card.d_sae
    if n >= latents:
        raise ParameterError(
            f"feature: {n} is not accepted; this dictionary has {latents:,}, so accepted: 0 to {latents - 1}"
        )
    read = codes(model, found, windows(model, params, found))
    if not len(read.of(n)[0]):
        raise ParameterError(
            f"feature: {n} is never active in {read.positions:,} tokens of this text; accepted: "
            "another feature, another text, or more windows"
        )
    return found, read


def writes(model: LanguageModel, found: Applied) -> mx.array:
    """Return what a unit of each feature adds to the residual stream, [latent, d_model].

    Of the stream's own sites the rows of ``W_dec``; of neurons and heads these go through the layer's
    way back to the stream first, its norm left out.
    """
    decoder, site = found.weights["W_dec"], found.site
    block = model.stream.blocks[site.layer]
    through = {"mlp_post": block.down, "z": block.project}.get(site.part)
    return (
        decoder if through is None else through(decoder) - through(mx.zeros((1, decoder.shape[1])))
    )
