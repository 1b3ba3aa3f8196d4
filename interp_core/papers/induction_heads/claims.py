"""The paper's claims beside what was measured here."""

from __future__ import annotations

import numpy as np

from interp_core import bootstrap
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
    params, n = heads.params, len(heads.tokens)
    found = heads.induction_heads
    every = heads.scores[0].reshape(n, -1)
    counts = np.sort((heads.counts @ np.nan_to_num(every) > params.threshold).sum(1))
    last = heads.copy_losses[:, -1]
    previous = heads.scores[1].mean(0)
    best = np.unravel_index(previous.argmax(), previous.shape)
    repeats = f"{params.tokens} random tokens, {params.repeats} times"
    findings = [
        Finding(
            "induction_heads",
            f"Several heads attend to what followed before (prefix matching above "
            f"{params.threshold:g}; {repeats})",
            "heads with scores up to 0.94 in models of every size above one layer",
            len(found),
            "heads",
            _ends(counts),
            len(found) >= _SEVERAL,
            every.shape[1],
            "heads",
        ),
        Finding(
            "copy_loss",
            "Random tokens are predicted once they repeat (loss on the last copy below 2 nats)",
            "repeated random tokens are copied",
            float(last.mean()),
            "nats",
            _ends(heads.counts @ last),
            bool(last.mean() < 2),
            n,
            "sequences",
        ),
        Finding(
            "previous_token_head",
            "A head in an earlier layer than the best induction head attends to the previous token "
            "(above 0.5)",
            "a previous-token head feeds the induction head's keys",
            float(previous.max()),
            "attention",
            _ends(heads.counts @ heads.scores[1][(slice(None), *best)]),
            bool(previous.max() > 0.5 and found and best[0] < found[0][0]),
            n,
            "sequences",
        ),
    ]
    return findings


def of_ablation(result: Ablated) -> list[Finding]:
    """Return what is lost without the heads, and how it compares with other heads."""
    own, _ = result.draws
    ratio, ratio_ends = result.ratio
    n = result.rise.shape[1]
    who = names = ", ".join(head_name(*pair) for pair in result.heads)
    if len(result.heads) > 2 and parse_top(result.params.ablate[0]):
        who = f"the top {len(result.heads)} heads ({names})"
    enough = 5 if len(result.heads) > 1 else 1
    low, high = bootstrap.interval(own)
    label = "-".join(head_name(*pair) for pair in result.heads[:2]) or "none"
    return [
        Finding(
            f"ablation_{label}",
            f"Without {who}, repeats are no longer predicted (rise of the last copy's loss of at "
            f"least {enough} nats)",
            "ablating induction heads removes most in-context learning in small models",
            float(result.rise[0].mean()),
            "nats",
            (float(low), float(high)),
            bool(low > enough),
            n,
            "sequences",
        ),
        Finding(
            f"ablation_ratio_{label}",
            f"That is at least 10 times what as many other heads of the same layers do, without {who}",
            "other heads matter far less",
            ratio,
            "times",
            (float(ratio_ends[0]), float(ratio_ends[1])),
            bool(ratio >= 10),
            len(result.controls),
            "draws of heads",
        ),
    ]


def of_context(result: InContext) -> list[Finding]:
    """Return the in-context learning score, and what is left of it without heads."""
    mean, low, high = result.score(0)
    n = result.losses.shape[1]
    scaled = "" if result.params.context == 512 else ", scaled to this context"
    findings = [
        Finding(
            "in_context_score",
            f"Late tokens are predicted better than early ones (loss of token {result.late} less that "
            f"of token {result.early}{scaled})",
            "about -0.4 nats from one layer's size to 13 billion parameters",
            mean,
            "nats",
            (low, high),
            high < 0,
            n,
            "texts",
        )
    ]
    if result.heads:
        who = ", ".join(head_name(*pair) for pair in result.heads)
        if parse_top(result.params.ablate[0]):
            who = f"the top {len(result.heads)} induction heads"
        each = result.scores()
        change = each[1] - each[0]
        ends = bootstrap.interval(result.counts @ change)
        findings.append(
            Finding(
                "in_context_ablated",
                f"Without {who}, less in-context learning is left",
                "induction heads are the mechanism of most in-context learning in small models",
                float(change.mean()),
                "nats",
                (float(ends[0]), float(ends[1])),
                bool(ends[0] > 0),
                n,
                "texts",
            )
        )
    return findings


def of_circuits(result: Circuits) -> list[Finding]:
    """Return whether a previous-token head feeds the induction head's keys."""
    receiver, sender = (head_name(*each) for each in (result.receiver, result.sender))
    n = len(result.clean)
    drop = result.drop[(slice(None), *result.sender)]
    looks = float(result.previous_token[result.sender])
    rise = result.rise
    return [
        Finding(
            "path_sender",
            f"The earlier head that {receiver}'s keys depend on most ({sender}) attends to the previous "
            "token (above 0.5)",
            "the previous-token head composes with the induction head's keys",
            looks,
            "attention",
            None,
            looks > 0.5,
            n,
            "sequences",
        ),
        Finding(
            "path_drop",
            f"Reading {receiver}'s keys without what {sender} writes lowers its prefix matching by more "
            "than half",
            "K-composition makes induction",
            float(drop.mean()),
            "attention",
            _ends(result.counts @ drop),
            bool(drop.mean() > result.clean.mean() / 2),
            n,
            "sequences",
        ),
        Finding(
            "path_loss",
            f"Cutting the path from {sender} into the keys of {len(result.receivers)} induction heads "
            "raises the last copy's loss more than cutting that of L{}H{}".format(*result.control),
            "the two-step circuit is what copies",
            float((rise[0] - rise[1]).mean()),
            "nats",
            (ends := _ends(result.counts @ (rise[0] - rise[1]))),
            ends[0] > 0,
            n,
            "sequences",
        ),
    ]


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = bootstrap.interval(draws)
    return float(low), float(high)
