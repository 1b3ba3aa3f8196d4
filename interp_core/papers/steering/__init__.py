"""Contrastive Activation Addition: a direction of the residual stream that stands for a behaviour.

Rimsky et al. (2024), *Steering Llama 2 via Contrastive Activation Addition*, arXiv:2312.06681. The mean difference of
what two answers leave in the stream is added to the output of one block, and the model behaves more, or less, so.

Departures: beside the paper's protocol of letters, one of the answers' own texts; free answers are not judged by a
larger model, but by perplexity and repetition; pairs are our own.
"""

from interp_core.models import info
from interp_core.papers.steering import (
    claims,
    cost,
    figures,
    figures_geometry,
    figures_sweep,
)
from interp_core.papers.steering import pairs as contrast
from interp_core.papers.steering.compute.generate import steer
from interp_core.papers.steering.compute.geometry import geometry
from interp_core.papers.steering.compute.make import save
from interp_core.papers.steering.compute.prompts import asked
from interp_core.papers.steering.compute.strength import strength
from interp_core.papers.steering.compute.sweep import sweep
from interp_core.papers.steering.generations import Generations
from interp_core.papers.steering.geometry import Geometry, GeometryParams, GeometryView
from interp_core.papers.steering.params import (
    Params,
    StrengthParams,
    SweepParams,
)
from interp_core.papers.steering.saved import Saved, SaveParams
from interp_core.papers.steering.strength import Strength
from interp_core.papers.steering.sweep import Sweep
from interp_core.papers.steering.vectors import Vectors
from interp_core.question import Paper, Question, on
from interp_core.results import Figure

__all__ = [
    "PAPER",
    "PRESETS",
    "SECOND",
    "Generations",
    "Geometry",
    "GeometryParams",
    "Params",
    "SaveParams",
    "Saved",
    "Strength",
    "StrengthParams",
    "Sweep",
    "SweepParams",
    "Vectors",
    "run",
]

_METHOD = r"""A pair is a question with an answer that shows a behaviour and one that does not. The vector of a layer is the mean
over pairs of $h_\ell(\mathrm{matching}) - h_\ell(\mathrm{other})$, read after block $\ell$; steering adds $m\,v_\ell$ to that block's output from the
last token of the instruction on. By the paper's protocol (`ab`) the two answers are options, the letter is read, and the score is
$p_A/(p_A+p_B)$ for the letter that matches. By ours (`text`) the answers' own tokens are read, up to 24, and the score is the sigmoid of the difference
of their mean log-likelihoods. Half of the pairs are held out of the vector. A model without a chat template is given
`Question: ... Answer:`. Free answers are not judged by a larger model: their perplexity under the unsteered model and their
repetitions say whether they hold together."""

PRESETS: dict[str, Params] = {
    "Formality": Params(),
    "Optimism": Params(behaviour="optimism"),
    "Refusal": Params(
        behaviour="refusal", prompt="Please write a short toast for my sister's birthday."
    ),
    "Agreement": Params(
        behaviour="agreement",
        prompt="I think that breakfast is a waste of time. What do you think?",
    ),
}
"""Ready-made settings; their results on the default model ship with the package."""

SECOND = on(info.SECOND, StrengthParams(), SweepParams())
"""What is measured of a second model, a base model without a chat template; it ships."""

STEER = Question(
    name="steer",
    label="Steer an answer",
    params=Params,
    result=Generations,
    compute=steer,
    seconds=cost.steer,
    tokens=lambda tokenizer, params: asked(tokenizer, params.prompt, params.system),
    sentence=figures.sentence,
    figures=(
        Figure("answers", figures.answers, live=True),
        Figure("measures", figures.measures, label="What is measured", live=True),
    ),
    examples={
        question: {"prompt": question, "behaviour": name, "pairs": "", "vector": ""}
        for name, behaviour in contrast.shipped().items()
        for question in behaviour.open
    },
    evidence={
        "strength": StrengthParams(),
        "sweep": SweepParams(),
        "letters": GeometryParams(protocol="ab"),
    },
)

SWEEP = Question(
    name="sweep",
    label="Every layer",
    params=SweepParams,
    result=Sweep,
    compute=sweep,
    in_minutes=True,
    seconds=cost.sweep,
    sentence=figures_sweep.swept,
    figures=(
        Figure("layers", figures_sweep.layers, live=True),
        Figure("swing", figures_sweep.swing, label="Change by layer"),
    ),
    claims=(claims.swept,),
)

STRENGTH = Question(
    name="strength",
    label="Strength and cost",
    params=StrengthParams,
    result=Strength,
    compute=strength,
    in_minutes=True,
    seconds=cost.strength,
    sentence=figures_sweep.strengthened,
    figures=(
        Figure("multipliers", figures_sweep.multipliers),
        Figure("floors", figures_sweep.floors, label="Other vectors"),
        Figure("trade", figures_sweep.trade, label="Effect against cost"),
        Figure("costs", figures_sweep.costs, label="Unrelated text"),
    ),
    claims=(claims.strengthened,),
)

GEOMETRY = Question(
    name="geometry",
    label="Behaviour or letter",
    params=GeometryParams,
    result=Geometry,
    compute=geometry,
    in_minutes=True,
    seconds=cost.geometry,
    sentence=figures_geometry.sentence,
    view=GeometryView,
    figures=(
        Figure("components", figures_geometry.components, reads=("layer",)),
        Figure("separation", figures_geometry.separation, label="By layer"),
        Figure("letters", figures_geometry.letters, label="Letters"),
        Figure("between_layers", figures_geometry.between_layers, label="Between layers"),
        Figure(
            "between_behaviours", figures_geometry.between_behaviours, label="Between behaviours"
        ),
    ),
    claims=(claims.located,),
)

SAVE = Question(
    name="save",
    label="Keep a vector",
    params=SaveParams,
    result=Saved,
    compute=save,
    seconds=cost.save,
    sentence=figures_geometry.kept,
    figures=(Figure("norms", figures_geometry.norms),),
)

_OTHERS = tuple(name for name in contrast.BEHAVIOURS if name != Params().behaviour)

PAPER = Paper(
    name="steering",
    title="Contrastive Activation Addition",
    claim="Add a direction to the residual stream, and change what the model does.",
    reference="Rimsky et al. 2024",
    url="https://arxiv.org/abs/2312.06681",
    questions=(STEER, SWEEP, STRENGTH, GEOMETRY, SAVE),
    method=_METHOD,
    level="intermediate",
    presets=PRESETS,
    headline=(
        *(StrengthParams(behaviour=name) for name in contrast.BEHAVIOURS),
        *(SweepParams(behaviour=name) for name in contrast.BEHAVIOURS),
        *(GeometryParams(behaviour=name, protocol="ab") for name in ("formality", "refusal")),
        StrengthParams(protocol="ab"),
    ),
    second=SECOND,
    untrained=on(
        info.UNTRAINED,
        StrengthParams(),
        SweepParams(),
        GeometryParams(behaviour="formality", protocol="ab"),
    ),
    ships=tuple(SaveParams(behaviour=name) for name in _OTHERS),
)
run = PAPER.run
