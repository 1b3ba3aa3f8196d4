"""Induction Heads: heads that continue repeated patterns, and how they form."""

import dataclasses
from collections.abc import Callable

import streamlit as st
from components import induction_heads_controls as controls
from components import show, state, work
from components.engine import engine
from components.model import pick

from interp_core.charts import induction_heads as charts
from interp_core.charts import induction_patterns as pattern_charts
from interp_core.charts import induction_training as training_charts
from interp_core.charts.induction_circuits import ablation_makers, circuit_makers
from interp_core.papers import PAPERS
from interp_core.papers.induction_heads import Heads, Params, Pattern, Training, cost, head_name
from interp_core.params import ParameterError
from interp_core.results import Result

PAPER = PAPERS["induction-heads"]
METHOD = r"""
Random tokens stand several times in the same order: nothing but copying predicts them. An induction
head at a token looks back to what *followed* that token before. Its *prefix-matching score* is that
attention, summed over earlier copies and averaged over the later copies' tokens (1 is perfect). It
takes two steps: an earlier *previous-token head* writes into each position what stood before it, and
the induction head's keys read that (*K-composition*). *Copying* is
$\sum_i \lambda_i / \sum_i |\lambda_i|$ over the eigenvalues of $W_E W_{OV} W_U$. *Path patching* takes
what an earlier head writes out of one head's keys and of nothing else. The *in-context learning
score* is the loss of token 500 less that of token 50. With several copies attention is shared among
them, so scores are summed over copies; the paper's sentence can be read otherwise. Each small model is
trained from one seed; on other seeds the change comes some hundred steps earlier or later.
"""


def heads_panel(asked: Params) -> Heads | None:
    """Show every head's scores."""
    result = work.result_for(PAPER, asked, seconds=cost.seconds(asked))
    if not isinstance(result, Heads):
        return None
    names = ", ".join(head_name(*pair) for pair in result.induction_heads[:8]) or "none"
    summary = result.summary
    st.markdown(
        f"**{len(result.induction_heads)}** of {result.copying.size:,} heads above "
        f"{asked.threshold:g}: {names}. The loss falls from {summary['first_copy_loss']:.1f} nats on the "
        f"first copy to {summary['last_copy_loss']:.1f} on the last. Click a head to open it."
    )
    chart = charts.head_grid(result, st.session_state["ih_score"])
    show.figure(chart, "ih_grid", select="head", then=controls.use_head)
    finder(result)
    for name in ("copy_losses", "score_scatter"):
        show.figure(getattr(charts, name)(result), f"{name}-{hash(asked)}")
    return result


def finder(result: Heads) -> None:
    """List the best heads by the chosen score."""
    score = st.session_state["ih_score"]
    frame = result.frames["heads"].sort_values(score, ascending=False).head(10)
    names = [head_name(*pair) for pair in zip(frame["layer"], frame["head"], strict=True)]
    st.markdown(f"#### Top ten by {charts.SCORES[score][0].lower()}, of {result.copying.size:,}")
    columns = ["prefix_matching", "spread", "previous_token", "copying", "logit_copying", "entropy"]
    columns = list(dict.fromkeys([score, *columns]))
    st.dataframe(frame[columns].set_axis(names).round(3), width="content")


def head_panel(asked: Params) -> Pattern | None:
    """Show what one head looks at in the reader's text."""
    controls.text_box()
    result = work.result_for(PAPER, dataclasses.replace(asked, head=None))
    if not isinstance(result, Pattern):
        return None
    head = result.head if asked.head is None else min(asked.head, len(result.pattern) - 1)
    score = result.scores[0, result.layer, head]
    told = "no token stands twice" if score != score else f"prefix matching {score:.2f}"
    n = len(result.tokens)
    part = (
        "" if len(result.positions) == n else f" Showing {len(result.positions)} of {n} positions."
    )
    st.markdown(f"**{head_name(result.layer, head)}** on this text: {told}.{part}")
    look = st.session_state["ih_look"]
    chart = {
        "pattern": lambda: pattern_charts.pattern(result, head),
        "arcs": lambda: pattern_charts.arcs(result, head),
        "layer": lambda: pattern_charts.layer_patterns(result),
    }[look]()
    show.figure(chart, f"{look}-{head}-{hash(result.params)}")
    return result


