"""The model that learnt nothing: the same everywhere, of the default one's shapes, and used as any other."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from interp_core.models import catalogue, fingerprint, packaged, untrained
from interp_core.models.info import DEFAULT, UNTRAINED
from interp_core.models.loading import local_folder


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    model = packaged.PACKAGED[DEFAULT].folder
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / DEFAULT).symlink_to(model)
    assert local_folder(catalogue.find(UNTRAINED)) is None
    return untrained.draw(UNTRAINED)


def test_it_is_drawn_alike_on_every_machine_and_found_under_its_name(drawn):
    known = catalogue.find(UNTRAINED)
    assert local_folder(known) == drawn == untrained.draw(UNTRAINED)
    assert f"{fingerprint.model_sha256(drawn)}-float32" == known.fingerprint  # what ships is of it
    with (
        safe_open(drawn / "model.safetensors", "numpy") as file,
        safe_open(packaged.PACKAGED[DEFAULT].folder / "model.safetensors", "numpy") as trained,
    ):
        assert set(file.keys()) == set(trained.keys())
        for name in ("model.embed_tokens.weight", "model.layers.3.mlp.down_proj.weight"):
            values, own = file.get_tensor(name), trained.get_tensor(name)
            assert values.shape == own.shape and abs(values.astype(float).mean()) < 1e-3
            assert values.astype(float).std() == pytest.approx(1 / 24, rel=0.01)
            sample = values.ravel()[:10_000].astype(float), own.ravel()[:10_000]
            assert abs(np.corrcoef(*sample)[0, 1]) < 0.05
        assert (file.get_tensor("model.norm.weight") == 1).all()
