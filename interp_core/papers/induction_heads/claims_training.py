"""The paper's signs of a phase change, counted over trainings from several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from interp_core.estimates import Estimate, means, share
from interp_core.findings import Finding, at_least, every
from interp_core.papers.induction_heads.dynamics import BEFORE, FALL, MOST, WINDOW, first
from interp_core.papers.induction_heads.seeds import Seeds
from interp_core.papers.induction_heads.toys import D_VOCAB, Toy
from interp_core.papers.induction_heads.training import SCORE

NEAR = 100
"""How many steps off the window of the fall heads may form."""
FLAT, IDLE = 0.5, 0.1
"""Without a phase change: how far the loss may get below chance (nats), and how high a score may get."""
COMPOSED = 0.05
"""By how much K-composition of a circuit rises more than that of any other head; random weights are within 0.02."""
RUNS = at_least(0.5)
"""Of the runs, more than half: five of five decide it, four do not."""

CHANCE = math.log(D_VOCAB)
"""Chance loss, nats."""
_HALF = CHANCE / 2


def of_seeds(result: Seeds) -> list[Finding]:
    """Return the claims that the models which were trained allow to be tested."""
    there = result.models
    found = [_phase_change(result, name) for name in ("2", "3") if name in there]
    if "2" in there:
        found.append(_composes(result))
    if "1" in there:
        found.append(_one_layer(result))
    if {"2", "1-smeared"} <= set(there):
        found.append(_smeared(result))
    return found


def _of(result: Seeds, name: Toy) -> tuple[np.ndarray, np.ndarray]:
    """Return a model's second-copy loss and best prefix matching, [run, checkpoint] each."""
    row = result.models.index(name)
    return result.second_copy_loss[row], result.best_prefix_matching[row]


def _steps(found: Sequence[int | None]) -> str:
    """Return the steps of all runs in words, in order."""
    there = sorted(step for step in found if step is not None)
    missing = len(found) - len(there)
    words = ", ".join(f"{step}" for step in there)
    return words + (", " if there and missing else "") + (f"never in {missing}" if missing else "")


def _phase_change(result: Seeds, name: Toy) -> Finding:
    changes, formed = result.changes[name], result.formed(name)
    falls = np.array([each.abrupt for each in changes])
    near = np.array(
        [
            step is not None and each.start - NEAR <= step <= each.end + NEAR
            for each, step in zip(changes, formed, strict=True)
        ]
    )
    return Finding.measured(
        f"phase_change_{name}",
        f"{name} layers: what repeats is learned abruptly, as induction heads form",
        "an abrupt change within the first few billion tokens, in which induction heads form",
        share(falls & near, "runs"),
        "share",
        bar=RUNS,
        measure=f"share of runs in which at least {MOST:.0%} of the whole fall of the second copy's loss "
        f"(over {FALL} nats) is within {WINDOW:.0%} of training, at most {BEFORE:.0%} before that, after a "
        f"plateau at least as long; and the best prefix matching passes {SCORE} within {NEAR} steps of "
        "that window",
        criterion=f"abrupt in {falls.sum()}, heads form in the window in {near.sum()} of {len(falls)} runs; the "
        f"window begins at steps {_steps([each.start for each in changes])}",
        place="Argument 1",
    )


def _composes(result: Seeds) -> Finding:
    own, other = result.composed("2")
    return Finding.measured(
        "k_composition",
        "2 layers: the induction head comes to read what the previous-token head writes",
        "induction heads are made by K-composition with a previous-token head",
        share(own - other >= COMPOSED, "runs"),
        "share",
        bar=RUNS,
        measure="share of runs in which K-composition with the induction head rises over training by at least "
        f"{COMPOSED} more for the previous-token head than for any other earlier head",
        criterion=f"it rises by {own.mean():.2f}, for the next head by {other.mean():.2f}, on average",
        place="definition of induction heads",
    )


def _one_layer(result: Seeds) -> Finding:
    loss, best = _of(result, "1")
    below = CHANCE - loss.min(1)
    none = (below <= FLAT) & (best.max(1) < IDLE)
    ends = {name: result.in_context[row, :, -1] for row, name in enumerate(result.models)}
    gained = f"{ends['1'].min():.2f} to {ends['1'].max():.2f} nats"
    others = f", of 2 layers {ends['2'].mean():.2f}" if "2" in ends else ""
    return Finding.measured(
        "one_layer",
        "1 layer: no induction heads, and no phase change",
        "one-layer models have no phase change, and cannot make induction heads",
        share(none, "runs"),
        "share",
        bar=RUNS,
        measure=f"share of runs in which prefix matching stays below {IDLE} in every head, and the second copy's "
        f"loss is never more than {FLAT} nats below chance, ln {D_VOCAB}",
        criterion=f"highest prefix matching {best.max():.2f}, lowest loss {below.max():.2f} nats below chance. Some "
        f"in-context learning there is without such heads: its score at the end is {gained}{others}",
        place="Argument 1",
    )


def _smeared(result: Seeds) -> Finding:
    """Compare when two models halve chance loss on what repeats."""
    plain, (smeared, best) = _of(result, "2")[0], _of(result, "1-smeared")
    late, early = (
        [first(result.steps, each < _HALF) for each in loss] for loss in (plain, smeared)
    )
    # A model that does not come so far is taken to do so at the end.
    end = int(result.steps[-1])
    lead = [
        (end if b is None else b) - (end if a is None else a)
        for a, b in zip(early, late, strict=True)
    ]
    found = Estimate.of_ends(means(np.array(lead, float)), len(lead), "runs")
    forms = share(best.max(1) > SCORE, "runs")
    return Finding.measured(
        "smeared_keys",
        "1 layer with smeared keys forms induction heads, and learns what repeats before 2 layers do",
        "with smeared keys one layer suffices, and two layers change earlier",
        found,
        "steps",
        holds=every([at_least(0).verdict(found), RUNS.verdict(forms)]),
        measure=f"step at which the second copy's loss first is below half of chance ({_HALF:.2f} nats), that of 2 "
        "layers less that of 1 layer with smeared keys, of the same seed",
        criterion=f"above 0, and a head of the latter passes {SCORE} in at least half of the runs (bars: ours): in "
        f"{round(forms.value * forms.n)} of {forms.n}; at steps {_steps(early)}, 2 layers {_steps(late)}",
        place="Argument 2",
    )
