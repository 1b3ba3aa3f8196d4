"""Figures of the scores of many edits."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from interp_core.papers.causal_tracing.scores import EditScores
from interp_core.plot import across, beside, ends, figure, layered, legend, small, theme

_SCORES = {
    "efficacy": "efficacy",
    "paraphrase": "paraphrase",
    "neighbourhood": "neighbourhood",
    "loss_change": "change of loss on unrelated text (nats a token)",
}
_UPDATES = {"text": "C from text", "identity": "C = identity"}
_COLOURS = dict(zip(_UPDATES.values(), theme.CATEGORIES, strict=False))
_KINDS = {"value": "Likelier of the two", "top": "Likeliest next token"}
"""By which of two tokens, or of all, as columns of the scores."""
_ENDS = {"value": "", "top": "top_"}
"""What stands before ``low`` and ``high`` in their columns."""
_PANEL, _NAMES = 296, 124
"""Width of one panel, and room of the names of scores, in pixels."""


def _score_tips(form: str = ".1%") -> list[alt.Tooltip]:
    return [
        alt.Tooltip("series:N", title="edit"),
        alt.Tooltip("layer:Q", title="edited layer"),
        alt.Tooltip("value:Q", format=form),
        *ends(form),
        alt.Tooltip("n:Q", title="edits", format=",d"),
    ]


def scores(results: list[EditScores]) -> alt.ConcatChart | alt.HConcatChart:
    """Return both kinds of scores before and after, at the first one's block; one lane for each C."""
    first, parts = results[0], []
    for each in {s.params.covariance: s for s in results[::-1] if s.layer == first.layer}.values():
        frame = each.frames["scores"]
        update = f"after ({_UPDATES[each.params.covariance]})"
        parts.append(frame.assign(series=frame["when"].map({"before": "before", "after": update})))
    frame = pd.concat(parts, ignore_index=True).drop_duplicates(["score", "series"])
    columns, width = across(len(_KINDS), _PANEL, _NAMES)
    panels = [
        _kind(frame, kind, named=columns == 1 or i == 0).properties(width=width)
        for i, kind in enumerate(_KINDS)
    ]
    return figure(
        beside(panels, columns),
        f"Scores of single edits of layer {first.layer}, before and after",
        "Efficacy, paraphrase: prompts where the new object is likelier than the old answer, or likeliest of all.",
        "Neighbourhood: prompts of other subjects where the old answer is.",
        f"Bars: 95% intervals, n = {len(first.prompts):,} edits.",
    )


def _kind(frame: pd.DataFrame, kind: str, named: bool) -> alt.LayerChart:
    """Return the panel of one kind of scores; the names of scores stand beside the first."""
    columns = {"value": kind, **{end: f"{_ENDS[kind]}{end}" for end in ("low", "high")}}
    frame = frame.assign(**{name: frame[of] for name, of in columns.items()})
    lanes = ["before", *[f"after ({name})" for name in _UPDATES.values()]]
    lanes = [lane for lane in lanes if lane in set(frame["series"])]
    colours = {"before": theme.CATEGORIES[6]} | {f"after ({k})": c for k, c in _COLOURS.items()}
    names = alt.Axis() if named else alt.Axis(labels=False, ticks=False)
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "score:N",
            title="score" if named else None,
            scale=alt.Scale(domain=list(_SCORES)[:3]),
            axis=names,
        ),
        yOffset=alt.YOffset("series:N", scale=alt.Scale(domain=lanes, padding=0.5)),
        color=alt.Color("series:N", legend=legend(lanes, 3)).scale(
            domain=lanes, range=[colours[lane] for lane in lanes]
        ),
        tooltip=_score_tips(),
    )
    axis = alt.Axis(grid=True, format="%", tickCount=5)
    x = alt.X("value:Q", title="share of prompts", scale=alt.Scale(domain=[0, 1]), axis=axis)
    return layered(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(x=x),
        height=3 * (16 * len(lanes) + 20),
        title=small(_KINDS[kind]),
    )


