"""What a report page calls: figures, tables, claims, downloads and links, as Markdown that Quarto can place.

Everything leaves a cell as `IPython.display.Markdown` holding a raw HTML block. Plain `text/html` output would make
Quarto load require.js and jQuery from another host.
"""

from interp_core.reporting.addresses import app_address, app_link
from interp_core.reporting.figures import downloads, figure
from interp_core.reporting.markup import code
from interp_core.reporting.pages import cite, contents, opening, paper, turn
from interp_core.reporting.tables import claims, findings, parameters, provenance, table

__all__ = [
    "app_address",
    "app_link",
    "cite",
    "claims",
    "code",
    "contents",
    "downloads",
    "figure",
    "findings",
    "opening",
    "paper",
    "parameters",
    "provenance",
    "table",
    "turn",
]
