"""How the Tuned Lens is computed."""
