"""Figures: valid, complete, bounded in size, and safe with any token."""

from __future__ import annotations

import dataclasses
import json
import re

import altair as alt
import numpy as np
import pytest
import vl_convert

from interp_core import exports
from interp_core.fields import fields_of
from interp_core.papers import logit_lens
from interp_core.papers.logit_lens import figures, figures_grid, figures_layers
from interp_core.papers.logit_lens.params import LensView
from interp_core.plot import shown, theme

COLOURS = fields_of(LensView)["colour"].choices
MADE_VISIBLE = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "שלום": "שלום",
    "👩‍👩‍👧": "👩‍👩‍👧",
    '"\\': '"\\',
    " the": "·the",
    "\n": "↵",
    "\t": "⇥",
    "\x00": "␀",
    "\u202e": "⟨U+202E⟩",
    "": "∅",
}
ODD = list(MADE_VISIBLE)
PAGES = {"light": "#FFFFFF", "dark": "#0E1117"}


@pytest.fixture(scope="module")
def small(tiny):
    """A real result, of a model whose final norm has a bias."""
    params = logit_lens.Params(prompt="the cat", watch=("o", "e"))
    return logit_lens.run(tiny("gpt2"), params, findings=False)


@pytest.fixture(scope="module")
def largest(small):
    """The longest prompt of a model of 30 blocks, every cell agreeing with the output."""
    return made_up(small.provenance, 1024, 30)


def made_up(provenance, n: int, blocks: int) -> logit_lens.LogitLens:
    rng = np.random.default_rng(0)
    shape, k, ids = (blocks + 1, n), 10, np.arange(n) % len(ODD)
    model = dataclasses.replace(provenance.model, n_layers=blocks)
    return logit_lens.LogitLens(
        params=logit_lens.Params(skip_first=0),
        provenance=dataclasses.replace(provenance, token_ids=tuple(map(int, ids)), model=model),
        tokens=tuple(ODD[i] for i in ids),
        vocabulary=dict(enumerate(ODD)),
        layers=np.arange(-1, blocks),
        positions=np.arange(n),
        watched=np.array([3, 4]),
        final_top=ids,
        final_probs=rng.random(n),
        next_ids=np.append(ids[1:], -1),
        top_ids=rng.integers(len(ODD), size=(*shape, k)),
        top_probs=np.sort(rng.dirichlet(np.ones(k), shape))[..., ::-1],
        entropy=rng.random(shape) * 8,
        kl=rng.random(shape) * 20,
        rank=np.zeros((*shape, 4), int),
        log_prob=-rng.random((*shape, 4)) * 200,
        attribution=rng.normal(size=(3, 2 * blocks + 2, n)),
        attribution_logit=rng.normal(size=(3, n)),
    )


def made_up_averages(provenance, blocks: int) -> logit_lens.Averages:
    rng = np.random.default_rng(0)
    names = ("kl", "entropy", "agreement", "input_share")
    sums = {name: 12 * rng.random((48, blocks + 1)) for name in names}
    sums["kl"][:, 0] += 1200
    return logit_lens.Averages(
        logit_lens.PromptsParams(),
        provenance,
        layers=np.arange(-1, blocks),
        positions=np.full(48, 12),
        median_rank=np.sort(rng.random((blocks + 1, 3)), axis=1)[:, [1, 0, 2]],
        rank_rise=np.array([1.0, 0.0, 2.0]),
        crystallisation=np.zeros(48, int),
        output_gap=0.0,
        attribution_gap=0.0,
        **sums,
    )


def every_chart(result) -> dict[str, alt.TopLevelMixin]:
    averages = made_up_averages(result.provenance, 30)
    result = dataclasses.replace(result, evidence={"prompts": averages})
    more = {f"grid {c}": result.own_charts(colour=c)["grid"] for c in COLOURS}
    more["rank"] = result.own_charts(scale="rank")["trajectories"]
    found = result.charts()
    assert set(figures_layers.STATISTICS) < set(found)
    return found | more


def spec_of(chart) -> dict:
    with alt.theme.enable("none"):
        return chart.to_dict()


