"""How it is computed, on MLX."""
