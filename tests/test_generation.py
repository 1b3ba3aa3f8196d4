"""Answers as they are drawn: what the unsteered model makes of them, read on token by token."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import interp_core  # noqa: F401  # before MLX
from interp_core.papers.steering.compute.generate import Reader
from interp_core.runtime import on_compute_thread

import mlx.core as mx  # isort: skip


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_answers_are_read_alike_at_once_and_as_they_grow(tiny, name):
    model = tiny(name)
    vectors = {1: np.ones((1, model.info.d_model), np.float32)}
    by = SimpleNamespace(rows=2, first=1, vectors=vectors, strengths=np.zeros(2))
    prompt, ids = [3, 5, 7], np.array([[4, 9, 2, 8, 1, 6], [1, 2, 3, -1, -1, -1]])

    @on_compute_thread
    def read(*ends):
        reader = Reader(model, prompt, by)
        return [reader.read(ids[:, :end]) for end in ends][-1]

    whole, grown = read(6), read(1, 2, 5, 6)
    np.testing.assert_allclose(grown.surprise, whole.surprise, atol=1e-5)
    np.testing.assert_allclose(grown.along, whole.along, atol=1e-5)
    filled = np.maximum(ids, 0)
    texts = mx.array(np.concatenate([np.tile(prompt, (2, 1)), filled], 1))
    logits = on_compute_thread(lambda: np.array(model.stream.run(texts).logits))()
    each = logits[:, 2:-1] - np.logaddexp.reduce(logits[:, 2:-1], axis=-1, keepdims=True)
    expected = -np.take_along_axis(each, filled[..., None], -1)[..., 0]
    np.testing.assert_allclose(whole.surprise, expected, atol=1e-4)
    ids_, surprise, along = whole.padded(8)
    assert ids_.shape == surprise.shape == (2, 8) and along.shape == (2, 11)
    assert np.isnan(surprise[1, 3:]).all() and np.isnan(along[1, 6:]).all()
    assert np.isnan(along[0, 8:]).all() and np.isfinite(along[0, :8]).all()
