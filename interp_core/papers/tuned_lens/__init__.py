"""Tuned Lens: learn, for every layer, how to read it.

Belrose et al. (2023), *Eliciting Latent Predictions from Transformers with the Tuned Lens*,
arXiv:2303.08112. An affine map of each layer's residual is trained so that final norm and unembedding
read from it what they read from the last.

Layers are numbered as blocks: translator ``l`` reads the output of block ``l``, and -1 the embedding. The
authors' translator ``i`` reads the input of block ``i``. The last layer has none.

Departures: some hundred thousand tokens instead of 65 million; the loss is summed over a weighted sample
of the vocabulary; position 0, the attention sink of most models, is trained on and averaged nowhere.
"""

import dataclasses
from functools import partial

from interp_core.models import info
from interp_core.papers.logit_lens import compute as logit_lens
from interp_core.papers.tuned_lens import (
    claims,
    claims_basis,
    claims_detect,
    cost,
    figures,
    figures_basis,
    figures_detect,
    figures_text,
)
from interp_core.papers.tuned_lens.basis import Basis, BasisParams, BasisView
from interp_core.papers.tuned_lens.compute.basis import basis
from interp_core.papers.tuned_lens.compute.detect import detect
from interp_core.papers.tuned_lens.compute.evaluate import evaluate
from interp_core.papers.tuned_lens.compute.lens import lens
from interp_core.papers.tuned_lens.compute.train import train
from interp_core.papers.tuned_lens.compute.transfer import transfer
from interp_core.papers.tuned_lens.detection import Detection, DetectParams, DetectView
from interp_core.papers.tuned_lens.evaluation import Evaluation
from interp_core.papers.tuned_lens.params import (
    EvaluateParams,
    LensesView,
    Params,
    TrainParams,
    TransferParams,
)
from interp_core.papers.tuned_lens.reading import Readings
from interp_core.papers.tuned_lens.training import Training
from interp_core.papers.tuned_lens.transfer import Transfer
from interp_core.papers.tuned_lens.translators import Translators, load_lens, published
from interp_core.question import Paper, Question, on
from interp_core.results import Figure

__all__ = [
    "PAPER",
    "PRESETS",
    "SECOND",
    "UNTRAINED",
    "Basis",
    "BasisParams",
    "DetectParams",
    "Detection",
    "EvaluateParams",
    "Evaluation",
    "Params",
    "Readings",
    "TrainParams",
    "Training",
    "Transfer",
    "TransferParams",
    "Translators",
    "load_lens",
    "published",
    "run",
]

_METHOD = r"""At every layer $\ell$ a translator $h \mapsto h + A_\ell h + b_\ell$ comes before the model's own final norm
and unembedding: $q_\ell = \mathrm{softmax}(W_U\,\mathrm{norm}_f(h_\ell + A_\ell h_\ell + b_\ell))$. It begins at
$A = 0$, $b = 0$, the logit lens, and is trained on text to bring $\mathrm{KL}(p_{\mathrm{final}} \,\|\, q_\ell)$ down; the
model stays as it is. Optimizer and schedule are the authors' (SGD with Nesterov momentum, one clip of all
gradients, linear decay). Here far fewer tokens are trained on, the loss is summed over a weighted sample of the vocabulary, and
the first position, the attention sink of most models, is left out of training and of every average."""

PRESETS: dict[str, Params] = {
    "A fact": Params(watch=(" Paris", " London")),
    "A pattern": Params(prompt="red blue green red blue green red blue", watch=(" green", " red")),
    "Agreement": Params(
        prompt="The keys that the old man had lost in the garden", watch=(" were", " was")
    ),
    "Code": Params(prompt="def add(a, b):\n    return a", watch=(" +", " -")),
}
"""Ready-made settings; their results on the default model ship with the package."""

_LESS = EvaluateParams(beside="none", positions=32)
SECOND, UNTRAINED = (
    on(model, *(dataclasses.replace(_LESS, lens=lens, text=text) for text in ("prose", "code")))
    for model, lens in ((info.SECOND, "18ca219e04a5a824"), (info.UNTRAINED, "a0297a79a526d952"))
)
"""Lenses of Gemma 3 270M and of weights drawn at random, trained by ``tuned-lens train --context 128 --batch 4
--positions 64 --steps 250``, on text that Gemma wrote, and on Python's manual (``--corpus manual``), as random
weights write none. What was measured of them, on both texts, ships; the lenses do not."""

