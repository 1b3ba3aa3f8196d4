"""A dictionary at work: encode activations, decode them, and find what fits a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import corpus, store
from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.compute import capture
from interp_core.papers.sparse_autoencoder.compute.autoencoder import largest
from interp_core.papers.sparse_autoencoder.dictionary import Dictionary, load_sae
from interp_core.params import ParameterError
from interp_core.residual import Site

FIT = "fit"
"""Among a card's metrics: the fit that was measured when it was trained."""
_TOKENS = 200
"""That a dictionary's fit is measured on before it is used."""
_SLACK = 0.05
"""Of variance, that the fit may be less than it was."""


@dataclass(frozen=True, eq=False)
class Applied:
    """A dictionary on the device, in float32."""

    dictionary: Dictionary
    weights: Mapping[str, mx.array]

    @classmethod
    def of(cls, dictionary: Dictionary) -> Applied:
        """Return a dictionary's weights on the device."""
        named = dictionary.weights.items()
        return cls(dictionary, {n: mx.array(value.astype(np.float32)) for n, value in named})

    @property
    def site(self) -> Site:
        """Where it reads and writes."""
        return Site(self.dictionary.card.part, self.dictionary.card.layer)  # type: ignore[arg-type]

    def encode(self, x: mx.array) -> mx.array:
        """Return activations [row, latent] of a site's values [row, d_in]."""
        card, w = self.dictionary.card, self.weights
        centred = x - w["b_dec"] if card.centred else x
        if card.architecture == "gated":
            before = centred @ w["W_enc"]
            magnitude = before * mx.exp(w["r_mag"]) + w["b_mag"]
            return mx.where(before + w["b_gate"] > 0, mx.maximum(magnitude, 0), 0)
        before = centred @ w["W_enc"] + w["b_enc"]
        if card.architecture == "jumprelu":
            return mx.where(before > w["threshold"], mx.maximum(before, 0), 0)
        active = mx.maximum(before, 0)
        if card.architecture == "topk":
            return largest(active, card.k)
        return active

    def decode(self, codes: mx.array) -> mx.array:
        """Return the site's values [row, d_in] that activations [row, latent] stand for."""
        return codes @ self.weights["W_dec"] + self.weights["b_dec"]

    def reconstruct(self, x: mx.array) -> mx.array:
        """Return what the dictionary makes of a site's values [..., d_in], in their precision."""
        flat = x.astype(mx.float32).reshape(-1, x.shape[-1])
        return self.decode(self.encode(flat)).reshape(x.shape).astype(x.dtype)


def applied(model: LanguageModel, name: str) -> Applied:
    """Return a dictionary that fits the model, measured on 200 tokens of prose.

    Raises:
        ParameterError: When there is none of that name, it is of another model, or what it
            reconstructs is further from the activations than their mean is, or than it was in training.
    """
    dictionary = load_sae(name, model.info)
    card = dictionary.card
    if card.layer >= model.info.n_layers:
        raise ParameterError(
            f"sae: it is of layer {card.layer}, and {model.info.id} has {model.info.n_layers} layers"
        )
    found = Applied.of(dictionary)
    of = {"fit of": dictionary.sha256, "model": model.info.fingerprint}

    def measure() -> np.ndarray:
        return np.array(fit(model, found), np.float32)

    explained = float(store.measured("digests", of, "", measure))
    told = card.metrics.get(FIT)
    if not explained > (0 if told is None else told - _SLACK):
        before = (
            "less than their mean does" if told is None else f"and {told:.2f} when it was trained"
        )
        raise ParameterError(
            f"sae: on {_TOKENS} tokens its reconstruction of {card.part} of layer {card.layer} explains "
            f"{explained:.2f} of the variance, {before}: it is of another site, orientation or scaling. "
            "Accepted: a dictionary that fits"
        )
    return found


def fit(model: LanguageModel, found: Applied) -> float:
    """Return the share of variance, about the mean, that a dictionary explains on 200 tokens.

    Raises:
        ParameterError: When the site has another width.
    """
    tokenizer = model.require_tokenizer()
    text = " ".join(corpus.load("prose")[:6])
    ids = tokenizer.encode(text)[: min(_TOKENS + 1, model.info.context)]
    x = capture.read(model.stream, np.array([ids]), found.site)[0]
    if x.shape[-1] != found.dictionary.card.d_in:
        raise ParameterError(
            f"sae: it reads {found.dictionary.card.d_in} dimensions, and {found.site.part} of layer "
            f"{found.site.layer} has {x.shape[-1]}"
        )
    x = x[mx.array(np.flatnonzero(~capture.sinks(np.array(x))))]
    lost = mx.square(x - found.reconstruct(x)).sum()
    return float(1 - lost / mx.square(x - x.mean(0)).sum())
