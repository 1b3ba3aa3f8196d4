"""A loaded model: its stream, its tokenizer, and what identifies it."""

from __future__ import annotations

from dataclasses import dataclass

from interp_core.models.info import ModelInfo
from interp_core.residual import ResidualStream
from interp_core.tokens import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """What every paper's ``run`` is given. Use it on the compute thread only."""

    info: ModelInfo
    stream: ResidualStream
    tokenizer: Tokenizer | None
    """None for a folder without one; then only token ids can be run."""

    def require_tokenizer(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            ValueError: When the model's folder has none.
        """
        if self.tokenizer is None:
            raise ValueError(f"model: {self.info.source} has no tokenizer.json; text needs one")
        return self.tokenizer
