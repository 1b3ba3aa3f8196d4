"""How the questions of this paper are computed, on MLX."""
