"""The paper's claims beside what was measured here."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate, means, picked
from interp_core.findings import Finding, at_least, at_most
from interp_core.papers.induction_heads.ablation import Ablated
from interp_core.papers.induction_heads.circuits import Circuits
from interp_core.papers.induction_heads.context import InContext
from interp_core.papers.induction_heads.heads import Heads
from interp_core.papers.induction_heads.params import (
    PREVIOUS,
    SCORES,
    Removed,
    head_name,
    matched,
    parse_top,
)

_SEVERAL = 5
"""Heads that make "several"."""
_LOST = {"one": 1.0, "several": 5.0}
"""Nats that the last repetition must lose more without one head, and without several, than without others."""
_UNMATCHED = "not all of their layers have as many others, so controls are of other layers"
_BROKEN = 1.0
"""Nats that tokens which nothing predicts may lose, before what later ones lose says nothing of these heads."""


def of_heads(heads: Heads) -> list[Finding]:
    """Return what the scores show: that induction heads are there, and that repeats are copied."""
    params, found, n = heads.params, heads.induction_heads, len(heads.tokens)
    every = heads.scores[SCORES.index("prefix_matching")].reshape(n, -1)
    above = (heads.resample.means(np.nan_to_num(every)) > params.threshold).sum(1)
    losses = heads.copy_losses
    given = f"{params.tokens} random tokens, {params.repeats} times"
    return [
        Finding.measured(
            "induction_heads",
            "Several heads attend to the token that followed the current one earlier",
            "such heads in models of every size above one layer; 0.94 for the example shown",
            heads.resample.estimate(len(found), above),
            "heads",
            bar=at_least(_SEVERAL),
            measure=f"heads, of {every.shape[1]}, with a mean prefix matching above {params.threshold:g} ({given})",
            place="Argument 4",
        ),
        Finding.measured(
            "copy_loss",
            "Random tokens are predicted once they repeat",
            "repeated random tokens are copied",
            heads.resample.mean(losses[:, -1]),
            "nats",
            bar=at_most(2),
            measure="mean loss on the last repetition, its first token left out",
            criterion=f"{losses[:, 0].mean():.1f} nats on the first, which nothing predicts",
            place="definition of induction heads",
        ),
        _previous_token_head(heads),
    ]


def _previous_token_head(heads: Heads) -> Finding:
    scores = heads.scores[SCORES.index("previous_token")]
    layer = heads.ranked[0][0] if heads.ranked else 0
    before = scores[:, :layer].reshape(len(scores), -1) if layer else np.zeros((len(scores), 1))
    return Finding.measured(
        "previous_token_head",
        "A head in a layer before the best induction head's attends to the previous token",
        "a previous-token head feeds the induction head's keys",
        _largest(before, "sequences"),
        "attention",
        bar=at_least(0.5),
        measure="mean attention to the previous token of the earlier head that has most of it, picked on the other "
        "half of the sequences",
        criterion=f"over all, {heads.summary['previous_token_head']} has most of any layer",
        place="Argument 5",
    )


def _largest(values: np.ndarray, of: str, by: np.ndarray | None = None) -> Estimate:
    """Return the mean of ``values`` [group, row] in the row where ``by`` is largest, picked on the other half of the groups.

    ``by`` is the values themselves unless given.
    """
    if len(values) > 1:
        return Estimate.of_ends(picked(values, by=by), len(values), of)
    return Estimate.of_ends(means(values[:, (values if by is None else by)[0].argmax()]), 1, of)


def _removed(params: Removed, count: int) -> str:
    """Return which heads were taken away, in words that fit every model."""
    if params.ablate == (PREVIOUS,):
        return "the head that looks most at the previous token"
    if parse_top(params.ablate[0]):
        return (
            "the top heads by prefix matching" if count > 1 else "the top head by prefix matching"
        )
    return "these heads" if count > 1 else "this head"


def of_ablation(result: Ablated) -> list[Finding]:
    """Return what is lost without the heads, beyond what is without as many others."""
    params, count = result.params, len(result.heads)
    previous = params.ablate == (PREVIOUS,)
    which = "previous" if previous else "top" if parse_top(params.ablate[0]) else "named"
    names = ", ".join(head_name(*pair) for pair in result.heads)
    others = "as many others of the same layers" if count > 1 else "another of the same layer"
    them = "them" if count > 1 else "it"
    said, rises = result.summary, (result.rise[0], result.rise[1:].mean(0))
    times = ""
    if all(means(rise)[1] > 0 for rise in rises):  # a ratio to what may be nothing says nothing
        times = (
            f", about {round(said['rise'] / said['others_rise'])} times as much as without others"
        )
    doubts = []
    if result.unpredicted_without - result.unpredicted > max(_BROKEN, said["rise"] / 2):
        doubts.append(
            "what nothing predicts costs so much more that the model is broken as a whole"
        )
    if not result.matched:
        doubts.append(_UNMATCHED)
    return [
        Finding.measured(
            f"ablation_{which}",
            f"Without {_removed(params, count)}, repeats are predicted worse than without {others}",
            "induction heads are made of two heads in two layers, of which the first looks at the token before"
            if previous
            else "ablating induction heads removes most in-context learning in small attention-only models",
            result.resample.mean(result.lead),
            "nats",
            bar=None if doubts else at_least(_LOST["several" if count > 1 else "one"]),
            measure=f"rise of the last repetition's loss without {names}, less its rise without {others} (mean of "
            f"{len(set(map(frozenset, result.controls)))} draws)",
            criterion=f"from {said['base_last_copy_loss']:.1f} to {said['ablated_last_copy_loss']:.1f} nats{times}; "
            f"tokens that nothing predicts cost {result.unpredicted:.1f}, without {them} {result.unpredicted_without:.1f}"
            + "".join(f"; {doubt}" for doubt in doubts),
            place="Argument 5" if previous else "Argument 3",
        )
    ]


def of_context(result: InContext) -> list[Finding]:
    """Return the in-context learning score, and what is left of it without heads."""
    scaled = "" if result.params.context == 512 else " (the paper's tokens, scaled to this context)"
    score = f"loss of token {result.late} less that of token {result.early}{scaled}"
    findings = [
        Finding.measured(
            "in_context_score",
            "Late tokens are predicted better than early ones",
            "about -0.4 nats from small models to 13 billion parameters",
            result.score(0),
            "nats",
            bar=at_most(0),
            measure=f"{score}, mean over passages of Python's manual",
            place="Argument 1",
        )
    ]
    return [*findings, _without_heads(result, score)] if result.heads else findings


def _without_heads(result: InContext, score: str) -> Finding:
    """Return what ablation takes from the score; undecided where it takes the model with it."""
    names = ", ".join(head_name(*pair) for pair in result.heads)
    whole, without, others = result.scores()
    early = result.losses[:, :, result.early - 1].astype(float).mean(1)
    doubts = []
    if early[1] - early[0] > _BROKEN:
        doubts.append(
            "the model is broken as a whole, and its score says nothing of in-context learning"
        )
    if not matched(result.heads, result.controls):
        doubts.append(_UNMATCHED)
    return Finding.measured(
        "in_context_ablated",
        f"Ablating {_removed(result.params, len(result.heads))} reduces in-context learning more than "
        "ablating as many others of the same layers",
        "induction heads are the mechanism of most in-context learning in small models",
        result.resample.mean(without - others),
        "nats",
        bar=None if doubts else at_least(0),
        measure=f"that score without {names}, less that without others (mean of "
        f"{len(set(map(frozenset, result.controls)))} draws)",
        criterion=f"{without.mean():.2f} and {others.mean():.2f} nats, of the whole model {whole.mean():.2f}; the loss of "
        f"token {result.early} itself goes from {early[0]:.1f} to {early[1]:.1f} nats without them"
        + "".join(f"; {doubt}" for doubt in doubts),
        place="Argument 3",
    )


def of_circuits(result: Circuits) -> list[Finding]:
    """Return whether a previous-token head feeds the induction head's keys."""
    receiver, sender, control = (
        head_name(*each) for each in (result.receiver, result.sender, result.control)
    )
    n, before = len(result.clean), slice(0, result.receiver[0])
    lost = (result.drop[:, before] / result.clean.mean()).reshape(n, -1)
    looks = result.looks[:, before].reshape(n, -1)
    cut, other = result.rise
    return [
        Finding.measured(
            "path_sender",
            "What an induction head's keys depend on most is a head that looks at the previous token",
            "the previous-token head composes with the induction head's keys",
            _largest(looks, result.resample.of, by=lost),
            "attention",
            bar=at_least(0.5),
            measure=f"mean attention to the previous token of the head without which {receiver} loses most prefix "
            "matching, picked by that on the other half of the sequences",
            criterion=f"over all, {sender}",
            place="Argument 5",
        ),
        Finding.measured(
            "path_drop",
            "An induction head's prefix matching needs what one earlier head writes into its keys",
            "K-composition makes induction",
            _largest(lost, result.resample.of),
            "share",
            bar=at_least(0.5),
            measure=f"share of {receiver}'s prefix matching ({result.clean.mean():.2f}) that is lost when its keys are "
            "read without the head that costs most, picked on the other half of the sequences",
            criterion=f"over all, {sender}",
            place="Argument 5",
        ),
        Finding.measured(
            "path_loss",
            "The path from that head into the induction heads' keys is what copies",
            "the two-step circuit is what copies",
            result.resample.mean(cut - other),
            "nats",
            bar=at_least(0),
            measure=f"rise of the last repetition's loss when the keys of {len(result.receivers)} induction heads are "
            f"read without {sender}, less that without {control}, of its layer",
            criterion=f"{cut.mean():.1f} and {other.mean():.2f} nats",
            place="Argument 5",
        ),
    ]
