"""Readouts agree with numpy in float64, on the host and on the device, as do the host's functions.

Tolerances are those of sums over a vocabulary in float32; MLX adds up one by one on CPUs, so its
sum of 49152 equal terms is off by 4e-4.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from conftest import CHECKPOINTS
from test_loading import QUANTISED, write_mlx_folder

from interp_core import host_math, load_model, readout
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

TOLERANCE = 2e-5
BROKEN = 100 * TOLERANCE
DEVICE = 1e-3
VOCABULARIES = (5, 264, 1000, 49152)
KINDS = ("smooth", "peaked", "tied", "flat")
ROWS = 19  # more than two slices of the host path


def make(kind: str, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and the model's own logits, [row, vocabulary]."""
    rng = np.random.default_rng(vocabulary)
    z = rng.normal(size=(2, ROWS, vocabulary)) * (30 if kind == "peaked" else 3)
    if kind == "tied":
        z = np.round(z)
    if kind == "flat":
        z = np.zeros_like(z) + 2
    return tuple(z.astype(np.float32))


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64) - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@on_compute_thread
def read(path: str, z: np.ndarray, own: np.ndarray, targets: np.ndarray, k: int, monkeypatch):
    monkeypatch.setattr(readout, "device", lambda: {"host": "cpu", "device": "gpu"}[path])
    reference = readout.final(mx.array(own))
    return readout.read(mx.array(z), reference, targets, k), reference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("path", ["host", "device"])
def test_readout_is_the_reference(path, vocabulary, kind, monkeypatch):
    z, own = make(kind, vocabulary)
    k = 100  # more than the 17 and 63 columns into which 264 and 1000 are folded
    targets = np.random.default_rng(1).integers(0, vocabulary, (ROWS, 3))
    found, _ = read(path, z, own, targets, k, monkeypatch)
    log_p, log_q = log_softmax(z), log_softmax(own)
    p, q = np.exp(log_p), np.exp(log_q)
    tolerance = {"host": TOLERANCE, "device": DEVICE if vocabulary == 49152 else TOLERANCE}[path]
    close = {"rtol": tolerance, "atol": tolerance}

    k = min(k, vocabulary)
    assert found.top_ids.shape == (ROWS, k)
    assert all(len(set(row)) == k for row in found.top_ids.tolist())
    best = -np.sort(-z, axis=-1)[:, :k]
    np.testing.assert_array_equal(np.take_along_axis(z, found.top_ids, -1), best)
    np.testing.assert_allclose(found.top_probs, -np.sort(-p, -1)[:, :k], **close)
    np.testing.assert_allclose(found.entropy, -(p * log_p).sum(-1), **close)
    np.testing.assert_allclose(found.kl, (q * (log_q - log_p)).sum(-1), **close)
    np.testing.assert_allclose(found.log_prob, np.take_along_axis(log_p, targets, -1), **close)
    backwards = (p * (log_p - log_q)).sum(-1)
    if kind in ("smooth", "peaked"):  # the check can tell the direction of the divergence
        assert np.abs(found.kl - backwards).max() > 100 * tolerance
    at = np.take_along_axis(z, targets, -1)
    np.testing.assert_array_equal(found.rank, (z[:, None] > at[..., None]).sum(-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_host_and_device_agree(vocabulary, kind, monkeypatch):
    z, own = make(kind, vocabulary)
    targets = np.random.default_rng(2).integers(0, vocabulary, (ROWS, 2))
    (host, host_final), (device, device_final) = (
        read(path, z, own, targets, 10, monkeypatch) for path in ("host", "device")
    )
    for name in ("top_probs", "entropy", "kl", "log_prob"):
        one, other = getattr(host, name), getattr(device, name)
        np.testing.assert_allclose(one, other, rtol=DEVICE, atol=DEVICE, err_msg=name)
    for name in ("probs", "entropy", "top_prob", "top"):
        one, other = np.array(getattr(host_final, name)), np.array(getattr(device_final, name))
        np.testing.assert_allclose(one, other, rtol=DEVICE, atol=DEVICE, err_msg=name)
    if kind != "tied" and kind != "flat":
        np.testing.assert_array_equal(host.top_ids, device.top_ids)
        np.testing.assert_array_equal(host.top_ids[:, 0], z.argmax(-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["host", "device"])
def test_output_diverges_from_itself_by_nothing(path, kind, monkeypatch):
    z, _ = make(kind, 49152)
    targets = z.argmax(-1)[:, None]
    found, final = read(path, z, z, targets, 1, monkeypatch)
    assert (found.kl >= 0).all() and found.kl.max() < TOLERANCE
    assert (found.rank == 0).all()
    np.testing.assert_array_equal(np.array(final.top), targets[:, 0])
    other, _ = read(path, z, np.roll(z, 1, -1) + 1, targets, 1, monkeypatch)
    assert kind == "flat" or other.kl.min() > BROKEN


def test_no_targets_and_one_row(monkeypatch):
    z, own = make("smooth", 264)
    for path in ("host", "device"):
        found, _ = read(path, z[:1], own[:1], np.zeros((1, 0), int), 3, monkeypatch)
        assert found.rank.shape == found.log_prob.shape == (1, 0)
        assert found.top_ids.tolist() == np.argsort(-z[:1])[:, :3].tolist()


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_chunks_cover_every_position_once(n):
    parts = [range(n)[part] for part in readout.chunks(n)]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) <= readout.CHUNK


def extremes(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 40, 1003)).astype(np.float32) * 10
    x[0, :7, :6] = [-100, 100, 0, -88.8, 88.8, 1e-30]
    return x


@on_compute_thread
def swiglu_gap(function=host_math.swiglu) -> float:
    gate, up = mx.array(extremes(0)), mx.array(extremes(1))
    expected = np.array(nn.silu(gate) * up)
    found = np.array(function(gate, up))
    return (np.abs(found - expected) / (np.abs(expected) + 1e-3)).max()


def test_swiglu_is_mlx_s():
    assert swiglu_gap() < TOLERANCE
    assert swiglu_gap(lambda gate, up: nn.gelu(gate) * up) > BROKEN


def masked() -> np.ndarray:
    x = extremes(2)
    x[1, 3, 5:] = -np.inf
    x[2, :, ::2] = -np.inf
    return x


@on_compute_thread
def softmax_gap(function=host_math.softmax) -> float:
    scores = mx.array(masked())
    found, expected = np.array(function(scores)), np.array(mx.softmax(scores, -1, precise=True))
    assert (found[np.isinf(masked())] == 0).all()
    return np.abs(found - expected).max()


def test_softmax_is_mlx_s():
    assert softmax_gap() < TOLERANCE
    assert softmax_gap(lambda s: mx.softmax(1.01 * s, axis=-1)) > BROKEN


@on_compute_thread
def gradient_gaps() -> dict[str, float]:
    """Compare gradients of a weighted sum with those of MLX's own formula."""
    gate, up = (mx.array(extremes(seed)[:, :5, :64]) for seed in (0, 1))
    scores, weight = mx.array(masked()[:, :5, :64]), mx.array(extremes(3)[:, :5, :64])

    def grads(function, *inputs):
        loss = lambda *xs: (function(*xs) * weight).sum()
        return [np.array(mx.grad(loss, argnums=i)(*inputs)) for i in range(len(inputs))]

    def worst(ours, theirs):
        pairs = zip(ours, theirs, strict=True)
        return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)

    swiglu = grads(host_math.swiglu, gate, up)
    softmax = grads(host_math.softmax, scores)
    return {
        "swiglu": worst(swiglu, grads(lambda g, u: nn.silu(g) * u, gate, up)),
        "softmax": worst(softmax, grads(lambda s: mx.softmax(s, axis=-1), scores)),
        "swiglu, arguments swapped": worst(swiglu[::-1], swiglu),
        "softmax, not centred": worst(softmax, [np.array(weight * mx.softmax(scores, axis=-1))]),
    }


