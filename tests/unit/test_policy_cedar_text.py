"""Policy text is cut and measured before Cedar's recursive parser sees it, without changing what it means.

Serves S0-66, S0-82.
"""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.policy.values import BundleText
from quarterdeck_policy.cedar_text import MAX_NESTING, MAX_TOKENS, Unreadable, check_nesting, split_policies
from quarterdeck_policy.engine import Engine
from quarterdeck_policy.errors import InvalidBundle

TRICKY = """// a comment with ; and "quotes" and permit(
@id("one")  // @id("zero")
@reason("a; b \\" permit(principal, action, resource); //")
permit (principal is Ns::T in G::"x;\\")", action in [Action::"a", Action::"b//"], resource)
when { context["a;}"] like "*;*" && {"a": 1, b: [2]} has b };
@permit("(") @id("two") forbid(principal,action,resource)unless{context has "x"};permit(principal,action,resource);
"""


def test_policies_are_cut_at_their_ends_and_nowhere_else() -> None:
    pieces = split_policies(TRICKY)
    assert [piece.line for piece in pieces] == [2, 6, 6]
    whole = json.loads(cedarpy.policies_to_json_str(TRICKY))["staticPolicies"]
    for number, piece in enumerate(pieces):
        alone = json.loads(cedarpy.policies_to_json_str(piece.text))["staticPolicies"]
        head = json.loads(cedarpy.policies_to_json_str(piece.head))["staticPolicies"]
        assert list(alone) == list(head) == ["policy0"]
        assert alone["policy0"] == whole[f"policy{number}"]
        assert head["policy0"] == whole[f"policy{number}"] | {"conditions": []}


@pytest.mark.parametrize(
    ("condition", "members"),
    [
        ("true", set()),
        ("context.a == 1 && context.b.c == 2", {"a", "b"}),
        ('context["a b"] == 1 && context has "d e"', {"a b", "d e"}),
        ("context has a && context has b.c.d", {"a", "b"}),
        ("principal.context == 1 && resource has context", set()),
        ("{context: 1} == {b: context.a}", {"a"}),
        ("context == {}", None),
        ("[context].contains(1)", None),
        ("{a: context} == 1", None),
        ('context["a\\u{62}"] == 1', None),
        ("if context.x then context.y else context.z", {"x", "y", "z"}),
        ('"context.a" == "context"', set()),
    ],
)
def test_the_members_of_context_that_a_policy_reads(condition: str, members: set[str] | None) -> None:
    (policy,) = split_policies(f"permit(principal, action, resource) when {{ {condition} }};")
    cedarpy.PolicySet.from_str(policy.text)
    assert policy.context_members == (None if members is None else frozenset(members))


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ('context.verified.now > datetime("2026-01-01")', True),
        ('context["verified"]["now"] == 1', True),
        ("context.verified has now", True),
        ('context["verified"]["no\\u{77}"] == 1', True),
        ("context.verified.caller.kind == 1", False),
    ],
)
def test_whether_a_policy_reads_the_clock(condition: str, reads: bool) -> None:
    (policy,) = split_policies(f"permit(principal, action, resource) when {{ {condition} }};")
    assert policy.reads_clock is reads


HEAD = "permit(principal,action,resource) when {"
DEEP = {
    "parentheses": HEAD + "(" * 20_000 + "true" + ")" * 20_000 + "};",
    "sets": HEAD + "[" * 20_000 + "1" + "]" * 20_000 + " == 1};",
    "records": HEAD + "{a:" * 5_000 + "1" + "}" * 5_000 + " == 1};",
    "open": HEAD + "(" * 20_000,
    "if": HEAD + "if true then " * 600 + "true" + " else false" * 600 + "};",
    "else if": HEAD + "if false then true else " * 600 + "true};",
    "long": HEAD + "true && " * 20_000 + "true};",
    "dots": HEAD + "context" + ".a" * 20_000 + "};",
}


@pytest.mark.parametrize("kind", sorted(DEEP))
def test_text_that_would_overflow_cedars_stack_never_reaches_it(kind: str) -> None:
    with pytest.raises(InvalidBundle):
        Engine().load(BundleText(policies='@id("a") ' + DEEP[kind]))


@pytest.mark.parametrize(
    "schema", ["entity A = {x: " + "Set<" * 5_000 + "Long" + ">" * 5_000 + "};", "entity A = " + "{x: " * 5_000]
)
def test_a_schema_that_would_overflow_cedars_stack_never_reaches_it(schema: str) -> None:
    with pytest.raises(InvalidBundle, match="nested"):
        Engine().load(BundleText(policies="", cedar_schema=schema))


@pytest.mark.parametrize(
    "worst",
    [
        "(" * (MAX_NESTING - 2) + "true" + ")" * (MAX_NESTING - 2),
        "if true then " * MAX_NESTING + "true" + " else false" * MAX_NESTING,
        "true" + " && true" * ((MAX_TOKENS - 20) // 2),
        "1" + " + 1" * ((MAX_TOKENS - 30) // 2) + " == 1",
        "context" + ".a" * ((MAX_TOKENS - 30) // 2) + " == 1",
    ],
)
def test_the_worst_text_within_the_limits_is_read_and_asked_without_harm(worst: str) -> None:
    text = f'@id("a") permit(principal, action, resource) when {{ {worst} }};'
    loaded = Engine().load(BundleText(policies=text))
    assert len(loaded) == 1


@pytest.mark.parametrize("text", ['permit "', "permit(a);'", '@id("a") permit(principal, action, resource)', "};"])
def test_unfinished_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidBundle):
        Engine().load(BundleText(policies=text))


@given(st.text(st.sampled_from('@id("a") permit(principal,action,resource)when{}true;//\n\\"&|<[]{}'), max_size=80))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        pieces = split_policies(text)
        check_nesting(text, "schema")
    except Unreadable:
        return
    assert all(piece.text in text for piece in pieces)
