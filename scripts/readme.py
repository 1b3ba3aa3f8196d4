"""Write what was found into the README, from the results that ship: ``python scripts/readme.py``.

Numbers and verdicts are read from the results. Where a verdict is no longer what a sentence says,
nothing is written: the sentence has to be another one. Numbers of checks that were made elsewhere,
which no shipped result holds, are said to be that.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from interp_core.findings import Finding
from interp_core.papers import (
    causal_tracing,
    induction_heads,
    logit_lens,
    sparse_autoencoder,
    steering,
    tuned_lens,
)
from interp_core.papers.steering.pairs import BEHAVIOURS
from interp_core.papers.steering.strength import RANDOM, SHUFFLED
from interp_core.question import stored
from interp_core.results import Result

FILE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- what was found: scripts/readme.py -->", "<!-- end of what was found -->"
WIDTH = 140


class Found:
    """A shipped result, its summary, and its claims by name."""

    def __init__(self, params: Any) -> None:
        result = stored(params)
        if result is None:
            raise ValueError(f"{params} does not ship")
        self.result: Result = result
        self.summary = result.summary
        self.claims = {finding.id: finding for finding in result.own_findings}

    def __call__(self, name: str, *, holds: bool = True) -> Finding:
        """Return a claim.

        Raises:
            ValueError: When its verdict is not the one that the text tells.
        """
        finding = self.claims[name]
        if finding.holds != holds:
            raise ValueError(f"{name}: the text says that holds is {holds}; write another one")
        return finding


def spread(finding: Finding, digits: int = 2) -> str:
    """Return what was measured with its interval."""
    assert finding.ci is not None
    low, high = finding.ci
    return f"{finding.ours:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def words(names: list[str]) -> str:
    """Return names as a sentence lists them."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def of_lens() -> str:
    """What the logit lens shows."""
    found = Found(logit_lens.PromptsParams())
    averages = found.result.tables()["averages"]
    kl, rank = (
        averages[averages["statistic"] == name].set_index("layer")["value"]
        for name in ("kl", "median_rank")
    )
    found("rank_falls")
    found("kl_monotone", holds=False)
    settled = rank.index[rank > 5].max() + 1
    kl = kl.loc[0:]  # the embedding, layer -1, is no block
    return f"""
On the default model, over {found.summary["prompts"]} prompts ({found.summary["positions"]:,} positions, 95% intervals from resampling
prompts): the embedding reads as its own input ({found("embedding_is_input").shown} of positions) and no block does (at most
{found("input_discarded").shown}); from layer {settled} on the final token is among the likeliest six at half of the positions or more;
and the divergence from the output is **not** monotone in depth: it *rises* over the first blocks, from {kl[0]:.0f} nats after block
0 to {kl.max():.0f} after block {kl.idxmax()} of 0 to {kl.index.max()}. In an independent check on ordinary text it rose to mid-depth, to about 19.5 nats: where it peaks depends on the text.
The prompts were written for this project, and the short ones favour continuations that the model gets right, so its accuracy on them is no
finding."""


def of_tuned() -> str:
    """What the tuned lens shows."""
    texts = {text: Found(tuned_lens.EvaluateParams(text=text)) for text in ("prose", "code")}
    for text, found in texts.items():
        for name in ("lower", "halved", "falls_tuned", "falls_logit", "depth"):
            found(f"{name}_{text}")
        found(f"between_{text}", holds=False)
    prose, code = (found.result for found in texts.values())
    middle = prose.row(0.5)
    training = Found(tuned_lens.TrainParams()).result
    windows = training.windows
    card = tuned_lens.load_lens("shipped", prose.provenance.model).card
    told = Found(tuned_lens.DetectParams())
    areas = told.summary["auc"]["forest"]
    return f"""
A tuned lens, trained on {card.tokens:,} positions of {windows:,} texts of {training.params.context} tokens that the model wrote itself, is closer to the output than the logit lens at every layer, at
most half as far in the first two thirds of them, on two texts that it was not trained on ({len(prose.positions)} pieces of prose and
{len(code.positions)} of code, written for this project): half-way through the model {prose.mean("kl")[1, middle, 0]:.1f} nats instead of
{prose.mean("kl")[0, middle, 0]:.1f} on prose, {code.mean("kl")[1, middle, 0]:.1f} instead of {code.mean("kl")[0, middle, 0]:.1f} on code. Its divergence
falls with depth. Its mean readout is {texts["prose"]("unbiased_prose").ours:.0%} as far from the mean output as the logit lens's on prose, and
{texts["code"]("unbiased_code").ours:.0%} on code, of which the training text holds less. A lens of biases alone lies between the
two at every block, but reads the embedding better than the tuned lens, whose translator there is not trained to the end. Prompts with an injected instruction are told from ordinary ones by their
trajectories through it (AUC {areas["tuned"]:.2f}), but no better than through the logit lens ({areas["logit"]:.2f}), and a harmless sentence in the
same place gives {told.summary["auc_of_harmless_sentences"]["forest"]:.2f}."""


