"""The paper's signs of a phase change beside what was measured over training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding
from interp_core.papers.induction_heads.toys import D_VOCAB, Toy
from interp_core.papers.induction_heads.training import TESTS, Training

FALL, WINDOW = 1.5, 0.3
"""A phase change: by how many nats the second copy's loss falls, and in what share of training."""
SCORE, NEAR = 0.2, 100
"""Prefix matching that a head crosses then, and how many steps off the window it may be."""
FLAT, IDLE = 0.5, 0.1
"""Without one: how far the loss may stray from chance (nats), and how high a score may get."""

CHANCE = math.log(D_VOCAB)
"""Chance loss, nats."""


@dataclass(frozen=True)
class Window:
    """Where the second copy's loss falls most: two checkpoints, and the fall in nats."""

    start: int
    end: int
    fall: float


def steepest(steps: np.ndarray, loss: np.ndarray) -> Window:
    """Return the checkpoints, at most ``WINDOW`` of training apart, between which it falls most.

    The shortest of those that are equal.
    """
    apart = steps[None, :] - steps[:, None]
    falls = np.where((apart > 0) & (apart <= WINDOW * steps[-1]), loss[:, None] - loss, -np.inf)
    most = np.argwhere(falls == falls.max())
    start, end = min(most.tolist(), key=lambda pair: apart[pair[0], pair[1]])
    return Window(start, end, float(falls[start, end]))


def first(steps: np.ndarray, there: np.ndarray) -> int | None:
    """Return the first step at which a condition [checkpoint] holds."""
    return int(steps[there.argmax()]) if there.any() else None


def of_training(training: Training) -> list[Finding]:
    """Return the claims that the models which have ended their training allow to be tested."""
    ended = [name for i, name in enumerate(training.models) if np.isfinite(training.loss[i, -1])]
    found: list[Finding] = []
    for name in ("2", "3"):
        if name in ended:
            found += [_falls(training, name), _forms(training, name)]
    if "2" in ended:
        found.append(_composes(training))
    if "1" in ended:
        found += [_stays(training), _has_none(training)]
    if {"2", "1-smeared"} <= set(ended):
        found.append(_smeared(training))
    return found


def _of(training: Training, name: Toy) -> tuple[np.ndarray, np.ndarray, Window]:
    """Return a model's second-copy loss and best prefix matching [checkpoint], and its window."""
    row = training.models.index(name)
    loss = training.second_copy_loss[row]
    best = training.best(training.prefix_matching)[row]
    return loss, best, steepest(training.steps, loss)


def _ours(value: float) -> Estimate:
    return Estimate(float(value), TESTS, "test sequences, one seed")


def _span(training: Training, window: Window) -> str:
    return f"steps {training.steps[window.start]} to {training.steps[window.end]}"


def _falls(training: Training, name: Toy) -> Finding:
    _, _, window = _of(training, name)
    return Finding.measured(
        f"phase_change_{name}",
        f"{name} layers: the loss on what repeats falls abruptly",
        "an abrupt change, at 1 to 3 billion tokens in small models",
        _ours(window.fall),
        "nats",
        holds=window.fall > FALL,
        criterion=f"by more than {FALL} nats within {WINDOW:.0%} of training (largest fall: "
        f"{_span(training, window)})",
    )


def _forms(training: Training, name: Toy) -> Finding:
    _, best, window = _of(training, name)
    start, end = int(training.steps[window.start]), int(training.steps[window.end])
    step = first(training.steps, best > SCORE)
    near = step is not None and start - NEAR <= step <= end + NEAR
    return Finding.measured(
        f"heads_form_{name}",
        f"{name} layers: induction heads form at the same time",
        "induction heads form in the same window",
        _ours(best[-1]),
        "(attention)",
        holds=near and window.fall > FALL,
        criterion=f"best prefix matching passes {SCORE} in that window, or at most {NEAR} steps off it "
        f"(passed {'never' if step is None else f'at step {step}'}; ours: at the end)",
    )


def _composes(training: Training) -> Finding:
    _, _, window = _of(training, "2")
    row = training.models.index("2")
    curve = training.composition[row]
    before, after = float(curve[window.start]), float(curve[window.end])
    earlier, other, later, head = training.circuit("2")
    return Finding.measured(
        "k_composition",
        f"2 layers: the induction head L{later}H{head} comes to read what the previous-token head "
        f"L{earlier}H{other} writes",
        "induction heads are made by K-composition with a previous-token head",
        _ours(after - before),
        "(of at most 1)",
        holds=after > before and window.fall > FALL,
        criterion=f"K-composition rises over the window ({_span(training, window)}: {before:.2f} to "
        f"{after:.2f} above chance)",
    )


def _stays(training: Training) -> Finding:
    loss, _, _ = _of(training, "1")
    most = loss[np.abs(loss - CHANCE).argmax()]
    return Finding.measured(
        "no_phase_change_1",
        "1 layer: no phase change",
        "one-layer models have no phase change",
        _ours(most - CHANCE),
        "nats from chance",
        holds=abs(most - CHANCE) <= FLAT,
        criterion=f"loss on what repeats within {FLAT} nats of chance, ln {D_VOCAB} = {CHANCE:.2f} (farthest: "
        f"{most:.2f}; at the end {loss[-1]:.2f})",
    )


def _has_none(training: Training) -> Finding:
    _, best, _ = _of(training, "1")
    return Finding.measured(
        "no_heads_1",
        "1 layer: no induction heads",
        "one-layer models cannot make them",
        _ours(np.nanmax(best)),
        "(attention)",
        holds=np.nanmax(best) < IDLE,
        criterion=f"best prefix matching below {IDLE}",
    )


def _smeared(training: Training) -> Finding:
    """Compare when two models come half way from chance to where two layers end."""
    plain, smeared = _of(training, "2")[0], _of(training, "1-smeared")[0]
    level = (CHANCE + float(plain[-1])) / 2
    late, early = (first(training.steps, loss < level) for loss in (plain, smeared))
    end = int(training.steps[-1])
    lead = (end if late is None else late) - (end if early is None else early)
    said = ["never" if step is None else f"at step {step}" for step in (early, late)]
    return Finding.measured(
        "smeared_keys",
        "1 layer with smeared keys forms them, and earlier than 2 layers",
        "with smeared keys one layer suffices, and the change comes earlier",
        _ours(lead),
        "steps earlier",
        # Half way of a fall that did not happen tells nothing.
        holds=lead > 0 and CHANCE - float(plain[-1]) > FLAT,
        criterion=f"half way from chance to where 2 layers end, {level:.2f} nats on what repeats, is reached "
        f"earlier ({said[0]}; 2 layers {said[1]})",
    )
