"""The Induction Heads page's controls: set from a link, drawn, and read back into parameters."""

from __future__ import annotations

import dataclasses

import streamlit as st

from components import prompt, state
from components.bounded import bounded, number
from interp_core.charts.induction_heads import SCORES
from interp_core.papers import PAPERS
from interp_core.papers.induction_heads import PRESETS, TEXT, TOYS, Params, head_name
from interp_core.papers.induction_heads.params import MAX_TOKENS, WINDOW
from interp_core.params import MAX_CHARACTERS

PAPER = PAPERS["induction-heads"]
PANELS = {
    "heads": "All heads",
    "head": "One head on a text",
    "ablation": "Ablation",
    "circuits": "Circuits",
    "context": "In-context learning",
    "training": "Watch them form",
}
ABLATIONS = {"zero": "zero", "mean": "their mean", "pattern": "zero, later patterns held"}
LOOKS = {"pattern": "Pattern", "arcs": "Arcs", "layer": "All heads of the layer"}
TOY_NAMES = {
    "1": "1 layer",
    "2": "2 layers",
    "3": "3 layers",
    "1-smeared": "1 layer, smeared keys",
}
PLAIN = ("tokens", "repeats", "seeds", "bos", "threshold", "ablation", "controls", "steps", "seed")
VIEWS = {"score": SCORES, "look": LOOKS, "toy": TOY_NAMES}
"""Controls that say how a result is shown, with their options."""
FIRST = {"score": "prefix_matching", "look": "pattern", "toy": "2"}
TOP = "top-8"


def seed(params: Params, view: dict[str, str]) -> None:
    """Set the controls to ``params`` and ``view``, before they are drawn."""
    now = st.session_state
    for name in (*PLAIN, "layer", "head"):
        now[f"ih_{name}"] = getattr(params, name)
    now["ih_bos"] = str(params.bos).lower()
    now["ih_ablate"] = list(params.ablate) or [TOP]
    now["ih_layers"] = list(params.layers)
    now["ih_text"] = params.text or TEXT
    now["ih_from"] = params.positions[0]
    panel = view.get("view_panel", panel_of(params))
    now["ih_panel"] = panel if panel in PANELS else panel_of(params)
    for name, options in VIEWS.items():
        value = view.get(f"view_{name}", "")
        now[f"ih_{name}"] = value if value in options else FIRST[name]
    step = view.get("view_step", "")
    now["ih_step"] = int(step) if step.isdecimal() and len(step) < 7 else None
    now["ih_preset"] = next(
        (n for n, p in PRESETS.items() if dataclasses.replace(p, model=params.model) == params),
        None,
    )


def panel_of(params: Params) -> str:
    """Return the panel that shows what ``params`` ask for."""
    if params.train:
        return "training"
    if params.text.strip():
        return "head"
    if params.measure != "heads":
        return params.measure
    return "ablation" if params.ablate else "heads"


def use_preset() -> None:
    """Take over the preset that was picked, on the model that is chosen."""
    if name := st.session_state["ih_preset"]:
        params = dataclasses.replace(PRESETS[name], model=st.session_state["model"])
        state.take(PAPER, params, {})
        seed(params, {})


def use_head() -> None:
    """Open the head that was clicked in the grid."""
    now = st.session_state
    clicked = now["ih_grid"]["selection"].get("head")
    if clicked:
        now["ih_layer"], now["ih_head"] = int(clicked[0]["layer"]), int(clicked[0]["head"])
        now["ih_panel"] = "head"


def keep() -> None:
    """Hold the values of controls that are not drawn this time."""
    others = ("layer", "head", "ablate", "layers", "text", "from", "panel", "step", *VIEWS)
    for name in (*PLAIN, *others):
        key = f"ih_{name}"
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def setting() -> None:
    """Draw the presets and the panels."""
    st.pills(
        "Preset",
        list(PRESETS),
        key="ih_preset",
        on_change=use_preset,
        label_visibility="collapsed",
    )
    st.segmented_control(
        "Panel",
        list(PANELS),
        key="ih_panel",
        format_func=PANELS.get,
        required=True,
        label_visibility="collapsed",
    )


def sliders(panel: str, n_layers: int | None, n_heads: int | None) -> None:
    """Draw the controls beside a panel's figure."""
    draw = {
        "heads": _sequences,
        "head": lambda: _head(n_layers, n_heads),
        "ablation": lambda: _ablation(n_layers, n_heads),
        "circuits": lambda: _receiver(n_layers, n_heads),
        "context": lambda: None,
        "training": _training,
    }
    draw[panel]()


