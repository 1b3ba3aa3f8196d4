"""A tuned lens: for each layer an affine map of the residual stream, and its files."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from interp_core import model_files, torch_files
from interp_core.artifacts import NAME, Artifacts
from interp_core.model_files import Shelf
from interp_core.models.info import ModelInfo
from interp_core.papers.tuned_lens import cards
from interp_core.papers.tuned_lens.cards import Card
from interp_core.params import ParameterError
from interp_core.paths import open_regular

SHIPS, SHIPS_BIAS = "shipped", "shipped-bias"
LENS_NAME = f"^({SHIPS}|{SHIPS_BIAS}|{NAME})$"
"""The pattern of what a parameter may call a lens."""

INDEX = "lenses/index.json"
"""What ships, whose digest is part of what is read through it."""
_LARGEST = 1 << 31


@dataclass(frozen=True, eq=False)
class Translators:
    """The lens ``h + A h + b`` of the layers that it was trained for; others are left as they are.

    As in Belrose et al. 2023. Layer ``l`` is the output of block ``l``, -1 the embedding.
    """

    card: Card
    layers: tuple[int, ...]
    """Ascending."""
    bias: np.ndarray
    """[layer, d_model] b"""
    weight: np.ndarray | None = None
    """[layer, d_model, d_model] A, applied as ``h @ A.T``; None for a lens of biases alone."""

    @property
    def about(self) -> str:
        """What it was trained on, in words."""
        return cards.about(self.card, len(self.layers), biases_alone=self.weight is None)

    def to_bytes(self) -> bytes:
        """Return the safetensors file: ``translators.{layer}.weight`` and ``.bias``, and the card."""
        tensors = {
            f"translators.{n}.bias": row for n, row in zip(self.layers, self.bias, strict=True)
        }
        if self.weight is not None:
            tensors |= {
                f"translators.{n}.weight": a for n, a in zip(self.layers, self.weight, strict=True)
            }
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        return save(tensors, {"card": json.dumps(asdict(self.card))})

    @classmethod
    def from_bytes(cls, content: bytes) -> Translators:
        """Return the lens that :meth:`to_bytes` wrote, bit for bit.

        Raises:
            ValueError: When it is no such file; the message says what is wrong.
        """
        card, _ = cards.described(io.BytesIO(content), len(content))
        try:
            tensors = load(content)
        except KeyError as error:
            raise ValueError(f"its tensors are of {error}; accepted: float32, float16") from None
        if any(each.dtype not in (np.float32, np.float16) for each in tensors.values()):
            raise ValueError("its tensors are not all of float32 or float16")
        return _gathered(card, tensors)

    def rounded(self) -> Translators:
        """Return the lens in float16, as it is kept: half the size, and a thousandth off.

        Where one of its numbers is beyond float16, it is returned as it is.
        """
        parts = [self.bias] if self.weight is None else [self.bias, self.weight]
        if max(np.abs(part).max() for part in parts) > np.finfo(np.float16).max:
            return self
        weight = None if self.weight is None else self.weight.astype(np.float16)
        return replace(self, bias=self.bias.astype(np.float16), weight=weight)

    def fits(self, info: ModelInfo) -> None:
        """Check that this lens is of the model.

        Raises:
            ParameterError: When it is not; the message says which model it is of.
        """
        model_files.fits(self.card, info, "lens", "trained")


def _gathered(card: Card, tensors: dict[str, np.ndarray]) -> Translators:
    """Return the lens of tensors by name, each layer's complete.

    Raises:
        ValueError: When a layer lacks its weight or its bias, or a number is not finite.
    """
    if not all(np.isfinite(each).all() for each in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    layers = sorted({int(name.split(".")[1]) for name in tensors})
    bias = [tensors.get(f"translators.{n}.bias") for n in layers]
    weight = [tensors.get(f"translators.{n}.weight") for n in layers]
    has_weights = any(each is not None for each in weight)
    if (
        not layers
        or any(b is None for b in bias)
        or any((w is None) == has_weights for w in weight)
    ):
        raise ValueError("it holds no translator, or some layers lack a weight or a bias")
    stacked = np.stack(weight) if has_weights else None  # type: ignore[arg-type]
    return Translators(card, tuple(layers), np.stack(bias), stacked)  # type: ignore[arg-type]


KEPT = Artifacts(
    "lenses",
    ".safetensors",
    Translators.from_bytes,
    f"{SHIPS}, {SHIPS_BIAS}, a lens trained here, or a file or folder read here by --lens",
    _LARGEST,
)


def read(path: Path) -> str:
    """Read a lens of a reader's, keep it, and return the name that parameters give it.

    Accepts a file that :meth:`Translators.to_bytes` wrote, and a folder of the paper's authors
    (``config.json`` and ``params.pt``, tuned-lens 0.2).

    Raises:
        ParameterError: When it is neither; the message says what is wrong.
    """
    return model_files.brought(path, "lens", KEPT, _content)


def _content(path: Path) -> bytes:
    if path.is_dir():
        return published(path).to_bytes()
    with open_regular(path, _LARGEST) as file:
        return file.read()


def published(folder: Path) -> Translators:
    """Return the lens in a folder of the paper's authors.

    Their translator ``i`` reads the input of block ``i``, which is the output of block ``i - 1``.

    Raises:
        ValueError: When it is no such lens.
    """
    with open_regular(folder / "config.json", 1 << 20) as file:
        config = json.loads(file.read())
    if not isinstance(config, dict) or config.get("lens_type") != "linear_tuned_lens":
        raise ValueError("its config.json is not of a linear_tuned_lens")
    if config.get("bias") is not True:
        raise ValueError("it has no biases, which the authors' package cannot load either")
    d, n_layers = (_whole(config, name) for name in ("d_model", "num_hidden_layers"))
    tensors = torch_files.read(folder / "params.pt")
    expected = (f"{i}.{part}" for i in range(n_layers) for part in ("weight", "bias"))
    if len(tensors) != 2 * n_layers or not all(name in tensors for name in expected):
        raise ValueError(f"its params.pt does not hold weight and bias of {n_layers} translators")
    for name, value in tensors.items():
        if value.shape != ((d, d) if name.endswith("weight") else (d,)):
            raise ValueError(f"{name} has the shape {list(value.shape)}, and d_model is {d}")
    shifted = {
        f"translators.{int(name.split('.')[0]) - 1}.{name.split('.')[1]}": value.astype(np.float32)
        for name, value in tensors.items()
    }
    model = str(config.get("base_model_name_or_path", ""))[:200]
    return _gathered(Card(model, "", d, n_layers, made="by the tuned-lens package"), shifted)


def _whole(config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or not 0 < value < 1 << 20:
        raise ValueError(f"its config.json has no {name}")
    return value


SHELF = Shelf("lenses", KEPT)


def load_lens(name: str, info: ModelInfo) -> Translators:
    """Return a lens of a model: one that ships, or one that was read or trained on this machine.

    Raises:
        ParameterError: When there is none of that name, or it is of another model.
    """
    if name not in (SHIPS, SHIPS_BIAS):
        lens = SHELF.load(name)
    elif (found := SHELF.of(info.sha256, name)) is not None:
        lens = found
    else:
        raise ParameterError(
            f"lens: none ships for {info.id}; train one: python -m interp_core tuned-lens train "
            f"--model {info.id}"
        )
    lens.fits(info)
    return lens


def labelled(info_sha256: str, n_layers: int) -> dict[str, str]:
    """Return the lenses on this machine that fit a model, by name, with words for each.

    Args:
        info_sha256: The model's digest.
        n_layers: The model's layers; 0 where they are not known, and then no lens fits.
    """
    return model_files.labelled(KEPT, cards.described, info_sha256, n_layers)
