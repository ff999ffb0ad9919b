"""What a document may ask for, before anything runs. Serves DC-06; RELIABILITY 3.6; threat: dear questions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphql import GraphQLError, OperationDefinitionNode, build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_graphql.limits import MAX_NODES, CostRule, aliases_of, depth_of
from quarterdeck_graphql.schema import build_schema as record_schema

SCHEMA = record_schema(introspection=True)._schema


def operation(text: str) -> tuple[Any, OperationDefinitionNode]:
    """Return a document and its first operation."""
    document = parse(text)
    found = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return document, found


def cost(text: str, variables: dict[str, Any] | None = None) -> int:
    """Return the cost of a document."""
    return CostRule(SCHEMA, *operation(text), variables).nodes()


def refusal(text: str, variables: dict[str, Any] | None = None) -> GraphQLError:
    """Return the error with which a document is refused."""
    with pytest.raises(GraphQLError) as refused:
        CostRule(SCHEMA, *operation(text), variables).check()
    return refused.value


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("{a}", 1),
        ("{a{b{c}}}", 3),
        ("{a{b} c{d{e}}}", 3),
        ("{...f} fragment f on Query{a{b}}", 2),
        ("{a{...f}} fragment f on X{b{...g}} fragment g on Y{c}", 3),
        ("{a{... on X{b}}}", 2),
        ("{__schema{types{name}} a}", 1),
        ("{...f} fragment f on Query{...f a}", 1),
        ("{...missing}", 0),
    ],
)
def test_depth_is_how_many_fields_lie_below_each_other(text: str, depth: int) -> None:
    """Fragments count as what they hold; introspection has its own rule; circles are for another rule to refuse."""
    assert depth_of(*operation(text)) == depth


@pytest.mark.parametrize(
    ("text", "aliases"),
    [
        ("{a}", 0),
        ("{x:a y:a}", 2),
        ("{x:a{y:b}}", 2),
        ("{...f ...f} fragment f on Query{x:a}", 2),
        ("{...f} fragment f on Query{...g ...g} fragment g on Query{x:a y:a}", 4),
    ],
)
def test_an_alias_counts_as_often_as_its_fragment_is_spread(text: str, aliases: int) -> None:
    """Otherwise a few fragments would multiply the work unseen."""
    assert aliases_of(*operation(text)) == aliases


def test_fragments_that_double_are_measured_at_once() -> None:
    """Ninety fragments, each spread twice in the one before: 2^90 paths, measured once each."""
    doubling = "".join(f" fragment f{i} on Record{{...f{i + 1} ...f{i + 1}}}" for i in range(90))
    text = f"{{now{{...f0}}}}{doubling} fragment f90 on Record{{x:approvals(first:2){{edges{{node{{id}}}}}}}}"
    began = time.perf_counter()
    assert aliases_of(*operation(text)) == 2**90
    assert cost(text) == 2 * 2**90
    assert refusal(text).extensions is not None
    assert time.perf_counter() - began < 5


PAGE = "{{ now {{ {0} {{ edges {{ node {{ id }} }} }} }} }}"


@pytest.mark.parametrize(
    ("text", "variables", "nodes"),
    [
        ("{now{position}}", None, 0),
        ("{now{tenant{id}}}", None, 1),
        ("{now{approvals(first:7){edges{node{id}}}}}", None, 7),
        ("{now{approvals(first:7){edges{node{id requester{id}}}}}}", None, 14),
        ("{now{approvals(first:7){edges{node{id votes{id}}}}}}", None, 77),
        ("{now{approvals(first:7){edges{node{id votes{approver{id}}}}}}}", None, 147),
        ("{now{policyBundles(first:3){edges{node{text{policies}}}}}}", None, 153),
        ("{now{approvals(first:7){edges{cursor} pageInfo{endCursor}}}}", None, 7),
        ("query($n:Int!){now{approvals(first:$n){edges{node{id}}}}}", {"n": 9}, 9),
        ("query($n:Int!=4){now{approvals(first:$n){edges{node{id}}}}}", {}, 4),
        ("query($n:Int!){now{approvals(first:$n){edges{node{id}}}}}", {"n": "many"}, 100),
        ("query($n:Int!){now{approvals(first:$n){edges{node{id}}}}}", {"n": True}, 100),
        ("{now{...f}} fragment f on Record{approvals(first:5){edges{node{id}}}}", None, 5),
        ('{node(id:"x"){... on Approval{grant{effect{id}}}}}', None, 3),
        ('{explain(id:"x"){events{position}}}', None, 60),
        ("subscription{timeline{position}}", None, 1),
    ],
)
def test_cost_is_the_nodes_an_answer_could_hold(text: str, variables: dict[str, Any] | None, nodes: int) -> None:
    """The product of the page sizes down each path, added up; a list that is no page is reckoned with ten."""
    assert cost(text, variables) == nodes


def test_what_is_too_dear_is_refused_with_what_would_do() -> None:
    """The largest page that fits beside the rest, for each of the widest."""
    text = "{now{approvals(first:100){edges{node{votes{id}}}} decisions(first:50){edges{node{id}}}}}"
    error = refusal(text)
    assert error.extensions is not None
    assert error.extensions["code"] == "too_costly"
    assert (error.extensions["cost"], error.extensions["limit"]) == (1150, MAX_NODES)
    assert error.extensions["admissible"] == [
        {"path": "now.approvals", "first": 100, "admissible": 86},
        {"path": "now.decisions", "first": 50, "admissible": 0},
    ]
    CostRule(SCHEMA, *operation(text.replace("100", "86")), None).check()
    refusal(text.replace("100", "87"))


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100))
def test_whatever_is_called_admissible_is_admitted(one: int, two: int, three: int) -> None:
    """Each hint by itself, put in place of the size that was asked for."""
    text = (
        "query($a:Int!,$b:Int!,$c:Int!){now{"
        "approvals(first:$a){edges{node{votes{approver{id}} grant{effect{id}}}}}"
        "decisions(first:$b){edges{node{bundle{id}}}} principals(first:$c){edges{node{owner{id}}}}}}"
    )
    sizes = {"a": one, "b": two, "c": three}
    names = {"now.approvals": "a", "now.decisions": "b", "now.principals": "c"}
    rule = CostRule(SCHEMA, *operation(text), sizes)
    assert rule.nodes() == one * 23 + two * 2 + three * 2
    if rule.nodes() <= MAX_NODES:
        rule.check()
        return
    extensions = refusal(text, sizes).extensions or {}
    for hint in extensions["admissible"]:
        name = names[hint["path"]]
        if hint["admissible"]:
            CostRule(SCHEMA, *operation(text), sizes | {name: hint["admissible"]}).check()
        if hint["admissible"] < 100:
            refusal(text, sizes | {name: hint["admissible"] + 1})


@pytest.mark.parametrize("first", ["0", "-1", "101", "2147483647", "9" * 400])
def test_a_page_holds_one_to_a_hundred(first: str) -> None:
    """Said with the place and the limit."""
    error = refusal(PAGE.format(f"approvals(first: {first})"))
    assert error.extensions is not None
    assert (error.extensions["code"], error.extensions["path"]) == ("invalid_input", "now.approvals")


def test_another_schema_s_lists_are_reckoned_with_too() -> None:
    """A list without a declared size counts as ten, a node as one, whatever the schema is called."""
    schema = build_schema("interface Node{id:ID} type A implements Node{id:ID b:[A] c:A} type Query{a:A}")
    assert CostRule(schema, *operation("{a{b{c{id}}}}"), None).nodes() == 1 + 10 * 2
