"""Towards Monosemanticity: sparse features of a model's activations.

Bricken et al. (2023), *Towards Monosemanticity: Decomposing Language Models With Dictionary Learning*. An
autoencoder whose hidden layer is wide and sparse is trained on a site's activations; each latent, a feature, is
a direction with the contexts in which it is active.

Departures: some hundred thousand activations instead of billions, read several times; a one-layer model of
bytes in place of the paper's, and beside it a middle layer of a larger one; features are not rated by hand or by
a larger model, but by one rule on tokens, scored on text that it was not found on.
"""

from interp_core.models.bundled import ONE_LAYER
from interp_core.models.info import DEFAULT
from interp_core.papers.sparse_autoencoder import (
    claims,
    cost,
    figures,
    figures_compare,
    figures_dictionary,
    figures_feature,
    figures_training,
)
from interp_core.papers.sparse_autoencoder.comparison import Comparison
from interp_core.papers.sparse_autoencoder.compute.compare import compare
from interp_core.papers.sparse_autoencoder.compute.evaluate import evaluate
from interp_core.papers.sparse_autoencoder.compute.feature import feature
from interp_core.papers.sparse_autoencoder.compute.features import features
from interp_core.papers.sparse_autoencoder.compute.firing import firing
from interp_core.papers.sparse_autoencoder.compute.steer import steer
from interp_core.papers.sparse_autoencoder.compute.train import train
from interp_core.papers.sparse_autoencoder.compute.transformer import train as train_transformer
from interp_core.papers.sparse_autoencoder.dictionary import SHIPS, Card, Dictionary, load_sae
from interp_core.papers.sparse_autoencoder.evaluation import Evaluation
from interp_core.papers.sparse_autoencoder.feature import Feature
from interp_core.papers.sparse_autoencoder.features import Features
from interp_core.papers.sparse_autoencoder.firing import Firing
from interp_core.papers.sparse_autoencoder.measured import (
    ANOTHER_SEED,
    ANOTHER_WIDTH,
    FIRST,
    NARROW_TRAINING,
    SECOND_MEASURED,
    SECOND_TRAINING,
    SMALL,
    SMALL_FEATURES,
    SMALL_TRAINING,
    STEERED,
    UNTRAINED_FEATURES,
    UNTRAINED_TRAINING,
)
from interp_core.papers.sparse_autoencoder.one_layer import Transformer
from interp_core.papers.sparse_autoencoder.params import (
    CompareParams,
    EvaluateParams,
    FeatureParams,
    FeaturesParams,
    FeaturesView,
    Params,
    SteerParams,
    TrainParams,
    TransformerParams,
)
from interp_core.papers.sparse_autoencoder.steered import Steered
from interp_core.papers.sparse_autoencoder.training import Training
from interp_core.papers.steering import figures as steering
from interp_core.question import Paper, Question
from interp_core.results import Figure

__all__ = [
    "ANOTHER_SEED",
    "ANOTHER_WIDTH",
    "NARROW_TRAINING",
    "ONE_LAYER",
    "PAPER",
    "PRESETS",
    "SMALL",
    "SMALL_FEATURES",
    "SMALL_TRAINING",
    "STEERED",
    "UNTRAINED_FEATURES",
    "UNTRAINED_TRAINING",
    "Card",
    "CompareParams",
    "Comparison",
    "Dictionary",
    "EvaluateParams",
    "Evaluation",
    "Feature",
    "FeatureParams",
    "Features",
    "FeaturesParams",
    "Firing",
    "Params",
    "SteerParams",
    "Steered",
    "TrainParams",
    "Training",
    "Transformer",
    "TransformerParams",
    "load_sae",
    "run",
]

_METHOD = r"""With $x$ a site's activation, a feature's activation is $f = \mathrm{ReLU}((x - b_d) W_e + b_e)$, and the
reconstruction $\hat x = f W_d + b_d$, whose rows $W_{d,i}$ have length 1. Training brings $\lVert x - \hat x \rVert^2$ down
while few $f_i$ are active: by an L1 penalty and resampling of dead features (the paper's), or by keeping the $k$ largest alone. Activations are
scaled to a mean norm of $\sqrt{d}$ in training; what is kept applies to them as they are. The first position, the attention
sink of most models, is left out everywhere. Labels are found by a rule on tokens, and say what a feature goes along with, not
what it means."""

PRESETS: dict[str, Params] = {
    "Agreement": Params(),
    "A fact": Params(text="The Eiffel Tower is located in the city of"),
    "Code": Params(text="def add(a, b):\n    return a +"),
    "A list": Params(text="For the cake you need flour, sugar, butter, milk and three"),
}
"""Ready-made settings; their results on the default model ship with the package."""

