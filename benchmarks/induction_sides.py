"""The scores of every head on repeated random tokens, two ways, on the same weights in float32."""

from __future__ import annotations

import numpy as np
import sides
from harness import Arrays, Case, Side


class Lensbook(sides.Lensbook):
    """Lensbook: the whole of ``induction_heads.run``.

    ``run`` does more than its peer is asked for: it draws the tokens, scores copying through the
    vocabulary and by logits, measures entropies and the loss of every token, and records provenance.
    """

    def run(self, case: Case) -> Arrays:
        from interp_core.papers import induction_heads
        from interp_core.papers.induction_heads.params import SCORES

        params = induction_heads.Params(**case["params"])
        result = induction_heads.run(self._model, params, findings=False)
        means = dict(zip(SCORES, result.scores.mean(1), strict=True))
        return {
            "ids": result.tokens,
            **{name: means[name] for name in ("prefix_matching", "previous_token")},
        }


class TransformerLens(sides.TransformerLens):
    """TransformerLens as its documentation finds heads: ``run_with_cache``, then the head detector.

    The detector takes one sequence of one head at a time. Its own score divides by all attention
    of the sequence, so the attention on the detected diagonal is read off the cache beside it.
    """

    def run(self, case: Case) -> Arrays:
        import torch
        from transformer_lens.head_detector import compute_head_attention_similarity_score as detect

        period, first = case["params"]["tokens"], case["first"]
        with torch.inference_mode():
            ids = torch.tensor(case["ids"])
            size = ids.shape[1]
            _, cache = self._model.run_with_cache(ids)
            wanted = {
                "prefix_matching": torch.diag(torch.ones(size - period + 1), -(period - 1)),
                "previous_token": torch.diag(torch.ones(size - 1), -1),
                "duplicate_token": torch.diag(torch.ones(size - period), -period),
            }
            patterns = [cache["pattern", layer, "attn"] for layer in range(case["n_layers"])]
            for detected in wanted.values():
                for pattern in patterns:
                    for sequence in pattern:
                        for head in sequence:
                            detect(
                                head,
                                detected,
                                exclude_bos=False,
                                exclude_current_token=False,
                                error_measure="mul",
                            )
            # Queries before the second copy have no earlier copy to look at.
            starts = {"prefix_matching": first + 1, "previous_token": 0}
            backs = {"prefix_matching": period - 1, "previous_token": 1}
            return {
                name: np.stack(
                    [
                        pattern.diagonal(-back, -2, -1)[..., starts[name] :].mean((0, -1)).numpy()
                        for pattern in patterns
                    ]
                )
                for name, back in backs.items()
            }


SIDES: dict[str, type[Side]] = {"Lensbook": Lensbook, "TransformerLens": TransformerLens}
