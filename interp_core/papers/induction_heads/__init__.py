"""Induction heads: heads that continue repeated patterns.

Olsson et al. (2022), *In-context Learning and Induction Heads*, on the mathematics of Elhage et al.
(2021), *A Mathematical Framework for Transformer Circuits*.

Departures from the paper: prefix matching is read as attention to the token *after* the earlier
occurrence, as its definition of the head asks, summed over all earlier copies; the logit-based
copying score is measured on repeats (see :mod:`.heads`); in-context learning is measured on
Python's manual, which ships with Lensbook, as no other corpus is there without a network.
"""

from interp_core.papers.induction_heads.ablation_result import Ablated
from interp_core.papers.induction_heads.analysis import (
    CIRCUITS,
    CONTEXT,
    FILES,
    TOP,
    TRAINING,
    analysis,
    attach,
    run,
    surveys,
    wanted,
)
from interp_core.papers.induction_heads.context_result import InContext
from interp_core.papers.induction_heads.heads_result import Heads, head_name
from interp_core.papers.induction_heads.params import PRESETS, TEXT, TOYS, Params
from interp_core.papers.induction_heads.paths_result import Circuits
from interp_core.papers.induction_heads.pattern_result import Pattern
from interp_core.papers.induction_heads.training_result import Training

__all__ = [
    "CIRCUITS",
    "CONTEXT",
    "FILES",
    "PRESETS",
    "TEXT",
    "TOP",
    "TOYS",
    "TRAINING",
    "Ablated",
    "Circuits",
    "Heads",
    "InContext",
    "Params",
    "Pattern",
    "Training",
    "analysis",
    "attach",
    "head_name",
    "run",
    "surveys",
    "wanted",
]
