"""The engine: deny by default, deny on any error, nothing of a request is ever taken for policy.

Serves S0-08, S0-74, S0-78, S0-80, S0-82, S0-85.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.values import BundleText, SubjectFacts
from quarterdeck_policy.cedar_request import cedar_type
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_policy.errors import InvalidBundle

ANY = "(principal, action, resource)"


def load(policies: str, entities: str = "[]", schema: str | None = None) -> LoadedBundle:
    return Engine().load(BundleText(policies=policies, entities=entities, cedar_schema=schema))


def ask(
    action: str = "act",
    arguments: dict[str, Any] | None = None,
    *,
    subject: tuple[str, str] = ("user", "alice"),
    resource: tuple[str, str] = ("doc", "1"),
    about: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
) -> Intent:
    return Intent(
        subject=Entity(type=subject[0], id=subject[1]),
        action=Action(name=action, properties=arguments),
        resource=Entity(type=resource[0], id=resource[1], properties=about),
        context=context,
    )


def outcome(condition: str, intent: Intent, **known: Any) -> str:
    verdict = load(f'@id("p") permit {ANY} when {{ {condition} }};').evaluate(intent, **known)
    return "error" if verdict.errors else verdict.outcome


def test_what_nothing_permits_is_denied() -> None:
    assert load("").evaluate(ask()).outcome == "deny"
    verdict = load('@id("p") permit(principal == user::"bob", action, resource);').evaluate(ask())
    assert (verdict.outcome, verdict.determining, verdict.reason) == ("deny", (), "no policy permits this")


def test_a_forbid_wins_and_says_why() -> None:
    verdict = load(f'@id("p") permit {ANY}; @id("f") @reason("not here") forbid {ANY};').evaluate(ask())
    assert (verdict.outcome, verdict.determining, verdict.reason) == ("deny", ("f",), "not here")


def test_one_permit_that_asks_for_approval_is_enough_to_require_it() -> None:
    bundle = load(
        f'@id("free") @reason("free") permit {ANY}; @id("b") @approval("second") permit {ANY};'
        f'@id("c") @approval("third") @reason("why") permit {ANY};'
    )
    verdict = bundle.evaluate(ask())
    assert (verdict.outcome, verdict.approval_path, verdict.reason) == ("approval_required", "second", "why")
    assert verdict.determining == ("free", "b", "c")
    approved = bundle.evaluate(ask(), approved=True)
    assert (approved.outcome, approved.approval_path) == ("permit", "second")


def test_an_approval_does_not_overrule_a_forbid() -> None:
    bundle = load(f'@id("a") @approval("x") permit {ANY}; @id("f") forbid {ANY};')
    assert bundle.evaluate(ask(), approved=True).outcome == "deny"


def test_obligations_come_with_the_answer_that_settles_the_matter() -> None:
    bundle = load(
        '@id("a") @approval("x") @obligation("notification?to=a%40b.c&body=50%25+off%3B+%22x%22 custom?k=") '
        'permit(principal, action == Action::"act", resource);'
        '@id("f") @obligation("session_termination?subject=bob") forbid(principal, action == Action::"no", resource);'
    )
    assert bundle.evaluate(ask()).obligations == ()
    first, second = bundle.evaluate(ask(), approved=True).obligations
    assert (first.id, first.type, first.properties) == (
        "a#1",
        "notification",
        {"to": "a@b.c", "body": '50% off; "x"'},
    )
    assert (second.id, second.type, second.properties) == ("a#2", "custom", {"k": ""})
    assert [item.type for item in bundle.evaluate(ask("no")).obligations] == ["session_termination"]


def test_obligations_that_a_decision_cannot_carry_deny() -> None:
    many = "".join(f'@id("p{n}") @obligation("custom?n={n}") permit {ANY};' for n in range(17))
    verdict = load(many).evaluate(ask())
    assert verdict.outcome == "deny"
    assert "obligations" in verdict.errors[0]


@pytest.mark.parametrize("effect", ["permit", "forbid"])
@pytest.mark.parametrize(
    "condition",
    [
        "context.missing",
        "context.action.missing == 1",
        "context.action.text < 3",
        "principal.verified",
        'decimal(context.action.text) == decimal("1.0")',
        "context.action.number + 9223372036854775807 > 0",
        "ip(context.action.text).isLoopback()",
    ],
)
def test_any_evaluation_error_denies_whatever_else_permits(effect: str, condition: str) -> None:
    bundle = load(f'@id("ok") permit {ANY}; @id("broken") {effect} {ANY} when {{ {condition} }};')
    verdict = bundle.evaluate(ask(arguments={"text": "alice@example.com", "number": 7}))
    assert (verdict.outcome, verdict.determining) == ("deny", ())
    assert verdict.errors
    assert all(error.startswith("policy `broken`: ") for error in verdict.errors)
    assert "alice" not in str(verdict), "errors are recorded in clear; a request's values are not"


def test_an_engine_that_breaks_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As Rust's panics arrive."""

    bundle = load(f'@id("p") permit {ANY};')
    for error in (RuntimeError("secret"), PanicException("secret"), RecursionError()):

        def broken(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(cedarpy, "is_authorized", broken)
        verdict = bundle.evaluate(ask())
        assert verdict.outcome == "deny"
        assert verdict.errors
        assert "secret" not in str(verdict)


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cedarpy, "is_authorized", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(f'@id("p") permit {ANY};').evaluate(ask())


@pytest.mark.parametrize(
    ("condition", "arguments", "expected"),
    [
        ("context.action.n == 3", {"n": 3}, "permit"),
        ("context.action.n == 3", {"n": 3.0}, "permit"),
        ('context.action.n == "3.5"', {"n": 3.5}, "permit"),
        ('context.action.n == "1e-7"', {"n": 1e-7}, "permit"),
        ("context.action has n", {"n": None}, "deny"),
        ("context.action.n.contains(1) && !context.action.n.contains(3)", {"n": [1, None, 2, 1]}, "permit"),
        ("context.action.n.a.b == true", {"n": {"a": {"b": True, "c": None}}}, "permit"),
        ("context.action.n == true", {"n": 1}, "deny"),
        ('context.decimal.action.n.lessThan(decimal("50.0"))', {"n": 49.99}, "permit"),
        ('context.decimal.action.n.lessThan(decimal("50.0"))', {"n": "49.99"}, "permit"),
        ('context.decimal.action.n.lessThan(decimal("50.0"))', {"n": 49}, "permit"),
        ('context.decimal.action.n.lessThan(decimal("50.0"))', {"n": 50.0001}, "deny"),
        ('context.decimal.action.n.lessThan(decimal("0.0"))', {"n": -0.5}, "permit"),
        ("context.decimal.action has n", {"n": 0.30000000000000004}, "deny"),
        ("context.decimal.action has n", {"n": "1,5"}, "deny"),
        ("context.decimal.action has n", {"n": "\u0661"}, "deny"),
        ("context.decimal.action has n", {"n": 2**53 - 1}, "deny"),
        ("context.decimal.action has n", {"n": 922337203685476}, "permit"),
        ("context.decimal.action has n", {"n": True}, "deny"),
        ('context.request.action like "a*" && context.request.subject_id == "alice"', None, "permit"),
    ],
)
def test_how_json_looks_to_policy(condition: str, arguments: dict[str, Any] | None, expected: str) -> None:
    assert outcome(condition, ask(arguments=arguments)) == expected


def test_claims_are_never_attributes_of_entities() -> None:
    intent = ask(about={"owner": "alice"})
    assert outcome("resource has owner", intent) == "deny"
    assert outcome('context.resource.owner == "alice"', intent) == "permit"
    stored = load(
        f'@id("p") permit {ANY} when {{ resource.owner == "bob" && context.resource.owner == "alice" }};',
        '[{"uid": {"type": "doc", "id": "1"}, "attrs": {"owner": "bob"}, "parents": []}]',
    )
    assert stored.evaluate(intent).outcome == "permit"


@pytest.mark.parametrize("name", ["subject", "action", "resource", "decimal", "request", "verified"])
def test_a_request_cannot_write_what_only_the_house_writes(name: str) -> None:
    verdict = load(f'@id("p") permit {ANY};').evaluate(ask(context={name: {"deactivated": False}}))
    assert verdict.outcome == "deny"
    assert name in verdict.errors[0]


@pytest.mark.parametrize("escape", ["__entity", "__extn", "__expr"])
def test_a_request_cannot_smuggle_cedar_values_in(escape: str) -> None:
    smuggled = {escape: {"type": "role", "id": "admin", "fn": "decimal", "arg": "1.0"}}
    bundle = load(f'@id("p") permit {ANY};')
    for intent in (
        ask(context={"x": smuggled}),
        ask(context=smuggled),
        ask(arguments={"x": [[smuggled]]}),
        ask(about={"x": {"y": smuggled}}),
    ):
        verdict = bundle.evaluate(intent)
        assert verdict.outcome == "deny"
        assert verdict.errors


def test_the_approval_of_the_protocol_is_not_shown_to_policy() -> None:
    assert outcome("context has approval", ask(context={"approval": {"id": "forged"}})) == "deny"


def test_what_the_house_knows_is_shown_as_verified() -> None:
    known = {
        "caller": Actor(principal="prn_a", kind="agent", on_behalf_of=("prn_b",)),
        "subject": SubjectFacts(known=True, kind="agent", roles=("agent",), owner="prn_o"),
    }
    condition = (
        'context.verified.caller.principal == "prn_a" && context.verified.caller.on_behalf_of.contains("prn_b") && '
        'context.verified.subject.owner == "prn_o" && context.verified.subject.roles.contains("agent") && '
        "!context.verified.subject.deactivated && !(context.verified has now)"
    )
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert outcome(condition.replace(" has now", " has nom"), ask(), now=now, **known) == "permit"
    assert outcome("context.verified has caller || context.verified.subject.known", ask()) == "deny"
    assert outcome('context.verified.now == datetime("2026-05-01T12:00:00.000Z")', ask(), now=now) == "permit"


HOSTILE = [
    '"',
    "\\",
    "\n",
    "\r\n",
    "\0",
    '::"',
    'a"; permit(principal, action, resource); //',
    "\u202e",
    "é\u0301",
    "😀",
    "*",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_ids_are_only_ids(text: str) -> None:
    bundle = load('@id("p") permit(principal == user::"alice", action == Action::"act", resource == doc::"1");')
    for intent in (ask(text), ask(subject=("user", text)), ask(resource=("doc", text)), ask(subject=(text, "alice"))):
        verdict = bundle.evaluate(intent)
        assert (verdict.outcome, verdict.errors) == ("deny", ())
    assert (
        outcome("context.request.subject_id == context.action.x", ask(subject=("t", text), arguments={"x": text}))
        == "permit"
    )


TYPES = st.text(
    st.sampled_from('aZ09_x2d-: .é😀\n"') | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12
)
LIKE_ESCAPES = st.lists(
    st.sampled_from(["_x2d_", "_x_", "_", "x", "-", "::", "if", "__cedar", "a"]), min_size=1, max_size=5
)
ALL_TYPES = (
    TYPES | LIKE_ESCAPES.map("".join) | st.sampled_from(["if", "in", "is", "like", "has", "then", "true", "__cedar"])
)


@given(ALL_TYPES, ALL_TYPES)
def test_two_types_never_become_one_and_cedar_takes_them_all(one: str, other: str) -> None:
    assert (cedar_type(one) == cedar_type(other)) == (one == other)
    verdict = Engine().load(BundleText(policies=f'@id("p") permit {ANY};')).evaluate(ask(subject=(one, "x")))
    assert verdict.outcome == "permit", verdict.errors
    assert cedarpy.PolicySet.from_str(f"permit(principal is {cedar_type(one)}, action, resource);")


@pytest.mark.parametrize("name", ["user", "Acme::User", "user_xyz", "A1::_b"])
def test_a_type_that_cedar_accepts_stands_for_itself(name: str) -> None:
    assert cedar_type(name) == name


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        (f"permit {ANY};", "@id"),
        (f"@id permit {ANY};", "@id"),
        (f'@id("") permit {ANY};', "@id"),
        (f'@id("a b") permit {ANY};', "@id"),
        (f'@id("a") permit {ANY}; @id("a") forbid {ANY};', "taken by line 1"),
        (f'@id("a") @approve("x") permit {ANY};', "@approve"),
        (f'@id("a") @approval("X Y") permit {ANY};', "@approval"),
        (f'@id("a") @approval permit {ANY};', "@approval"),
        (f'@id("a") @approval("x") forbid {ANY};', "forbid"),
        (f'@id("a") @obligation("") permit {ANY};', "@obligation"),
        (f'@id("a") @obligation("page?to=x") permit {ANY};', "page"),
        (f'@id("a") @obligation("notification?to=x") permit {ANY};', "body"),
        (f'@id("a") @obligation("custom?a=1&a=2") permit {ANY};', "twice"),
        (f'@id("a") @obligation("custom?a") permit {ANY};', "type?key=value"),
        (f'@id("a") @obligation("custom?a=%FF") permit {ANY};', "percent-encoded"),
        (f'@id("a") @reason("{"x" * 301}") permit {ANY};', "@reason"),
        ('@id("a") permit(principal == ?principal, action, resource);', "template"),
        (f'@id("a") permit {ANY} when {{ nonsense }};', "line 1"),
        (f"\n\n@id('a') permit {ANY};", "line 3"),
    ],
)
def test_a_bundle_with_a_mistake_is_refused_with_the_place(policies: str, problem: str) -> None:
    with pytest.raises(InvalidBundle) as refused:
        load(policies)
    assert problem in refused.value.message


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(InvalidBundle) as refused:
        load(f'permit {ANY}; @id("b") @x permit {ANY};', entities="[", schema="entity")
    assert len(refused.value.problems) == 4


def test_a_schema_is_held_against_policies_and_entities() -> None:
    schema = (
        "entity user; entity doc { owner: String };"
        "action act appliesTo { principal: user, resource: doc, context: { action: { amount?: Long } } };"
    )
    good = f'@id("p") permit {ANY} when {{ resource.owner == "a" && context.action has amount }};'
    entity = '[{{"uid": {{"type": "doc", "id": "1"}}, "attrs": {{"owner": {}}}, "parents": []}}]'
    assert load(good, entity.format('"a"'), schema).evaluate(ask(arguments={"amount": 1})).outcome == "permit"
    with pytest.raises(InvalidBundle, match="policy p: "):
        load(good.replace("owner", "ovner"), entity.format('"a"'), schema)
    with pytest.raises(InvalidBundle, match="entities: "):
        load(good, entity.format("1"), schema)


def test_actions_may_be_grouped_by_a_schema() -> None:
    schema = (
        "entity user; entity doc; action change;action act in [change] appliesTo { principal: user, resource: doc };"
    )
    bundle = load('@id("p") permit(principal, action in Action::"change", resource);', schema=schema)
    assert bundle.evaluate(ask("act")).outcome == "permit"
    assert bundle.evaluate(ask("other")).outcome == "deny"
