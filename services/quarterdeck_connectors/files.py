"""Reading YAML and JSON files that somebody else wrote: plain JSON values, or an error that says where.

What makes such files dangerous is refused rather than guarded against: references (`*name`, by which a few lines become
gigabytes), tags that name types of a program, keys given twice (of which each reader takes another), more depth, size
or values than a file of ours can need. Plain words are read as YAML 1.2's core schema does: `no` and `on` are text.

Source: YAML 1.2.2, section 10.3 (core schema); RFC 8259, section 4 (names within an object should be unique).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import msgspec
import yaml

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.declaration import Declaration, read_declaration

MAX_BYTES: Final = 16 * 2**20
MAX_ESTATE_BYTES: Final = 64 * 2**20
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 2_000_000
MAX_DIGITS: Final = 40

Form = Literal["yaml", "json"]

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = re.compile(r"null|Null|NULL|~|")
_TRUE: Final = re.compile(r"true|True|TRUE")
_FALSE: Final = re.compile(r"false|False|FALSE")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG: Final = "tag:yaml.org,2002:"
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|-?Infinity|NaN|-?[0-9][-+.0-9eE]*', re.DOTALL)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a file may hold."""

    size: int = MAX_BYTES
    """In bytes."""
    depth: int = MAX_DEPTH
    values: int = MAX_VALUES


BOUNDS: Final = Bounds()


def read_estate(data: bytes, name: str = "the estate file") -> Declaration:
    """Return what an estate file declares.

    Raises:
        UnreadableSource: it is not YAML or JSON, or holds what such a file has no need of; says the line and column.
        InvalidInput: it is readable, and not what an estate file may say; `problems` says where.
    """
    return read_declaration(read_document(data, name, bounds=Bounds(size=MAX_ESTATE_BYTES)))


def read_document(data: bytes, name: str = "the file", *, form: Form | None = None, bounds: Bounds = BOUNDS) -> Any:
    """Return the value that a file holds. Without `form`, a name that ends in `.json` is JSON; anything else is YAML,
    of which JSON is a part: what is JSON from its first character on is read as JSON, because that is quicker.

    Raises:
        UnreadableSource: as `read_estate`.
    """
    shown = legible(name, limit=120)
    if len(data) > bounds.size:
        raise UnreadableSource(f"{shown} is longer than {bounds.size} bytes", name=shown, limit=bounds.size)
    text = _text(data, shown)
    try:
        if form == "json" or (form is None and name.endswith(".json")):
            return _json(text, shown, bounds)
        if form is None and text.lstrip(" \t\r\n")[:1] in ("{", "["):
            with contextlib.suppress(json.JSONDecodeError):
                return _json(text, shown, bounds)
        return _Yaml(text, shown, bounds).document()
    except json.JSONDecodeError as error:
        _refuse(shown, error.lineno - 1, error.colno - 1, f"this is not JSON: {error.msg}")


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
        _refuse(name, line, column, "this is not UTF-8: save the file as UTF-8")


def _refuse(name: str, line: int, column: int, what: str) -> NoReturn:
    """Refuse a file for what is at a line and column, counted from 0 and shown from 1."""
    raise UnreadableSource(
        f"{name}, line {line + 1}, column {column + 1}: {what}", name=name, line=line + 1, column=column + 1
    )


