"""GGUF files: read like gguf's own reader, converted to what they were made of, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
import tiny_gguf
from gguf.quants import dequantize
from tiny_gguf import F32, Q8_0, byte_level, keys_of, sentencepiece_model
from tokenizers import Tokenizer

from interp_core import load_model
from interp_core.models import gguf
from interp_core.models.gguf import reader
from interp_core.models.gguf.tokenizer import tokenizer
from interp_core.models.loading import ModelError
from interp_core.models.packaged import DEFAULT, PACKAGED
from interp_core.runtime import on_compute_thread

KINDS = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K"]
KINDS += ["Q6_K", "IQ2_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "MXFP4"]
TOKENS = np.random.default_rng(3).integers(3, 264, (2, 14))
DEFAULT_TENSORS = "75cbbd308f9598e3b5689263569d6e9ef367b98fe4913af6033a1201cdb4eee3"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@on_compute_thread
def logits(model) -> np.ndarray:
    import mlx.core as mx

    return np.array(model.stream.run(mx.array(TOKENS)).logits)


def written(tmp_path, family="llama", kind=F32, name="tiny", **keys) -> Path:
    """Write a tiny model as ``name`` (a folder) and as ``name``.gguf."""
    keys = byte_level() | keys
    config, weights = tiny_gguf.checkpoint(family, len(keys["tokenizer.ggml.tokens"]), kind)
    if not (tmp_path / name).exists():
        tiny_gguf.write_folder(tmp_path / name, config, weights)
    return tiny_gguf.write_gguf(tmp_path / f"{name}.gguf", config, weights, keys, kind)


def refusal(file: Path) -> str:
    with pytest.raises(ModelError) as raised:
        load_model(file)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", [F32, Q8_0], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_gguf_gives_the_logits_of_what_it_was_made_of(family, kind, tmp_path, cache):
    file = written(tmp_path, family, kind)
    model, expected = load_model(file), load_model(tmp_path / "tiny")
    np.testing.assert_allclose(logits(model), logits(expected), atol=2e-5)
    assert model.info.weights == "GGUF" and model.info.context == 64
    folder = cache / f"tiny-{gguf.sha256(file)[:8]}"
    assert sorted(f.name for f in cache.iterdir() if f.is_dir()) == [folder.name]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    load_model(file)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_dequantised_as_gguf_does(name, tmp_path):
    kind = reference.GGMLQuantizationType[name]
    block, size = reference.GGML_QUANT_SIZES[kind]
    shape = (6, 5, 256 // block * size)
    raw = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    writer = reference.GGUFWriter(tmp_path / "one.gguf", "llama")
    writer.add_tensor("a", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = dequantize(reference.GGUFReader(tmp_path / "one.gguf").tensors[0].data, kind)
    found = reader.read(tmp_path / "one.gguf").array("a")
    assert found.shape == (6, 5, 256) and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.reshape(found.shape))


def test_large_tensors_are_read_in_parts(tmp_path, monkeypatch):
    file = written(tmp_path, kind=Q8_0)
    whole = reader.read(file).array("token_embd.weight")
    monkeypatch.setattr(reader, "_CHUNK", 256)
    np.testing.assert_array_equal(reader.read(file).array("token_embd.weight"), whole)


def tensors_sha256(folder: Path) -> str:
    """Return the digest of names, shapes and values, in order of name."""
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    digest = hashlib.sha256()
    for name in sorted(header.keys() - {"__metadata__"}):
        begin, end = (8 + length + at for at in header[name]["data_offsets"])
        digest.update(f"{name}{header[name]['shape']}".encode() + data[begin:end])
    return digest.hexdigest()


def test_the_default_model_is_the_one_that_results_ship_for(model):
    folder = PACKAGED[DEFAULT].folder
    assert tensors_sha256(folder) == DEFAULT_TENSORS
    for name, sha256 in DEFAULT_FILES.items():
        assert gguf.sha256(folder / name) == sha256, name


DEFAULT_FILES = {
    "config.json": "aa55557f677f5d7f1c059bac688e4b9b123b0b35cdb9c052cc813caf75c9e093",
    "tokenizer.json": "7d27c493c729a66ecefc837280b05d948b1ed50d130eebdbf911b1b36cf38ed7",
    "tokenizer_config.json": "c2e22e9f3187805970b475d4f96b60043e7a349a56b08b00bcfc9fe35096bdc7",
}
TEXTS = [
    "The Eiffel Tower is located in the city of",
    "def written(tmp_path):\n    return 1\n\n\n\n  x  =  2",
    "<turn>Voilà – naïve, 東京 and 東京.<turn>",
    "🦜𓀀 ŵ\x07 ends with a space ",
    " begins with one",
    "   ",
    "\n\n\n",
]


def test_sentencepiece_tokens_are_sentencepieces():
    model = sentencepiece_model()
    keys = keys_of(model)
    arrays = {k: np.array(v) if k.endswith(("scores", "type")) else v for k, v in keys.items()}
    built, config = tokenizer(arrays)
    assert config["bos_token"] == "<s>" and config["eos_token"] == "</s>"
    for text in [*TEXTS, *TEXT_PARTS]:
        ids = built.encode(text, add_special_tokens=False).ids
        assert ids == model.encode(text), text
        assert built.encode(text).ids == [model.bos_id(), *ids]
        assert built.decode(ids) == text


TEXT_PARTS = tiny_gguf.TEXT.split("\n\n")


def test_text_goes_through_a_sentencepiece_model(tmp_path, cache):
    keys = keys_of(sentencepiece_model())
    config, weights = tiny_gguf.checkpoint("gemma3", len(keys["tokenizer.ggml.tokens"]))
    model = load_model(tiny_gguf.write_gguf(tmp_path / "g.gguf", config, weights, keys))
    tokens, text = model.tokenizer, "in 🦜 the"
    ids, offsets = tokens.offsets(text)
    assert tokens.encode(text) == [tokens.bos_id, *ids]
    shown = [tokens.text(i) for i in ids]
    assert "".join(shown) == "in \\xf0\\x9f\\xa6\\x9c the"
    bird = {text[begin:end] for s, (begin, end) in zip(shown, offsets, strict=True) if "x" in s}
    assert bird == {"🦜"}


@pytest.mark.parametrize(
    "target", ["interp_core.models.gguf.conversion._weights", "os.replace", "json.dumps"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_killed_conversion_leaves_nothing(target, error, tmp_path, cache, monkeypatch):
    file = written(tmp_path)

    def killed(*_, **__):
        raise error

    monkeypatch.setattr(target, killed)
    with pytest.raises(BaseException) as raised:
        load_model(file)
    assert isinstance(raised.value, KeyboardInterrupt | ModelError)
    assert error is KeyboardInterrupt or "No space left on device" in str(raised.value)
    assert list(cache.iterdir()) == []


def no_room(_):
    return shutil._ntuple_diskusage(10**9, 10**9, 1000)


def test_what_does_not_fit_on_the_disk_is_refused_at_once(tmp_path, cache, monkeypatch):
    file = written(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", no_room)
    assert "in float32" in refusal(file) and list(cache.iterdir()) == []


OTHERS = {
    "architecture": ({"general.architecture": "qwen2"}, "architecture is 'qwen2'; accepted: llama"),
    "shard": ({"split.count": 4}, "one of several shards"),
    "tokenizer": ({"tokenizer.ggml.pre": "llama-bpe"}, "tokenizer is .*; accepted: Sentence"),
    "scaled rope": ({"llama.rope.scaling.factor": 8.0}, "sets 'llama.rope.scaling.factor'"),
    "size of a head": (
        {"llama.attention.key_length": 16},
        "value_length|dimension_count is 32; accepted: the size of a head, 16",
    ),
    "sizes of heads": ({"llama.attention.key_length": [32, 32]}, "key_length is array"),
    "template": ({"tokenizer.chat_template": 3}, "chat_template is no text"),
    "experts": ({"llama.expert_count": 8}, "sets 'llama.expert_count', which is not supported"),
    "space": ({"tokenizer.ggml.model": "llama"}, "a space before every text"),
    "bos": ({"tokenizer.ggml.bos_token_id": 9999}, "bos_token_id is 9999"),
    "types": ({"tokenizer.ggml.token_type": [1, 1]}, "token_type is no list of 264 numbers"),
    "merges": ({"tokenizer.ggml.merges": ["abc"]}, "a merge that is not two tokens"),
    "unknown merge": ({"tokenizer.ggml.merges": ["no such"]}, "tokenizer cannot be built"),
    "alignment": ({"general.alignment": 48}, "alignment is 48"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_ggufs_are_refused(case, tmp_path, cache):
    keys, message = OTHERS[case]
    assert re.search(message, refused := refusal(written(tmp_path, **keys))), refused
    assert list(cache.iterdir()) == []


def test_what_is_no_gguf_is_refused(tmp_path, cache):
    (tmp_path / "text.gguf").write_text("<html>")
    assert "does not begin with GGUF" in refusal(tmp_path / "text.gguf")
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    assert re.search(r"ends at byte \d+, and the file at \d+", refusal(file))
    assert list(cache.iterdir()) == []


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    file = written(tmp_path)
    opened = reader.read(file)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match="became shorter"):
        for name in opened.tensors:
            opened.array(name)


def test_its_tokenizer_is_kept(tmp_path, cache):
    model = load_model(written(tmp_path))
    expected = Tokenizer.from_file(str(tiny_gguf.REFERENCE / "llama" / "tokenizer.json"))
    assert model.tokenizer.encode("the cat") == expected.encode("the cat").ids
