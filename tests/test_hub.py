"""Dictionaries fetched from a hub, which here is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_hub import serving
from huggingface_hub import constants
from safetensors.numpy import save

from interp_core.papers.sparse_autoencoder import formats
from interp_core.papers.sparse_autoencoder.dictionary import KEPT
from interp_core.params import ParameterError

FOLDER = formats.published("gemma-3-270m")
OWNER, NAME, INNER = FOLDER.split("/", 2)
CONFIG = {
    "architecture": "jump_relu",
    "model_name": "google/gemma-3-270m",
    "hf_hook_point_in": "model.layers.9.output",
    "hf_hook_point_out": "model.layers.9.output",
}


def tensors(d=8, latents=32):
    draw = np.random.default_rng(0)
    shapes = {"w_enc": (d, latents), "w_dec": (latents, d), "b_enc": (latents,), "b_dec": (d,)}
    drawn = {n: draw.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    return drawn | {"threshold": np.ones(latents, np.float32)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    files = {
        f"{INNER}/config.json": json.dumps(CONFIG).encode(),
        f"{INNER}/params.safetensors": save(tensors()),
        f"{INNER}/max_activating_examples.bin": b"x" * 1000,
        "resid_post_all/layer_1/params.safetensors": b"of another layer",
    }
    with serving(f"{OWNER}/{NAME}", files) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield files, tmp_path / "hub"


def test_a_published_dictionary_is_fetched_and_kept(hub):
    _, kept = hub
    found = KEPT.load(formats.read(Path(f"hf:{FOLDER}")))
    assert (found.card.part, found.card.layer, found.card.architecture) == (
        "resid_post",
        9,
        "jumprelu",
    )
    np.testing.assert_array_equal(found.weights["W_enc"], tensors()["w_enc"])
    fetched = {path.name for path in kept.rglob("snapshots/*/**/*") if not path.is_dir()}
    assert fetched == {"config.json", "params.safetensors"}


def test_what_is_not_there_or_too_large_says_so(hub, monkeypatch):
    for name in ("owner/none/a", f"{OWNER}/{NAME}/none", "owner"):
        with pytest.raises(ParameterError, match=r"^sae: .*(could not be fetched|holds none of)"):
            formats.read(Path(f"hf:{name}"))
    monkeypatch.setattr(formats.layouts, "LARGEST", 100)
    with pytest.raises(ParameterError, match=r"accepted: at most 1 GB"):
        formats.read(Path(f"hf:{FOLDER}"))
    assert not list(hub[1].rglob("params.safetensors"))
