"""Causal Tracing and ROME: where a fact is stored, and how to rewrite it.

Meng, Bau, Andonian, Belinkov (2022), *Locating and Editing Factual Associations in GPT*. The
subject of a prompt is corrupted with noise, one hidden state at a time is restored, and what comes
back of the answer is that state's indirect effect. The edit adds a rank-one matrix to one MLP's
down-projection, so that the subject's key gives a new value.

Layer ``l`` is block ``l``; a restored state is the stream after it. Effects are differences of
probability, not shares of what was lost. The noise is drawn as in the released code, so equal seeds
give equal noise for equal shapes.

Departures: a token that begins documents stands in front of the prompt (``start``), as without it
the subject often is the attention sink; prompts and facts are the project's own.
"""

from interp_core.papers.causal_tracing.analysis import (
    AVERAGE,
    EDIT,
    FILES,
    SCORES,
    SWEEP,
    analysis,
    attach,
    run,
    surveys,
)
from interp_core.papers.causal_tracing.average_result import Average
from interp_core.papers.causal_tracing.edit_result import Edit, EditScores
from interp_core.papers.causal_tracing.params import PRESETS, Params
from interp_core.papers.causal_tracing.result import Trace

__all__ = [
    "AVERAGE",
    "EDIT",
    "FILES",
    "PRESETS",
    "SCORES",
    "SWEEP",
    "Average",
    "Edit",
    "EditScores",
    "Params",
    "Trace",
    "analysis",
    "attach",
    "run",
    "surveys",
]
