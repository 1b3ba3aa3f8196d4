"""A paper's claims beside what was measured, and the one rule that decides them.

A measure is held against a :class:`Bar`, chosen here or given by the paper. The claim *holds* where the whole 95%
interval keeps within the bar, is *not replicated* where the whole interval lies beyond it, and is *undecided* where the
interval reaches across. A measure that has no interval is decided by its value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from interp_core.estimates import Estimate

OURS, THEIRS = "ours", "the paper's"
"""Who set a bar."""
VERDICTS = {
    True: ("\u2713", "holds"),
    False: ("\u2717", "not replicated"),
    None: ("?", "undecided"),
}
"""How each verdict is marked, and what it is called."""


@dataclass(frozen=True)
class Bar:
    """Within what a measure has to be for its claim to hold."""

    low: float = -math.inf
    high: float = math.inf
    source: str = OURS
    """Whose it is: chosen here, or given by the paper."""

    def verdict(self, estimate: Estimate) -> bool | None:
        """Return whether an estimate keeps within it; None where its interval reaches across."""
        low = estimate.value if estimate.low is None else estimate.low
        high = estimate.value if estimate.high is None else estimate.high
        # A difference of exactly 0 is on neither side of 0.
        above = low > 0 if self.low == 0 else low >= self.low
        below = high < 0 if self.high == 0 else high <= self.high
        if above and below:
            return True
        return False if high < self.low or low > self.high else None

    def of_ends(self, ends: np.ndarray) -> list[bool | None]:
        """Return the verdicts of values with the ends of their intervals, [..., 3]."""
        rows = np.asarray(ends, float).reshape(-1, 3)
        return [self.verdict(Estimate.of_ends(row, 0, "")) for row in rows]

    def words(self, unit: str) -> str:
        """Return the bar as a reader is told it."""
        low, high = (
            shown(end, unit) if unit == "share" else f"{end:,g}" for end in (self.low, self.high)
        )
        if math.isinf(self.high):
            said = "above 0" if self.low == 0 else f"at least {low}"
        elif math.isinf(self.low):
            said = "below 0" if self.high == 0 else f"at most {high}"
        else:
            said = f"between {low} and {high}"
        return f"{said} (bar: {self.source})"


def at_least(value: float, source: str = OURS) -> Bar:
    """Return a bar that a measure has to reach."""
    return Bar(low=value, source=source)


def at_most(value: float, source: str = OURS) -> Bar:
    """Return a bar that a measure must not pass."""
    return Bar(high=value, source=source)


def every(verdicts: Iterable[bool | None]) -> bool | None:
    """Return whether all hold: not where one does not, and undecided where one is."""
    found = list(verdicts)
    return False if False in found else None if None in found else True


def shown(value: float, unit: str) -> str:
    """Return a number with the digits that it supports; a share as a percentage."""
    if not math.isfinite(value):
        return "not defined"
    if unit == "share":
        return f"{100 * value:.0f}%"
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


def with_interval(value: float, low: float, high: float, unit: str) -> str:
    """Return a number with the ends of its interval, all with the decimals that its width supports."""
    numbers = (value, low, high)
    if unit == "share" or not all(map(math.isfinite, numbers)):
        said = [shown(each, unit) for each in numbers]
    else:
        decimals = 0 if all(each == round(each) for each in numbers) else _decimals(*numbers)
        said = [f"{each:,.{decimals}f}" for each in numbers]
    return f"{said[0]} [{said[1]}, {said[2]}]"


def _decimals(value: float, low: float, high: float) -> int:
    """Return the decimals of one digit of the interval's half, or of one more where the value needs it for two digits."""
    by_width = -_magnitude((high - low) / 2)
    by_value = 1 - min(0, _magnitude(value))
    return max(0, by_width, min(by_value, by_width + 1)) if abs(value) < 100 else max(0, by_width)


def _magnitude(value: float) -> int:
    """Return the power of ten of a number's first digit, none below a millionth."""
    return math.floor(math.log10(max(abs(value), 1e-6)))


