"""Tensors of a ``.pt`` file, read without running anything that it holds.

A ``.pt`` file is a zip of raw storages and a pickle that says how tensors lie in them. The pickle's
instructions are followed by Python's own reader, which is let resolve the handful of names that
tensors are made of; every other name ends the reading.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from interp_core.paths import open_regular

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_LARGEST = 1 << 32
_MEMBERS, _PICKLE = 10_000, 1 << 24


def read(file: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, by name; bfloat16 becomes float32.

    Raises:
        ValueError: When the file is damaged, of before PyTorch 1.6, or holds anything but tensors.
        OSError: When it is not there, or cannot be read.
    """
    try:
        with open_regular(file, _LARGEST) as opened, zipfile.ZipFile(opened) as archive:
            return _tensors(archive, os.fstat(opened.fileno()).st_size)
    except zipfile.BadZipFile:
        raise ValueError(
            f"{file.name} is no zip archive; accepted: files that PyTorch 1.6 or later saved"
        ) from None
    except OSError:
        raise
    except Exception as error:  # damage shows itself as almost any of them
        raise ValueError(f"{file.name}: {str(error)[:200]}") from None


def _tensors(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    members = _members(archive, size)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1 or members[pickles[0]].file_size > _PICKLE:
        raise ValueError("it has no data.pkl, or more than one")
    root = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian; accepted: little-endian")

    def storage(kind: str, key: str) -> np.ndarray:
        if not isinstance(key, str) or f"{root}data/{key}" not in members:
            raise ValueError(f"the storage {key!r:.40} is not there")
        data = np.frombuffer(archive.read(members[f"{root}data/{key}"]), _DTYPES[kind])
        if kind == "BFloat16Storage":
            data = (data.astype(np.uint32) << 16).view(np.float32)
        return data

    reader = _Reader(io.BytesIO(_checked(archive.read(pickles[0]))), storage)
    return _by_name(reader.load(), size)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return what a file of ``size`` bytes holds, by name; together it is no larger than the file.

    Raises:
        ValueError: When it is compressed, too much, or said to be more than there is.
    """
    members = {member.filename: member for member in archive.infolist()}
    if len(members) > _MEMBERS:
        raise ValueError("it holds more than a lens or a dictionary does")
    for member in members.values():
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError("it is compressed, which PyTorch's files are not")
    if sum(member.file_size for member in members.values()) > size:
        raise ValueError("it says that it holds more than it does")
    return members


def _by_name(found: Any, most: int) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, copied where they do not lie in rows one after another.

    Raises:
        ValueError: When it is none, or its tensors have more than ``most`` elements together.
    """
    # A plain copy first: what a pickle makes may have attributes that stand for its methods.
    tensors = dict(found) if isinstance(found, dict) else {"": found}
    if not all(isinstance(n, str) and isinstance(v, np.ndarray) for n, v in tensors.items()):
        raise ValueError("it holds something else than tensors by name")
    # Tied ones pass; but a few bytes may be said to be any number of tensors, of any size.
    if sum(value.size for value in tensors.values()) > most:
        raise ValueError("its tensors have more elements than the file has bytes")
    return {name: np.asarray(value, order="C") for name, value in tensors.items()}


def _checked(code: bytes) -> bytes:
    """Return a pickle's instructions, of which none takes more memory than they do.

    Python's reader makes a table as long as the largest number that a value is put down under.

    Raises:
        ValueError: When one does.
    """
    for instruction, argument, _ in pickletools.genops(code):
        if instruction.name.endswith("PUT") and argument > len(code):
            raise ValueError(f"it puts down a value under the number {argument}")
    return code


class _Reader(pickle.Unpickler):
    """Python's reader of pickles, which knows tensors alone."""

    def __init__(self, opened: IO[bytes], storage: Callable[..., np.ndarray]) -> None:
        super().__init__(opened)
        self._storage = storage
        self._read: dict[str, tuple[str, np.ndarray]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what one of a tensor's names stands for.

        Raises:
            ValueError: For any other name.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            # Fresh each time: a pickle may set attributes of what it names.
            return partial(_tensor if name == "_rebuild_tensor_v2" else _parameter)
        if module == "torch" and name in _DTYPES:
            return name
        raise ValueError(f"it names {module[:40]}.{name[:40]}; accepted: tensors alone")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the storage that a tensor lies in, read once for all of them.

        Raises:
            ValueError: When it is no storage, is not there, or is another one than is said.
        """
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ValueError("it holds what is no storage of numbers")
        _, kind, key, _, count = pid
        if kind not in _DTYPES:
            raise ValueError(f"it holds numbers of the type {kind!r:.40}")
        if key not in self._read:
            self._read[key] = kind, self._storage(kind, key)
        known, data = self._read[key]
        if known != kind or len(data) != count:
            raise ValueError(f"the storage {key!r:.40} has another type or length than is said")
        return data


def _tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    """Return a tensor as a view of its storage, which takes no memory.

    Raises:
        ValueError: When it is not within its storage.
    """
    numbers = (offset, *shape, *strides)
    # A pickle may put an array in the place of a number, whose sums wrap around.
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor's shape and strides do not fit each other")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(storage):
        raise ValueError("a tensor reaches past its storage")
    return np.lib.stride_tricks.as_strided(
        storage[:0] if 0 in shape else storage[offset:],
        shape,
        [step * storage.itemsize for step in strides],
        writeable=False,
    )


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor
