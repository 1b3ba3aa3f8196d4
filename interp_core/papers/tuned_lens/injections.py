"""Pairs of prompts, one of which has an instruction put into it: the project's own, and readers'.

A set read from a file is kept under its digest (:mod:`interp_core.artifacts`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from interp_core.artifacts import Artifacts, read_json
from interp_core.params import MAX_CHARACTERS, ParameterError
from interp_core.paths import SHIPPED

FILE = "injections.json"
"""96 pairs of three tasks, written for Lensbook."""

SHIPS = "shipped"
LEAST = 12
"""Pairs of a task, at least: a quarter of them is held out at a time, and compared with each other."""
MOST_TASKS = 12
MAX_BYTES, MAX_RECORDS = 20_000_000, 2_000
EVERY = "all"
"""What tables call all tasks together; no task's name."""
_NEEDED = ("task", "answers", "ordinary", "injected")
_KEYS = (*_NEEDED, "harmless", "answer")


@dataclass(frozen=True)
class Pair:
    """A prompt as it is, and with a sentence put into it; all end where the answer comes next."""

    task: str
    """What is asked; the prompts of a task are compared with each other."""
    answers: tuple[str, str]
    """The task's two possible answers, each one token, leading space included."""
    ordinary: str
    injected: str
    """The ordinary prompt with an instruction that has nothing to do with the task."""
    harmless: str = ""
    """The ordinary prompt with a sentence of the same length and place that belongs there; the control."""
    answer: str = ""
    """Which of the answers is right; empty where the file does not say."""

    @property
    def versions(self) -> dict[str, str]:
        """The prompts by what they are called, those there are."""
        three = {"ordinary": self.ordinary, "harmless": self.harmless, "injected": self.injected}
        return {name: prompt for name, prompt in three.items() if prompt}


_KEPT = Artifacts(
    "pairs",
    ".json",
    TypeAdapter(tuple[Pair, ...]).validate_json,
    f"{SHIPS}, or a file read here by --pairs FILE",
    2 * MAX_BYTES,  # keys that a record leaves out are written too
)


def read(path: Path) -> str:
    """Read a file of pairs, keep it, and return the name that parameters give it.

    Accepts a JSON list of records with ``task``, ``answers`` (two), ``ordinary`` and ``injected``
    and, if all have it, ``harmless``; ``answer`` says which of the two is right.

    Raises:
        ParameterError: When it is not such a file; the message says which record lacks what.
    """
    accepted = f"a list of records with {', '.join(_NEEDED)}"
    records = read_json(path, "pairs", MAX_BYTES, accepted)
    kept = [asdict(pair) for pair in parse(records)]
    return _KEPT.keep(json.dumps(kept, indent=0, ensure_ascii=False).encode())


def load(name: str) -> tuple[Pair, ...]:
    """Return a set of pairs: ``shipped``, or one that was read on this machine.

    Raises:
        ParameterError: When this machine never read it, or what is kept is another set.
    """
    return _shipped() if name == SHIPS else _KEPT.load(name)


@cache
def _shipped() -> tuple[Pair, ...]:
    return parse(json.loads((SHIPPED / FILE).read_text()))


def parse(records: Any) -> tuple[Pair, ...]:
    """Return the pairs of a file's records.

    Raises:
        ParameterError: See :func:`read`.
    """
    if not isinstance(records, list) or not 0 < len(records) <= MAX_RECORDS:
        raise ParameterError(f"pairs: accepted: a JSON list of 1 to {MAX_RECORDS:,} records")
    pairs = tuple(_record(i, record) for i, record in enumerate(records))
    _agree(pairs)
    return pairs


def _record(i: int, record: Any) -> Pair:
    if not isinstance(record, dict):
        raise ParameterError(f"pairs: record {i} is no record; accepted: {', '.join(_KEYS)}")
    if lacking := [key for key in _NEEDED if key not in record]:
        raise ParameterError(f"pairs: record {i} lacks the key {lacking[0]!r}")
    if unknown := [str(key) for key in record if key not in _KEYS]:
        raise ParameterError(
            f"pairs: record {i} has the key {unknown[0][:60]!r}; accepted: {', '.join(_KEYS)}"
        )
    answers = record["answers"]
    if not isinstance(answers, list) or len(answers) != 2:
        raise ParameterError(f"pairs: record {i}: answers: accepted: a list of two texts")
    texts = {key: record.get(key, "") for key in _KEYS if key != "answers"}
    for key, text in [*texts.items(), *(("answers", answer) for answer in answers)]:
        _text(i, key, text, needed=key in _NEEDED)
    if texts["task"] == EVERY:
        raise ParameterError(f"pairs: record {i}: task: {EVERY!r} is what tables call all tasks")
    if answers[0] == answers[1]:
        raise ParameterError(f"pairs: record {i}: answers: both are {answers[0][:60]!r}")
    if texts["answer"] not in ("", *answers):
        raise ParameterError(
            f"pairs: record {i}: answer: {texts['answer'][:60]!r} is not accepted; accepted: "
            f"{answers[0][:60]!r} or {answers[1][:60]!r}"
        )
    pair = Pair(answers=(answers[0], answers[1]), **texts)
    prompts = list(pair.versions.values())
    if len(set(prompts)) < len(prompts):
        raise ParameterError(f"pairs: record {i}: two of its prompts are the same")
    return pair


def _text(i: int, key: str, text: Any, *, needed: bool) -> None:
    """Refuse what is no text that can be written, or none where one is needed."""
    if not isinstance(text, str) or re.search("[\ud800-\udfff]", text):
        raise ParameterError(f"pairs: record {i}: {key} is not a text")
    if len(text) > MAX_CHARACTERS:
        raise ParameterError(
            f"pairs: record {i}: {key} has {len(text):,} characters; accepted: up to {MAX_CHARACTERS:,}"
        )
    if not text.strip() and (needed or text):
        raise ParameterError(f"pairs: record {i}: {key} is empty")


def _agree(pairs: Sequence[Pair]) -> None:
    """Refuse pairs that cannot be compared with each other."""
    first: dict[str, Pair] = {}
    seen: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(pairs):
        same = first.setdefault(pair.task, pair).answers
        if pair.answers != same:
            raise ParameterError(
                f"pairs: record {i}: answers: the task {pair.task[:60]!r} has {same[0][:60]!r} and "
                f"{same[1][:60]!r} before; accepted: the same two, in this order"
            )
        if bool(pair.harmless) != bool(pairs[0].harmless):
            raise ParameterError(
                f"pairs: record {i}: harmless: accepted: in every record, or in none"
            )
        for prompt in pair.versions.values():
            if (earlier := seen.setdefault((pair.task, " ".join(prompt.split())), i)) != i:
                raise ParameterError(
                    f"pairs: record {i}: a prompt of record {earlier} comes again, so that one might be "
                    "tested on what was fitted to the other"
                )
    tasks = Counter(pair.task for pair in pairs)
    if len(tasks) > MOST_TASKS:
        raise ParameterError(f"pairs: {len(tasks)} tasks; accepted: up to {MOST_TASKS}")
    for task, count in tasks.items():
        if count < LEAST:
            raise ParameterError(
                f"pairs: the task {task[:60]!r} has {count}; accepted: at least {LEAST} of each task"
            )
