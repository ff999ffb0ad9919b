"""Declaring fields: Strawberry's decorators with the type of what they decorate kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import strawberry

F = TypeVar("F", bound=Callable[..., Any])


def resolver(description: str, *, metadata: Mapping[Any, Any] | None = None) -> Callable[[F], F]:
    """Return the decorator that makes a method a field."""
    return cast(Callable[[F], F], strawberry.field(description=description, metadata=metadata))


def stream(description: str) -> Callable[[F], F]:
    """Return the decorator that makes a method a subscription."""
    return cast(Callable[[F], F], strawberry.subscription(description=description))