FIRING = Question(
    name="text",
    label="One text",
    params=Params,
    result=Firing,
    compute=firing,
    tokens=lambda tokenizer, params: tokenizer.prompt(params.text),
    sentence=figures.sentence,
    figures=(
        Figure("activations", figures.activations, picks=("feature",), opens="feature"),
        Figure("effects", figures.effects, label="Effects", picks=("feature",), opens="feature"),
        Figure("ranked", figures.ranked, label="Ranked"),
    ),
    evidence={"evaluation": EvaluateParams(), "features": FeaturesParams()},
)

FEATURE = Question(
    name="feature",
    label="One feature",
    params=FeatureParams,
    result=Feature,
    compute=feature,
    seconds=cost.text,
    sentence=figures_feature.sentence,
    figures=(
        Figure("examples", figures_feature.examples),
        Figure("logits", figures_feature.logits, label="Logits"),
        Figure("histograms", figures_feature.histograms, label="Histograms"),
        Figure("neighbours", figures_feature.neighbours, label="Neighbours"),
    ),
    examples={
        f"Feature {n} of {DEFAULT}": {"model": DEFAULT, "sae": SHIPS, "feature": n} for n in FIRST
    },
)

FEATURES = Question(
    name="features",
    label="All features",
    params=FeaturesParams,
    result=Features,
    compute=features,
    in_minutes=True,
    seconds=cost.features,
    sentence=figures_dictionary.described,
    view=FeaturesView,
    figures=(
        Figure("listed", figures_dictionary.listed, reads=("search", "order")),
        Figure("comparison", figures_dictionary.comparison, label="Features and neurons"),
        Figure("densities", figures_dictionary.densities, label="Densities"),
        Figure(
            "map",
            figures_dictionary.decoder_map,
            label="Map",
            picks=("feature",),
            opens="feature",
        ),
    ),
    claims=(claims.told,),
)

EVALUATE = Question(
    name="evaluate",
    label="Held-out text",
    params=EvaluateParams,
    result=Evaluation,
    compute=evaluate,
    in_minutes=True,
    seconds=cost.evaluate,
    sentence=figures_dictionary.evaluated,
    figures=(
        Figure("recovered", figures_dictionary.recovered),
        Figure("densities", figures_dictionary.densities, label="Densities"),
        Figure("metrics", figures_dictionary.metrics, label="All metrics"),
    ),
    claims=(claims.kept,),
)

COMPARE = Question(
    name="compare",
    label="Another dictionary",
    params=CompareParams,
    result=Comparison,
    compute=compare,
    in_minutes=True,
    seconds=cost.compare,
    sentence=figures_compare.compared,
    figures=(
        Figure("correlations", figures_compare.correlations),
        Figure("cosines", figures_compare.cosines, label="Directions"),
        Figure(
            "splits",
            figures_compare.splits,
            label="Splitting",
            when=lambda result: bool(result.wider),
        ),
    ),
    claims=(claims.recurs, claims.splits),
)

STEER = Question(
    name="steer",
    label="Steer with a feature",
    params=SteerParams,
    result=Steered,
    compute=steer,
    seconds=cost.steer,
    sentence=figures.steered,
    figures=(
        Figure("answers", steering.answers, live=True),
        Figure("measures", steering.measures, label="What is measured", live=True),
    ),
)

TRAIN = Question(
    name="train",
    label="Train",
    params=TrainParams,
    result=Training,
    compute=train,
    in_minutes=True,
    seconds=cost.train,
    sentence=figures_training.trained,
    figures=(
        Figure("curves", figures_training.curves, live=True),
        Figure(
            "pareto",
            figures_training.pareto,
            label="Trade-off",
            when=lambda result: not result.frames["pareto"].empty,
        ),
    ),
    claims=(claims.trained,),
)

TRANSFORMER = Question(
    name="transformer",
    label="The one-layer model",
    params=TransformerParams,
    result=Transformer,
    compute=train_transformer,
    in_minutes=True,
    seconds=cost.transformer,
    sentence=figures_training.modelled,
    figures=(Figure("losses", figures_training.losses, live=True),),
)

PAPER = Paper(
    name="sparse-autoencoder",
    title="Towards Monosemanticity",
    claim="Decompose activations into features that go along with one thing.",
    reference="Bricken et al. 2023",
    url="https://transformer-circuits.pub/2023/monosemantic-features/",
    questions=(FIRING, FEATURE, FEATURES, EVALUATE, COMPARE, STEER, TRAIN, TRANSFORMER),
    method=_METHOD,
    level="advanced",
    presets=PRESETS,
    headline=(
        EvaluateParams(**SMALL),
        FeaturesParams(**SMALL),
        SMALL_TRAINING,
        ANOTHER_SEED,
        ANOTHER_WIDTH,
        EvaluateParams(),
        EvaluateParams(text="prose"),
        FeaturesParams(),
    ),
    second=SECOND_MEASURED,
    untrained=(UNTRAINED_FEATURES,),
    ships=(
        UNTRAINED_TRAINING,
        NARROW_TRAINING,
        SECOND_TRAINING,
        *SMALL_FEATURES,
        *(FeatureParams(feature=n) for n in FIRST),
        STEERED,
    ),
)
run = PAPER.run