def of_tracing() -> str:
    """What causal tracing shows."""
    found = Found(causal_tracing.AverageParams())
    table = found.result.tables()["average"]

    def most(kind: str) -> float:
        at = (table["kind"] == kind) & (table["token_class"] == "last_subject")
        return table[at]["aie"].max()

    found("mlp_over_attention")
    return f"""
Causal tracing, over {found.summary["facts"]} facts of the project's own that the model knows ({found.summary["samples"]} noise samples,
intervals from resampling facts): corrupting the subject costs the answer {spread(found("total_effect"))} of probability. Restoring MLPs at
the subject's last token brings back up to {most("mlp_out"):.2f}, attention there {most("attn_out"):.2f}; attention's own site is the last
token, around block {found("late_attention_site").ours:.0f}. The early site peaks at block {found("middle_site", holds=False).ours:.0f},
**not** in the middle blocks, but it is partly the window's: MLPs are restored {found.result.params.window} blocks at a time, and in an
independent check block 0 alone brought back 0.59, windows of ten 0.55 to 0.65 around each of the blocks 0 to 5. The facts were written for
this project, and many subjects suggest the answer by their wording or language (Deutsche Bank, Rio de Janeiro), so not every answer needs a
stored fact."""


def of_edits() -> str:
    """What edits do."""
    found = Found(causal_tracing.ScoresParams())
    fall = found("neighbourhood", holds=False)
    assert fall.ci is not None
    low, high = (100 * end for end in fall.ci)
    sweep = [Found(params) for params in causal_tracing.SWEEP]
    stays = {
        (each.result.params.covariance, each.summary["layer"]): each.summary["neighbourhood"]
        for each in sweep
    }
    by_block = ", ".join(
        f"block {layer} {share:.0%}" for (how, layer), share in stays.items() if how == "text"
    )
    return f"""
Rank-one edits of block {found.summary["layer"]}, over {found.summary["facts"]} facts, make the new object likelier than the old in
{found("efficacy").ours:.0%} of prompts and in {found("paraphrase").ours:.0%} of paraphrases. This compares two probabilities and does not
say that the model now answers with the new object: in an independent run that was the top token in 40% of paraphrases. And the edits
**spill**: for other subjects the old answer stays the likelier of the two in {found.summary["neighbourhood"]:.0%} of prompts, before the
edit in {found.summary["neighbourhood_before"]:.0%} (a fall of {100 * fall.ours:.0f} [{low:.0f}, {high:.0f}] points). Later blocks spill more ({sweep[0].summary["facts"]} facts:
{by_block}), and so does the identity in place of the key covariance (block 1 {stays["identity", 1]:.0%})."""


def of_steering() -> str:
    """What steering does."""
    letters = Found(steering.GeometryParams(protocol="ab"))
    turned = letters("behaviour_vector", holds=False)
    doses = {name: Found(steering.StrengthParams(behaviour=name)) for name in BEHAVIOURS}
    results = [found.result for found in doses.values()]
    claims = {name: {f.id: f for f in found.result.own_findings} for name, found in doses.items()}
    swings = ", ".join(
        f"{spread(each['dose'])} ({BEHAVIOURS[name]})" for name, each in claims.items()
    )
    random, shuffled = (
        max(each.floor_share(kind)[0] for each in results) for kind in (RANDOM, SHUFFLED)
    )
    cost = max(abs(each["cost"].ours) for each in claims.values())
    return f"""
Steering, by contrast pairs of four behaviours written for this project: by the paper's own protocol the vector is one of the **letter**, not of the
behaviour. Vectors of pairs whose matching answer is (A), and of those whose it is (B), have a cosine of {spread(turned)} half-way through the
model. Read from the answers' own texts, a vector added at layer {results[0].layer} moves the likelihood of held-out answers from multiplier -1 to +1 by
{swings} (of 1, {results[0].n} pairs each). Random vectors of the same norm move it by at most {random:.0%} as much, vectors of pairs whose answers were
exchanged at random by at most {shuffled:.0%}. Steering by 1 costs at most {cost:.2f} nats a token on unrelated text."""


