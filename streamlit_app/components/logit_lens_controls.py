"""The Logit Lens page's controls: set from a link, drawn, and read back into parameters."""

from __future__ import annotations

import dataclasses

import streamlit as st

from components import prompt, state
from components.bounded import bounded, number
from interp_core.charts.parts import shown
from interp_core.papers import PAPERS
from interp_core.papers.logit_lens import PRESETS, Params
from interp_core.params import MAX_CHARACTERS, ParameterError, resolve

PAPER = PAPERS["logit-lens"]
COLOURS = {
    "probability": "probability",
    "entropy": "entropy",
    "kl": "KL to the output",
    "rank": "rank of the output's token",
    "cross_entropy": "cross-entropy",
}
STREAMS = {
    "resid_post": "after the block",
    "resid_mid": "after attention",
    "attn_out": "attention's output alone",
    "mlp_out": "MLP's output alone",
}
SUPPORT = {
    "top": "Top ten",
    "trajectories": "Over layers",
    "attribution": "Attribution",
    "layers": "Means by layer",
    "survey": "Over many prompts",
}


SCALES = {"probability": "probability", "rank": "rank"}
VIEWS = {"colour": COLOURS, "support": SUPPORT, "scale": SCALES}
"""Controls that say how a result is shown, with their options; the first is what one sees first."""
SPANS = ("layers", "positions")
FINAL = "final top"


def ends(span: tuple[int, int | None, int], size: int) -> tuple[int, int]:
    """Return a span as the two ends of a slider over ``range(size)``."""
    stop = size if span[1] is None else min(span[1], size)
    return (min(span[0], stop - 1), stop - 1)


def span(params: Params, name: str, size: int, stride: int) -> tuple[int, int | None, int]:
    """Return what a slider says as a parameter; the whole range means whatever there is."""
    if not size:
        start, stop, _ = getattr(params, name)
        return (start, stop, stride)
    start, last = st.session_state[name]
    return (start, None if last == size - 1 else last + 1, stride)


def seed(params: Params, view: dict[str, str]) -> None:
    """Set the controls to ``params`` and ``view``, before they are drawn."""
    now = st.session_state
    now["prompt"], now["chat"], now["bos"] = params.prompt, params.chat, str(params.bos).lower()
    now["stream"], now["watch"], now["top_k"] = params.stream, list(params.watch), params.top_k
    now["skip_first"], now["stride"] = params.skip_first, params.layers[2]
    now["preset"] = next(
        (n for n, p in PRESETS.items() if dataclasses.replace(p, model=params.model) == params),
        None,
    )
    now["cell"], now["sizes"] = view.get("view_cell", ""), None
    now["target"] = view.get("view_target", FINAL)
    for name in VIEWS:
        now.pop(name, None)


def seed_view(view: dict[str, str]) -> None:
    """Set the controls of the view that hold no value, as when they were not drawn last time."""
    now = st.session_state
    for name, options in VIEWS.items():
        value = view.get(f"view_{name}")
        if now.get(name) not in options:
            now[name] = value if value in options else next(iter(options))
    now.setdefault("target", view.get("view_target", FINAL))


def seed_spans(params: Params, sizes: tuple[int, int]) -> None:
    """Fit the sliders to the model's depth and the prompt's length when either changes."""
    now = st.session_state
    if now.get("sizes") != sizes:
        for name, size in zip(SPANS, sizes, strict=True):
            now[name] = ends(getattr(params, name), size)
        now["sizes"], now["stride"] = sizes, params.layers[2]


def fitted(params: Params, sizes: tuple[int, int]) -> Params:
    """Return ``params``, with the whole range where a link asks for more than there is.

    A size of 0 is not known yet.
    """
    try:
        for name, size in zip(SPANS, sizes, strict=True):
            if size:
                resolve(getattr(params, name), size, name)
    except ParameterError as error:
        params = dataclasses.replace(params, layers=(0, None, 1), positions=(0, None, 1))
        state.reject(PAPER, params, str(error))
    return params


def use_preset() -> None:
    """Take over the preset that was picked, on the model that is chosen."""
    if name := st.session_state["preset"]:
        chosen = dataclasses.replace(PRESETS[name], model=st.session_state["model"])
        state.take(PAPER, chosen, {})
        seed(chosen, {})


def use_cell(key: str) -> None:
    """Read the cell that was clicked in the grid of that key."""
    if clicked := st.session_state[key]["selection"].get("cell"):
        st.session_state["cell"] = f"{clicked[0]['layer']}.{clicked[0]['position']}"


def typed(params: Params) -> Params:
    """Return ``params`` with what decides the tokens as it is typed now."""
    now = st.session_state
    text = prompt.typed("prompt", params.prompt)
    return dataclasses.replace(
        params, model=now["model"], prompt=text, chat=now["chat"], bos=now["bos"]
    )


def sliders(params: Params, sizes: tuple[int, int]) -> Params:
    """Draw the controls beside the figure, and return ``params`` with what they say."""
    n_layers, n_tokens = sizes
    now = st.session_state
    if n_layers > 1:
        st.slider("Layers", 0, n_layers - 1, key="layers")
    number("Every n-th layer", "stride", 1, None, slider=(1, max(2, n_layers // 2), 1))
    if n_tokens > 1:
        st.slider("Positions", 0, n_tokens - 1, key="positions")
    st.selectbox("Colour", list(COLOURS), format_func=COLOURS.get, key="colour")
    st.selectbox("Read", list(STREAMS), format_func=STREAMS.get, key="stream")
    st.multiselect(
        "Watch tokens",
        list(now["watch"]),
        key="watch",
        accept_new_options=True,
        placeholder="type a token",
        format_func=shown,
        max_selections=8,
        help="One token each, leading space included (shown as a dot), as it stands in the text.",
    )
    with st.expander("More"):
        bounded("Top tokens kept", Params, "top_k", "top_k", slider=(1, 100, 1))
        st.segmented_control("BOS token", ["auto", "true", "false"], key="bos", required=True)
        st.toggle("Chat format", key="chat")
        label = "Positions left out of averages"
        bounded(label, Params, "skip_first", "skip_first", slider=(0, 64, 1))
    return dataclasses.replace(
        params,
        stream=now["stream"],
        watch=tuple(now["watch"]),
        top_k=now["top_k"],
        skip_first=now["skip_first"],
        layers=span(params, "layers", n_layers, now["stride"]),
        positions=span(params, "positions", n_tokens, params.positions[2]),
    )


def setting() -> None:
    """Draw the prompt and the presets."""
    st.pills(
        "Preset", list(PRESETS), key="preset", on_change=use_preset, label_visibility="collapsed"
    )
    st.text_area(
        "Prompt", key="prompt", height=68, max_chars=MAX_CHARACTERS, label_visibility="collapsed"
    )


def view() -> dict[str, str]:
    """Return how the result is shown, for the address: what differs from the first sight."""
    now = st.session_state
    first = {name: next(iter(options)) for name, options in VIEWS.items()}
    first |= {"cell": "", "target": FINAL}
    return {f"view_{name}": now[name] for name, value in first.items() if now[name] != value}
