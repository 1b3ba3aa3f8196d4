"""The paper's claims beside what was measured here."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.papers.induction_heads.ablation import Ablated
from interp_core.papers.induction_heads.circuits import Circuits
from interp_core.papers.induction_heads.context import InContext
from interp_core.papers.induction_heads.heads import Heads
from interp_core.papers.induction_heads.params import head_name, parse_top
from interp_core.results import Finding

_SEVERAL = 5
"""Heads that make "several"."""


def of_heads(heads: Heads) -> list[Finding]:
    """Return what the scores show: that induction heads are there, and that repeats are copied."""
    params, found = heads.params, heads.induction_heads
    every = heads.scores[0].reshape(len(heads.tokens), -1)
    above = (heads.resample.means(np.nan_to_num(every)) > params.threshold).sum(1)
    last = heads.resample.mean(heads.copy_losses[:, -1])
    scores = heads.scores[1]
    best = np.unravel_index(scores.mean(0).argmax(), scores.shape[1:])
    previous = heads.resample.mean(scores[(slice(None), *best)])
    return [
        Finding.measured(
            "induction_heads",
            f"Several heads attend to what followed before (prefix matching above "
            f"{params.threshold:g}; {params.tokens} random tokens, {params.repeats} times)",
            "heads with scores up to 0.94 in models of every size above one layer",
            Estimate.of_draws(len(found), above, every.shape[1], "heads"),
            "heads",
            holds=len(found) >= _SEVERAL,
        ),
        Finding.measured(
            "copy_loss",
            "Random tokens are predicted once they repeat (loss on the last copy below 2 nats)",
            "repeated random tokens are copied",
            last,
            "nats",
            holds=last.value < 2,
        ),
        Finding.measured(
            "previous_token_head",
            "A head in an earlier layer than the best induction head attends to the previous token "
            "(above 0.5)",
            "a previous-token head feeds the induction head's keys",
            previous,
            "attention",
            holds=previous.value > 0.5 and bool(found) and best[0] < found[0][0],
        ),
    ]


def of_ablation(result: Ablated) -> list[Finding]:
    """Return what is lost without the heads, and how it compares with other heads."""
    rise, ratio = result.resample.mean(result.rise[0]), result.ratio
    who = names = ", ".join(head_name(*pair) for pair in result.heads)
    if len(result.heads) > 2 and parse_top(result.params.ablate[0]):
        who = f"the top {len(result.heads)} heads ({names})"
    enough = 5 if len(result.heads) > 1 else 1
    label = "-".join(head_name(*pair) for pair in result.heads[:2]) or "none"
    return [
        Finding.measured(
            f"ablation_{label}",
            f"Without {who}, repeats are no longer predicted (rise of the last copy's loss of at "
            f"least {enough} nats)",
            "ablating induction heads removes most in-context learning in small models",
            rise,
            "nats",
            holds=rise.low > enough,
        ),
        Finding.measured(
            f"ablation_ratio_{label}",
            f"That is at least 10 times what as many other heads of the same layers do, without {who}",
            "other heads matter far less",
            ratio,
            "times",
            holds=ratio.value >= 10,
        ),
    ]


def of_context(result: InContext) -> list[Finding]:
    """Return the in-context learning score, and what is left of it without heads."""
    score = result.score(0)
    scaled = "" if result.params.context == 512 else ", scaled to this context"
    findings = [
        Finding.measured(
            "in_context_score",
            f"Late tokens are predicted better than early ones (loss of token {result.late} less that "
            f"of token {result.early}{scaled})",
            "about -0.4 nats from one layer's size to 13 billion parameters",
            score,
            "nats",
            holds=score.high < 0,
        )
    ]
    if result.heads:
        who = ", ".join(head_name(*pair) for pair in result.heads)
        if parse_top(result.params.ablate[0]):
            who = f"the top {len(result.heads)} induction heads"
        whole, without = result.scores()
        change = result.resample.mean(without - whole)
        findings.append(
            Finding.measured(
                "in_context_ablated",
                f"Without {who}, less in-context learning is left",
                "induction heads are the mechanism of most in-context learning in small models",
                change,
                "nats",
                holds=change.low > 0,
            )
        )
    return findings


def of_circuits(result: Circuits) -> list[Finding]:
    """Return whether a previous-token head feeds the induction head's keys."""
    receiver, sender = (head_name(*each) for each in (result.receiver, result.sender))
    looks = Estimate(
        float(result.previous_token[result.sender]), len(result.clean), result.resample.of
    )
    drop = result.resample.mean(result.drop[(slice(None), *result.sender)])
    rise = result.resample.mean(result.rise[0] - result.rise[1])
    return [
        Finding.measured(
            "path_sender",
            f"The earlier head that {receiver}'s keys depend on most ({sender}) attends to the previous "
            "token (above 0.5)",
            "the previous-token head composes with the induction head's keys",
            looks,
            "attention",
            holds=looks.value > 0.5,
        ),
        Finding.measured(
            "path_drop",
            f"Reading {receiver}'s keys without what {sender} writes lowers its prefix matching by more "
            "than half",
            "K-composition makes induction",
            drop,
            "attention",
            holds=drop.value > result.clean.mean() / 2,
        ),
        Finding.measured(
            "path_loss",
            f"Cutting the path from {sender} into the keys of {len(result.receivers)} induction heads "
            "raises the last copy's loss more than cutting that of L{}H{}".format(*result.control),
            "the two-step circuit is what copies",
            rise,
            "nats",
            holds=rise.low > 0,
        ),
    ]
