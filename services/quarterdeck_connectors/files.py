"""Reading YAML and JSON files that somebody else wrote: plain JSON values, or an error that says where.

What makes such files dangerous is refused: tags that name types of a program, keys given twice (of which each reader
takes another), references by which a few lines become gigabytes, more depth, size or values than such a file can need.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, Literal

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.plain_json import read_json
from quarterdeck_connectors.plain_yaml import read_yaml
from quarterdeck_connectors.reading import BOUNDS, MAX_BYTES, Bounds, refuse
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.declaration import Declaration, read_declaration

MAX_ESTATE_BYTES: Final = 64 * 2**20

Form = Literal["yaml", "json"]


def read_estate(data: bytes, name: str = "the estate file") -> Declaration:
    """Return what an estate file declares.

    Raises:
        UnreadableSource: it is not YAML or JSON, or holds what such a file has no need of; says the line and column.
        InvalidInput: it is readable, and not what an estate file may say; `problems` says where.
    """
    return read_declaration(read_document(data, name, bounds=Bounds(size=MAX_ESTATE_BYTES)))


def read_document(
    data: bytes,
    name: str = "the file",
    *,
    form: Form | None = None,
    bounds: Bounds = BOUNDS,
    as_written: Collection[str] = (),
) -> Any:
    """Return the value that a file holds. Without `form`, a name that ends in `.json` is JSON; anything else is YAML,
    of which JSON is a part: what is JSON from its first character on is read as JSON, because that is quicker.
    `as_written` is for YAML: see `read_yaml`.

    Raises:
        UnreadableSource: as `read_estate`.
    """
    shown = legible(name, limit=120)
    if len(data) > bounds.size:
        raise UnreadableSource(f"{shown} is longer than {bounds.size} bytes", name=shown, limit=bounds.size)
    text = _text(data, shown)
    try:
        if form == "json" or (form is None and name.endswith(".json")):
            return read_json(text, shown, bounds)
        if form is None and text.lstrip(" \t\r\n")[:1] in ("{", "["):
            with contextlib.suppress(json.JSONDecodeError):
                return read_json(text, shown, bounds)
        return read_yaml(text, shown, bounds, as_written)
    except json.JSONDecodeError as error:
        refuse(shown, error.lineno - 1, error.colno - 1, f"this is not JSON: {error.msg}")


def bytes_of(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Return what a file on this machine holds. Never waits: what is not a regular file is refused.

    Raises:
        UnreadableSource: it is not there, not readable, no regular file, or too long.
    """
    shown = legible(str(path), limit=200)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableSource(f"{shown} is not a regular file", name=shown)
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{shown} cannot be read: {_reason(error)}", name=shown) from None
    if len(data) > limit:
        raise UnreadableSource(f"{shown} is longer than {limit} bytes", name=shown, limit=limit)
    return data


def _reason(error: Exception) -> str:
    return legible((isinstance(error, OSError) and error.strerror) or str(error), limit=120)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n"), error.start - (before.rfind(b"\n") + 1)
        refuse(name, line, column, "this is not UTF-8: save the file as UTF-8")
