"""Files that a reader takes along: nothing in them runs, whatever the tokens hold, but the code."""

from __future__ import annotations

import dataclasses
import io
import sys
import xml.etree.ElementTree as ET

import altair as alt
import pandas as pd
import pytest

import interp_core
from interp_core import exports
from interp_core.models import catalogue
from interp_core.papers import causal_tracing, induction_heads, logit_lens
from interp_core.plot import font
from interp_core.question import question_of, stored
from interp_core.registry import PAPERS

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
    (style,) = root.iter("{http://www.w3.org/2000/svg}style")
    assert style.text == font.faces()
    root.remove(style)
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
    assert exports.csv(frame).decode() == "a,b,c\r\n-1,1,x\r\n2,,'-y\r\n"
    assert exports.csv(frame[:0]).decode() == "a,b,c\r\n"


ASKED = [question.params() for paper in PAPERS.values() for question in paper.questions]
CHANGED = [
    logit_lens.Params(prompt='a "b"\n{c}', layers=(3, 9, 2), watch=(" a",), bos=False),
    logit_lens.PromptsParams(skip_first=2, model="gpt2"),
    causal_tracing.Params(corruption="swap", swap="North Korea", kinds=("z",), model="gpt2"),
    causal_tracing.AverageParams(facts="0123456789abcdef", noise=1.5),
    causal_tracing.EditParams(layer=3, watch=("It is's \\", "a"), new_object="Berlin"),
    causal_tracing.ScoresParams(limit=8, covariance="identity"),
    induction_heads.AttentionParams(layer=1, head=2, text="a b a b"),
    induction_heads.AblationParams(ablate=("L1H2", "L0H0")),
    induction_heads.CircuitsParams(layer=1, head=2),
    induction_heads.ContextParams(texts=3),
    induction_heads.TrainingParams(toys=("1", "2"), steps=60),
]


@pytest.mark.parametrize("params", [*ASKED, *CHANGED], ids=lambda p: type(p).__qualname__)
def test_the_snippet_of_any_question_runs_and_asks_the_same(params, monkeypatch, capsys):
    paper, question = question_of(params)
    shipped = stored(question.params())
    result, asked = dataclasses.replace(shipped, params=params), []
    on_its_default = {"model": catalogue.DEFAULT} if question.on_model else {}
    module = sys.modules[f"interp_core.papers.{paper.stem}"]
    monkeypatch.setattr(interp_core, "load_model", lambda *name: ["model", *name])
    monkeypatch.setattr(module, "run", lambda *given: asked.append(given) or shipped)
    names: dict = {}
    exec(exports.snippet(result), names)
    ((model, given),) = asked
    assert given == dataclasses.replace(params, **on_its_default)  # `run` sets it to the model's
    other = getattr(params, "model", None) == "gpt2"
    assert model == (["model", *["gpt2"] * other] if question.on_model else None)
    assert capsys.readouterr().out == f"{shipped.summary!r}\n"


def test_a_snippet_runs_on_a_model(tiny, capsys):
    """Nothing is replaced: the model is found under the name that the snippet has."""
    params = induction_heads.AttentionParams(text="a cat and a cat", layer=1, head=0)
    result = induction_heads.run(tiny("llama"), params, findings=False)
    names: dict = {}
    exec(exports.snippet(result), names)
    assert names["result"].params == result.params
    assert capsys.readouterr().out == f"{result.summary!r}\n"


@pytest.mark.parametrize(
    "params",
    [logit_lens.Params(), causal_tracing.EditParams(), induction_heads.AttentionParams()],
    ids=lambda p: type(p).__qualname__,
)
def test_a_folder_holds_the_result_and_its_evidence(params, tmp_path, monkeypatch):
    for kind in ("svg", "png", "html"):
        monkeypatch.setattr(exports, kind, lambda chart: b"drawn")
    result = stored(params)
    assert set(result.evidence) == set(question_of(params)[1].evidence)
    written = exports.write_folder(result, tmp_path)
    assert {file.name for file in written} == {file.name for file in tmp_path.iterdir()}
    charts = {file.stem for file in tmp_path.glob("*.svg")}
    tables = {file.stem for file in tmp_path.glob("*.csv")}
    assert charts == set(result.charts()) > set(result.own_charts())
    assert tables == set(result.frames) > set(result.tables())
    for each in result.evidence.values():
        own = set(each.own_charts())
        assert all(any(name.startswith(chart) for name in charts) for chart in own)
