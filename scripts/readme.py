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
    "steering": ("behaviour_vector_formality_ab", "dose_formality"),
    "induction-heads": ("induction_heads", "ablation_top", "phase_change_2"),
    "sparse-autoencoder": ("recovered_mean_prose", "over_neuron_one_layer"),
}
"""Claims that stand for each paper: its headline, and what a reader should know beside it."""


def row(title: str, claim: Replicated) -> str:
    """Return a claim, with its bar, as a row of a Markdown table."""
    bar = bar_of(claim.first)
    said = f"{title}: {claim.first.claim}" + (f" ({bar})" if bar else "")
    cells = [said, *(cell(each, bar) for each in (claim.first, claim.second, claim.untrained))]
    return f"| {' | '.join(text.replace('|', '/') for text in cells)} |"


def bar_of(finding: Finding) -> str:
    """Return the bar that decides a claim; empty where its words name none."""
    bar, is_given, _ = finding.criterion.partition(" (bar")
    return bar if is_given else ""


def cell(finding: Finding | None, bar: str) -> str:
    """Return what was measured on a model, and the verdict; with its bar where that is another."""
    if finding is None:
        return ""
    own = bar_of(finding)
    return f"{finding.verdict}: {finding.shown}" + (f"; {own}" if own != bar else "")


def section() -> str:
    """Return the README's section on what was found.

    Raises:
        ValueError: When a claim that it shows does not ship.
    """
    first, other, blank = MODELS.values()
    known = every()
    named = {claim.name: claim for claim in known}
    rows = []
    for paper, ids in SHOWN.items():
        for each in ids:
            if f"{paper}/{each}" not in named:
                raise ValueError(f"{paper}/{each} does not ship; there are: {', '.join(named)}")
            rows.append(row(PAPERS[paper].title, named[f"{paper}/{each}"]))
    second = [claim.second for claim in known if claim.second is not None]
    holding = [c for c in known if c.first.holds and not c.first.check]
    floored = [claim.untrained.holds for claim in holding if claim.untrained]
    said = (
        f"On {first} and toys trained here, {counted([claim.first for claim in known])}; on {other}, {counted(second)}. "
        "They are claims of the papers and controls of ours; one counts again for each text, behaviour or toy. "
        "A claim holds where its whole 95% interval, over what was drawn (prompts, facts, runs and the like), keeps within a bar, is not replicated "
        "where all of it lies beyond, and is undecided where it reaches across; counts of layers are decided layer by layer, and what has no interval "
        "by its value, where that can tell. "
        f"Of the {len(holding)}, {len(floored)} were measured on one draw of random weights: {floored.count(True)} hold there, too, which is no evidence of "
        f"learning (the size of a measure may be); {floored.count(False)} are not replicated there, {floored.count(None)} undecided. What fails here may be "
        "true of the papers' own models. All stand in the report; `python -m interp_core reproduce CLAIM` measures one again. Some, with bars:"
    )
    table = [f"| claim | {first} or toy | {other} | {blank} |", "|---|---|---|---|", *rows]
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
