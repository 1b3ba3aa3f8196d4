"""Ways from one place of a paper to another: its questions, ready-made settings, clicks on marks."""

from __future__ import annotations

import dataclasses
from typing import Any

import address
import figure
import streamlit as st
from address import Place

from interp_core.fields import fields_of
from interp_core.params import ParameterError
from interp_core.query import changed
from interp_core.question import Paper, Question, like, question_of


def presets(paper: Paper, place: Place) -> None:
    """Draw the ready-made settings, and go to the one that is chosen."""
    now = next((name for name, each in paper.presets.items() if same(each, place.params)), None)
    chosen, control = _pressed(f"{place.key}.preset", now)
    st.pills("Preset", list(paper.presets), label_visibility="collapsed", **control)
    if chosen in paper.presets and chosen != now:
        address.go(paper, on_model(paper.presets[chosen], place.params))


def examples(paper: Paper, question: Question, place: Place) -> None:
    """Draw the inputs to begin with, and go to the one that is chosen."""
    if not question.examples:
        return
    names = sorted(question.examples)
    held = {n: dataclasses.replace(place.params, **question.examples[n]) for n in names}
    now = next((name for name in names if held[name] == place.params), None)
    chosen, control = _pressed(f"{place.key}.example", now)
    st.sidebar.selectbox("Examples", names, placeholder="pick one", **control)
    if chosen in held and chosen != now:
        address.go(paper, held[chosen])


def _pressed(key: str, now: str | None) -> tuple[str | None, dict[str, Any]]:
    """Return what was chosen since the last run, and the arguments of a control that shows ``now``.

    Its key is one in every run, so that a choice made while another run goes on counts.
    """
    state, press = st.session_state, f"{key}.pressed"

    def keep() -> None:
        state[press] = state[key]

    state[key] = now
    return state.pop(press, None), {"key": key, "on_change": keep}


def same(preset: Any, params: Any) -> bool:
    """Whether a preset is what is asked, on whichever model."""
    return type(preset) is type(params) and on_model(preset, params) == params


def on_model(params: Any, other: Any) -> Any:
    """Return ``params`` on the model of ``other``, where both are asked of one."""
    if hasattr(params, "model") and hasattr(other, "model"):
        return dataclasses.replace(params, model=other.model)
    return params


def switch(paper: Paper, place: Place) -> Question:
    """Draw the paper's questions, and return the one that is chosen."""
    _, question = question_of(place.params)
    if len(paper.questions) == 1:
        return question
    labels = {each.name: each.label for each in paper.questions}
    chosen = st.segmented_control(
        "Question",
        list(labels),
        default=question.name,
        key=f"{place.key}.question",
        format_func=labels.get,
        required=True,
        label_visibility="collapsed",
    )
    return paper[chosen]


def carried(params: Any, question: Question, **fields: Any) -> Any:
    """Return a question's parameters with what was changed in another's and both have."""
    own, theirs = fields_of(question.params), fields_of(type(params))
    if question.on_model and "model" not in theirs:
        fields.setdefault("model", st.session_state["model"])
    for name in own.keys() & theirs.keys():
        value = getattr(params, name)
        if value != theirs[name].default and own[name].kind == theirs[name].kind:
            fields.setdefault(name, value)
    try:
        return question.params(**fields)
    except ParameterError:
        return on_model(question.params(), params)


def to(paper: Paper, params: Any, other: Any) -> None:
    """Draw a button that goes to other parameters, on the model of ``other``."""
    _, question = question_of(params)
    texts = [text if isinstance(text, str) else " ".join(text) for text in changed(params).values()]
    label = f"{question.label}: {', '.join(texts)}" if texts else question.label
    if st.button(label, key=f"to.{label}", icon=":material/arrow_forward:"):
        address.go(paper, like(params, other))


def picked(paper: Paper, place: Place) -> Place:
    """Follow the last click on a mark: into the view, or to the question that it opens."""
    clicked = figure.clicked()
    if clicked is None:
        return place
    opens, fields = clicked
    if opens:
        address.go(paper, carried(place.params, paper[opens], **fields))
    return address.look(paper, place, **fields)
