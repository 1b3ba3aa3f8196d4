"""Attention-only models: what they compute, how they train and resume, and what is said of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading

import mlx.core as mx
import numpy as np
import pytest

from interp_core import exports
from interp_core.papers.induction_heads import figures_training as charts
from interp_core.papers.induction_heads import toys
from interp_core.papers.induction_heads.compute import toy, toy_data, train
from interp_core.papers.induction_heads.toys import TOYS
from interp_core.papers.induction_heads.training import LOGGED, Training, TrainingParams, blank
from interp_core.question import run
from interp_core.results import Provenance
from interp_core.runtime import Cancelled, on_compute_thread, submit
from interp_core.training import schedule


@on_compute_thread
def run_toy(name: str, tokens: np.ndarray, **changed: np.ndarray):
    """Return logits and patterns [layer, batch, head, query, key] of an untrained toy."""
    weights = toys.unflatten(name, mx.array(toys.start(name, 3)))
    weights |= {part.replace("_", "."): mx.array(values) for part, values in changed.items()}
    logits, patterns = toy.forward(name, weights, mx.array(tokens))
    return np.array(logits), np.array(mx.stack(patterns))


# The models


@pytest.mark.parametrize("name", TOYS)
def test_patterns_are_causal_and_sum_to_one(name):
    tokens = toy_data.batch(0, 0, 4)
    logits, patterns = run_toy(name, tokens)
    assert logits.shape == (4, 64, 64)
    assert patterns.shape == (toys.depth(name), 4, toys.HEADS, 64, 64)
    np.testing.assert_allclose(patterns.sum(-1), 1, atol=1e-5)
    assert (np.triu(patterns, k=1) == 0).all()
    changed = tokens.copy()
    changed[:, 40:] = (changed[:, 40:] + 1) % 64
    np.testing.assert_allclose(run_toy(name, changed)[0][:, :40], logits[:, :40], atol=1e-5)


def test_a_layer_is_what_its_formula_says():
    """One layer, written out in numpy."""
    tokens = toy_data.batch(1, 0, 2)[:, :9]
    logits, patterns = run_toy("1", tokens)
    w = toys.unflatten("1", toys.start("1", 3).astype(float))

    def norm(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    for row, ids in enumerate(tokens):
        x = w["embed"][ids]
        out = x.copy()
        for head in range(4):
            part = slice(16 * head, 16 * head + 16)
            placed = norm(x) + w["positions"][:9]
            scores = (placed @ w["0.q"][:, part]) @ (placed @ w["0.k"][:, part]).T / 4
            scores[np.triu_indices(9, 1)] = -np.inf
            pattern = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
            np.testing.assert_allclose(patterns[0, row, head], pattern, atol=1e-5)
            out += pattern @ norm(x) @ w["0.v"][:, part] @ w["0.o"][part]
        np.testing.assert_allclose(logits[row], norm(out) @ w["unembed"], atol=1e-4)


def test_smeared_keys_are_the_formula():
    keys = np.random.default_rng(0).normal(size=(2, 4, 6, 16)).astype(np.float32)
    alpha = np.array([-2, 0, 0.5, 3], np.float32)
    found = on_compute_thread(lambda: np.array(toy.smear(mx.array(keys), mx.array(alpha))))()
    for head, own in enumerate(1 / (1 + np.exp(-alpha))):
        for j in range(6):
            before = keys[:, head, max(j - 1, 0)]
            expected = own * keys[:, head, j] + (1 - own) * before
            np.testing.assert_allclose(found[:, head, j], expected, atol=1e-6)
    np.testing.assert_array_equal(found[:, 1, 0], keys[:, 1, 0])


def test_without_smearing_keys_are_plain():
    tokens, plain = toy_data.batch(0, 0, 2), toys.unflatten("1", toys.start("1", 9))
    shared = {part.replace(".", "_"): values for part, values in plain.items()}
    smeared, _ = run_toy("1-smeared", tokens, **shared, **{"0_alpha": np.full(4, np.inf, "f")})
    half, _ = run_toy("1-smeared", tokens, **shared)
    np.testing.assert_allclose(smeared, run_toy("1", tokens, **shared)[0], atol=1e-6)
    assert np.abs(smeared - half).max() > 0.01


def test_positions_never_enter_the_stream():
    tokens, other = toy_data.batch(0, 0, 3), np.random.default_rng(1).normal(size=(64, 64))
    moved = {"positions": other.astype(np.float32)}
    even = {f"{layer}_q": np.zeros((64, 64), np.float32) for layer in range(3)}
    same = run_toy("3", tokens, **even)[0], run_toy("3", tokens, **even, **moved)[0]
    np.testing.assert_array_equal(*same)  # where attention does not read them, nothing does
    assert np.abs(run_toy("3", tokens)[1] - run_toy("3", tokens, **moved)[1]).max() > 0.01


def test_weights_flatten_and_come_back():
    for name in TOYS:
        flat = toys.start(name, 5)
        assert flat.shape == (toys.size(name),) and flat.dtype == np.float32
        back = on_compute_thread(
            lambda name=name, flat=flat: np.array(
                toy.flatten(name, toys.unflatten(name, mx.array(flat)))
            )
        )()
        np.testing.assert_array_equal(back, flat)
        assert (toys.start(name, 6) != flat).any()


def test_k_composition_finds_the_pair_that_composes():
    weights = toys.unflatten("3", toys.start("3", 0).copy())
    chance = toy.k_composition("3", weights)
    there = np.isfinite(chance).all((1, 3))
    np.testing.assert_array_equal(there, np.triu(np.ones((3, 3)), 1))
    assert np.nanmax(np.abs(chance)) < 0.02
    weights["2.k"][:, 48:64] = weights["0.o"][16:32].T
    found = toy.k_composition("3", weights)
    assert np.unravel_index(np.nanargmax(found), found.shape) == (0, 1, 2, 3)
    assert found[0, 1, 2, 3] > 0.08
    found[0, 1, 2, 3] = 0
    assert np.nanmax(found) < 0.03
    assert np.isnan(toy.k_composition("1", toys.unflatten("1", toys.start("1", 0)))).all()


# The corpus


def test_half_is_tiled_and_half_a_chain():
    tokens, table = toy_data.batch(7, 3, 64), toy_data.successors(7)
    assert tokens.shape == (64, 64) and tokens.min() >= 0 and tokens.max() < 64
    periods = set()
    for row in tokens[:32]:
        period = next(p for p in range(10, 32) if (row[p:] == row[:-p]).all())
        periods.add(period)
    assert min(periods) >= 10 and max(periods) <= 31 and len(periods) > 8
    for row in tokens[32:]:
        assert all(after in table[token] for token, after in itertools.pairwise(row))
    assert all(len(set(row)) == toy_data.SUCCESSORS for row in table.tolist())


def test_the_same_seed_and_step_give_the_same_text():
    first = toy_data.batch(1, 2, 8)
    np.testing.assert_array_equal(toy_data.batch(1, 2, 8), first)
    for other in (toy_data.batch(1, 3, 8), toy_data.batch(2, 2, 8), toy_data.held_out(1, 8)):
        assert (other != first).any()


def test_tests_are_repeated():
    for tokens, half in ((toy_data.repeated(0, 5), 32), (toy_data.clip(0), 12)):
        np.testing.assert_array_equal(tokens[:, :half], tokens[:, half:])
    assert len(set(toy_data.clip(0)[0].tolist())) == 12


# Training


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Batches and tests of a few sequences, six checkpoints in 50 steps, and a cache of its own."""
    for name, value in {"ROWS": 4, "HELD_OUT": 16, "TESTS": 4, "CHECKPOINTS": 5}.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path))
    train._digest.cache_clear()
    yield tmp_path / "training"
    train._digest.cache_clear()


