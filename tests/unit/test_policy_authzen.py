"""AuthZEN requests: what is read, what is refused, and the texts and hashes that bind an answer to a request.

Serves DC-07, S0-74, S0-162.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_policy.authzen import (
    MAX_BODY_BYTES,
    MAX_EVALUATIONS,
    MAX_ID,
    MAX_REQUEST_BYTES,
    binding_context,
    binding_hash,
    intent_of,
    intent_text,
    parse_evaluation,
    parse_evaluations,
    parse_json,
    request_text,
)

PLAIN: dict[str, Any] = {
    "subject": {"type": "agent", "id": "bot"},
    "action": {"name": "refund", "properties": {"amount": 500.0, "currency": "EUR"}},
    "resource": {"type": "order", "id": "A-1"},
}


def body(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (PLAIN | changes).items() if value is not ...}).encode()


def test_a_request_is_read() -> None:
    intent = parse_evaluation(body(context={"time": "now"}))
    assert intent.subject == Entity(type="agent", id="bot")
    assert intent.action == Action(name="refund", properties={"amount": 500.0, "currency": "EUR"})
    assert intent.resource.ref == "order:A-1"
    assert intent.context == {"time": "now"}


def test_unknown_fields_are_ignored_everywhere_the_standard_says_so() -> None:
    wider = body(
        extra=[1],
        options={"x": 1},
        subject={"type": "agent", "id": "bot", "issuer": "x"},
        action=PLAIN["action"] | {"version": 2},
        resource={"type": "order", "id": "A-1", "rev": None},
    )
    assert parse_evaluation(wider) == parse_evaluation(body())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": ...}, "subject"),
        ({"action": ...}, "action"),
        ({"resource": ...}, "resource"),
        ({"subject": "alice"}, "subject"),
        ({"subject": None}, "subject"),
        ({"subject": {"type": "user"}}, "subject.id"),
        ({"subject": {"id": "a"}}, "subject.type"),
        ({"subject": {"type": "user", "id": 5}}, "subject.id"),
        ({"subject": {"type": "user", "id": ""}}, "subject.id"),
        ({"subject": {"type": "user", "id": "x" * (MAX_ID + 1)}}, "subject.id"),
        ({"subject": {"type": "", "id": "a"}}, "subject.type"),
        ({"subject": {"type": "user", "id": "a", "properties": []}}, "subject.properties"),
        ({"subject": {"type": "user", "id": "a", "properties": None}}, "subject.properties"),
        ({"action": {}}, "action.name"),
        ({"action": {"name": ["read"]}}, "action.name"),
        ({"action": {"name": "x", "properties": "y"}}, "action.properties"),
        ({"resource": {"type": "a", "id": True}}, "resource.id"),
        ({"context": []}, "context"),
        ({"context": None}, "context"),
    ],
)
def test_a_malformed_request_is_refused_by_the_name_of_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_evaluation(body(**changes))
    assert refused.value.details["field"] == field
    assert field in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}}",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":9007199254740993.0}',
        b'{"a":8.888888888e17}',
        b'{"a":1e300}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 60_000,
        b'{"a":"' + b"x" * MAX_BODY_BYTES + b'"}',
    ],
)
def test_what_is_not_i_json_within_the_limits_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_evaluation(text)


def test_a_request_that_could_not_be_recorded_is_refused() -> None:
    with pytest.raises(InvalidInput, match="canonical form"):
        parse_evaluation(body(context={"note": "x" * MAX_REQUEST_BYTES}))


def test_the_texts_are_canonical_and_tell_absent_from_empty() -> None:
    intent = parse_evaluation(body())
    assert intent_text(intent) == (
        '{"action":{"name":"refund","properties":{"amount":500,"currency":"EUR"}},'
        '"resource":{"id":"A-1","type":"order"},"subject":{"id":"bot","type":"agent"}}'
    )
    assert request_text(intent) == intent_text(intent)
    with_context = parse_evaluation(body(context={}))
    assert '"context":{}' in request_text(with_context)
    assert intent_text(with_context) == intent_text(intent)
    empty = parse_evaluation(body(subject={"type": "agent", "id": "bot", "properties": {}}))
    assert intent_text(empty) != intent_text(intent)


NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | st.floats(-1e-3, 1e-3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PROPERTIES = st.none() | st.dictionaries(TEXTS, VALUES, max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ENTITIES = st.builds(Entity, type=NAMES, id=NAMES, properties=PROPERTIES)
INTENTS = st.builds(
    Intent,
    subject=ENTITIES,
    action=st.builds(Action, name=NAMES, properties=PROPERTIES),
    resource=ENTITIES,
    context=PROPERTIES,
)


@given(INTENTS)
def test_a_recorded_request_reads_back_to_the_same_text(intent: Intent) -> None:
    text = request_text(intent)
    again = intent_of(parse_json(text.encode()))
    assert request_text(again) == text
    assert intent_text(again) == intent_text(intent)
    assert binding_hash(again) == binding_hash(intent)


def reference_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def test_the_binding_hash_is_the_one_of_the_draft() -> None:
    intent = parse_evaluation(body(context={"ticket": "T-1", "time": "2026-01-01T00:00:00Z"}))
    triple = '"resource":{"id":"A-1","type":"order"},"subject":{"id":"bot","type":"agent"}}'
    action = '{"action":{"name":"refund","properties":{"amount":500,"currency":"EUR"}},'
    assert binding_hash(intent) == reference_hash(f'{action}"context":{{}},{triple}')
    assert binding_hash(intent, ("ticket",)) == reference_hash(f'{action}"context":{{"ticket":"T-1"}},{triple}')
    assert binding_hash(intent, ("absent",)) == binding_hash(intent)
    assert "=" not in binding_hash(intent)


def test_the_actor_of_the_subject_is_not_bound_and_everything_else_is() -> None:
    plain = parse_evaluation(body(subject={"type": "agent", "id": "bot", "properties": {"team": "x"}}))
    acting = parse_evaluation(
        body(subject={"type": "agent", "id": "bot", "properties": {"team": "x", "act": {"sub": "other"}}})
    )
    assert binding_hash(plain) == binding_hash(acting)
    assert intent_text(plain) != intent_text(acting)
    for changed in (
        body(action={"name": "refund", "properties": {"amount": 500.01, "currency": "EUR"}}),
        body(action={"name": "refunds", "properties": {"amount": 500, "currency": "EUR"}}),
        body(resource={"type": "order", "id": "A-2"}),
        body(resource={"type": "order", "id": "A-1", "properties": {}}),
        body(subject={"type": "agent", "id": "bot2"}),
    ):
        assert binding_hash(parse_evaluation(changed)) != binding_hash(parse_evaluation(body()))


def test_bound_context_is_what_policy_reads_without_the_volatile() -> None:
    intent = parse_evaluation(body(context={"ticket": 1, "time": 2, "approval": {"id": "a"}, "b": 3}))
    assert binding_context(intent, frozenset({"ticket", "time", "approval", "elsewhere"})) == ("elsewhere", "ticket")
    assert binding_context(intent, None) == ("b", "ticket")
    assert binding_context(intent, frozenset()) == ()


def test_evaluations_take_defaults_from_the_top_and_keep_malformed_items_in_place() -> None:
    batch = parse_evaluations(
        body(
            context={"a": 1},
            evaluations=[
                {},
                {"resource": {"type": "order", "id": "A-2"}, "context": {"b": 2}},
                {"subject": {"type": "x"}},
                7,
            ],
            options={"evaluations_semantic": "deny_on_first_deny", "other": 1},
        )
    )
    first, second, third, fourth = batch.items
    assert batch.semantic == "deny_on_first_deny"
    assert not batch.single
    assert isinstance(first, Intent)
    assert first.context == {"a": 1}
    assert isinstance(second, Intent)
    assert (second.resource.id, second.context) == ("A-2", {"b": 2})
    assert isinstance(third, InvalidInput)
    assert third.details["field"] == "evaluations[2].subject.id"
    assert isinstance(fourth, InvalidInput)


@pytest.mark.parametrize("evaluations", [..., []])
def test_without_evaluations_it_is_a_single_request(evaluations: object) -> None:
    batch = parse_evaluations(body(evaluations=evaluations))
    assert batch.single
    assert batch.items == (parse_evaluation(body()),)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluations": {}},
        {"evaluations": None},
        {"evaluations": [{}], "options": []},
        {"evaluations": [{}], "options": {"evaluations_semantic": "all"}},
        {"evaluations": [{}], "options": {"evaluations_semantic": None}},
        {"evaluations": [{}] * (MAX_EVALUATIONS + 1)},
        {"evaluations": [{}], "subject": "alice"},
        {"evaluations": [{}], "context": 1},
        {"evaluations": [], "subject": ...},
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_evaluations(body(**changes))
