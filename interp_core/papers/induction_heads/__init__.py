"""Induction heads: heads that continue repeated patterns.

Olsson et al. (2022), *In-context Learning and Induction Heads*, on the mathematics of Elhage et al.
(2021), *A Mathematical Framework for Transformer Circuits*.

Departures from the paper: prefix matching is read as attention to the token *after* the earlier
occurrence, as its definition of the head asks, summed over all earlier copies; the logit-based
copying score is measured on repeats (see :mod:`.heads`); in-context learning is measured on
Python's manual, which ships with Lensbook, as no other corpus is there without a network.
"""

from interp_core.models.info import SECOND, UNTRAINED
from interp_core.papers.induction_heads import (
    claims,
    claims_training,
    cost,
    figures,
    figures_ablation,
    figures_arcs,
    figures_attention,
    figures_circuits,
    figures_seeds,
    figures_training,
)
from interp_core.papers.induction_heads.ablation import Ablated, AblationParams
from interp_core.papers.induction_heads.attention import AttentionParams, Pattern
from interp_core.papers.induction_heads.circuits import Circuits, CircuitsParams
from interp_core.papers.induction_heads.compute import ablation as compute_ablation
from interp_core.papers.induction_heads.compute import context as compute_context
from interp_core.papers.induction_heads.compute import heads as compute_heads
from interp_core.papers.induction_heads.compute import path_patching, pattern, train
from interp_core.papers.induction_heads.compute import seeds as compute_seeds
from interp_core.papers.induction_heads.context import ContextParams, InContext
from interp_core.papers.induction_heads.heads import Heads, HeadsView, Params
from interp_core.papers.induction_heads.params import PREVIOUS, head_name
from interp_core.papers.induction_heads.seeds import Seeds, SeedsParams
from interp_core.papers.induction_heads.training import Training, TrainingParams, TrainingView
from interp_core.question import Paper, Question, on
from interp_core.results import Figure

__all__ = [
    "PAPER",
    "PRESETS",
    "Ablated",
    "AblationParams",
    "AttentionParams",
    "Circuits",
    "CircuitsParams",
    "ContextParams",
    "Heads",
    "InContext",
    "Params",
    "Pattern",
    "Seeds",
    "SeedsParams",
    "Training",
    "TrainingParams",
    "head_name",
    "run",
]

_METHOD = r"""
Random tokens stand several times in the same order: nothing but copying predicts them. An induction
head at a token looks back to what *followed* that token before. Its *prefix-matching score* is that
attention, summed over earlier copies and averaged over the later copies' tokens (1 is perfect). It
takes two steps: an earlier *previous-token head* writes into each position what stood before it, and
the induction head's keys read that (*K-composition*). *Copying* is
$\sum_i \lambda_i / \sum_i |\lambda_i|$ over the eigenvalues of $W_E W_{OV} W_U$. *Path patching* takes
what an earlier head writes out of one head's keys and of nothing else. The *in-context learning
score* is the loss of token 500 less that of token 50. With several copies attention is shared among
them, so scores are summed over copies; the paper's sentence can be read otherwise. Claims about training
count runs from several seeds; a change is *abrupt* where, after a plateau, most of the fall of the loss is
within a tenth of training.
"""

PRESETS = {
    "The paper's sequences": Params(),
    "Two long copies": Params(tokens=50, repeats=2, seeds=8),
    "Without the best eight": AblationParams(),
    "A text": AttentionParams(),
}
"""Ready-made settings; their results on the default model ship with the package."""

EVIDENCE = {
    "ablation": AblationParams(),
    "previous_token": AblationParams(ablate=(PREVIOUS,)),
    "circuits": CircuitsParams(),
    "context": ContextParams(),
    "seeds": SeedsParams(),
}
"""What the paper's claims rest on, beside the scores of heads."""

HEADS = Question(
    name="heads",
    label="All heads",
    params=Params,
    result=Heads,
    compute=compute_heads.compute,
    seconds=cost.seconds,
    figures=(
        Figure(
            "head_grid",
            figures.head_grid,
            reads=("score",),
            picks=("layer", "head"),
            opens="attention",
        ),
        Figure("top_ten", figures.top_ten, label="Top ten heads", reads=("score",)),
        Figure("copy_losses", figures.copy_losses, label="Loss by repetition"),
        Figure("score_scatter", figures.score_scatter, label="Prefix matching and copying"),
    ),
    claims=(claims.of_heads,),
    evidence=EVIDENCE,
    view=HeadsView,
    sentence=figures.sentence,
)

