"""The figures of induction heads: what they draw is what was measured, whatever its shape."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from interp_core import exports
from interp_core.models.language_model import ModelInfo
from interp_core.papers.induction_heads import (
    Ablated,
    AblationParams,
    AttentionParams,
    Circuits,
    CircuitsParams,
    ContextParams,
    Heads,
    InContext,
    Params,
    Pattern,
    figures,
    figures_ablation,
    figures_arcs,
    figures_attention,
    figures_circuits,
)
from interp_core.papers.induction_heads.heads import NAMES
from interp_core.papers.induction_heads.params import SCORES
from interp_core.plot import scatters, theme
from interp_core.results import Provenance

LAYERS, HEADS, SEQUENCES = 4, 3, 3
GIVEN = {"tokens": 5, "repeats": 3, "seeds": SEQUENCES}
LENGTH = 1 + GIVEN["tokens"] * GIVEN["repeats"]
WORDS = ("<s>", "The", " cat", "\n", " the", " cat", "<script>", " cat", "<script>")


def provenance(ids=(0, 1, 2)) -> Provenance:
    info = ModelInfo(
        "m", "m", "llama", LAYERS, 8, HEADS, 64, 128, "float32", "float32", "0" * 8, "0" * 8
    )
    return Provenance(info, tuple(ids), {}, "cpu", "none", 1, 0.1, 0, "2025-01-01")


def make_heads(layers=LAYERS, heads=HEADS, **changes) -> Heads:
    random = np.random.default_rng(0)
    scores = random.uniform(0, 0.4, (len(SCORES), SEQUENCES, layers, heads))
    scores[0, :, layers // 2, 1] = 0.9
    given: dict[str, Any] = {
        "params": Params(**GIVEN),
        "provenance": provenance(),
        "tokens": random.integers(0, 64, (SEQUENCES, LENGTH)),
        "first": 1,
        "windows": (None,) * layers,
        "scores": scores,
        "copying": random.uniform(-1, 1, (layers, heads)),
        "raised": random.uniform(-1, 1, (SEQUENCES, layers, heads)),
        "losses": random.uniform(0, 9, (SEQUENCES, LENGTH - 1)),
    }
    return Heads(**given | changes)


def make_ablated(ablate=("top-2",)) -> Ablated:
    random = np.random.default_rng(1)
    base = random.uniform(0, 2, (SEQUENCES, LENGTH - 1))
    rises = np.array([5, 0.1, 0.4, 0.2])[:, None, None]
    repeated = np.arange(LENGTH - 1) >= LENGTH - 1 - GIVEN["tokens"] * (GIVEN["repeats"] - 1)
    return Ablated(
        params=AblationParams(**GIVEN, ablate=ablate, controls=3),
        provenance=provenance(),
        heads=((2, 1), (1, 0)),
        controls=(((2, 0), (1, 1)), ((2, 2), (1, 2)), ((2, 0), (1, 2))),
        base=base,
        losses=base + rises * repeated + random.uniform(0, 0.1, (4, *base.shape)),
    )


def make_context(conditions=3, length=64) -> InContext:
    random = np.random.default_rng(2)
    losses = random.uniform(2, 4, (conditions, 5, length - 1)).astype(np.float16)
    params = ContextParams(context=length, texts=5)
    heads, controls = ((), ()) if conditions == 1 else (((2, 1),), (((2, 0),), ((2, 2),)))
    return InContext(params, provenance(), heads, controls, losses)


def make_circuits() -> Circuits:
    random = np.random.default_rng(3)
    earlier = np.arange(LAYERS)[:, None] < np.arange(LAYERS)
    shape = (3, LAYERS, HEADS, LAYERS, HEADS)
    composed = np.where(
        earlier[None, :, None, :, None], random.normal(0, 0.1, shape), np.nan
    ).astype(np.float16)
    clean = random.uniform(0.7, 0.9, SEQUENCES)
    patched = clean[:, None, None] - random.uniform(-0.01, 0.05, (SEQUENCES, LAYERS, HEADS))
    patched[:, 0, 2] = 0.1
    patched[:, 2:] = np.nan
    return Circuits(
        params=CircuitsParams(**GIVEN),
        provenance=provenance(),
        composition=composed,
        receiver=(2, 1),
        clean=clean,
        patched=patched,
        looks=random.uniform(0, 1, (SEQUENCES, LAYERS, HEADS)),
        sender=(0, 2),
        control=(0, 1),
        receivers=((2, 1), (3, 0)),
        losses=random.uniform(0, 4, (3, SEQUENCES, LENGTH - 1)),
    )


def make_pattern(words=WORDS, heads=HEADS, positions=None, scores=None) -> Pattern:
    random, n = np.random.default_rng(4), len(words)
    positions = tuple(range(n)) if positions is None else positions
    pattern = np.tril(random.uniform(0, 1, (heads, len(positions), len(positions))))
    pattern /= pattern.sum(-1, keepdims=True)
    ids = [list(words).index(word) for word in words]
    scores = random.uniform(0, 1, (len(SCORES), LAYERS, heads)) if scores is None else scores
    params = AttentionParams(text="".join(words))
    given = (params, provenance(ids), tuple(words), positions, 2, scores)
    return Pattern(*given, pattern.astype(np.float16))


EVIDENCE = {
    "ablation": make_ablated(),
    "previous_token": make_ablated(("previous-token",)),
    "context": make_context(),
    "circuits": make_circuits(),
}
FIGURES = {
    **make_heads(evidence=EVIDENCE).charts(),
    **{f"grid_{score}": figures.head_grid(make_heads(), score) for score in NAMES},
    **make_pattern().charts(),
    "context_whole": figures_ablation.context_losses(make_context(conditions=1)),
}


def rows(chart) -> list[list[dict]]:
    return list(chart.to_dict()["datasets"].values())


def tooltips(spec: Any) -> bool:
    if isinstance(spec, dict):
        return "tooltip" in spec or any(map(tooltips, spec.values()))
    return isinstance(spec, list) and any(map(tooltips, spec))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_valid_and_is_described(name):
    spec = FIGURES[name].to_dict()  # validates
    assert spec["title"]["text"] and spec["title"]["subtitle"] and spec["description"]
    assert tooltips(spec)
    json.dumps(spec, allow_nan=False)
    assert sum(len(data) for data in spec.get("datasets", {}).values()) <= theme.MAX_MARKS


@pytest.mark.parametrize("name", ["head_grid", "score_scatter", "paths", "arcs", "layer_patterns"])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_figures_render(name, mode):
    assert b"<svg" in exports.svg(FIGURES[name], mode)


def test_figures_of_other_analyses_keep_names_of_their_own():
    ours = {"head_grid", "copy_losses", "score_scatter", "context_losses", "composition"}
    paths = {"paths", "path_scatter"}
    twice = {"ablation_losses", "ablation_rises"}
    twice |= {f"{name}_previous_token" for name in twice}
    assert ours | paths | twice <= set(FIGURES)


def test_the_grid_has_layer_0_at_the_bottom_and_a_selection():
    heads = make_heads()
    spec = figures.head_grid(heads).to_dict()
    tiles = spec["layer"][0]
    assert tiles["encoding"]["y"]["scale"]["domain"] == [3, 2, 1, 0]
    (pick,) = spec["params"]
    assert pick["name"] == "head" and pick["select"]["fields"] == ["layer", "head"]
    assert "params" not in figures.head_grid(heads, select=False).to_dict()
    (drawn,) = rows(figures.head_grid(heads))
    best = next(row for row in drawn if row["name"] == "L2H1")
    assert best["place"] == f"1 of {LAYERS * HEADS}" and best["outlined"]
    assert sum(row["outlined"] for row in drawn) == len(heads.induction_heads) == 1


def test_heads_without_a_score_are_grey_and_counted():
    heads = make_heads()
    scores = heads.scores.copy()
    scores[[0, 2], :, 1] = np.nan
    some = dataclasses.replace(heads, scores=scores, windows=(None, 3, None, None))
    chart = figures.head_grid(some)
    assert "Grey: 3 heads" in chart.to_dict()["description"]
    (drawn,) = rows(chart)
    missing = [row for row in drawn if row["prefix_matching"] is None]
    assert len(missing) == HEADS and {row["place"] for row in missing} == {"-"}
    assert "Left out: 3 heads" in figures.score_scatter(some).to_dict()["description"]
    exports.svg(chart)
    nothing = dataclasses.replace(heads, scores=np.full_like(scores, np.nan))
    for chart in (figures.head_grid(nothing), figures.score_scatter(nothing)):
        json.dumps(chart.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("layers", "count"), [(30, 9), (12, 12), (48, 25), (2, 4), (80, 64)])
def test_grids_of_any_size_stay_within_the_marks(layers, count):
    chart = figures.head_grid(make_heads(layers, count))
    (drawn,) = rows(chart)
    marks = len(drawn) + sum(row["outlined"] for row in drawn)
    marks += sum(row["number"] != "" for row in drawn)
    assert marks <= theme.MAX_MARKS
    assert ("Showing the last" in chart.to_dict()["description"]) == (layers == 80)
    spec = chart.to_dict()
    assert spec["width"]["step"] * count <= 1280 and 11 <= spec["height"]["step"] <= 26


def test_losses_are_those_measured():
    heads = make_heads()
    drawn = max(rows(figures.copy_losses(heads)), key=len)
    assert [row["loss"] for row in drawn] == pytest.approx(heads.losses.mean(0).tolist())
    assert {row["name"] for row in drawn} == {"repetition 1", "repetition 2", "repetition 3"}
    ends = min(rows(figures.copy_losses(heads)), key=len)
    assert [row["name"] for row in ends] in (
        ["repetition 1", "repetition 3"],
        ["repetition 3", "repetition 1"],
    )


def test_rises_are_sorted_and_rules_stand_where_copies_begin():
    ablated = make_ablated()
    drawn = max(rows(figures_ablation.ablation_rises(ablated)), key=len)
    rises = [row["rise"] for row in drawn]
    assert rises == sorted(rises, reverse=True) and len(rises) == 4
    assert drawn[0]["row"] == "these heads" and drawn[0]["heads"] == "L2H1, L1H0"
    rules = min(rows(figures_ablation.ablation_losses(ablated)), key=len)
    assert [row["position"] for row in rules] == [6, 11]


def test_context_is_averaged_over_neighbours():
    result = make_context()
    drawn = max(rows(figures_ablation.context_losses(result)), key=len)
    losses = result.losses[0].astype(float)
    at = next(row for row in drawn if row["position"] == 20 and row["condition"] == "none")
    assert at["loss"] == pytest.approx(losses[:, 14:25].mean())  # tokens 15 to 25
    assert at["low"] <= at["loss"] <= at["high"]
    long = max(rows(figures_ablation.context_losses(make_context(length=4096))), key=len)
    assert len(long) <= 1000


def test_paths_mark_sender_and_receiver_and_leave_out_later_heads():
    result = make_circuits()
    drawn = max(rows(figures_circuits.paths(result)), key=len)
    assert {row["layer"] for row in drawn} == {0, 1}
    assert [row["name"] for row in drawn if row["outlined"]] == ["L0H2"]
    own = min(rows(figures_circuits.paths(result)), key=len)
    assert [(row["layer"], row["head"]) for row in own] == [(2, 1)]


def test_composition_without_queries_and_keys_shows_values():
    result = make_circuits()
    composed = result.composition.copy()
    composed[:2] = np.nan
    some = dataclasses.replace(result, composition=composed)
    spec = figures_circuits.composition(some).to_dict()
    assert len(spec["hconcat"]) == 1 and "only values" in spec["description"]
    assert len(figures_circuits.composition(result).to_dict()["hconcat"]) == 3
    json.dumps(figures_circuits.paths(some).to_dict(), allow_nan=False)


def test_outlined_entries_are_those_that_prefix_matching_counts():
    result = make_pattern()
    (drawn,) = rows(figures_attention.pattern(result, 1))
    counted = {(row["query"], row["key"]) for row in drawn if row["counted"]}
    # " cat" stands at 2, 5 and 7, "<script>" at 6 and 8.
    assert counted == {(5, 3), (7, 3), (7, 6), (8, 7)}
    assert all(row["key"] <= row["query"] for row in drawn)
    at = next(row for row in drawn if (row["query"], row["key"]) == (5, 3))
    assert at["attention"] == pytest.approx(float(result.pattern[1, 5, 3]), abs=1e-4)
    domain = figures_attention.pattern(result).to_dict()["layer"][0]["encoding"]["x"]["scale"][
        "domain"
    ]
    assert len(set(domain)) == len(WORDS)


def test_markup_in_a_text_is_drawn_as_text():
    for chart in make_pattern().charts().values():
        assert b"<script>" not in exports.svg(chart)


def test_arcs_are_the_strongest_and_few():
    random = np.random.default_rng(5)
    words = tuple(f"w{i}" for i in random.integers(0, 20, 64))
    result = make_pattern(words)
    chart = figures_arcs.arcs(result)
    drawn = max(rows(chart), key=len)
    arcs = {row["arc"] for row in drawn}
    assert 0 < len(arcs) <= 300 and len(drawn) == 3 * len(arcs)
    assert all(0 < row["key"] < row["query"] for row in drawn)
    assert "token" in {param["name"] for param in chart.to_dict()["params"]}


def test_a_layers_patterns_are_cut_to_the_strongest():
    words = tuple(f"w{i}" for i in range(64))
    result = make_pattern(words, heads=25)
    chart = figures_attention.layer_patterns(result)
    spec = chart.to_dict()
    drawn = sum(len(data) for data in spec["datasets"].values())
    assert drawn <= theme.MAX_MARKS and "Showing the strongest" in spec["description"]
    assert len(spec["concat"]) == 25


def test_a_text_without_repeats_has_no_scores_to_show():
    scores = np.full((len(SCORES), LAYERS, HEADS), np.nan)
    scores[1] = 0.5
    result = make_pattern(("a", "b", "c", "d"), positions=(1, 2, 3), scores=scores)
    for chart in result.charts().values():
        spec = chart.to_dict()
        assert "Showing 3 of 4 positions" in spec["description"]
        assert "nan" not in spec["description"]
        json.dumps(spec, allow_nan=False)


def test_names_at_the_side_do_not_overlap():
    places = np.array([1.0, 2, 3, 50, 199, 200])
    moved = scatters.apart(places, 16, 200)
    assert np.diff(moved).min() >= 16 - 1e-9
    assert moved.min() >= 0 and moved.max() <= 200 + 1e-9
    assert scatters.apart(np.array([10.0, 60]), 16, 200).tolist() == [10, 60]
    assert len(scatters.apart(np.array([]), 16, 200)) == 0
