"""What a page asks: the controls of a question's parameters."""

from __future__ import annotations

from typing import Any

import controls
import streamlit as st
import tokens
from address import Place
from controls import Sizes

from interp_core.fields import Parameter, fields_of
from interp_core.models.catalogue import KnownModel
from interp_core.params import ParameterError, fit
from interp_core.question import Question


def draw(question: Question, place: Place, model: KnownModel) -> tuple[Any, Sizes]:
    """Draw the controls of a question's parameters; return what they say, and what is known of sizes.

    Positions come last: how many there are depends on all that makes the prompt.

    Raises:
        ValueError: When a parameter does not fit the model or the prompt.
    """
    fields = {n: f for n, f in fields_of(question.params).items() if f.shown.control}
    sizes = Sizes(
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        n_tokens=0,
        id=model.id,
        model=model.fingerprint.rpartition("-")[0],
    )
    slots, alone = _slots(fields)
    now = Sizes(**{name: field.default for name, field in fields.items()})
    if question.on_model:
        now.model = model.id

    def ask(names: list[str]) -> Any:
        for name in names:
            when = fields[name].shown.when
            if when is None or when(now):
                with slots[name]:
                    draw_one = controls.area if name == alone else controls.one
                    last, key = getattr(place.params, name), f"{place.key}.{name}"
                    value = draw_one(fields[name], last, sizes, key)
                    setattr(now, name, typed(question, fields[name], value, last))
        return question.params(**vars(now))

    over_tokens = [n for n, f in fields.items() if f.size and f.size.of == "n_tokens"]
    params = ask([name for name in fields if name not in over_tokens])
    ids = tokens.of(question, params)
    if ids:
        tokens.chips(ids, model.context)
        sizes.n_tokens = len(ids)
    params = ask(over_tokens)
    fit(params, sizes)
    return params, sizes


def typed(question: Question, field: Parameter, value: Any, last: Any) -> Any:
    """Return what a control says; where it is empty and may not be, ask for it and return the last."""
    if isinstance(value, str) and not value.strip():
        try:
            question.params(**{field.name: value})
        except ParameterError:
            st.warning(field.shown.placeholder or f"Type something for: {field.label}.")
            return last
    return value


def _slots(fields: dict[str, Parameter]) -> tuple[dict[str, Any], str]:
    """Return where each control goes, and the name of a text that has the row above to itself.

    The texts that are asked about stand above the figures, all else in the sidebar.
    """
    above = [
        n
        for n, f in fields.items()
        if f.kind == "text" and not (f.shown.fold or f.shown.file or f.shown.when)
    ]
    row = st.columns([3, *[1.5] * (len(above) - 1)]) if above else []
    side = [n for n in fields if n not in above]
    folded = [n for n in side if fields[n].shown.fold]
    slots = dict(zip(above, row, strict=True))
    slots |= {n: st.sidebar.container() for n in side if n not in folded}
    if folded:
        more = st.sidebar.expander("More")
        slots |= {n: more.container() for n in folded}
    return slots, above[0] if len(above) == 1 else ""
