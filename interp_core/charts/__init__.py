"""Figures of results, and the theme that they share. Draws from a result alone, without a model."""
