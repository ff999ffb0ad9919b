"""Bundles are published, put in force, replaced and retired; a decision is recorded only on what it stood on.

Serves S0-66, S0-20, DC-02.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.access.events import (
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
    TenantClosed,
)
from quarterdeck_domain.access.values import SYSTEM, Held
from quarterdeck_domain.canonical import encode
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor, Cause, Event, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.commands import ChangePolicyBundleMode, PublishPolicyBundle
from quarterdeck_domain.policy.events import (
    BundleContinued,
    BundleMode,
    BundleModeChanged,
    BundlePublished,
    DecisionRecorded,
)
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle, RecordDecision, enforced_after
from quarterdeck_domain.policy.values import (
    MAX_BUNDLE_CHARACTERS,
    BundleText,
    SubjectFacts,
    assemble,
    bundle_digest,
    fold_subject,
    split,
)
from quarterdeck_domain.slices import Slice, matches

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTOR = Actor(principal="prn_admin", kind="human")
ONE, TWO, THREE = (make_id("bnd", uuid.UUID(int=n)) for n in (1, 2, 3))
ADMINISTRATOR = PrincipalRegistered(
    principal_id=ACTOR.principal, kind="human", display_name="Ada", roles=("administrator",)
)
TEXT = BundleText(policies='@id("a") permit(principal, action, resource);')


def given_events(command: Slice, *events: Event) -> Slice:
    """Fold recorded events, those alone that are inside the slice's boundary."""
    query = command.consistency_boundary()
    for position, payload in enumerate(events, 1):
        if matches(query, payload.type, frozenset(payload.tags())):
            command.apply(
                RecordedEvent(
                    tenant="acme",
                    position=position,
                    id=uuid.UUID(int=position),
                    recorded_at=NOW,
                    actor=ACTOR,
                    cause=Cause(),
                    tags=payload.tags(),
                    payload=payload,
                )
            )
    return command


def published(bundle_id: str, name: str = "main", version: int = 1) -> BundlePublished:
    (event,) = split(bundle_id, name, version, TEXT)
    assert isinstance(event, BundlePublished)
    return event


def mode(bundle_id: str, mode: BundleMode, replaces: str | None = None) -> BundleModeChanged:
    return BundleModeChanged(bundle_id=bundle_id, mode=mode, replaces=replaces, reason="why")


def test_versions_count_per_name() -> None:
    command = PublishBundle(THREE, "main", TEXT, actor=SYSTEM)
    (event,) = (
        given_events(command, published(ONE), published(TWO, "other", 7), published(TWO, "main", 2)).decide(NOW).events
    )
    assert isinstance(event, BundlePublished)
    assert (event.bundle_id, event.name, event.bundle_version) == (THREE, "main", 3)
    assert event.digest == bundle_digest(TEXT)


