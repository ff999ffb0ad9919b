"""Random lives of approvals against a small independent oracle. Serves S0-84, S0-173, S1-78, DC-02, DC-03, DC-07.

The oracle knows nothing of events or boundaries: it is a page of sets, kept in step by hand. It says of every
command whether it must succeed, and after every step the log must show: no self-approval, one grant exactly when
every quorum was met, no grant used twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from approval_world import path
from given import Log, acting, agent, attempt, named, prn, registered
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quarterdeck_domain.access.events import Role
from quarterdeck_domain.access.slices import DeactivatePrincipal, GrantRole, RevokeRole, TransferOwnership
from quarterdeck_domain.approvals.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    GrantMinted,
    GrantRedeemed,
    Stage,
    Verdict,
    VoteCast,
)
from quarterdeck_domain.approvals.slices import (
    CancelApproval,
    CastVote,
    ExpireApproval,
    RedeemGrant,
    RequestApproval,
    RevokeGrant,
)
from quarterdeck_domain.events import Actor
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import Slice

HUMANS = ("ann", "ben", "cat", "dov", "eli")
AGENTS = ("bot1", "bot2")
ROLES: tuple[Role, ...] = ("approver", "operator")
PENDING = timedelta(minutes=90)
GRANT_LIFETIME = timedelta(minutes=15)

humans = st.sampled_from(HUMANS)
agents = st.sampled_from(AGENTS)
seldom = st.sampled_from([False] * 4 + [True])
often = st.sampled_from([True] * 5 + [False])
stages = st.lists(
    st.builds(
        Stage,
        name=st.just("?"),
        roles=st.sampled_from([("approver",), ("operator",), ("approver", "operator")]),
        quorum=st.integers(1, 2),
    ),
    min_size=1,
    max_size=2,
).map(lambda found: tuple(Stage(name=f"s{i}", roles=s.roles, quorum=s.quorum) for i, s in enumerate(found)))


@dataclass
class Case:
    """One request as the oracle remembers it."""

    requester: str
    wanting: set[str]
    stages: tuple[Stage, ...]
    ends: datetime
    votes: dict[str, int] = field(default_factory=dict)
    """Who approved, and in which stage."""
    state: str = "pending"
    grant_ends: datetime | None = None


class Approvals(RuleBasedStateMachine):
    """Commands at random, everybody trying everything, time passing."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.roles: dict[str, set[str]] = {}
        self.owner: dict[str, str] = {}
        self.active: set[str] = set()
        self.cases: list[Case] = []
        self.counter = 0

    @initialize(first=stages, second=stages, owners=st.tuples(humans, humans), approvers=st.sets(humans, min_size=2))
    def begin(
        self, first: tuple[Stage, ...], second: tuple[Stage, ...], owners: tuple[str, str], approvers: set[str]
    ) -> None:
        self.log.given(registered("root", "administrator"))
        for name in HUMANS:
            self.roles[name] = {"approver"} if name in approvers else {"operator"}
            self.log.given(registered(name, *self.roles[name]))  # type: ignore[arg-type]
        for name, owner in zip(AGENTS, owners, strict=True):
            self.owner[name] = owner
            self.log.given(agent(name, owner))
        self.active = {*HUMANS, *AGENTS}
        self.paths = (first, second)
        for number, chosen in enumerate(self.paths):
            self.log.given(path(*chosen, path_id=f"p{number}", expires_after_s=5_400, grant_lifetime_s=900))

    def run(self, command: Slice, allowed: bool) -> bool:
        """Run a command; it must succeed exactly if the oracle allows it."""
        refusal = attempt(self.log, command)
        assert (refusal is None) == allowed, refusal or "the oracle refuses this"
        return allowed

    def fresh(self, prefix: str) -> str:
        self.counter += 1
        return named(prefix, str(self.counter))

    # -- what the oracle knows ----------------------------------------------------------------------------

    def met(self, case: Case, votes: dict[str, int]) -> list[bool]:
        """Tell of each stage whether enough of those who count now approved in it."""
        return [
            len({who for who, at in votes.items() if at == index and self.may(who, stage)}) >= stage.quorum
            for index, stage in enumerate(case.stages)
        ]

    def may(self, who: str, stage: Stage) -> bool:
        return who in self.active and bool(self.roles[who] & set(stage.roles))

    def concerned(self, who: str, case: Case) -> bool:
        return who in case.wanting or any(self.owner[bot] == who and bot in case.wanting for bot in AGENTS)

    # -- everybody's commands -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.cases) < 4)
    @rule(who=st.one_of(humans, agents), for_=st.lists(humans, max_size=1), number=st.integers(0, 1), old=seldom)
    def request(self, who: str, for_: list[str], number: int, old: bool) -> None:
        """Somebody is told to ask a human, and asks; perhaps too late."""
        by = self.actor(who, [name for name in for_ if name != who])
        ident = len(self.cases) + 1
        subject = f"{by.kind}:{by.principal}"
        decision = DecisionRecorded(
            decision_id=named("dec", f"first{ident}"),
            subject=subject,
            action="refund",
            resource="account:1",
            request="{}",
            action_digest=digest(ident),
            binding_hash="b",
            outcome="approval_required",
            approval_path=f"p{number}",
            estate_position=1,
        )
        self.log.given(decision, by=by)
        self.log.wait(minutes=10 if old else 5)
        command = RequestApproval(
            approval_id=named("apr", str(ident)),
            decision_id=decision.decision_id,
            subject=subject,
            resource="account:1",
            binding_hash="b",
            action_digest=digest(ident),
            actor=by,
        )
        asking = {who, *(name for name in for_ if name != who)}
        ends = self.log.now + PENDING
        if self.run(command, asking <= self.active and not old):
            behind = {self.owner[name] for name in asking if name in self.owner}
            self.cases.append(Case(requester=who, wanting=asking | behind, stages=self.paths[number], ends=ends))

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), sensible=often, deny=seldom, wrong=seldom)
    def vote(self, data: st.DataObject, sensible: bool, deny: bool, wrong: bool) -> None:
        """Somebody votes, mostly somebody who may."""
        index = self.some_case(data, "pending")
        self.cast(data, index, sensible=sensible, deny=deny, wrong=wrong)

    @precondition(lambda self: any(case.state == "pending" for case in self.cases))
    @rule(data=st.data())
    def vote_on(self, data: st.DataObject) -> None:
        """Several people agree."""
        index = self.some_case(data, "pending")
        for _ in range(3):
            self.cast(data, index, sensible=True, deny=False, wrong=False)

    def some_case(self, data: st.DataObject, state: str) -> int:
        """Draw a case, if there is one in this state mostly such a one."""
        fitting = [index for index, case in enumerate(self.cases) if case.state == state]
        anything = range(len(self.cases))
        return data.draw(st.sampled_from(fitting if fitting and data.draw(often) else anything))

    def cast(self, data: st.DataObject, index: int, *, sensible: bool, deny: bool, wrong: bool) -> None:
        case = self.cases[index]
        verdict: Verdict = "deny" if deny else "approve"
        shown = digest(99) if wrong else digest(index + 1)
        grant_id = named("grt", str(index + 1))
        now = self.log.now
        met = self.met(case, case.votes)
        at = met.index(False) if False in met else len(case.stages) - 1
        eligible = [
            name
            for name in HUMANS
            if not self.concerned(name, case) and name not in case.votes and self.may(name, case.stages[at])
        ]
        who = data.draw(st.sampled_from(eligible if eligible and sensible else (*HUMANS, *AGENTS)))
        allowed = case.state == "pending" and now < case.ends and who in eligible and not wrong
        command = CastVote(
            approval_id=named("apr", str(index + 1)),
            verdict=verdict,
            action_digest=shown,
            grant_id=grant_id,
            actor=self.actor(who, []),
        )
        if not self.run(command, allowed):
            return
        if verdict == "deny":
            case.state = "denied"
            return
        case.votes[who] = at
        if all(self.met(case, case.votes)):
            case.state, case.grant_ends = "granted", now + GRANT_LIFETIME

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), who=st.one_of(humans, agents), mine=often, wrong=seldom)
    def redeem(self, data: st.DataObject, who: str, mine: bool, wrong: bool) -> None:
        """Policy permits once more, and somebody, mostly the requester, uses the grant."""
        index = self.some_case(data, "granted")
        case = self.cases[index]
        request = self.log.payloads(ApprovalRequested)[index]
        asked_by = next(event.actor for event in self.log.events if event.payload is request)
        by = asked_by if mine else self.actor(who, [])
        action = digest(99) if wrong else digest(index + 1)
        again = DecisionRecorded(
            decision_id=self.fresh("dec"),
            subject=request.subject,
            action="refund",
            resource="account:1",
            request="{}",
            action_digest=digest(index + 1),
            binding_hash="b",
            outcome="permit",
            approval_id=request.approval_id,
            estate_position=len(self.log.events),
        )
        self.log.given(again, by=by)
        everyone = {name for name in self.active if prn(name) in by.everyone()}
        allowed = (
            case.state == "granted"
            and case.grant_ends is not None
            and self.log.now < case.grant_ends
            and by.principal == prn(case.requester)
            and len(everyone) == len(by.everyone())
            and not wrong
        )
        command = RedeemGrant(
            grant_id=named("grt", str(index + 1)),
            effect_id=self.fresh("eff"),
            effect_class="at_most_once",
            action_digest=action,
            decision_id=again.decision_id,
            actor=by,
        )
        if self.run(command, allowed):
            case.state = "redeemed"

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), who=st.one_of(humans, agents), really=seldom)
    def cancel(self, data: st.DataObject, who: str, really: bool) -> None:
        if not really:
            return
        index = self.some_case(data, "pending")
        case = self.cases[index]
        allowed = case.state == "pending" and self.log.now < case.ends and who == case.requester and who in self.active
        if self.run(CancelApproval(approval_id=named("apr", str(index + 1)), actor=self.actor(who, [])), allowed):
            case.state = "cancelled"

    @precondition(lambda self: any(case.ends <= self.log.now for case in self.cases))
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        index = self.some_case(data, "pending")
        case = self.cases[index]
        allowed = case.state == "pending" and self.log.now >= case.ends
        if self.run(ExpireApproval(approval_id=named("apr", str(index + 1))), allowed):
            case.state = "expired"

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), who=humans, really=seldom)
    def revoke_grant(self, data: st.DataObject, who: str, really: bool) -> None:
        if not really:
            return
        index = self.some_case(data, "granted")
        case = self.cases[index]
        allowed = (
            case.state == "granted"
            and case.grant_ends is not None
            and self.log.now < case.grant_ends
            and who in self.active
            and "operator" in self.roles[who]
        )
        command = RevokeGrant(grant_id=named("grt", str(index + 1)), reason="x", actor=self.actor(who, []))
        if self.run(command, allowed):
            case.state = "revoked"

    # -- what happens around it ---------------------------------------------------------------------------

    @rule(who=humans, role=st.sampled_from(ROLES))
    def give_role(self, who: str, role: Role) -> None:
        allowed = who in self.active and role not in self.roles[who]
        if self.run(GrantRole(principal_id=prn(who), role=role, actor=acting("root")), allowed):
            self.roles[who].add(role)

    @rule(who=humans, role=st.sampled_from(ROLES))
    def take_role(self, who: str, role: Role) -> None:
        allowed = who in self.active and role in self.roles[who]
        if self.run(RevokeRole(principal_id=prn(who), role=role, actor=acting("root")), allowed):
            self.roles[who].discard(role)

    @rule(bot=agents, to=humans)
    def transfer(self, bot: str, to: str) -> None:
        allowed = bot in self.active and to in self.active and self.owner[bot] != to
        command = TransferOwnership(principal_id=prn(bot), owner=prn(to), actor=acting("root"))
        if self.run(command, allowed):
            self.owner[bot] = to

    @rule(who=st.one_of(humans, agents), heir=humans, really=seldom)
    def deactivate(self, who: str, heir: str, really: bool) -> None:
        if not really:
            return
        owned = {bot for bot in AGENTS if self.owner[bot] == who and bot in self.active}
        allowed = who in self.active and (not owned or (heir in self.active and heir != who))
        command = DeactivatePrincipal(principal_id=prn(who), reason="left", successor=prn(heir), actor=acting("root"))
        if self.run(command, allowed):
            self.active.discard(who)
            for bot in owned:
                self.owner[bot] = heir

    @rule(minutes=st.integers(1, 10))
    def pass_time(self, minutes: int) -> None:
        self.log.wait(minutes=minutes)

    @precondition(lambda self: any(case.state == "pending" for case in self.cases))
    @rule(data=st.data(), past=st.booleans(), really=seldom)
    def reach_the_boundary(self, data: st.DataObject, past: bool, really: bool) -> None:
        """Go to the very moment at which a request ends, or to the one before."""
        if not really:
            return
        case = data.draw(st.sampled_from([case for case in self.cases if case.state == "pending"]))
        moment = case.ends if past else case.ends - timedelta(microseconds=1)
        self.log.now = max(self.log.now, moment)

    # -- what must hold -----------------------------------------------------------------------------------

    @invariant()
    def nobody_decides_on_their_own_request(self) -> None:
        requests = {request.approval_id: request for request in self.log.payloads(ApprovalRequested)}
        for cast in self.log.payloads(VoteCast):
            assert cast.approver not in requests[cast.approval_id].requesters

    @invariant()
    def a_grant_exactly_when_every_quorum_was_met(self) -> None:
        granted = {
            named("apr", str(number + 1))
            for number, case in enumerate(self.cases)
            if case.state in ("granted", "redeemed", "revoked")
        }
        minted = [fact.approval_id for fact in self.log.payloads(GrantMinted)]
        assert sorted(minted) == sorted(granted)
        assert sorted(fact.approval_id for fact in self.log.payloads(ApprovalGranted)) == sorted(granted)

    @invariant()
    def one_end_each(self) -> None:
        ends = [fact.approval_id for fact in self.log.payloads(ApprovalGranted, ApprovalDenied, ApprovalExpired)]
        assert len(ends) == len(set(ends))

    @invariant()
    def no_grant_is_used_twice(self) -> None:
        used = [fact.grant_id for fact in self.log.payloads(GrantRedeemed)]
        assert len(used) == len(set(used))

    def actor(self, who: str, for_: list[str]) -> Actor:
        return acting(who, "agent" if who in AGENTS else "human", for_=for_)


def digest(number: int) -> str:
    return f"sha256-action-v1:{number:064x}"


Approvals.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestApprovals = Approvals.TestCase
