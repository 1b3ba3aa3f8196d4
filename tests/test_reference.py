"""Every family agrees with transformers, on tiny random checkpoints that transformers wrote."""

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS, REFERENCE
from safetensors.numpy import load_file

from interp_core.models.architectures import ARCHITECTURES
from interp_core.residual import Site
from interp_core.runtime import on_compute_thread

PARTS = ("resid_pre", "attn_out", "mlp_out", "resid_post", "z", "pattern")
TOLERANCE = 5e-5
"""Largest difference allowed in float32, relative to the largest value of the array."""


@on_compute_thread
def _measure(model, expected) -> dict[str, float]:
    sites = [Site(part, layer) for part in PARTS for layer in range(model.info.n_layers)]
    run = model.stream.run(mx.array(expected["tokens"]), keep=sites)
    found = {f"{site.part}.{site.layer}": np.array(value) for site, value in run.acts.items()}
    found["logits"] = np.array(run.logits)
    return {
        name: float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max())
        for name in expected
        if name != "tokens"
    }


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_stream_agrees_with_transformers(tiny, name):
    gaps = _measure(tiny(name), load_file(REFERENCE / name / "expected.safetensors"))
    worst = max(gaps, key=gaps.get)
    assert gaps[worst] < TOLERANCE, f"{worst} differs by {gaps[worst]:.2g}"


def test_every_family_has_a_reference(tiny):
    assert {tiny(name).info.model_type for name in CHECKPOINTS} == set(ARCHITECTURES)