LENS = Question(
    name="lens",
    label="One prompt",
    params=Params,
    result=Readings,
    compute=lens,
    seconds=cost.lens,
    tokens=logit_lens.tokens,
    sentence=figures.sentence,
    view=LensesView,
    figures=(
        Figure("grid", figures.grid, reads=("colour",), picks=("layer", "position")),
        Figure(
            "grid_logit",
            partial(figures.grid, lens="logit"),
            label="Logit lens",
            reads=("colour",),
            picks=("layer", "position"),
        ),
        Figure("difference", figures.difference, label="Difference", reads=("what",)),
        Figure(
            "trajectories",
            figures.trajectories,
            label="Token trajectories",
            reads=("position", "scale"),
        ),
        Figure("top", figures.top_tokens, label="Top ten", reads=("layer", "position")),
        Figure("layers", figures.layers, label="Means by layer"),
        Figure(
            "attribution",
            figures.attribution,
            label="Direct logit attribution",
            reads=("position", "target"),
        ),
    ),
    evidence={
        "prose": EvaluateParams(),
        "code": EvaluateParams(text="code"),
        "transfer": TransferParams(),
    },
)

EVALUATE = Question(
    name="evaluate",
    label="Held-out text",
    params=EvaluateParams,
    result=Evaluation,
    compute=evaluate,
    in_minutes=True,
    seconds=cost.evaluate,
    sentence=figures_text.evaluated,
    figures=(
        Figure("kl", partial(figures_text.curve, name="kl")),
        *(
            Figure(name, partial(figures_text.curve, name=name), label=label)
            for name, label in (
                ("marginal_kl", "Bias"),
                ("agreement", "Agreement"),
                ("bits_per_byte", "Bits per byte"),
                ("cross_entropy", "Cross-entropy"),
            )
        ),
        Figure("translators", figures_text.translators, label="Translators"),
    ),
    claims=(claims.claims,),
)

TRANSFER = Question(
    name="transfer",
    label="Layer transfer",
    params=TransferParams,
    result=Transfer,
    compute=transfer,
    in_minutes=True,
    seconds=cost.transfer,
    sentence=figures_text.transferred,
    figures=(Figure("transfer", figures_text.transfer),),
    claims=(claims.neighbours,),
)

BASIS = Question(
    name="basis",
    label="Causal basis",
    params=BasisParams,
    result=Basis,
    compute=basis,
    in_minutes=True,
    seconds=cost.basis,
    sentence=figures_basis.sentence,
    view=BasisView,
    figures=(
        Figure("influence", figures_basis.influence, reads=("layer",)),
        Figure("alignment", figures_basis.alignment, label="Alignment by layer"),
    ),
    claims=(claims_basis.claims,),
)

DETECT = Question(
    name="detect",
    label="Injected prompts",
    params=DetectParams,
    result=Detection,
    compute=detect,
    in_minutes=True,
    seconds=cost.detect,
    sentence=figures_detect.sentence,
    view=DetectView,
    figures=(
        Figure("areas", figures_detect.areas, reads=("detector",)),
        Figure("curves", figures_detect.curves, label="ROC curves"),
        Figure(
            "trajectories",
            figures_detect.trajectories,
            label="Trajectories",
            reads=("lens", "what"),
        ),
    ),
    claims=(claims_detect.claims,),
)

TRAIN = Question(
    name="train",
    label="Train a lens",
    params=TrainParams,
    result=Training,
    compute=train,
    in_minutes=True,
    seconds=cost.train,
    sentence=figures_text.trained,
    figures=(
        Figure("held_out", figures_text.held_out, live=True),
        Figure("losses", figures_text.losses, live=True),
    ),
)

PAPER = Paper(
    name="tuned-lens",
    title="Tuned Lens",
    claim="Learn, for every layer, how to read it.",
    reference="Belrose et al. 2023",
    url="https://arxiv.org/abs/2303.08112",
    questions=(LENS, EVALUATE, TRANSFER, BASIS, DETECT, TRAIN),
    method=_METHOD,
    level="beginner to intermediate",
    presets=PRESETS,
    headline=(
        EvaluateParams(),
        EvaluateParams(text="code"),
        TransferParams(),
        BasisParams(),
        DetectParams(),
    ),
    second=SECOND,
    untrained=UNTRAINED,
)
run = PAPER.run
