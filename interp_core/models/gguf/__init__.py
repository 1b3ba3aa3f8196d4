"""GGUF files: read with every bound checked, and converted once to a Hugging Face folder."""

from interp_core.models.gguf.conversion import convert, sha256

__all__ = ["convert", "sha256"]
