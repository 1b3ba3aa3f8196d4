"""Train sparse autoencoders, one or several, on one stream of activations."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from interp_core.adam import Adam
from interp_core.papers.sparse_autoencoder.compute import sparse
from interp_core.papers.sparse_autoencoder.compute.autoencoder import (
    Kind,
    begin,
    encode,
    gradients,
    pre_activations,
    revival,
    unit_rows,
    without_parallel,
)
from interp_core.papers.sparse_autoencoder.compute.capture import Activations
from interp_core.papers.sparse_autoencoder.params import TrainParams
from interp_core.runtime import device, give_way
from interp_core.training import drawn

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
LOGGED = ("mse", "l0", "explained_variance", "dead")
_AXES = {
    "W_enc": "d_in latent",
    "b_enc": "latent",
    "W_dec": "latent d_in",
    "b_dec": "d_in",
    "since": "latent",
    "threshold": "",
}
_SOME = 8192
"""Activations that resampling draws inputs from."""
_WARM = 0.4
"""Of training, in which the L1 coefficient rises to what it is: at once, it silences latents that never come back."""
_SILENT = 0.05
"""Of training: a latent that was not active for so long is dead."""


class Sae:
    """One autoencoder in training."""

    def __init__(self, kind: Kind, some: np.ndarray, params: TrainParams) -> None:
        self.kind, self.params = kind, params
        self.weights = begin(kind, some, params.seed)
        self.optimizer = Adam(params.rate, bias_correction=True)
        self.optimizer.init(self.weights)
        self.since = np.zeros(kind.latents)
        """[latent] training steps since it was active."""
        self.threshold = 0.0
        """Moving average of a batch's least activation, of the architectures that choose by batch."""

    def learn(self, x: mx.array, rate: float, silent: int, warmth: float = 1.0) -> None:
        """Take a step on scaled activations [row, d_in].

        Args:
            x: The activations.
            rate: Learning rate.
            silent: Steps without activation from which on a latent is dead.
            warmth: What the L1 coefficient is multiplied by.
        """
        if self.kind.architecture == "topk" and device() == "cpu":
            before = pre_activations(self.weights, x)
            kept = sparse.largest(before, int(self.kind.sparsity))
            left, gradient = sparse.gradients(self.weights, x, kept)
            active, least = mx.array(kept.any(self.kind.latents)), mx.array(0.0)
        else:
            codes, before = encode(self.kind, self.weights, x)
            left, gradient = gradients(self.kind, self.weights, x, codes, warmth)
            active = (codes > 0).any(0)
            least = mx.where(codes > 0, codes, mx.inf).min()
        if self.kind.architecture != "standard":
            dead = self.since >= silent
            more = revival(self.weights, x, mx.array(left), before, dead) or {}
            gradient |= {name: gradient[name] + value for name, value in more.items()}
        gradient["W_dec"] = without_parallel(gradient["W_dec"], self.weights["W_dec"])
        self.optimizer.learning_rate = rate
        self.weights = self.optimizer.apply_gradients(gradient, self.weights)
        self.weights["W_dec"] = unit_rows(self.weights["W_dec"])
        mx.eval(self.weights, self.optimizer.state, active, least)
        self.since = np.where(np.array(active), 0, self.since + 1)
        if self.kind.architecture in ("batchtopk", "matryoshka") and np.isfinite(least.item()):
            old = self.threshold or least.item()
            self.threshold = 0.99 * old + 0.01 * least.item()

    def resample(self, rows: np.ndarray, dead: np.ndarray, seed: list[int]) -> None:
        """Give dead latents the direction of inputs that are reconstructed badly (Bricken et al. 2023).

        An input is drawn with its squared loss as weight. The encoder's column gets a fifth of the mean
        norm of those alive, the bias 0, and Adam forgets.
        """
        at = np.flatnonzero(dead)
        if not len(at) or len(at) == len(dead):
            return
        x = mx.array(rows)
        left, _ = gradients(self.kind, self.weights, x, encode(self.kind, self.weights, x)[0])
        weight = np.array(mx.square(left).mean(-1), float) ** 2
        draw = np.random.default_rng(seed)
        picked = draw.choice(len(rows), len(at), p=weight / weight.sum())
        inputs = rows[picked] - np.array(self.weights["b_dec"])
        inputs /= np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-30)
        encoder = np.array(self.weights["W_enc"])
        length = 0.2 * np.linalg.norm(encoder[:, ~dead], axis=0).mean()
        where = mx.array(at)
        self.weights["W_dec"][where] = mx.array(inputs)
        self.weights["W_enc"][:, where] = mx.array(np.ascontiguousarray(inputs.T) * length)
        self.weights["b_enc"][where] = 0
        for key in "mv":
            self.optimizer.state["W_dec"][key][where] = 0
            self.optimizer.state["W_enc"][key][:, where] = 0
            self.optimizer.state["b_enc"][key][where] = 0
        self.since[at] = 0

    def measure(self, rows: np.ndarray, silent: int) -> dict[str, float]:
        """Return what is logged, of held-out activations [row, d_in], scaled."""
        x = mx.array(rows)
        codes, _ = encode(self.kind, self.weights, x)
        left, _ = gradients(self.kind, self.weights, x, codes)
        spread = float(((rows - rows.mean(0)) ** 2).mean())
        mse = float(mx.square(left).mean())
        return {
            "mse": mse,
            "l0": float((codes > 0).sum(-1).astype(mx.float32).mean()),
            "explained_variance": 1 - mse / max(spread, 1e-30),
            "dead": float((self.since >= silent).mean()),
        }


