"""The residual stream's identities, on every family, each with a broken twin that must fail.

A check returns the largest difference, relative to the largest value. The right stream stays below
``TOLERANCE`` (float32 rounding over three blocks); the broken one is off by 100 times as much.
"""

from __future__ import annotations

import copy
import functools

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS, REFERENCE
from safetensors.numpy import load_file
from test_loading import QUANTISED, write_mlx_folder

from interp_core import load_model
from interp_core.block import Part, Tape, attend
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import on_compute_thread

TOLERANCE = 2e-5
BROKEN = 100 * TOLERANCE
WINDOWED = ["mistral_windowed", "qwen2_windowed", "gemma2", "gemma3_text", "gemma3_untied"]
CUT = 7  # past the tiny models' window of 5
every_model = pytest.mark.parametrize("name", [*CHECKPOINTS, *QUANTISED])


@pytest.fixture(scope="module")
def load(tiny, tmp_path_factory):
    """Load a reference checkpoint or a quantised model, by name."""

    @functools.cache
    def get(name: str):
        if name not in QUANTISED:
            return tiny(name)
        folder = tmp_path_factory.mktemp(name)
        write_mlx_folder(folder, *QUANTISED[name])
        return load_model(folder)

    return get


def identity(x):
    return x


def gap(found: mx.array, expected: mx.array) -> float:
    assert found.shape == expected.shape
    return (mx.abs(found - expected).max() / mx.abs(expected).max()).item()


def tokens(batch: int = 2) -> mx.array:
    return mx.array(np.random.default_rng(3).integers(3, 264, (batch, 14)))


def sites(model, *parts: Part) -> list[Site]:
    return [Site(part, layer) for part in parts for layer in range(model.info.n_layers)]


@on_compute_thread
def resume(model, late: int = 0) -> list[float]:
    """Resume at every block, ``late`` blocks late."""
    full = model.stream.run(tokens(), keep=sites(model, "resid_pre"))
    acts = [(site.layer + late, resid) for site, resid in full.acts.items()]
    return [gap(model.stream.run(resid=x, start=i).logits, full.logits) for i, x in acts]


@every_model
def test_resumed_run_is_the_full_run(load, name):
    assert max(resume(load(name))) < TOLERANCE
    assert min(resume(load(name), late=1)) > BROKEN


@on_compute_thread
def continued(model, kept: slice = slice(None)) -> float:
    """Continue from the prefix's keys and values, of which ``kept`` are kept."""
    ids = tokens(1)
    prefix = model.stream.run(ids[:, :CUT], keep_kv=True, unembed=None).kv
    rest = model.stream.run(ids[:, CUT:], prefix={i: kv[kept] for i, kv in prefix.items()})
    return gap(rest.logits, model.stream.run(ids).logits[:, CUT:])


@every_model
def test_prefix_and_rest_is_the_full_run(load, name):
    assert continued(load(name)) < TOLERANCE
    assert continued(load(name), slice(1, None)) > BROKEN  # every position is off by one
    assert continued(load(name), slice(0, -1)) > BROKEN


@on_compute_thread
def edited_batch(model, with_prefix: bool = True) -> float:
    """Resume three edited residuals at once after a prefix; compare with full edited forwards."""
    ids, at = tokens(1), CUT + 2
    last = model.info.n_layers - 1
    deltas = mx.random.normal((3, model.info.d_model), key=mx.random.key(1))
    site = Site("resid_pre", last)
    clean = model.stream.run(ids, keep=[site], keep_kv=True)
    batch = mx.repeat(clean.acts[site][:, CUT:], 3, axis=0)
    batch[:, at - CUT] += deltas
    prefix = {layer: kv[:CUT] for layer, kv in clean.kv.items()} if with_prefix else None
    found = model.stream.run(resid=batch, start=last, prefix=prefix).logits

    def add(delta):
        return lambda x: mx.concatenate([x[:, :at], x[:, at : at + 1] + delta, x[:, at + 1 :]], 1)

    one_by_one = [model.stream.run(ids, edits={site: add(d)}).logits[:, CUT:] for d in deltas]
    return gap(found, mx.concatenate(one_by_one))


@every_model
def test_edited_batch_over_a_prefix_is_one_at_a_time(load, name):
    assert edited_batch(load(name)) < TOLERANCE
    assert edited_batch(load(name), with_prefix=False) > BROKEN


def twin(stream: ResidualStream, **changes) -> ResidualStream:
    """Return a copy of a stream with attributes of it, or of all its blocks, replaced."""
    stream = copy.copy(stream)
    stream.blocks = [copy.copy(block) for block in stream.blocks]
    for key, value in changes.items():
        for part in [stream] if hasattr(stream, key) else stream.blocks:
            vars(part)[key] = value
    return stream


