"""The figures of causal tracing and of edits: what they draw is what was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from interp_core import exports
from interp_core.papers.causal_tracing import (
    PAPER,
    PRESETS,
    SWEEP,
    AverageParams,
    EditParams,
    Params,
    ScoresParams,
    figures,
    figures_average,
    figures_edit,
    figures_scores,
)
from interp_core.question import stored


@pytest.fixture(scope="module")
def trace():
    return stored(PRESETS["A continent"])


def panels(chart) -> list[dict]:
    return chart.to_dict()["hconcat"]


def rows(panel: dict) -> list[str]:
    return panel["encoding"]["y"]["scale"]["domain"]


def data(chart, panel: dict) -> list[dict]:
    return chart.to_dict()["datasets"][panel["data"]["name"]]


@pytest.mark.parametrize(
    "params", [*PRESETS.values(), AverageParams(), EditParams(), ScoresParams()], ids=str
)
def test_every_figure_is_valid_and_is_described(params):
    charts = stored(params).charts()
    assert charts
    for chart in charts.values():
        spec = chart.to_dict()  # validates
        assert spec["title"]["text"] and spec["description"]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_figures_render(trace, mode):
    svg = exports.svg(figures.trace_maps(trace), mode).decode()
    assert "Residual stream" in svg and "South*" in svg


def test_the_three_maps_share_their_rows_layers_and_range(trace):
    found = panels(figures.trace_maps(trace))
    assert len(found) == 3
    assert all(rows(panel) == rows(found[0]) for panel in found)
    tops = {panel["encoding"]["color"]["scale"]["domain"][-1] for panel in found}
    kinds = [trace.params.kinds.index(k) for k in ("resid_post", "mlp_out", "attn_out")]
    assert len(tops) == 1
    assert tops.pop() == pytest.approx(np.nanmax(trace.effect[kinds]))
    domain = found[0]["encoding"]["x"]["scale"]["domain"]
    assert domain == trace.layers.tolist()


def test_equal_tokens_keep_rows_of_their_own(trace):
    twice = dataclasses.replace(trace, tokens=(" the",) * len(trace.tokens))
    domain = rows(panels(figures.trace_maps(twice))[0])
    assert len(set(domain)) == len(domain) == len(trace.positions)


def test_a_partial_result_keeps_the_axes(trace):
    score = trace.score.copy()
    score[:, :, 4:] = np.nan
    partial = dataclasses.replace(trace, score=score, evidence={})
    chart, whole = figures.trace_maps(partial), figures.trace_maps(trace)
    for some, every in zip(panels(chart), panels(whole), strict=True):
        assert rows(some) == rows(every)
        assert len(data(chart, some)) < len(data(whole, every))


def test_bands_are_the_intervals(trace):
    chart = figures_average.average_severed(trace.evidence["average"])
    frame = trace.evidence["average"].frames["average"].query("token_class == 'last_subject'")
    frame = frame[frame["kind"].isin(["resid_post", "sever_mlp", "sever_attn"])]
    drawn = next(iter(chart.to_dict()["datasets"].values()))
    assert sorted(row["low"] for row in drawn) == pytest.approx(sorted(frame["low"]))
    assert sorted(row["high"] for row in drawn) == pytest.approx(sorted(frame["high"]))
    assert all(row["low"] <= row["value"] <= row["high"] for row in drawn)


def test_markup_in_a_prompt_is_drawn_as_text(trace):
    odd = dataclasses.replace(trace, tokens=("<script>", *trace.tokens[1:]))
    assert b"<script>" not in exports.svg(figures.trace_maps(odd))


def test_an_edit_is_drawn_before_and_after():
    edit = stored(EditParams())
    svg = exports.svg(figures_edit.before_after(edit)).decode()
    assert "before" in svg and "after" in svg
    assert set(edit.charts()) == {"before_after", "search", "scores"}


def test_shipped_scores_are_of_one_block():
    scores = stored(ScoresParams())
    assert set(scores.charts()) == {"scores"}
    assert len(scores.prompts) >= 20


def test_default_view_ships():
    assert stored(Params()).findings


def test_every_shipped_kind_of_result_draws_its_charts(trace):
    kinds = {question.result for question in PAPER.questions}
    results = [trace, trace.evidence["average"], *map(stored, (EditParams(), ScoresParams()))]
    assert {type(result) for result in results} == kinds
    for result in results:
        charts = result.charts()
        assert charts and all(chart.to_dict() for chart in charts.values())


def test_scores_by_block_are_of_every_edited_block():
    sweep = [stored(params) for params in SWEEP]
    spec = figures_scores.by_layer(sweep).to_dict()
    assert len(spec["concat"]) == 4 and spec["title"]["text"] and spec["description"]
    drawn = {row["layer"] for rows in spec["datasets"].values() for row in rows}
    assert drawn == {params.layer for params in SWEEP}
