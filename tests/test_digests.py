"""What ships is what it was: arrays to the last bit; tables, claims and figures but for rounding."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import altair as alt
import pytest

from interp_core.paths import SHIPPED

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("digests", ROOT / "scripts" / "digests.py")
digests = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(digests)
KNOWN = json.loads((ROOT / "tests" / "digests.json").read_text())


@pytest.fixture(scope="module")
def now():
    return digests.shipped()


def test_every_result_ships_and_nothing_else(now):
    assert now.keys() == KNOWN.keys()
    assert len(list(SHIPPED.glob("results/*/*"))) == len(KNOWN)


@pytest.mark.parametrize("link", KNOWN)
def test_what_ships_did_not_change(now, link):
    assert digests.changed(KNOWN[link], now[link]) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([0.1, 0.2], [0.1, 0.2 + 1e-12], True),
        ([0.1, 0.2], [0.1, 0.2 + 1e-5], False),
        ([0.1, 0.2], [0.2, 0.1], False),
        ([0.0, 0.2], [1e-17, 0.2], True),
        ([1, 0.2], [2, 0.2], False),
        ([0.1, None], [0.1, 0.2], False),
        (["a 0.374", 1], ["a 0.375", 1], False),
        ("#4e1234", "#5e1234", False),
        ("#4e1234", "#4e1234", True),
    ],
)
def test_a_change_is_seen_and_rounding_is_not(one, other, same):
    known, now = ({"summary": digests.of_value(each)} for each in (one, other))
    assert digests.changed(known, now) == ([] if same else ["summary"])


def test_what_is_gone_or_new_is_seen():
    one = {"arrays": "a", "table a": digests.of_value(1)}
    assert digests.changed(one, {"arrays": "b", "table b": digests.of_value(1)}) == [
        "arrays",
        "table a",
        "table b",
    ]


def test_names_that_are_made_up_are_no_change():
    def draw(colour):
        chart = alt.Chart(alt.InlineData([{"x": 0.5}])).mark_point(color=colour).encode(x="x:Q")
        return digests.of_chart(chart.add_params(alt.selection_interval(bind="scales")))

    assert draw("red") == draw("red") != draw("blue")