def _swept(results: list[EditScores]) -> pd.DataFrame:
    """Return one row per score, block and C, after the edit."""
    parts = []
    for each in results:
        frame = each.frames["scores"]
        change = each.resample.mean(np.diff(each.loss, axis=1)[:, 0])
        loss = {
            "score": "loss_change",
            "when": "after",
            "value": change.value,
            "low": change.low,
            "high": change.high,
            "n": len(each.prompts),
            "layer": each.layer,
        }
        both = pd.concat([frame[frame["when"] == "after"], pd.DataFrame([loss])])
        parts.append(both.assign(series=_UPDATES[each.params.covariance]))
    return pd.concat(parts, ignore_index=True).drop_duplicates(["score", "layer", "series"])


def by_layer(results: list[EditScores]) -> alt.ConcatChart:
    """Return the scores after the edit, and the change of loss, by edited block."""
    frame = _swept(results)
    counts = sorted({len(each.prompts) for each in results})
    n = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    columns, width = across(2, _PANEL, 80)
    panels = [_score_panel(frame, score).properties(width=width) for score in _SCORES]
    chart = alt.concat(*panels, columns=columns, spacing=22).resolve_scale(
        color="shared", shape="shared"
    )
    return figure(
        chart,
        "Scores after the edit, by edited layer",
        "Each edit is made on the model as it was, with C estimated from text or the identity.",
        f"Bars: 95% intervals over facts, n = {n} edits a point.",
    )


def _score_panel(frame: pd.DataFrame, score: str) -> alt.LayerChart:
    layers = sorted({int(layer) for layer in frame["layer"]})
    names = [name for name in _UPDATES.values() if name in set(frame["series"])]
    frame, share = frame[frame["score"] == score], score != "loss_change"
    # Edits of one layer stand beside each other.
    aside = frame["series"].map(names.index) - (len(names) - 1) / 2
    frame = frame.assign(at=frame["layer"] + 0.03 * (layers[-1] - layers[0]) * aside)
    key = legend(names, 2, symbolSize=120, symbolStrokeWidth=0)
    low, high = min(0.0, frame["low"].min()), max(0.0, frame["high"].max(), 1e-6)
    scale = alt.Scale(domain=[0, 1] if share else [low, high], nice=not share)
    form = ".1%" if share else "+.3~g"
    base = alt.Chart(frame).encode(
        x=alt.X(
            "at:Q",
            title="edited layer",
            scale=alt.Scale(domain=[layers[0] - 0.8, layers[-1] + 0.8], nice=False, zero=False),
            axis=alt.Axis(values=layers, format="d", labelOverlap=True),
        ),
        color=alt.Color("series:N", legend=key).scale(
            domain=names, range=[_COLOURS[name] for name in names]
        ),
        tooltip=_score_tips(form),
    )
    shape = alt.Shape("series:N", legend=key).scale(domain=names, range=["circle", "square"])
    axis = alt.Axis(grid=True, format="%" if share else "~g", tickCount=5, minExtent=44)
    unit = "share of prompts" if share else "change (nats a token)"
    y = alt.Y("value:Q", title=unit, scale=scale, axis=axis)
    return layered(
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2.2).encode(y=y),
        base.mark_point(size=50, filled=True, opacity=1).encode(y=y, shape=shape),
        height=170,
        title=small(_SCORES[score].capitalize(), offset=6),
    )


def own_scores(result: EditScores) -> alt.ConcatChart | alt.HConcatChart:
    """Return the scores of one set of edits, before and after."""
    return scores([result])


def sentence(result: EditScores) -> str:
    """Return the shares of prompts that went as they should."""
    said = result.summary
    return (
        f"{said['facts']} edits of layer {result.layer}: the new object is likelier than the old "
        f"in {said['efficacy']:.0%} of prompts and {said['paraphrase']:.0%} of paraphrases, and the "
        f"likeliest token in {said['efficacy_top']:.0%} and {said['paraphrase_top']:.0%}; the old "
        f"answer stays likelier for {said['neighbourhood']:.0%} of other subjects "
        f"({said['neighbourhood_before']:.0%} before)."
    )
