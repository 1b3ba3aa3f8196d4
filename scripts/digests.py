"""Digests of all that ships: every result's arrays, tables, summary, claims and figures.

``python scripts/digests.py`` writes ``tests/digests.json``. A test holds what ships against it, so
that a change of the code that changes a number shows; write it anew only with a reason in the commit.

Arrays are as they are stored, to the last bit. What is derived from them may differ in its last
digits between processors, so numbers with a fraction are taken out of it and compared by a sum.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from interp_core.archive import jsonable
from interp_core.question import stored
from interp_core.registry import PAPERS
from interp_core.results import Result

FILE = Path(__file__).parents[1] / "tests" / "digests.json"
TOLERANCE = 1e-6
"""How far two sums may be apart, as a share of the sum of sizes."""

_FRACTION = re.compile(r"(?<![\w.#])-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)(?!\w)")
_MADE_UP = re.compile(r"(view|param)_\d+")
"""Names that Altair makes up at each drawing."""

Digest = tuple[str, float, float]
"""Of the text without its fractions; of the fractions, a weighted sum and that of their sizes."""


def of_text(text: str) -> Digest:
    """Return the digest of a text with numbers."""
    numbers = np.array([float(found) for found in _FRACTION.findall(text)])
    weights = 1 + np.arange(len(numbers)) * 0.618034 % 1  # so that their order counts
    return (
        _sha(_FRACTION.sub("#", text).encode()),
        float(weights @ numbers),
        float(weights @ abs(numbers)),
    )


def of_value(value: Any) -> Digest:
    """Return the digest of a table's columns, a summary or claims."""
    return of_text(json.dumps(jsonable(value)))


def of_arrays(result: Result) -> str:
    """Return the digest of the arrays of a result."""
    parts = []
    for name in sorted(field.name for field in dataclasses.fields(result)):
        if isinstance(array := getattr(result, name), np.ndarray):
            parts.append(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return _sha(b"\0".join(parts))


def of_chart(chart: alt.TopLevelMixin) -> Digest:
    """Return the digest of a figure."""
    with alt.theme.enable("none"):
        spec = chart.to_dict(validate=False)
    datasets = spec.pop("datasets", {})
    text = json.dumps([spec, list(datasets.values())], sort_keys=True)
    for number, name in enumerate(datasets):  # a name is a digest, which rounding changes
        text = text.replace(name, f"data {number}")
    return of_text(_MADE_UP.sub(r"\1", text))


def of_result(result: Result) -> dict[str, Any]:
    """Return all digests of one result, without its evidence."""
    tables, charts = result.tables(), result.own_charts()
    return {
        "arrays": of_arrays(result),
        **{f"table {name}": of_value(frame.to_dict("list")) for name, frame in tables.items()},
        "summary": of_value(result.summary),
        "findings": of_value([dataclasses.asdict(finding) for finding in result.own_findings]),
        **{f"figure {name}": of_chart(chart) for name, chart in charts.items()},
    }


def changed(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of what is not the same in two results' digests."""
    names = known.keys() | now.keys()
    return sorted(name for name in names if not _same(known.get(name), now.get(name)))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or None in (one, other):
        return one == other
    (text, total, size), (other_text, other_total, _) = one, other
    return text == other_text and abs(total - other_total) <= TOLERANCE * size


@contextlib.contextmanager
def unpacked() -> Iterator[None]:
    """See nothing but what ships."""
    before = os.environ.get("LENSBOOK_CACHE")
    with tempfile.TemporaryDirectory() as empty:
        os.environ["LENSBOOK_CACHE"] = empty
        try:
            yield
        finally:
            os.environ.pop("LENSBOOK_CACHE")
            if before is not None:
                os.environ["LENSBOOK_CACHE"] = before


def shipped() -> dict[str, dict[str, Any]]:
    """Return the digests of every result that ships, by its link."""
    with unpacked():
        every = [stored(params) for paper in PAPERS.values() for params in paper.shipped]
        return {result.link: of_result(result) for result in every}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    FILE.write_text(json.dumps(shipped(), indent=1) + "\n")
