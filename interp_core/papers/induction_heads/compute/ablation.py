"""Take heads away, and see what is lost on repeats."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from interp_core.block import Part
from interp_core.models.language_model import LanguageModel
from interp_core.papers.induction_heads.ablation import Ablated, AblationParams
from interp_core.papers.induction_heads.compute import heads
from interp_core.papers.induction_heads.compute.repeats import Repeated, draw
from interp_core.papers.induction_heads.heads import ranking
from interp_core.papers.induction_heads.params import (
    PREVIOUS,
    SCORES,
    Ablation,
    Head,
    Removed,
    head_name,
    parse_head,
    parse_top,
)
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.residual import Edit, Site
from interp_core.runtime import report


def compute(model: LanguageModel, params: AblationParams) -> Ablated:
    """Ablate ``params.ablate``, and as many other heads of the same layers. On the compute thread.

    Raises:
        ParameterError: When the model has no such head, or no others in its layers to compare.
    """
    with Recorder() as recorder:
        given = draw(model, params)
        scores, _, base = heads.measure(model.stream, given)
        chosen = chosen_heads(model, params, scores)
        induction = induction_heads(scores, params.threshold)
        sets = [
            chosen,
            *controls(chosen, induction, model.info.n_heads, params.controls, params.seed),
        ]
        parts = [
            _losses(model, part, sets, params.ablation, done, len(given.tokens))
            for done, part in _counted(given)
        ]
    return Ablated(
        params=params,
        provenance=recorder.provenance(model.info, given.tokens[0].tolist(), params.seed),
        heads=tuple(sets[0]),
        controls=tuple(tuple(each) for each in sets[1:]),
        base=base,
        losses=np.concatenate(parts, axis=1),
    )


def induction_heads(scores: np.ndarray, threshold: float) -> list[Head]:
    """Return the heads with a mean prefix matching above a threshold, by scores [score, sequence, layer, head]."""
    found = np.argwhere(scores[SCORES.index("prefix_matching")].mean(0) > threshold)
    return [(int(layer), int(head)) for layer, head in found]


def chosen_heads(model: LanguageModel, params: Removed, scores: np.ndarray) -> list[Head]:
    """Return the heads that ``params.ablate`` names, by scores [score, sequence, layer, head].

    Raises:
        ParameterError: When the model has none such.
    """
    if params.ablate == (PREVIOUS,):
        return ranking(scores[SCORES.index("previous_token")].mean(0))[:1]
    top = parse_top(params.ablate[0])
    if top is not None:
        ranked = ranking(scores[SCORES.index("prefix_matching")].mean(0))
        if top > len(ranked):
            raise ParameterError(
                f"ablate: top-{top} is not accepted; {len(ranked)} heads have scores"
            )
        return list(ranked[:top])
    found = [pair for text in params.ablate if (pair := parse_head(text)) is not None]
    for layer, head in found:
        if layer >= model.info.n_layers or head >= model.info.n_heads:
            raise ParameterError(
                f"ablate: {head_name(layer, head)} is not accepted; this model has layers "
                f"0 to {model.info.n_layers - 1} with heads 0 to {model.info.n_heads - 1}"
            )
    return found


def edits(
    chosen: Sequence[Head],
    how: Ablation,
    n_heads: int,
    *,
    means: dict[int, mx.array] | None = None,
    patterns: dict[int, mx.array] | None = None,
) -> dict[Site, Edit]:
    """Return the edits that ablate ``chosen``.

    Args:
        chosen: The heads.
        how: What stands in their place.
        n_heads: Heads in a layer.
        means: By layer, z [head * d_head] averaged over positions and sequences, for ``mean``.
        patterns: By layer, those of the whole model, for ``pattern``: held after the first ablated.
    """
    by_layer: dict[int, list[int]] = {}
    for layer, head in chosen:
        by_layer.setdefault(layer, []).append(head)
    found: dict[Site, Edit] = {}
    for layer, gone in by_layer.items():
        keep = np.ones(n_heads, np.float32)
        keep[gone] = 0
        instead = None if means is None or how != "mean" else means[layer]
        found[Site("z", layer)] = _replace(keep, instead)
    if how == "pattern" and patterns is not None:
        for layer in range(min(by_layer) + 1, max(patterns) + 1):
            found[Site("pattern", layer)] = lambda _, held=patterns[layer]: held
    return found


def _replace(keep: np.ndarray, instead: mx.array | None) -> Edit:
    def edit(z: mx.array) -> mx.array:
        mask = mx.array(np.repeat(keep, z.shape[-1] // len(keep))).astype(z.dtype)
        kept = z * mask
        return kept if instead is None else kept + instead.astype(z.dtype) * (1 - mask)

    return edit


def controls(
    chosen: Sequence[Head], induction: Sequence[Head], n_heads: int, count: int, seed: int
) -> list[list[Head]]:
    """Return draws of as many other heads as are ablated in each layer, induction heads left out.

    Raises:
        ParameterError: When no others are left in these layers.
    """
    random = np.random.default_rng(seed)
    free: dict[int, list[Head]] = {}
    layers = sorted({layer for layer, _ in chosen})
    for layer in layers:
        others = [(layer, head) for head in range(n_heads)]
        free[layer] = [each for each in others if each not in chosen and each not in induction]
    pool = [each for layer in layers for each in free[layer]]
    if not pool:
        raise ParameterError(
            "ablate: no other heads are left in these layers to compare with; "
            "accepted: fewer heads of a layer"
        )
    draws = []
    for _ in range(count):
        drawn: list[Head] = []
        for layer in layers:
            taken = sum(each[0] == layer for each in chosen)
            picked = random.permutation(len(free[layer]))[:taken]
            drawn += [free[layer][i] for i in picked]
        rest = [each for each in pool if each not in drawn]
        short = min(len(chosen) - len(drawn), len(rest))
        drawn += [rest[i] for i in random.permutation(len(rest))[:short]]
        draws.append(drawn)
    return draws


def _counted(given: Repeated) -> list[tuple[int, Repeated]]:
    parts = list(heads.batches(given))
    starts = np.cumsum([0, *(len(part.tokens) for part in parts)])
    return list(zip(starts.tolist(), parts, strict=False))


def _losses(
    model: LanguageModel,
    given: Repeated,
    sets: Sequence[Sequence[Head]],
    how: Ablation,
    done: int,
    total: int,
) -> np.ndarray:
    """Return the losses with each set of heads ablated, nats, [set, sequence, pos - 1]."""
    stream, lowest = model.stream, min(layer for layer, _ in sets[0])
    keep = [Site(part, layer) for part in _kept(how) for layer in range(lowest, stream.n_layers)]
    start = stream.run(mx.array(given.tokens), stop=lowest, unembed=None).resid
    clean = stream.run(resid=start, start=lowest, keep=keep, unembed=None)
    mx.eval(start, clean.acts)
    held = {
        part: {site.layer: x for site, x in clean.acts.items() if site.part == part}
        for part in ("z", "pattern")
    }
    means = {layer: z.mean((0, 1)) for layer, z in held["z"].items()}
    out = []
    for i, chosen in enumerate(sets):
        report("ablating heads", done * len(sets) + i * len(given.tokens), total * len(sets))
        changes = edits(chosen, how, model.info.n_heads, means=means, patterns=held["pattern"])
        after = stream.run(resid=start, start=lowest, edits=changes, unembed=None).resid
        out.append(heads.next_losses(stream, after, given.tokens))
    return np.stack(out)


def _kept(how: Ablation) -> tuple[Part, ...]:
    kept: dict[Ablation, tuple[Part, ...]] = {"zero": (), "mean": ("z",), "pattern": ("pattern",)}
    return kept[how]
