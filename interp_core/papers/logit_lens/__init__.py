"""Logit Lens: read the model's next-token guess after every layer.

nostalgebraist (2020), *interpreting GPT: the logit lens*, LessWrong. For a residual ``h`` anywhere
in the network, ``softmax(unembed(final_norm(h)))`` is a distribution over next tokens; at the last
layer it is the model's own.

Layers are numbered as blocks: layer ``l`` is the residual after block ``l``, and layer -1 the
embedding that enters block 0.

Departures from the post: the whole final norm is applied, gain included, as everyone has since;
the divergence is KL(final || layer) in nats, the direction of Belrose et al. 2023.
"""

from functools import partial

from interp_core.models.info import SECOND, UNTRAINED
from interp_core.papers.logit_lens import (
    claims,
    compute,
    cost,
    figures,
    figures_grid,
    figures_layers,
)
from interp_core.papers.logit_lens.lens import LogitLens
from interp_core.papers.logit_lens.params import LensView, Params
from interp_core.papers.logit_lens.prompts import Averages, PromptsParams
from interp_core.question import Paper, Question, on
from interp_core.results import Figure

__all__ = ["PAPER", "PRESETS", "Averages", "LogitLens", "Params", "PromptsParams", "run"]

_METHOD = r"""At every layer $\ell$ and position the residual $h_\ell$ is read as if it were the last:
$p_\ell = \mathrm{softmax}(W_U\,\mathrm{norm}_f(h_\ell))$, with the model's own final norm
(its scale computed anew for each layer) and unembedding. Layer $\ell$ is the stream after block
$\ell$; *embed* is what enters block 0. KL is $\mathrm{KL}(p_{\mathrm{final}} \,\|\, p_\ell)$ in
nats. Position 0 is the attention sink of most models, so averages leave it out. The post reads
GPT-2 before the final norm's gain; here the whole norm is applied, as everyone has since. Averages
are over prompts, or over documents of prose or code, all written for Lensbook; where KL peaks depends on the text."""

PRESETS: dict[str, Params] = {
    "A fact": Params(watch=(" Paris", " London")),
    "A sum": Params(
        prompt="Two plus three equals five. Four plus five equals nine. Three plus three equals",
        watch=(" six", " five"),
    ),
    "A pattern": Params(prompt="red blue green red blue green red blue", watch=(" green", " red")),
    "Agreement": Params(
        prompt="The keys that the old man had lost in the garden", watch=(" were", " was")
    ),
    "Code": Params(prompt="def add(a, b):\n    return a", watch=(" +", " -")),
    "A chat turn": Params(prompt="What is the capital of France?", chat=True),
}
"""Ready-made settings; their results on the default model ship with the package."""

LENS = Question(
    name="lens",
    label="One prompt",
    params=Params,
    result=LogitLens,
    compute=compute.lens,
    seconds=cost.seconds,
    tokens=compute.tokens,
    sentence=figures.sentence,
    view=LensView,
    figures=(
        Figure("grid", figures_grid.grid, reads=("colour",), picks=("layer", "position")),
        Figure("top", figures.top_tokens, label="Top ten", reads=("layer", "position")),
        Figure(
            "trajectories",
            figures.trajectories,
            label="Token trajectories",
            reads=("position", "scale"),
        ),
        Figure(
            "attribution",
            figures.attribution,
            label="Direct logit attribution",
            reads=("position", "target"),
        ),
        Figure("layers", figures_layers.layers, label="Means by layer"),
    ),
    evidence={"prompts": PromptsParams(), "prose": PromptsParams(text="prose")},
)

PROMPTS = Question(
    name="prompts",
    label="Averages over prompts",
    params=PromptsParams,
    result=Averages,
    compute=compute.averages,
    cost=cost.of_text,
    seconds=lambda _: 120.0,
    sentence=figures_layers.sentence,
    figures=tuple(
        Figure(name, partial(figures_layers.average, name=name))
        for name in figures_layers.STATISTICS
    ),
    claims=(claims.of_averages,),
)

PAPER = Paper(
    name="logit-lens",
    title="Logit Lens",
    claim="Read the model's next-token guess after every layer.",
    reference="nostalgebraist 2020",
    url="https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
    questions=(LENS, PROMPTS),
    method=_METHOD,
    level="beginner",
    presets=PRESETS,
    headline=tuple(LENS.evidence.values()),
    second=on(SECOND, *LENS.evidence.values()),
    untrained=on(UNTRAINED, *LENS.evidence.values()),
    ships=(PromptsParams(text="shuffled"),),
)
run = PAPER.run