ATTENTION = Question(
    name="attention",
    label="One head on a text",
    params=AttentionParams,
    result=Pattern,
    compute=pattern.compute,
    figures=(
        Figure("pattern", figures_attention.pattern),
        Figure("arcs", figures_arcs.arcs, label="Arcs"),
        Figure("layer_patterns", figures_attention.layer_patterns, label="All heads of the layer"),
    ),
    evidence={"heads": Params(), **EVIDENCE},
    sentence=figures_attention.sentence,
    tokens=pattern.tokens,
)

ABLATION = Question(
    name="ablation",
    label="Ablation",
    params=AblationParams,
    result=Ablated,
    compute=compute_ablation.compute,
    figures=(
        Figure("ablation_losses", figures_ablation.ablation_losses),
        Figure("ablation_rises", figures_ablation.ablation_rises),
    ),
    claims=(claims.of_ablation,),
    cost="The sequences are run again without these heads, and without as many others: half a minute to "
    "a few minutes, by the number of sequences and control sets.",
    sentence=figures_ablation.sentence,
)

CIRCUITS = Question(
    name="circuits",
    label="Circuits",
    params=CircuitsParams,
    result=Circuits,
    compute=path_patching.compute,
    figures=(
        Figure("paths", figures_circuits.paths, when=figures_circuits.has_paths),
        Figure("path_scatter", figures_circuits.path_scatter, when=figures_circuits.has_paths),
        Figure("composition", figures_circuits.composition, when=figures_circuits.has_composition),
    ),
    claims=(claims.of_circuits,),
    cost="Every earlier head's path into this head's keys is patched, and all pairs of heads are "
    "compared: about a minute.",
    sentence=figures_circuits.sentence,
)

CONTEXT = Question(
    name="context",
    label="In-context learning",
    params=ContextParams,
    result=InContext,
    compute=compute_context.compute,
    figures=(Figure("context_losses", figures_ablation.context_losses),),
    claims=(claims.of_context,),
    cost=lambda params: (
        f"{params.texts} passages of {params.context} tokens of Python's own manual are read, whole, without the heads, "
        f"and {params.controls} times without others: some twenty minutes on two cores for 200 of 512 and two controls."
    ),
    sentence=figures_ablation.context_sentence,
)

TRAINING = Question(
    name="training",
    label="Training dynamics",
    params=TrainingParams,
    result=Training,
    compute=train.compute,
    figures=(
        Figure("phase", figures_training.phase, reads=("step",), live=True),
        Figure("training_heads", figures_training.heads_at, reads=("step",)),
        Figure("patterns", figures_training.patterns_at, reads=("toy", "step")),
        Figure("components", figures_training.components, reads=("step",)),
    ),
    evidence={"seeds": SeedsParams()},
    view=TrainingView,
    cost="Small models are trained from scratch, and their curves are drawn as they learn: a minute or "
    "two each on two cores. A cancelled training resumes where it stopped.",
    sentence=figures_training.sentence,
)

SEEDS = Question(
    name="seeds",
    label="Several seeds",
    params=SeedsParams,
    result=Seeds,
    compute=compute_seeds.compute,
    figures=(
        Figure("runs", figures_seeds.runs),
        Figure("changes", figures_seeds.changes, label="Run by run"),
    ),
    claims=(claims_training.of_seeds,),
    cost=lambda params: (
        f"{params.runs} times {len(params.toys)} small models are trained from scratch: a minute or two each "
        "on two cores. Every seed is kept as it ends, and a cancelled training resumes where it stopped."
    ),
    sentence=figures_seeds.sentence,
)

PAPER = Paper(
    name="induction-heads",
    title="Induction Heads",
    claim="Find the heads that continue repeated patterns, and watch them form.",
    reference="Olsson et al. 2022",
    url="https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/",
    questions=(HEADS, ATTENTION, ABLATION, CIRCUITS, CONTEXT, TRAINING, SEEDS),
    method=_METHOD,
    level="intermediate to advanced",
    presets=PRESETS,
    headline=(Params(), *EVIDENCE.values()),
    second=on(
        SECOND,
        Params(),
        AblationParams(ablate=("top-3",)),  # which has three
        AblationParams(ablate=(PREVIOUS,)),
        ContextParams(ablate=("top-3",), texts=60),
        CircuitsParams(),
    ),
    untrained=on(UNTRAINED, Params(), AblationParams()),
)
run = PAPER.run
