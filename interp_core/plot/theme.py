"""What every figure shares: the look of a page in either mode, and the colours of each quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np

from interp_core.plot import font

TITLE, LABEL, TEXT = 15, 13, 12
"""Sizes of the font in titles, along axes and in legends, and in cells, in pixels."""
PADDING = 6
"""Margin around a figure, in pixels."""

CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
"""Okabe and Ito's colours in their fixed order; grey for black, which a dark page swallows."""

COMPONENTS = {
    "embedding": "#009E73",
    "attention": "#0072B2",
    "MLP": "#E69F00",
    "norm bias": "#999999",
}
"""Colours of a model's parts; the residual stream takes the embedding's."""

MAX_MARKS = 5000
"""Marks that one figure may draw; beyond it a figure shows a part and says so."""

_PAGE = {
    "light": {
        "text": "#262730",
        "muted": "#5B5E6B",
        "line": "#9A9DA8",
        "grid": "#E4E5EA",
        "accent": "#0072B2",
        "signed": ["#5aa2d8", "#aacfe8", "#f5f5f2", "#f5c689", "#e08a2e"],
        "state": ["#b35806", "#f3f1f8", "#9e9ac8", "#3f007d"],
        "MLP": ["#7b3294", "#eef6ee", "#74c476", "#00441b"],
        "attention": ["#2166ac", "#fbeeea", "#fb6a4a", "#67000d"],
    },
    "dark": {
        "text": "#F2F3F5",
        "muted": "#AEB2BD",
        "line": "#6B7080",
        "grid": "#2B303B",
        "accent": "#56B4E9",
        "signed": ["#2f7db8", "#24506f", "#171b24", "#6b4316", "#b5650f"],
        "state": ["#fdb863", "#171822", "#6f5fc0", "#d6d1ff"],
        "MLP": ["#d1a7e0", "#151c1a", "#2f8f4e", "#b5f5bd"],
        "attention": ["#8fc7ec", "#1f1818", "#c9302c", "#ffc2a8"],
    },
}
"""Colours of either mode. Those of effects run from below 0 over the page's own to the largest."""

RANGES = {"signed": "diverging", "state": "heatmap", "MLP": "ordinal", "attention": "ramp"}
"""Under which of Vega's names a page has the colours of effects: each mode has its own."""


def config(mode: Literal["light", "dark"]) -> dict[str, Any]:
    """Return the Vega-Lite ``config`` of a light or a dark page, for any figure."""
    page = _PAGE[mode]
    # Vega cuts names where it measures them too long; figures cut theirs, to the room there is.
    labels = {"labelFontSize": LABEL, "labelColor": page["text"], "labelLimit": 0}
    titles = {"titleFontSize": LABEL, "titleFontWeight": "normal", "titleColor": page["muted"]}
    lines = {"domainColor": page["line"], "tickColor": page["line"], "gridColor": page["grid"]}
    return {
        "background": "transparent",
        "font": font.STACK,
        "padding": PADDING,
        "view": {"stroke": None},
        "axis": {"grid": False, "titlePadding": 10, "labelPadding": 5, **labels, **titles, **lines},
        "legend": {**labels, **titles, "titleLimit": 0},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": TITLE,
            "fontWeight": 600,
            "color": page["text"],
            "subtitleFontSize": LABEL,
            "subtitleColor": page["muted"],
            "subtitlePadding": 5,
            "offset": 14,
        },
        "mark": {"color": page["accent"]},
        "rule": {"color": page["line"]},
        "text": {"color": page["text"], "fontSize": TEXT},
        "style": {"outline": {"color": page["text"]}},
        "range": {"category": list(CATEGORIES)} | {RANGES[name]: page[name] for name in RANGES},
    }


@dataclass(frozen=True)
class Quantity:
    """A measured quantity and its colours, which are the same in every figure."""

    title: str
    kind: Literal["linear", "symlog", "log"]
    domain: tuple[float, float]
    """Values beyond it take the colour of its end."""
    scheme: alt.SchemeParams
    turn: float
    """Share of the colours, from the dark end, on which white text reads best."""
    ticks: tuple[float, ...]
    """Values that its legend names."""
    format: str = "~r"
    """How it names them."""
    reverse: bool = False
    """Whether the lowest value is the bright end."""

    @property
    def scale(self) -> alt.Scale:
        """The colour scale."""
        return alt.Scale(
            type=self.kind,
            domain=list(self.domain),
            clamp=True,
            nice=False,
            scheme=self.scheme,
            reverse=self.reverse,
        )

    def ink(self, values: np.ndarray) -> np.ndarray:
        """Return black or white for text on each value's colour; grey where there is no value."""
        move = {"linear": lambda x: x, "symlog": np.log1p, "log": np.log}[self.kind]
        values = np.asarray(values, float)
        low, high = (move(end) for end in self.domain)
        share = (move(np.clip(values, *self.domain)) - low) / (high - low)
        dark = (1 - share if self.reverse else share) < self.turn
        return np.where(np.isnan(values), "#808080", np.where(dark, "#FFFFFF", "#000000"))


_VIRIDIS = alt.SchemeParams("viridis")
_CIVIDIS = alt.SchemeParams("cividis")
_MAGMA = alt.SchemeParams("magma", extent=[0.15, 1])

_NATS: tuple[Any, ...] = ("symlog", (0, 100), _MAGMA, 0.48, (0, 1, 3, 10, 30, 100))

QUANTITIES = {
    "probability": Quantity(
        "probability", "linear", (0, 1), _VIRIDIS, 0.44, (0, 0.25, 0.5, 0.75, 1), "%"
    ),
    "entropy": Quantity("entropy (nats)", "linear", (0, 10), _MAGMA, 0.48, (0, 2, 4, 6, 8, 10)),
    "kl": Quantity("KL (nats, log-like scale)", *_NATS),
    "cross_entropy": Quantity("surprisal (nats, log-like scale)", *_NATS),
    "rank": Quantity(
        "rank (log scale; 1 = likeliest)",
        "log",
        (1, 10_000),
        _CIVIDIS,
        0.48,
        (1, 10, 100, 1000, 10_000),
        "~s",
        reverse=True,
    ),
}
"""Colours by quantity. Ranks count from 1, the likeliest, so that a log scale takes them."""


def signed(bound: float) -> alt.Scale:
    """Return the colours of effects of either sign: blue below 0, orange above it."""
    domain = [-bound, -bound / 2, 0, bound / 2, bound]
    return _effects("signed", domain)


def gained(name: Literal["state", "MLP", "attention"], top: float) -> alt.Scale:
    """Return the colours of what restoring a part brings back; below 0 they have another hue."""
    return _effects(name, [-top, 0, top / 2, top])


def _effects(name: str, domain: list[float]) -> alt.Scale:
    ramp: Any = RANGES[name]
    return alt.Scale(domain=domain, clamp=True, nice=False, range=ramp, interpolate="lab")
