"""One control for each parameter, drawn from its declaration alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import streamlit as st
from words import plain

from interp_core.corpus import HUB
from interp_core.fields import Parameter
from interp_core.params import MAX_CHARACTERS, Span, show_span
from interp_core.plot.tokens import shown

_SHORT = 20
"""Characters of choices that stand beside each other, in the sidebar too."""

Sizes = SimpleNamespace
"""What is known of the model and the prompt: ``n_layers``, ``n_heads``, ``n_tokens``; 0 if not; and
``id`` and ``model``, its name and its digest."""


def one(
    field: Parameter, value: Any, sizes: Sizes, key: str, options: list[Any] | None = None
) -> Any:
    """Draw the control of one parameter, and return what it says.

    Args:
        field: Its declaration.
        value: What it begins with.
        sizes: See :func:`draw`.
        key: Its key.
        options: What there is to choose from, where that depends on a result.
    """
    if options is not None:
        return _among(field, value, options, key)
    if field.shown.file is not None:
        return _file(field, value, sizes, key)
    return _DRAW[field.kind](field, value, sizes, key)


def _flag(field: Parameter, value: bool, _: Sizes, key: str) -> bool:
    return st.toggle(field.label, value, key=key, help=field.help)


def _choice(field: Parameter, value: Any, _: Sizes, key: str) -> Any:
    choices = list(field.choices)
    if sum(len(field.named(each)) for each in choices) <= _SHORT:
        return st.segmented_control(
            field.label,
            choices,
            default=value,
            key=key,
            format_func=field.named,
            help=field.help,
            required=True,
        )
    return st.selectbox(
        field.label,
        choices,
        choices.index(value),
        key=key,
        format_func=field.named,
        help=field.help,
    )


def _choices(field: Parameter, value: tuple, _: Sizes, key: str) -> tuple:
    return tuple(
        st.multiselect(
            field.label, field.choices, value, key=key, format_func=field.named, help=field.help
        )
    )


def _texts(field: Parameter, value: tuple, _: Sizes, key: str) -> tuple:
    if field.shown.slider:
        weights = _weights(field, value)
        if weights is not None:
            return _sliders(field, weights, key)
    return tuple(
        st.multiselect(
            field.label,
            list(value),
            list(value),
            key=key,
            accept_new_options=True,
            format_func=shown if field.shown.visible else str,
            placeholder=field.shown.placeholder or "type, then Enter",
            max_selections=field.most,
            help=field.help,
        )
    )


def _weights(field: Parameter, value: tuple[str, ...]) -> dict[str, float] | None:
    """Return the weight of each name, of texts ``name=weight``; None where sliders cannot show them."""
    given = [part.partition("=") for part in value]
    found = {name: float(weight) for name, _, weight in given}
    first, last = field.shown.slider[:2]
    shown_all = len(found) == len(given) and all(first <= w <= last for w in found.values())
    return {name: found.get(name, 0.0) for name in field.shown.names} if shown_all else None


def _sliders(field: Parameter, weights: dict[str, float], key: str) -> tuple[str, ...]:
    """Draw a slider for each name, and return ``name=weight`` of those that are not at 0."""
    st.caption(field.label, help=field.help)
    first, last, step = map(float, field.shown.slider)
    drawn = {
        name: st.slider(
            field.named(name).capitalize(), first, last, weight, step, key=f"{key}.{name}"
        )
        for name, weight in weights.items()
    }
    return tuple(f"{name}={weight:g}" for name, weight in drawn.items() if weight)


def _text(field: Parameter, value: str, _: Sizes, key: str) -> str:
    most = min(field.most or MAX_CHARACTERS, MAX_CHARACTERS)
    placeholder = field.shown.placeholder or None
    return st.text_input(
        field.label, value, key=key, max_chars=most, placeholder=placeholder, help=field.help
    )


def area(field: Parameter, value: str, _: Sizes, key: str) -> str:
    """Draw a text of several lines."""
    return st.text_area(
        field.label,
        value,
        key=key,
        height=68,
        max_chars=MAX_CHARACTERS,
        placeholder=field.shown.placeholder or None,
        label_visibility="collapsed",
    )


def _number(field: Parameter, value: float | None, sizes: Sizes, key: str) -> float | None:
    """Draw a slider, or a box where there is none or the value lies beyond it."""
    kind = int if field.integer else float
    if field.shown.slider and value is not None:
        first, last, *step = field.shown.slider
        size = getattr(sizes, field.size.of, 0) if field.size else 0
        last = (
            min(last, size if field.size and field.size.inclusive else size - 1) if size else last
        )
        if first <= value <= last and first < last:
            by = kind(step[0]) if step else None
            ends = kind(first), kind(last), kind(value)
            return st.slider(field.label, *ends, step=by, key=key, help=field.help)
    return st.number_input(
        field.label,
        None if field.low is None else kind(field.low),
        None if field.high is None else kind(field.high),
        None if value is None else kind(value),
        step=1 if field.integer else None,
        key=f"{key}.box",
        help=field.help,
        placeholder=field.shown.placeholder or None,
    )


def _span(field: Parameter, value: Span, sizes: Sizes, key: str) -> Span | str:
    """Draw two ends over what there is, and a step; a box of text where that is not known."""
    size = getattr(sizes, field.size.of, 0) if field.size else 0
    start, stop, stride = value
    last = (size if stop is None else stop) - 1
    if size < 2 or last >= size or start > last:
        return st.text_input(
            field.label,
            show_span(value),
            key=f"{key}.text",
            help=f"{field.help}, start:stop:stride",
        )
    low, high = st.slider(
        field.label, 0, size - 1, (start, last), key=f"{key}.{size}", help=field.help
    )
    if field.shown.slider:
        most = max(2, size // 2, stride)
        stride = st.slider(
            f"Every n-th of the {field.label.lower()}", 1, most, stride, key=f"{key}.step"
        )
    return (low, None if high == size - 1 else high + 1, stride)


def _among(field: Parameter, value: Any, options: list[Any], key: str) -> Any:
    """Draw a choice from what a result has: a slider of numbers, or words."""
    if isinstance(options[0], int | float):
        wanted = options[-1] if value is None else value
        nearest = min(options, key=lambda each: abs(each - wanted))
        if len(options) > 1:
            nearest = st.select_slider(field.label, options, nearest, key=key, help=field.help)
        return None if value is None and nearest == options[-1] else nearest
    value = value if value in options else options[0]
    return st.radio(
        field.label,
        options,
        options.index(value),
        key=key,
        format_func=field.named,
        horizontal=True,
        help=field.help,
    )


def _file(field: Parameter, value: str, sizes: Sizes, key: str) -> str:
    """Draw a choice among what is at hand, and where a reader brings more, which is chosen as it comes."""
    kept = field.shown.kept(sizes.model, sizes.n_layers) if field.shown.kept else {}
    where, read = st.container(), f"{key}.read"
    names: dict[str, str] = st.session_state.setdefault(read, {})
    more = "Upload a file" if field.shown.hub is None else "Upload or fetch another"
    with st.popover(more, icon=":material/upload:"):
        file = st.file_uploader(f"{field.label}: a file of yours", key=f"{key}.file")
        if file is not None and st.session_state.get(f"{key}.taken") != file.file_id:
            if said := _bring(names, key, file.name, lambda: _content(field, file)):
                st.error(plain(said))
            else:
                st.session_state[f"{key}.taken"] = file.file_id
        if field.shown.hub is not None:
            _from_hub(field, sizes, names, key)
    known = list(dict.fromkeys([field.default, *field.shown.names, value, *kept, *names]))
    with where:
        return st.selectbox(
            field.label,
            known,
            None if key in st.session_state else known.index(value),
            key=key,
            help=field.help,
            format_func=lambda name: (
                names.get(name) or kept.get(name) or field.named(name) or "none"
            ),
        )


def _bring(names: dict[str, str], key: str, words: str, read: Callable[[], str]) -> str:
    """Choose what a reader brings, under its own name; return what is wrong where it cannot be read."""
    try:
        name = read()
    except ValueError as error:
        return str(error)
    names[name], st.session_state[key] = words, name
    return ""


def _from_hub(field: Parameter, sizes: Sizes, names: dict[str, str], key: str) -> None:
    """Draw a box for a place on the hub, and fetch what it names; what was wrong stays until the next try."""
    read, published = field.shown.file, field.shown.hub
    assert read is not None and published is not None
    refused = f"{key}.refused"
    with st.form(f"{key}.hub", border=False):
        place = st.text_input(
            "Or a folder of the Hugging Face hub",
            published(sizes.id),
            key=f"{key}.hub.{sizes.id}",
            placeholder="owner/name/folder",
        )
        wanted = st.form_submit_button("Fetch")
    if wanted and place:
        with st.spinner(f"Fetching {plain(place)}"):
            said = _bring(names, key, place, lambda: read(Path(HUB + place)))
        st.session_state[refused] = said
    if said := st.session_state.get(refused):
        st.error(plain(said))


def _content(field: Parameter, file: Any) -> str:
    """Return the name of an uploaded file's content.

    Raises:
        ValueError: When it is not what this parameter reads; the message names the file.
    """
    assert field.shown.file is not None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / (Path(file.name).name or "file")
        copy.write_bytes(file.getbuffer())
        return field.shown.file(copy)


_DRAW: dict[str, Callable[[Parameter, Any, Sizes, str], Any]] = {
    "flag": _flag,
    "choice": _choice,
    "choices": _choices,
    "texts": _texts,
    "text": _text,
    "number": _number,
    "span": _span,
}
