"""A sparse dictionary of one site of a model: its card, its weights, and their file."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from interp_core import model_files
from interp_core.artifacts import NAME, Artifacts
from interp_core.model_files import Shelf
from interp_core.models.info import ModelInfo
from interp_core.params import ParameterError

SHIPS = "shipped"
SAE_NAME = f"^({SHIPS}|{NAME})$"
"""The pattern of what a parameter may call a dictionary."""
_LARGEST = 1 << 30
_OF_LATENTS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}
"""By architecture, what it has for each latent beside encoder and decoder."""
ARCHITECTURES = tuple(_OF_LATENTS)
"""Of inference, as SAELens names them: what is trained otherwise is saved as one of these."""


@dataclass(frozen=True)
class Card:
    """What a dictionary's file says of itself."""

    model: str
    """The model's name."""
    model_sha256: str
    """Of weights, config and tokenizer; empty where the file does not say."""
    d_model: int
    n_layers: int
    """Of the model; 0 where the file does not say."""
    part: str
    """The site, as of :class:`~interp_core.residual.Site`."""
    layer: int
    architecture: str
    d_in: int
    d_sae: int
    k: int = 0
    """Latents that are active at a token, of ``topk``."""
    centred: bool = True
    """Whether ``b_dec`` is subtracted before encoding (SAELens's ``apply_b_dec_to_input``)."""
    trained_as: str = ""
    """The architecture in training, where that is another one."""
    corpus: str = ""
    tokens: int = 0
    """Passes over activations in training."""
    made: str = ""
    """The command, or the program, that made it."""
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What it is of, in words."""
        kind = self.trained_as or self.architecture
        k = f", k {self.k}" if self.k else ""
        return f"{self.part} of layer {self.layer}, {self.d_sae:,} latents ({kind}{k})"


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Latents of a site: ``f = act((x - b_dec) W_enc + b_enc)``, ``x^ = f W_dec + b_dec``.

    Weights apply to activations as the model has them: whatever was normalised in training is
    folded in. Names are SAELens's.
    """

    card: Card
    weights: dict[str, np.ndarray]
    """``W_enc`` [d_in, latent], ``W_dec`` [latent, d_in], ``b_dec`` [d_in]; ``b_enc``, ``threshold``
    [latent], or for ``gated`` ``b_gate``, ``b_mag`` and ``r_mag`` in their place."""

    def to_bytes(self) -> bytes:
        """Return the safetensors file: the weights, and the card among its metadata."""
        tensors = {name: np.ascontiguousarray(value) for name, value in self.weights.items()}
        return save(tensors, {"card": json.dumps(asdict(self.card))})

    @cached_property
    def sha256(self) -> str:
        """The digest of its file: of weights and card."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, content: bytes) -> Dictionary:
        """Return the dictionary that :meth:`to_bytes` wrote, bit for bit.

        Raises:
            ValueError: When it is no such file; the message says what is wrong.
        """
        card, _ = described(io.BytesIO(content), len(content))
        return cls(card, checked(card, load(content)))

    def to_saelens(self) -> dict[str, bytes]:
        """Return ``cfg.json`` and ``sae_weights.safetensors`` as SAELens 6 reads them."""
        card = self.card
        config = {
            "architecture": card.architecture,
            "d_in": card.d_in,
            "d_sae": card.d_sae,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": card.centred,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": {
                "model_name": card.model,
                "hook_name": hook(card.part, card.layer),
                "dataset_path": card.corpus,
                "training_architecture": card.trained_as or card.architecture,
            },
        }
        if card.architecture == "topk":
            config |= {"k": card.k, "rescale_acts_by_decoder_norm": False}
        tensors = {n: np.ascontiguousarray(v, np.float32) for n, v in self.weights.items()}
        return {
            "cfg.json": json.dumps(config, indent=1).encode(),
            "sae_weights.safetensors": save(tensors, {"card": json.dumps(asdict(card))}),
        }

    def rounded(self) -> Dictionary:
        """Return the dictionary in float16, as those that ship are kept."""
        small = {name: value.astype(np.float16) for name, value in self.weights.items()}
        if not all(np.isfinite(value).all() for value in small.values()):
            return self
        return Dictionary(self.card, small)

    def fits(self, info: ModelInfo) -> None:
        """Check that this dictionary is of the model.

        Raises:
            ParameterError: When it is not; the message says which model it is of.
        """
        model_files.fits(self.card, info, "sae", "trained")


_HOOKS = {
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_mid": "blocks.{}.hook_resid_mid",
    "resid_post": "blocks.{}.hook_resid_post",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "z": "blocks.{}.attn.hook_z",
}
"""TransformerLens's names of sites."""


