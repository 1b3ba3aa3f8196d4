"""Causal Tracing and ROME: which states recall a fact, and how to rewrite it.

Meng, Bau, Andonian, Belinkov (2022), *Locating and Editing Factual Associations in GPT*. The
subject of a prompt is corrupted with noise, one hidden state at a time is restored, and what comes
back of the answer is that state's indirect effect. The edit adds a rank-one matrix to one MLP's
down-projection, so that the subject's key gives a new value.

Layer ``l`` is block ``l``; a restored state is the stream after it. Effects are differences of
probability, not shares of what was lost. The noise is drawn as in the released code, so equal seeds
give equal noise for equal shapes.

Departures: a token that begins documents stands in front of the prompt (``start``), as without it
the subject often is the attention sink; prompts and facts are the project's own.
"""

from functools import partial

from interp_core.models.info import SECOND, UNTRAINED
from interp_core.papers.causal_tracing import (
    claims,
    claims_edits,
    cost,
    facts,
    figures,
    figures_average,
    figures_edit,
    figures_scores,
)
from interp_core.papers.causal_tracing.average import Average, AverageParams
from interp_core.papers.causal_tracing.compute import average as compute_average
from interp_core.papers.causal_tracing.compute import edit as compute_edit
from interp_core.papers.causal_tracing.compute import trace as compute_trace
from interp_core.papers.causal_tracing.compute.subject import prompt_ids
from interp_core.papers.causal_tracing.edit import Edit, EditParams
from interp_core.papers.causal_tracing.scores import SWEPT, EditScores, ScoresParams
from interp_core.papers.causal_tracing.trace import Params, Trace
from interp_core.question import Paper, Question, like
from interp_core.results import Figure

__all__ = [
    "AFTER_FIRST",
    "KNOWN",
    "LATE",
    "PAPER",
    "PRESETS",
    "SWEEP",
    "UNTRAINED_WINDOWS",
    "WINDOWS",
    "Average",
    "AverageParams",
    "Edit",
    "EditParams",
    "EditScores",
    "Params",
    "ScoresParams",
    "Trace",
    "run",
]

_METHOD = r"""
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

A window of layers restores them all, so it widens and moves a site: where layer 0 alone restores most
of the answer, every window that reaches it does; *Windows* shows the early site with fewer layers at a
time. CounterFact's scores of edits compare two probabilities, the new object's with the old answer's; the
likeliest token may still be a third, so the share where it is the wanted one stands beside them. The block
that is edited was picked by its edits of the first facts; claims are measured on the others. The facts were
written for Lensbook, and many subjects suggest the answer by their wording or language.
"""

PRESETS = {
    "A continent": Params(samples=10),
    "A landmark": Params(
        prompt="The Eiffel Tower is located in the city of", subject="The Eiffel Tower"
    ),
    "A gas": Params(
        prompt="Of the three states of matter, oxygen at room temperature is a", subject="oxygen"
    ),
    "A state": Params(
        prompt="San Diego is a large city in the American state of",
        subject="San Diego",
        samples=10,
    ),
    "Another subject": Params(
        subject="South Africa",
        corruption="swap",
        swap="North Korea",
        window=1,
        kinds=("resid_post", "mlp_out", "attn_out", "z"),
        metric="logit_difference",
    ),
}
"""Ready-made settings; their results on the default model ship with the package."""

SWEEP = (
    *[ScoresParams(limit=SWEPT, layer=layer) for layer in (1, 5, 20)],
    ScoresParams(limit=SWEPT, layer=1, covariance="identity"),
)
"""Edits of fewer facts, by layer, and with C left out: what the report shows of both choices."""

WINDOWS = tuple(AverageParams(window=window, kinds=("mlp_subject",)) for window in (1, 3, 5))
"""MLPs over fewer blocks at a time: what of the early site is the window's."""

LATE = tuple(AverageParams(window=window, kinds=("attn_last",)) for window in (1, 3, 5))
"""Attention at the last token, alike: what of the late site is."""

AFTER_FIRST = tuple(
    AverageParams(noise_after=0, window=window, kinds=("mlp_subject",)) for window in (1, 10)
)
"""MLPs restored where the noise is added after the first block, which has then read the subject as it is."""

KNOWN = AverageParams(facts="f8405f66609e518a", kinds=("resid_post", "mlp_subject"))
"""The facts of ROME's known_1000, which are not part of Lensbook: ``--facts`` reads them where they are at hand."""

