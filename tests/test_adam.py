"""Adam on the host's cores is MLX's own, and the decoder's rows are handled as by the formula."""

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
import pytest

from interp_core.adam import Adam
from interp_core.papers.sparse_autoencoder.compute.autoencoder import unit_rows, without_parallel


def _matrix(seed: int, shape: tuple[int, ...]) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    "shape", [(3, 5), (700, 900), (5,)], ids=["small", "many slices", "vector"]
)
@pytest.mark.parametrize("correction", [True, False])
def test_adam_is_mlx_own(shape: tuple[int, ...], correction: bool) -> None:
    ours = Adam(1e-2, bias_correction=correction)
    theirs = optimizers.Adam(1e-2, bias_correction=correction)
    found, expected = {"w": _matrix(0, shape)}, {"w": _matrix(0, shape)}
    start = np.array(found["w"])
    for step in range(4):
        gradient = _matrix(step + 1, shape)
        expected = theirs.apply_gradients({"w": gradient * 1}, expected)
        found = ours.apply_gradients({"w": gradient}, found)
        mx.eval(expected, found)
    np.testing.assert_allclose(found["w"], expected["w"], rtol=0, atol=1e-6)
    for key in "mv":
        np.testing.assert_allclose(ours.state["w"][key], theirs.state["w"][key], atol=1e-6)
    assert np.abs(np.array(found["w"]) - start).max() > 0.01


def test_adam_leaves_the_old_parameter_as_it_was() -> None:
    old = _matrix(0, (700, 900))
    before = np.array(old)
    optimizer = Adam(1e-2)
    new = optimizer.apply_gradients({"w": _matrix(1, (700, 900))}, {"w": old})["w"]
    np.testing.assert_array_equal(old, before)
    assert np.abs(np.array(new) - before).min() > 0


def test_a_decoder_keeps_its_rows_lengths() -> None:
    gradient, decoder = _matrix(0, (700, 900)), unit_rows(_matrix(1, (700, 900)))
    np.testing.assert_allclose(np.linalg.norm(decoder, axis=1), 1, atol=1e-6)
    left = np.array(without_parallel(gradient, decoder))
    rows, slopes = np.array(decoder, float), np.array(gradient, float)
    along = (slopes * rows).sum(1, keepdims=True)
    np.testing.assert_allclose(left, slopes - along * rows, atol=1e-5)
    np.testing.assert_allclose((left * rows).sum(1), 0, atol=1e-5)
