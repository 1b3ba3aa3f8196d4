"""What a page answers: the sentence, the main figures, and one of the supporting."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import address
import controls
import figure
import jobs
import streamlit as st
from address import Place
from controls import Sizes

from interp_core.fields import fields_of
from interp_core.params import show_span
from interp_core.question import Paper, Question, question_of
from interp_core.results import Figure, Result


def draw(
    paper: Paper, place: Place, params: Any, sizes: Sizes, side: Any
) -> tuple[Result, Any] | None:
    """Draw the answer to ``params`` as far as it is there; return it and its view once it is.

    What there is to choose stands whether or not the result does, so that no click on it is lost;
    the choices of main figures in ``side``.
    """
    _, question = question_of(params)
    main, below = st.container(), st.container()
    labelled = [each for each in question.figures if each.label]
    names = list(
        dict.fromkeys(n for each in question.figures if not each.label for n in each.reads)
    )
    ready = [n for n in names if fields_of(question.view)[n].shown.options is None]
    view = look(place, place.view, ready, None, sizes, side)
    if labelled:
        with below:
            view = dataclasses.replace(view, figure=supporting(labelled, place))
    address.write(paper, params, view)
    with main:
        draw_live = partial(live, question, place, view)
        result = jobs.result_for(params, draw_live, by_link=place.by_link)
        if result is None:
            before(question, params, place, view)
            return None
        st.session_state["before"] = result
        if question.sentence is not None:
            st.markdown(question.sentence(result))
        view = look(place, view, [n for n in names if n not in ready], result, sizes, side)
        for each in question.figures:
            if not each.label and each.when(result):
                figure.show(each, result, view, f"{place.key}.{each.name}")
                clickable(paper, each)
    with below:
        chosen = next((each for each in labelled if view.figure in ("", each.name)), None)
        if chosen is not None and chosen.when(result):
            more = [name for name in chosen.reads if name not in names]
            row = st.container(horizontal=True)
            view = look(place, view, more, result, sizes, row)
            figure.show(chosen, result, view, f"{place.key}.{chosen.name}")
    address.write(paper, params, view)
    return result, view


def live(question: Question, place: Place, view: Any, part: Result) -> None:
    """Draw what there is of a result that is being computed."""
    for each in question.figures:
        if each.live and each.when(part):
            figure.show(each, part, view, f"{place.key}.live.{each.name}", picks=False, live=True)


def before(question: Question, params: Any, place: Place, view: Any) -> None:
    """Draw faintly what was there before, where nothing is drawn of what is being computed."""
    old = st.session_state.get("before")
    if type(old) is not question.result or any(each.live for each in question.figures):
        return
    with figure.dimmed(name_of(old.params, params)):
        for each in question.figures:
            if not each.label and each.when(old):
                key = f"{place.key}.before.{each.name}"
                figure.show(each, old, view, key, picks=False)


def name_of(params: Any, other: Any) -> str:
    """Return what tells parameters from others of the same question: the text, or what differs."""
    fields = fields_of(type(params))
    differing = [n for n in fields if getattr(params, n) != getattr(other, n)]
    for name in differing:
        if fields[name].kind == "text" and fields[name].default and fields[name].shown.control:
            return getattr(params, name)
    said = (f"{fields[n].label} {_shown(getattr(params, n))}" for n in differing)
    return ", ".join(said) or "the same"


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], int):
        return show_span(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def clickable(paper: Paper, each: Figure) -> None:
    """Say what a click on a figure does."""
    if each.opens:
        st.caption(f"Click a {each.picks[-1]} to open it in *{paper[each.opens].label}*.")
    elif each.picks:
        st.caption("Click a cell to read it below.")


def supporting(figures: list[Figure], place: Place) -> str:
    """Draw the choice among supporting figures; return the chosen one's name, empty for the first."""
    names = {each.name: each.label for each in figures}
    first = next(iter(names))
    chosen = st.segmented_control(
        "Supporting figure",
        list(names),
        default=place.view.figure if place.view.figure in names else first,
        key=f"{place.key}.figure",
        format_func=names.get,
        required=True,
        label_visibility="collapsed",
    )
    return "" if chosen == first else chosen


def look(
    place: Place, view: Any, names: list[str], result: Result | None, sizes: Sizes, where: Any
) -> Any:
    """Draw controls of the view, and return it as they say."""
    fields = fields_of(type(view))
    for name in names:
        field = fields[name]
        options = field.shown.options(result) if field.shown.options else None
        with where:
            key = f"{place.view_key}.{name}"
            value = controls.one(field, getattr(view, name), sizes, key, options)
        view = dataclasses.replace(view, **{name: value})
    return view