def _sequences() -> None:
    st.selectbox("Colour", list(SCORES), key="ih_score", format_func=lambda name: SCORES[name][0])
    bounded("Random tokens", Params, "tokens", "ih_tokens", slider=(2, 100, 1))
    bounded("Repeats", Params, "repeats", "ih_repeats", slider=(2, 8, 1))
    bounded("Sequences", Params, "seeds", "ih_seeds", slider=(1, 40, 1))
    bounded(
        "Threshold", Params, "threshold", "ih_threshold", slider=(0.05, 0.95, 0.05), format="%g"
    )
    _more()


def _more() -> None:
    with st.expander("More"):
        st.segmented_control("BOS token", ["auto", "true", "false"], key="ih_bos", required=True)
        bounded("Seed", Params, "seed", "ih_seed")


def _head(n_layers: int | None, n_heads: int | None) -> None:
    st.radio("View", list(LOOKS), key="ih_look", format_func=LOOKS.get)
    _receiver(n_layers, n_heads)
    help_ = f"{WINDOW} positions are drawn at a time."
    number("From position", "ih_from", 0, None, last=MAX_TOKENS - 1, help=help_)


def _receiver(n_layers: int | None, n_heads: int | None) -> None:
    for name, count in (("layer", n_layers), ("head", n_heads)):
        last = None if count is None else count - 1
        bounded(name.title(), Params, name, f"ih_{name}", last=last, placeholder="the best")


def _ablation(n_layers: int | None, n_heads: int | None) -> None:
    now = st.session_state
    every = [head_name(i, j) for i in range(n_layers or 0) for j in range(n_heads or 0)]
    tops = [f"top-{n}" for n in (1, 2, 4, 8, 16)]
    options = list(dict.fromkeys([*now["ih_ablate"], *tops, *every]))
    st.multiselect("Heads", options, key="ih_ablate", help="Heads by name, or one top-n.")
    st.selectbox("In their place", list(ABLATIONS), key="ih_ablation", format_func=ABLATIONS.get)
    bounded("Draws of other heads", Params, "controls", "ih_controls", slider=(1, 20, 1))
    bounded("Sequences", Params, "seeds", "ih_seeds", slider=(1, 40, 1))
    _more()


def _training() -> None:
    st.multiselect("Models", list(TOYS), key="ih_layers", format_func=TOY_NAMES.get)
    bounded("Training steps", Params, "steps", "ih_steps", slider=(100, 4000, 100))
    with st.expander("More"):
        bounded("Seed", Params, "seed", "ih_seed")


def typed(params: Params) -> Params:
    """Return ``params`` with what the controls say now.

    Raises:
        ParameterError: When a control holds what is not accepted.
    """
    now = st.session_state
    panel = now["ih_panel"]
    start = now["ih_from"] or 0
    given = {name: now[f"ih_{name}"] for name in PLAIN}
    text = now["ih_text"] if now["ih_text"].strip() else params.text or TEXT
    return dataclasses.replace(
        params,
        **given,
        model=now["model"],
        layer=now["ih_layer"],
        head=now["ih_head"],
        measure=panel if panel in ("circuits", "context") else "heads",
        ablate=tuple(now["ih_ablate"] or [TOP]) if panel in ("ablation", "context") else (),
        text=text if panel == "head" else "",
        positions=params.positions if start == params.positions[0] else (start, None, 1),
        train=panel == "training",
        layers=tuple(now["ih_layers"] or TOYS),
    )


def view(panel: str) -> dict[str, str]:
    """Return how the result is shown, for the address: what differs from the first sight."""
    now = st.session_state
    reads = {"heads": ("score",), "head": ("look",), "training": ("toy",)}.get(panel, ())
    found = {name: now[f"ih_{name}"] for name in reads if now[f"ih_{name}"] != FIRST[name]}
    if panel == "training" and now["ih_step"] is not None:
        found["step"] = str(now["ih_step"])
    return {f"view_{name}": value for name, value in found.items()}


def text_box() -> None:
    """Draw the box of the text whose patterns are shown."""
    st.text_area("Text", key="ih_text", max_chars=MAX_CHARACTERS, height=80)
    prompt.typed("ih_text", "", "text")
