"""The engine against an oracle in plain Python, and its slices against the whole bundle in plain Cedar.

Serves S0-82, S0-85, DC-02.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cedarpy
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.values import UNKNOWN_SUBJECT, BundleText
from quarterdeck_policy import slicing
from quarterdeck_policy.cedar_request import cedar_request
from quarterdeck_policy.chain import Member, judge
from quarterdeck_policy.engine import Engine

# Few names, so that policies and requests meet; one of them hostile.
IDS = ["a", 'q";\n\\ ::']
KINDS = ["user", "Org::team", "doc"]
ACTIONS = ["read", "write", "all"]
ATTRS = ["x", "y"]

Uid = tuple[str, str]
Condition = tuple[Any, ...]


class World(msgspec.Struct):
    """Entities with attributes and direct parents; a parent always stands later, so there is no cycle."""

    attributes: dict[Uid, dict[str, Any]]
    parents: dict[Uid, list[Uid]]

    def family(self, uid: Uid) -> set[Uid]:
        found, left = {uid}, [uid]
        while left:
            for parent in self.parents.get(left.pop(), []):
                if parent not in found:
                    found.add(parent)
                    left.append(parent)
        return found


class Policy(msgspec.Struct):
    effect: str
    scopes: tuple[Condition, Condition, Condition]
    condition: Condition
    approval: bool


class Erred(Exception):
    """What Cedar calls an evaluation error."""


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def written(uid: Uid) -> str:
    return f"{uid[0]}::{quoted(uid[1])}"


def scope_text(axis: str, scope: Condition) -> str:
    match scope:
        case ("any",):
            return axis
        case ("eq", uid):
            return f"{axis} == {written(uid)}"
        case ("in", uid):
            return f"{axis} in {written(uid)}"
        case ("in_set", uids):
            return f"{axis} in [{', '.join(map(written, uids))}]"
        case ("is", kind):
            return f"{axis} is {kind}"
        case ("is_in", kind, uid):
            return f"{axis} is {kind} in {written(uid)}"
    raise AssertionError(scope)


def condition_text(condition: Condition) -> str:
    match condition:
        case ("true",):
            return "true"
        case ("less", name, number):
            return f"context.action.{name} < {number}"
        case ("equal", name, literal):
            return f"context.action.{name} == {json.dumps(literal)}"
        case ("has", name):
            return f"context.action has {name}"
        case ("attribute", who, name, literal):
            return f"{who}.{name} == {json.dumps(literal)}"
        case ("in", who, uid):
            return f"{who} in {written(uid)}"
        case ("not", inner):
            return f"!({condition_text(inner)})"
        case (("and" | "or") as word, left, right):
            return f"({condition_text(left)}) {'&&' if word == 'and' else '||'} ({condition_text(right)})"
    raise AssertionError(condition)


def in_scope(world: World, scope: Condition, uid: Uid) -> bool:
    match scope:
        case ("any",):
            return True
        case ("eq", wanted):
            return bool(uid == wanted)
        case ("in", wanted):
            return wanted in world.family(uid)
        case ("in_set", wanted):
            return not world.family(uid).isdisjoint(wanted)
        case ("is", kind):
            return bool(uid[0] == kind)
        case ("is_in", kind, wanted):
            return uid[0] == kind and wanted in world.family(uid)
    raise AssertionError(scope)


def holds(world: World, condition: Condition, request: Mapping[str, Uid], arguments: Mapping[str, Any]) -> bool:
    match condition:
        case ("true",):
            return True
        case ("less", name, number):
            if name not in arguments or not isinstance(arguments[name], int):
                raise Erred
            return bool(arguments[name] < number)
        case ("equal", name, literal):
            if name not in arguments:
                raise Erred
            return bool(arguments[name] == literal)
        case ("has", name):
            return name in arguments
        case ("attribute", who, name, literal):
            attributes = world.attributes.get(request[who], {})
            if name not in attributes:
                raise Erred
            return bool(attributes[name] == literal)
        case ("in", who, uid):
            return uid in world.family(request[who])
        case ("not", inner):
            return not holds(world, inner, request, arguments)
        case ("and", left, right):
            return holds(world, left, request, arguments) and holds(world, right, request, arguments)
        case ("or", left, right):
            return holds(world, left, request, arguments) or holds(world, right, request, arguments)
    raise AssertionError(condition)


def oracle(world: World, policies: Sequence[Policy], intent: Intent) -> tuple[str, set[str]]:
    """Return the outcome and the deciding policies, from the rules as they are written down."""
    request = {
        "principal": (intent.subject.type, intent.subject.id),
        "action": ("Action", intent.action.name),
        "resource": (intent.resource.type, intent.resource.id),
    }
    satisfied: list[int] = []
    erred = False
    for number, policy in enumerate(policies):
        scopes = zip(policy.scopes, request.values(), strict=True)
        if not all(in_scope(world, scope, uid) for scope, uid in scopes):
            continue
        try:
            if holds(world, policy.condition, request, intent.action.properties or {}):
                satisfied.append(number)
        except Erred:
            erred = True
    forbids = [number for number in satisfied if policies[number].effect == "forbid"]
    if erred:
        return "deny", set()
    if forbids or not satisfied:
        return "deny", {f"p{number}" for number in forbids}
    asked = any(policies[number].approval for number in satisfied)
    return "approval_required" if asked else "permit", {f"p{number}" for number in satisfied}


def oracle_of_chain(
    world: World, policies: Sequence[Policy], intent: Intent, subjects: Sequence[Entity]
) -> tuple[str, set[str]]:
    """Return the outcome and the deciding policies where each of several must be permitted."""
    each = [oracle(world, policies, msgspec.structs.replace(intent, subject=subject)) for subject in subjects]
    outcomes = {outcome for outcome, _ in each}
    whole = next(outcome for outcome in ("deny", "approval_required", "permit") if outcome in outcomes)
    deciding = [names for outcome, names in each if whole != "deny" or outcome == "deny"]
    return whole, set().union(*deciding)


UIDS = st.tuples(st.sampled_from(KINDS), st.sampled_from(IDS))
ACTION_UIDS = st.tuples(st.just("Action"), st.sampled_from(ACTIONS))
LITERALS = st.sampled_from([0, 1, 2, "s", "t"])
KIND = st.sampled_from(KINDS)
ENTITY_SCOPES = st.one_of(
    st.just(("any",)),
    st.just(("any",)),
    st.tuples(st.just("is"), KIND),
    st.tuples(st.just("in"), UIDS),
    st.tuples(st.just("eq"), UIDS),
    st.tuples(st.just("is_in"), KIND, UIDS),
)
ACTION_SCOPES = st.one_of(
    st.just(("any",)),
    st.just(("any",)),
    st.tuples(st.just("eq"), ACTION_UIDS),
    st.tuples(st.just("in"), ACTION_UIDS),
    st.tuples(st.just("in_set"), st.lists(ACTION_UIDS, max_size=3).map(tuple)),
)
WHO = st.sampled_from(["principal", "resource"])
ATTR = st.sampled_from(ATTRS)
SAFE = st.one_of(
    st.just(("true",)),
    st.tuples(st.just("has"), ATTR),
    st.tuples(st.just("in"), WHO, UIDS),
    st.builds(lambda name, literal: ("and", ("has", name), ("equal", name, literal)), ATTR, LITERALS),
)
RISKY = st.one_of(
    st.tuples(st.just("less"), ATTR, st.integers(-2, 3)),
    st.tuples(st.just("equal"), ATTR, LITERALS),
    st.tuples(st.just("attribute"), WHO, ATTR, LITERALS),
)
CONDITIONS = st.recursive(
    st.one_of(st.just(("true",)), SAFE, SAFE, SAFE, SAFE, RISKY),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
    ),
    max_leaves=3,
)
POLICIES = st.lists(
    st.builds(
        Policy,
        effect=st.sampled_from(["permit", "permit", "permit", "forbid"]),
        scopes=st.tuples(ENTITY_SCOPES, ACTION_SCOPES, ENTITY_SCOPES),
        condition=CONDITIONS,
        approval=st.sampled_from([False, False, True]),
    ),
    min_size=2,
    max_size=10,
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    entities: list[Uid] = draw(st.lists(UIDS, unique=True, max_size=6))
    actions: list[Uid] = draw(st.lists(ACTION_UIDS, unique=True, max_size=3))
    attributes, parents = {}, {}
    for group in (entities, actions):
        for place, uid in enumerate(group):
            parents[uid] = draw(st.lists(st.sampled_from(group[place + 1 :]), max_size=2)) if group[place + 1 :] else []
            named = draw(st.dictionaries(st.sampled_from(ATTRS), LITERALS, max_size=2)) if group is entities else {}
            attributes[uid] = named
    return World(attributes=attributes, parents=parents)


INTENTS = st.builds(
    lambda subject, action, resource, arguments: Intent(
        subject=Entity(type=subject[0], id=subject[1]),
        action=Action(name=action, properties=arguments),
        resource=Entity(type=resource[0], id=resource[1]),
    ),
    UIDS,
    st.sampled_from(ACTIONS),
    UIDS,
    st.dictionaries(st.sampled_from(ATTRS), st.sampled_from([0, 1, 2, "s", "t"]), max_size=2),
)


def bundle_text(world: World, policies: Sequence[Policy]) -> BundleText:
    lines = []
    for number, policy in enumerate(policies):
        approval = '@approval("human") ' if policy.approval and policy.effect == "permit" else ""
        scopes = zip(("principal", "action", "resource"), policy.scopes, strict=True)
        scope = ", ".join(scope_text(axis, wanted) for axis, wanted in scopes)
        condition = condition_text(policy.condition)
        lines.append(f'@id("p{number}") {approval}{policy.effect} ({scope}) when {{ {condition} }};')
    entities = [
        {
            "uid": {"type": uid[0], "id": uid[1]},
            "attrs": attributes,
            "parents": [{"type": parent[0], "id": parent[1]} for parent in world.parents[uid]],
        }
        for uid, attributes in world.attributes.items()
    ]
    return BundleText(policies="\n".join(lines), entities=json.dumps(entities))


@given(worlds(), POLICIES, st.lists(INTENTS, min_size=4, max_size=10))
def test_the_engine_answers_as_the_oracle_does(world: World, policies: list[Policy], intents: list[Intent]) -> None:
    loaded = Engine().load(bundle_text(world, policies))
    for intent in intents:
        verdict = loaded.evaluate(intent)
        assert (verdict.outcome, set(verdict.determining)) == oracle(world, policies, intent), intent


SUBJECTS = st.lists(UIDS.map(lambda uid: Entity(type=uid[0], id=uid[1])), min_size=1, max_size=4)


@given(worlds(), POLICIES, INTENTS, st.lists(SUBJECTS, min_size=2, max_size=5))
def test_a_chain_is_judged_as_the_oracle_judges_each_of_it(
    world: World, policies: list[Policy], intent: Intent, chains: list[list[Entity]]
) -> None:
    loaded = Engine().load(bundle_text(world, policies))
    for subjects in chains:
        judged = [Member(entity=subject) for subject in subjects]
        actor = Actor(principal="prn_bot", kind="agent")
        verdict = judge(loaded, intent, judged, None, caller=actor, approved=False)
        outcome, deciding = oracle_of_chain(world, policies, intent, subjects)
        assert verdict.outcome == outcome
        # One error says that nothing can be said: no policy decided.
        assert set(verdict.determining) == (set() if verdict.errors else deciding)
        if len(subjects) > 1:
            alone = [oracle(world, policies, msgspec.structs.replace(intent, subject=one)) for one in subjects]
            assert [(item.outcome, set(item.determining)) for item in verdict.judged] == alone


@given(worlds(), POLICIES, st.lists(INTENTS, min_size=4, max_size=10))
def test_a_slice_answers_as_the_whole_bundle_in_plain_cedar(
    world: World, policies: list[Policy], intents: list[Intent]
) -> None:
    text = bundle_text(world, policies)
    loaded = Engine().load(text)
    everything = cedarpy.PolicySet.from_str(text.policies)
    entities = cedarpy.Entities.from_json_str(text.entities)
    for intent in intents:
        verdict = loaded.evaluate(intent)
        request = cedar_request(intent, caller=None, subject=UNKNOWN_SUBJECT)
        plain = cedarpy.is_authorized(request.as_dict(), everything, entities)
        if plain.diagnostics.errors:
            assert (verdict.outcome, bool(verdict.errors)) == ("deny", True)
            continue
        deciding = set(plain.diagnostics.id_annotations_by_reason.values())
        assert verdict.errors == ()
        assert (verdict.outcome != "deny", set(verdict.determining)) == (plain.allowed, deciding)


def test_the_cache_of_slices_is_bounded_and_a_slice_that_was_dropped_answers_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slicing, "MAX_CHOICES", 2)
    monkeypatch.setattr(slicing, "MAX_SLICES", 3)
    monkeypatch.setattr(slicing, "MAX_SLICED_POLICIES", 4)
    loaded = Engine().load(
        BundleText(
            policies='@id("all") permit(principal, action == Action::"a", resource is doc);'
            + "".join(f'@id("p{n}") permit(principal == user::"{n}", action, resource);' for n in range(20))
        )
    )
    for _ in range(2):
        for number in range(20):
            intent = Intent(
                subject=Entity(type="user", id=str(number)),
                action=Action(name="a"),
                resource=Entity(type="doc", id="1"),
            )
            assert loaded.evaluate(intent).determining == ("all", f"p{number}")
    slicer = loaded._slicer
    assert len(slicer._chosen) <= 2
    assert len(slicer._cache) <= 3
    assert slicer._cached_policies == sum(map(len, slicer._cache)) <= 4


@pytest.mark.parametrize("groups", [1, slicing.MAX_PARTS, slicing.MAX_PARTS + 1, 10])
def test_whoever_is_in_many_groups_is_judged_by_all_their_policies(groups: int) -> None:
    entities = [
        {
            "uid": {"type": kind, "id": "me"},
            "attrs": {},
            "parents": [{"type": "team", "id": str(n)} for n in range(groups)],
        }
        for kind in ("user", "doc")
    ]
    policies = "".join(
        f'@id("principal-{n}") permit(principal in team::"{n}", action, resource);'
        f'@id("resource-{n}") permit(principal, action, resource in team::"{n}");'
        for n in range(10)
    )
    loaded = Engine().load(BundleText(policies=policies, entities=json.dumps(entities)))
    intent = Intent(subject=Entity(type="user", id="me"), action=Action(name="a"), resource=Entity(type="doc", id="me"))
    expected = {f"{axis}-{n}" for axis in ("principal", "resource") for n in range(groups)}
    assert set(loaded.evaluate(intent).determining) == expected