@pytest.mark.parametrize("name", ["", "Main", "a b", "-a", "a-", "x" * 64, "a\n", "a:b", "é"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="bundle name"):
        PublishBundle(ONE, name, TEXT, actor=SYSTEM)


@pytest.mark.parametrize(
    "text",
    [
        BundleText(policies="x" * (MAX_BUNDLE_CHARACTERS + 1)),
        BundleText(policies="", entities=" " * MAX_BUNDLE_CHARACTERS, cedar_schema="x"),
        BundleText(policies="\ud800"),
        BundleText(policies="", entities="\udc00"),
    ],
)
def test_a_text_that_cannot_be_kept_is_refused(text: BundleText) -> None:
    with pytest.raises(InvalidInput):
        PublishBundle(ONE, "main", text, actor=SYSTEM)


@given(
    st.text(st.sampled_from('a"\\\n\x01é😀 '), max_size=200),
    st.none() | st.text(st.sampled_from("{}x"), min_size=1, max_size=40),
    st.integers(1, 700),
)
def test_a_long_bundle_is_cut_into_entries_and_put_together_again(unit: str, schema: str | None, times: int) -> None:
    text = BundleText(policies=unit * times, cedar_schema=schema, entities="[" + " " * times + "]")
    first, *rest = split(ONE, "main", 1, text)
    assert isinstance(first, BundlePublished)
    assert first.parts == 1 + len(rest)
    continued = [part for part in rest if isinstance(part, BundleContinued)]
    assert assemble(first, continued) == text
    for event in (first, *rest):
        assert len(encode(REGISTRY.to_data(event))) <= 60_000
    if continued:
        for wrong in (continued[:-1], continued[::-1] if len(continued) > 1 else [], [*continued, continued[-1]]):
            with pytest.raises(InvalidInput):
                assemble(first, wrong)
        altered = msgspec.structs.replace(continued[0], text=continued[0].text + " ")
        with pytest.raises(InvalidInput, match="digest"):
            assemble(first, [altered, *continued[1:]])


def test_the_largest_bundle_fits_one_append() -> None:
    text = BundleText(policies="\x01" * (MAX_BUNDLE_CHARACTERS - 2))
    events = split(ONE, "main", 1, text)
    assert len(events) <= 200
    assert max(len(encode(REGISTRY.to_data(event))) for event in events) <= 60_000


def test_the_digest_tells_every_text_apart() -> None:
    texts = [
        TEXT,
        BundleText(policies=TEXT.policies + " "),
        BundleText(policies=TEXT.policies, cedar_schema="x"),
        BundleText(policies=TEXT.policies, entities="[ ]"),
        BundleText(policies="", cedar_schema=TEXT.policies),
    ]
    assert len({bundle_digest(text) for text in texts}) == len(texts)


def test_enforcing_replaces_what_was_in_force_and_can_be_taken_back() -> None:
    history: list[Event] = [published(ONE), published(TWO, "main", 2)]
    for bundle_id, replaces in ((ONE, None), (TWO, ONE), (ONE, TWO)):
        (event,) = (
            given_events(ChangeBundleMode(bundle_id, "enforced", "why", actor=SYSTEM), *history).decide(NOW).events
        )
        assert event == mode(bundle_id, "enforced", replaces)
        history.append(event)


@pytest.mark.parametrize(
    ("history", "new_mode", "error"),
    [
        ([], "enforced", NotFound),
        ([published(TWO)], "enforced", NotFound),
        ([published(ONE), mode(ONE, "enforced")], "enforced", WrongState),
        ([published(ONE), mode(ONE, "shadow")], "shadow", WrongState),
        ([published(ONE), mode(ONE, "retired")], "enforced", WrongState),
        ([published(ONE), mode(ONE, "retired")], "retired", WrongState),
        ([published(ONE), mode(ONE, "retired"), mode(TWO, "enforced")], "shadow", WrongState),
    ],
)
def test_a_mode_that_cannot_be_is_refused(history: list[Event], new_mode: BundleMode, error: type[Exception]) -> None:
    with pytest.raises(error):
        given_events(ChangeBundleMode(ONE, new_mode, "why", actor=SYSTEM), *history).decide(NOW)


@pytest.mark.parametrize(
    ("bundle_id", "reason"), [("bnd_x", "why"), (ONE.replace("bnd", "apr"), "why"), (ONE, " "), (ONE, "x" * 501)]
)
def test_a_mode_change_needs_a_bundle_and_a_reason(bundle_id: str, reason: str) -> None:
    with pytest.raises(InvalidInput):
        ChangeBundleMode(bundle_id, "enforced", reason, actor=SYSTEM)


def commands(actor: Actor) -> tuple[Slice, Slice]:
    """Return one command of each kind by an actor."""
    return PublishBundle(TWO, "main", TEXT, actor=actor), ChangeBundleMode(ONE, "enforced", "why", actor=actor)


OWN_AGENT = PrincipalRegistered(
    principal_id="prn_bot", kind="agent", display_name="Bot", owner=ACTOR.principal, roles=("agent",)
)
NOBODYS: dict[str, tuple[Actor, list[Event], type[Exception]]] = {
    "unknown here": (ACTOR, [], NotAllowed),
    "deactivated": (
        ACTOR,
        [ADMINISTRATOR, PrincipalDeactivated(principal_id=ACTOR.principal, reason="x")],
        NotAllowed,
    ),
    "no administrator any more": (
        ACTOR,
        [ADMINISTRATOR, RoleRevoked(principal_id=ACTOR.principal, role="administrator")],
        NotAllowed,
    ),
    "another role": (
        ACTOR,
        [PrincipalRegistered(principal_id=ACTOR.principal, kind="human", display_name="O", roles=("operator",))],
        NotAllowed,
    ),
    "an agent for an administrator": (
        Actor(principal="prn_bot", kind="agent", on_behalf_of=(ACTOR.principal,)),
        [ADMINISTRATOR, OWN_AGENT],
        NotAllowed,
    ),
    "a closed tenant": (ACTOR, [ADMINISTRATOR, TenantClosed(tenant="acme", reason="x")], WrongState),
    "a closed tenant, by the house": (SYSTEM, [TenantClosed(tenant="acme", reason="x")], WrongState),
}


@pytest.mark.parametrize("case", NOBODYS)
def test_only_an_active_administrator_of_an_open_tenant_changes_policy(case: str) -> None:
    actor, history, error = NOBODYS[case]
    for command in commands(actor):
        with pytest.raises(error):
            given_events(command, published(ONE), *history).decide(NOW)


def test_an_administrator_changes_policy_until_something_about_it_changes() -> None:
    for command in commands(ACTOR):
        assert given_events(command, published(ONE), ADMINISTRATOR).decide(NOW).events
    # Whatever could change the answer is inside the boundary, so a race is a conflict.
    for change in (
        PrincipalDeactivated(principal_id=ACTOR.principal, reason="x"),
        RoleRevoked(principal_id=ACTOR.principal, role="administrator"),
        TenantClosed(tenant="acme", reason="x"),
    ):
        for command in commands(ACTOR):
            assert matches(command.consistency_boundary(), change.type, frozenset(change.tags()))


MODES = st.lists(
    st.tuples(st.sampled_from([ONE, TWO, THREE]), st.sampled_from(["enforced", "shadow", "retired"])), max_size=15
)


@given(MODES)
def test_at_every_prefix_one_bundle_at_most_is_in_force_and_the_fold_agrees(
    wanted: list[tuple[str, BundleMode]],
) -> None:
    history: list[Event] = [published(ONE), published(TWO), published(THREE)]
    enforced: str | None = None
    modes: dict[str, str | None] = {ONE: None, TWO: None, THREE: None}
    for bundle_id, new_mode in wanted:
        command = given_events(ChangeBundleMode(bundle_id, new_mode, "why", actor=SYSTEM), *history)
        if modes[bundle_id] in ("retired", new_mode):
            with pytest.raises(WrongState):
                command.decide(NOW)
            continue
        (event,) = command.decide(NOW).events
        assert isinstance(event, BundleModeChanged)
        assert event.replaces == (enforced if new_mode == "enforced" else None)
        if new_mode == "enforced":
            modes = {name: None if held == "enforced" else held for name, held in modes.items()}
        modes[bundle_id] = new_mode
        enforced = enforced_after(event, enforced)
        assert [name for name, held in modes.items() if held == "enforced"] == ([enforced] if enforced else [])
        history.append(event)


def decision(**changes: Any) -> DecisionRecorded:
    fields: dict[str, Any] = {
        "decision_id": "dec_1",
        "subject": "agent:bot",
        "action": "read",
        "resource": "doc:1",
        "request": "{}",
        "action_digest": "x",
        "binding_hash": "y",
        "outcome": "deny",
        "estate_position": 2,
    }
    return DecisionRecorded(**(fields | changes))


def test_a_decision_is_recorded_as_long_as_what_it_stood_on_holds() -> None:
    made = decision()
    unrelated = [published(ONE), mode(ONE, "enforced"), published(TWO), decision(decision_id="dec_2")]
    command = given_events(RecordDecision([made], 2, NOW), *unrelated)
    assert (command.decide(NOW).events, command.decide(NOW).not_after) == ((made,), NOW)


@pytest.mark.parametrize(
    "change",
    [
        mode(ONE, "shadow"),
        PrincipalRegistered(principal_id="p", kind="agent", display_name="x"),
        RoleGranted(principal_id="p", role="agent"),
        RoleRevoked(principal_id="p", role="agent"),
        OwnershipTransferred(principal_id="p", owner="q", previous_owner="o"),
        PrincipalDeactivated(principal_id="p", reason="x"),
    ],
)
def test_a_decision_on_a_stale_basis_is_refused(change: Event) -> None:
    with pytest.raises(WrongState, match="evaluate again"):
        given_events(RecordDecision([decision()], 2), published(ONE), published(TWO), change).decide(NOW)


def test_decisions_do_not_crowd_a_bundles_own_events() -> None:
    assert f"bundle:{ONE}" not in decision(bundle_id=ONE).tags()
    assert f"decided-by:{ONE}" in decision(bundle_id=ONE).tags()


def test_what_is_known_of_a_principal_is_folded_from_its_own_events_alone() -> None:
    history: Sequence[Event] = [
        PrincipalRegistered(principal_id="p", kind="agent", display_name="x", owner="o", roles=("agent",)),
        PrincipalRegistered(principal_id="q", kind="human", display_name="y", roles=("administrator",)),
        RoleGranted(principal_id="p", role="operator"),
        RoleRevoked(principal_id="p", role="agent"),
        RoleGranted(principal_id="q", role="auditor"),
        OwnershipTransferred(principal_id="p", owner="q", previous_owner="o"),
        PrincipalDeactivated(principal_id="q", reason="x"),
    ]
    assert fold_subject("p", history) == SubjectFacts(known=True, kind="agent", roles=("operator",), owner="q")
    assert fold_subject("q", history).deactivated
    assert fold_subject("nobody", history) == SubjectFacts()


class FixedEnvironment:
    tenant = "acme"
    actor = ACTOR
    held = Held()

    def new_id(self, prefix: str) -> str:
        return make_id(prefix, uuid.UUID(int=1))

    def new_secret(self) -> str:
        raise AssertionError("policy needs no secret")


def test_the_commands_become_slices() -> None:
    publish, change = COMMANDS["publish_policy_bundle"], COMMANDS["change_policy_bundle_mode"]
    assert publish.roles == change.roles == {"administrator"}
    prepared = publish.prepare(
        PublishPolicyBundle(name="main", policies=TEXT.policies, cedar_schema=""), FixedEnvironment()
    )
    assert prepared.result == {"bundle_id": ONE}
    (event,) = given_events(prepared.slice, ADMINISTRATOR).decide(NOW).events
    assert event == published(ONE)
    body = msgspec.convert({"bundle_id": ONE, "mode": "enforced", "reason": "go"}, ChangePolicyBundleMode)
    changed = change.prepare(body, FixedEnvironment())
    assert given_events(changed.slice, ADMINISTRATOR, published(ONE)).decide(NOW).events == (
        BundleModeChanged(bundle_id=ONE, mode="enforced", reason="go"),
    )
