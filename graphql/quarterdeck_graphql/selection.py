"""What a document asks for below a field, so that nothing is fetched or opened that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

from quarterdeck_graphql.context import Info


def selects(info: Info, *names: str) -> bool:
    """Tell whether a field of one of these names stands anywhere below the field that is being resolved."""
    raw = info._raw_info
    return _any(raw.field_nodes, frozenset(names), raw.fragments, set())


def _any(nodes: Iterable[Any], names: frozenset[str], fragments: Any, seen: set[str]) -> bool:
    for node in nodes:
        below: SelectionSetNode | None = node.selection_set
        for child in below.selections if below else ():
            if isinstance(child, FieldNode):
                if child.name.value in names or _any((child,), names, fragments, seen):
                    return True
            elif isinstance(child, InlineFragmentNode):
                if _any((child,), names, fragments, seen):
                    return True
            elif isinstance(child, FragmentSpreadNode) and child.name.value not in seen:
                seen.add(child.name.value)
                if _any((_body(fragments, child.name.value),), names, fragments, seen):
                    return True
    return False


def _body(fragments: Any, name: str) -> Any:
    found = fragments[name]
    return getattr(found, "definition", found)
