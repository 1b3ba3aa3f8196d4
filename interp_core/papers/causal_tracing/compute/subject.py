"""Where a prompt's subject is, which token its answer begins with, and what stands in front."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interp_core.models.language_model import LanguageModel
from interp_core.papers.causal_tracing.params import MAX_TOKENS, Prompt
from interp_core.params import ParameterError
from interp_core.tokens import Tokenizer


@dataclass(frozen=True)
class Located:
    """A prompt as ids, with its subject and its answer."""

    ids: tuple[int, ...]
    subject: range
    """Positions of the subject's tokens."""
    subject_text: str
    answer: tuple[int, ...]
    """Ids of the answer; empty where the model's own is wanted."""


def locate(model: LanguageModel, params: Prompt) -> Located:
    """Return the ids of ``params.prompt`` and where its subject is.

    Raises:
        ParameterError: When the prompt has one token or too many, the subject is not in it or
            shares a token with what stands beside it, or ``start`` is no token.
    """
    tokenizer = model.require_tokenizer()
    before = start_ids(tokenizer, params.start)
    ids, offsets = tokenizer.offsets(params.prompt)
    limit = min(model.info.context, MAX_TOKENS)
    if not 2 <= len(ids) <= limit - len(before):
        raise ParameterError(
            f"prompt: it has {len(ids)} tokens; accepted: 2 to {limit - len(before)}"
        )
    subject = params.subject.strip() or guess(params.prompt)
    span = _span(params.prompt, subject, offsets)
    return Located(
        (*before, *ids),
        range(span.start + len(before), span.stop + len(before)),
        subject,
        answer_ids(tokenizer, params.prompt, params.answer),
    )


def prompt_ids(tokenizer: Tokenizer, params: Prompt) -> list[int]:
    """Return the prompt's ids, with what stands in front of it."""
    return [*start_ids(tokenizer, params.start), *tokenizer.offsets(params.prompt)[0]]


def start_ids(tokenizer: Tokenizer, start: str) -> list[int]:
    """Return the ids put before a prompt.

    Raises:
        ParameterError: When ``start`` is not one special token of the tokenizer.
    """
    try:
        return tokenizer.front(start, auto="document")
    except ValueError as error:
        raise ParameterError(str(error)) from None


def guess(prompt: str) -> str:
    """Return the longest run of capitalised words, which mostly is what a prompt is about.

    Raises:
        ParameterError: When there is none.
    """
    runs = re.finditer(r"[A-Z][\w'’-]*(?:\s+(?:(?:of|the|de|la)\s+)*[A-Z0-9][\w'’-]*)*", prompt)
    found = [run.group() for run in runs]
    # A lone first word is capitalised whatever it is.
    named = [text for text in found if " " in text or not prompt.startswith(text)] or found
    if not named:
        raise ParameterError("subject: none could be guessed; accepted: a part of the prompt")
    return max(named, key=len)


def _span(prompt: str, subject: str, offsets: list[tuple[int, int]]) -> range:
    begin = prompt.find(subject)
    if begin < 0:
        raise ParameterError(
            f"subject: {subject[:60]!r} is not in the prompt; accepted: a part of it, letter by letter"
        )
    end = begin + len(subject)
    inside = [i for i, (start, stop) in enumerate(offsets) if start < end and stop > begin]
    # Bytes of one character may be several tokens with the same offsets, and spaces go in front.
    for i in inside:
        start, stop = offsets[i]
        text = prompt[start:stop]
        start += len(text) - len(text.lstrip())
        if start < begin or stop > end:
            raise ParameterError(
                f"subject: {subject[:60]!r} ends inside the token {text!r}; accepted: whole tokens"
            )
    return range(inside[0], inside[-1] + 1)


def answer_ids(tokenizer: Tokenizer, prompt: str, answer: str) -> tuple[int, ...]:
    """Return the ids of ``answer`` as it continues ``prompt``, with a space between if it has none."""
    if not answer.strip():
        return ()
    spaced = answer if answer[0].isspace() or prompt[-1].isspace() else f" {answer}"
    before, whole = (tokenizer.encode(text, bos=False) for text in (prompt, prompt + spaced))
    joined = whole[: len(before)] == before and len(whole) > len(before)
    return tuple(whole[len(before) :] if joined else tokenizer.encode(spaced, bos=False))
