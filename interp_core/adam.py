"""Adam on the host's cores, for MLX on CPUs."""

from __future__ import annotations

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np

from interp_core import host_math
from interp_core.runtime import device


class Adam(optimizers.Adam):
    """Adam as MLX has it; on CPUs matrices are updated slice by slice, on every core."""

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, mx.array]
    ) -> mx.array:
        """Return the updated parameter; ``state`` keeps both moments, on CPUs in the same memory."""
        if device() != "cpu" or parameter.ndim != 2 or parameter.dtype != mx.float32:
            return super().apply_single(gradient, parameter, state)
        (b1, b2), step = self.betas, self.step.item()
        scale, spread = self.learning_rate.item(), 1.0
        if self.bias_correction:
            scale, spread = scale / (1 - b1**step), (1 - b2**step) ** -0.5
        updated = mx.zeros_like(parameter)

        def work(
            g: np.ndarray, p: np.ndarray, m: np.ndarray, v: np.ndarray, out: np.ndarray
        ) -> None:
            (some,) = host_math.scratch(1, g.shape)
            m *= b1
            m += np.multiply(g, 1 - b1, out=some)
            v *= b2
            np.multiply(g, g, out=some)
            some *= 1 - b2
            v += some
            np.sqrt(v, out=some)
            some *= spread
            some += self.eps
            np.divide(m, some, out=some)
            some *= scale
            np.subtract(p, some, out=out)

        host_math.by_rows(work, gradient, parameter, state["m"], state["v"], updated)
        return updated
