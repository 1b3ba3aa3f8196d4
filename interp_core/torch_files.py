"""Tensors of a ``.pt`` file, read without running anything that it holds.

A ``.pt`` file is a zip of raw storages and a pickle that says how tensors lie in them. The pickle's
instructions are followed by Python's own reader, which is let resolve the handful of names that
tensors are made of; every other name ends the reading.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

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
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = _tensors(archive)
    except zipfile.BadZipFile:
        raise ValueError(
            f"{file.name} is no zip archive; accepted: files that PyTorch 1.6 or later saved"
        ) from None
    except OSError:
        raise
    except Exception as error:  # damage shows itself as almost any of them
        raise ValueError(f"{file.name}: {str(error)[:200]}") from None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in found.items()
    ):
        raise ValueError(f"{file.name} holds something else than tensors by name")
    return dict(found)


def _tensors(archive: zipfile.ZipFile) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    if len(members) > _MEMBERS or sum(m.file_size for m in members.values()) > _LARGEST:
        raise ValueError("it holds more than a lens or a dictionary does")
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1 or members[pickles[0]].file_size > _PICKLE:
        raise ValueError("it has no data.pkl, or more than one")
    root = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian; accepted: little-endian")

    def storage(kind: str, key: str, count: int) -> np.ndarray:
        if not isinstance(key, str) or f"{root}data/{key}" not in members:
            raise ValueError(f"the storage {key!r:.40} is not there")
        data = np.frombuffer(archive.read(members[f"{root}data/{key}"]), _DTYPES[kind])
        if len(data) != count:
            raise ValueError(f"the storage {key!r:.40} has another length than is said")
        if kind == "BFloat16Storage":
            data = (data.astype(np.uint32) << 16).view(np.float32)
        return data

    with archive.open(pickles[0]) as opened:
        return _Reader(opened, storage).load()


class _Reader(pickle.Unpickler):
    """Python's reader of pickles, which knows tensors alone."""

    def __init__(self, opened: IO[bytes], storage: Callable[..., np.ndarray]) -> None:
        super().__init__(opened)
        self._storage = storage

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
        """Return the storage that a tensor lies in."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ValueError("it holds what is no storage of numbers")
        _, kind, key, _, count = pid
        if kind not in _DTYPES:
            raise ValueError(f"it holds numbers of the type {kind!r:.40}")
        return self._storage(kind, key, count)


def _tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    if len(shape) != len(strides) or offset < 0 or any(n < 0 for n in (*shape, *strides)):
        raise ValueError("a tensor's shape and strides do not fit each other")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(storage):
        raise ValueError("a tensor reaches past its storage")
    if math.prod(shape) > len(storage):
        raise ValueError("a tensor has more elements than its storage")
    item = storage.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[offset:] if math.prod(shape) else storage[:0],
        shape,
        [step * item for step in strides],
        writeable=False,
    )
    return np.ascontiguousarray(view)


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor
