"""Figures of one rank-one edit, and of the scores of many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from interp_core.charts import theme
from interp_core.charts.parts import alt_text, points, shown, spaced, title
from interp_core.plot import font

if TYPE_CHECKING:
    from interp_core.papers.causal_tracing.edit_result import Edit, EditScores

_ROLES = {
    "rewrite": "The rewritten fact: the new object should win",
    "paraphrase": "In other words: the new object should win",
    "neighbour": "Other subjects: the old answer should stay",
    "watched": "Watched",
}
_SCORES = {
    "efficacy": "efficacy",
    "paraphrase": "paraphrase",
    "neighbourhood": "neighbourhood",
    "loss_change": "change of loss on unrelated text (nats a token)",
}
_UPDATES = {"text": "C from text", "identity": "C = identity"}
_COLOURS = dict(zip(_UPDATES.values(), theme.CATEGORIES, strict=False))
_NAMES, _WIDTH, _PANEL = 300, 460, 300


def _cut(text: str) -> str:
    """Return as much as there is room for; most prompts have their subject at the beginning."""
    return font.cut(text, _NAMES, theme.LABEL)


def _pairs(edit: Edit) -> pd.DataFrame:
    """Return one row per prompt and answer: its probability before and after."""
    frame, parts = edit.frames["edit"], []
    before, after = (
        frame[frame["when"] == when].reset_index(drop=True) for when in ("before", "after")
    )
    for answer, text in (("old", edit.old), ("new", edit.new)):
        name = {"old": "old answer", "new": "new object"}[answer]
        parts.append(
            pd.DataFrame(
                {
                    "row": [
                        f"{_cut(spaced(text))}\n{i}" for i, text in enumerate(before["prompt"])
                    ],
                    "prompt": before["prompt"].map(spaced),
                    "role": before["role"],
                    "answer": _cut(f"{name} “{shown(text)}”"),
                    "before": before[f"{answer}_probability"],
                    "after": after[f"{answer}_probability"],
                    "says_before": before["says"].map(shown),
                    "says_after": after["says"].map(shown),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def before_after(edit: Edit) -> alt.VConcatChart:
    """Return the probabilities of the old answer and of the new object, before and after."""
    frame = _pairs(edit)
    roles = [role for role in _ROLES if role in set(frame["role"])]
    panels = [_role(frame, role, last=role == roles[-1]) for role in roles]
    heading = title(
        f"“{shown(edit.old)}” made “{shown(edit.new)}”: probabilities before and after",
        f"An edit of the MLP of block {edit.layer}. Ring: before; disc: after.",
        "An answer of several tokens has the geometric mean of theirs.",
    )
    chart = alt.vconcat(*panels, spacing=14).resolve_scale(color="shared")
    return chart.properties(title=heading, description=alt_text(heading))


def _role(frame: pd.DataFrame, role: str, last: bool) -> alt.LayerChart:
    """Return the prompts of one role, with a lane for each answer."""
    answers = list(dict.fromkeys(frame["answer"]))
    frame = frame[frame["role"] == role]
    rows = list(dict.fromkeys(frame["row"]))
    label = "split(datum.label, '\\n')[0]"
    names = alt.Axis(labelExpr=label, minExtent=310, maxExtent=310, ticks=False, domain=False)
    likely = alt.Axis(grid=True, format="%", values=[0, 0.25, 0.5, 0.75, 1], labels=last)
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle")
    form = ".3~%"
    base = alt.Chart(frame).encode(
        y=alt.Y("row:N", title=None, scale=alt.Scale(domain=rows, padding=0.2), axis=names),
        yOffset=alt.YOffset("answer:N", scale=alt.Scale(domain=answers)),
        color=alt.Color("answer:N", legend=legend).scale(
            domain=answers, range=list(theme.CATEGORIES[: len(answers)])
        ),
        tooltip=[
            alt.Tooltip("prompt:N"),
            alt.Tooltip("answer:N"),
            alt.Tooltip("before:Q", title="probability before", format=form),
            alt.Tooltip("after:Q", title="probability after", format=form),
            alt.Tooltip("says_before:N", title="model's next token before"),
            alt.Tooltip("says_after:N", title="model's next token after"),
        ],
    )
    x = alt.X("before:Q", scale=alt.Scale(domain=[0, 1]), axis=likely)
    x = x.title("probability" if last else None)
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=x, x2="after:Q"),
        base.mark_point(size=55, strokeWidth=2, filled=False, opacity=1).encode(x=x),
        base.mark_point(size=60, filled=True, opacity=1).encode(x=alt.X("after:Q")),
    ).properties(
        width=_WIDTH,
        height=34 * len(rows),
        title=alt.TitleParams(_ROLES[role], fontSize=13, fontWeight="normal", offset=6),
    )


def search(edit: Edit) -> alt.Chart:
    """Return the loss of the search for the new value, by step."""
    frame = edit.frames["search"]
    ends = [float(edit.losses[0]), float(edit.losses.min())] if len(edit.losses) else []
    fall = "No step was taken."
    if ends:
        kept = int(edit.losses.argmin())
        fall = f"From {ends[0]:.2f} to {ends[1]:.2f} nats at step {kept}, whose value is kept."
    heading = title(
        f"Loss of the search for the value that says “{shown(edit.new)}”, by step",
        f"{fall} The loss is of the new object after several prefixes, with its penalties.",
    )
    scale = alt.Scale(domainMin=min(0.0, *ends, 0.0))
    axis = alt.Axis(grid=True, tickCount=6)
    return (
        alt.Chart(frame, title=heading, width=640, height=240, description=alt_text(heading))
        .mark_line(point=points(), strokeWidth=2.2)
        .encode(
            x=alt.X("step:Q", title="step of gradient descent", axis=alt.Axis(format="d")).axis(
                tickMinStep=1
            ),
            y=alt.Y("loss:Q", title="loss (nats)", scale=scale, axis=axis),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("loss:Q", format=".3f")],
        )
    )


def _score_tips(form: str = ".1%") -> list[alt.Tooltip]:
    return [
        alt.Tooltip("series:N", title="edit"),
        alt.Tooltip("layer:Q", title="edited block"),
        alt.Tooltip("value:Q", format=form),
        alt.Tooltip("low:Q", title="95% interval from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="edits", format=",d"),
    ]


def score_chart(scores: list[EditScores]) -> alt.LayerChart:
    """Return the scores before and after, at the first one's block; one lane for each C."""
    first, parts = scores[0], []
    for each in {s.params.covariance: s for s in scores[::-1] if s.layer == first.layer}.values():
        frame = each.frames["scores"]
        update = f"after ({_UPDATES[each.params.covariance]})"
        parts.append(frame.assign(series=frame["when"].map({"before": "before", "after": update})))
    frame = pd.concat(parts, ignore_index=True).drop_duplicates(["score", "series"])
    lanes = ["before", *[f"after ({name})" for name in _UPDATES.values()]]
    lanes = [lane for lane in lanes if lane in set(frame["series"])]
    colours = {"before": theme.CATEGORIES[6]} | {f"after ({k})": c for k, c in _COLOURS.items()}
    heading = title(
        f"Scores of single edits of block {first.layer}, before and after",
        "Efficacy, paraphrase: share of prompts where the new object is likelier than the old "
        "answer.",
        "Neighbourhood: share of other subjects' prompts where the old answer is likelier.",
        f"Bars: 95% intervals, n = {len(first.prompts):,} edits.",
    )
    legend = alt.Legend(title=None, orient="bottom", columns=3)
    base = alt.Chart(frame).encode(
        y=alt.Y("score:N", title="score", scale=alt.Scale(domain=list(_SCORES)[:3])),
        yOffset=alt.YOffset("series:N", scale=alt.Scale(domain=lanes, padding=0.5)),
        color=alt.Color("series:N", legend=legend).scale(
            domain=lanes, range=[colours[lane] for lane in lanes]
        ),
        tooltip=_score_tips(),
    )
    axis = alt.Axis(grid=True, format="%")
    x = alt.X("value:Q", title="share of prompts", scale=alt.Scale(domain=[0, 1]), axis=axis)
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(x=x),
    ).properties(
        width=_WIDTH + 100,
        height=3 * (16 * len(lanes) + 20),
        title=heading,
        description=alt_text(heading),
    )


def _swept(scores: list[EditScores]) -> pd.DataFrame:
    """Return one row per score, block and C, after the edit."""
    parts = []
    for each in scores:
        frame = each.frames["scores"]
        change = np.diff(each.loss, axis=1)[:, 0]
        low, high = each.interval(change)
        loss = {
            "score": "loss_change",
            "when": "after",
            "value": float(change.mean()),
            "low": low,
            "high": high,
            "n": len(each.prompts),
            "layer": each.layer,
        }
        both = pd.concat([frame[frame["when"] == "after"], pd.DataFrame([loss])])
        parts.append(both.assign(series=_UPDATES[each.params.covariance]))
    return pd.concat(parts, ignore_index=True).drop_duplicates(["score", "layer", "series"])


def layer_chart(scores: list[EditScores]) -> alt.ConcatChart:
    """Return the scores after the edit, and the change of loss, by edited block."""
    frame = _swept(scores)
    counts = sorted({len(each.prompts) for each in scores})
    n = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    heading = title(
        "Scores after the edit, by edited block",
        "Each edit is made on the model as it was, with C measured on text or the identity.",
        f"Bars: 95% intervals over facts, n = {n} edits a point.",
    )
    panels = [_score_panel(frame, score) for score in _SCORES]
    chart = alt.concat(*panels, columns=2, spacing=22).resolve_scale(
        color="shared", strokeDash="shared", shape="shared"
    )
    return chart.properties(title=heading, description=alt_text(heading))


