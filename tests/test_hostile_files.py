"""Damaged files are read equal or refused in one line; nothing dies, hangs or takes memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REFERENCE

from interp_core.models import safetensors_header

COUNTS = {"gguf": 400, "safetensors": 400, "npz": 400}


@pytest.mark.parametrize("kind", COUNTS)
def test_damaged_files_are_equal_or_refused(kind, tmp_path):
    script = Path(__file__).with_name("hostile_files.py")
    command = [sys.executable, str(script), kind, str(COUNTS[kind]), "0", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert sum(found["fared"].values()) == COUNTS[kind]
    assert found["fared"]["refused"] > COUNTS[kind] / 2 and found["fared"]["equal"] > 0
    assert found["memory"] < 100_000, "kilobytes beyond what the good file takes"
    assert found["slowest"] < 2


def header(**tensors) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def tensor(begin: int, end: int, shape: tuple = (1,), dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


ONE = b'"dtype":"F32","shape":[1],"data_offsets":[0,4]'
BROKEN = {
    "empty": (b"", "header of 0 bytes is announced|no JSON"),
    "long header": ((1 << 40).to_bytes(8, "little") + b"{}", "header of 1099511627776 bytes"),
    "no JSON": (raw(b"{]"), "header is not JSON"),
    "a list": (raw(b"[]"), "no JSON object"),
    "deep": (raw(b"[" * 100_000), "nested too deeply|not JSON"),
    "no UTF-8": (raw(b'{"\xff": 1}'), "not UTF-8"),
    "twice": (raw(b'{"a":{%s},"a":{%s}}' % (ONE, ONE), bytes(4)), "'a' is there twice"),
    "twice within": (raw(b'{"a":{%s,"shape":[2]}}' % ONE, bytes(4)), "'shape' is there twice"),
    "overlap": (header(a=tensor(0, 4), b=tensor(0, 4)) + bytes(4), "'b' overlaps"),
    "hole": (header(a=tensor(0, 4), b=tensor(8, 12)) + bytes(12), "leaves a hole"),
    "beyond": (header(a=tensor(0, 8, (2,))) + bytes(4), "end at byte 8, and its data at 4"),
    "trailing": (header(a=tensor(0, 4)) + bytes(8), "end at byte 4, and its data at 8"),
    "span": (header(a=tensor(0, 4, (2,))) + bytes(4), "takes 4 bytes, unlike its shape"),
    "overflow": (header(a=tensor(0, 0, (2**40, 2**40))), "takes 0 bytes, unlike its shape"),
    "negative": (header(a=tensor(0, 4, (-1, -1))) + bytes(4), "no short lists of whole"),
    "fraction": (header(a=tensor(0, 4, (1.0,))) + bytes(4), "no short lists of whole"),
    "rank": (header(a=tensor(0, 4, (1,) * 999)) + bytes(4), "no short lists of whole"),
    "dtype": (header(a=tensor(0, 4, dtype="O")) + bytes(4), "has dtype 'O'"),
    "metadata": (raw(b'{"__metadata__":{"a":1}}'), "no map of texts"),
    "entry": (header(a=[1]), "has not dtype, shape"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_header_is_refused_by_its_rule(case, tmp_path):
    content, message = BROKEN[case]
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or cut short: ") as raised:
        safetensors_header.shapes(file)
    assert re.search(message, str(raised.value)) and "\n" not in str(raised.value)


def test_good_headers_are_read(tmp_path):
    found = safetensors_header.shapes(REFERENCE / "llama" / "model.safetensors")
    assert found["model.embed_tokens.weight"] == (264, 24) and len(found) == 29
    file = tmp_path / "one.safetensors"
    file.write_bytes(header(b=tensor(4, 6, (), "F16"), a=tensor(0, 4, (2, 1), "BF16")) + bytes(6))
    assert safetensors_header.shapes(file) == {"b": (), "a": (2, 1)}
