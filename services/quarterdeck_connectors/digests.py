"""The digest of a JSON value that comes from outside, where our own profile (no floats, ASCII keys) does not hold.

Two spellings of one value have one digest: whitespace, the order of keys, `1.0` for `1` make no difference.

Source: RFC 8785 (JCS), sections 3.2.2 and 3.2.3; numbers as ECMA-262, section 6.1.6.1.20.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, Final

_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def digest_of_json(value: Any) -> str:
    """Return `sha256:<hex>` over the canonical form of a value of plain JSON types: bounded in depth, sound Unicode.

    Raises:
        TypeError: another type, or a number that JSON does not have.
    """
    return digest_of_bytes(canonical_json(value).encode())


def digest_of_bytes(data: bytes) -> str:
    """Return `sha256:<hex>` over bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_json(value: Any) -> str:
    """Return the canonical form as text. An integer beyond what JSON holds exactly keeps its digits: it is digested,
    and read by nobody."""
    if value is None or isinstance(value, bool | str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical_json, value))}]"
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return f"{{{','.join(f'{canonical_json(key)}:{canonical_json(item)}' for key, item in ordered)}}}"
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise TypeError(f"{value} is no number of JSON")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if 0 < point <= 21:
        whole = text.ljust(point, "0")
        made = whole[:point] + (f".{whole[point:]}" if len(whole) > point else "")
    elif -6 < point <= 0:
        made = f"0.{'0' * -point}{text}"
    else:
        mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
        made = f"{mantissa}e{point - 1:+d}"
    return f"-{made}" if sign else made