def views(spec: dict, data: str | None = None):
    """Yield every view that draws marks, with its rows after its own filters."""
    data = spec.get("data", {}).get("name", data)
    parts = spec.get("layer", []) + spec.get("vconcat", [])
    for part in parts:
        yield from views({**part, "datasets": spec["datasets"]}, data)
    if not parts:
        rows = spec["datasets"][data]
        for step in spec.get("transform", []):
            inverse, name = re.fullmatch(r"(!?)datum\.(\w+)", step["filter"]).groups()
            rows = [row for row in rows if row[name] != bool(inverse)]
        yield spec, rows


def fields(node) -> set[str]:
    """Return every column that an encoding, a mark or a condition names."""
    if isinstance(node, list):
        return set().union(*map(fields, node))
    if not isinstance(node, dict):
        return set()
    found = {node["field"]} if "field" in node else set()
    for key, value in node.items():
        if key in ("test", "expr"):
            found |= set(re.findall(r"datum\.(\w+)", value))
        elif key not in ("axis", "legend"):
            found |= fields(value)
    return found


@pytest.mark.parametrize("which", ["small", "largest"])
def test_every_chart_is_valid_and_complete(which, request):
    for name, chart in every_chart(request.getfixturevalue(which)).items():
        spec = spec_of(chart)
        vl_convert.vegalite_to_vega(spec)
        assert spec["title"]["text"] and spec["title"]["subtitle"][0], name
        assert spec["title"]["text"] in spec["description"], name
        assert "config" not in spec, f"{name} would not follow the theme"
        for view, rows in views(spec):
            used = fields({"encoding": view["encoding"], "mark": view["mark"]})
            assert not rows or used <= set(rows[0]), name
        drawn = [view for view, rows in views(spec) if rows]
        assert any("tooltip" in view["encoding"] for view in drawn), name
        for axis in ("x", "y"):
            titles = [view["encoding"].get(axis, {}).get("title") for view in drawn]
            assert any(titles), f"{name} has no title on its {axis} axis"


def test_largest_case_is_bounded_and_says_so(largest):
    for name, chart in every_chart(largest).items():
        marks = sum(len(rows) for _, rows in views(spec_of(chart)))
        assert marks <= theme.MAX_MARKS, f"{name} draws {marks} marks"
    where, text = figures_grid.window(largest)
    assert not text and largest.positions[where][-1] == 1023
    count = len(largest.positions[where])
    assert (
        f"Showing {count} of 1,024 positions" in figures_grid.grid(largest).to_dict()["description"]
    )


def test_everything_is_shown_where_it_fits(small):
    assert figures_grid.window(small) == (slice(None), True)
    (_, rows), *_ = views(spec_of(figures_grid.grid(small)))
    assert len(rows) == small.kl.size


def test_odd_tokens_survive_and_stay_apart(small):
    result = made_up(small.provenance, 2 * len(ODD), 2)
    spec = spec_of(figures_grid.grid(result))
    (tiles, rows), *_ = views(spec)
    assert len({row["left"] for row in rows}) == len(result.positions)
    assert {row["input"] for row in rows} == set(MADE_VISIBLE.values())
    assert {row["top"] for row in rows} <= set(MADE_VISIBLE.values())
    names, _ = json.JSONDecoder().raw_decode(tiles["encoding"]["x"]["axis"]["labelExpr"])
    first = rows[: len(result.positions)]
    assert names == [[row["name"], str(row["position"])] for row in first]
    assert all(row["input"].startswith(row["name"].removesuffix("…")) for row in rows)
    svg = vl_convert.vegalite_to_svg(spec)
    assert "<script" not in svg and "\x00" not in svg
    json.dumps(spec, allow_nan=False)


def test_shown_leaves_ordinary_text_alone():
    assert shown("naïve_日本語🦊") == "naïve_日本語🦊"


def test_a_click_names_a_cell(small):
    spec = spec_of(figures_grid.grid(small))
    (cell,) = [param for param in spec["params"] if param["name"] == "cell"]
    assert cell["select"] == {"type": "point", "fields": ["layer", "position"]}
    (_, rows), *_ = views(spec)
    cells = {(row["layer"], row["position"]) for row in rows}
    assert cells == {(int(i), int(p)) for i in small.layers for p in small.positions}


