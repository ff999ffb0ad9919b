"""Our RFC 8785 profile: the one byte form of every fact.

Narrower than RFC 8785 so that bytes made once can always be parsed and made again:
no floats (money and ratios are decimal strings), integers within 2^53-1, ASCII object keys
(so code-point order is UTF-16 order), no duplicate keys, bounded depth and size, no lone surrogates.

Source: RFC 8785 (JCS); RFC 7493 (I-JSON).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import msgspec

from quarterdeck_domain.errors import NotCanonical

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
MAX_BYTES: Final = 65_535
DIGEST_ALGORITHM: Final = "sha256-jcs-v1"

_encoder = msgspec.json.Encoder(order="sorted")


def encode(value: object, *, max_bytes: int = MAX_BYTES, depth: int = 0) -> bytes:
    """Return the canonical bytes of a JSON value that will stand `depth` levels down in another.

    Raises:
        NotCanonical: a float, an integer beyond 2^53-1, a non-ASCII key, a lone surrogate,
            another Python type, too deep, or too long.
    """
    _check(value, depth)
    try:
        encoded = _encoder.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise NotCanonical(f"cannot be written as JSON: {error}") from None
    if len(encoded) > max_bytes:
        raise NotCanonical(f"{len(encoded)} bytes; at most {max_bytes} are allowed", limit=max_bytes)
    return encoded


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Parse canonical bytes, refusing any other spelling of the same value.

    Raises:
        NotCanonical: not JSON, outside the profile, or not in canonical form.
    """
    if len(data) > max_bytes:
        raise NotCanonical(f"{len(data)} bytes; at most {max_bytes} are allowed", limit=max_bytes)
    value = parse(data, max_bytes=max_bytes)
    if encode(value, max_bytes=max_bytes) != data:
        raise NotCanonical("not in canonical form (sorted keys, no white space, shortest escapes)")
    return value


def parse(data: bytes | str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Parse any JSON text of a value inside the profile; white space and key order are free.

    Raises:
        NotCanonical: not JSON, duplicate keys, or a value outside the profile.
    """
    if len(data) > max_bytes:
        raise NotCanonical(f"{len(data)} bytes; at most {max_bytes} are allowed", limit=max_bytes)
    try:
        value = json.loads(data, object_pairs_hook=_no_duplicates, parse_float=_no_floats, parse_constant=_no_floats)
    except NotCanonical:
        raise
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from None
    _check(value, 0)
    return value


def digest(value: object, *, max_bytes: int = MAX_BYTES) -> str:
    """Return `sha256-jcs-v1:<hex>` over the canonical bytes of a value.

    Raises:
        NotCanonical: as `encode`.
    """
    return f"{DIGEST_ALGORITHM}:{hashlib.sha256(encode(value, max_bytes=max_bytes)).hexdigest()}"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotCanonical("an object has the same key twice")
    return result


def _no_floats(text: str) -> Any:
    raise NotCanonical(f"number {text[:40]!r} is not an integer; write money and ratios as decimal strings")


def _check(value: object, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    kind = type(value)
    if kind is str:
        if not value.isascii():  # type: ignore[attr-defined]
            _check_text(value)  # type: ignore[arg-type]
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise NotCanonical("an integer is beyond 2^53-1; write it as a string")
    elif kind is dict:
        if depth >= MAX_DEPTH:
            raise NotCanonical(f"deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str or not key.isascii():
                raise NotCanonical(f"object key {str(key)[:40]!r} is not ASCII text")
            if item is None or (type(item) is str and item.isascii()):
                continue  # most of what there is, without a call
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise NotCanonical(f"deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth + 1)
    elif kind is float:
        raise NotCanonical(f"{value!r} is a float; write money and ratios as decimal strings")
    else:
        raise NotCanonical(f"{kind.__name__} is not a JSON value")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotCanonical("text has a lone surrogate") from None