def test_gradients_are_mlx_s():
    gaps = gradient_gaps()
    assert gaps["swiglu"] < TOLERANCE and gaps["softmax"] < TOLERANCE, gaps
    assert min(gaps["swiglu, arguments swapped"], gaps["softmax, not centred"]) > BROKEN


@on_compute_thread
def dtypes() -> list:
    x = mx.ones((2, 3), mx.bfloat16)
    return [host_math.swiglu(x, x).dtype, host_math.softmax(x).dtype]


def test_half_precision_stays():
    assert dtypes() == [mx.bfloat16, mx.bfloat16]


def ids(batch: int) -> mx.array:
    return mx.array(np.random.default_rng(3).integers(3, 264, (batch, 14)))


def gap(found: mx.array, expected: mx.array) -> float:
    assert found.shape == expected.shape
    return (mx.abs(found - expected).max() / mx.abs(expected).max()).item()


@pytest.fixture(scope="module")
def load(tiny, tmp_path_factory):
    """Load a reference checkpoint or a quantised model, by name."""

    def get(name: str):
        if name in CHECKPOINTS:
            return tiny(name)
        folder = tmp_path_factory.mktemp(name)
        write_mlx_folder(folder, *QUANTISED[name])
        return load_model(folder)

    return get


@on_compute_thread
def positions_gap(model, asked, expected) -> float:
    full = np.array(model.stream.run(ids(2)).logits)
    found = model.stream.run(ids(2), unembed=asked).logits
    return gap(found, mx.array(full[:, expected]))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_only_asked_positions_are_unembedded(tiny, name):
    for asked in (slice(2, 5), [3], [0, 13, 4], [-1]):
        assert positions_gap(tiny(name), asked, asked) < TOLERANCE
    assert positions_gap(tiny(name), [3], [4]) > BROKEN
    assert on_compute_thread(tiny(name).stream.run)(ids(2), unembed=None).logits is None


@on_compute_thread
def linear_gaps(model, around: str = "final") -> tuple[float, float]:
    """Add up logits by what each part of the stream contributes to them."""
    stream, tokens = model.stream, ids(1)
    kept = [Site(p, layer) for p in ("attn_out", "mlp_out") for layer in range(stream.n_layers)]
    run = stream.run(tokens, keep=kept)
    targets = mx.array(np.random.default_rng(4).integers(0, 264, (5, 14)))
    embedding = stream.embed(tokens)
    linear = stream.linear_logit((run.resid if around == "final" else embedding)[0], targets)
    parts = [embedding, *run.acts.values()]
    total = sum((part[0] * linear.direction).sum(-1) for part in parts) + linear.constant
    own = gap(total, linear.logit)
    if stream.softcap:
        total = mx.tanh(total / stream.softcap) * stream.softcap
    return own, gap(total, mx.take_along_axis(run.logits[0], targets.T, axis=-1).T)


@pytest.mark.parametrize("name", [*CHECKPOINTS, *QUANTISED])
def test_linear_logits_add_up(load, name):
    model = load(name)
    assert max(linear_gaps(model)) < TOLERANCE
    assert linear_gaps(model, around="embedding")[1] > BROKEN


@on_compute_thread
def constant(model) -> float:
    return mx.abs(model.stream.linear_logit(mx.ones((1, 24)), ids(1)).constant).min().item()


def test_only_a_final_norm_with_a_bias_adds_a_constant(tiny):
    assert constant(tiny("gpt2")) > BROKEN
    assert constant(tiny("llama")) == 0