def hook(part: str, layer: int) -> str:
    """Return TransformerLens's name of a site."""
    return _HOOKS[part].format(layer)


def site_of(hook_name: str) -> tuple[str, int]:
    """Return the part and the layer that TransformerLens's name of a site means.

    Raises:
        ValueError: When it is none that dictionaries are read of.
    """
    layer = next((part for part in hook_name.split(".") if part.isdecimal()), "")
    if layer and len(layer) < 4:
        for part, pattern in _HOOKS.items():
            if hook_name == pattern.format(layer):
                return part, int(layer)
        if hook_name == f"blocks.{layer}.hook_out":
            return "resid_post", int(layer)
    raise ValueError(f"its site is {hook_name[:60]!r}; accepted: {', '.join(_HOOKS.values())}")


def checked(card: Card, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of a card, complete and of the shapes that it says.

    Raises:
        ValueError: When they are not, or not all are finite numbers.
    """
    if card.architecture not in ARCHITECTURES:
        accepted = ", ".join(ARCHITECTURES)
        raise ValueError(f"its architecture is {card.architecture[:40]!r}; accepted: {accepted}")
    if card.part not in _HOOKS or not 0 <= card.layer < (card.n_layers or 1000):
        raise ValueError(f"its site is {card.part[:40]!r} of layer {card.layer}")
    if card.architecture == "topk" and not 0 < card.k <= card.d_sae:
        raise ValueError(f"its k is {card.k}; accepted: from 1 to its {card.d_sae} latents")
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (card.d_in, card.d_sae),
        "W_dec": (card.d_sae, card.d_in),
        "b_dec": (card.d_in,),
    }
    shapes |= dict.fromkeys(_OF_LATENTS[card.architecture], (card.d_sae,))
    if missing := shapes.keys() - tensors.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if more := tensors.keys() - shapes.keys():
        raise ValueError(f"it has {', '.join(sorted(more))[:80]}, which {card.architecture} lacks")
    for name, shape in shapes.items():
        value = tensors[name]
        if value.shape != shape:
            raise ValueError(f"{name} has the shape {list(value.shape)}; expected: {list(shape)}")
        if value.dtype not in (np.float32, np.float16) or not np.isfinite(value).all():
            raise ValueError(f"{name} is not all finite numbers in float32 or float16")
    return {name: tensors[name] for name in shapes}


def described(opened: IO[bytes], size: int) -> tuple[Card, dict[str, Any]]:
    """Return a kept file's card and its tensors' shapes, by its header alone."""
    return model_files.described(opened, size, Card)


def _about(opened: IO[bytes], size: int) -> tuple[Card, str]:
    card, _ = described(opened, size)
    return card, card.about


INDEX = "dictionaries/index.json"
"""What ships, whose digest is part of what is read through it."""

KEPT = Artifacts(
    "dictionaries",
    ".safetensors",
    Dictionary.from_bytes,
    f"{SHIPS}, one trained here, or a folder read here by --sae FOLDER",
    _LARGEST,
)
SHELF = Shelf("dictionaries", KEPT)


def labelled(info_sha256: str, n_layers: int) -> dict[str, str]:
    """Return the dictionaries that fit a model, by name, with words for each: further ones that ship, and those kept here."""
    ships = SHELF.index.get(info_sha256, {}).items()
    others = {each["name"]: kind.replace("-", " ") for kind, each in ships if kind != SHIPS}
    return others | model_files.labelled(KEPT, _about, info_sha256, n_layers)


def load_sae(name: str, info: ModelInfo) -> Dictionary:
    """Return a dictionary of a model: one that ships, or one read or trained on this machine.

    Raises:
        ParameterError: When there is none of that name, or it is of another model.
    """
    if name != SHIPS:
        found = SHELF.load(name)
    elif (shipped := SHELF.of(info.sha256, SHIPS)) is not None:
        found = shipped
    else:
        raise ParameterError(
            f"sae: none ships for {info.id}; train one: python -m interp_core sparse-autoencoder "
            f"train --model {info.id}"
        )
    found.fits(info)
    return found