EXAMPLES = {
    fact.prompt: {"prompt": fact.prompt, "subject": fact.subject} for fact in facts.load("shipped")
}

TRACE = Question(
    name="trace",
    label="Trace",
    params=Params,
    result=Trace,
    compute=compute_trace.compute,
    seconds=cost.seconds,
    figures=(
        Figure("maps", figures.trace_maps, live=True, when=figures.has_maps),
        Figure("severed", figures.severed, when=figures.has_severed),
        Figure("heads", figures.heads, when=figures.has_heads),
    ),
    evidence={"average": AverageParams()},
    sentence=figures.sentence,
    tokens=prompt_ids,
    examples=EXAMPLES,
)

AVERAGE = Question(
    name="average",
    label="Averages over facts",
    params=AverageParams,
    result=Average,
    compute=compute_average.compute,
    figures=(
        Figure(
            "average_lines", figures_average.average_lines, live=True, when=figures_average.has_maps
        ),
        Figure(
            "average_maps", figures_average.average_maps, live=True, when=figures_average.has_maps
        ),
        Figure(
            "average_severed",
            figures_average.average_severed,
            live=True,
            when=figures_average.has_severed,
        ),
        Figure(
            "windows", figures_average.windows, label="Windows", when=figures_average.has_windows
        ),
        Figure(
            "late_windows",
            partial(figures_average.windows, kind="attn_last"),
            label="Windows of attention",
            when=partial(figures_average.has_windows, kind="attn_last"),
        ),
    ),
    evidence={
        **{f"window_{params.window}": params for params in WINDOWS},
        **{f"late_{params.window}": params for params in LATE},
    },
    claims=(claims.of_average,),
    cost=lambda params: (
        f"It traces up to {params.limit} facts that the model knows, each for some seconds to a minute, "
        "caches every one, and resumes where it stopped."
    ),
    sentence=figures_average.sentence,
)

EDIT = Question(
    name="edit",
    label="Edit",
    params=EditParams,
    result=Edit,
    compute=compute_edit.compute,
    figures=(
        Figure("before_after", figures_edit.before_after),
        Figure("continuations", figures_edit.continuations, label="What the model writes"),
        Figure("search", figures_edit.search, label="Search for the value"),
    ),
    evidence={"scores": ScoresParams()},
    cost="It searches for the new value by gradient descent: half a minute, and a minute more where the "
    "key covariance of this layer was not estimated yet.",
    sentence=figures_edit.sentence,
    tokens=prompt_ids,
    examples=EXAMPLES,
)

SCORES = Question(
    name="scores",
    label="Scores of edits",
    params=ScoresParams,
    result=EditScores,
    compute=compute_edit.scores,
    figures=(Figure("scores", figures_scores.own_scores),),
    claims=(claims_edits.of_edits,),
    cost=lambda params: (
        f"It rewrites up to {params.limit} facts, one at a time: half a minute each."
    ),
    sentence=figures_scores.sentence,
)

SECOND_AVERAGE = AverageParams(model=SECOND, limit=32)
"""Fewer facts on the second model, whose every fact takes as long again."""

UNTRAINED_AVERAGE = AverageParams(model=UNTRAINED, answers="own")
"""Of weights drawn at random, which know no facts: whatever they say next is traced."""

UNTRAINED_WINDOWS = tuple(like(each, UNTRAINED_AVERAGE) for each in (WINDOWS[0], LATE[0]))
"""Single blocks of them."""

PAPER = Paper(
    name="causal-tracing",
    title="Causal Tracing and ROME",
    claim="Find which states recall a fact, and rewrite it.",
    reference="Meng et al. 2022",
    url="https://arxiv.org/abs/2202.05262",
    questions=(TRACE, AVERAGE, EDIT, SCORES),
    method=_METHOD,
    level="intermediate",
    presets=PRESETS,
    headline=(AverageParams(), ScoresParams()),
    second=(SECOND_AVERAGE, ScoresParams(model=SECOND)),
    untrained=(UNTRAINED_AVERAGE,),
    ships=(
        *SWEEP,
        *AFTER_FIRST,
        *UNTRAINED_WINDOWS,
        KNOWN,
        *(like(each, SECOND_AVERAGE) for each in (*WINDOWS, *LATE, *AFTER_FIRST)),
    ),
)
run = PAPER.run
