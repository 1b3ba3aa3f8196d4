"""Figures of one rank-one edit."""

from __future__ import annotations

import altair as alt
import pandas as pd

from interp_core.papers.causal_tracing.edit import Edit
from interp_core.plot import (
    figure,
    fit,
    font,
    layered,
    legend,
    points,
    shown,
    small,
    spaced,
    theme,
)

_ROLES = {
    "rewrite": "The rewritten fact: the new object should win",
    "paraphrase": "In other words: the new object should win",
    "neighbour": "Other subjects: the old answer should stay",
    "watched": "Watched",
}
_NAMES, _WIDTH, _PLOT = 300, 460, 200
"""Room of prompts beside the plot, its width, and what it keeps in a narrow room, in pixels."""
_ROW, _LINE = 34, 15
"""Least height of a row, and that of a line of a prompt."""


def _cut(text: str) -> str:
    """Return as much as there is room for."""
    return font.cut(text, fit(_NAMES, _PLOT), theme.LABEL)


def _in_lines(text: str) -> str:
    """Return a prompt whole, in as many lines as it needs."""
    return "\n".join(font.wrapped(text, fit(_NAMES, _PLOT), theme.LABEL))


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
                        f"{_in_lines(spaced(text))}\n{i}" for i, text in enumerate(before["prompt"])
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
    return figure(
        alt.vconcat(*panels, spacing=14).resolve_scale(color="shared"),
        f"“{shown(edit.old)}” made “{shown(edit.new)}”: probabilities before and after",
        f"An edit of the MLP of layer {edit.layer}. Ring: before; disc: after.",
        "An answer of several tokens has the geometric mean of theirs.",
    )


def _role(frame: pd.DataFrame, role: str, last: bool) -> alt.LayerChart:
    """Return the prompts of one role, with a lane for each answer."""
    answers = list(dict.fromkeys(frame["answer"]))
    frame = frame[frame["role"] == role]
    rows = list(dict.fromkeys(frame["row"]))
    label = "slice(split(datum.label, '\\n'), 0, -1)"
    deep = max(text.count("\n") for text in rows)
    tall = _LINE * deep + 8
    room = fit(_NAMES, _PLOT) + 10
    names = alt.Axis(
        labelExpr=label,
        labelOffset=-(deep - 1) * _LINE / 2,
        minExtent=room,
        maxExtent=room,
        ticks=False,
        domain=False,
    )
    likely = alt.Axis(grid=True, format="%", values=[0, 0.25, 0.5, 0.75, 1], labels=last)
    form = ".3~%"
    key = legend(answers, 2, beside=room, symbolType="circle")
    base = alt.Chart(frame).encode(
        y=alt.Y("row:N", title=None, scale=alt.Scale(domain=rows, padding=0.2), axis=names),
        yOffset=alt.YOffset("answer:N", scale=alt.Scale(domain=answers)),
        color=alt.Color("answer:N", legend=key).scale(
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
    # Marks at either end stand clear of the names of rows, and of the edge.
    x = alt.X("before:Q", scale=alt.Scale(domain=[-0.03, 1.03], nice=False), axis=likely)
    x = x.title("probability" if last else None)
    return layered(
        base.mark_rule(strokeWidth=2).encode(x=x, x2="after:Q"),
        base.mark_point(size=55, strokeWidth=2, filled=False, opacity=1).encode(x=x),
        base.mark_point(size=60, filled=True, opacity=1).encode(x=alt.X("after:Q")),
        width=fit(_WIDTH, room + 30),
        height=max(_ROW, tall) * len(rows),
        title=small(_ROLES[role], offset=6, wide=True),
    )


def search(edit: Edit) -> alt.Chart:
    """Return the loss of the search for the new value, by step."""
    frame = edit.frames["search"]
    ends = [float(edit.losses[0]), float(edit.losses.min())] if len(edit.losses) else []
    fall = "No step was taken."
    if ends:
        kept = int(edit.losses.argmin())
        fall = f"From {ends[0]:.2f} to {ends[1]:.2f} nats at step {kept}, whose value is kept."
    scale = alt.Scale(domainMin=min(0.0, *ends, 0.0))
    axis = alt.Axis(grid=True, tickCount=6)
    chart = (
        alt.Chart(frame)
        .mark_line(point=points(), strokeWidth=2.2)
        .encode(
            x=alt.X("step:Q", title="step of gradient descent", axis=alt.Axis(format="d")).axis(
                tickMinStep=1
            ),
            y=alt.Y("loss:Q", title="loss (nats)", scale=scale, axis=axis),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("loss:Q", format=".3f")],
        )
    )
    return figure(
        chart,
        f"Loss of the search for the value that says “{shown(edit.new)}”, by step",
        f"{fall} The loss is of the new object after several prefixes, with its penalties.",
        width=fit(640, 60),
        height=240,
    )


def continuations(edit: Edit) -> pd.DataFrame:
    """Return what the model writes after each prompt, before and after."""
    texts = edit.frames["continuations"].pivot(index="prompt", columns="when", values="text")
    return texts[["before", "after"]].map(spaced).reset_index()


def sentence(edit: Edit) -> str:
    """Return what the edit made of the answer."""
    said = edit.summary
    return (
        f"An edit of layer {edit.layer}'s MLP: after the prompt, “{shown(edit.new)}” goes from "
        f"{said['new_probability_before']:.1%} to {said['new_probability_after']:.1%}, "
        f"“{shown(edit.old)}” from {said['old_probability_before']:.1%} to "
        f"{said['old_probability_after']:.1%}. The loaded model stays as it is: the edit is a view of it."
    )
