"""A training step of a tuned lens, two ways, on the same weights and text in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sides
from harness import Arrays, Case, Side, threads


class Lensbook(sides.Lensbook):
    """Lensbook: one step of its learner, over the whole vocabulary."""

    def run(self, case: Case) -> Arrays:
        from interp_core.runtime import on_compute_thread

        return on_compute_thread(self._step)(case)

    def _step(self, case: Case) -> Arrays:
        from interp_core.papers.tuned_lens.compute.learner import Learner
        from interp_core.papers.tuned_lens.params import TrainParams

        ids = np.array(case["ids"], np.int32)
        vocabulary = case.get("vocabulary")
        params = TrainParams(steps=10_000, batch=len(ids), vocabulary=vocabulary)
        if case["name"] != getattr(self, "_case", None):
            layers = list(range(-1, self._model.info.n_layers - 1))
            self._learner = Learner(self._model.stream, layers, ids, ids[:0], params, 1)
            self._case, self._done = case["name"], 0
        learner = self._learner
        learner.windows = ids
        learner.learn(self._done)
        self._done += 1
        losses = learner.losses[self._done - 1]
        return {"losses": losses, "bias": np.array(learner.weights["bias"])}


class TunedLens:
    """The authors' package as its trainer uses it: one layer's loss and backward after another."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM
        from tuned_lens import TunedLens as Lens

        torch.set_num_threads(threads())
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._model.requires_grad_(False)
        self._lens = Lens.from_model(self._model)
        parameters = [p for p in self._lens.parameters() if p.requires_grad]
        self._optimizer = torch.optim.SGD(
            parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True
        )
        self._parameters = parameters

    def run(self, case: Case) -> Arrays:
        import torch

        ids = torch.tensor(case["ids"])
        with torch.no_grad():
            output = self._model(ids, output_hidden_states=True)
            target = output.logits[:, 1:-1].log_softmax(-1)
        losses = []
        for i, hidden in enumerate(output.hidden_states[:-1]):
            logits = self._lens(hidden[:, 1:-1], idx=i)
            loss = (target.exp() * (target - logits.log_softmax(-1))).sum(-1).mean()
            loss.backward()
            losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        bias = torch.stack([each.bias.detach() for each in self._lens.layer_translators])
        return {"losses": np.array(losses, np.float32), "bias": bias.numpy()}


SIDES: dict[str, type[Side]] = {"Lensbook": Lensbook, "tuned-lens": TunedLens}
