"""The forward pass and the logit lens, three ways, on the same weights in float32.

Each class imports its libraries when it is made, in a process that holds no other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import Arrays, Case, Side, threads

if TYPE_CHECKING:
    import torch

LOGITS_KEPT = 8
"""Every how manieth position's logits are compared; the top token is at every position."""


def _forward(logits: np.ndarray, save: bool) -> Arrays:
    """Return what is compared of a forward's logits [batch, pos, d_vocab]; nothing when timed."""
    return {"logits": logits[:, ::LOGITS_KEPT], "top": logits.argmax(-1)} if save else {}


class Lensbook:
    """Lensbook: the stream's forward, and the whole of ``logit_lens.run`` on a text.

    ``run`` does more than its peers are asked for: it also tokenises, ranks the final top token
    and the next token, attributes the logits to components, and records provenance.
    """

    def __init__(self, folder: Path) -> None:
        # mlx-lm imports transformers, which imports torch where it finds it. Lensbook does not
        # need torch, and an ordinary installation has none: so it is hidden here.
        sys.modules["torch"] = None  # type: ignore[assignment]
        from interp_core import load_model

        self._model = load_model(folder)

    def run(self, case: Case) -> Arrays:
        from interp_core.papers import logit_lens
        from interp_core.runtime import on_compute_thread

        if case["kind"] == "forward":
            return on_compute_thread(self._logits)(case["ids"], case["save"])
        params = logit_lens.Params(prompt=case["text"], bos=False, top_k=case["top_k"])
        lens = logit_lens.run(self._model, params, findings=False)
        names = ("top_ids", "top_probs", "entropy", "kl")
        return {name: getattr(lens, name) for name in names}

    def _logits(self, ids: list[list[int]], save: bool) -> Arrays:
        import mlx.core as mx

        logits = self._model.stream.run(mx.array(ids)).logits
        mx.eval(logits)
        return _forward(np.asarray(logits), save)


class PyTorch:
    """transformers' own model, and the lens as one would write it by hand.

    Hooks keep the residual stream; norm, head and statistics follow layer by layer, so one
    layer's logits exist at a time.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads())
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def run(self, case: Case) -> Arrays:
        import torch

        with torch.inference_mode():
            ids = torch.tensor(case["ids"])
            if case["kind"] == "forward":
                logits = self._model(input_ids=ids, use_cache=False).logits
                return _forward(logits.numpy(), case["save"])
            return self._lens(ids, case["top_k"])

    def _lens(self, ids: torch.Tensor, top_k: int) -> Arrays:
        body, head = self._model.model, self._model.lm_head
        states: list[torch.Tensor] = []
        hooks = [
            body.embed_tokens.register_forward_hook(lambda *args: states.append(args[-1])),
            *(
                layer.register_forward_hook(lambda *args: states.append(first(args[-1])))
                for layer in body.layers
            ),
        ]
        try:
            final = head(body(input_ids=ids, use_cache=False).last_hidden_state)[0]
        finally:
            for hook in hooks:
                hook.remove()
        return _statistics((head(body.norm(state))[0] for state in states), final, top_k)


class TransformerLens:
    """TransformerLens as its documentation does the lens: cache, ``accumulated_resid``, unembed."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformer_lens.model_bridge import TransformerBridge

        torch.set_num_threads(threads())
        self._model = TransformerBridge.boot_transformers(
            str(folder), device="cpu", dtype=torch.float32
        )

    def run(self, case: Case) -> Arrays:
        import torch

        with torch.inference_mode():
            ids = torch.tensor(case["ids"])
            if case["kind"] == "forward":
                return _forward(self._model(ids, return_type="logits").numpy(), case["save"])
            final, cache = self._model.run_with_cache(ids)
            states = cache.accumulated_resid(apply_ln=True)
            layers = (self._model.unembed(state)[0] for state in states)
            return _statistics(layers, final[0], case["top_k"])


def first(output: Any) -> torch.Tensor:
    """Return a block's hidden state; some versions of transformers wrap it in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def _statistics(layers: Any, final: torch.Tensor, top_k: int) -> Arrays:
    """Reduce each layer's logits [pos, d_vocab] to its statistics, [layer, pos, ...]."""
    import torch

    final_log_probs = final.log_softmax(-1)
    final_probs = final_log_probs.exp()
    rows: list[Sequence[torch.Tensor]] = []
    for logits in layers:
        log_probs = logits.log_softmax(-1)
        top = log_probs.topk(top_k)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        kl = (final_probs * (final_log_probs - log_probs)).sum(-1)
        rows.append((top.indices, top.values.exp(), entropy, kl))
    names = ("top_ids", "top_probs", "entropy", "kl")
    return {
        name: torch.stack(column).numpy()
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


SIDES: dict[str, type[Side]] = {
    "Lensbook": Lensbook,
    "PyTorch": PyTorch,
    "TransformerLens": TransformerLens,
}
