"""Where a view is in the app."""

from __future__ import annotations

import os
from urllib.parse import urlencode

from IPython.display import Markdown

from interp_core.reporting.markup import anchor, escaped
from interp_core.results import Result


def app_address(where: Result | str, **view: str | int) -> str:
    """Return the address of a result (or a path) in the app, drawn as its `view_` keys say.

    It begins with LENSBOOK_APP_URL. Where that is not set nobody knows what host the reader's app has, and the
    address is the path alone.
    """
    base = os.environ.get("LENSBOOK_APP_URL", "").rstrip("/")
    path = where if isinstance(where, str) else where.link
    return base + path + (f"{'&' if '?' in path else '?'}{urlencode(view)}" if view else "")


def opens(address: str, text: str) -> str:
    """Return a link to an address in the app, or how a reader's own app opens it."""
    if not address.startswith("/"):
        return anchor(address, text)
    return (
        f'<details class="lensbook-local"><summary>{escaped(text)}</summary>Start the app with '
        f"<code>make app</code>, and open <code>{escaped(address)}</code> there.</details>"
    )


def app_link(where: Result | str, text: str, **view: str | int) -> Markdown:
    """Return a link that opens a view in the app, for an inline expression.

    Where nobody knows the app's address, the path stands behind the text.
    """
    address = app_address(where, **view)
    if address.startswith("/"):
        said = f"{escaped(text)} (<code>make app</code>, then <code>{escaped(address)}</code>)"
        return Markdown(f"`{said}`{{=html}}")
    return Markdown(f"`{anchor(address, text)}`{{=html}}")
