"""Causal tracing: the batched sweep is one forward per cell, and its identities; one prompt's trace.

A check returns the largest difference, relative to the largest value. Each has a broken twin.
"""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from conftest import CHECKPOINTS

from interp_core.papers import causal_tracing
from interp_core.papers.causal_tracing import Params, Trace
from interp_core.papers.causal_tracing.compute import sweep, trace
from interp_core.papers.causal_tracing.params import window_of
from interp_core.params import ParameterError
from interp_core.residual import Site
from interp_core.runtime import Cancelled, on_compute_thread, submit

TOLERANCE = 1e-4
BROKEN = 10 * TOLERANCE
KINDS = ("resid_post", "mlp_out", "attn_out", "sever_mlp", "sever_attn")
LENGTH, SAMPLES = 14, 2
every_model = pytest.mark.parametrize("name", CHECKPOINTS)


def gap(found, expected) -> float:
    found, expected = np.array(found), np.array(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def embeddings(model, first: int, sigma: float = 1.0) -> tuple[mx.array, mx.array]:
    """Return clean [1, pos, d_model] and corrupted [sample, pos, d_model] embeddings."""
    draw = np.random.default_rng(5)
    clean = model.stream.embed(mx.array(draw.integers(3, 264, (1, LENGTH))))
    spread = float(np.array(clean).std())
    noise = np.zeros((SAMPLES, LENGTH, model.info.d_model), np.float32)
    wide = noise[:, first : first + 8]
    wide[:] = sigma * 3 * spread * draw.normal(size=wide.shape)
    return clean, clean + mx.array(noise)


def putting(value: mx.array, position: int):
    """Return an edit that puts ``value`` [1 or sample, pos, ...] at one position."""

    def edit(x):
        middle = mx.broadcast_to(value[:, position : position + 1], (x.shape[0], 1, x.shape[-1]))
        return mx.concatenate([x[:, :position], middle, x[:, position + 1 :]], axis=1)

    return edit


class Naive:
    """One full forward of all positions per cell, by edits of the stream."""

    def __init__(self, model, clean, corrupt, after: int = -1):
        self.stream, self.corrupt = model.stream, corrupt
        self.noise, self.after = None, Site("resid_post", after)
        if after >= 0:
            self.noise = corrupt - clean
            self.corrupt = mx.broadcast_to(clean, corrupt.shape)
        self.depth, self.n_heads = model.info.n_layers, model.info.n_heads
        parts = ("resid_post", "mlp_out", "attn_out", "z")
        keep = [Site(part, layer) for part in parts for layer in range(self.depth)]
        self.clean_run = model.stream.run(resid=clean, keep=keep)
        self.corrupt_run = model.stream.run(resid=self.corrupt, keep=keep, edits=self.noisy({}))

    def noisy(self, edits):
        if self.noise is None:
            return edits
        then = edits.get(self.after, lambda x: x)
        return {**edits, self.after: lambda x: then(x + self.noise)}

    def forward(self, edits) -> np.ndarray:
        edits = self.noisy(edits)
        return np.array(self.stream.run(resid=self.corrupt, edits=edits).resid)

    def cell(self, kind: str, layer: int, position: int, window: int = 3) -> np.ndarray:
        """Return the last residuals [sample, pos, d_model] of one cell."""
        clean, corrupt = self.clean_run.acts, self.corrupt_run.acts
        if kind in ("mlp_out", "attn_out"):
            begin = layer - window // 2
            sites = [Site(kind, i) for i in range(begin, begin + window) if 0 <= i < self.depth]
            return self.forward({site: putting(clean[site], position) for site in sites})
        restored = Site("resid_post", layer)
        edits = {restored: putting(clean[restored], position)}
        if kind != "resid_post":
            part = {"sever_mlp": "mlp_out", "sever_attn": "attn_out"}[kind]
            held = [Site(part, later) for later in range(layer + 1, self.depth)]
            edits |= {site: putting(corrupt[site], position) for site in held}
        return self.forward(edits)

    def head(self, layer: int, head: int) -> np.ndarray:
        site = Site("z", layer)
        clean = self.clean_run.acts[site]
        own = np.zeros(clean.shape[-1], bool)
        width = clean.shape[-1] // self.n_heads
        own[head * width : (head + 1) * width] = True
        return self.forward({site: lambda z: mx.where(mx.array(own), clean, z)})


@on_compute_thread
def sweep_gaps(
    model, first: int, reads: int, layers: list[int], after: int = -1
) -> dict[str, tuple[float, float]]:
    """Return by kind the gap to one forward per cell, and to forwards of the wrong cell."""
    clean, corrupt = embeddings(model, first)
    runs = sweep.run_both(model.stream, clean, corrupt - clean, reads, after)
    assert runs.first == first
    naive, depth, gaps = Naive(model, clean, corrupt, after), model.info.n_layers, {}
    for kind in KINDS:
        right, wrong = [], []
        for position in (first, first + 2, LENGTH - reads - 1, LENGTH - reads):
            cells = sweep.column(runs, kind, position, layers, 3)
            assert len(cells) == len(layers)
            for layer, found in zip(layers, cells, strict=True):
                right.append(gap(found, naive.cell(kind, layer, position)[:, -reads:]))
            other = naive.cell(kind, (layer + 1) % depth, (position + 1) % LENGTH, 1)
            wrong.append(gap(found, other[:, -reads:]))
        gaps[kind] = max(right), max(wrong)
    cells = sweep.heads(runs, layers, naive.n_heads)
    asked = [(layer, head) for layer in layers for head in range(naive.n_heads)]
    assert len(cells) == len(asked)
    others = [naive.head(*cell)[:, -reads:] for cell in asked]
    right = [gap(found, other) for found, other in zip(cells, others, strict=True)]
    wrong = [gap(found, other) for found, other in zip(cells, others[1:], strict=False)]
    return {**gaps, "z": (max(right), max(wrong))}


def check(gaps: dict[str, tuple[float, float]]) -> None:
    for kind, (right, wrong) in gaps.items():
        assert right < TOLERANCE, kind
        assert wrong > BROKEN, kind


@every_model
def test_the_sweep_is_one_forward_per_cell(tiny, name):
    model = tiny(name)
    check(sweep_gaps(model, first=4, reads=1, layers=list(range(model.info.n_layers))))


@every_model
def test_noise_may_come_after_a_block(tiny, name):
    model = tiny(name)
    layers = list(range(model.info.n_layers))
    gaps = sweep_gaps(model, first=4, reads=1, layers=layers, after=0)
    assert max(right for right, _ in gaps.values()) < TOLERANCE
    # In models of two blocks a window takes all that is behind the noise, whatever its centre.
    assert max(wrong for _, wrong in gaps.values()) > BROKEN


def test_noise_needs_a_block_behind_it(tiny):
    model = tiny("llama")
    last = model.info.n_layers - 2
    assert run(model, answer="o", noise_after=last).corrupt_score.std() > 0
    for after in (last + 1, 150):
        with pytest.raises(ParameterError, match=f"noise_after: .* accepted: -1 to {last}"):
            run(model, answer="o", noise_after=after)


@every_model
def test_the_sweep_in_groups_with_two_reads_and_a_stride(tiny, name, monkeypatch):
    model = tiny(name)
    monkeypatch.setattr(sweep, "_TOKENS", 30)
    check(sweep_gaps(model, first=0, reads=2, layers=list(range(0, model.info.n_layers, 2))))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "gpt2"])
