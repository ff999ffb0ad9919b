"""RFC 8785, the JSON Canonicalization Scheme, for JSON that standards define: any key, and floats.

Facts of our own use the narrower profile of `quarterdeck_domain.canonical`; this is for AuthZEN requests, whose
digests others must be able to compute from what they sent.

Source: RFC 8785 section 3.2; ECMA-262 Number::toString (section 3.2.2.3 of the RFC).
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any, Final

import msgspec

from quarterdeck_domain.errors import InvalidInput

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 64

_sorted = msgspec.json.Encoder(order="sorted")
_quote = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: object) -> str:
    """Return the canonical text of a JSON value.

    Raises:
        InvalidInput: NaN, an infinity, an integer beyond 2^53-1, a lone surrogate, a type that JSON does not have,
            or deeper than any request may be.
    """
    if _is_plain(value, 0):
        with contextlib.suppress(UnicodeEncodeError):
            return _sorted.encode(value).decode()
    pieces: list[str] = []
    _write(value, pieces, 0)
    return "".join(pieces)


def number(value: float) -> str:
    """Return a number as ECMAScript writes it.

    Raises:
        InvalidInput: NaN, an infinity, or an integer beyond 2^53-1.
    """
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise InvalidInput("an integer is beyond 2^53-1; write it as a string")
        return str(value)
    if not math.isfinite(value):
        raise InvalidInput(f"{value!r} is not a JSON number")
    if value == 0:
        return "0"
    digits, exponent = _shortest(abs(value))
    return ("-" if value < 0 else "") + _layout(digits, exponent)


def _is_plain(value: object, depth: int) -> bool:
    """Tell whether a fast sorting encoder writes this value canonically: no floats, ASCII keys, small integers."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER  # type: ignore[operator]
    if depth >= MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_plain(item, depth + 1) for item in value)  # type: ignore[attr-defined]
    return kind is dict and all(
        type(key) is str and key.isascii() and _is_plain(item, depth + 1)
        for key, item in value.items()  # type: ignore[attr-defined]
    )


def _shortest(value: float) -> tuple[str, int]:
    """Return the shortest digits that round-trip, and n with value = 0.digits * 10^n. `repr` finds the same digits."""
    mantissa, _, power = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - leading + int(power or 0)


def _layout(digits: str, exponent: int) -> str:
    count = len(digits)
    if count <= exponent <= 21:
        return digits + "0" * (exponent - count)
    if 0 < exponent <= 21:
        return f"{digits[:exponent]}.{digits[exponent:]}"
    if -6 < exponent <= 0:
        return f"0.{'0' * -exponent}{digits}"
    power = exponent - 1
    point = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{point}e{'+' if power > 0 else '-'}{abs(power)}"


def _write(value: object, pieces: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
    if value is None:
        pieces.append("null")
    elif value is True:
        pieces.append("true")
    elif value is False:
        pieces.append("false")
    elif isinstance(value, str):
        pieces.append(_string(value))
    elif isinstance(value, int | float):
        pieces.append(number(value))
    elif isinstance(value, dict):
        _write_object(value, pieces, depth)
    elif isinstance(value, list | tuple):
        pieces.append("[")
        for place, item in enumerate(value):
            pieces.append("," if place else "")
            _write(item, pieces, depth + 1)
        pieces.append("]")
    else:
        raise InvalidInput(f"{type(value).__name__} is not a JSON value")


def _write_object(value: dict[Any, object], pieces: list[str], depth: int) -> None:
    if not all(isinstance(key, str) for key in value):
        raise InvalidInput("an object has a key that is not text")
    pieces.append("{")
    for place, key in enumerate(sorted(value, key=_utf16)):
        pieces.append("," if place else "")
        pieces.append(_string(key))
        pieces.append(":")
        _write(value[key], pieces, depth + 1)
    pieces.append("}")


def _string(value: str) -> str:
    _utf16(value)
    return _quote(value)


def _utf16(value: str) -> bytes:
    # Keys are ordered by UTF-16 code units, which differs from code points beyond the basic plane.
    try:
        return value.encode("utf-16-be")
    except UnicodeEncodeError:
        raise InvalidInput("text has a lone surrogate; write well-formed Unicode") from None
