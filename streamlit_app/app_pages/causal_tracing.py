"""Causal Tracing and ROME: where a fact is stored, and how to rewrite it."""

import dataclasses

import streamlit as st
from components import causal_tracing_controls as controls
from components import show, state, work
from components.model import pick

from interp_core.charts import causal_tracing as charts
from interp_core.charts import causal_tracing_edit as edit_charts
from interp_core.charts.causal_tracing_average import average_makers
from interp_core.charts.parts import shown, spaced
from interp_core.papers import PAPERS
from interp_core.papers.causal_tracing import AVERAGE, Average, Edit, Params, Trace, cost
from interp_core.params import ParameterError

PAPER = PAPERS["causal-tracing"]
METHOD = r"""
The subject's token embeddings are corrupted, by default with Gaussian noise of $3\sigma$, where
$\sigma$ is the standard deviation of subjects' embeddings over the facts that come with Lensbook.
Then one thing is restored to its clean value: the state after block $\ell$ at one token, or an MLP's
or attention's output over a window of blocks. What comes back of the answer is its *indirect
effect*, $P_{*,\,\mathrm{clean}}(o) - P_*(o)$, a difference of probabilities. *Severed*: the state is
restored while the MLPs (or attention) after it stay as corrupted. The edit adds a rank-one matrix
to one MLP's down-projection $W$, so that the subject's key $k^*$ gives a new value $v^*$:
$W + (v^* - W k^*)(C^{-1}k^*)^\top / ((C^{-1}k^*)^\top k^*)$. The edited model is a view: the loaded
weights are never touched, and nobody else sees the edit. A token that begins documents stands in
front of the prompt, since without it the subject is often the attention sink.

A window of blocks restores them all, so it widens and moves a site: where block 0 alone restores most
of the answer, every window that reaches it does. Scores of edits compare two probabilities, the new
object's with the old answer's; the likeliest token may still be a third. The facts were written for
Lensbook, and many subjects suggest the answer by their wording or language.
"""


def told(result: Trace) -> None:
    """Say what the model answers, and when that is not what is traced."""
    answer = work.plain(shown(result.answer))
    if result.answer_rank:
        st.warning(
            f"The model's own answer is {work.plain(shown(result.own_answer))} "
            f"({result.own_probability:.0%}); {answer} has rank {result.answer_rank + 1}. "
            "It is traced all the same."
        )
    where = "".join(result.tokens[slice(*result.subject)]).strip()
    st.markdown(
        f"Subject: **{work.plain(where)}**. The model answers {answer} with "
        f"{result.clean_probability:.1%}; with the subject corrupted, "
        f"{result.corrupt_probability.mean():.1%}."
    )


def draw_trace(result: Trace) -> None:
    """Draw the maps, and what was severed."""
    told(result)
    figures = charts.makers(dataclasses.replace(result, average=None))
    for name, make in figures.items():
        show.figure(make(), f"{name}-{hash(result.params)}")


def trace_panel(params: Params) -> Trace | None:
    """Show the trace, or as much of it as there is."""
    asked = PAPER.analysis(dataclasses.replace(params, edit=False, facts=""))[1]
    result = work.result_for(PAPER, asked, draw_partial, seconds=cost.seconds(asked))
    if isinstance(result, Trace):
        draw_trace(result)
        return result
    return None


def draw_partial(result: object) -> None:
    """Draw what a running trace has shown."""
    if isinstance(result, Trace):
        show.figure(charts.trace_maps(result), "partial")


def average_panel(params: Params) -> Average | None:
    """Show averages over facts: those the findings rest on, or measured now."""
    asked = PAPER.analysis(dataclasses.replace(AVERAGE, model=params.model))[1]
    note = (
        f"Not measured on this model yet. It traces {AVERAGE.limit} facts that the model knows, "
        "for some seconds to a minute each, keeps every one, and goes on where it stopped."
    )
    result = work.on_request(PAPER, asked, note, draw_average)
    if isinstance(result, Average):
        draw_average(result)
        return result
    return None


def draw_average(result: object) -> None:
    """Draw averages, of as many facts as there are."""
    if isinstance(result, Average):
        summary = result.summary
        st.markdown(
            f"{summary['facts']} facts that the model knows ({summary['wrong']} others it does not); "
            f"average total effect {summary['average_total_effect']:.2f} "
            f"\\[{summary['average_total_effect_low']:.2f}, "
            f"{summary['average_total_effect_high']:.2f}\\], {summary['samples']} noise samples."
        )
        for name, make in average_makers(result).items():
            show.figure(make(), f"{name}-{len(result.prompts)}")


def edit_panel(params: Params, n_layers: int) -> Edit | None:
    """Offer an edit, and show what it does once applied."""
    controls.edit_form(n_layers)
    if not params.edit or not params.new_object.strip():
        st.markdown("The loaded model stays as it is; an edit is a view of it that only you see.")
        return None
    asked = PAPER.analysis(dataclasses.replace(params, facts=""))[1]
    result = work.result_for(PAPER, asked, seconds=cost.seconds(asked))
    if not isinstance(result, Edit):
        return None
    for name, make in edit_charts.makers(dataclasses.replace(result, scores=None)).items():
        show.figure(make(), f"{name}-{hash(result.params)}")
    texts = result.frames["continuations"].pivot(index="prompt", columns="when", values="text")
    st.markdown("#### What the model writes")
    st.table(texts[["before", "after"]].map(spaced).map(work.plain))
    return result


def main() -> None:
    """Draw the page."""
    params, seen, fresh = state.read(PAPER)
    if fresh:
        controls.seed(params, seen)
    work.opened(by_link=fresh)
    controls.keep()
    model = pick(params.model, fresh=fresh)
    n_layers = model.n_layers or 48
    show.header(PAPER, METHOD)
    if error := st.session_state.get("link_error"):
        st.warning(f"This link is not accepted, so defaults are shown. {work.plain(error)}")
    params = controls.setting(params)
    side, figure = st.columns([1, 4.4], gap="medium")
    with side:
        try:
            params = controls.sliders(params, n_layers)
        except ParameterError as error:
            st.error(work.plain(str(error)))
            return
    with figure:
        st.segmented_control(
            "Panel",
            list(controls.PANELS),
            key="ct_panel",
            format_func=controls.PANELS.get,
            required=True,
            label_visibility="collapsed",
        )
        state.write(PAPER, params, controls.view())
        panel = st.session_state["ct_panel"]
        if panel == "edit":
            result = edit_panel(params, n_layers)
        elif panel == "average":
            result = average_panel(params)
        else:
            result = trace_panel(params)
    if result is None:
        return
    makers = {Trace: charts.makers, Average: average_makers, Edit: edit_charts.makers}
    figures = makers[type(result)](result)
    show.ending(PAPER, result, controls.view(), figures, "*Over many facts*")


main()