def test_groups_of_layers_do_not_change_the_sweep(tiny, name, monkeypatch):
    model = tiny(name)
    for tokens in (1, 60, 1 << 20):
        monkeypatch.setattr(sweep, "_TOKENS", tokens)
        check(sweep_gaps(model, first=2, reads=2, layers=list(range(model.info.n_layers))))


def test_a_sweep_without_the_prefix_s_keys_departs(tiny, monkeypatch):
    climb = sweep._climb

    def forgetful(runs, position, *rest):
        kv = {layer: pair[1:] for layer, pair in runs.corrupt.kv.items()}
        corrupt = dataclasses.replace(runs.corrupt, kv=kv)
        return climb(dataclasses.replace(runs, corrupt=corrupt), position, *rest)

    monkeypatch.setattr(sweep, "_climb", forgetful)
    gaps = sweep_gaps(tiny("llama"), first=4, reads=1, layers=[0, 1, 2])
    assert all(right > BROKEN for right, _ in gaps.values())


@on_compute_thread
def clean_gaps(model, sigma: float) -> list[float]:
    """Restore in runs corrupted by ``sigma``; compare with the clean run."""
    clean, corrupt = embeddings(model, 3, sigma)
    runs = sweep.run_both(model.stream, clean, corrupt - clean, 1)
    layers = list(range(model.info.n_layers))
    cells = [sweep.column(runs, kind, 4, layers, 1) for kind in KINDS]
    cells.append(sweep.heads(runs, layers, model.info.n_heads))
    out = np.array(mx.repeat(runs.clean.resid[:, -1:], SAMPLES, axis=0))
    return [gap(cell, out) for kind in cells for cell in kind]


