"""A heuristic for what a feature is of: one rule on the token, or on the one before it.

Rules are found on one half of the windows and scored on the other. A label says what a feature goes
along with in this text, not what it means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CLASSES: dict[str, str] = {
    "a digit": r"\s*\d+",
    "a capital letter first": r"\s*[A-Z][a-z]*",
    "capitals alone": r"\s*[A-Z]{2,}",
    "a line break": r"\s*\n\s*",
    "spaces alone": r" +",
    "an opening bracket": r"\s*[(\[{<]+",
    "a closing bracket": r"\s*[)\]}>]+",
    "a quotation mark": r"\s*[\"'`“”‘’]+",
    "a full stop, or another end": r"\s*[.!?;:]+",
    "a comma": r"\s*,",
    "an operator or underscore": r"\s*[=+\-*/%|&^_~@#\\$]+",
    "a word's beginning": r" [A-Za-z]+",
    "a word's continuation": r"[a-z]+",
}
"""Regular expressions that a whole token matches."""
_TOKENS = 12
"""Tokens of a set that a rule may name, at most."""


@dataclass(frozen=True)
class Rule:
    """A set of token ids: the token itself, or the one before it, is in it."""

    words: str
    shift: int
    """0 for the token itself, 1 for the one before it."""
    allowed: np.ndarray
    """[id] whether it is in the set."""

    def says(self, ids: np.ndarray) -> np.ndarray:
        """Return where the rule holds in windows [window, pos]: boolean, the same shape."""
        found = np.zeros(ids.shape, bool)
        found[:, self.shift :] = self.allowed[ids[:, : ids.shape[1] - self.shift]]
        return found


class Rules:
    """What rules are made from: a text's tokens, in two halves of its windows.

    Args:
        ids: [window, pos]
        texts: Of each id that occurs; others are not looked at.
    """

    def __init__(self, ids: np.ndarray, texts: dict[int, str]) -> None:
        self.ids, self.texts = ids, texts
        self.rows = int(max(texts)) + 1
        self.half = np.arange(len(ids)) % 2 == 0
        self.classes = {
            name: np.array(
                [bool(re.fullmatch(pattern, texts.get(i, ""))) for i in range(self.rows)]
            )
            for name, pattern in CLASSES.items()
        }
        before = np.full_like(ids, -1)
        before[:, 1:] = ids[:, :-1]
        self._keys = {0: ids, 1: before}
        there = np.zeros(ids.shape, bool)
        there[:, 1:] = True
        self._inside = there & self.half[:, None]
        self._counts = {shift: self._count(self._inside, shift) for shift in (0, 1)}
        self.held_out = there & ~self.half[:, None]

    def _count(self, where: np.ndarray, shift: int) -> np.ndarray:
        keys = self._keys[shift][where]
        return np.bincount(keys[keys >= 0], minlength=self.rows)

    def find(self, active: np.ndarray) -> Rule | None:
        """Return the rule of the largest F1 on the first half; None where nothing is active there.

        Args:
            active: [window, pos] boolean.
        """
        inside = active & self._inside
        total = inside.sum()
        if not total:
            return None
        best: tuple[float, Rule] | None = None
        for shift in (0, 1):
            hits, counts = self._count(inside, shift), self._counts[shift]
            for words, allowed in self._candidates(hits, counts, shift):
                true = hits[allowed].sum()
                score = 2 * true / (total + counts[allowed].sum())
                if best is None or score > best[0]:
                    best = score, Rule(words, shift, allowed)
        return None if best is None else best[1]

    def _candidates(
        self, hits: np.ndarray, counts: np.ndarray, shift: int
    ) -> list[tuple[str, np.ndarray]]:
        prefix = "after " if shift else ""
        found = [(prefix + name, allowed) for name, allowed in self.classes.items()]
        # Adding tokens by falling share of active ones maximises F1 over sets of any size.
        some = np.flatnonzero(hits)
        order = some[np.lexsort((-hits[some], -hits[some] / counts[some]))]
        for size in (1, 2, 4, 8, _TOKENS):
            chosen = order[:size]
            allowed = np.zeros(self.rows, bool)
            allowed[chosen] = True
            by_hits = chosen[np.argsort(-hits[chosen], kind="stable")]
            words = ", ".join(f"“{self.texts[int(i)]}”" for i in by_hits[:4])
            more = f" and {len(chosen) - 4} more" if len(chosen) > 4 else ""
            found.append((prefix + words + more, allowed))
        return found

    def score(self, rule: Rule | None, active: np.ndarray) -> float:
        """Return the rule's F1 on the held-out half; NaN where nothing is active there."""
        inside = active & self.held_out
        if not inside.any():
            return float("nan")
        if rule is None:
            return 0.0
        says = rule.says(self.ids) & self.held_out
        return float(2 * (says & inside).sum() / (inside.sum() + says.sum()))


def kurtosis(values: np.ndarray) -> np.ndarray:
    """Return the excess kurtosis over the first axis of ``values`` [position, ...]; 0 is a Gaussian's."""
    centred = values - values.mean(0)
    square = (centred**2).mean(0)
    return (centred**4).mean(0) / np.maximum(square, 1e-30) ** 2 - 3


def strongest(values: np.ndarray, share: float) -> np.ndarray:
    """Return where ``values`` [window, pos] are among the largest ``share`` of all: boolean."""
    count = max(1, round(share * values.size))
    least = np.partition(values.ravel(), values.size - count)[values.size - count]
    return values >= least


def sample(count: int, of: Sequence[int], seed: int) -> np.ndarray:
    """Return ``count`` of ``of``, drawn without replacement, ascending."""
    chosen = np.random.default_rng(seed).permutation(np.array(of))[:count]
    return np.sort(chosen)