def _is_sound(text: str) -> bool:
    """Tell whether a text is Unicode without lone halves of a character."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Unsound(Exception):
    """Something that the parser lets pass and we do not; where it is, is looked for afterwards."""


def _json(text: str, name: str, bounds: Bounds) -> Any:
    # Counted before anything is made: a few bytes of text become a hundred times as many in memory.
    if _is_crowded(text, bounds.values):
        raise UnreadableSource(f"{name} holds more than {bounds.values} values", name=name, limit=bounds.values)
    counted = 0

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal counted
        counted += len(found)
        made = dict(found)
        if len(made) != len(found) or counted > bounds.values:
            raise _Unsound
        return made

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_int=_integer, parse_float=_float, parse_constant=_no_number
        )
    except (RecursionError, _Unsound):
        _locate(text, name, bounds)
    if not _fits(value, bounds):
        _locate(text, name, bounds)
    return value


def _is_crowded(text: str, values: int) -> bool:
    """Tell whether JSON text has more brackets and commas, outside of its strings, than that many values need."""
    if _separators(text, 0, len(text)) <= values:
        return False
    counted = end = 0
    for string in _JSON_STRING.finditer(text):
        counted += _separators(text, end, string.start())
        if counted > values:
            return True
        end = string.end()
    return counted + _separators(text, end, len(text)) > values


def _separators(text: str, start: int, end: int) -> int:
    return text.count(",", start, end) + text.count("[", start, end) + text.count("{", start, end)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Unsound(f"the number {digits[:12]}… has {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits, 0) if digits[:2] in ("0x", "0o") else int(digits)


def _float(digits: str) -> float:
    found = float(digits)
    if found in (float("inf"), float("-inf")):
        raise _Unsound(f"the number {digits[:20]} is too large")
    return found


def _no_number(text: str) -> NoReturn:
    raise _Unsound(f"{text} is not a number of JSON")


def _fits(value: Any, bounds: Bounds) -> bool:
    """Tell whether a value is within bounds and all its text is sound."""
    counted, level = 0, [value]
    for _ in range(bounds.depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(map(_is_sound, item)):
                    return False
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and not _is_sound(item):
                return False
        counted += len(level)
        if counted > bounds.values:
            return False
        if not below:
            return True
        level = below
    return False


def _locate(text: str, name: str, bounds: Bounds) -> NoReturn:
    """Say where in a JSON text the first thing is that we refuse."""
    open_: list[set[str] | None] = []
    counted, before = 0, ""
    for match in _JSON_TOKEN.finditer(text):
        piece = match.group()
        if piece in "{[":
            open_.append(set() if piece == "{" else None)
            if len(open_) > bounds.depth:
                _refuse(name, *_place(text, match.start()), f"this is nested deeper than {bounds.depth} levels")
        elif piece in "}]" and open_:
            open_.pop()
        elif piece == ",":
            counted += 1
            if counted > bounds.values:
                _refuse(name, *_place(text, match.start()), f"there are more than {bounds.values} values")
        elif piece[0] in "-0123456789IN":
            try:
                json.loads(piece, parse_int=_integer, parse_float=_float, parse_constant=_no_number)
            except _Unsound as error:
                _refuse(name, *_place(text, match.start()), str(error))
        elif piece[0] == '"':
            said = json.loads(piece, strict=False)
            if not _is_sound(said):
                _refuse(name, *_place(text, match.start()), "this text has half a character in it (a lone surrogate)")
            keys = open_[-1] if open_ else None
            if keys is not None and before in ("{", ","):
                if said in keys:
                    _refuse(name, *_place(text, match.start()), f"the key {legible(said, limit=60)!r} is given twice")
                keys.add(said)
        before = piece
    raise UnreadableSource(f"{name} holds more than can be read", name=name)


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at), at - (text.rfind("\n", 0, at) + 1)


# --- YAML -------------------------------------------------------------------------------------------------------------


class _Yaml:
    """One YAML text, read event by event: nothing is made that was not written out."""

    def __init__(self, text: str, name: str, bounds: Bounds) -> None:
        self._text = text
        self._name = name
        self._bounds = bounds
        self._values = 0

    def document(self) -> Any:
        """Return the one document there is; None if there is nothing in it."""
        events = self._events()
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document begins: one file is one document")
                value = self._value(next(events), events)
        return value

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = legible(str(error.problem or error.context), limit=200)
            if mark is None:
                raise UnreadableSource(f"{self._name} is not YAML: {what}", name=self._name) from None
            _refuse(self._name, mark.line, mark.column, f"this is not YAML: {what}")
        except yaml.YAMLError as error:
            line, column = _place(self._text, min(getattr(error, "position", 0) or 0, len(self._text)))
            what = legible(getattr(error, "reason", None) or "unreadable", limit=200)
            _refuse(self._name, line, column, f"this is not YAML: {what}")

    def _value(self, first: Any, events: Iterator[Any]) -> Any:
        """Return the value that begins with an event. Iterative: depth is bounded by us, not by Python's stack."""
        root: list[Any] = []
        put: Callable[[Any], None] = root.append
        stack: list[_Open] = []
        event = first
        while True:
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                stack.pop()
                put = stack[-1].put if stack else root.append
            else:
                self._count(event)
                opened = stack[-1] if stack else None
                if opened is not None and opened.wants_key:
                    opened.key = self._key(event, opened)
                elif isinstance(event, yaml.ScalarEvent):
                    put(self._scalar(event))
                elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                    made = self._begin(event)
                    put(made)
                    stack.append(_Open(made))
                    put = stack[-1].put
                    if len(stack) > self._bounds.depth:
                        self._refuse(event, f"this is nested deeper than {self._bounds.depth} levels")
            if not stack:
                return root[0]
            event = next(events)

    def _count(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "references (*name) are not followed: write it out")
        self._values += 1
        if self._values > self._bounds.values:
            self._refuse(event, f"there are more than {self._bounds.values} values")

    def _begin(self, event: Any) -> Any:
        of: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        tag = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in (None, "!", _TAG + tag):
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        return of

    def _key(self, event: Any, opened: _Open) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key is text")
        if event.tag not in (None, "!", _TAG + "str"):
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        key: str = event.value
        if not key and not event.style:
            self._refuse(event, "a key is missing before the colon")
        self._sound(event)
        if key in opened.of:
            self._refuse(event, f"the key {legible(key, limit=60)!r} is given twice")
        return key

    def _scalar(self, event: Any) -> Any:
        said: str = event.value
        self._sound(event)
        if event.tag in ("!", _TAG + "str") or (event.tag is None and event.style):
            return said
        if event.tag is not None:
            self._refuse(event, f"the tag {legible(event.tag, limit=60)} is not read: only plain values are")
        if _NULL.fullmatch(said):
            return None
        if _TRUE.fullmatch(said) or _FALSE.fullmatch(said):
            return said[0] in "tT"
        try:
            if _INTEGER.fullmatch(said):
                return _integer(said)
            if _FLOAT.fullmatch(said):
                return _float(said)
        except _Unsound as error:
            self._refuse(event, str(error))
        if _NO_NUMBER.fullmatch(said):
            self._refuse(event, f"{said} is not a number of JSON; in quotes it is text")
        return said

    def _sound(self, event: Any) -> None:
        if not _is_sound(event.value):
            self._refuse(event, "this text has half a character in it (a lone surrogate)")

    def _refuse(self, event: Any, what: str) -> NoReturn:
        _refuse(self._name, event.start_mark.line, event.start_mark.column, what)


class _Open:
    """A list or mapping of which the end has not been read yet."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.key: str | None = None
        self._is_mapping = isinstance(of, dict)

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return self._is_mapping and self.key is None

    def put(self, value: Any) -> None:
        """Take the next value."""
        if self._is_mapping:
            self.of[self.key] = value
            self.key = None
        else:
            self.of.append(value)
