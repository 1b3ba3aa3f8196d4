"""The papers, by the name that the command line and links use, in the order a reader meets them."""

from __future__ import annotations

from interp_core.papers import (
    causal_tracing,
    induction_heads,
    logit_lens,
    sparse_autoencoder,
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
        sparse_autoencoder.PAPER,
    )
}