BREAKS = {
    "serial": ({"parallel": False}, ["gpt_neox", "gpt_neox_v4", "gpt_neox_tied"]),
    "parallel": ({"parallel": True}, ["gpt_neox_sequential", "llama", "gpt2"]),
    "no post-norm of attention": ({"attn_out_norm": identity}, ["gemma2", "gemma3_text", "olmo2"]),
    "no post-norm of the MLP": ({"mlp_out_norm": identity}, ["gemma2", "gemma3_text", "olmo2"]),
    "no window": ({"windows": [None] * 3}, WINDOWED),
    "no final norm": ({"norm": identity}, CHECKPOINTS),
    "no soft-cap": ({"softcap": None}, ["gemma2"]),
    "no scale of the embedding": ({"scale": None}, ["gemma", "gemma2", "gemma3_text"]),
    "no positions": ({"positions": None}, ["gpt2", "gpt2_bare", "gpt2_untied"]),
}


@on_compute_thread
def reference_gap(stream: ResidualStream, name: str) -> float:
    expected = load_file(REFERENCE / name / "expected.safetensors")
    return gap(stream.run(mx.array(expected["tokens"])).logits, mx.array(expected["logits"]))


@pytest.mark.parametrize(("broken", "name"), [(b, n) for b, (_, ns) in BREAKS.items() for n in ns])
def test_a_stream_with_a_part_wrong_departs_from_transformers(tiny, broken, name):
    stream = tiny(name).stream
    assert reference_gap(twin(stream), name) < TOLERANCE
    assert reference_gap(twin(stream, **BREAKS[broken][0]), name) > BROKEN


@on_compute_thread
def pattern_gaps(model, stream: ResidualStream, kv_head) -> dict[str, float]:
    kept = sites(model, "pattern", "z")
    run = stream.run(tokens(), keep=kept, keep_kv=True, unembed=None)
    gaps = dict.fromkeys(("sum", "future", "window", "z"), 0.0)
    for layer, window in enumerate(model.stream.windows):
        pattern = np.array(run.acts[Site("pattern", layer)])
        values = np.array(run.kv[layer].values)
        n = model.info.n_heads
        z = [pattern[:, h] @ values[:, kv_head(h, n, values.shape[1])] for h in range(n)]
        back = np.subtract.outer(np.arange(14), np.arange(14))
        gaps["sum"] = max(gaps["sum"], np.abs(pattern.sum(-1) - 1).max())
        gaps["future"] = max(gaps["future"], pattern[..., back < 0].max())
        gaps["window"] = max(gaps["window"], pattern[..., back >= (window or 14)].max(initial=0))
        gaps["z"] = max(gaps["z"], gap(mx.array(np.concatenate(z, -1)), run.acts[Site("z", layer)]))
    return gaps


def grouped(head: int, n_heads: int, n_kv: int) -> int:
    return head // (n_heads // n_kv)


@every_model
def test_patterns_are_attention(load, name):
    model = load(name)
    gaps = pattern_gaps(model, model.stream, grouped)
    assert gaps["future"] == gaps["window"] == 0
    assert gaps["sum"] < TOLERANCE and gaps["z"] < TOLERANCE


@pytest.mark.parametrize("name", ["llama", "qwen2", "olmo2", "mistral", "llama_4bit_tied"])
def test_heads_do_not_share_values_in_turns(load, name):
    in_turns = pattern_gaps(load(name), load(name).stream, lambda head, _, n_kv: head % n_kv)
    assert in_turns["z"] > BROKEN


@pytest.mark.parametrize("name", WINDOWED)
def test_patterns_of_windowless_twin_look_outside(tiny, name):
    model = tiny(name)
    assert pattern_gaps(model, twin(model.stream, windows=[None] * 3), grouped)["window"] > BROKEN


@on_compute_thread
def attention_gap(keys_of=identity, scale: float = 0.3) -> float:
    """Compare the softmax written out with MLX's fused attention, 4 heads on 2 of keys."""
    queries, keys, values = (
        mx.random.normal((2, n, 9, 6), key=mx.random.key(n + i)) for i, n in enumerate((4, 2, 2))
    )
    mask = mx.tril(mx.ones((9, 9), mx.bool_))
    tape = Tape(None, lambda _, x: x, explicit=True)
    found = attend(queries, keys_of(keys), values, tape, scale, mask)
    return gap(
        found, mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask=mask)
    )


def test_explicit_softmax_is_the_fused_one():
    assert attention_gap() < TOLERANCE
    assert attention_gap(keys_of=lambda keys: keys[:, ::-1]) > BROKEN
    assert attention_gap(scale=0.31) > BROKEN