def test_layers_run_from_the_embedding_up_to_the_output(small):
    (tiles, _), *_ = views(spec_of(figures_grid.grid(small)))
    assert tiles["encoding"]["y"]["scale"]["domain"] == ["2 (output)", "1", "0", "embed"]
    branch = dataclasses.replace(small.params, stream="mlp_out")
    (tiles, _), *_ = views(spec_of(figures_grid.grid(dataclasses.replace(small, params=branch))))
    assert tiles["encoding"]["y"]["scale"]["domain"][0] == "2"


def test_unknown_next_token_has_no_surprisal(small):
    (_, rows), *_ = views(spec_of(figures_grid.grid(small, "cross_entropy")))
    last = int(small.positions[-1])
    assert all((row["cross_entropy"] is None) == (row["position"] == last) for row in rows)


def test_bars_of_attribution_add_up(small):
    for target in ("final top", "o"):
        spec = spec_of(figures.attribution(small, 2, target))
        bars = [row for _, rows in views(spec) for row in rows]
        logit = small.attribution_logit[0 if target == "final top" else 1, 2]
        assert sum(bar["logit"] for bar in bars) == pytest.approx(logit, abs=1e-3)
        assert {bar["component"] for bar in bars} == set(theme.COMPONENTS)
    still = small.attribution.copy()
    still[:, -1] = 0
    unbiased = figures.attribution(dataclasses.replace(small, attribution=still), 2)
    assert "norm bias" not in json.dumps(spec_of(unbiased))


def test_a_token_followed_twice_is_one_line(small):
    top = small.final_top[2:3]
    (_, rows), *_ = views(spec_of(figures.trajectories(dataclasses.replace(small, watched=top), 2)))
    names = {row["target"] for row in rows}
    assert len(rows) == len(names) * len(small.layers)
    assert sum("output's top" in name and "watched" in name for name in names) == 1


def test_embedding_does_not_flatten_the_curve_and_is_told(small):
    chart = made_up_averages(small.provenance, 30).charts()["kl"]
    assert "off the scale, at 100 nats" in spec_of(chart)["description"]
    assert all(row["layer"] >= 0 for _, rows in views(spec_of(chart)) for row in rows)


def test_one_token_has_every_figure(tiny):
    result = logit_lens.run(tiny("gpt2"), logit_lens.Params(prompt="a"), findings=False)
    assert set(result.charts()) == {"grid", "trajectories", "attribution", "layers"}
    for chart in result.charts().values():
        vl_convert.vegalite_to_vega(spec_of(chart))


def luminance(colour: str) -> float:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", COLOURS)
def test_text_reads_on_every_colour(name):
    quantity = theme.QUANTITIES[name]
    values = np.linspace(*quantity.domain, 30)
    base = alt.Chart(alt.Data(values=[{"v": float(v), "n": i} for i, v in enumerate(values)]))
    colour = alt.Color("v:Q", scale=quantity.scale, legend=None)
    svg = vl_convert.vegalite_to_svg(spec_of(base.mark_rect().encode(x="n:O", color=colour)))
    fills = re.findall(r'"rect mark"[^>]*fill="rgb\((\d+), (\d+), (\d+)\)"', svg)
    assert len(fills) == len(values)
    for fill, ink in zip(fills, quantity.ink(values), strict=True):
        assert contrast("#{:02X}{:02X}{:02X}".format(*map(int, fill)), ink) >= 4


@pytest.mark.parametrize(("mode", "page"), PAGES.items())
def test_theme_reads_on_its_page(mode, page):
    config = theme.config(mode)
    assert config["background"] == "transparent"
    for part, key in (("axis", "labelColor"), ("axis", "titleColor"), ("title", "subtitleColor")):
        assert contrast(config[part][key], page) >= 4.5
    assert all(contrast(colour, page) >= 2 for colour in theme.CATEGORIES)
    assert set(theme.COMPONENTS.values()) <= set(theme.CATEGORIES)


def test_a_page_of_a_figure_runs_no_script_of_a_token():
    token = "</script><img src=x onerror=alert(1)>"
    chart = alt.Chart(alt.Data(values=[{"token": token}])).mark_text().encode(text="token:N")
    page = exports.html(chart).decode()
    assert token not in page and "\\u003c/script>\\u003cimg" in page
    assert page.rstrip().endswith("</html>")
