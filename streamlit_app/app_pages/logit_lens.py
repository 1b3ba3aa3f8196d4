"""Logit Lens: the next-token guess after every layer."""

import dataclasses

import streamlit as st
from components import prompt, show, state, work
from components.engine import engine
from components.model import pick

from interp_core.charts import logit_lens as charts
from interp_core.charts.parts import shown
from interp_core.papers import PAPERS
from interp_core.papers.logit_lens import PRESETS, LogitLens, Params
from interp_core.params import MAX_CHARACTERS, ParameterError

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
METHOD = r"""
At every layer $\ell$ and position the residual $h_\ell$ is read as if it were the last:
$p_\ell = \mathrm{softmax}(W_U\,\mathrm{norm}_f(h_\ell))$, with the model's own final norm
(its scale computed anew for each layer) and unembedding. Layer $\ell$ is the stream after block
$\ell$; *embed* is what enters block 0. KL is $\mathrm{KL}(p_{\mathrm{final}} \,\|\, p_\ell)$ in
nats. Position 0 is the attention sink of most models, so averages leave it out. The post reads
GPT-2 before the final norm's gain; here the whole norm is applied, as everyone has since.
"""


SUPPORT = {
    "top": "Top ten",
    "trajectories": "Over layers",
    "attribution": "Attribution",
    "layers": "Means by layer",
    "survey": "Over many prompts",
}


def ends(span: tuple[int, int | None, int], size: int) -> tuple[int, int]:
    """Return a span as the two ends of a slider over ``range(size)``."""
    stop = size if span[1] is None else min(span[1], size)
    return (min(span[0], stop - 1), stop - 1)


def span(ends: tuple[int, int], size: int, stride: int = 1) -> tuple[int, int | None, int]:
    """Return a slider's two ends as a parameter; the whole range means whatever there is."""
    start, last = ends
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
    colour, support = view.get("view_colour"), view.get("view_support")
    now["colour"] = colour if colour in COLOURS else "probability"
    now["support"] = support if support in SUPPORT else "top"
    now["cell"] = view.get("view_cell", "")
    now["sizes"] = None


def seed_spans(params: Params, sizes: tuple[int, int]) -> None:
    """Fit the sliders to the model's depth and the prompt's length when either changes."""
    now = st.session_state
    if now.get("sizes") != sizes:
        now["layers"], now["positions"] = (
            ends(params.layers, sizes[0]),
            ends(params.positions, sizes[1]),
        )
        now["sizes"] = sizes


def use_preset() -> None:
    """Take over the preset that was picked, on the model that is chosen."""
    if name := st.session_state["preset"]:
        chosen = dataclasses.replace(PRESETS[name], model=st.session_state["model"])
        state.write(PAPER, chosen, {})
        seed(chosen, {})


def typed(params: Params) -> Params:
    """Return ``params`` with what decides the tokens as it is typed now."""
    now = st.session_state
    return dataclasses.replace(
        params, model=now["model"], prompt=now["prompt"], chat=now["chat"], bos=now["bos"]
    )


