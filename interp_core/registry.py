"""The papers, by the name that the command line and links use, in the order a reader meets them."""

from __future__ import annotations

from interp_core.papers import (
    causal_tracing,
    induction_heads,
    logit_lens,
    steering,
    tuned_lens,
)
from interp_core.question import Paper

PAPERS: dict[str, Paper] = {
    paper.name: paper
    for paper in (
        logit_lens.PAPER,
        tuned_lens.PAPER,
        causal_tracing.PAPER,
        steering.PAPER,
        induction_heads.PAPER,
        Paper(
            "sparse-autoencoder",
            "Towards Monosemanticity",
            "Decompose activations into features that mean one thing.",
            "Bricken et al. 2023",
            "https://transformer-circuits.pub/2023/monosemantic-features/",
        ),
    )
}
"""Those without questions are announced, and not built yet."""

BUILT: dict[str, Paper] = {name: paper for name, paper in PAPERS.items() if paper.built}
