"""Files of PyTorch, read without running what they hold."""

from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import types
import zipfile
import zlib

import numpy as np
import pytest

from interp_core import torch_files


class _Storage:
    def __init__(self, kind: str, key: str, data: np.ndarray) -> None:
        self.kind, self.key, self.data = kind, key, data


def _rebuild_tensor_v2(*_):
    raise AssertionError("only its name is written")


_rebuild_tensor_v2.__module__ = "torch._utils"


class _Tensor:
    """A tensor as PyTorch pickles it."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.arguments


class _Type(type):
    def __reduce_ex__(cls, _):
        return cls.__name__


class _Writer(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, _Storage):
            return (
                "storage",
                sys.modules["torch"].__dict__[value.kind],
                value.key,
                "cpu",
                value.data.size,
            )
        return None


@pytest.fixture
def torch_names(monkeypatch):
    """Modules of PyTorch's names, which the pickles are written with."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def write(path, content, storages, root="archive", compression=zipfile.ZIP_STORED):
    """Write a .pt file of an object that holds :class:`_Tensor`."""
    file = io.BytesIO()
    _Writer(file, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", file.getvalue())
        archive.writestr(f"{root}/byteorder", "little")
        for each in storages:
            archive.writestr(f"{root}/data/{each.key}", each.data.tobytes())
    return path


def save(path, tensors):
    """Write a state dict of arrays, float32 or int64, as PyTorch does."""
    storages, content = [], collections.OrderedDict()
    for n, (name, value) in enumerate(tensors.items()):
        whole = value.dtype.kind == "i"
        data = np.array(value, np.int64 if whole else np.float32, order="C")
        storage = _Storage("LongStorage" if whole else "FloatStorage", str(n), data.ravel())
        strides = tuple(step // data.itemsize for step in data.strides)
        content[name] = _Tensor(storage, 0, value.shape, strides)
        storages.append(storage)
    return write(path, content, storages)


def test_tensors_are_read_as_they_lie_in_their_storages(tmp_path, torch_names):
    whole = _Storage("FloatStorage", "0", np.arange(12, dtype=np.float32))
    half = _Storage("HalfStorage", "1", np.array([1.5, -2], np.float16))
    brain = _Storage("BFloat16Storage", "2", np.array([0x3FC0, 0xC000], np.uint16))
    content = collections.OrderedDict(
        plain=_Tensor(whole, 0, (3, 4), (4, 1)),
        transposed=_Tensor(whole, 0, (4, 3), (1, 4)),
        row=_Tensor(whole, 4, (4,), (1,)),
        scalar=_Tensor(whole, 5, (), ()),
        half=_Tensor(half, 0, (2,), (1,)),
        brain=_Tensor(brain, 0, (2,), (1,)),
    )
    found = torch_files.read(write(tmp_path / "a.pt", content, [whole, half, brain]))
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert list(found) == list(content)
    assert np.array_equal(found["plain"], numbers) and np.array_equal(
        found["transposed"], numbers.T
    )
    assert np.array_equal(found["row"], numbers[1]) and found["scalar"].shape == ()
    assert found["scalar"] == 5
    assert found["half"].tolist() == [1.5, -2] and found["brain"].tolist() == [1.5, -2]


class _Runs:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "numpy.array"])
def test_other_names_are_refused(tmp_path, name):
    module, _, function = name.rpartition(".")
    code = f"c{module}\n{function}\n(S'1'\ntR.".encode()
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", code)
    with pytest.raises(ValueError, match=r"it names .*; accepted: tensors alone"):
        torch_files.read(path)


def test_what_a_file_says_runs_nowhere(tmp_path, torch_names, capsys):
    with pytest.raises(ValueError, match="accepted: tensors alone"):
        torch_files.read(write(tmp_path / "a.pt", {"x": _Runs()}, []))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5, 4), (4, 1), 0),
        ((3, 4), (4, 1), 1),
        ((2,), (-1,), 3),
        ((10**6,), (0,), 0),
        ((4,), (1, 1), 0),
    ],
)
def test_tensors_stay_within_their_storages(tmp_path, torch_names, shape, strides, offset):
    whole = _Storage("FloatStorage", "0", np.arange(12, dtype=np.float32))
    content = {"x": _Tensor(whole, offset, shape, strides)}
    with pytest.raises(ValueError, match="tensor"):
        torch_files.read(write(tmp_path / "a.pt", content, [whole]))


