"""From a call to the arguments that are approved: every argument by its name, as plain JSON.

What cannot be written as JSON without doubt is refused: an argument that is not bound could change after the approval.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from quarterdeck.errors import NotConfigured

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 24


def bound_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any], exclude: Collection[str]
) -> dict[str, Any]:
    """Return the arguments of a call by name, defaults included, those in `exclude` left out.

    Raises:
        TypeError: the call does not fit the signature, as calling the function would say.
    """
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name not in exclude}


def receiver(fn: Callable[..., Any], signature: inspect.Signature) -> frozenset[str]:
    """Return the name of a method's own object, which is no argument; nothing for a plain function."""
    first = next(iter(signature.parameters), None)
    name: str = getattr(fn, "__qualname__", "")
    is_method = first in ("self", "cls") and "." in name.rpartition("<locals>.")[2]
    return frozenset({first}) if is_method and first is not None else frozenset()


def as_json(value: Any, where: str, depth: int = 0) -> Any:
    """Return a fresh plain JSON value. Decimals, moments, UUIDs and enums become text; dataclasses become objects.

    Raises:
        NotConfigured: it is something else, not finite, too large or too deep.
    """
    if depth > MAX_DEPTH:
        raise NotConfigured(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Enum):
        return as_json(value.value, where, depth + 1)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotConfigured(f"{where} is beyond 2^53-1, which JSON readers round; pass it as text")
        return int(value)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, float | Decimal):
        return _number(value, where)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    elif callable(dump := getattr(value, "model_dump", None)):
        value = dump(mode="json")
    if isinstance(value, Mapping):
        return {_key(key, where): as_json(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    raise NotConfigured(
        f"{where} is a {type(value).__name__}, which cannot be shown to whoever approves; pass plain values, or name "
        "it in exclude= if it does not decide what happens"
    )


def _number(value: float | Decimal, where: str) -> float | str:
    if not math.isfinite(value):
        raise NotConfigured(f"{where} is {value}, which is not a number of JSON")
    return format(value, "f") if isinstance(value, Decimal) else float(value)


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotConfigured(f"{where} is not well-formed text: it has a lone surrogate") from None
    return str(value)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise NotConfigured(f"{where} has the key {key!r}; keys of JSON objects are text")
    return _text(key, where)
