"""Saved questions about reach tell what is only alleged as that: each asks for it wherever the answer says it.

Serves S0-52, S0-72, S3-09.
"""

from __future__ import annotations

from typing import Any

import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    get_named_type,
    parse,
    visit,
)

from quarterdeck_graphql.persisted import operations
from quarterdeck_graphql.schema import schema_text

SCHEMA = build_schema(schema_text())
WAYS = {"Path", "OpenedPath", "Concerned"}
"""What tells by which relations something is reached."""


class Silent(Visitor):
    """Finds where a question is not told what is alleged."""

    def __init__(self, info: TypeInfo, fragments: dict[str, FragmentDefinitionNode]) -> None:
        super().__init__()
        self._info, self._fragments = info, fragments
        self.asked, self.silent = 0, list[str]()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """Look at what is asked of an object."""
        of, parent = get_named_type(self._info.get_type()), self._info.get_parent_type()
        if not isinstance(of, GraphQLObjectType) or parent is None:
            return
        wanted = {"alleged"} & of.fields.keys()
        if of.name == "Relation" and parent.name in WAYS:
            wanted = {"allegedBy"}
        self.asked += bool(wanted)
        if not wanted <= self._fields(node.selection_set):
            self.silent.append(f"{parent.name}.{node.name.value}")

    def _fields(self, asked: SelectionSetNode | None) -> set[str]:
        found: set[str] = set()
        for item in asked.selections if asked is not None else ():
            if isinstance(item, FieldNode):
                found.add(item.name.value)
            elif isinstance(item, FragmentSpreadNode):
                found |= self._fields(self._fragments[item.name.value].selection_set)
        return found


def told(text: str) -> Silent:
    """Return what a question asks of what may be alleged."""
    document, info = parse(text), TypeInfo(SCHEMA)
    fragments = {item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)}
    found = Silent(info, fragments)
    visit(document, TypeInfoVisitor(info, found))
    return found


@pytest.mark.parametrize("name", sorted(operations()))
def test_a_question_asks_what_is_alleged(name: str) -> None:
    """Of what is reached, who reaches, ways, and what is concerned; of the relations of ways, whose word it is."""
    assert told(operations()[name]).silent == []


def test_they_are_asked_at_all() -> None:
    """Of many questions, and one that does not is found."""
    assert sum(bool(told(text).asked) for text in operations().values()) >= 9
    question = "{ now { ways(from: 1, to: 2) { paths { declared relations { id } } } } }"
    assert told(question).silent == ["Ways.paths", "Path.relations"]
