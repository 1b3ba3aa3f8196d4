"""Text to token ids and back, exactly as the model sees them."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer as _Backend

from interp_core.models import schema

Bos = bool | Literal["auto"]
Habit = Literal["tokenizer", "bos", "document"]
"""What ``auto`` puts in front of a text: what the tokenizer does, its BOS, or the token that stood
between documents in training."""

_BETWEEN_DOCUMENTS = ("<|endoftext|>",)
"""Texts of such tokens, which a chat model may call neither BOS nor EOS."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


@functools.cache
def _byte_of() -> dict[str, int]:
    """Map GPT-2's printable stand-ins back to bytes (Radford et al. 2019, released code)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


@dataclass(frozen=True)
class Token:
    """One token of a prompt."""

    id: int
    text: str
    """As it stands in the text, leading space included; bytes that are no character as ``\\xe2``."""
    special: bool


class _Named(BaseModel):
    """A special token as some tokenizers write it; the rest says how text around it is stripped."""

    content: str


class _Settings(BaseModel):
    """What is read of ``tokenizer_config.json``; the rest concerns other programs."""

    model_config = ConfigDict(strict=True)

    bos_token: str | _Named | None = None
    eos_token: str | _Named | None = None
    chat_template: str | list[Any] | None = None


class Tokenizer:
    """A folder's ``tokenizer.json``, with its BOS and its chat template.

    Args:
        folder: Holds the tokenizer's files.
        rows: How many tokens the model embeds. Special tokens past it, which some families' larger
            siblings need, are left out: their text is text.

    Raises:
        ValueError: When the folder has no readable tokenizer, or one whose text may become ids
            that the model lacks.
    """

    def __init__(self, folder: Path, rows: int | None = None) -> None:
        file = folder / "tokenizer.json"
        if not file.exists():
            raise ValueError(f"{folder} has no tokenizer.json, so text cannot be read")
        self._backend, decoder = _backend(file, rows)
        config = folder / "tokenizer_config.json"
        settings = _Settings()
        if config.exists():
            settings = schema.validate(_Settings, schema.read_json(config), config.name)
        template = folder / "chat_template.jinja"
        self.chat_template = (
            template.read_text(encoding="utf-8") if template.exists() else settings.chat_template
        )
        named = {"bos_token": settings.bos_token, "eos_token": settings.eos_token}
        self._names = {
            key: token.content if isinstance(token, _Named) else token
            for key, token in named.items()
            if token is not None
        }
        bos = self._names.get("bos_token")
        self.bos_id = None if bos is None else self._backend.token_to_id(bos)
        eos = self._names.get("eos_token")
        self.eos_id = None if eos is None else self._backend.token_to_id(eos)
        self._special = {
            i for i, token in self._backend.get_added_tokens_decoder().items() if token.special
        }
        probe = self._backend.encode("a")
        plain = probe.special_tokens_mask.index(0) if 0 in probe.special_tokens_mask else 0
        self._own_front = probe.ids[:plain]
        self._byte_level = "ByteLevel" in json.dumps(decoder)

    def front(self, choice: Bos | str, auto: Habit) -> list[int]:
        """Return the ids that stand in front of a text; every paper asks here.

        Args:
            choice: ``False`` or ``"none"`` for nothing, ``True`` for the BOS, the text of a special
                token for that one, or ``"auto"``.
            auto: What ``"auto"`` means for this kind of text. ``"document"`` falls back on the
                BOS; a tokenizer without one puts nothing.

        Raises:
            ValueError: When the tokenizer has no such token.
        """
        if choice is False or choice == "none":
            return []
        special = self.special
        if choice == "auto":
            if auto == "tokenizer":
                return self._own_front
            known = [special[text] for text in _BETWEEN_DOCUMENTS if text in special]
            bos = [] if self.bos_id is None else [self.bos_id]
            return known[:1] or bos if auto == "document" else bos
        if choice is True:
            if self.bos_id is None:
                raise ValueError(
                    "bos: this model's tokenizer has no BOS token; accepted: auto, false"
                )
            return [self.bos_id]
        if choice not in special:
            some = ", ".join(list(special)[:8])
            raise ValueError(f"start: {choice!r} is not accepted; accepted: auto, none, {some}")
        return [special[choice]]

    def encode(self, text: str, *, bos: Bos = "auto") -> list[int]:
        """Return the ids of ``text``, behind what :meth:`front` puts there by the tokenizer's habit.

        A text that begins with it already gets no second one.

        Raises:
            ValueError: When a BOS is asked for and the tokenizer has none.
        """
        front = self.front(bos, auto="tokenizer")
        ids = self._backend.encode(text, add_special_tokens=False).ids
        return ids if ids[: len(front)] == front else front + ids

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of ``text``, none added, and where each begins and ends in it."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    @property
    def special(self) -> dict[str, int]:
        """Return the special tokens, by text."""
        decoder = self._backend.get_added_tokens_decoder()
        return {decoder[i].content: i for i in sorted(self._special)}

    def chat(self, text: str, system: str = "") -> str:
        """Return ``text`` as a user's turn in the model's chat format, up to the answer.

        A ``system`` prompt, where there is one, is the turn before it.

        Raises:
            ValueError: When the model has no chat template, or it cannot be filled in.
        """
        if not isinstance(self.chat_template, str):
            raise ValueError("chat: this model has no chat template; accepted: false")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        try:
            return environment.from_string(self.chat_template).render(
                messages=[
                    *([{"role": "system", "content": system}] if system else []),
                    {"role": "user", "content": text},
                ],
                add_generation_prompt=True,
                **self._names,
            )
        except TemplateError as error:
            raise ValueError(f"chat: the model's chat template fails: {error}") from None

    def prompt(self, text: str, *, chat: bool = False, bos: Bos = "auto") -> list[int]:
        """Return the ids of a prompt, in the chat format when ``chat``."""
        return self.encode(self.chat(text) if chat else text, bos=bos)

    def text(self, token_id: int) -> str:
        """Return a token as it stands in text (see :class:`Token`)."""
        piece = self._backend.id_to_token(int(token_id))
        if piece is None:
            return f"<unused {token_id}>"
        if token_id in self._special:
            return piece
        if not self._byte_level:
            byte = _BYTE_TOKEN.fullmatch(piece)
            if byte:
                return bytes([int(byte[1], 16)]).decode(errors="backslashreplace")
            return piece.replace("\u2581", " ")
        table = _byte_of()
        if any(char not in table for char in piece):
            return piece
        return bytes(table[char] for char in piece).decode("utf-8", errors="backslashreplace")

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids together."""
        return self._backend.decode(ids, skip_special_tokens=False)

    def tokens(self, ids: list[int]) -> list[Token]:
        """Return each id with its text."""
        return [Token(i, self.text(i), i in self._special) for i in ids]

    def single(self, text: str) -> int:
        """Return the id of ``text``, which must be one token, leading space included.

        Raises:
            ValueError: When it is not; the message shows its tokens.
        """
        ids = self.encode(text, bos=False)
        if len(ids) != 1:
            pieces = ", ".join(repr(self.text(i)) for i in ids)
            raise ValueError(f"{text!r} is {len(ids)} tokens ({pieces}); accepted: exactly one")
        return ids[0]


def _backend(file: Path, rows: int | None) -> tuple[_Backend, Any]:
    """Return the tokenizer in ``file``, for a model of ``rows`` tokens, and how it decodes."""
    spec = schema.read_json(file)
    try:
        backend = _Backend.from_file(str(file))
        if rows is not None and any(i >= rows for i in backend.get_added_tokens_decoder()):
            spec["added_tokens"] = [
                token
                for token in spec["added_tokens"]
                if token["id"] < rows or not token["special"]
            ]
            backend = _Backend.from_str(json.dumps(spec))
    except Exception as error:  # the Rust side raises plain Exception
        raise ValueError(f"{file} is not a readable tokenizer: {error}") from None
    ids = {*backend.get_vocab().values(), *backend.encode("").ids}
    if rows is not None and max(ids, default=0) >= rows:
        raise ValueError(
            f"{file} has ids up to {max(ids)}, but the model has {rows} tokens; accepted: the "
            "tokenizer that the model was trained with"
        )
    return backend, spec.get("decoder")
