"""A GGUF file, read so that a hostile one is refused before it takes memory.

The header is parsed here, each count, length and offset held against the bytes that are there;
what was checked is what is used. Only the dequantisation is the ``gguf`` package's, whose own
reader trusts the file. Nothing is mapped, so a file that shrinks while it is read is an error and
not a signal.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

_SCALARS = dict(
    zip(
        [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12],
        ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?", "<u8", "<i8", "<f8"],
        strict=True,
    )
)
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES = 1 << 16
_MAX_HEADER = 1 << 28
_MAX_RANK = 4
_CHUNK = 1 << 18  # elements; a multiple of every kind's block


@dataclass(frozen=True)
class Tensor:
    """Where a tensor's bytes are in the file, and what they mean."""

    shape: tuple[int, ...]
    """Slowest axis first, as numpy has it."""
    kind: GGMLQuantizationType
    offset: int
    """From the start of the file, in bytes."""
    size: int
    """In bytes."""


@dataclass(frozen=True)
class GgufFile:
    """A checked header; tensors are read when they are asked for."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def array(self, name: str) -> np.ndarray:
        """Return a tensor in float32, dequantised a part at a time.

        Raises:
            ValueError: When the file has become shorter since its header was read.
        """
        tensor = self.tensors[name]
        flat = np.empty(math.prod(tensor.shape), np.float32)
        block, block_bytes = GGML_QUANT_SIZES[tensor.kind]
        with self.path.open("rb") as file, np.errstate(all="ignore"):
            file.seek(tensor.offset)
            for start in range(0, len(flat), _CHUNK):
                part = flat[start : start + _CHUNK]
                raw = np.fromfile(file, np.uint8, len(part) // block * block_bytes)
                if len(raw) < len(part) // block * block_bytes:
                    raise ValueError(f"{self.path} became shorter while it was read")
                part[:] = dequantize(raw[None], tensor.kind)[0]
        return flat.reshape(tensor.shape)


def short(value: Any) -> str:
    """Return a value out of a file, for a message: on one line, and not longer than it."""
    return " ".join(repr(value)[:80].split())


def read(path: Path) -> GgufFile:
    """Return a file's metadata, and where its tensors are.

    Raises:
        ValueError: When the file breaks a rule of the format; the message names the rule.
    """
    try:
        with path.open("rb") as file:
            return _read(path, _Header(file))
    except ValueError as error:
        raise ValueError(f"{path} is not a readable GGUF file: {error}") from None


def _read(path: Path, header: _Header) -> GgufFile:
    if header.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    if (version := header.number("<u4")) not in (2, 3):
        raise ValueError(f"its version is {version}; accepted: 2, 3")
    n_tensors, n_entries = header.count(24), header.count(13)
    if max(n_tensors, n_entries) > _MAX_ENTRIES:
        raise ValueError(f"it counts {max(n_tensors, n_entries)} entries, over {_MAX_ENTRIES}")
    metadata: dict[str, Any] = {}
    for _ in range(n_entries):
        key = header.string()
        if key in metadata:
            raise ValueError(f"the key {short(key)} is there twice")
        metadata[key] = header.value(header.number("<u4"))
    infos = [header.tensor_info() for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise ValueError(
            f"its alignment is {short(alignment)}; accepted: a power of two from 8 to 65536"
        )
    start = -(-header.at // alignment) * alignment
    return GgufFile(path, metadata, _place(infos, start, alignment, header.size))


def _place(
    infos: list[tuple[str, Tensor]], start: int, alignment: int, size: int
) -> dict[str, Tensor]:
    """Return the tensors by name, offsets from the file's start: inside it, and one after the other."""
    tensors: dict[str, Tensor] = {}
    end = start
    for name, info in sorted(infos, key=lambda entry: entry[1].offset):
        tensor = Tensor(info.shape, info.kind, start + info.offset, info.size)
        if name in tensors:
            raise ValueError(f"the tensor {short(name)} is there twice")
        if info.offset % alignment:
            raise ValueError(f"{short(name)} is not aligned to {alignment} bytes")
        if tensor.offset < end:
            raise ValueError(f"{short(name)} overlaps another tensor")
        if tensor.offset - end >= alignment:
            raise ValueError(f"there is a hole of {tensor.offset - end} bytes before {short(name)}")
        end = tensor.offset + tensor.size
        if end > size:
            raise ValueError(f"{short(name)} ends at byte {end}, and the file at {size}")
        tensors[name] = tensor
    if size - end >= alignment:
        raise ValueError(f"there are {size - end} bytes after its last tensor")
    return tensors


class _Header:
    """A cursor that never reads beyond the file, nor takes more than the file could hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.at = 0

    def take(self, n: int) -> bytes:
        """Return the next ``n`` bytes."""
        if n > min(self.size, _MAX_HEADER) - self.at:
            raise ValueError(f"{n} bytes are announced at byte {self.at} and are not there")
        self.at += n
        taken = self._file.read(n)
        if len(taken) < n:
            raise ValueError("it became shorter while it was read")
        return taken

    def number(self, dtype: str) -> Any:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize), dtype)[0].item()

    def count(self, least: int) -> int:
        """Return a count of things that take ``least`` bytes each, or more."""
        count = int.from_bytes(self.take(8), "little")
        if count > (self.size - self.at) // least:
            raise ValueError(f"{count} entries are announced at byte {self.at - 8}, over its size")
        return count

    def string(self) -> str:
        try:
            return self.take(self.count(1)).decode()
        except UnicodeDecodeError:
            raise ValueError(f"the text before byte {self.at} is not UTF-8") from None

    def value(self, kind: int) -> Any:
        """Return a value: a number, a string, a list of strings, or an array of numbers."""
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(self._scalar(kind))
        element = self.number("<u4")
        if element == _STRING:
            return [self.string() for _ in range(self.count(8))]
        dtype = np.dtype(self._scalar(element))
        return np.frombuffer(self.take(self.count(dtype.itemsize) * dtype.itemsize), dtype)

    def _scalar(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of type {kind}; accepted: 0 to 12, arrays unnested")
        return _SCALARS[kind]

    def tensor_info(self) -> tuple[str, Tensor]:
        """Return a tensor's name and its entry, whose offset is from the start of the data."""
        name = self.string()
        rank = self.number("<u4")
        if not 1 <= rank <= _MAX_RANK:
            raise ValueError(f"{short(name)} has rank {rank}; accepted: 1 to {_MAX_RANK}")
        shape = tuple(self.number("<u8") for _ in range(rank))[::-1]
        number, offset = self.number("<u4"), self.number("<u8")
        if (kind := _kinds().get(number)) is None:
            raise ValueError(f"{short(name)} is stored as type {number}, which holds no weights")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % block:
            raise ValueError(f"{short(name)} has shape {list(shape)}, not of blocks of {block}")
        size = math.prod(shape) // block * block_bytes
        if size > self.size:
            raise ValueError(f"{short(name)} of shape {list(shape)} is larger than the file")
        return name, Tensor(shape, kind, offset, size)


@functools.cache
def _kinds() -> dict[int, GGMLQuantizationType]:
    """Return the kinds of weights that can be dequantised, by their number in the file."""
    kinds = {}
    for kind, (_, block_bytes) in GGML_QUANT_SIZES.items():
        with contextlib.suppress(NotImplementedError), np.errstate(all="ignore"):
            dequantize(np.zeros((1, block_bytes), np.uint8), kind)
            kinds[kind.value] = kind
    return kinds
