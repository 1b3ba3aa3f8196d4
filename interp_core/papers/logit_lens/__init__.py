"""Logit Lens: read the model's next-token guess after every layer.

nostalgebraist (2020), *interpreting GPT: the logit lens*, LessWrong. For a residual ``h`` anywhere
in the network, ``softmax(unembed(final_norm(h)))`` is a distribution over next tokens; at the last
layer it is the model's own.

Layers are numbered as blocks: layer ``l`` is the residual after block ``l``, and layer -1 the
embedding that enters block 0.

Departures from the post: the whole final norm is applied, gain included, as everyone has since;
the divergence is KL(final || layer) in nats, the direction of Belrose et al. 2023.
"""

from interp_core.papers.logit_lens.compute import FILES, analysis, attach, run, survey, surveys
from interp_core.papers.logit_lens.params import PRESETS, Params
from interp_core.papers.logit_lens.result import LogitLens
from interp_core.papers.logit_lens.survey import Survey

__all__ = [
    "FILES",
    "PRESETS",
    "LogitLens",
    "Params",
    "Survey",
    "analysis",
    "attach",
    "run",
    "survey",
    "surveys",
]
