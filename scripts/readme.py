"""Write what was found into the README, from the results that ship: ``python scripts/readme.py``.

Claims, numbers and verdicts are those of the findings; no sentence here says how one of them fell.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from interp_core.findings import Finding, counted
from interp_core.models.info import MODELS
from interp_core.registry import PAPERS
from interp_core.replication import Replicated, every

FILE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- what was found: scripts/readme.py -->", "<!-- end of what was found -->"
WIDTH = 140

SHOWN = {
    "logit-lens": ("input_discarded", "kl_monotone"),
    "tuned-lens": ("lower_prose",),
    "causal-tracing": ("early_mlp_site", "single_blocks", "efficacy"),
    "steering": ("behaviour_vector_formality_ab", "dose_formality", "random_floor_formality"),
    "induction-heads": ("induction_heads", "ablation_top", "phase_change_2"),
    "sparse-autoencoder": ("recovered_mean_prose", "over_neuron_one_layer"),
}
"""Claims that stand for each paper: its headline, and what a reader should know beside it."""


def row(title: str, claim: Replicated) -> str:
    """Return a claim, with its bar, as a row of a Markdown table."""
    bar, is_given, _ = claim.first.criterion.partition(" (bar")
    blank = "untrained weights, too" if claim.untrained and claim.untrained.holds else ""
    more = "; ".join(part for part in (bar if is_given else "", blank) if part)
    said = f"{title}: {claim.first.claim}" + (f" ({more})" if more else "")
    cells = [said, *map(cell, (claim.first, claim.second))]
    return f"| {' | '.join(text.replace('|', '/') for text in cells)} |"


def cell(finding: Finding | None) -> str:
    """Return what was measured on a model, and the verdict."""
    return "" if finding is None else f"{finding.verdict}: {finding.shown}"


def section() -> str:
    """Return the README's section on what was found.

    Raises:
        ValueError: When a claim that it shows does not ship.
    """
    first, other, _ = MODELS.values()
    known = every()
    named = {claim.name: claim for claim in known}
    rows = []
    for paper, ids in SHOWN.items():
        for each in ids:
            if f"{paper}/{each}" not in named:
                raise ValueError(f"{paper}/{each} does not ship; there are: {', '.join(named)}")
            rows.append(row(PAPERS[paper].title, named[f"{paper}/{each}"]))
    second = [claim.second for claim in known if claim.second is not None]
    blank = [c for c in known if c.untrained and c.first.holds and not c.first.check]
    unlearnt = [claim for claim in blank if claim.untrained and claim.untrained.holds]
    papers = ", ".join(dict.fromkeys(claim.paper.title for claim in unlearnt)) or "none"
    said = (
        f"On {first} and toys trained here, {counted([claim.first for claim in known])}; on {other}, {counted(second)}. "
        "They are the papers' or controls, some on several texts. A claim holds where its whole 95% "
        "interval keeps within a bar, is not replicated where all of it lies beyond, and is undecided where it reaches across; intervals are over what "
        "was drawn (prompts, facts, windows, pairs, features, runs). "
        f"Of those that hold, {len(blank)} were measured on weights drawn at random, too; {len(unlearnt)} hold there as well ({papers}), "
        "and are no sign of learning. What fails here may be true of the papers' own models. All stand in "
        "the report; `python -m interp_core reproduce CLAIM` measures one again. Some, with bars:"
    )
    table = [f"| claim | {first} | {other} |", "|---|---|---|", *rows]
    filled = textwrap.fill(" ".join(said.split()), WIDTH, break_on_hyphens=False)
    return "\n".join([BEGIN, "", filled, "", *table, "", END])


def rendered(text: str) -> str:
    """Return a README with its section written anew."""
    before, rest = text.split(BEGIN)
    return before + section() + rest.split(END)[1]


if __name__ == "__main__":
    try:
        FILE.write_text(rendered(FILE.read_text()))
    except ValueError as error:
        sys.exit(f"README.md was not written: {error}")
