"""Questions and answers as the model sees them."""

from __future__ import annotations

from dataclasses import dataclass

from interp_core.models.language_model import LanguageModel
from interp_core.papers.steering.pairs import LETTERS, Pair
from interp_core.params import ParameterError
from interp_core.tokens import Tokenizer

LONGEST = 24
"""Tokens of an answer that are read and scored, at most."""


@dataclass(frozen=True)
class Item:
    """A prompt, and answers to compare; the first is the one that matches."""

    prompt: tuple[int, ...]
    """Up to where an answer begins; its last token ends the instruction."""
    answers: tuple[tuple[int, ...], ...]


def asked(tokenizer: Tokenizer, question: str, system: str = "") -> list[int]:
    """Return the ids of a question up to where the assistant's answer begins.

    In the model's chat format; a model without one is given ``Question: ... Answer:``.

    Raises:
        ParameterError: When the chat template cannot be filled in, as with a system prompt that it
            does not take.
    """
    if tokenizer.chat_template is None:
        front = f"{system}\n\n" if system else ""
        return tokenizer.encode(f"{front}Question: {question}\nAnswer:")
    try:
        return tokenizer.encode(tokenizer.chat(question, system))
    except ValueError as error:
        raise ParameterError(str(error)) from None


def answered(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of an answer, as it follows :func:`asked`."""
    space = "" if tokenizer.chat_template else " "
    return tokenizer.encode(space + text, bos=False)


def check_length(model: LanguageModel, length: int) -> None:
    """Refuse a text that is longer than the model reads.

    Raises:
        ParameterError: When it is.
    """
    if length > model.info.context:
        raise ParameterError(
            f"a prompt with its answer has {length:,} tokens; {model.info.id} reads {model.info.context:,}"
        )


def letters(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of the two letters.

    Raises:
        ParameterError: When one is not a single token, or the bracket before it is not.
    """
    try:
        return [tokenizer.single(letter) for letter in LETTERS]
    except ValueError as error:
        raise ParameterError(f"protocol: ab needs letters of one token: {error}") from None


def item(tokenizer: Tokenizer, pair: Pair, protocol: str, system: str = "") -> Item:
    """Return a pair as a prompt and its two answers.

    By ``ab`` the question stands with its options, the prompt ends in a bracket, and answers are the
    letters; else they are the texts.

    Raises:
        ParameterError: When the two answers are the same tokens.
    """
    if protocol == "ab":
        prompt = asked(tokenizer, pair.options, system) + _bracket(tokenizer)
        both = letters(tokenizer)
        if pair.letter == LETTERS[1]:
            both.reverse()
        return Item(tuple(prompt), ((both[0],), (both[1],)))
    prompt = asked(tokenizer, pair.question, system)
    whole = tuple(tuple(answered(tokenizer, text)) for text in (pair.matching, pair.other))
    if whole[0] == whole[1]:
        raise ParameterError(
            f"pairs: the two answers to {pair.question[:60]!r} are the same tokens: {pair.matching[:60]!r}"
        )
    cut = tuple(answer[:LONGEST] for answer in whole)
    found = cut if cut[0] != cut[1] else whole
    return Item(tuple(prompt), found)


def _bracket(tokenizer: Tokenizer) -> list[int]:
    try:
        return [tokenizer.single("(" if tokenizer.chat_template else " (")]
    except ValueError as error:
        raise ParameterError(f"protocol: ab needs a bracket of one token: {error}") from None


def read_at(tokenizer: Tokenizer, pair: Pair, protocol: str) -> list[tuple[list[int], int]]:
    """Return the two texts whose activations a pair compares, and from where on they are read.

    By ``text`` these are an answer's tokens, by ``ab`` its letter, by ``last`` the last token of the
    answer alone, without question or chat format.
    """
    if protocol == "last":
        texts = [tokenizer.encode(text) for text in (pair.matching, pair.other)]
        return [(ids, len(ids) - 1) for ids in texts]
    one = item(tokenizer, pair, protocol)
    return [([*one.prompt, *answer], len(one.prompt)) for answer in one.answers]
