"""Steering vectors: one direction a layer, and their files."""

from __future__ import annotations

import io
import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.numpy import load, save

from interp_core import model_files
from interp_core.artifacts import Artifacts
from interp_core.models.info import ModelInfo
from interp_core.params import ParameterError
from interp_core.paths import open_regular

_TENSOR = re.compile(r"layer\.(0|[1-9][0-9]{0,3})")
_LARGEST = 200_000_000


@dataclass(frozen=True)
class Card:
    """What a vector file says of itself."""

    model: str
    """The model's name."""
    model_sha256: str
    """Of weights, config and tokenizer; empty where the file does not say."""
    model_type: str
    d_model: int
    n_layers: int
    """Of the model."""
    behaviour: str = ""
    protocol: str = ""
    estimator: str = ""
    normalise: str = ""
    pairs: int = 0
    """That the vectors are made from."""
    pairs_sha256: str = ""
    """Of these pairs, as JSON."""
    resid_norm: tuple[float, ...] = ()
    """By layer, the mean norm of the residual stream where the vectors are read."""
    made: str = ""
    """The command that made it."""

    @property
    def about(self) -> str:
        """What it is of, in words."""
        return f"{self.behaviour or 'a direction'} ({self.pairs} pairs, {self.protocol})"


@dataclass(frozen=True, eq=False)
class Vectors:
    """A direction of each of some layers: added to the output of block ``k``, the stream after it."""

    card: Card
    layers: tuple[int, ...]
    """Ascending."""
    direction: np.ndarray
    """[layer, d_model], float32."""

    def at(self, layer: int) -> np.ndarray:
        """Return the direction of a layer, [d_model].

        Raises:
            ParameterError: When there is none of this layer.
        """
        if layer not in self.layers:
            some = ", ".join(map(str, self.layers[:40]))
            raise ParameterError(f"layer: this vector has none of layer {layer}; accepted: {some}")
        return self.direction[self.layers.index(layer)]

    def to_bytes(self) -> bytes:
        """Return the safetensors file: ``layer.{k}`` [d_model] for each layer, and the card."""
        rows = zip(self.layers, self.direction, strict=True)
        tensors = {f"layer.{k}": np.ascontiguousarray(row, np.float32) for k, row in rows}
        return save(tensors, {"card": json.dumps(asdict(self.card))})

    @classmethod
    def from_bytes(cls, content: bytes) -> Vectors:
        """Return the vectors that :meth:`to_bytes` wrote, bit for bit.

        Raises:
            ValueError: When it is no such file; the message says what is wrong.
        """
        card, layers = _described(io.BytesIO(content), len(content))
        tensors = load(content)
        direction = np.stack([tensors[f"layer.{k}"] for k in layers])
        if direction.dtype != np.float32 or not np.isfinite(direction).all():
            raise ValueError("its tensors are not all finite numbers in float32")
        return cls(card, layers, direction)

    def to_gguf(self, layers: list[int]) -> bytes:
        """Return a GGUF control vector as llama.cpp reads it.

        ``direction.k`` is added to the output of block ``k``, so it is the vector measured there.

        Raises:
            ParameterError: When block 0 is among ``layers``, which llama.cpp never steers.
        """
        from gguf import GGUFWriter

        if 0 in layers:
            raise ParameterError(
                "layers: llama.cpp cannot steer the output of block 0, so it cannot be exported; "
                "accepted: from 1 on"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vector.gguf"
            writer = GGUFWriter(path, "controlvector")
            writer.add_string("controlvector.model_hint", self.card.model_type)
            writer.add_uint32("controlvector.layer_count", len(layers))
            for k in layers:
                writer.add_tensor(f"direction.{k}", np.ascontiguousarray(self.at(k), np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            return path.read_bytes()

    def fits(self, info: ModelInfo) -> None:
        """Check that these vectors are of the model.

        Raises:
            ParameterError: When they are not; the message says which model they are of.
        """
        model_files.fits(self.card, info, "vector", "made")


def _described(opened: IO[bytes], size: int) -> tuple[Card, tuple[int, ...]]:
    """Return a vector file's card and layers, by its header alone."""
    card, shapes = model_files.described(opened, size, Card)
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if not match or int(match[1]) >= card.n_layers:
            raise ValueError(f"{name[:60]!r} is no layer of a model of {card.n_layers} layers")
        if shape != (card.d_model,):
            raise ValueError(f"{name} has the shape {list(shape)}, and d_model is {card.d_model}")
    if not shapes:
        raise ValueError("it holds no vector")
    return card, tuple(sorted(int(name.split(".")[1]) for name in shapes))


KEPT = Artifacts(
    "vectors",
    ".safetensors",
    Vectors.from_bytes,
    "a vector made here by steering save, or a file read here by --vector FILE",
    _LARGEST,
)


def read(path: Path) -> str:
    """Read a vector file of a reader's, keep it, and return the name that parameters give it.

    Raises:
        ParameterError: When it is none; the message says what is wrong.
    """
    return model_files.brought(path, "vector", KEPT, _content)


def _content(path: Path) -> bytes:
    with open_regular(path, _LARGEST) as file:
        return file.read()


def _about(opened: IO[bytes], size: int) -> tuple[Card, str]:
    card, _ = _described(opened, size)
    return card, card.about


def labelled(info_sha256: str, n_layers: int) -> dict[str, str]:
    """Return the vectors on this machine that fit a model, by name, with words for each."""
    return model_files.labelled(KEPT, _about, info_sha256, n_layers)