def of_heads() -> str:
    """What heads do, and how they form."""
    heads, circuits = Found(induction_heads.Params()), Found(induction_heads.CircuitsParams())
    ablated, training = (
        Found(params)
        for params in (induction_heads.AblationParams(), induction_heads.TrainingParams())
    )
    there, top = heads("induction_heads"), "-".join(ablated.summary["heads"][:2])
    params = heads.result.params
    if ablated.summary["heads"] != heads.summary["induction_heads"]:
        raise ValueError("the heads that are ablated are not those that were found")
    for name in ("phase_change_2", "phase_change_3", "no_phase_change_1", "no_heads_1"):
        training(name)
    return f"""
Induction heads: {there.ours:.0f} of {there.n} heads look back to what followed the current token before
({words(heads.summary["induction_heads"])}), on {params.tokens} random tokens repeated {params.repeats} times. Zeroing these
{len(ablated.summary["heads"])} raises the last repetition's loss by {spread(ablated(f"ablation_{top}"), 1)} nats,
{ablated(f"ablation_ratio_{top}").ours:.0f} times what as many other heads of the same layers do. One previous-token head,
{circuits.summary["sender"]}, feeds their keys: cutting that path alone costs {spread(circuits("path_loss"), 1)} nats more than cutting
another head's. Attention-only models trained from scratch form such heads suddenly with two layers and with three, not with one; with
smeared keys one layer is enough, and here {training("smeared_keys").ours:.0f} steps sooner. That is one seed: in an independent check on
two others the onset moved by some 550 steps, so which of them comes first is not settled."""


def of_features() -> str:
    """What sparse features keep of a model, and what they are of."""
    small = {"model": sparse_autoencoder.ONE_LAYER, "windows": 216}
    kept = Found(sparse_autoencoder.EvaluateParams(**small))
    listed = Found(sparse_autoencoder.FeaturesParams(**small))
    larger = Found(sparse_autoencoder.EvaluateParams())
    score, l0, mean = (kept.claims[name] for name in ("recovered", "sparse", "recovered_mean"))
    neuron = listed.claims["over_neuron"]
    means = np.nanmean(listed.result.scores, 1)
    prose = Found(sparse_autoencoder.EvaluateParams(text="prose")).claims["recovered"]
    if not (listed("over_neuron").ours > 0 and kept("recovered") and larger("recovered")):
        raise ValueError("features are not what the text tells")
    return f"""
Sparse autoencoders, of the {sparse_autoencoder.TransformerParams().d_mlp} neurons of a one-layer transformer of bytes that was trained here: {len(kept.result.density):,} features, of which
{l0.ours:.1f} are active at a byte, recover {percent(score)} of the loss (zero ablation; {percent(mean)} against mean ablation).
One rule on the byte, or the one before it, tells a feature with an F1 of {means[0]:.2f} on held-out text, and the neuron that correlates most with it with
{means[2]:.2f}: a difference of {spread(neuron)}. Densities spread over less than the three decades that were asked for. In the middle of the default model, where {larger.claims["sparse"].ours:.0f} of
{len(larger.result.density):,} features are active at a token, they recover {percent(larger.claims["recovered"])} of the loss ({percent(larger.claims["recovered_mean"])}
against mean ablation) on held-out text of the manual that they were trained on, and {percent(prose)} on prose."""


def percent(finding: Finding) -> str:
    """Return a share with its interval."""
    assert finding.ci is not None
    low, high = finding.ci
    return f"{finding.ours:.0%} [{low:.0%}, {high:.0%}]"


def section() -> str:
    """Return the README's section on what was found."""
    parts = [of_lens(), of_tuned(), of_tracing(), of_edits(), of_steering(), of_heads()]
    parts.append(of_features())
    filled = (
        textwrap.fill(" ".join(part.split()), WIDTH, break_on_hyphens=False) for part in parts
    )
    return "\n\n".join([BEGIN, *filled, END])


def rendered(text: str) -> str:
    """Return a README with its section written anew."""
    before, rest = text.split(BEGIN)
    return before + section() + rest.split(END)[1]


if __name__ == "__main__":
    try:
        FILE.write_text(rendered(FILE.read_text()))
    except ValueError as error:
        sys.exit(f"README.md was not written: {error}")