class Learner:
    """Autoencoders in training, one for each sparsity."""

    def __init__(
        self, data: Activations, held_out: np.ndarray, params: TrainParams, checkpoints: int
    ) -> None:
        self.data, self.held_out, self.params = data, held_out, params
        self.steps = -(-params.tokens // params.batch)
        self.silent = max(1, round(_SILENT * self.steps))
        n = len(data.used)
        some = data.batch(np.linspace(0, n - 1, min(n, 4096)).astype(int))
        latents = params.width * some.shape[1]
        sparsities = params.l1 if params.architecture == "standard" else params.k
        kinds = [Kind(params.architecture, float(each), latents) for each in sparsities]
        self.saes = [Sae(kind, some, params) for kind in kinds]
        self.logs = {n: np.full((len(kinds), checkpoints), np.nan, np.float32) for n in LOGGED}

    def learn(self, step: int) -> None:
        """Take a training step of every autoencoder, on the same activations."""
        x = mx.array(self.data.batch(self._rows(step)))
        left = (self.steps - step) / self.steps
        rate = self.params.rate * min(1.0, left / 0.2, (step + 1) / max(1, 0.02 * self.steps))
        for sae in self.saes:
            give_way()
            if step in self._resampled():
                sae.resample(
                    self.data.batch(self._rows(step, _SOME)),
                    sae.since >= self.silent,
                    [self.params.seed, step],
                )
            sae.learn(x, rate, self.silent, min(1.0, (step + 1) / (_WARM * self.steps)))

    def _resampled(self) -> set[int]:
        """Return the steps before which dead latents are resampled: evenly, in the first half."""
        if self.params.architecture != "standard":
            return set()
        times = self.params.resamplings
        return {round(self.steps * i / (2 * times)) for i in range(1, times + 1)}

    def _rows(self, step: int, count: int = 0) -> np.ndarray:
        """Return the rows of a step, ascending, as they are read from a file."""
        batch = self.params.batch
        at = drawn(len(self.data.used), step * batch, count or batch, self.params.seed)
        return np.sort(at)

    def log(self, checkpoint: int) -> None:
        """Measure every autoencoder on held-out activations."""
        for row, sae in enumerate(self.saes):
            for name, value in sae.measure(self.held_out, self.silent).items():
                self.logs[name][row, checkpoint] = value

    def state(self, count: int) -> dict[str, np.ndarray]:
        """Return weights, the optimizers' memory and what was logged."""
        found: dict[str, np.ndarray] = {}
        for n, sae in enumerate(self.saes):
            for name in NAMES:
                memory = sae.optimizer.state[name]
                found[f"{n}.{name}"] = np.array(sae.weights[name])
                found |= {f"{n}.{name}.{key}": np.array(memory[key]) for key in "mv"}
            found |= {f"{n}.since": sae.since, f"{n}.threshold": np.array(sae.threshold)}
        return found | {name: values[:, :count] for name, values in self.logs.items()}

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go on from a state.

        Raises:
            ValueError: When it is of other autoencoders.
        """
        for n, sae in enumerate(self.saes):
            if any(state[f"{n}.{name}"].shape != sae.weights[name].shape for name in NAMES):
                raise ValueError("it is of other autoencoders")
        for n, sae in enumerate(self.saes):
            for name in NAMES:
                sae.weights[name] = mx.array(state[f"{n}.{name}"])
                for key in "mv":
                    sae.optimizer.state[name][key] = mx.array(state[f"{n}.{name}.{key}"])
            sae.optimizer.state["step"] = mx.array(step, mx.uint64)
            sae.since = state[f"{n}.since"].copy()
            sae.threshold = float(state[f"{n}.threshold"])
        for name in LOGGED:
            self.logs[name][:, : state[name].shape[1]] = state[name]

    def axes(self) -> dict[str, str]:
        """Return the axes of :meth:`state`'s arrays."""
        found = dict.fromkeys(LOGGED, "sae checkpoint")
        for n in range(len(self.saes)):
            for name, axes in _AXES.items():
                found[f"{n}.{name}"] = axes
                if name in NAMES:
                    found |= {f"{n}.{name}.{key}": axes for key in "mv"}
        return found
