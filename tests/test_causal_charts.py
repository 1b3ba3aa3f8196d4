"""The figures of causal tracing and of edits: what they draw is what was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from interp_core import exports
from interp_core.charts import causal_tracing as charts
from interp_core.charts import causal_tracing_average as average_charts
from interp_core.charts import causal_tracing_edit as edit_charts
from interp_core.papers import PAPERS, stored
from interp_core.papers.causal_tracing import EDIT, PRESETS, SCORES, Params

PAPER = PAPERS["causal-tracing"]


@pytest.fixture(scope="module")
def trace():
    return stored(PAPER, PRESETS["A continent"])


def panels(chart) -> list[dict]:
    return chart.to_dict()["hconcat"]


def rows(panel: dict) -> list[str]:
    return panel["encoding"]["y"]["scale"]["domain"]


def data(chart, panel: dict) -> list[dict]:
    return chart.to_dict()["datasets"][panel["data"]["name"]]


@pytest.mark.parametrize("params", [*PRESETS.values(), EDIT, SCORES], ids=str)
def test_every_figure_is_valid_and_is_described(params):
    figures = stored(PAPER, params).charts()
    assert figures
    for chart in figures.values():
        spec = chart.to_dict()  # validates
        assert spec["title"]["text"] and spec["description"]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_figures_render(trace, mode):
    svg = exports.svg(charts.trace_maps(trace), mode).decode()
    assert "State after block l" in svg and "South*" in svg


def test_the_three_maps_share_their_rows_layers_and_range(trace):
    found = panels(charts.trace_maps(trace))
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
    domain = rows(panels(charts.trace_maps(twice))[0])
    assert len(set(domain)) == len(domain) == len(trace.positions)


def test_a_partial_result_keeps_the_axes(trace):
    score = trace.score.copy()
    score[:, :, 4:] = np.nan
    partial = dataclasses.replace(trace, score=score, average=None)
    chart, whole = charts.trace_maps(partial), charts.trace_maps(trace)
    for some, every in zip(panels(chart), panels(whole), strict=True):
        assert rows(some) == rows(every)
        assert len(data(chart, some)) < len(data(whole, every))


def test_bands_are_the_intervals(trace):
    chart = average_charts.average_severed(trace.average)
    frame = trace.average.frames["average"].query("token_class == 'last_subject'")
    frame = frame[frame["kind"].isin(["resid_post", "sever_mlp", "sever_attn"])]
    drawn = next(iter(chart.to_dict()["datasets"].values()))
    assert sorted(row["low"] for row in drawn) == pytest.approx(sorted(frame["low"]))
    assert sorted(row["high"] for row in drawn) == pytest.approx(sorted(frame["high"]))
    assert all(row["low"] <= row["value"] <= row["high"] for row in drawn)


def test_markup_in_a_prompt_is_drawn_as_text(trace):
    odd = dataclasses.replace(trace, tokens=("<script>", *trace.tokens[1:]))
    assert b"<script>" not in exports.svg(charts.trace_map(odd, "mlp_out"))


def test_an_edit_is_drawn_before_and_after():
    edit = stored(PAPER, EDIT)
    svg = exports.svg(edit_charts.before_after(edit)).decode()
    assert "before" in svg and "after" in svg
    assert set(edit_charts.charts(edit)) == {"before_after", "search", "scores"}


def test_shipped_scores_are_of_one_block():
    scores = stored(PAPER, SCORES)
    assert set(edit_charts.score_charts([scores])) == {"scores"}
    assert len(scores.prompts) >= 20


def test_default_view_ships():
    assert stored(PAPER, Params()).findings


def test_every_shipped_kind_of_result_draws_its_charts(trace):
    results = [trace, trace.average, *(stored(PAPER, params) for params in (EDIT, SCORES))]
    for result in results:
        figures = result.charts()
        assert figures and all(chart.to_dict() for chart in figures.values())
