"""What the model will see: the tokens of a prompt, as chips."""

from __future__ import annotations

import functools
import html
from pathlib import Path
from typing import Any

import streamlit as st

from interp_core.models import catalogue
from interp_core.models.loading import local_folder
from interp_core.plot.tokens import formed, shown
from interp_core.question import Question, stored
from interp_core.tokens import Token, Tokenizer

_CHIP = (
    "display:inline-block;padding:0 5px;margin:0 3px 4px 0;border-radius:4px;"
    "border:1px solid rgba(128,128,128,.35);font:13px/20px Source Code Pro,monospace,Source Sans;"
    "white-space:pre;max-width:100%;overflow:hidden;text-overflow:ellipsis;vertical-align:top;"
)
_SPECIAL = "opacity:.55;"
_SHOWN = 400


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


def of(question: Question, params: Any) -> list[Token]:
    """Return the tokens of the prompt that is asked about; none where there is no way to know them.

    Where the model's tokenizer is not on this machine, a result that is at hand tells them.

    Raises:
        ValueError: When the prompt cannot be encoded as asked.
    """
    if question.tokens is None:
        return []
    known = catalogue.find(params.model)
    folder = None if known is None else local_folder(known)
    if folder is not None:
        tokenizer = _tokenizer(folder)
        return tokenizer.tokens(question.tokens(tokenizer, params))
    result = stored(params)
    if result is None:
        return []
    ids = result.provenance.token_ids
    return [Token(i, text, False) for i, text in zip(ids, result.tokens, strict=True)]


def chips(tokens: list[Token], context: int) -> None:
    """Show tokens with their leading spaces, ids on hover, and their count."""
    texts = formed([token.text for token in tokens])
    spans = "".join(
        f'<span style="{_CHIP}{_SPECIAL if token.special else ""}" '
        f'title="position {position}, id {token.id}">{html.escape(shown(text))}</span>'
        for position, (token, text) in enumerate(zip(tokens[:_SHOWN], texts, strict=False))
    )
    more = f" showing the first {_SHOWN}" if len(tokens) > _SHOWN else ""
    st.html(
        f'<div data-testid="tokens" style="max-height:5.2em;overflow-y:auto">{spans}'
        f'<span style="font-size:13px;opacity:.7;white-space:nowrap"> {len(tokens)} of {context:,} tokens{more}'
        "</span></div>"
    )