def ablation_panel(asked: Params) -> Result | None:
    """Show what is lost without some heads."""
    note = (
        "Repeats are run again without these heads, and without as many others: "
        "half a minute to a few minutes, by the number of sequences and draws."
    )
    return figures(work.on_request(PAPER, asked, note, label="Ablate"), ablation_makers)


def circuits_panel(asked: Params) -> Result | None:
    """Show the paths into a head's keys, and composition."""
    note = (
        "Every earlier head's path into this head's keys is patched, and all pairs of heads are "
        "compared: about a minute."
    )
    return figures(work.on_request(PAPER, asked, note), circuit_makers)


def context_panel(asked: Params) -> Result | None:
    """Show how the loss falls along texts."""
    note = (
        f"{asked.texts} passages of {asked.context} tokens of Python's own manual are read, whole and "
        "without the best heads: some ten minutes on two cores."
    )
    return figures(work.on_request(PAPER, asked, note), charts.context_makers)


def figures(result: Result | None, makers: Callable) -> Result | None:
    """Draw all figures of a result."""
    if result is None:
        return None
    for name, make in makers(result).items():
        show.figure(make(), f"{name}-{hash(result.params)}")
    return result


def training_panel(asked: Params) -> Training | None:
    """Show small models through their training, or train them now."""
    note = (
        "Training starts from nothing and streams its curves; a minute or two a model on two cores. "
        "It can be cancelled, and goes on where it stopped."
    )
    result = work.on_request(PAPER, asked, note, draw_phase, label="Train")
    if not isinstance(result, Training):
        return None
    now = st.session_state
    steps = result.steps.tolist()
    asked_step = steps[-1] if now["ih_step"] is None else now["ih_step"]
    near = min(steps, key=lambda step: abs(step - asked_step))
    now["ih_slider"] = near
    st.select_slider("Seen at step", steps, key="ih_slider", on_change=_slide)
    draw_phase(result, near)
    show.figure(training_charts.heads_at(result, near), "heads_at")
    toys = list(result.models)
    if now["ih_toy"] not in toys:
        now["ih_toy"] = toys[0]
    st.segmented_control(
        "Model", toys, key="ih_toy", format_func=controls.TOY_NAMES.get, required=True
    )
    show.figure(training_charts.patterns_at(result, now["ih_toy"], near), "patterns_at")
    show.figure(training_charts.components(result, near), "components")
    return result


def _slide() -> None:
    st.session_state["ih_step"] = st.session_state["ih_slider"]


def draw_phase(result: object, step: int | None = None) -> None:
    """Draw the curves, of as much training as there is."""
    if isinstance(result, Training):
        show.figure(training_charts.phase(result, step), "phase")


def size_of(params: Params) -> tuple[int | None, int | None]:
    """Return the model's layers and heads a layer, once its heads were scored."""
    known = engine().result(PAPER, PAPER.analysis(Params(model=params.model))[1])
    return known.copying.shape if isinstance(known, Heads) else (None, None)


PANELS: dict[str, Callable[[Params], Result | None]] = {
    "heads": heads_panel,
    "head": head_panel,
    "ablation": ablation_panel,
    "circuits": circuits_panel,
    "context": context_panel,
    "training": training_panel,
}
MAKERS: dict[str, Callable] = {
    "heads": charts.makers,
    "head": pattern_charts.pattern_makers,
    "ablation": ablation_makers,
    "circuits": circuit_makers,
    "context": charts.context_makers,
    "training": training_charts.makers,
}


def main() -> None:
    """Draw the page."""
    params, seen, fresh = state.read(PAPER)
    if fresh:
        controls.seed(params, seen)
    work.opened(by_link=fresh)
    controls.keep()
    pick(params.model, fresh=fresh)
    show.header(PAPER, METHOD)
    if error := st.session_state.get("link_error"):
        st.warning(f"This link is not accepted, so defaults are shown. {work.plain(error)}")
    controls.setting()
    panel = st.session_state["ih_panel"]
    side, figure = st.columns([1, 4.4], gap="medium")
    try:
        with side:
            controls.sliders(panel, *size_of(params))
        params = controls.typed(params)
    except ParameterError as error:
        st.error(work.plain(str(error)))
        return
    asked = PAPER.analysis(params)[1]
    state.write(PAPER, asked, controls.view(panel))
    with figure:
        result = PANELS[panel](asked)
    if result is not None:
        view = controls.view(panel)
        show.ending(PAPER, result, view, MAKERS[panel](result), "the other panels")


main()
