"""The paper's model, small: its training, and the folder that it becomes."""

from __future__ import annotations

import numpy as np
import pytest

from interp_core import load_model
from interp_core.models import bundled
from interp_core.papers import sparse_autoencoder as sae
from interp_core.papers.sparse_autoencoder.compute import transformer
from interp_core.paths import cache_dir
from interp_core.question import stored
from interp_core.runtime import Cancelled, on_compute_thread, submit

FEW = sae.TransformerParams(steps=4, batch=2, corpus="code", d_mlp=16)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))


def test_what_ships_is_what_its_training_made():
    folder = bundled.folder(bundled.ONE_LAYER)
    for name, content in stored(sae.TransformerParams()).attachments().items():
        assert (folder / name).read_bytes() == content, name
    model = load_model(bundled.ONE_LAYER)
    assert (model.info.n_layers, model.info.d_vocab) == (1, 257)
    assert model.require_tokenizer().decode(model.require_tokenizer().encode("né")) == "né"


def test_a_training_goes_on_where_it_was_and_opens_as_a_folder(tmp_path, monkeypatch):
    whole = sae.run(None, FEW)
    next(cache_dir("training").glob("one-layer-*")).unlink()
    learn = transformer._Learner.learn

    def stop(learner, step):
        if step == 2:
            raise Cancelled
        learn(learner, step)

    monkeypatch.setattr(transformer._Learner, "learn", stop)
    with pytest.raises(Cancelled):
        submit(sae.run, None, FEW).result()
    monkeypatch.setattr(transformer._Learner, "learn", learn)
    again = sae.run(None, FEW)
    np.testing.assert_array_equal(again.weights, whole.weights)
    for name, content in again.attachments().items():
        (tmp_path / name).write_bytes(content)
    model = load_model(tmp_path)
    ids = np.array([[0, 5, 9]])

    @on_compute_thread
    def logits():
        import mlx.core as mx

        return np.array(model.stream.run(mx.array(ids)).logits)

    assert logits().shape == (1, 3, 257)
    assert np.isfinite(again.loss).all()