@on_compute_thread
def written_out_gap(model) -> float:
    seen = model.stream.run(tokens(), keep=sites(model, "pattern"))  # by softmax written out
    return gap(seen.logits, model.stream.run(tokens()).logits)  # by fused attention


@every_model
def test_asking_for_patterns_does_not_change_the_run(load, name, monkeypatch):
    for module in ("block", "residual"):
        monkeypatch.setattr(f"interp_core.{module}.on_host", lambda: False)
    assert written_out_gap(load(name)) < TOLERANCE


@on_compute_thread
def sum_gap(model, *left_out: Site) -> float:
    parts = [site for site in sites(model, "attn_out", "mlp_out") if site not in left_out]
    run = model.stream.run(tokens(), keep=parts)
    return gap(model.stream.embed(tokens()) + sum(run.acts.values()), run.resid)


@every_model
def test_the_stream_is_the_sum_of_what_was_written(load, name):
    assert sum_gap(load(name)) < TOLERANCE
    for site in sites(load(name), "attn_out", "mlp_out"):
        assert sum_gap(load(name), site) > BROKEN


def to_first(pattern):
    return mx.zeros_like(pattern).at[..., 0].add(1)


def change(x):
    return to_first(x) if x.ndim == 4 else x[..., ::-1]


@on_compute_thread
def edit_gaps(model, edit) -> dict[Site, float]:
    """Return by how much an edit at each site moves the logits, having checked that the site holds it."""
    every, gaps = sites(model, *Part.__args__), {}
    clean = model.stream.run(tokens(), keep=every)
    for site in every:
        edited = model.stream.run(tokens(), keep=[site], edits={site: edit})
        assert gap(edited.acts[site], edit(clean.acts[site])) == 0
        gaps[site] = gap(edited.logits, clean.logits)
    return gaps


@every_model
def test_edits_take_effect_at_every_part(load, name):
    for site, moved in edit_gaps(load(name), change).items():
        assert moved > BROKEN, site
    for site, moved in edit_gaps(load(name), identity).items():
        assert moved == 0, site


@on_compute_thread
def edited_pattern(model) -> float:
    """Point every head at position 0: each then writes that position's values."""
    run = model.stream.run(
        tokens(), edits={Site("pattern", 0): to_first}, keep=[Site("z", 0)], keep_kv=True
    )
    values = run.kv[0].values[:, :, :1]
    z = mx.repeat(values, model.info.n_heads // values.shape[1], axis=1).swapaxes(1, 2)
    return gap(run.acts[Site("z", 0)], mx.broadcast_to(z.reshape(2, 1, -1), (2, 14, z.size // 2)))


@every_model
def test_an_edited_pattern_moves_its_own_values(load, name):
    assert edited_pattern(load(name)) < TOLERANCE


@on_compute_thread
def kept_gaps(model) -> list[float]:
    """Edit keys and values; compare what is kept for later runs with what attention read."""
    at = sites(model, "k", "v")
    edits = dict.fromkeys(at, lambda x: 2 * x)
    ids = tokens(1)
    first = model.stream.run(ids[:, :CUT], edits=edits, keep=at, keep_kv=True)
    read = [
        gap(getattr(first.kv[i], {"k": "keys", "v": "values"}[p]), first.acts[p, i]) for p, i in at
    ]
    later = model.stream.run(ids[:, CUT:], prefix=first.kv).logits

    def double(x):
        return mx.concatenate([2 * x[:, :, :CUT], x[:, :, CUT:]], 2)

    whole = model.stream.run(ids, edits=dict.fromkeys(at, double)).logits[:, CUT:]
    return [*read, gap(later, whole)]


@every_model
def test_kept_keys_and_values_are_the_edited_ones(load, name):
    assert max(kept_gaps(load(name))) < TOLERANCE


X = mx.zeros((1, 3, 24))
T = mx.array([[5, 6, 7]])
BAD = {
    "neither": ({}, "either tokens or resid"),
    "both": ({"tokens": T, "resid": X}, "not both"),
    "start < 0": ({"resid": X, "start": -1}, "blocks -1 to 3"),
    "start > stop": ({"resid": X, "start": 2, "stop": 1}, "blocks 2 to 1"),
    "stop": ({"tokens": T, "stop": 4}, "the model has 3"),
    "part": ({"tokens": T, "keep": [Site("mlp", 0)]}, "no Site.*'mlp'.*parts are resid_pre"),
    "layer": ({"tokens": T, "edits": {Site("z", 3): identity}}, "layer=3.*blocks 0 to 2"),
    "not run": ({"resid": X, "start": 2, "keep": [Site("z", 1)]}, "layer=1.*blocks 2 to 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(tiny, case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        on_compute_thread(tiny("llama").stream.run)(**arguments)
