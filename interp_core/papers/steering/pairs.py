"""Contrast pairs: the project's own behaviours, and readers' files.

A pair is a question with two answers, one of which matches the behaviour. A set read from a file is kept
under its digest (:mod:`interp_core.artifacts`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from interp_core.artifacts import Artifacts, read_text
from interp_core.params import MAX_CHARACTERS, ParameterError
from interp_core.paths import SHIPPED

FILE = "behaviours.json"
"""Four behaviours of 96 pairs each, written for Lensbook."""
BehaviourName = Literal["formality", "optimism", "refusal", "agreement"]
BEHAVIOURS: dict[BehaviourName, str] = {
    "formality": "formality",
    "optimism": "optimism",
    "refusal": "refusal",
    "agreement": "agreement with the user",
}
MAX_BYTES, MAX_PAIRS = 20_000_000, 5_000
HELD_OUT = 0.5
"""Share of the pairs that no vector is made from."""
LETTERS = ("A", "B")
QUESTION, MATCHING, OTHER = (
    "question",
    "answer_matching_behavior",
    "answer_not_matching_behavior",
)
_CHOICES = re.compile(
    r"^(?P<stem>.*?)\s*(?:Choices:)?\s*\(A\)\s*(?P<A>.+?)\s*\(B\)\s*(?P<B>.+?)\s*$", re.DOTALL
)
_LETTER = re.compile(r"^\s*\(?([AB])\)?\s*$")


@dataclass(frozen=True)
class Pair:
    """A question, and two answers to it."""

    question: str
    matching: str
    """The answer that shows the behaviour."""
    other: str
    """The answer that does not."""
    letter: str = ""
    """Of the matching answer, where the two are the options (A) and (B)."""

    @property
    def options(self) -> str:
        """The question with its two answers as options, as Rimsky et al. write it."""
        texts = (self.matching, self.other) if self.letter == "A" else (self.other, self.matching)
        return f"{self.question}\n\nChoices:\n (A) {texts[0]}\n (B) {texts[1]}"


@dataclass(frozen=True)
class Behaviour:
    """A set of pairs that show one behaviour, and prompts that ask for it."""

    name: str
    about: str
    """What a matching answer does."""
    pairs: tuple[Pair, ...]
    system: tuple[str, str] = ("", "")
    """System prompts that ask for the behaviour, and for its opposite; empty where there are none."""
    open: tuple[str, ...] = ()
    """Questions to answer freely."""

    def split(self) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """Return the pairs that vectors are made from, and those held out.

        Which are held out depends on the pairs alone. Those without letters get them by turns, so that
        in either part half of the matching answers are (A).
        """
        ordered = sorted(self.pairs, key=lambda p: hashlib.sha256(p.question.encode()).digest())
        lettered = tuple(
            pair if pair.letter else replace(pair, letter=LETTERS[i % 2])
            for i, pair in enumerate(ordered)
        )
        held_out = max(1, round(HELD_OUT * len(lettered)))
        return lettered[held_out:], lettered[:held_out]


_KEPT = Artifacts(
    "pairs",
    ".json",
    TypeAdapter(tuple[Pair, ...]).validate_json,
    "a file read here by --pairs FILE",
    2 * MAX_BYTES,
)


def load(behaviour: str, pairs: str = "") -> Behaviour:
    """Return a behaviour that ships, or the pairs that were read on this machine under ``pairs``.

    Raises:
        ParameterError: When this machine never read them.
    """
    return (
        Behaviour("your pairs", "as your file has it", _KEPT.load(pairs))
        if pairs
        else shipped()[behaviour]
    )


@cache
def shipped() -> dict[str, Behaviour]:
    """Return the behaviours that ship, by name."""
    found = {}
    for name, record in json.loads((SHIPPED / FILE).read_text()).items():
        pairs = tuple(Pair(*texts) for texts in record["pairs"])
        found[name] = Behaviour(
            name, record["about"], pairs, tuple(record["system"]), tuple(record["open"])
        )
    return found


def read(path: Path) -> str:
    """Read a file of pairs, keep it, and return the name that parameters give it.

    Accepts JSON (a list) and JSON lines of records with ``question``, ``answer_matching_behavior`` and
    ``answer_not_matching_behavior``, and CSV with these columns. Answers are texts, or the letters of
    options that stand in the question, as in CAA's own files.

    Raises:
        ParameterError: When it is not such a file; the message says which line lacks what.
    """
    text = read_text(path, "pairs", MAX_BYTES)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        records = _csv(text)
    elif suffix == ".jsonl":
        records = _json_lines(text)
    else:
        records = _json_list(text)
    found = dict.fromkeys(_pair(line, record) for line, record in records)
    if not 2 <= len(found) <= MAX_PAIRS:
        raise ParameterError(
            f"pairs: {path.name} has {len(found)}; accepted: 2 to {MAX_PAIRS:,} different pairs"
        )
    kept = [asdict(pair) for pair in found]
    return _KEPT.keep(json.dumps(kept, indent=0, ensure_ascii=False).encode())


def _csv(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        before = reader.line_num + 1
        for record in reader:
            yield before + 1, {key: value for key, value in record.items() if value is not None}
            before = reader.line_num
    except csv.Error as error:
        raise ParameterError(f"pairs: line {reader.line_num} is not CSV: {error}") from None


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text.splitlines(), 1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except (ValueError, RecursionError):
                raise ParameterError(f"pairs: line {line} is not JSON") from None


def _json_list(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the records of a list with the line that each begins on."""
    decoder, at = json.JSONDecoder(), len(text) - len(text.lstrip())
    accepted = f"accepted: a JSON list of records with {QUESTION}, {MATCHING} and {OTHER}"
    if text[at : at + 1] != "[":
        raise ParameterError(f"pairs: it is no list; {accepted}, JSON lines, or CSV")
    at = _next(text, at + 1)
    while text[at : at + 1] not in ("]", ""):
        line = text.count("\n", 0, at) + 1
        try:
            record, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise ParameterError(f"pairs: line {line} is not JSON; {accepted}") from None
        yield line, record
        at = _next(text, end)
        if text[at : at + 1] == ",":
            at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    """Return where the next character that is no white space stands."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _pair(line: int, record: Any) -> Pair:
    if not isinstance(record, dict):
        raise ParameterError(f"pairs: line {line} is no record; accepted: {QUESTION}, ...")
    texts = []
    for key in (QUESTION, MATCHING, OTHER):
        if key not in record:
            raise ParameterError(f"pairs: line {line} lacks the key {key!r}")
        text = record[key]
        if not isinstance(text, str) or not text.strip() or re.search("[\ud800-\udfff]", text):
            raise ParameterError(f"pairs: line {line}: {key} is not a text")
        if len(text) > MAX_CHARACTERS:
            raise ParameterError(
                f"pairs: line {line}: {key} has {len(text):,} characters; accepted: up to {MAX_CHARACTERS:,}"
            )
        texts.append(text.strip())
    question, matching, other = texts
    if matching == other:
        raise ParameterError(f"pairs: line {line}: the two answers are equal: {matching[:60]!r}")
    letters = [_LETTER.match(answer) for answer in (matching, other)]
    if not all(letters):
        return Pair(question, matching, other)
    choices = _CHOICES.match(question)
    if choices is None:
        raise ParameterError(
            f"pairs: line {line}: the answers are letters, and the question has no options (A) and (B)"
        )
    if choices["A"] == choices["B"]:
        raise ParameterError(
            f"pairs: line {line}: the two options are equal: {choices['A'][:60]!r}"
        )
    letter, against = (str(each[1]) for each in letters if each)
    return Pair(choices["stem"], choices[letter], choices[against], letter)
