"""What must hold of a log however it came about, checked on the stored bytes alone.

Nothing here folds with production code: entries are read as JSON and counted by hand, so that a fault in a fold, a slice,
the sequencer or a store cannot hide itself. Each rule has a name, which a violation tells.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from simulator_world import Acknowledged, Violation

from quarterdeck_domain.events import event_id

SYSTEM = "system"
ENDS = {
    "approval.granted": "approved",
    "approval.denied": "denied",
    "approval.expired": "expired",
    "approval.cancelled": "cancelled",
}
Entry = dict[str, Any]
_load = lru_cache(maxsize=8192)(json.loads)
_event_id = lru_cache(maxsize=8192)(event_id)
at = lru_cache(maxsize=8192)(datetime.fromisoformat)
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass
class Approval:
    """One approval, counted by hand."""

    request: Entry
    at: datetime
    position: int
    votes: dict[str, Entry] = field(default_factory=dict)
    end: str | None = None
    grant: Entry | None = None
    granted_at: int = 0
    used: str | None = None
    told_at: datetime = BEGINNING


@dataclass
class Person:
    """One principal as it stands at a position."""

    kind: str
    roles: set[str]
    owner: str | None
    active: bool = True


class Tally:
    """One log, read once from its beginning to its end."""

    def __init__(self, seats: int | None = None, since: int = 0, expected: dict[str, str] | None = None) -> None:
        """Of the first `since` entries, decisions are taken as they are: a test made them up.

        `expected` is what the policy says of each action it names; anything else is denied.
        """
        self.expected = expected or {}
        self.set_back = timedelta()
        """How far the database's clock was set back: what was over by then may be recorded as a little early."""
        self.seats = seats
        self.since = since
        self.people: dict[str, Person] = {}
        self.approvals: dict[str, Approval] = {}
        self.decisions: dict[str, Entry] = {}
        self.effects: dict[str, list[str]] = {}
        self.enforced: str | None = None
        self.enforced_at = 0
        self.taken = 0
        self.shut: dict[str, int] = {}
        self.exposed: dict[str, set[str]] = {}

    def read(self, entry: Entry) -> None:
        """Count one entry, and hold it against what came before."""
        kind: str = entry["type"]
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, entry, entry["data"])
        elif kind in ENDS:
            self.end(entry, entry["data"])

    # People.

    def registered(self, entry: Entry, data: Entry) -> None:
        """Somebody is known."""
        self.people[data["principal_id"]] = Person(data["kind"], set(data["roles"]), data.get("owner"))

    def role_granted(self, entry: Entry, data: Entry) -> None:
        """Somebody has one more role; of the hall of the hot boundary, a seat is taken."""
        if data["principal_id"] in self.people:
            self.people[data["principal_id"]].roles.add(data["role"])
        elif self.seats is not None and data["role"] == "operator":
            self.taken += 1
            need("seats", self.taken <= self.seats, f"{self.taken} of {self.seats} are taken")

    def role_revoked(self, entry: Entry, data: Entry) -> None:
        """Somebody has one role less."""
        self.people[data["principal_id"]].roles.discard(data["role"])
        self.administered()

    def deactivated(self, entry: Entry, data: Entry) -> None:
        """Somebody acts no more."""
        self.people[data["principal_id"]].active = False
        self.administered()

    def transferred(self, entry: Entry, data: Entry) -> None:
        """Somebody else answers for an agent."""
        self.people[data["principal_id"]].owner = data["owner"]

    def administered(self) -> None:
        """Somebody must be able to administer, always."""
        left = [name for name, person in self.people.items() if person.active and "administrator" in person.roles]
        need("an administrator remains", bool(left), "nobody administers any more")

    # Policy.

    def decided(self, entry: Entry, data: Entry) -> None:
        """Policy answered."""
        self.decisions[data["decision_id"]] = entry
        if data.get("bundle_id") is None and entry["position"] > self.since:
            need("deny by default", data["outcome"] == "deny", f"{data['outcome']} without a policy")
        if entry["position"] > self.since:
            need("policy in force", data.get("bundle_id") == self.enforced, f"{self.enforced} is in force")
            if data["outcome"] != "deny":
                self.usable(data["resource"])
            subject = self.people.get(data["subject"].partition(":")[2])
            if subject is not None and not subject.active:
                need("policy in force", data["outcome"] == "deny", "its subject was deactivated")
            if data["outcome"] != "deny" and data["action"] in self.expected:
                free = data.get("approval_id") is not None and self.expected[data["action"]] == "approval_required"
                right = "permit" if free else self.expected[data["action"]]
                need("deny by default", data["outcome"] == right, f"{data['action']} is answered {data['outcome']}")

    def mode_changed(self, entry: Entry, data: Entry) -> None:
        """Another policy is in force, or none."""
        self.enforced_at = entry["position"]
        if data["mode"] == "enforced":
            self.enforced = data["bundle_id"]
        elif data["bundle_id"] == self.enforced:
            self.enforced = None

    # The estate.

    def quarantined(self, entry: Entry, data: Entry) -> None:
        """Nothing may be done with it, or through it."""
        self.shut[data["asset"]] = entry["position"]

    def released(self, entry: Entry, data: Entry) -> None:
        """Somebody has looked at it."""
        self.shut.pop(data["asset"], None)

    def related(self, entry: Entry, data: Entry) -> None:
        """A server exposes something."""
        if data["relation"] == "exposes":
            self.exposed.setdefault(data["target"], set()).add(data["source"])

    def usable(self, asset: str) -> None:
        """Nothing of it is shut just now."""
        shut = sorted(name for name in {asset, *self.exposed.get(asset, ())} if name in self.shut)
        need("what is shut is denied", not shut, f"{asset} is used, and {shut} shut")

    # Approvals.

    def requested(self, entry: Entry, data: Entry) -> None:
        """Somebody asks."""
        same = [
            found
            for found in self.approvals.values()
            if found.request["action_digest"] == data["action_digest"]
            and found.request["requester"] == data["requester"]
            and self.open(found, at(entry["recorded_at"]))
        ]
        need("one open request an action", not same, f"{data['approval_id']} is asked for while another is open")
        decision = self.decisions.get(data["decision_id"])
        need("asked on a decision", decision is not None, f"{data['approval_id']} has none")
        assert decision is not None
        need(
            "asked on a decision",
            decision["data"]["outcome"] == "approval_required"
            and decision["data"]["action_digest"] == data["action_digest"],
            "it is not about this, or asks nobody",
        )
        now = at(entry["recorded_at"])
        self.approvals[data["approval_id"]] = Approval(data, now, entry["position"], told_at=now)

    @staticmethod
    def open(approval: Approval, now: datetime) -> bool:
        """Tell whether an approval waits to be decided, or to be used."""
        if approval.end is None:
            return now < at(approval.request["expires_at"])
        return approval.grant is not None and approval.used is None and now < at(approval.grant["expires_at"])

    def voted(self, entry: Entry, data: Entry) -> None:
        """Somebody decides."""
        approval, voter = self.approvals[data["approval_id"]], data["approver"]
        person = self.people.get(voter)
        need("one vote each", voter not in approval.votes, f"{voter} votes twice")
        need("the requester never decides", voter not in approval.request["requesters"], f"{voter} asked for it")
        need(
            "the requester never decides",
            not any(self.people[name].owner == voter for name in approval.request["requesters"] if name in self.people),
            f"{voter} answers for who asked for it",
        )
        need("people decide", person is not None and person.active and person.kind == "human", f"{voter} is none")
        assert person is not None
        stage = next(stage for stage in approval.request["stages"] if stage["name"] == data["stage"])
        need("people decide", bool(person.roles & set(stage["roles"])), f"{voter} holds no role of the stage")
        need("decided as shown", data["action_digest"] == approval.request["action_digest"], f"{voter} saw other bytes")
        need("decided while open", approval.end is None, f"{voter} votes on what is {approval.end}")
        need("decided in time", at(entry["recorded_at"]) <= at(approval.request["expires_at"]), f"{voter} is too late")
        approval.votes[voter] = data

    def reminded(self, entry: Entry, data: Entry) -> None:
        """The people who may decide are told again."""
        approval, now = self.approvals[data["approval_id"]], at(entry["recorded_at"])
        due = approval.told_at + timedelta(seconds=approval.request["remind_after_s"])
        need("told when due", now + self.set_back >= due, f"{data['approval_id']} is told of too soon")
        need("decided while open", approval.end is None, f"{data['approval_id']} is {approval.end}")
        approval.told_at = now

    def end(self, entry: Entry, data: Entry) -> None:
        """An approval ends."""
        approval, how = self.approvals[data["approval_id"]], ENDS[entry["type"]]
        need("one end", approval.end is None, f"{data['approval_id']} is {approval.end} and then {how}")
        approval.end = how
        request = approval.request
        need("decided as shown", data["action_digest"] == request["action_digest"], "it ends for another action")
        if how == "expired":
            over = at(entry["recorded_at"]) + self.set_back >= at(request["expires_at"])
            need("expired in time", over, "its time is not over")
        else:
            need("decided in time", at(entry["recorded_at"]) <= at(request["expires_at"]), f"{how} after its time")
        if how == "denied":
            need("quorum", any(vote["verdict"] == "deny" for vote in approval.votes.values()), "nobody denied")
        if how == "approved":
            need("quorum", all(self.enough(approval, stage) for stage in request["stages"]), "too few people agree")
            approval.granted_at = entry["position"]

    def enough(self, approval: Approval, stage: Entry) -> bool:
        """Tell whether enough people who may decide a stage now have agreed in it."""
        agreed = [
            voter
            for voter, vote in approval.votes.items()
            if vote["stage"] == stage["name"]
            and vote["verdict"] == "approve"
            and self.people[voter].active
            and self.people[voter].roles & set(stage["roles"])
        ]
        return len(agreed) >= int(stage["quorum"])

    def minted(self, entry: Entry, data: Entry) -> None:
        """A grant exists."""
        approval = self.approvals[data["approval_id"]]
        need("one grant an approval", approval.grant is None, f"{data['approval_id']} is granted twice")
        need("granted means approved", approval.granted_at == entry["position"] - 1, "a grant without an approval")
        need("bound to the action", data["action_digest"] == approval.request["action_digest"], "for another action")
        need("bound to the action", data["redeemer"] == approval.request["requester"], "for somebody else")
        approval.grant = data | {"position": entry["position"]}

    def redeemed(self, entry: Entry, data: Entry) -> None:
        """A grant is used."""
        approval = self.approvals[data["approval_id"]]
        grant = approval.grant
        need("no effect without a grant", grant is not None, f"{data['effect_id']} has none")
        assert grant is not None
        need("used once", approval.used is None, f"{data['grant_id']} is {approval.used} already")
        approval.used = "redeemed"
        need("used in time", at(entry["recorded_at"]) <= at(grant["expires_at"]), f"{data['grant_id']} had expired")
        need("bound to the action", data["action_digest"] == grant["action_digest"], "another action is done")
        need("bound to the action", data["redeemer"] == grant["redeemer"], "somebody else does it")
        need("bound to the action", entry["actor"]["principal"] == grant["redeemer"], "somebody else does it")
        self.usable(approval.request["resource"])
        self.permitted(entry, data, grant)
        need("one effect a redemption", data["effect_id"] not in self.effects, f"{data['effect_id']} starts twice")
        self.effects[data["effect_id"]] = []

    def permitted(self, entry: Entry, data: Entry, grant: Entry) -> None:
        """A use stands on a permit that was recorded before it."""
        decision = self.decisions.get(data["decision_id"])
        need("permitted before done", decision is not None, f"{data['decision_id']} is not recorded")
        assert decision is not None
        said = decision["data"]
        need("permitted before done", said["outcome"] == "permit", f"policy said {said['outcome']}")
        need("permitted before done", decision["position"] > grant["position"], "policy was not asked again")
        need("bound to the action", said["action_digest"] == data["action_digest"], "policy saw another action")
        need("bound to the action", said.get("approval_id") == data["approval_id"], "policy saw another approval")
        need("policy in force", self.enforced_at <= said["estate_position"], "policy has changed since it was asked")

    def revoked(self, entry: Entry, data: Entry) -> None:
        """A grant is taken back."""
        approval = self.approvals[data["approval_id"]]
        need("used once", approval.used is None, f"{data['grant_id']} is {approval.used} already")
        approval.used = "revoked"

    def reported(self, entry: Entry, data: Entry) -> None:
        """An executor says how its effect ended."""
        said = self.effects.get(data["effect_id"])
        need("no effect without a grant", said is not None, f"{data['effect_id']} was never started")
        assert said is not None
        need("an effect ends once", not said, f"{data['effect_id']} is {said} and reported again")
        said.append(data["outcome"])

    def reconciled(self, entry: Entry, data: Entry) -> None:
        """A human settles an effect of which nobody knows."""
        said = self.effects.get(data["effect_id"])
        need("no effect without a grant", said is not None, f"{data['effect_id']} was never started")
        assert said is not None
        need("an effect ends once", said in ([], ["unknown"]), f"{data['effect_id']} is {said} and settled again")
        said.append("reconciled")


