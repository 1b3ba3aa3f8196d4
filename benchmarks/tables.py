"""Tables of what sides of a benchmark took, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence


def time_table(seconds: Mapping[str, Mapping[str, Sequence[float]]], ours: str) -> str:
    """Return a table of median seconds, and of every other side's ratio to ``ours``."""
    sides = list(next(iter(seconds.values())))
    peers = [name for name in sides if name != ours]
    header = ["case", *(f"{name} s" for name in sides), *(f"{name} / {ours}" for name in peers)]
    rows = [
        [
            case,
            *(f"{statistics.median(times[name]):.3f}" for name in sides),
            *(ratio_text(times[name], times[ours]) for name in peers),
        ]
        for case, times in seconds.items()
    ]
    return markdown(header, rows)


def memory_table(peaks: Mapping[str, Mapping[str, tuple[int, int]]], ours: str) -> str:
    """Return a table of what :func:`harness.memory` measured, and of every other side's ratio to ``ours``."""

    def megabytes(pair: tuple[int, int]) -> str:
        return f"{pair[1] / 1e6:.0f} ({pair[0] / 1e6:.0f})"

    sides = list(next(iter(peaks.values())))
    peers = [name for name in sides if name != ours]
    header = ["peak MB, and (after load)", *sides, *(f"{name} / {ours}" for name in peers)]
    rows = [
        [
            case,
            *(megabytes(peak[name]) for name in sides),
            *(f"{peak[name][1] / peak[ours][1]:.2f}" for name in peers),
        ]
        for case, peak in peaks.items()
    ]
    return markdown(header, rows)


def ratio_text(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """Return the median of per-round ratios, and their range."""
    ratios = [t / o for t, o in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, numbers to the right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in table
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
