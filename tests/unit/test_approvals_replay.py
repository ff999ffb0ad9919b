"""Every slice over every prefix of random logs: it never fails, and never decides otherwise than it did.

Serves C01, DC-01, DC-02, S0-13, S0-20.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from approval_world import (
    AGENT,
    APPROVAL,
    EFFECT,
    GRANT,
    OTHER_ACTION,
    REEVALUATION,
    ask,
    decided,
    house,
    redeem,
    vote,
)
from given import HASH, TENANT, Log, acting, attempt, named, prn
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quarterdeck_domain.access import slices as access
from quarterdeck_domain.access.slices import NewAdministrator
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals import slices as approvals
from quarterdeck_domain.approvals.events import Callback, Stage
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import Actor, Event
from quarterdeck_domain.policy.events import BundleModeChanged
from quarterdeck_domain.slices import Slice, matches

ADA, OTTO, BOB = acting("ada"), acting("otto"), acting("bob")
KEY, NEW_KEY, LINK, SESSION = named("key", "1"), named("key", "2"), named("lnk", "1"), named("key", "3")
EVE = NewAdministrator(principal_id=prn("eve"), display_name="Eve", link_id=named("lnk", "2"), link_hash=HASH)

FAY = NewAdministrator(principal_id=prn("fay"), display_name="Fay", link_id=named("lnk", "3"), link_hash=HASH)

COMMANDS: dict[str, Callable[[], Slice]] = {
    "open": lambda: access.OpenTenant(tenant=TENANT, display_name="Acme", administrator=EVE),
    "recover": lambda: access.RecoverAdministrator(administrator=FAY, reason="lost"),
    "close": lambda: access.CloseTenant(tenant=TENANT, reason="moved", actor=acting("eve")),
    "rotate signing key": lambda: access.RotateSigningKey(
        purpose="grant", key_id="g1", public_key="p1", overlap_s=60, actor=SYSTEM
    ),
    "rotate it again": lambda: access.RotateSigningKey(
        purpose="grant", key_id="g2", public_key="p2", overlap_s=60, actor=ADA
    ),
    "register scout": lambda: access.RegisterPrincipal(
        principal_id=prn("scout"), kind="agent", display_name="Scout", owner=prn("cleo"), actor=ADA
    ),
    "otto approves": lambda: access.GrantRole(principal_id=prn("otto"), role="approver", actor=ADA),
    "bob administers": lambda: access.GrantRole(principal_id=prn("bob"), role="administrator", actor=ADA),
    "ada no more": lambda: access.RevokeRole(principal_id=prn("ada"), role="administrator", actor=BOB),
    "cleo no more": lambda: access.RevokeRole(principal_id=prn("cleo"), role="approver", actor=ADA),
    "dora owns bot": lambda: access.TransferOwnership(principal_id=prn("bot"), owner=prn("dora"), actor=BOB),
    "link bob": lambda: access.LinkIdentity(principal_id=prn("bob"), issuer="i", identity="sha256:1", actor=ADA),
    "bob leaves": lambda: access.DeactivatePrincipal(
        principal_id=prn("bob"), reason="left", successor=prn("emil"), actor=acting("ada")
    ),
    "erase bob": lambda: access.ErasePrincipal(principal_id=prn("bob"), reason="requested", actor=ADA),
    "issue key": lambda: access.IssueApiKey(
        tenant=TENANT, key_id=KEY, principal_id=prn("bot"), secret_hash=HASH, actor=BOB
    ),
    "rotate key": lambda: access.RotateApiKey(
        tenant=TENANT, key_id=KEY, new_key_id=NEW_KEY, secret_hash=HASH, overlap_s=60, actor=AGENT
    ),
    "revoke key": lambda: access.RevokeApiKey(key_id=NEW_KEY, reason="leaked", actor=OTTO),
    "issue link": lambda: access.IssueSignInLink(link_id=LINK, principal_id=prn("cleo"), secret_hash=HASH, actor=ADA),
    "use link": lambda: access.UseSignInLink(
        tenant=TENANT, link_id=LINK, presented_hash=HASH, key_id=SESSION, secret_hash=HASH, actor=acting("cleo")
    ),
    "publish path": lambda: approvals.PublishApprovalPath(
        path_id="default",
        stages=(Stage(name="x", quorum=2),),
        remind_after_s=60,
        expires_after_s=600,
        grant_lifetime_s=60,
        replaces=1,
        actor=ADA,
    ),
    "ask": lambda: ask(callback=Callback(endpoint="https://pep.example/")),
    "ask for other": lambda: ask(
        approval_id=named("apr", "2"), decision_id=named("dec", "2"), action_digest=OTHER_ACTION
    ),
    "cleo votes": lambda: vote("cleo"),
    "dora votes": lambda: vote("dora"),
    "otto votes": lambda: vote("otto"),
    "emil denies": lambda: vote("emil", "deny"),
    "cancel": lambda: approvals.CancelApproval(approval_id=APPROVAL, actor=AGENT),
    "expire": lambda: approvals.ExpireApproval(approval_id=APPROVAL),
    "remind": lambda: approvals.RemindApproval(approval_id=APPROVAL),
    "redeem": redeem,
    "revoke grant": lambda: approvals.RevokeGrant(grant_id=GRANT, reason="x", actor=OTTO),
    "report unknown": lambda: approvals.ReportEffect(effect_id=EFFECT, outcome="unknown", actor=AGENT),
    "reconcile": lambda: approvals.ReconcileEffect(effect_id=EFFECT, outcome="failed", reason="looked", actor=OTTO),
    "abandon callback": lambda: approvals.RecordCallback(approval_id=APPROVAL, message_id="m", abandoned="no answer"),
    "resend callback": lambda: approvals.ResendCallback(approval_id=APPROVAL, message_id="m", actor=OTTO),
    "reveal secret": lambda: approvals.RevealCallbackSecret(origin="https://pep.example:443", key_id="k", actor=ADA),
    "park": lambda: approvals.ParkDispatch(position=3, workflow_id="w", reason="boom"),
    "release": lambda: approvals.ReleaseDispatch(position=3, actor=OTTO),
}
FACTS: dict[str, tuple[Event, Actor]] = {
    "decided": (decided(), AGENT),
    "decided other": (decided(decision_id=named("dec", "2"), action_digest=OTHER_ACTION), AGENT),
    "permitted": (decided("permit", decision_id=REEVALUATION, approval_id=APPROVAL, estate_position=10_000), AGENT),
    "policy changed": (BundleModeChanged(bundle_id="bnd_2", mode="enforced"), ADA),
}
WAITS = {f"wait {minutes}": minutes for minutes in (1, 5, 15, 60)}
steps = st.lists(st.sampled_from([*COMMANDS, *FACTS, *WAITS]), min_size=5, max_size=40)

# A life in which most commands are taken, tried in every run beside the random ones.
FULL_LIFE = [
    *("open", "recover", "rotate signing key", "rotate it again", "register scout", "otto approves", "bob administers"),
    *("link bob", "issue key", "rotate key", "revoke key", "issue link", "use link", "decided", "decided other", "ask"),
    *("ask for other", "wait 15", "remind", "abandon callback", "resend callback", "cleo votes", "dora votes"),
    *("permitted", "redeem", "report unknown", "reconcile", "park", "release", "dora owns bot", "cleo no more"),
    *("publish path", "reveal secret", "bob leaves", "erase bob", "close"),
]


class Traced(Log):
    """A log that remembers on what every command was decided."""

    def __init__(self, *payloads: Event) -> None:
        self.trace: list[tuple[str, int, datetime, tuple[Event, ...]]] = []
        super().__init__(*payloads)


def live(chosen: list[str]) -> Traced:
    """Let a house live through some steps, each either taken or refused."""
    log = Traced(*(event.payload for event in house(Stage(name="decide", quorum=2)).events))
    for step in chosen:
        if step in COMMANDS:
            length, now = len(log.events), log.now
            if attempt(log, COMMANDS[step]()) is None:
                log.trace.append((step, length, now, tuple(event.payload for event in log.events[length:])))
        elif step in FACTS:
            payload, by = FACTS[step]
            log.given(payload, by=by)
        else:
            log.wait(minutes=WAITS[step])
    return log


@settings(max_examples=60)
@given(steps)
@example(FULL_LIFE)
def test_every_command_decides_again_as_it_did(chosen: list[str]) -> None:
    log = live(chosen)
    for step, length, now, events in log.trace:
        command = COMMANDS[step]()
        query = command.consistency_boundary()
        for event in log.events[:length]:
            if matches(query, event.type, frozenset(event.tags)):
                command.apply(event)
        assert msgspec.to_builtins(command.decide(now).events) == msgspec.to_builtins(events)


@settings(max_examples=25)
@given(steps, st.integers(0, 2_000))
@example(FULL_LIFE, 0)
@example(FULL_LIFE, 60)
def test_every_command_answers_on_every_prefix(chosen: list[str], minutes: int) -> None:
    log = live(chosen)
    now = log.now + timedelta(minutes=minutes)
    for make in COMMANDS.values():
        command = make()
        for event in log.events:
            answer(command, now)
            command.apply(event)
        answer(command, now)


def answer(command: Slice, now: datetime) -> None:
    """Any decision and any typed refusal will do; nothing else is raised."""
    with contextlib.suppress(QuarterdeckError):
        command.decide(now)


def test_a_full_life_takes_every_step() -> None:
    """The lives above are made of steps that do happen."""
    assert [step for step, *_ in live(FULL_LIFE).trace] == [step for step in FULL_LIFE if step in COMMANDS]


def test_every_slice_is_tried_here() -> None:
    tried = {type(make()).__name__ for make in COMMANDS.values()}
    assert tried == (set(access.__all__) | set(approvals.__all__)) - {"NewAdministrator"}