_HANDLERS: dict[str, Any] = {
    "principal.registered": Tally.registered,
    "principal.role_granted": Tally.role_granted,
    "principal.role_revoked": Tally.role_revoked,
    "principal.deactivated": Tally.deactivated,
    "principal.ownership_transferred": Tally.transferred,
    "policy.decision_recorded": Tally.decided,
    "policy_bundle.mode_changed": Tally.mode_changed,
    "asset.quarantined": Tally.quarantined,
    "asset.released": Tally.released,
    "relation.declared": Tally.related,
    "approval.requested": Tally.requested,
    "approval.vote_cast": Tally.voted,
    "approval.reminded": Tally.reminded,
    "grant.minted": Tally.minted,
    "grant.redeemed": Tally.redeemed,
    "grant.revoked": Tally.revoked,
    "effect.reported": Tally.reported,
    "effect.reconciled": Tally.reconciled,
}


def need(invariant: str, holds: bool, what: str) -> None:
    """Raise a violation unless something holds."""
    if not holds:
        raise Violation(invariant, what)


def check_log(
    entries: list[bytes],
    *,
    seats: int | None = None,
    since: int = 0,
    expected: dict[str, str] | None = None,
    set_back_s: float = 0.0,
) -> Tally:
    """Hold a whole log against every rule, and return the tally.

    Raises:
        Violation: a rule is broken.
    """
    tally = Tally(seats, since, expected)
    tally.set_back = timedelta(seconds=set_back_s)
    seen: set[str] = set()
    commands: dict[str, list[tuple[int, str]]] = {}
    before = BEGINNING
    for place, stored in enumerate(entries, 1):
        entry = _load(stored)
        need("gapless", entry["position"] == place, f"{entry['position']} stands at {place}")
        need("once", entry["id"] not in seen, f"{entry['id']} is recorded twice")
        need("time never goes back", at(entry["recorded_at"]) >= before, f"{entry['recorded_at']} comes after {before}")
        seen.add(entry["id"])
        before = at(entry["recorded_at"])
        command = entry["cause"].get("command_id")
        if command is not None:
            commands.setdefault(command, []).append((place, entry["id"]))
        tally.read(entry)
    for command, events in commands.items():
        whole = [(events[0][0] + index, str(_event_id(uuid.UUID(command), index))) for index in range(len(events))]
        need("a command is whole and done once", events == whole, f"{command} is at {events}")
    return tally


def check_answers(entries: list[bytes], acknowledged: Iterable[Acknowledged], refused: Iterable[uuid.UUID]) -> None:
    """Hold what clients were told against the log.

    Raises:
        Violation: something acknowledged is not there, or something refused is.
    """
    ids = {entry["id"]: entry["position"] for entry in map(_load, entries)}
    for told in acknowledged:
        for index, event in enumerate(told.events):
            found = ids.get(str(event))
            need("acknowledged is recorded", found is not None, f"{event} of {told.command_id} is lost")
            need("acknowledged is recorded", found == told.position + index, f"{event} is elsewhere: {found}")
    for command_id in refused:
        need("refused is not recorded", str(_event_id(command_id, 0)) not in ids, f"{command_id} is there")