def _score_panel(frame: pd.DataFrame, score: str) -> alt.LayerChart:
    layers = sorted({int(layer) for layer in frame["layer"]})
    names = [name for name in _UPDATES.values() if name in set(frame["series"])]
    frame, share = frame[frame["score"] == score], score != "loss_change"
    legend = alt.Legend(title=None, orient="bottom", symbolSize=120)
    low, high = min(0.0, frame["low"].min()), max(0.0, frame["high"].max(), 1e-6)
    scale = alt.Scale(domain=[0, 1] if share else [low, high], nice=not share)
    form = ".1%" if share else "+.3~g"
    base = alt.Chart(frame).encode(
        x=alt.X(
            "layer:Q",
            title="edited block",
            scale=alt.Scale(domain=[layers[0] - 0.5, layers[-1] + 0.5], nice=False, zero=False),
            axis=alt.Axis(values=layers, format="d", labelOverlap=True),
        ),
        color=alt.Color("series:N", legend=legend).scale(
            domain=names, range=[_COLOURS[name] for name in names]
        ),
        tooltip=_score_tips(form),
    )
    dash = alt.StrokeDash("series:N", legend=None).scale(domain=names, range=[[1, 0], [6, 3]])
    shape = alt.Shape("series:N", legend=legend).scale(domain=names, range=["circle", "square"])
    axis = alt.Axis(grid=True, format="%" if share else "~g", tickCount=5, minExtent=44)
    unit = "share of prompts" if share else "change (nats a token)"
    y = alt.Y("value:Q", title=unit, scale=scale, axis=axis)
    return alt.layer(
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2.2).encode(y=y, strokeDash=dash),
        base.mark_point(size=50, filled=True, opacity=1).encode(y=y, shape=shape),
    ).properties(
        width=_PANEL,
        height=170,
        title=alt.TitleParams(
            _SCORES[score].capitalize(), fontSize=13, fontWeight="normal", offset=6
        ),
    )


def score_charts(scores: list[EditScores]) -> dict[str, alt.TopLevelMixin]:
    """Return every figure of edits' scores, by name; ``layers`` where several were edited."""
    figures: dict[str, alt.TopLevelMixin] = {"scores": score_chart(scores)}
    if len({each.layer for each in scores}) > 1:
        figures["layers"] = layer_chart(scores)
    return figures


def makers(edit: Edit) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """Return what draws each figure of an edit."""
    figures: dict[str, Callable[[], alt.TopLevelMixin]] = {
        "before_after": partial(before_after, edit),
        "search": partial(search, edit),
    }
    if edit.scores is not None:
        figures["scores"] = partial(score_chart, [edit.scores])
    return figures


def charts(edit: Edit) -> dict[str, alt.TopLevelMixin]:
    """Return every figure of an edit, by name."""
    return {name: draw() for name, draw in makers(edit).items()}