@every_model
def test_no_corruption_changes_nothing(tiny, name):
    assert max(clean_gaps(tiny(name), 0.0)) < 1e-5
    assert max(clean_gaps(tiny(name), 1.0)) > BROKEN


@on_compute_thread
def restored_everywhere(model, missing: int = 0) -> list[float]:
    clean, corrupt = embeddings(model, 3)
    naive = Naive(model, clean, corrupt)
    out = mx.repeat(naive.clean_run.resid, SAMPLES, axis=0)
    gaps = []
    for layer in range(model.info.n_layers):
        site = Site("resid_post", layer)
        value = mx.repeat(naive.clean_run.acts[site], SAMPLES, axis=0)
        kept = LENGTH - missing
        put = lambda x, value=value, kept=kept: mx.concatenate([value[:, :kept], x[:, kept:]], 1)
        gaps.append(gap(naive.forward({site: put}), out))
    return gaps


@every_model
def test_restoring_every_position_gives_the_clean_output(tiny, name):
    assert max(restored_everywhere(tiny(name))) < 1e-5
    assert max(restored_everywhere(tiny(name), missing=1)) > BROKEN


@on_compute_thread
def last_cells(model) -> tuple[mx.array, ...]:
    clean, corrupt = embeddings(model, 3)
    runs = sweep.run_both(model.stream, clean, corrupt - clean, 1)
    layers = list(range(model.info.n_layers))
    last = sweep.column(runs, "resid_post", LENGTH - 1, layers, 1)
    before = sweep.column(runs, "resid_post", LENGTH - 2, layers, 1)
    out = mx.repeat(runs.clean.resid[:, -1:], SAMPLES, axis=0)
    return tuple(np.array(x) for x in (last[-1], last[0], before[-1], out, runs.corrupt.resid))


@every_model
def test_the_last_cell_is_the_clean_output_exactly(tiny, name):
    last, first_layer, before, out, corrupt = last_cells(tiny(name))
    np.testing.assert_array_equal(last, out)
    assert gap(first_layer, out) > BROKEN
    np.testing.assert_array_equal(before, corrupt[:, -1:])  # not read: as corrupted as ever


