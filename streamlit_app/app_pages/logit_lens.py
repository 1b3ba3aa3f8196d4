"""Logit Lens: the next-token guess after every layer."""

from functools import partial

import streamlit as st
from components import logit_lens_controls as controls
from components import prompt, show, state, work
from components.engine import engine
from components.model import pick

from interp_core.charts import logit_lens as charts
from interp_core.charts.parts import shown
from interp_core.papers import PAPERS
from interp_core.papers.logit_lens import LogitLens, Params, cost
from interp_core.params import ParameterError

PAPER = PAPERS["logit-lens"]
METHOD = r"""
At every layer $\ell$ and position the residual $h_\ell$ is read as if it were the last:
$p_\ell = \mathrm{softmax}(W_U\,\mathrm{norm}_f(h_\ell))$, with the model's own final norm
(its scale computed anew for each layer) and unembedding. Layer $\ell$ is the stream after block
$\ell$; *embed* is what enters block 0. KL is $\mathrm{KL}(p_{\mathrm{final}} \,\|\, p_\ell)$ in
nats. Position 0 is the attention sink of most models, so averages leave it out. The post reads
GPT-2 before the final norm's gain; here the whole norm is applied, as everyone has since. Averages
are over prompts that were written for Lensbook; where KL peaks depends on the text.
"""


def chosen_cell(result: LogitLens) -> tuple[int, int]:
    """Return the layer and position that were clicked, or come with the link, or the last."""
    layer, _, position = st.session_state["cell"].partition(".")
    cells = result.frames["cells"]
    known = cells[
        (cells["layer"].astype(str) == layer) & (cells["position"].astype(str) == position)
    ]
    row = cells.iloc[-1] if known.empty else known.iloc[0]
    return int(row["layer"]), int(row["position"])


def support(result: LogitLens, layer: int, position: int) -> None:
    """Draw the supporting figure that is chosen, for the chosen cell."""
    kind = st.session_state["support"]
    if kind == "top":
        top_tokens(result, layer, position)
    elif kind == "trajectories":
        st.radio(
            "Scale",
            list(controls.SCALES),
            key="scale",
            horizontal=True,
            label_visibility="collapsed",
        )
        chart = charts.trajectories(result, position, st.session_state["scale"])
        show.figure(chart, "trajectories")
    elif kind == "attribution":
        targets = list(result.frames["attribution"]["target"].unique())
        if st.session_state["target"] not in targets:
            st.session_state["target"] = controls.FINAL
        st.radio("Token", targets, key="target", horizontal=True, format_func=target_name)
        chart = charts.attribution(result, position, st.session_state["target"])
        show.figure(chart, "attribution")
    elif kind == "layers":
        show.figure(charts.layers(result), "layers")
    elif result.survey is not None:
        for name, chart in charts.survey_charts(result.survey).items():
            show.figure(chart, f"survey-{name}")
    else:
        st.markdown("The findings were not measured on this model yet: see below.")


def target_name(target: str) -> str:
    """Return how a followed token is called on the page."""
    return "the output's top token" if target == controls.FINAL else shown(target)


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


def draw(params: Params) -> LogitLens | None:
    """Draw the main figure, and the supporting one for the chosen cell, as far as they are there.

    Their controls stand whether or not the result does, so that a click on them is never lost.
    """
    colour = st.session_state["colour"]
    main, below = st.container(), st.container()
    below.segmented_control(
        "Supporting figure",
        list(controls.SUPPORT),
        key="support",
        format_func=controls.SUPPORT.get,
        required=True,
        label_visibility="collapsed",
    )
    with main:
        result = work.result_for(PAPER, params, seconds=cost.seconds(params))
        if result is None:
            if (before := st.session_state.get("before")) is not None:
                with show.dimmed(before.params.prompt):
                    show.figure(charts.grid(before, colour), "before")
            return None
        grid = charts.grid(result, colour)
        key = f"grid-{hash(result.params)}"
        show.figure(grid, key, select="cell", then=partial(controls.use_cell, key))
        cell = chosen_cell(result)
    with below:
        support(result, *cell)
    st.session_state["before"] = result
    return result


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
    figures = charts.makers(result)
    figures["grid"] = partial(charts.grid, result, st.session_state["colour"])
    show.take_away(PAPER, result, controls.view(), figures)
    show.provenance(result)


def main() -> None:
    """Draw the page."""
    params, seen, fresh = state.read(PAPER)
    if fresh:
        controls.seed(params, seen)
    work.opened(by_link=fresh)
    controls.seed_view(seen)
    model = pick(params.model, fresh=fresh)
    show.header(PAPER, METHOD)
    notice = st.container()
    controls.setting()
    params, refused, tokens = controls.typed(params), False, None
    try:
        tokens = prompt.tokens_of(params)
    except ValueError as error:
        refused = True
        st.error(work.plain(str(error)))
    if tokens is None and (kept := engine().result(PAPER, params)) is not None:
        tokens = prompt.tokens_in(kept)
    if tokens:
        prompt.chips(tokens, model.context)
    sizes = (model.n_layers, len(tokens or []))
    if fresh:
        params = controls.fitted(params, sizes)
    controls.seed_spans(params, sizes)
    if error := st.session_state.get("link_error"):
        notice.warning(f"This link is not accepted, so defaults are shown. {work.plain(error)}")
    side, figure = st.columns([1, 4.4], gap="medium")
    with side:
        try:
            params = controls.sliders(params, sizes)
        except ParameterError as error:
            st.error(work.plain(str(error)))
            return
    state.write(PAPER, params, controls.view())
    if refused:
        return
    with figure:
        result = draw(params)
    if result is None:
        return
    state.write(PAPER, params, controls.view())
    outcome(params, result)


main()
