"""How well anomaly detectors tell prompts with an injected instruction by their trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from interp_core.artifacts import NAME
from interp_core.estimates import auc, auc_gap, columns, placements, ratios
from interp_core.papers.tuned_lens import injections
from interp_core.papers.tuned_lens.evaluation import LOGIT, TUNED
from interp_core.papers.tuned_lens.injections import EVERY
from interp_core.papers.tuned_lens.params import WithLens
from interp_core.papers.tuned_lens.reading import LENSES
from interp_core.papers.tuned_lens.translators import INDEX
from interp_core.params import View, param, parameters
from interp_core.results import Provenance, Result

FOLDS = 4
"""Parts of each task's pairs that are held out in turn."""
FOREST, NEIGHBOURS = "forest", "neighbours"
DETECTORS = {FOREST: "isolation forest", NEIGHBOURS: "local outlier factor"}
OUTPUT, LENGTH = "output", "length"
READINGS = {
    TUNED: "tuned lens",
    LOGIT: "logit lens",
    OUTPUT: "output alone",
    LENGTH: "length alone",
}
"""What a prompt is judged by: its trajectory through a lens, the last layer alone, or its tokens' number."""
INJECTED, HARMLESS, ORDINARY = "injected", "harmless", "ordinary"


@parameters
class DetectParams(WithLens):
    """A lens, and pairs of prompts to be told from each other."""

    pairs: Annotated[str, Field(pattern=f"^({injections.SHIPS}|{NAME})$")] = param(
        injections.SHIPS,
        "Prompts",
        "pairs without and with an injected instruction: those that come with Lensbook (shipped), or "
        "a file of yours",
        names={injections.SHIPS: "those that ship"},
        file=injections.read,
    )
    seed: int = param(0, "Seed", "of the folds and of the forests", ge=0, lt=2**32, fold=True)


@parameters
class DetectView(View):
    """Which detector and which trajectories are shown."""

    detector: Literal["forest", "neighbours"] = param(
        FOREST, "Detector", "whose AUC is shown by task", names=DETECTORS
    )
    lens: Literal["tuned", "logit"] = param(
        TUNED, "Trajectories through", "a lens", names={TUNED: "tuned lens", LOGIT: "logit lens"}
    )
    what: Literal["odds", "mass"] = param(
        "odds",
        "Trajectories of",
        "what is read of the two answers at each layer",
        names={"odds": "log-odds of the answers", "mass": "log-probability of either answer"},
    )