@on_compute_thread
def windowed(model, position: int, window: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return a column of mlp_out, and edits of the single layers."""
    clean, corrupt = embeddings(model, 3)
    runs = sweep.run_both(model.stream, clean, corrupt - clean, 1)
    layers = list(range(model.info.n_layers))
    found = sweep.column(runs, "mlp_out", position, layers, window)
    naive = Naive(model, clean, corrupt)
    single = []
    for layer in layers:
        site = Site("mlp_out", layer)
        single.append(naive.forward({site: putting(naive.clean_run.acts[site], position)})[:, -1:])
    return [np.array(x) for x in found], single


def test_a_window_of_one_is_the_layer_alone(tiny):
    model = tiny("llama")
    assert max(map(gap, *windowed(model, 4, 1))) < TOLERANCE
    assert max(map(gap, *windowed(model, 4, 2))) > BROKEN


@on_compute_thread
def before_and_at(model) -> list[float]:
    clean, corrupt = embeddings(model, 10)  # a window's reach from the end
    runs = sweep.run_both(model.stream, clean, corrupt - clean, 1)
    layers = list(range(model.info.n_layers))
    return [
        max(
            gap(cell, runs.corrupt.resid[:, -1:])
            for kind in ("resid_post", "mlp_out", "attn_out")
            for cell in sweep.column(runs, kind, position, layers, 1)
        )
        for position in (1, 9, 10)
    ]


@every_model
def test_positions_before_the_corruption_change_nothing(tiny, name):
    *before, at = before_and_at(tiny(name))
    assert max(before) < 1e-5 and at > BROKEN


def test_windows_are_the_released_code_s():
    for layer in range(48):  # max(0, l - 5) to min(48, l + 5), as in ROME
        assert window_of(layer, 10, 48) == range(max(0, layer - 5), min(48, layer + 5))
        # trace_important_window: range(max(0, l - w // 2), min(n, l - (-w // 2)))
        for window in (1, 2, 3, 5, 7, 48):
            released = range(max(0, layer - window // 2), min(48, layer - (-window // 2)))
            assert window_of(layer, window, 48) == released
    assert list(window_of(5, 3, 12)) == [4, 5, 6]
    assert list(window_of(0, 3, 12)) == [0, 1] and list(window_of(11, 3, 12)) == [10, 11]
    assert list(window_of(4, 1, 12)) == [4]


PROMPT, SUBJECT = "a Bob in Oz is the", "Bob"
PARAMS = Params(prompt=PROMPT, subject=SUBJECT, window=2, kinds=(*KINDS, "z"))


def run(model, **changes) -> Trace:
    return causal_tracing.run(model, dataclasses.replace(PARAMS, **changes), findings=False)


@on_compute_thread
def inputs(model, **changes) -> trace.Inputs:
    return trace.inputs(model, dataclasses.replace(PARAMS, **changes))


@on_compute_thread
def embed(model, ids, positions: bool = True) -> np.ndarray:
    ids = mx.array(ids)
    return np.array(
        model.stream.embed(ids[None])[0] if positions else model.stream.embed_tokens(ids)
    )


def corrupted(model, given) -> np.ndarray:
    return embed(model, given.tokens) + given.noise


@on_compute_thread
def log_probs(model, resid: np.ndarray) -> np.ndarray:
    """Return log-probabilities [row, pos, token] of embeddings, by one full forward each."""
    logits = np.array(model.stream.run(resid=mx.array(resid)).logits).astype(float)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_frames(tiny):
    result = run(tiny("llama"))
    frame = result.frames["trace"]
    columns = ["kind", "layer", "position", "token", "effect", "probability", "spread"]
    assert list(frame) == columns
    effect = frame["probability"] - result.corrupt_probability.mean()
    np.testing.assert_allclose(frame["effect"], effect, atol=1e-6)
    n = len(result.tokens)
    assert frame.groupby("kind").size().to_dict() == {
        **dict.fromkeys(("resid_post", "mlp_out", "attn_out"), 3 * n),
        **dict.fromkeys(("sever_mlp", "sever_attn"), 3),
    }
    severed = frame[frame["kind"].str.startswith("sever_")]
    assert set(severed["position"]) == {result.subject[1] - 1}
    assert list(result.frames["heads"]) == ["layer", "head", "effect", "probability"]
    assert len(result.frames["heads"]) == 3 * 4
    last = frame.query(f"kind == 'resid_post' and layer == 2 and position == {n - 1}").iloc[0]
    assert last["effect"] == pytest.approx(result.total_effect, abs=1e-6)
    assert last["probability"] == pytest.approx(result.clean_probability, abs=1e-6)
    assert last["spread"] == pytest.approx(0, abs=1e-7)
    tokens = result.frames["tokens"]
    assert "".join(tokens[tokens["subject"]]["token"]).strip() == SUBJECT


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_a_trace_is_one_forward_per_cell(tiny, name):
    model, result = tiny(name), run(tiny(name), answer="o")
    given = inputs(model, answer="o")
    clean = on_compute_thread(model.stream.embed)(mx.array([given.tokens]))
    kinds = [kind for kind in PARAMS.kinds if kind != "z"]
    answer = given.answer[0]

    @on_compute_thread
    def cell(kind, layer, position):
        resid = Naive(model, clean, clean + mx.array(given.noise)).cell(kind, layer, position, 2)
        logits = np.array(model.stream.unembed(mx.array(resid[:, -1]))).astype(float)
        return np.exp(logits[:, answer]) / np.exp(logits).sum(-1)

    at = result.subject[1] - 1
    found = np.stack([result.probability[PARAMS.kinds.index(k), 1, at] for k in kinds])
    expected = np.stack([cell(kind, 1, at) for kind in kinds])
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-4)
    shifted = np.stack([cell(kind, 1, at - 1) for kind in kinds])
    assert gap(shifted, expected) > BROKEN
    own = np.exp(log_probs(model, np.array(clean))[0, -1, answer])
    assert result.clean_probability == pytest.approx(own, rel=1e-4)
    corrupt = np.exp(log_probs(model, corrupted(model, given))[:, -1, answer])
    np.testing.assert_allclose(result.corrupt_probability, corrupt, rtol=1e-4)


def test_metrics(tiny):
    model = tiny("llama")
    probability = run(model, answer="o")
    logged = run(model, answer="o", metric="log_probability")
    np.testing.assert_allclose(np.exp(logged.score), probability.score, rtol=1e-4, equal_nan=True)
    np.testing.assert_array_equal(logged.probability, probability.probability)
    kl = run(model, answer="o", metric="kl")
    assert kl.clean_score == pytest.approx(0, abs=1e-5)
    assert np.nanmin(kl.score) >= 0 and (kl.corrupt_score > 1e-3).all()
    given = inputs(model, answer="o")
    clean = log_probs(model, embed(model, given.tokens)[None])[0, -1]
    corrupt = log_probs(model, corrupted(model, given))[:, -1]
    by_hand = (np.exp(clean) * (clean - corrupt)).sum(-1)
    np.testing.assert_allclose(kl.corrupt_score, by_hand, atol=TOLERANCE)
    assert gap(kl.corrupt_score, (np.exp(corrupt) * (corrupt - clean)).sum(-1)) > BROKEN
    difference = run(model, answer="o", metric="logit_difference", foil="the")
    tokenizer = model.tokenizer
    space, the = tokenizer.single(" "), tokenizer.single(" the")
    assert given.answer[0] == space
    expected = corrupt[:, space] - corrupt[:, the]
    np.testing.assert_allclose(difference.corrupt_score, expected, atol=TOLERANCE)
    assert difference.clean_score == pytest.approx(clean[space] - clean[the], abs=TOLERANCE)


def test_a_joint_probability_is_of_all_the_answer_s_tokens(tiny):
    model = tiny("qwen3")
    joint = run(model, answer="o", metric="joint_probability")
    given = inputs(model, answer="o", metric="joint_probability")
    assert len(given.answer) == 2 and joint.answer == " o" and given.reads == 2
    assert given.tokens[:-1] == given.located.ids and given.tokens[-1] == given.answer[0]
    rows = np.stack([embed(model, given.tokens), *corrupted(model, given)])
    found = log_probs(model, rows)
    expected = np.exp(found[:, -2, given.answer[0]] + found[:, -1, given.answer[1]])
    np.testing.assert_allclose(joint.clean_score, expected[0], rtol=1e-3)
    np.testing.assert_allclose(joint.corrupt_score, expected[1:], rtol=1e-3)
    assert gap(joint.corrupt_score, np.exp(found[1:, -2, given.answer[0]])) > BROKEN
    first = run(model, answer="o")
    assert len(joint.positions) == len(first.positions) == len(joint.tokens)
    assert (joint.probability[0] < first.probability[0]).all()


def test_equal_seeds_give_equal_numbers(tiny):
    model = tiny("llama")
    first, again, other = run(model), run(model), run(model, seed=2)
    np.testing.assert_array_equal(first.score, again.score)
    np.testing.assert_array_equal(first.head_score, again.head_score)
    assert gap(other.corrupt_score, first.corrupt_score) > BROKEN
    # The noise of fewer samples is the beginning of that of more.
    fewer = run(model, samples=2)
    np.testing.assert_allclose(fewer.corrupt_score, first.corrupt_score[:2], rtol=1e-5)


def test_a_trace_survives_its_bytes(tiny):
    result = run(tiny("llama"))
    again = Trace.from_bytes(result.to_bytes())
    assert again.params == result.params and again.provenance == result.provenance
    for name, frame in result.frames.items():
        assert again.frames[name].equals(frame), name
    with pytest.raises(ValueError):
        Trace.from_bytes(result.to_bytes()[:-200])


def test_a_cancelled_trace_shows_what_it_has(tiny, monkeypatch):
    jobs, columns, whole = [], [], sweep.column

    def column(*args):
        columns.append(args[2])
        if len(columns) == 3:
            jobs[0].cancel()
        return whole(*args)

    monkeypatch.setattr(sweep, "column", column)
    hold = submit(lambda: __import__("time").sleep(0.2))  # until the job is in the list
    jobs.append(submit(causal_tracing.run, tiny("llama"), PARAMS, findings=False))
    hold.result()
    with pytest.raises(Cancelled):
        jobs[0].result(60)
    assert len(columns) == 3
    partial, progress = jobs[0].partial, jobs[0].progress
    assert isinstance(partial, Trace)
    assert progress.label == "tracing" and 0 < progress.done < progress.total
    traced = np.isfinite(partial.score[0]).all((0, 2))
    assert traced.sum() == 2 and traced[columns[:2]].all(), "it stops within a step"
    assert len(partial.frames["trace"]) == 6 and partial.frames["heads"]["effect"].isna().all()
