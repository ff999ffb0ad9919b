"""JSON files as plain values, or an error that says where.

Source: RFC 8259, section 4 (names within an object should be unique).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.reading import Bounds, Unsound, float_of, integer_of, is_sound, place_of, refuse
from quarterdeck_domain.checks import legible

_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|-?Infinity|NaN|-?[0-9][-+.0-9eE]*', re.DOTALL)


def read_json(text: str, name: str, bounds: Bounds) -> Any:
    """Return the value that a JSON text is.

    Raises:
        UnreadableSource: a key is given twice, or there is more, or more deeply nested, than the bounds let pass.
        json.JSONDecodeError: it is not JSON.
    """
    # Counted before anything is made: a few bytes of text become a hundred times as many in memory.
    if _is_crowded(text, bounds.values):
        raise UnreadableSource(f"{name} holds more than {bounds.values} values", name=name, limit=bounds.values)
    counted = 0

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal counted
        counted += len(found)
        made = dict(found)
        if len(made) != len(found) or counted > bounds.values:
            raise Unsound
        return made

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_int=integer_of, parse_float=float_of, parse_constant=_no_number
        )
    except (RecursionError, Unsound):
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


def _no_number(text: str) -> NoReturn:
    raise Unsound(f"{text} is not a number of JSON")


def _fits(value: Any, bounds: Bounds) -> bool:
    """Tell whether a value is within bounds and all its text is sound."""
    counted, level = 0, [value]
    for _ in range(bounds.depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(map(is_sound, item)):
                    return False
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and not is_sound(item):
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
                refuse(name, *place_of(text, match.start()), f"this is nested deeper than {bounds.depth} levels")
        elif piece in "}]" and open_:
            open_.pop()
        elif piece == ",":
            counted += 1
            if counted > bounds.values:
                refuse(name, *place_of(text, match.start()), f"there are more than {bounds.values} values")
        elif piece[0] in "-0123456789IN":
            try:
                json.loads(piece, parse_int=integer_of, parse_float=float_of, parse_constant=_no_number)
            except Unsound as error:
                refuse(name, *place_of(text, match.start()), str(error))
        elif piece[0] == '"':
            said = json.loads(piece, strict=False)
            if not is_sound(said):
                refuse(name, *place_of(text, match.start()), "this text has half a character in it (a lone surrogate)")
            keys = open_[-1] if open_ else None
            if keys is not None and before in ("{", ","):
                if said in keys:
                    refuse(name, *place_of(text, match.start()), f"the key {legible(said, limit=60)!r} is given twice")
                keys.add(said)
        before = piece
    raise UnreadableSource(f"{name} holds more than can be read", name=name)
