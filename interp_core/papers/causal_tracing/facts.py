"""Sets of facts: the project's own, ROME's ``known_1000.json``, and ``counterfact.json``.

A set read from a file is kept under its digest (:mod:`interp_core.artifacts`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from interp_core.artifacts import Artifacts, read_json
from interp_core.params import ParameterError
from interp_core.paths import SHIPPED

MAX_BYTES, MAX_RECORDS = 100_000_000, 50_000
NEIGHBOURS = 10
STEM = 4
"""Letters of an answer that give it away."""
_OURS = SHIPPED / "facts.json"


@dataclass(frozen=True)
class Fact:
    """A subject, what is said of it, and prompts that test an edit of it."""

    subject: str
    attribute: str
    template: str
    """The prompt, with ``{}`` for the subject."""
    relation: str
    new_object: str = ""
    """What an edit makes of the attribute."""
    paraphrases: tuple[str, ...] = ()
    """Prompts that ask for the same in other words."""
    neighbours: tuple[str, ...] = ()
    """Prompts on other subjects with the same attribute, which an edit should leave alone."""

    @property
    def prompt(self) -> str:
        """The template with the subject in it."""
        return self.template.replace("{}", self.subject)


_KEPT = Artifacts(
    "facts",
    ".json",
    TypeAdapter(tuple[Fact, ...]).validate_json,
    "shipped, or a file read here by --facts FILE",
)


def read(path: Path) -> str:
    """Read a file of facts, keep it, and return the name that parameters give it.

    Accepts a list of records as in ROME's ``known_1000.json`` (``subject``, ``attribute``,
    ``prompt``) or as in ``counterfact.json`` (``requested_rewrite``, ...).

    Raises:
        ParameterError: When it is not such a file; the message says which record lacks what.
    """
    accepted = "a list of records with subject, attribute and prompt, or counterfact.json"
    records = read_json(path, "facts", MAX_BYTES, accepted)
    content = json.dumps([asdict(fact) for fact in parse(records)], indent=0)
    return _KEPT.keep(content.encode())


def parse(records: Any) -> list[Fact]:
    """Return the facts of a file's records.

    Raises:
        ParameterError: See :func:`read`.
    """
    if not isinstance(records, list) or not records:
        raise ParameterError("facts: accepted: a JSON list of at least one record")
    if len(records) > MAX_RECORDS:
        raise ParameterError(f"facts: {len(records)} records; accepted: up to {MAX_RECORDS}")
    return [_record(i, record) for i, record in enumerate(records)]


def _record(i: int, record: Any) -> Fact:
    try:
        if "requested_rewrite" in record:
            return _checked(i, _counterfact(record))
        subject, prompt = record["subject"], record["prompt"]
        if not subject or subject not in prompt:
            raise ParameterError(f"facts: record {i}: the subject {subject!r} is not in the prompt")
        template = prompt.replace(subject, "{}", 1)
        relation = str(record.get("relation_id", template))
        return _checked(i, Fact(subject, record["attribute"], template, relation))
    except KeyError as error:
        raise ParameterError(f"facts: record {i} lacks the key {error}") from None
    except (TypeError, AttributeError):
        raise ParameterError(
            f"facts: record {i} is not a record of texts; accepted: subject, attribute, prompt"
        ) from None


def _checked(i: int, fact: Fact) -> Fact:
    """Return ``fact`` if it holds texts that can be written, and a place for the subject."""
    texts = [fact.subject, fact.attribute, fact.template, fact.relation, fact.new_object]
    texts += [*fact.paraphrases, *fact.neighbours]
    if not all(isinstance(text, str) and not re.search("[\ud800-\udfff]", text) for text in texts):
        raise ParameterError(f"facts: record {i} holds what is not a text")
    if "{}" not in fact.template:
        raise ParameterError(f"facts: record {i} has no place for the subject in its prompt")
    return fact


def _counterfact(record: dict[str, Any]) -> Fact:
    rewrite = record["requested_rewrite"]
    return Fact(
        rewrite["subject"],
        rewrite["target_true"]["str"],
        rewrite["prompt"],
        rewrite.get("relation_id", ""),
        rewrite["target_new"]["str"],
        _texts(record["paraphrase_prompts"]),
        _texts(record["neighborhood_prompts"]),
    )


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(value)


def load(name: str) -> tuple[Fact, ...]:
    """Return a set of facts: ``shipped``, or one that was read on this machine.

    Raises:
        ParameterError: When this machine never read it, or what is kept is another set.
    """
    return _shipped() if name == "shipped" else _KEPT.load(name)


@cache
def _shipped() -> tuple[Fact, ...]:
    """Return the project's facts, a relation's first, the next one's first, ..., then seconds."""
    by_relation = [
        [
            Fact(
                subject,
                attribute,
                relation["template"],
                relation["id"],
                paraphrases=tuple(p.replace("{}", subject) for p in relation["paraphrases"]),
            )
            for subject, attribute in relation["facts"]
        ]
        for relation in json.loads(_OURS.read_text())
    ]
    return tuple(fact for row in zip_longest(*by_relation) for fact in row if fact)


def spells(fact: Fact) -> bool:
    """Whether a word of the subject begins as the answer does, with its first :data:`STEM` letters.

    *Vietnam* spells *Vietnamese*, and *Saudi Arabia* spells *Arabic*. What a name suggests by its language
    (*Rio de Janeiro*) is not seen, so the share of such facts is the least that a set gives away.
    """
    stem = fact.attribute.strip().casefold()[:STEM]
    return bool(stem) and re.search(rf"\b{re.escape(stem)}", fact.subject.casefold()) is not None


def given_away(facts: tuple[Fact, ...]) -> float:
    """Return the share of facts whose subject spells the answer, see :func:`spells`."""
    return sum(map(spells, facts)) / len(facts)


def rewrites(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """Return the facts with what an edit needs, CounterFact-style, where they lack it.

    The new object is the next attribute of the same relation, neighbours are other subjects with
    the same attribute, paraphrases the relation's other templates. Facts without a possible new
    object or without neighbours are left out.
    """
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_relation[fact.relation].append(fact)
    complete = (fact if fact.new_object else _completed(fact, by_relation) for fact in facts)
    return tuple(fact for fact in complete if fact.new_object and fact.neighbours)


def _completed(fact: Fact, by_relation: dict[str, list[Fact]]) -> Fact:
    alike = by_relation[fact.relation]
    objects = sorted({other.attribute for other in alike})
    templates = sorted({other.template for other in alike} - {fact.template})
    if len(objects) < 2:
        return fact
    new = objects[(objects.index(fact.attribute) + 1) % len(objects)]
    return replace(
        fact,
        new_object=new,
        paraphrases=fact.paraphrases or tuple(t.replace("{}", fact.subject) for t in templates[:2]),
        neighbours=tuple(
            other.prompt
            for other in alike
            if other.attribute == fact.attribute and other.subject != fact.subject
        )[:NEIGHBOURS],
    )
