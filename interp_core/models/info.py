"""What identifies a model in results and on pages; knows nothing of MLX."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "SmolLM2-135M-Instruct"
"""The model that everyone has: short name and folder."""
SECOND = "gemma-3-270m"
"""The other model that claims are measured on: of another family, and not tuned to instructions."""
UNTRAINED = "SmolLM2-135M-untrained"
"""The default model's architecture with weights drawn at random: what claims hold of it, training did not make."""
UNTRAINED_ONE_LAYER = "one-layer-untrained"
"""The same of the one-layer model that was trained here."""
MODELS = {DEFAULT: "SmolLM2-135M", SECOND: "Gemma 3 270M", UNTRAINED: "Untrained weights"}
"""All three by the names that tables give them."""


@dataclass(frozen=True)
class ModelInfo:
    """What identifies a model in results and on pages."""

    id: str
    """Short name, hub id, or the folder's name with the start of its digest."""
    source: str
    """Hub id, folder or file it was loaded from."""
    model_type: str
    n_layers: int
    d_model: int
    n_heads: int
    d_vocab: int
    context: int
    """Longest input, in tokens."""
    dtype: str
    """Precision it computes in."""
    weights: str
    """Precision the weights were stored in, e.g. ``4-bit (GGUF Q4_1)``."""
    weights_sha256: str
    """Of the tensors, see :func:`interp_core.models.fingerprint.weights_sha256`."""
    sha256: str
    """Of weights, config and tokenizer: of all that changes a number."""

    @property
    def fingerprint(self) -> str:
        """What results are keyed by: the model, and the precision it computes in."""
        return f"{self.sha256}-{self.dtype}"