def params(*names: str, steps: int = 50, resume: bool = True) -> TrainingParams:
    return TrainingParams(toys=names, steps=steps, resume=resume)


def train_(*names: str, **given) -> Training:
    return run(None, params(*names, **given))


def assert_same(one: Training, other: Training) -> None:
    for name in ("steps", "weights", *LOGGED):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_checkpoints_are_even_and_about_sixty():
    assert schedule(1500, train.CHECKPOINTS) == list(range(0, 1501, 25))
    for steps in (50, 99, 1000, 1234, 20_000):
        found = schedule(steps, train.CHECKPOINTS)
        assert found[0] == 0 and found[-1] == steps and 40 <= len(found) <= 101
        assert len(set(np.diff(found[:-1]))) == 1


def test_cancelled_and_resumed_is_as_if_uninterrupted(small, monkeypatch):
    shown, begun = [], threading.Event()

    def show(partial: Training) -> None:
        assert begun.wait(10)
        shown.append(partial)
        if len(shown) == 3:
            job.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(train, "show", show)
        job = submit(train.compute, params("2"))
        begun.set()
        with pytest.raises(Cancelled):
            job.result(60)
    assert np.isfinite(shown[-1].loss).sum() == 3 and np.isnan(shown[-1].weights).all()
    assert np.isfinite(shown[0].loss).sum() == 1  # what was shown stays as it was
    (file,) = small.iterdir()
    with np.load(file) as kept:
        assert kept["steps"].tolist() == [0, 10, 20]
    learned: list[int] = []
    learn = train._Learner.learn
    with monkeypatch.context() as patch:
        patch.setattr(
            train._Learner, "learn", lambda self, step: (learned.append(step), learn(self, step))
        )
        resumed = train_("2")
    assert learned == list(range(20, 50))
    assert_same(resumed, train_("2", resume=False))
    assert np.isfinite(resumed.weights).all() and resumed.loss[0, -1] < resumed.loss[0, 0]