@dataclass(frozen=True)
class Finding:
    """A claim of a paper beside what was measured here."""

    id: str
    claim: str
    """What the paper says, or what would have to be true."""
    paper: str
    """The paper's own figure, in words."""
    ours: float
    """What was measured, in ``unit``."""
    unit: str
    """nats, share, layer, ..."""
    ci: tuple[float, float] | None
    """95% interval of ``ours``, where it is an estimate."""
    holds: bool | None
    """Whether the claim holds in our measurement; None where that is undecided."""
    n: int
    """How many items ``ours`` was measured over: those that were drawn, and that its interval resamples."""
    of: str
    """What ``n`` counts."""

    criterion: str = ""
    """What decides whether it holds, and who set it."""
    measure: str = ""
    """What ``ours`` is, as a formula in words."""
    place: str = ""
    """Where the paper says it: a section, figure or table."""
    check: bool = False
    """Whether it holds by definition unless the computation is wrong: a check, which counts as no finding."""

    @classmethod
    def measured(
        cls,
        id: str,
        claim: str,
        paper: str,
        estimate: Estimate,
        unit: str,
        *,
        bar: Bar | None = None,
        holds: bool | None = None,
        criterion: str = "",
        measure: str = "",
        place: str = "",
        check: bool = False,
    ) -> Self:
        """Return the finding that an estimate makes.

        It is decided by ``bar``, and ``criterion`` then says what more there is to say; or, where no
        single bar decides it, ``holds`` is the verdict, and ``criterion`` says what gives it.
        """
        if bar is not None:
            holds = bar.verdict(estimate)
            criterion = "; ".join(part for part in (bar.words(unit), criterion) if part)
        low, high = estimate.low, estimate.high
        ci = None if low is None or high is None else (low, high)
        return cls(
            id,
            claim,
            paper,
            estimate.value,
            unit,
            ci,
            None if holds is None else bool(holds),
            estimate.n,
            estimate.of,
            criterion,
            measure,
            place,
            check,
        )

    @property
    def shown(self) -> str:
        """``ours`` with its interval and unit."""
        unit = "" if self.unit == "share" else f" {self.unit}"
        if self.ci is None:
            return f"{shown(self.ours, self.unit)}{unit}"
        return f"{with_interval(self.ours, *self.ci, self.unit)}{unit}"

    @property
    def tolerance(self) -> float:
        """How far it may lie from this when it is measured again on the same model, in ``unit``.

        Half of its interval, or a twentieth of its value where that is more: draws and seeds are the same
        again, so that only rounding can move it. At least one of what is counted in whole numbers.
        """
        half = 0.0 if self.ci is None else (self.ci[1] - self.ci[0]) / 2
        whole = self.unit != "share" and float(self.ours).is_integer()
        return max(half, 0.05 * abs(self.ours), 1.0 if whole else 0.0)

    @property
    def title(self) -> str:
        """The claim, said to be a check where it is one."""
        return f"{self.claim} (a check)" if self.check else self.claim

    @property
    def verdict(self) -> str:
        """Its verdict with a mark, so that no colour has to tell it."""
        return " ".join(VERDICTS[self.holds])

    @property
    def decided_by(self) -> str:
        """What is measured, and what it is held against."""
        return ": ".join(part for part in (self.measure, self.criterion) if part)

    @property
    def source(self) -> str:
        """The paper's own figure, and where it stands."""
        return f"{self.paper} ({self.place})" if self.place else self.paper


def counted(items: Sequence[Finding]) -> str:
    """Return how many claims hold, are not replicated and are undecided; checks are left out."""
    claims = [item for item in items if not item.check]
    words = (
        (True, "holds", "hold"),
        (False, "is not replicated", "are not replicated"),
        (None, "is undecided", "are undecided"),
    )
    counts = [
        (sum(item.holds is verdict for item in claims), verdict, said) for verdict, *said in words
    ]
    parts = [f"{n} {said[n != 1]}" for n, verdict, said in counts if verdict or n]
    return f"of {len(claims)} claims {', '.join(parts)}"
