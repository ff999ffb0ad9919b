"""What every object of the record shares: an id that is known everywhere, and pages with cursors (Relay).

Source: GraphQL Cursor Connections Specification; GraphQL Global Object Identification Specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar, cast

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.cursors import Cursors
from quarterdeck_graphql.limits import LIST_SIZE, MAX_PAGE, WEIGHT

T = TypeVar("T")
_COUNTED: Final = {LIST_SIZE: 1, WEIGHT: 0}


@strawberry.interface(
    description="An object of the record. Its id is the one it has everywhere: in the log, REST, CLI."
)
class Node:
    id: strawberry.ID = strawberry.field(description="The id, the same at every moment.")


@strawberry.type(description="Where a page stands in its connection.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether there are nodes after this page.")
    has_previous_page: bool = strawberry.field(description="Whether the page was asked for with `after`.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first node of the page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last node: `after` of the next page.")


@strawberry.type(description="A node in a page.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="The node's place: `after` of what follows it.")
    node: T = strawberry.field(metadata=_COUNTED, description="The node.")


@strawberry.type(description="A page of nodes.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(metadata=_COUNTED, description="The nodes, in order.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")


class _Edge:
    """An `Edge` that seals its cursor only when it is asked for."""

    __slots__ = ("_cursors", "_key", "node")

    def __init__(self, node: object, key: tuple[Any, ...], cursors: Cursors) -> None:
        self.node = node
        self._key = key
        self._cursors = cursors

    @property
    def cursor(self) -> str:
        return self._cursors.make(*self._key)


def page(
    nodes: Iterable[T], keys: Iterable[tuple[Any, ...]], cursors: Cursors, *, more: bool, after: str | None
) -> Connection[T]:
    """Return a page. `keys` are what the cursors of the nodes seal; `more` tells whether nodes follow."""
    edges = [_Edge(node, key, cursors) for node, key in zip(nodes, keys, strict=True)]
    where = PageInfo(
        has_next_page=more,
        has_previous_page=after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Connection(edges=cast(list[Edge[T]], edges), page_info=where)


def check_first(first: int) -> int:
    """Return the size of a page.

    Raises:
        InvalidInput: not from 1 to 100.
    """
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInput(f"a page holds 1 to {MAX_PAGE} nodes, not {first}", field="first", limit=MAX_PAGE)
    return first