def test_a_model_does_not_depend_on_the_others_nor_on_shorter_runs(small):
    alone = train_("1-smeared")
    both = train_("1", "1-smeared", resume=False)
    np.testing.assert_array_equal(both.position_loss[1], alone.position_loss[0])
    longer = train_("1", "1-smeared", steps=52)
    assert longer.steps.tolist() == [0, 10, 20, 30, 40, 50, 52]
    np.testing.assert_array_equal(longer.loss[:, :6], both.loss)
    assert_same(longer, train_("1", "1-smeared", steps=52, resume=False))
    assert_same(train_("1", steps=50), train_("1", resume=False))


def test_a_damaged_checkpoint_is_trained_anew(small, caplog):
    first = train_("1")
    (file,) = small.iterdir()
    file.write_bytes(file.read_bytes()[:5000])
    assert_same(train_("1"), first)
    assert "damaged" in caplog.text and {f.suffix for f in small.iterdir()} == {".npz", ".damaged"}


def test_another_seeds_checkpoint_under_its_name_is_not_gone_on_from(small, caplog):
    first = train_("1")
    (file,) = small.iterdir()
    run(None, TrainingParams(toys=("1",), steps=50, seed=7))
    other = next(f for f in small.iterdir() if f != file)
    file.write_bytes(other.read_bytes())
    assert_same(train_("1"), first)
    assert "another training" in caplog.text


def test_a_result_comes_back_and_rebuilds_its_models(small):
    result = train_("1", "3")
    back = Training.from_bytes(result.to_bytes())
    assert_same(back, result)
    assert back.params == result.params and back.provenance == result.provenance
    tokens = toy_data.repeated(1, train.TESTS)
    for row, name in enumerate(result.models):
        losses = on_compute_thread(
            lambda name=name: np.array(
                toy.losses(toy.trained(back, name)(mx.array(tokens))[0], mx.array(tokens))
            )
        )()
        np.testing.assert_allclose(losses.mean(0), result.position_loss[row, -1], atol=1e-5)


