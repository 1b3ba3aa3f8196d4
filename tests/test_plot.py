"""The font of figures: measured as it is drawn, here and on a machine without fonts."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from interp_core import exports
from interp_core.papers.logit_lens import PRESETS, figures_grid
from interp_core.plot import columns, font, formed, room, theme
from interp_core.question import stored
from interp_core.registry import PAPERS

PLOT = Path(theme.__file__).parent
FIGURES = [*PLOT.glob("*.py"), *PLOT.parent.glob("papers/*/figures*.py")]
QUESTIONS = [question for paper in PAPERS.values() for question in paper.questions]
TEXTS = ("·Madrid", "iiiiiii", "WWWWWWW", "Жук", "ναός")


def text_chart(text: str, **mark) -> alt.Chart:
    chart = alt.Chart(alt.Data(values=[{"text": text}]), width=10, height=10)
    return chart.mark_text(align="left", **mark).encode(text="text:N", x=alt.value(0))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("weight", [400, 600])
def test_exports_lay_out_by_the_widths_that_figures_measure(text, weight):
    svg = exports.svg(text_chart(text, fontSize=100, fontWeight=weight)).decode()
    laid_out = float(re.search(r'width="(\d+)"', svg).group(1))
    # The padding on both sides, and what Vega leaves at the end of a text.
    assert laid_out == pytest.approx(font.width(text, 100, weight) + 2 * 6, abs=3)


@pytest.mark.parametrize("text", ["WWWWWWW", "iiiiiii"])
def test_a_png_is_drawn_in_the_projects_font(text):
    image = Image.open(io.BytesIO(exports.png(text_chart(text, fontSize=100))))
    dark = np.flatnonzero((np.array(image.convert("L")) < 128).any(axis=0))
    # At twice the screen's resolution; an i keeps a little room on each side of it.
    assert (dark[-1] - dark[0]) / 2 == pytest.approx(font.width(text, 100), abs=16)


def test_an_svg_holds_its_font_and_names_it():
    root = ET.fromstring(exports.svg(text_chart("·Madrid <3")))
    style = root.find("{*}style").text
    assert style.count("@font-face") == 2 and "http" not in style
    (text,) = root.iter("{http://www.w3.org/2000/svg}text")
    assert text.text == "·Madrid <3"
    assert text.get("font-family").split(",")[0].strip("'\"") == font.FAMILY
    assert f'font-family:"{font.FAMILY}"' in style


def test_the_font_comes_with_its_licence():
    assert "SIL OPEN FONT LICENSE" in (font.FOLDER / "LICENSE.md").read_text()
    assert sum(file.stat().st_size for file in font.FOLDER.iterdir()) < 1_000_000


def test_what_the_font_lacks_has_a_likely_width():
    assert font.width("日本", 10) == font.width("🙂🙂", 10) == 20
    assert font.width("e\u0301", 10) == font.width("é", 10)
    assert 3 < font.width("\u0e01", 10) < 10
    assert font.width("", 10) == 0


def test_a_text_is_cut_only_where_there_is_no_room():
    text = "·international"
    room = font.width(text, 13)
    assert font.cut(text, room, 13) == text
    short = font.cut(text, room - 1, 13)
    assert short.endswith("…") and text.startswith(short[:-1])
    assert room / 2 < font.width(short, 13) <= room - 1
    assert font.cut(text, 0, 13) == "…"


def test_lines_are_as_wide_as_they_may_be():
    words = ["several"] * 9
    lines = font.wrapped(" ".join(words), 200, 13)
    assert " ".join(lines).split(" ") == words and len(lines) > 1
    assert all(font.width(line, 13) <= 200 for line in lines)
    assert all(font.width(f"{line} several", 13) > 200 for line in lines[:-1])
    assert font.wrapped("a " + "b" * 99, 50, 13) == ["a", "b" * 99]


@pytest.mark.parametrize(
    ("needs", "room", "least", "widths"),
    [
        ([10, 20.2, 30], 100, 5, [10, 21, 30]),
        ([10, 20, 100, 200], 200, 10, [10, 20, 85, 85]),
        ([10, 20, 100, 200], 200, 90, [10, 20, 90, 90]),
        ([50, 50, 50], 90, 10, [30, 30, 30]),
        ([], 90, 10, []),
    ],
)
def test_the_widest_columns_give_way_first(needs, room, least, widths):
    assert columns.shared(needs, room, least).tolist() == widths


@pytest.mark.parametrize("preset", PRESETS)
def test_tokens_of_a_grid_are_whole_and_fit(preset):
    chart = figures_grid.grid(stored(PRESETS[preset]))
    rows = next(iter(chart.to_dict()["datasets"].values()))
    for row in rows:
        room = row["right"] - row["left"]
        assert row["shown"] == row["top"]
        assert font.width(row["top"], theme.TEXT) <= room
        assert font.width(row["name"], theme.LABEL) <= room


def test_figures_cut_names_themselves():
    # What Vega measures depends on the fonts that a browser has when it draws.
    assert len(FIGURES) > 20
    for path in FIGURES:
        assert not re.search(r"[lL]abelLimit=|[tT]itleLimit=|\blimit=\d", path.read_text()), path
    for mode in ("light", "dark"):
        config = theme.config(mode)
        limits = [config["axis"]["labelLimit"], config["legend"]["labelLimit"]]
        assert [*limits, config["legend"]["titleLimit"]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        (["a", " b"], ["a", " b"]),
        (["caf", "\\xc3", "\\xa9", "!"], ["caf", "é(1/2)", "é(2/2)", "!"]),
        ([" \\xf0\\x9f", "\\x8c", "\\x8d"], [" 🌍(1/3)", "🌍(2/3)", "🌍(3/3)"]),
        (["x\\xc3\\xa9"], ["xé"]),
        (["\\xe2", "a"], ["\\xe2", "a"]),
        (["\\x80\\xc3", "\\xa9"], ["\\x80é(1/2)", "é(2/2)"]),
        (["שלום", "👩‍👩‍👧", "\\n"], ["שלום", "👩‍👩‍👧", "\\n"]),
        ([], []),
    ],
)
def test_bytes_show_the_character_that_they_form(tokens, texts):
    assert formed(tokens) == texts


SCROLL = {"pattern", "arcs"}
"""Figures of every token of a text, which scroll on a phone."""


@pytest.mark.parametrize("pixels", [376, 708])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_every_figure_fits_the_room_it_has(question, pixels):
    result = stored(question.params())
    for each in question.figures:
        if not each.when(result) or (each.name in SCROLL and pixels < 600):
            continue
        with room.within(pixels):
            made = each.draw(result)
        if not isinstance(made, pd.DataFrame):
            made.to_dict()  # validates
            svg = exports.svg(made).decode()
            width = float(re.search(r'width="([\d.]+)"', svg).group(1))
            assert width <= pixels + 2 * theme.PADDING, each.name


def test_room_is_shared_by_as_many_panels_as_have_most_of_their_width():
    assert room.across(3, 200, 60) == (3, 200) and room.fit(640, 70) == 640 and not room.narrow()
    with room.within(1000):
        assert room.across(3, 200, 60) == (3, 200) and room.fit(640, 70) == 640
    with room.within(700):
        assert room.across(3, 200, 60) == (3, 161) and room.fit(640, 70) == 630
    with room.within(360):
        assert room.across(3, 200, 60) == (1, 300) and room.fit(640, 70) == 290 and room.narrow()
        assert room.across(1, 200, 60) == (1, 200)
    assert not room.narrow()
