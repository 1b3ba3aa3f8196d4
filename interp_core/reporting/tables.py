"""Tables of a page: claims beside what was measured, parameters, and where numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from interp_core import replication
from interp_core.fields import fields_of
from interp_core.findings import Finding
from interp_core.findings import shown as amount
from interp_core.models.info import MODELS
from interp_core.registry import PAPERS
from interp_core.reporting.markup import MISSING, escaped, html_table, shown
from interp_core.results import Result

_ROWS = {True: "", False: "lensbook-fails", None: "lensbook-open"}
"""Class of a claim's row by its verdict."""


def table(frame: pd.DataFrame) -> Markdown:
    """Return the frame's columns as a table, numbers set right, every text escaped."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    cells = [[escaped(each) for each in _column(column)] for column in columns]
    rows = (("", row) for row in zip(*cells, strict=True))
    head = [str(name) for name in frame.columns]
    return html_table(head, rows, "lensbook-plain", [_is_numeric(each) for each in columns])


def _is_numeric(column: pd.Series) -> bool:
    """Return whether a column is one of numbers, or of percentages."""
    if is_numeric_dtype(column):
        return not is_bool_dtype(column)
    there = column.dropna()
    return len(there) > 0 and all(str(each).endswith("%") for each in there)


def _column(column: pd.Series) -> list[str]:
    """Return a column's cells as a reader is shown them: fractions of one order of magnitude with as many decimals."""
    cells = [shown(each) for each in column.tolist()]
    sizes = column.abs()[column.abs() > 0] if is_float_dtype(column) else column[:0]
    decimals = max((len(each.partition(".")[2]) for each in cells), default=0)
    if not len(sizes) or sizes.max() >= 1000 * min(1, sizes.min()) or "e" in "".join(cells):
        return cells
    return [f"{each:,.{decimals}f}" if each == each else shown(each) for each in column]


def findings(items: Iterable[Finding]) -> Markdown:
    """Return the "paper against ours" table; checks of the computation, which are no findings, come last."""
    head = ["Claim", "Paper", "Ours [95% interval]", "Verdict", "n"]
    rows = (
        (
            _ROWS[f.holds],
            [
                _claim(f, f.decided_by),
                escaped(f.source),
                escaped(f.shown),
                _verdict(f),
                escaped(f"{f.n:,} {f.of}"),
            ],
        )
        for f in sorted(items, key=lambda f: f.check)
    )
    return html_table(head, rows, "lensbook-findings")


def claims(name: str) -> Markdown:
    """Return a paper's claims on all models, as they ship: each with what decides it, and its verdicts."""
    every = sorted(replication.claims(PAPERS[name]), key=lambda each: each.first.check)
    floored = any(each.untrained for each in every)
    head = ["Claim", "Paper", *list(MODELS.values())[: 3 if floored else 2]]
    rows = (
        (
            _ROWS[each.first.holds],
            [
                _claim(each.first, f"{each.first.measure}; {_again(each.first)}"),
                escaped(each.first.source),
                _measured(each.first),
                _measured(each.second, each.first.measure),
                *([_measured(each.untrained, each.first.measure)] if floored else []),
            ],
        )
        for each in every
    )
    return html_table(head, rows, "lensbook-claims")


def parameters(params: Any) -> Markdown:
    """Return the parameters of a result: what each is, its value, and its default."""
    fields = fields_of(type(params)).values()
    rows = [(f.label, str(getattr(params, f.name)), str(f.default), f.help) for f in fields]
    return table(pd.DataFrame(rows, columns=["Parameter", "Value", "Default", "Meaning"]))


def provenance(results: Mapping[str, Result]) -> Markdown:
    """Return how results came about, one row for those of one model and the same software."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, result in results.items():
        rows.setdefault(_made_with(result), []).append(
            f"<strong>{escaped(name)}</strong>: {_ran(result)}"
        )
    cells = (
        ("", ["<br>".join(ran), *(escaped(each) for each in made)]) for made, ran in rows.items()
    )
    head = ["Result", "Model", "Weights", "Software"]
    return html_table(head, cells)


def _made_with(result: Result) -> tuple[str, str, str]:
    record, model = result.provenance, result.provenance.model
    layers = "1 layer" if model.n_layers == 1 else f"{model.n_layers} layers"
    return (
        f"{model.id} ({layers}, width {model.d_model}, {model.d_vocab:,} tokens), {model.source}",
        f"{model.weights}, run in {model.dtype}; SHA-256 {model.weights_sha256[:16]}…",
        ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    )


def _ran(result: Result) -> str:
    record = result.provenance
    # What is drawn at random may be seeded by a parameter of the analysis.
    seed = getattr(result.params, "seed", record.seed)
    parts = [
        record.date,
        "nothing is random" if seed is None else f"seed {seed}",
        f"{record.seconds:,.0f} s on {record.device} ({record.blas})",
        f"{record.peak_memory / 1e9:.1f} GB" if record.peak_memory > 5e7 else "",
    ]
    return escaped(", ".join(part for part in parts if part))


def _claim(finding: Finding, detail: str) -> str:
    small = f"<br><small>{escaped(detail)}</small>" if detail else ""
    return f"{escaped(finding.title)}{small}"


def _again(finding: Finding) -> str:
    unit = "" if finding.unit == "share" else f" {finding.unit}"
    return f"measured again, the same within {amount(finding.tolerance, finding.unit)}{unit}"


def _measured(finding: Finding | None, measure: str = "") -> str:
    """Return a verdict with what decides it, and with its measure where that is not as another's."""
    if finding is None:
        return MISSING
    own = finding.measure if measure and finding.measure != measure else ""
    parts = (own, finding.criterion, f"n = {finding.n:,} {finding.of}")
    small = "; ".join(part for part in parts if part)
    return f"{escaped(finding.shown)}<br>{_verdict(finding)}<br><small>{escaped(small)}</small>"


def _verdict(finding: Finding) -> str:
    verdict = f'<span class="lensbook-verdict">{finding.verdict}</span>'
    return verdict if finding.holds else f"<strong>{verdict}</strong>"
