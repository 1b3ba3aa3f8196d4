"""What every schema of a model's files shares: bounds, strictness, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

WIDEST = 2**20
Width = Annotated[int, Field(ge=1, le=WIDEST)]
Layers = Annotated[int, Field(ge=1, le=1024)]
Rows = Annotated[int, Field(ge=1, le=2**22)]
Positions = Annotated[int, Field(ge=1, le=2**31 - 1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Theta = Annotated[float, Field(gt=1, le=1e12)]
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]

_LARGEST = 64 * 2**20
"""Bytes of a JSON file; tokenizers of 262,144 tokens take about 33 million."""


class Strict(BaseModel):
    """A schema that knows each of its keys, converts nothing and takes no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=BaseModel)


def validate(schema: type[Schema], value: Any, file: str) -> Schema:
    """Return ``value``, read from ``file``, as the schema has it.

    Raises:
        ValueError: In one line that names the file, the key, what stands there and what is accepted.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        raise ValueError(f"{file} does not say {key}")
    message = first["msg"].removeprefix("Value error, ")
    where = f"{file} has {key} = {short(first['input'])}" if key else file
    raise ValueError(f"{where}: {message[:1].lower()}{message[1:]}")


def short(value: Any) -> str:
    """Return a value as a message can show it: printable, and no longer than 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ValueError: When it is no regular file, too large, or holds anything else.
    """
    if not file.is_file():
        raise ValueError(f"{file} is no regular file")
    if (size := file.stat().st_size) > _LARGEST:
        raise ValueError(f"{file} has {size:,} bytes; accepted: up to {_LARGEST:,}")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{file} holds a {type(value).__name__}; accepted: an object")
    return value
