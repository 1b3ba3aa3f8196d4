"""The paper's claims beside what was measured here."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding
from interp_core.papers.induction_heads.ablation import Ablated
from interp_core.papers.induction_heads.circuits import Circuits
from interp_core.papers.induction_heads.context import InContext
from interp_core.papers.induction_heads.heads import Heads
from interp_core.papers.induction_heads.params import head_name, parse_top

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
            "Several heads attend to what followed the current token before",
            "heads with scores up to 0.94 in models of every size above one layer",
            Estimate.of_draws(len(found), above, every.shape[1], "heads"),
            "heads",
            holds=len(found) >= _SEVERAL,
            criterion=f"prefix matching above {params.threshold:g} in at least {_SEVERAL} heads "
            f"({params.tokens} random tokens, {params.repeats} times)",
        ),
        Finding.measured(
            "copy_loss",
            "Random tokens are predicted once they repeat",
            "repeated random tokens are copied",
            last,
            "nats",
            holds=last.value < 2,
            criterion="loss on the last repetition below 2 nats",
        ),
        Finding.measured(
            "previous_token_head",
            "A head before the best induction head attends to the previous token",
            "a previous-token head feeds the induction head's keys",
            previous,
            "attention",
            holds=previous.value > 0.5 and bool(found) and best[0] < found[0][0],
            criterion="attention to the previous token above 0.5, in an earlier layer",
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
            f"Ablating {who} ends the prediction of repetitions",
            "ablating induction heads removes most in-context learning in small models",
            rise,
            "nats",
            holds=rise.low > enough,
            criterion=f"the last repetition's loss rises by more than {enough} nats, with its interval",
        ),
        Finding.measured(
            f"ablation_ratio_{label}",
            f"Ablating {who} does more than ablating as many other heads of the same layers",
            "other heads matter far less",
            ratio,
            "times",
            holds=ratio.value >= 10,
            criterion="a rise at least 10 times theirs",
        ),
    ]


def of_context(result: InContext) -> list[Finding]:
    """Return the in-context learning score, and what is left of it without heads."""
    score = result.score(0)
    scaled = "" if result.params.context == 512 else ", scaled to this context"
    findings = [
        Finding.measured(
            "in_context_score",
            "Late tokens are predicted better than early ones",
            "about -0.4 nats from one layer's size to 13 billion parameters",
            score,
            "nats",
            holds=score.high < 0,
            criterion=f"loss({result.late}) − loss({result.early}) below 0, with its interval{scaled}",
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
                f"Ablating {who} reduces in-context learning",
                "induction heads are the mechanism of most in-context learning in small models",
                change,
                "nats",
                holds=change.low > 0,
                criterion="the change of that score above 0, with its interval",
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
            f"What {receiver}'s keys depend on most is a previous-token head ({sender})",
            "the previous-token head composes with the induction head's keys",
            looks,
            "attention",
            holds=looks.value > 0.5,
            criterion="its attention to the previous token above 0.5",
        ),
        Finding.measured(
            "path_drop",
            f"{receiver}'s prefix matching needs what {sender} writes into its keys",
            "K-composition makes induction",
            drop,
            "attention",
            holds=drop.value > result.clean.mean() / 2,
            criterion="read without it, it falls by more than half",
        ),
        Finding.measured(
            "path_loss",
            f"The path from {sender} into the induction heads' keys is what copies",
            "the two-step circuit is what copies",
            rise,
            "nats",
            holds=rise.low > 0,
            criterion=f"without it, into {len(result.receivers)} heads, the last repetition's loss rises more than "
            "without that of L{}H{}: difference above 0, with its interval".format(*result.control),
        ),
    ]
