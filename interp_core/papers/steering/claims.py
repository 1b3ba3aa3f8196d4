"""The paper's claims beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, Resample, means, share
from interp_core.findings import Bar, Finding, at_least, at_most, every
from interp_core.papers.steering.geometry import Geometry
from interp_core.papers.steering.params import SCOPES
from interp_core.papers.steering.strength import MOST_LOSS, RANDOM, SHUFFLED, Strength
from interp_core.papers.steering.sweep import Sweep

LEAST_SWING, MOST_SHARE = 0.1, 0.25
PEAK = Bar(0.3, 0.6)
"""Depths about that of the layer that the paper steers, 44% of Llama 2 7B's."""
ABOVE_0, RIGHT_MORE_OFTEN = at_least(0), at_least(0.5)
_BY = {"text": "", "ab": "by letters", "last": "by last tokens"}
_TABLE = "paper's Table 3"


def _about(result: Sweep | Strength | Geometry) -> str:
    """Return what a claim begins with: the behaviour, where it is one that ships, and the protocol."""
    behaviour = "" if result.params.pairs else result.behaviour
    words = ", ".join(part for part in (behaviour, _BY[result.params.protocol]) if part)
    return f"{words}: " if words else ""


def _id(result: Sweep | Strength | Geometry, claim: str) -> str:
    """Return a claim's id, which names the behaviour and the protocol as :func:`_about` does."""
    params = result.params
    behaviour = "" if params.pairs else f"_{params.behaviour}"
    return claim + behaviour + ("" if params.protocol == "text" else f"_{params.protocol}")