@dataclass(frozen=True, eq=False)
class Detection(Result):
    """Outlier scores of every prompt by detectors that were fitted on ordinary prompts of other folds.

    Belrose et al. 2023, on prompt injection. A trajectory is the log probabilities of a task's two answers
    after the prompt, at every layer from the embedding to the last.

    Scores of different fits are not on one scale: a fit's trees or neighbours are its own. So a score
    is compared with others of its own fit alone, that is within a fold of a task, and AUCs are means of
    these comparisons over items. No scale has to be assumed, and how well a detector does is not
    mixed up with how unlike the folds' fits are. Intervals are over items, given the fits: with other
    seeds, AUCs of the pairs that ship move by some hundredths more.
    """

    files: ClassVar[Mapping[str, str]] = {"lenses": INDEX, "pairs": injections.FILE}

    params: DetectParams
    provenance: Provenance
    about: str
    """What the tuned lens was trained on."""
    tasks: Annotated[tuple[str, ...], "item"]
    answers: Annotated[tuple[tuple[str, str], ...], "item"]
    right: Annotated[np.ndarray, "item"]
    """Which answer is right, 0 or 1; -1 where the file does not say."""
    folds: Annotated[np.ndarray, "item"]
    versions: Annotated[tuple[str, ...], "version"]
    """``ordinary``, ``harmless`` where there are any, ``injected``."""
    layers: Annotated[np.ndarray, "layer"]
    """-1 is the embedding."""
    log_probs: Annotated[np.ndarray, "2 layer version item 2"]
    """Of the two answers, in the whole vocabulary; the logit lens, then the tuned one."""
    top: Annotated[np.ndarray, "version item"]
    """The id that the model itself would say next."""
    tokens: Annotated[np.ndarray, "version item"]
    """Length of the prompt."""
    readings: Annotated[tuple[str, ...], "reading"]
    """``tuned``, ``logit`` (trajectories through a lens), ``output`` (the last layer alone)."""
    detectors: Annotated[tuple[str, ...], "detector"]
    scores: Annotated[np.ndarray, "reading detector version item"]
    """Higher for what is less like ordinary prompts."""

    def of(self, reading: str, detector: str, version: str) -> np.ndarray:
        """Return [item], the scores of a version; a prompt's length is one for every detector."""
        row = self.versions.index(version)
        if reading == LENGTH:
            return self.tokens[row].astype(float)
        return self.scores[self.readings.index(reading), self.detectors.index(detector), row]

    @cached_property
    def group(self) -> np.ndarray:
        """[item] the fit that scored it: its task and fold."""
        return pd.factorize(pd.Series(self.tasks))[0] * FOLDS + self.folds

    @cached_property
    def against(self) -> tuple[str, ...]:
        """The versions that are told from the ordinary one: ``injected``, and ``harmless`` if any."""
        return (INJECTED, HARMLESS) if HARMLESS in self.versions else (INJECTED,)

    def _scored(self, reading: str, detector: str, version: str) -> tuple[np.ndarray, np.ndarray]:
        return self.of(reading, detector, ORDINARY), self.of(reading, detector, version)

    def auc(
        self, reading: str, detector: str, version: str = INJECTED, task: str = EVERY
    ) -> np.ndarray:
        """Return [3]: the AUC against ordinary prompts with its 95% interval, over items."""
        at = np.array([task in (EVERY, each) for each in self.tasks])
        negatives, positives = self._scored(reading, detector, version)
        return auc(negatives[at], positives[at], self.group[at])

    def gap(
        self, first: tuple[str, str], second: tuple[str, str], detector: str = FOREST
    ) -> np.ndarray:
        """Return [3]: the AUC of one (reading, version) less another's, with its 95% interval."""
        (a, b), (c, d) = first, second
        return auc_gap(self._scored(a, detector, b), self._scored(c, detector, d), self.group)

    @property
    def other_gaps(self) -> tuple[int, int]:
        """How many other combinations of lens and detector have a gap above 0, and of how many.

        The gap is that between injected and harmless; other than the tuned lens with the forest.
        """
        every = [(lens, d) for lens in (TUNED, LOGIT) for d in self.detectors]
        rest = [each for each in every if each != (TUNED, FOREST)]
        lows = [self.gap((lens, INJECTED), (lens, HARMLESS), d)[1] for lens, d in rest]
        return sum(bool(low > 0) for low in lows), len(rest)

    def tables(self) -> dict[str, pd.DataFrame]:
        """``scores`` of each prompt, ``auc`` by task, ``roc``, and mean ``trajectories`` by layer."""
        every = [(r, d) for r in READINGS for d in self.detectors]
        return {
            "scores": pd.concat([self._score_rows(*each) for each in every], ignore_index=True),
            "auc": pd.DataFrame([row for each in every for row in self._auc_rows(*each)]),
            "roc": pd.concat([self._roc_rows(*each) for each in every], ignore_index=True),
            "trajectories": self._trajectory_rows(),
        }

    def _score_rows(self, reading: str, detector: str) -> pd.DataFrame:
        parts = [
            pd.DataFrame(
                {
                    "reading": reading,
                    "detector": detector,
                    "item": np.arange(len(self.tasks)),
                    "task": self.tasks,
                    "version": version,
                    "fold": self.folds,
                    "tokens": self.tokens[row],
                    "score": self.of(reading, detector, version),
                }
            )
            for row, version in enumerate(self.versions)
        ]
        return pd.concat(parts, ignore_index=True)

    def _auc_rows(self, reading: str, detector: str) -> list[dict[str, Any]]:
        rows = []
        for task in (EVERY, *dict.fromkeys(self.tasks)):
            n = len(self.tasks) if task == EVERY else self.tasks.count(task)
            for version in self.against:
                value, low, high = self.auc(reading, detector, version, task)
                where = {"reading": reading, "detector": detector, "task": task, "version": version}
                rows.append({**where, "auc": value, "low": low, "high": high, "n": n})
        return rows

    def _roc_rows(self, reading: str, detector: str) -> pd.DataFrame:
        """Return the curve whose area is the AUC: how many score above which share of ordinary ones."""
        parts = []
        for version in self.against:
            place = placements(*self._scored(reading, detector, version), self.group)[1]
            false = np.unique(np.concatenate([[0.0, 1.0], 1 - place]))
            true = ((1 - place)[None] <= false[:, None] + 1e-9).mean(1)
            frame = pd.DataFrame({"false_positive": false, "true_positive": true})
            frame.insert(0, "version", version)
            frame.insert(0, "detector", detector)
            frame.insert(0, "reading", reading)
            parts.append(frame)
        return pd.concat(parts, ignore_index=True)

    def _trajectory_rows(self) -> pd.DataFrame:
        tasks, parts = np.array(self.tasks), []
        first, second = np.moveaxis(self.log_probs, -1, 0).astype(float)
        values = {"odds": first - second, "mass": np.logaddexp(first, second)}
        for task in dict.fromkeys(self.tasks):
            at = tasks == task
            means = {name: ratios(x[..., at], np.ones(at.sum())) for name, x in values.items()}
            index = pd.MultiIndex.from_product(
                [LENSES, self.layers, self.versions], names=["lens", "layer", "version"]
            )
            parts.append(pd.DataFrame(columns(means), index=index).reset_index().assign(task=task))
        return pd.concat(parts, ignore_index=True)

    @property
    def changed(self) -> dict[str, float]:
        """The share of pairs whose likeliest next token is not the ordinary prompt's, by version."""
        ordinary = self.top[self.versions.index(ORDINARY)]
        return {
            v: float((self.top[self.versions.index(v)] != ordinary).mean()) for v in self.against
        }

    @property
    def right_share(self) -> dict[str, float]:
        """The share of prompts whose right answer is the likelier of the two, by version."""
        known = self.right >= 0
        if not known.any():
            return {}
        prefers = self.log_probs[0, -1, :, known].argmax(-1).T
        return dict(
            zip(self.versions, map(float, (prefers == self.right[known]).mean(1)), strict=True)
        )

    @property
    def summary(self) -> dict[str, Any]:
        """AUCs over all tasks, lengths in tokens, and what the model itself says."""
        found = {
            detector: {reading: float(self.auc(reading, detector)[0]) for reading in READINGS}
            for detector in self.detectors
        }
        control = {
            detector: float(self.auc(TUNED, detector, HARMLESS)[0])
            for detector in self.detectors
            if HARMLESS in self.versions
        }
        return {
            "pairs": len(self.tasks),
            "tasks": list(dict.fromkeys(self.tasks)),
            "auc": found,
            "auc_of_harmless_sentences": control or None,
            "tokens": dict(zip(self.versions, map(float, self.tokens.mean(1)), strict=True)),
            "top_token_changed": self.changed,
            "right_answer_likelier": self.right_share or None,
            "lens": self.about,
        }
