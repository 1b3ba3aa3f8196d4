"""The causal trace of one prompt, three ways, on the same weights and the same noise in float32.

A peer runs one whole forward for each cell of the maps, over every position, as the released code
does. It computes logits of the last position only, which the released code does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sides
from harness import Arrays, Case, Side

if TYPE_CHECKING:
    import torch


class Lensbook(sides.Lensbook):
    """Lensbook: the whole of ``causal_tracing.run`` on a prompt.

    ``run`` also tokenises, measures how large the noise must be, and records provenance.
    """

    def run(self, case: Case) -> Arrays:
        from interp_core.papers import causal_tracing
        from interp_core.papers.causal_tracing.compute import trace
        from interp_core.runtime import on_compute_thread

        params = causal_tracing.Params(
            prompt=case["prompt"],
            subject=case["subject"],
            samples=case["samples"],
            window=case["window"],
            seed=case["seed"],
            kinds=tuple(case["kinds"]),
            layers=(0, None, case["stride"]),
        )
        if case["kind"] == "inputs":
            given = on_compute_thread(trace.inputs)(self._model, params)
            std = on_compute_thread(trace.subject_std)(self._model, "shipped")
            subject = given.located.subject
            return {
                "ids": np.array(given.tokens),
                "span": np.array([subject.start, subject.stop]),
                "answer": np.array(given.answer[0]),
                "sigma": np.array(params.noise * std),
                "n_layers": np.array(self._model.info.n_layers),
            }
        result = causal_tracing.run(self._model, params, findings=False)
        return {
            "clean": np.array(result.clean_probability),
            "corrupt": result.corrupt_probability.mean(),
            "maps": result.probability.mean(-1),
        }


class PyTorch(sides.PyTorch):
    """transformers' own model under hooks, written as ROME's ``trace_with_patch``.

    The batch is the clean prompt and its noisy copies: what is restored comes from row 0.
    """

    def run(self, case: Case) -> Arrays:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([case["ids"]] * (1 + case["samples"]))
            noise = _noise(case, self._model.config.hidden_size)
            start, stop = case["span"]

            def corrupt(_module: Any, _given: Any, embed: torch.Tensor) -> None:
                embed[1:, start:stop] += noise

            noisy = [(self._model.model.embed_tokens, corrupt)]
            clean = self._probabilities(ids[:1], [])[0, case["answer"]]
            maps = [
                self._answer(ids, [*noisy, *self._restore(kind, layers, position)], case["answer"])
                for kind, layers, position in _cells(case)
            ]
            return _results(case, clean, self._answer(ids, noisy, case["answer"]), maps)

    def _restore(self, kind: str, layers: Sequence[int], position: int) -> list[Any]:
        def restore(_module: Any, _given: Any, output: Any) -> None:
            hidden = sides.first(output)
            hidden[1:, position] = hidden[0, position]

        blocks = [self._model.model.layers[layer] for layer in layers]
        parts = {
            "resid_post": lambda block: block,
            "mlp_out": lambda block: block.mlp,
            "attn_out": lambda block: block.self_attn,
        }
        return [(parts[kind](block), restore) for block in blocks]

    def _answer(self, ids: torch.Tensor, hooks: list[Any], answer: int) -> torch.Tensor:
        return self._probabilities(ids, hooks)[1:].mean(0)[answer]

    def _probabilities(self, ids: torch.Tensor, hooks: list[Any]) -> torch.Tensor:
        handles = [module.register_forward_hook(hook) for module, hook in hooks]
        try:
            output = self._model(input_ids=ids, use_cache=False, logits_to_keep=1)
        finally:
            for handle in handles:
                handle.remove()
        return output.logits[:, -1].softmax(-1)


class TransformerLens(sides.TransformerLens):
    """TransformerLens as its documentation patches: a clean cache, then ``run_with_hooks``."""

    def run(self, case: Case) -> Arrays:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([case["ids"]] * case["samples"])
            noise = _noise(case, self._model.cfg.d_model)
            start, stop = case["span"]

            def corrupt(embed: torch.Tensor, hook: Any) -> torch.Tensor:
                embed[:, start:stop] += noise
                return embed

            sites = {
                f"blocks.{layer}.hook_{kind}"
                for layer in range(case["n_layers"])
                for kind in case["kinds"]
            }
            logits, cache = self._model.run_with_cache(
                ids[:1], names_filter=lambda name: name in sites, logits_to_keep=1
            )

            def answer(hooks: list[Any]) -> torch.Tensor:
                logits = self._model.run_with_hooks(
                    ids, fwd_hooks=[("hook_embed", corrupt), *hooks], logits_to_keep=1
                )
                return logits[:, -1].softmax(-1).mean(0)[case["answer"]]

            def restore(site: str, position: int) -> tuple[str, Callable[..., Any]]:
                def patch(act: torch.Tensor, hook: Any) -> torch.Tensor:
                    act[:, position] = cache[site][0, position]
                    return act

                return site, patch

            clean = logits[0, -1].softmax(-1)[case["answer"]]
            maps = [
                answer([restore(f"blocks.{layer}.hook_{kind}", position) for layer in layers])
                for kind, layers, position in _cells(case)
            ]
            return _results(case, clean, answer([]), maps)


def n_forwards(case: Case, stride: int) -> int:
    """Return how many forwards a peer runs for every ``stride``-th layer."""
    cells = len(case["kinds"]) * len(range(0, case["n_layers"], stride)) * len(case["ids"])
    return cells + 2  # the clean run, and the corrupted one with nothing restored


def _cells(case: Case) -> Iterator[tuple[str, range, int]]:
    """Yield each cell: what is restored, at which blocks, at which position."""
    depth, back = case["n_layers"], case["window"] // 2
    for kind in case["kinds"]:
        for layer in range(0, depth, case["peer_stride"]):
            start = layer - back
            window = range(max(0, start), min(depth, start + case["window"]))
            layers = range(layer, layer + 1) if kind == "resid_post" else window
            for position in range(len(case["ids"])):
                yield kind, layers, position


def _noise(case: Case, d_model: int) -> torch.Tensor:
    """Return the noise [sample, subject token, d_model], drawn as the released code draws."""
    import torch

    start, stop = case["span"]
    draw = np.random.RandomState(case["seed"]).randn(case["samples"], stop - start, d_model)
    return torch.from_numpy((case["sigma"] * draw).astype(np.float32))


def _results(
    case: Case, clean: torch.Tensor, corrupt: torch.Tensor, maps: list[torch.Tensor]
) -> Arrays:
    shape = (len(case["kinds"]), -1, len(case["ids"]))
    return {
        "clean": np.array(clean),
        "corrupt": np.array(corrupt),
        "maps": np.array([float(cell) for cell in maps]).reshape(shape),
    }


SIDES: dict[str, type[Side]] = {
    "Lensbook": Lensbook,
    "PyTorch": PyTorch,
    "TransformerLens": TransformerLens,
}