def sliders(params: Params, sizes: tuple[int, int]) -> Params:
    """Draw the controls beside the figure, and return ``params`` with what they say."""
    n_layers, n_tokens = sizes
    now = st.session_state
    if n_layers > 1:
        st.slider("Layers", 0, n_layers - 1, key="layers")
    st.slider("Every n-th layer", 1, max(2, n_layers // 2), key="stride")
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
        st.slider("Top tokens kept", 1, 100, key="top_k")
        st.segmented_control("BOS token", ["auto", "true", "false"], key="bos", required=True)
        st.toggle("Chat format", key="chat")
        st.slider("Positions left out of averages", 0, 64, key="skip_first")
    return dataclasses.replace(
        params,
        stream=now["stream"],
        watch=tuple(now["watch"]),
        top_k=now["top_k"],
        skip_first=now["skip_first"],
        layers=span(now["layers"], n_layers, now["stride"]),
        positions=span(now["positions"], n_tokens),
    )


def setting() -> None:
    """Draw the prompt and the presets."""
    st.pills(
        "Preset", list(PRESETS), key="preset", on_change=use_preset, label_visibility="collapsed"
    )
    st.text_area(
        "Prompt", key="prompt", height=68, max_chars=MAX_CHARACTERS, label_visibility="collapsed"
    )


def chosen_cell(result: LogitLens, event: dict) -> tuple[int, int]:
    """Return the layer and position that were clicked, or come with the link, or the last."""
    clicked = event["selection"].get("cell") if event else None
    if clicked:
        st.session_state["cell"] = f"{clicked[0]['layer']}.{clicked[0]['position']}"
    layer, _, position = st.session_state["cell"].partition(".")
    cells = result.frames["cells"]
    known = cells[
        (cells["layer"].astype(str) == layer) & (cells["position"].astype(str) == position)
    ]
    row = cells.iloc[-1] if known.empty else known.iloc[0]
    return int(row["layer"]), int(row["position"])


def support(result: LogitLens, layer: int, position: int) -> None:
    """Draw the supporting figure that is chosen, for the chosen cell."""
    st.segmented_control(
        "Supporting figure",
        list(SUPPORT),
        key="support",
        format_func=SUPPORT.get,
        required=True,
        label_visibility="collapsed",
    )
    kind = st.session_state["support"]
    if kind == "top":
        top_tokens(result, layer, position)
    elif kind == "trajectories":
        scale = st.radio(
            "Scale", ["probability", "rank"], horizontal=True, label_visibility="collapsed"
        )
        show.figure(charts.trajectories(result, position, scale), f"trajectories-{scale}")
    elif kind == "attribution":
        targets = list(result.frames["attribution"]["target"].unique())
        target = st.radio("Token", targets, horizontal=True, format_func=target_name)
        show.figure(charts.attribution(result, position, target), "attribution")
    elif kind == "layers":
        show.figure(charts.layers(result), "layers")
    elif result.survey is not None:
        for name, chart in charts.survey_charts(result.survey).items():
            show.figure(chart, f"survey-{name}")
    else:
        st.markdown("The findings were not measured on this model yet: see below.")


def target_name(target: str) -> str:
    """Return how a followed token is called on the page."""
    return target if target == "final top" else shown(target)


def top_tokens(result: LogitLens, layer: int, position: int) -> None:
    """List the most likely tokens of one cell."""
    grid = result.frames["grid"]
    cell = grid[(grid["layer"] == layer) & (grid["position"] == position)].head(10)
    row = cell.iloc[0]
    place = "the embedding" if layer < 0 else f"layer {layer}"
    st.markdown(
        f"At {place}, position {position} ({work.plain(shown(row['input']))}): entropy "
        f"{row['entropy']:.2f} nats, KL {row['kl']:.2f} nats. Click a cell to read another."
    )
    table = cell[["rank", "token", "token_id", "probability"]].assign(
        token=cell["token"].map(shown)
    )
    st.dataframe(
        table,
        hide_index=True,
        width="content",
        column_config={
            "token_id": "id",
            "probability": st.column_config.ProgressColumn(format="%.4f", min_value=0, max_value=1),
        },
    )


def draw(result: LogitLens) -> None:
    """Draw the main figure, and the supporting one for the chosen cell."""
    grid = charts.grid(result, st.session_state["colour"])
    event = show.figure(grid, f"grid-{hash(result.params)}", select="cell")
    layer, position = chosen_cell(result, event)
    support(result, layer, position)


def view() -> dict[str, str]:
    """Return how the result is shown, for the address: what differs from the first sight."""
    now = st.session_state
    shown_now = {
        "view_colour": (now["colour"], "probability"),
        "view_support": (now["support"], "top"),
        "view_cell": (now["cell"], ""),
    }
    return {name: value for name, (value, first) in shown_now.items() if value != first}


def outcome(params: Params, result: LogitLens) -> None:
    """Draw what stands below the figures: findings, what to take along, provenance."""
    st.markdown("### Findings")
    if not result.survey:
        st.markdown("Not measured on this model yet. It takes a minute or more, once.")
        if st.button("Measure them") or st.session_state.get("measuring") == params:
            st.session_state["measuring"] = params
            if work.measure_findings(PAPER, params):
                st.session_state["measuring"] = None
                st.rerun()
    else:
        show.findings(result.findings)
    st.markdown("### Take it with you")
    figures = result.charts() | {"grid": charts.grid(result, st.session_state["colour"])}
    show.take_away(PAPER, result, view(), figures)
    show.provenance(result)


def main() -> None:
    """Draw the page."""
    params, seen, fresh = state.read(PAPER)
    if fresh:
        seed(params, seen)
    model = pick(params.model, fresh=fresh)
    show.header(PAPER, METHOD)
    if error := st.session_state.get("link_error"):
        st.warning(f"This link is not accepted, so the defaults are shown. {work.plain(error)}")
    setting()
    try:
        params = typed(params)
        tokens = prompt.tokens_of(params)
    except ValueError as error:
        st.error(work.plain(str(error)))
        return
    if tokens is None and (kept := engine().result(PAPER, params)) is not None:
        tokens = prompt.tokens_in(kept)
    if tokens:
        prompt.chips(tokens, model.context)
    sizes = (model.n_layers or 1, len(tokens or [None]))
    seed_spans(params, sizes)
    side, figure = st.columns([1, 4.4], gap="medium")
    with side:
        try:
            params = sliders(params, sizes)
        except ParameterError as error:
            st.error(work.plain(str(error)))
            return
    state.write(PAPER, params, view())
    with figure:
        result = work.result_for(PAPER, params)
        if result is None:
            if (before := st.session_state.get("before")) is not None:
                show.figure(charts.grid(before, st.session_state["colour"]), "before", dim=True)
            return
        st.session_state["before"] = result
        draw(result)
    state.write(PAPER, params, view())
    outcome(params, result)


main()