def test_scores_are_of_the_attention_they_name(small, monkeypatch):
    """Of a head that is all induction, one that looks at the token before, and two at the first."""

    def forward(name, weights, tokens):
        rows, n = tokens.shape
        pattern = np.zeros((rows, 4, n, n), np.float32)
        query = np.arange(n)
        pattern[:, 0, query, np.maximum(query - n // 2 + 1, 0)] = 1
        pattern[:, 1, query, np.maximum(query - 1, 0)] = 1
        pattern[:, 2:, :, 0] = 1
        return mx.zeros((rows, n, 64)), [mx.array(pattern)]

    monkeypatch.setattr(train.toy, "forward", forward)
    found = on_compute_thread(lambda: train.measure("1", {}, train._Data.of(0)))()
    np.testing.assert_allclose(found["prefix_matching"][0], [1, 0, 0, 0])
    np.testing.assert_allclose(found["previous_token"][0], [1 / 63, 1, 1 / 63, 1 / 63], atol=1e-6)
    assert np.isnan(found["prefix_matching"][1:]).all() and np.isnan(found["k_composition"]).all()
    np.testing.assert_allclose(found["position_loss"], math.log(64), atol=1e-5)
    assert found["loss"] == pytest.approx(math.log(64)) and found["in_context"] == 0
    assert found["patterns"][0, 0, 23, 12] == 255


# What is said and drawn


def synthetic(mid: dict[str, float], width: float = 40, top: float = 0.5) -> Training:
    """Return curves that change at a step of each model, if ever (infinity)."""
    steps = np.arange(0, 1501, 25)
    logs, rng = blank(len(mid), len(steps)), np.random.default_rng(0)
    for row, (name, middle) in enumerate(mid.items()):
        done = 0.5 + 0.5 * np.tanh((steps - middle) / (2 * width))
        depth = toys.depth(name)
        logs["loss"][row] = 3 - done - steps / 1500
        logs["in_context"][row] = -2 * done
        logs["position_loss"][row] = math.log(64)
        logs["position_loss"][row, :, 32:] -= 2.8 * done[:, None]
        logs["prefix_matching"][row, :, :depth] = 0.02
        logs["prefix_matching"][row, :, depth - 1, 1] = 0.02 + top * done
        logs["previous_token"][row, :, :depth] = 0.1
        logs["previous_token"][row, :, 0, 2] = 0.5
        if depth > 1:
            logs["k_composition"][row] = 0.3
            logs["k_composition"][row, :, 0, 2, depth - 1, 1] = 0.01 + 0.2 * done
        logs["token_loss"][row] = rng.normal(size=512) * done[:, None] + 3
    info = train._info()
    provenance = Provenance(info, (), {}, "cpu", "", 1, 1.0, 1, "2026-01-01")
    weights = np.concatenate([toys.start(name, 0) for name in mid])
    return Training(
        TrainingParams(toys=tuple(mid)),
        provenance,
        tuple(mid),
        steps,
        weights=weights,
        **logs,
    )


PAPER = {"1": math.inf, "2": 800, "3": 700, "1-smeared": 200}


def test_a_circuit_is_the_best_matching_head_and_the_one_before_that_looks_back():
    assert synthetic(PAPER).circuit("3") == (0, 2, 2, 1)
    assert synthetic(PAPER).circuit("1") is None


def test_one_training_makes_no_claims():
    assert synthetic(PAPER).findings == []  # those count runs


def test_frames_and_summary_tell_what_was_measured():
    training = synthetic(PAPER)
    frames = training.frames
    assert len(frames["training"]) == 4 * 61 and len(frames["training_heads"]) == 7 * 4 * 61
    two = frames["training"].query("model == '2'").set_index("step")
    assert two.loc[800, "second_copy_loss"] == pytest.approx(math.log(64) - 1.4, abs=1e-5)
    assert two.loc[800, "best_prefix_matching"] == pytest.approx(0.27)
    slope = -1 / 1500 - 1 / 160
    assert two.loc[800, "derivative"] == pytest.approx(800 * slope, rel=0.05)
    assert math.isnan(two.loc[0, "derivative"])
    assert training.summary["models"]["2"]["second_copy_loss"] == pytest.approx(1.36, abs=0.01)
    assert '"paper": "induction-heads"' in training.to_json()


def test_components_are_those_of_the_losses():
    training = synthetic(PAPER)
    scores, share = training.components
    assert scores.shape == (4, 61, 2) and 1 >= share[0] >= share[1] > 0
    # A change along one direction is as long in the plane as in the losses.
    vectors = training.token_loss.astype(float)
    length = np.linalg.norm(vectors[3, -1] - vectors[3, 0])
    assert np.linalg.norm(scores[3, -1] - scores[3, 0]) <= length * 1.001
    assert (np.nansum(scores[:, -1] - scores[:, 0], 0) >= 0).all()


def test_charts_are_valid_and_described():
    training = synthetic(PAPER)
    loss = training.loss.copy()
    loss[2:] = np.nan
    started = synthetic({"1": math.inf})
    nothing = dataclasses.replace(started, **blank(1, 61))
    for each in (training, dataclasses.replace(training, loss=loss), started, nothing):
        figures = each.charts()
        assert {"phase", "training_heads", "components"} < set(figures)
        for chart in figures.values():
            spec = chart.to_dict()  # validates
            assert spec["title"]["text"] and spec["description"]


def test_a_rule_stands_at_the_step_and_patterns_are_of_it():
    training = synthetic(PAPER)
    assert "700" in charts.phase(training, 712).to_json()
    assert "after 700 steps" in charts.patterns_at(training, "3", 705).to_dict()["title"]["text"]
    assert len(charts.patterns_at(training, "3", 700).to_dict()["concat"]) == 12
    assert len(charts.patterns_at(training, "1").to_dict()["concat"]) == 4
    for chart in (charts.phase(training, 700), charts.heads_at(training, 700)):
        assert b"3 layers" in exports.svg(chart, "dark")
