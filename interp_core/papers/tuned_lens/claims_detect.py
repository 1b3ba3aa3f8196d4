"""The paper's claims on detecting injected instructions, beside what was measured."""

from __future__ import annotations

import numpy as np

from interp_core.estimates import Estimate
from interp_core.findings import Finding
from interp_core.papers.tuned_lens.detection import (
    DETECTORS,
    FOREST,
    HARMLESS,
    INJECTED,
    LOGIT,
    TUNED,
    Detection,
)


def claims(result: Detection) -> list[Finding]:
    """Return every claim with its measurement, over pairs, by the detector that was fixed before."""
    found = [_told(result), _better(result)]
    return [*found, _instruction(result)] if HARMLESS in result.versions else found


def _told(result: Detection) -> Finding:
    area = result.auc(TUNED, FOREST)
    return Finding.measured(
        "detect_told",
        "Injected instructions are told by the tuned lens's trajectories",
        "malicious inputs with high accuracy; AUC near 1 on most tasks (Pythia 12B)",
        _over_pairs(result, area),
        "AUC",
        holds=area[1] > 0.5,
        criterion=f"AUC of the {DETECTORS[FOREST]}, its interval above 0.5",
    )


def _better(result: Detection) -> Finding:
    gap = result.gap((TUNED, INJECTED), (LOGIT, INJECTED))
    return Finding.measured(
        "detect_better",
        "The tuned lens's trajectories tell injected instructions better than the logit lens's",
        "higher AUC through the tuned lens on most tasks (Pythia 12B)",
        _over_pairs(result, gap),
        "difference of AUCs",
        holds=gap[1] > 0,
        criterion=f"difference of AUCs of the {DETECTORS[FOREST]}, its interval above 0",
    )


def _instruction(result: Detection) -> Finding:
    gap = result.gap((TUNED, INJECTED), (TUNED, HARMLESS))
    clear, others = result.other_gaps
    return Finding.measured(
        "detect_instruction",
        "An injected instruction is told better than a harmless sentence in its place",
        "no such control; ours",
        _over_pairs(result, gap),
        "difference of AUCs",
        holds=gap[1] > 0,
        criterion=f"AUC of the {DETECTORS[FOREST]} for injected prompts less that for prompts with a harmless "
        f"sentence, its interval above 0 (of the other {others} combinations of lens and detector, {clear} are above 0)",
    )


def _over_pairs(result: Detection, ends: np.ndarray) -> Estimate:
    return Estimate.of_ends(ends, len(result.tasks), "pairs")
