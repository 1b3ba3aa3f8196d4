"""What is asked of one rank-one edit, and what became of the model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from interp_core.papers.causal_tracing.params import Edited, Prompt
from interp_core.params import MaybeText, Text, param, parameters
from interp_core.results import Provenance, Result


@parameters
class EditParams(Edited, Prompt):
    """One fact, and what becomes its object."""

    prompt: Text = param(
        "Our tickets for the Eiffel Tower were the best part of our weekend in",
        "Prompt",
        "text whose continuation is a fact",
        placeholder="Type a prompt.",
    )
    subject: MaybeText = param(
        "the Eiffel Tower",
        "Subject",
        "part of the prompt whose fact is rewritten",
        placeholder="detected automatically",
    )
    new_object: MaybeText = param(
        "Rome",
        "Target object (o*)",
        "what the answer becomes",
        placeholder="that of the set, if any",
    )
    watch: Annotated[tuple[Text, ...], Field(max_length=12)] = param(
        (), "Other prompts to compare", "before and after", placeholder="type a prompt"
    )


@dataclass(frozen=True, eq=False)
class Edit(Result):
    """One fact rewritten, and what became of other prompts."""

    version: ClassVar[int] = 3
    files: ClassVar[Mapping[str, str]] = {"facts": "facts.json"}
    """An edit of one is tried on its paraphrases and neighbours."""

    params: EditParams
    provenance: Provenance
    layer: int
    subject: str
    old: str
    """What the model said."""
    new: str
    prompts: Annotated[tuple[str, ...], "prompt"]
    roles: Annotated[tuple[str, ...], "prompt"]
    """Of each prompt, one of ``ROLES``."""
    old_probability: Annotated[np.ndarray, "prompt 2"]
    """[prompt, before/after] of the old answer's tokens, their geometric mean."""
    new_probability: Annotated[np.ndarray, "prompt 2"]
    """[prompt, before/after] of the new object's."""
    says: Annotated[tuple[tuple[str, str], ...], "prompt"]
    """[before/after] the most likely next token."""
    continuations: tuple[tuple[str, str], ...]
    """[prompt][before/after] what the model writes, always the likeliest token; of the first few."""
    losses: Annotated[np.ndarray, "step"]
    """Of the search for v*, nats; the value of the least was kept."""
    key_gap: float
    """|W' k* - v*| / |v*|"""
    rank: int
    """Of the change of W, numerically."""
    delta_norm: float
    """|v* - W k*| / |W k*|"""

    def tables(self) -> dict[str, pd.DataFrame]:
        """``edit``: one row per prompt and time; ``continuations``; ``search``."""
        when = ("before", "after")
        rows = [
            {
                "role": role,
                "prompt": prompt,
                "when": when[j],
                "old_probability": float(self.old_probability[i, j]),
                "new_probability": float(self.new_probability[i, j]),
                "says": self.says[i][j],
            }
            for i, (prompt, role) in enumerate(zip(self.prompts, self.roles, strict=True))
            for j in range(2)
        ]
        texts = [
            {"prompt": self.prompts[i], "when": when[j], "text": text}
            for i, pair in enumerate(self.continuations)
            for j, text in enumerate(pair)
        ]
        search = {"step": np.arange(len(self.losses)), "loss": self.losses}
        return {
            "edit": pd.DataFrame(rows),
            "continuations": pd.DataFrame(texts),
            "search": pd.DataFrame(search),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """What the edit made of the fact."""
        return {
            "subject": self.subject,
            "old": self.old,
            "new": self.new,
            "layer": self.layer,
            "new_probability_before": float(self.new_probability[0, 0]),
            "new_probability_after": float(self.new_probability[0, 1]),
            "old_probability_before": float(self.old_probability[0, 0]),
            "old_probability_after": float(self.old_probability[0, 1]),
            "says_after": self.says[0][1],
            "key_gap": self.key_gap,
            "rank": self.rank,
            "steps": len(self.losses),
            "kept_step": int(self.losses.argmin()),
        }
