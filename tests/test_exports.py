"""Files that a reader takes along: nothing in them runs, whatever the tokens hold."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import altair as alt
import pandas as pd
import pytest

from interp_core import exports

HOSTILE = [
    "<script>alert(1)</script>",
    "</text><script xlink:href='//x'/>",
    "</script><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "javascript:alert(1)",
    "]]><!ENTITY a 'b'>&a;",
    "\x00\x0b\x1b\ufffe\uffff",
    "\ud800",
]
DRAWN = {"svg", "g", "path", "text", "line", "rect", "defs", "clipPath", "tspan"}


def chart(text: str) -> alt.Chart:
    data = alt.Data(values=[{"token": text, "value": 1}])
    title = alt.TitleParams(text, subtitle=[text])
    marks = alt.Chart(data, title=title, description=text).mark_text(tooltip=True)
    return marks.encode(text="token:N", y=alt.Y("token:N", title=text), x="value:Q")


@pytest.mark.parametrize("text", HOSTILE)
def test_an_svg_draws_and_does_nothing_else(text):
    root = ET.fromstring(exports.svg(chart(text)))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= DRAWN, tags - DRAWN
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.lower().rpartition("}")[2].startswith(("on", "href", "src", "style"))
            assert not (value.startswith("javascript:") and name != "aria-label"), name
    written = " ".join(root.itertext())
    assert exports._drawable(text)[:10] in written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_of_a_figure_holds_a_token_as_text_only(text):
    page = exports.html(chart(text)).decode()
    body = page.partition('<div id="vega-chart">')[2]
    assert body.count("<script") == body.count("</script>") == 1
    assert "<img" not in body and "\x00" not in body
    assert exports.png(chart(text)).startswith(b"\x89PNG")


RUN = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "－1", "=cmd|' /C calc'!A0"]
LEFT = [" =1", "a\r=1", "a\n=1", "a=1", "", "'=1", "·-", "日本", "1-1"]


def test_a_spreadsheet_runs_no_cell():
    frame = pd.DataFrame({"token": [*RUN, *LEFT], "value": -1.5, "rank": -1, "known": True})
    read = pd.read_csv(io.BytesIO(exports.csv(frame)), keep_default_na=False)
    assert list(read["token"]) == [*(f"'{text}" for text in RUN), *LEFT]
    pd.testing.assert_frame_equal(read.drop(columns="token"), frame.drop(columns="token"))


def test_a_table_of_numbers_stays_as_it_is():
    frame = pd.DataFrame({"a": [-1, 2], "b": [1.0, float("nan")], "c": pd.Categorical(["x", "-y"])})
    assert exports.csv(frame).decode() == "a,b,c\r\n-1,1.0,x\r\n2,,'-y\r\n"
    assert exports.csv(frame[:0]).decode() == "a,b,c\r\n"
