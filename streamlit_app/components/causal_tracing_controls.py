"""The Causal Tracing page's controls: set from a link, drawn, and read back into parameters."""

from __future__ import annotations

import dataclasses

import streamlit as st

from components import prompt, state
from components.bounded import bounded
from interp_core.papers import PAPERS
from interp_core.papers.causal_tracing import PRESETS, Params, facts
from interp_core.params import MAX_CHARACTERS

PAPER = PAPERS["causal-tracing"]
KINDS = {
    "resid_post": "state after a block",
    "mlp_out": "MLP outputs",
    "attn_out": "attention outputs",
    "sever_mlp": "state, MLPs severed",
    "sever_attn": "state, attention severed",
    "z": "single heads",
}
CORRUPTIONS = {
    "gaussian": "Gaussian noise on the subject",
    "uniform": "uniform noise on the subject",
    "swap": "another subject",
    "prompt": "another prompt",
}
METRICS = {
    "probability": "probability",
    "joint_probability": "joint probability",
    "log_probability": "log-probability",
    "logit_difference": "logit difference",
    "kl": "KL to the clean run",
}
PANELS = {"trace": "Trace", "average": "Over many facts", "edit": "Edit"}
TEXTS = ("subject", "answer", "swap", "foil", "new_object", "start")
PLAIN = (*TEXTS, "corruption", "noise", "noise_unit", "samples", "window", "metric", "seed")


def seed(params: Params, view: dict[str, str]) -> None:
    """Set the controls to ``params`` and ``view``, before they are drawn."""
    now = st.session_state
    for name in ("prompt", *PLAIN, "covariance"):
        now[f"ct_{name}"] = getattr(params, name)
    now["ct_kinds"] = list(params.kinds)
    now["ct_watch"] = list(params.watch)
    now["ct_layer"] = params.layer
    now["ct_edit"] = params.edit
    panel = view.get("view_panel", "edit" if params.edit else "trace")
    now["ct_panel"] = panel if panel in PANELS else "trace"
    now["ct_preset"] = next(
        (n for n, p in PRESETS.items() if dataclasses.replace(p, model=params.model) == params),
        None,
    )
    now["ct_fact"] = None


def use_preset() -> None:
    """Take over the preset that was picked, on the model that is chosen."""
    if name := st.session_state["ct_preset"]:
        _take(dataclasses.replace(PRESETS[name], model=st.session_state["model"]))


def use_fact() -> None:
    """Take over the fact that was picked, with the other settings as they are."""
    prompt = st.session_state["ct_fact"]
    fact = next((each for each in facts.load("shipped") if each.prompt == prompt), None)
    if fact is None:
        return
    params = Params(prompt=fact.prompt, subject=fact.subject, model=st.session_state["model"])
    panel, picked = st.session_state["ct_panel"], prompt
    _take(params)
    st.session_state["ct_panel"], st.session_state["ct_fact"] = panel, picked


def _take(params: Params) -> None:
    state.take(PAPER, params, {})
    seed(params, {})


def setting(params: Params) -> Params:
    """Draw the presets, the prompt, the subject and the answer; return ``params`` with the prompt."""
    st.pills(
        "Preset",
        list(PRESETS),
        key="ct_preset",
        on_change=use_preset,
        label_visibility="collapsed",
    )
    left, middle, right = st.columns([3, 1.6, 1.2])
    left.text_input("Prompt", key="ct_prompt", max_chars=MAX_CHARACTERS)
    middle.text_input(
        "Subject", key="ct_subject", placeholder="guessed", help="The part that is corrupted."
    )
    right.text_input(
        "Answer", key="ct_answer", placeholder="the model's own", help="What is followed."
    )
    return dataclasses.replace(params, prompt=prompt.typed("ct_prompt", params.prompt))


def sliders(params: Params, n_layers: int) -> Params:
    """Draw the controls beside the figure, and return the parameters that all controls say."""
    now = st.session_state
    st.selectbox(
        "A fact of the set",
        sorted(fact.prompt for fact in facts.load("shipped")),
        key="ct_fact",
        index=None,
        placeholder="pick a fact",
        on_change=use_fact,
    )
    st.selectbox("Corruption", list(CORRUPTIONS), format_func=CORRUPTIONS.get, key="ct_corruption")
    if now["ct_corruption"] in ("swap", "prompt"):
        label = "Other subject" if now["ct_corruption"] == "swap" else "Other prompt"
        st.text_input(label, key="ct_swap", help="It must make equally many tokens.")
    else:
        label = "Noise (standard deviations)"
        bounded(label, Params, "noise", "ct_noise", slider=(0.1, 6.0, 0.1), format="%g")
        bounded("Noise samples", Params, "samples", "ct_samples", slider=(1, 20, 1))
    bounded("Window (blocks)", Params, "window", "ct_window", slider=(1, max(2, n_layers), 1))
    st.multiselect("Restore", list(KINDS), format_func=KINDS.get, key="ct_kinds")
    st.selectbox("Measure", list(METRICS), format_func=METRICS.get, key="ct_metric")
    if now["ct_metric"] == "logit_difference":
        st.text_input("Against the token", key="ct_foil", placeholder="the corrupted run's")
    with st.expander("More"):
        st.text_input(
            "Token in front", key="ct_start", help="auto, none, or a special token's text."
        )
        bounded("Seed", Params, "seed", "ct_seed")
    return typed(params)


def typed(params: Params) -> Params:
    """Return ``params`` with what the controls say now.

    Raises:
        ParameterError: When a control holds what is not accepted.
    """
    now = st.session_state
    given = {name: now[f"ct_{name}"] for name in PLAIN if f"ct_{name}" in now}
    return dataclasses.replace(
        params,
        model=now["model"],
        kinds=tuple(now["ct_kinds"]),
        edit=now["ct_edit"],
        layer=now["ct_layer"],
        covariance=now["ct_covariance"],
        watch=tuple(now["ct_watch"]),
        **given,
    )


def keep() -> None:
    """Hold the values of controls that are not drawn this time."""
    for name in ("prompt", *PLAIN, "covariance", "kinds", "watch", "layer", "edit", "panel"):
        key = f"ct_{name}"
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def edit_form(n_layers: int) -> None:
    """Draw what an edit needs, and the buttons that apply and undo it."""
    now = st.session_state
    columns = st.columns([2, 1, 1.4, 1], vertical_alignment="bottom")
    columns[0].text_input(
        "New object", key="ct_new_object", placeholder="what the answer should become"
    )
    with columns[1]:
        bounded("Block", Params, "layer", "ct_layer", last=n_layers - 1, placeholder="an early one")
    columns[2].selectbox(
        "C",
        ["text", "identity"],
        key="ct_covariance",
        format_func={"text": "measured on text", "identity": "the identity"}.get,
    )
    columns[3].button(
        "Undo" if now["ct_edit"] else "Apply",
        key="ct_apply",
        type="secondary" if now["ct_edit"] else "primary",
        on_click=_toggle,
        width="stretch",
        disabled=not now["ct_new_object"].strip(),
    )
    st.multiselect(
        "Other prompts to compare",
        list(now["ct_watch"]),
        key="ct_watch",
        accept_new_options=True,
        placeholder="type a prompt",
        max_selections=12,
    )


def _toggle() -> None:
    st.session_state["ct_edit"] = not st.session_state["ct_edit"]


def view() -> dict[str, str]:
    """Return how the result is shown, for the address: what differs from the first sight."""
    panel = st.session_state["ct_panel"]
    first = "edit" if st.session_state["ct_edit"] else "trace"
    return {} if panel == first else {"view_panel": panel}
