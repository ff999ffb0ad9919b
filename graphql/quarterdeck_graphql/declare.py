"""Declaring fields: Strawberry's decorators with the type of what they decorate kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import strawberry

F = TypeVar("F", bound=Callable[..., Any])


def resolver(
    description: str, *, metadata: Mapping[Any, Any] | None = None, name: str | None = None
) -> Callable[[F], F]:
    """Return the decorator that makes a method a field; `name` where Python keeps the field's name for itself."""
    return cast(Callable[[F], F], strawberry.field(description=description, metadata=metadata, name=name))


def stream(description: str) -> Callable[[F], F]:
    """Return the decorator that makes a method a subscription."""
    return cast(Callable[[F], F], strawberry.subscription(description=description))