def test_files_that_are_no_state_dicts_are_refused(tmp_path, torch_names):
    whole = _Storage("FloatStorage", "0", np.arange(12, dtype=np.float32))
    (tmp_path / "old.pt").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(ValueError, match=r"no zip archive; accepted: files that PyTorch 1\.6"):
        torch_files.read(tmp_path / "old.pt")
    with pytest.raises(ValueError, match="something else than tensors by name"):
        torch_files.read(write(tmp_path / "list.pt", [1, 2], []))
    short = _Storage("FloatStorage", "0", np.arange(3, dtype=np.float32))
    with pytest.raises(ValueError, match="another type or length"):
        path = write(tmp_path / "short.pt", {"x": _Tensor(whole, 0, (3, 4), (4, 1))}, [short])
        torch_files.read(path)
    with pytest.raises(ValueError, match="is not there"):
        torch_files.read(write(tmp_path / "none.pt", {"x": _Tensor(whole, 0, (3, 4), (4, 1))}, []))


def _zeros(key="0", n=1000) -> _Storage:
    return _Storage("FloatStorage", key, np.zeros(n, np.float32))


def test_compressed_files_are_refused(tmp_path, torch_names):
    content = {"x": _Tensor(_zeros(), 0, (1000,), (1,))}
    path = write(tmp_path / "a.pt", content, [_zeros()], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="it is compressed"):
        torch_files.read(path)


def test_members_that_hold_each_other_are_refused(tmp_path, torch_names):
    path = write(tmp_path / "a.pt", {}, [_zeros("0"), _zeros("1")])
    with zipfile.ZipFile(path, "a") as archive:
        first, last = (archive.getinfo(f"archive/data/{key}") for key in "01")
        begins = first.header_offset + len(first.FileHeader())
        ends = last.header_offset + len(last.FileHeader()) + last.file_size
        both = path.read_bytes()[begins:ends]
        first.file_size = first.compress_size = len(both)
        first.CRC = zlib.crc32(both)
        archive.comment = b"so that the directory is written anew"
    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/data/0") == both
    with pytest.raises(ValueError, match="it says that it holds more than it does"):
        torch_files.read(path)


def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: it is no regular file"):
        torch_files.read(tmp_path / "a.pt")


def test_a_storage_is_read_once(tmp_path, torch_names, monkeypatch):
    brain = _Storage("BFloat16Storage", "0", np.zeros(100, np.uint16))
    content = {str(n): _Tensor(brain, n, (4,), (1,)) for n in range(5)}
    path, asked = write(tmp_path / "a.pt", content, [brain]), []
    read = zipfile.ZipFile.read

    def counted(archive, member):
        asked.append(member.filename if isinstance(member, zipfile.ZipInfo) else member)
        return read(archive, member)

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "read", counted)
        found = torch_files.read(path)
    assert len(found) == 5 and asked.count("archive/data/0") == 1
    other = _Storage("FloatStorage", "0", np.zeros(50, np.float32))
    content["other"] = _Tensor(other, 0, (4,), (1,))
    with pytest.raises(ValueError, match="another type or length"):
        torch_files.read(write(tmp_path / "b.pt", content, [brain]))


@pytest.mark.parametrize("how", ["views", "one under many names", "a storage under many names"])
def test_tensors_together_are_bounded_by_the_file(tmp_path, torch_names, how):
    whole, shape = _zeros(), (1000,)
    one = whole if how == "a storage under many names" else _Tensor(whole, 0, shape, (1,))
    each = [_Tensor(whole, 0, shape, (0,)) if how == "views" else one for _ in range(30)]
    content = {str(n): value for n, value in enumerate(each[:3])}
    assert len(torch_files.read(write(tmp_path / "few.pt", content, [whole]))) == 3
    content = {str(n): value for n, value in enumerate(each)}
    with pytest.raises(ValueError, match="more elements than the file has bytes"):
        torch_files.read(write(tmp_path / "many.pt", content, [whole]))


def test_numbers_of_values_that_would_fill_the_memory_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"}r" + (1 << 20).to_bytes(4, "little") + b".")
    with pytest.raises(ValueError, match="it puts down a value under the number 1048576"):
        torch_files.read(path)


def test_numbers_of_a_tensor_are_no_arrays(tmp_path, torch_names):
    steps = _Storage("LongStorage", "1", np.array([2**62], np.int64))
    step = _Tensor(steps, 0, (), ())
    path = write(tmp_path / "a.pt", {"x": _Tensor(_zeros(), 0, (5,), (step,))}, [_zeros(), steps])
    with pytest.raises(ValueError, match="do not fit each other"):
        torch_files.read(path)