def swept(result: Sweep) -> list[Finding]:
    """Return what a sweep over layers says."""
    first, last = result.multipliers[0], result.multipliers[-1]
    if not first < 0 < last:
        return []
    about = _about(result)
    found = [
        Finding.measured(
            _id(result, "layer_swing"),
            f"{about}steering at the best layer raises p(matching) of held-out answers",
            "corrigibility: .45 at -1, .83 at +1, by letters (Llama 2 13B)",
            Estimate.of_ends(result.gain, result.n - result.n // 2, "pairs"),
            "change of p",
            bar=ABOVE_0,
            measure=f"mean p(matching) at {last:+g} less that at {first:+g}, at the layer where the other half of the pairs "
            "moves most",
            place=_TABLE,
        )
    ]
    return [*found, _peak(result, about)] if len(result.layers) > 4 else found


def _peak(result: Sweep, about: str) -> Finding:
    """Whether the layer that moves answers most lies in the middle; the choice is resampled, too."""
    depth = (result.layers + 1) / result.depth
    draws = Resample(result.n, "pairs", 0).means(result.swing.T)
    value = float(depth[result.swing.mean(1).argmax()])
    return Finding.measured(
        _id(result, "peak"),
        f"{about}the layer that steers best lies between {PEAK.low:.0%} and {PEAK.high:.0%} of depth",
        "layer 13 of 0 to 31 (Llama 2 7B): 44% of depth, counted alike",
        Estimate.of_draws(value, depth[draws.argmax(1)], result.n, "pairs"),
        "share",
        bar=PEAK,
        measure="blocks up to the one where p(matching) changes most between the ends of the multipliers, over the blocks that are steered; "
        "the interval resamples pairs, and the choice with them",
        place="paper's sweep over layers",
    )


def strengthened(result: Strength) -> list[Finding]:
    """Return what a sweep over strengths says."""
    about = _about(result)
    found = [
        _monotone(result, about),
        _floor(result, about, RANDOM, "random_floor", "a random vector"),
        _floor(result, about, SHUFFLED, "shuffled_floor", "a vector of shuffled pairs"),
        _chosen(result, about),
    ]
    rows = [result.row(-1), result.row(1)]
    by_one = result.params.unit == "multiplier" and np.allclose(result.multipliers[rows], (-1, 1))
    return [_dose(result, about), *found, _cost(result, about)] if by_one else found


def _dose(result: Strength, about: str) -> Finding:
    swing = means(result.p[0, result.row(1)] - result.p[0, result.row(-1)])
    return Finding.measured(
        _id(result, "dose"),
        f"{about}p(matching) rises by {LEAST_SWING} or more from multiplier -1 to +1",
        "rises of .04 to .38, 6 of 7 behaviours by .1 or more, by letters (Llama 2 13B)",
        Estimate.of_ends(swing, result.n, "pairs"),
        "change of p",
        bar=at_least(LEAST_SWING),
        measure=f"mean p(matching) of held-out pairs at +1 less that at -1, steered at layer {result.layer}{_why(result)}",
        place=_TABLE,
    )


def _why(result: Strength) -> str:
    return ", which was fixed before" if result.params.layer is None else ""


def _monotone(result: Strength, about: str) -> Finding:
    steps = means(np.diff(result.p[0], axis=0))
    verdicts = ABOVE_0.of_ends(steps)
    holds = every(verdicts)
    decides = steps[steps[:, 2 if holds is False else 1].argmin()]
    return Finding.measured(
        _id(result, "monotone"),
        f"{about}every further step of the multiplier raises p(matching)",
        "6 of 7 behaviours, from -1 to 0 and from 0 to +1, by letters (Llama 2 13B)",
        Estimate.of_ends(decides, result.n, "pairs"),
        "change of p",
        holds=holds,
        criterion=f"all {len(verdicts)} steps above 0 (bar: ours), where {verdicts.count(True)} are above and "
        f"{verdicts.count(False)} below; the one that decides is shown",
        measure=f"mean p(matching) at one multiplier less that at the one before, from {result.multipliers[0]:+g} to "
        f"{result.multipliers[-1]:+g}",
        place=_TABLE,
    )


def _floor(result: Strength, about: str, kind: str, name: str, words: str) -> Finding:
    moved = result.floor_share(kind)
    known = bool(np.isfinite(moved).all())
    draws = sum(each == kind for each in result.floors)
    bar = at_most(MOST_SHARE)
    return Finding.measured(
        _id(result, name),
        f"{about}{words} of the same norm moves p at most a quarter as much",
        "no such floor; ours",
        Estimate.of_ends(moved, draws, "vectors")
        if known
        else Estimate(moved[0], draws, "vectors"),
        "share",
        bar=bar if known else None,
        criterion=""
        if known
        else f"{bar.words('share')}; not decided where the vector's own change may be 0",
        measure=f"mean size of the changes from {-result.at:+g} to {result.at:+g} over that of the vector itself; the "
        "interval is over these vectors and over pairs",
    )


def _chosen(result: Strength, about: str) -> Finding:
    gain = Estimate.of_ends(result.gain, result.n - result.n // 2, "pairs")
    steered = result.chosen != result.zero
    chosen = f"{result.multipliers[result.chosen]:+g}" if steered else "0, so nothing is steered"
    return Finding.measured(
        _id(result, "chosen"),
        f"{about}the strength chosen on half of the pairs raises p(matching) of the other half",
        "no such split; ours",
        gain,
        "change of p",
        holds=ABOVE_0.verdict(gain) if steered else False,
        criterion=f"{ABOVE_0.words('change of p')}; the choice is {chosen}",
        measure=f"gain over the unsteered model at the multiplier that does most among those that cost at most {MOST_LOSS} "
        "nats a token of prose",
    )


def _cost(result: Strength, about: str) -> Finding:
    ends = result.cost[[result.row(-1), result.row(1)]]
    return Finding.measured(
        _id(result, "cost"),
        f"{about}steering by 1 leaves the loss on unrelated text within {MOST_LOSS} nats",
        "another measure: accuracy on MMLU .63 unsteered, .57 to .65 steered (Llama 2 13B)",
        Estimate.of_ends(ends[np.abs(ends[:, 0]).argmax()], len(result.sizes), "documents"),
        "nats a token",
        holds=every(Bar(-MOST_LOSS, MOST_LOSS).of_ends(ends)),
        criterion=f"within {MOST_LOSS} nats either way at -1 and at +1 (bar: ours); the larger is shown",
        measure=f"mean loss on prose, every token of it steered, less that of the unsteered model{_answers(result)}",
        place="paper's section on general capabilities",
    )


def _answers(result: Strength) -> str:
    """Return which tokens of answers are steered, where not all are, as prose has no instruction."""
    scope = result.params.scope
    return "" if scope == "all" else f"; with answers fewer tokens are steered: {SCOPES[scope]}"


def located(result: Geometry) -> list[Finding]:
    """Return what the vector is of."""
    if result.params.protocol != "ab":
        return [_separated(result)]
    found = [_knows(result), _clusters(result)]
    turned = result.letter_cosine()[result.middle]
    return found if np.isnan(turned[0]) else [*found, _turned(result, turned)]


def _separated(result: Geometry) -> Finding:
    return Finding.measured(
        _id(result, "separated"),
        f"{_about(result)}held-out answers are separated along the vector",
        "refusal: clusters by behaviour from layer 10 of 32 on (Llama 2 7B)",
        share(result.apart[result.middle], "pairs"),
        "share",
        bar=RIGHT_MORE_OFTEN,
        measure=f"held-out pairs whose matching answer lies further along the vector, after block {result.middle}",
        place="paper's Figure 2",
    )


def _knows(result: Geometry) -> Finding:
    return Finding.measured(
        _id(result, "knows"),
        f"{_about(result)}letters tell which answer the unsteered model prefers: the matching one more often than chance",
        "not claimed; mean p(matching) is .22 to .78 by behaviour (Llama 2 13B)",
        result.accuracy,
        "share",
        bar=RIGHT_MORE_OFTEN,
        measure="share of pairs whose matching letter is the likelier of the two",
        place=_TABLE,
    )


def _turned(result: Geometry, cosine: np.ndarray) -> Finding:
    return Finding.measured(
        _id(result, "behaviour_vector"),
        f"{_about(result)}the vector points the same way whichever letter matches",
        "assumed; not tested",
        Estimate.of_ends(cosine, int(result.by_letter.sum()), "pairs"),
        "cosine",
        bar=ABOVE_0,
        measure="cosine of the direction that pairs with (A) matching have in common with that of pairs with (B) matching, "
        f"after block {result.middle}; no pair is compared with itself",
    )


def _clusters(result: Geometry) -> Finding:
    return Finding.measured(
        _id(result, "clusters"),
        f"{_about(result)}answers differ more by behaviour than by letter",
        "refusal: clusters by letter, and by behaviour from layer 10 of 32 on (Llama 2 7B)",
        result.behaviour_over_letter(result.middle),
        "difference of |r|",
        bar=ABOVE_0,
        measure=f"|r| of the first principal component with the behaviour less that with the letter, after block {result.middle}; "
        "the interval leaves out each pair, on the component as it is",
        place="paper's Figure 2",
    )
