"""Commands as the outside sends them: bounded, typed, and gated alike at the edge and in the slice.

Serves DC-02, DC-07, DC-09, S0-80, S1-78.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from approval_world import ACTION, APPROVAL, EFFECT, GRANT, granted, redeem, requested
from given import HASH, TENANT, Log, acting, attempt, named, prn, registered
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.access.credentials import present
from quarterdeck_domain.access.events import ApiKeyIssued, PrincipalDeactivated, Role, SignInLinkIssued, TenantOpened
from quarterdeck_domain.access.values import SYSTEM, Held
from quarterdeck_domain.approvals.events import (
    Callback,
    CallbackAbandoned,
    DispatchParked,
    GrantMinted,
    Stage,
)
from quarterdeck_domain.approvals.slices import RecordCallback
from quarterdeck_domain.approvals.values import VOTING_ROLES
from quarterdeck_domain.command_catalogue import COMMANDS, catalogue
from quarterdeck_domain.commands import Prepared
from quarterdeck_domain.errors import InvalidInput, NotAllowed
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import make_id

KEY = named("key", "old")
OURS = {name: command for name, command in COMMANDS.items() if command.room in ("access", "approvals")}

BODIES: dict[str, dict[str, Any]] = {
    "close_tenant": {"tenant": TENANT, "reason": "moved"},
    "register_principal": {"kind": "agent", "display_name": "Scout", "owner": prn("bob")},
    "grant_role": {"principal_id": prn("bob"), "role": "operator"},
    "revoke_role": {"principal_id": prn("bob"), "role": "approver"},
    "transfer_ownership": {"principal_id": prn("bot"), "owner": prn("cleo")},
    "link_identity": {"principal_id": prn("bob"), "issuer": "https://idp.example", "subject": "248289761001"},
    "deactivate_principal": {"principal_id": prn("bot"), "reason": "misbehaves"},
    "erase_principal": {"principal_id": prn("dan"), "reason": "requested"},
    "issue_api_key": {},
    "rotate_api_key": {"key_id": KEY},
    "revoke_api_key": {"key_id": KEY, "reason": "leaked"},
    "issue_sign_in_link": {"principal_id": prn("bob")},
    "publish_approval_path": {"path_id": "finance", "stages": [{"name": "team"}]},
    "cast_vote": {"approval_id": APPROVAL, "verdict": "approve", "action_digest": ACTION},
    "cancel_approval": {"approval_id": APPROVAL},
    "revoke_grant": {"grant_id": GRANT, "reason": "changed our mind"},
    "report_effect": {"effect_id": EFFECT, "outcome": "committed"},
    "reconcile_effect": {"effect_id": EFFECT, "outcome": "failed", "reason": "looked"},
    "resend_callback": {"approval_id": APPROVAL, "message_id": "msg_1"},
    "release_dispatch": {"position": 3},
}


class Env:
    """What is injected into a command: ids that follow from its id, and secrets that do not."""

    def __init__(self, actor: Actor, command_id: int = 1) -> None:
        self.tenant = TENANT
        self.actor = actor
        self.held = Held()
        self.secrets: list[str] = []
        self._command_id = uuid.UUID(int=command_id)

    def new_id(self, prefix: str) -> str:
        return make_id(prefix, uuid.uuid5(self._command_id, prefix))

    def new_secret(self) -> str:
        self.secrets.append(f"{'s' * 42}{len(self.secrets)}")
        return self.secrets[-1]


def people(log: Log) -> Log:
    """Add to a house what the commands need: a tenant, somebody who is gone, a key."""
    return log.given(
        TenantOpened(tenant=TENANT, display_name="Acme"),
        registered("dan"),
        PrincipalDeactivated(principal_id=prn("dan"), reason="left"),
        ApiKeyIssued(key_id=KEY, principal_id=prn("bob"), purpose="api", prefix="qd", secret_hash=HASH),
    )


def world_of(name: str) -> Log:
    """Return a log in which the command of `BODIES` is right for whoever may send it."""
    worlds: Mapping[str, Callable[[], Log]] = {
        "revoke_grant": granted,
        "report_effect": effected,
        "reconcile_effect": effected,
        "resend_callback": abandoned,
    }
    log = people(worlds.get(name, lambda: requested(Stage(name="decide", roles=VOTING_ROLES)))())
    return log.given(DispatchParked(parked_position=3, workflow_id="w", reason="r"))


def effected() -> Log:
    log = granted()
    log.when(redeem())
    return log


def abandoned() -> Log:
    log = requested(callback=Callback(endpoint="https://pep.example/"))
    log.when(RecordCallback(approval_id=APPROVAL, message_id="msg_1", abandoned="no answer"))
    assert log.payloads(CallbackAbandoned)
    return log


def prepare(name: str, actor: Actor, body: Mapping[str, Any] | None = None, env: Env | None = None) -> Prepared:
    command = COMMANDS[name]
    parsed = msgspec.json.decode(json.dumps(BODIES[name] | dict(body or {})), type=command.input)
    return command.prepare(parsed, env or Env(actor))


def test_every_command_of_these_rooms_is_tried_here() -> None:
    assert set(BODIES) == set(OURS)


def test_names_are_verbs_in_snake_case_and_say_what_they_do() -> None:
    for name, command in COMMANDS.items():
        assert name == command.name
        assert name.replace("_", "").isalpha()
        assert name.islower()
        assert command.summary.endswith(".")
        assert command.room in ("access", "approvals", "estate", "policy")


def test_no_two_commands_share_a_name() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        catalogue((*COMMANDS.values(), COMMANDS["cast_vote"]))


ANYBODYS = {
    "transfer_ownership": acting("bob"),
    "deactivate_principal": acting("bob"),
    "issue_api_key": acting("bob"),
    "rotate_api_key": acting("bob"),
    "revoke_api_key": acting("bob"),
    "cancel_approval": acting("bot", "agent"),
    "report_effect": acting("bot", "agent"),
}
ROLES: tuple[Role, ...] = ("administrator", "operator", "approver", "auditor")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(BODIES.keys() - ANYBODYS.keys()))
def test_the_gate_at_the_edge_and_the_one_in_the_slice_agree(name: str, role: Role) -> None:
    """Whoever holds only a role that the edge lets through is let through, and nobody else."""
    log = world_of(name).given(registered("zoe", role))
    refusal = attempt(log, prepare(name, acting("zoe")).slice)
    assert isinstance(refusal, NotAllowed) == (role not in OURS[name].roles), refusal


@pytest.mark.parametrize("name", sorted(BODIES.keys() - ANYBODYS.keys()))
def test_an_agent_sends_none_of_these(name: str) -> None:
    assert "agent" not in OURS[name].roles
    assert isinstance(attempt(world_of(name), prepare(name, acting("bot", "agent")).slice), NotAllowed)


@pytest.mark.parametrize("name", ANYBODYS)
def test_anybodys_commands_are_the_slices_to_judge(name: str) -> None:
    """The edge lets everybody through; the slice lets the one through whose thing it is, and no auditor."""
    assert not OURS[name].roles
    assert attempt(world_of(name), prepare(name, ANYBODYS[name]).slice) is None
    assert isinstance(attempt(world_of(name), prepare(name, acting("audra")).slice), NotAllowed)


@pytest.mark.parametrize("name", BODIES)
def test_the_house_itself_needs_no_role_but_never_votes(name: str) -> None:
    personal = {"cast_vote", "cancel_approval", "report_effect", "reconcile_effect"} | set(ANYBODYS)
    if name in personal:
        assert attempt(world_of(name), prepare(name, SYSTEM).slice) is not None
    else:
        assert attempt(world_of(name), prepare(name, SYSTEM).slice) is None


@pytest.mark.parametrize("name", BODIES)
def test_a_repeated_command_makes_the_same_things(name: str) -> None:
    actor = acting("ada")
    assert prepare(name, actor).result == prepare(name, actor).result


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "surplus", [{"actor": "x"}, {"roles_": []}, {"principal": prn("ada")}, {"tenant_id": "other"}, {"now": 1}]
)
def test_unknown_fields_are_refused(name: str, surplus: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        prepare(name, acting("ada"), surplus)


HOSTILE: list[Any] = ["x" * 10_000, ["x"] * 10_000, {"a": {"b": 1}}, -1, 1.5, 2**70, True, "", "\x00"]


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, body in BODIES.items() for field in body])
def test_every_field_is_bounded_and_typed(name: str, field: str) -> None:
    """Too long, of another type, null, nested, invisible: nothing is ever recorded of it."""
    for value in HOSTILE:
        try:
            command = prepare(name, acting("ada"), {field: value}).slice
        except (msgspec.ValidationError, InvalidInput):
            continue
        refusal = attempt(world_of(name), command)
        harmless = field == "subject"  # only ever digested
        assert refusal is not None or harmless, value


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("grant_role", "principal_id"),
        ("rotate_api_key", "key_id"),
        ("cast_vote", "approval_id"),
        ("cast_vote", "action_digest"),
        ("revoke_grant", "grant_id"),
        ("report_effect", "effect_id"),
    ],
)
def test_an_id_is_exactly_an_id(name: str, field: str) -> None:
    right = BODIES[name][field]
    for wrong in (f"{right}\n", f" {right}", right.upper(), right[:-1] + "\u212a", f"{right}x" * 2, "prn_" + "z" * 26):
        with pytest.raises(msgspec.ValidationError):
            prepare(name, acting("ada"), {field: wrong})


@given(st.text(max_size=80))
def test_no_other_text_is_an_id(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        prepare("grant_role", acting("ada"), {"principal_id": text})


class TestSecrets:
    def test_a_key_is_shown_once_and_never_recorded(self) -> None:
        env = Env(acting("bob"))
        prepared = prepare("issue_api_key", env.actor, env=env)
        text = prepared.reveal["api_key"]
        log = world_of("issue_api_key")
        (issued,) = log.when(prepared.slice)
        assert isinstance(issued, ApiKeyIssued)
        assert (issued.principal_id, issued.key_id) == (prn("bob"), prepared.result["key_id"])
        assert present(text).id == issued.key_id
        assert present(text).secret_hash == issued.secret_hash
        assert present(text).tenant == TENANT
        assert text.startswith(issued.prefix)
        assert env.secrets[0] not in repr((log.events, prepared.slice, vars(prepared.slice), prepared.result))

    def test_a_rotated_key_too(self) -> None:
        env = Env(acting("bob"))
        prepared = prepare("rotate_api_key", env.actor, env=env)
        log = world_of("rotate_api_key")
        issued, _ = log.when(prepared.slice)
        assert isinstance(issued, ApiKeyIssued)
        assert present(prepared.reveal["api_key"]).secret_hash == issued.secret_hash
        assert env.secrets[0] not in repr((log.events, vars(prepared.slice), prepared.result))

    def test_a_link_too(self) -> None:
        env = Env(acting("ada"))
        prepared = prepare("issue_sign_in_link", env.actor, env=env)
        log = world_of("issue_sign_in_link")
        (issued,) = log.when(prepared.slice)
        assert isinstance(issued, SignInLinkIssued)
        shown = present(prepared.reveal["sign_in_token"])
        assert (shown.id, shown.secret_hash) == (issued.link_id, issued.secret_hash)
        assert env.secrets[0] not in repr((log.events, vars(prepared.slice), prepared.result))

    def test_no_other_command_reveals_anything(self) -> None:
        revealing = {name for name in BODIES if prepare(name, acting("ada")).reveal}
        assert revealing == {"issue_api_key", "rotate_api_key", "issue_sign_in_link"}

    def test_an_account_is_kept_as_a_digest(self) -> None:
        log = world_of("link_identity")
        events = log.when(prepare("link_identity", acting("ada")).slice)
        assert BODIES["link_identity"]["subject"] not in repr(events)


def test_a_grant_id_follows_from_the_command_that_mints_it() -> None:
    log = world_of("cast_vote")
    env = Env(acting("cleo"))
    log.when(prepare("cast_vote", env.actor, env=env).slice)
    (minted,) = log.payloads(GrantMinted)
    assert minted.grant_id == Env(acting("cleo")).new_id("grt")
