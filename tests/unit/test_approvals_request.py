"""Approval paths, and asking for consent. Serves DC-07, S0-67, S0-84, S1-76, S1-78."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from approval_world import (
    ACTION,
    AGENT,
    APPROVAL,
    BINDING,
    DECISION,
    GRANT,
    OTHER_ACTION,
    PATH,
    RESOURCE,
    SUBJECT,
    ask,
    decided,
    granted,
    house,
    path,
    redeem,
    requested,
    vote,
)
from given import T0, TENANT, Log, acting, agent, named, prn, registered
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.access.events import IdentityLinked, PrincipalDeactivated, TenantClosed
from quarterdeck_domain.access.slices import TransferOwnership
from quarterdeck_domain.approvals.errors import AlreadyRequested, ExpiredDenial, InvalidDenialBinding, NotRequestable
from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalPathPublished,
    ApprovalReminded,
    ApprovalRequested,
    Callback,
    GrantMinted,
    Stage,
)
from quarterdeck_domain.approvals.slices import (
    CancelApproval,
    ExpireApproval,
    PublishApprovalPath,
    RemindApproval,
    RevokeGrant,
)
from quarterdeck_domain.approvals.slices_path import MAX_PENDING_S, usual_reminder
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor
from quarterdeck_domain.policy.events import Outcome

SECOND, OTHER_DECISION = named("apr", "2"), named("dec", "2")
HOUR = timedelta(hours=1)


class TestPublishApprovalPath:
    def publish(
        self,
        *stages: Stage,
        replaces: int = 0,
        by: str = "ada",
        remind: int = 60,
        expire: int = 600,
        lifetime: int = 60,
        path_id: str = "finance",
    ) -> PublishApprovalPath:
        return PublishApprovalPath(
            path_id=path_id,
            stages=stages,
            remind_after_s=remind,
            expires_after_s=expire,
            grant_lifetime_s=lifetime,
            replaces=replaces,
            actor=acting(by),
        )

    def test_versions_count_up(self) -> None:
        log = house()
        first, second = Stage(name="team", quorum=2), Stage(name="risk", roles=("administrator", "operator"))
        assert log.when(self.publish(first)) == (
            ApprovalPathPublished(
                path_id="finance",
                path_version=1,
                stages=(first,),
                remind_after_s=60,
                expires_after_s=600,
                grant_lifetime_s=60,
            ),
        )
        (published,) = log.when(self.publish(first, second, replaces=1))
        assert isinstance(published, ApprovalPathPublished)
        assert (published.path_version, published.stages) == (2, (first, second))

    def test_nobody_overwrites_what_they_have_not_seen(self) -> None:
        log = house()
        log.when(self.publish(Stage(name="a")))
        for replaces in (0, 2):
            log.refuses(self.publish(Stage(name="b"), replaces=replaces), WrongState, version=1, replaces=replaces)

    @pytest.mark.parametrize(
        "stages",
        [
            (),
            tuple(Stage(name=f"s{number}") for number in range(11)),
            (Stage(name="a"), Stage(name="a")),
            (Stage(name="a", quorum=0),),
            (Stage(name="a", quorum=-1),),
            (Stage(name="a", quorum=11),),
            (Stage(name="a", roles=()),),
            (Stage(name="a", roles=("agent",)),),
            (Stage(name="a", roles=("approver", "auditor")),),
            (Stage(name="a", roles=("approver", "approver")),),
            (Stage(name=""),),
            (Stage(name="a" * 61),),
            (Stage(name="a\nb"),),
        ],
    )
    def test_a_path_that_nobody_could_walk_is_refused(self, stages: Sequence[Stage]) -> None:
        with pytest.raises(InvalidInput):
            self.publish(*stages)

    def test_the_longest_path_is_a_path(self) -> None:
        stages = tuple(Stage(name=f"s{number}", quorum=10) for number in range(10))
        (published,) = house().when(self.publish(*stages))
        assert isinstance(published, ApprovalPathPublished)
        assert published.stages == stages

    @pytest.mark.parametrize(
        "times",
        [
            {"remind": 0},
            {"remind": 601},
            {"expire": 0},
            {"expire": 91 * 86_400},
            {"lifetime": 0},
            {"lifetime": 8 * 86_400},
        ],
    )
    def test_times_are_bounded(self, times: dict[str, int]) -> None:
        with pytest.raises(InvalidInput, match="seconds"):
            self.publish(Stage(name="a"), **times)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("expire", "least"), [(90 * 86_400, 38_687), (7 * 86_400, 3_009), (86_400, 430), (202, 2), (600, 3)]
    )
    def test_people_are_not_told_for_ever(self, expire: int, least: int) -> None:
        """A refusal says what would be right, and that is right: at most 200 times."""
        with pytest.raises(InvalidInput, match=f"remind_after_s at least {least} seconds") as refused:
            self.publish(Stage(name="a"), remind=1, expire=expire)
        assert refused.value.details == {
            "field": "remind_after_s",
            "at_least": least,
            "at_most": expire,
            "reminders": expire - 1,
        }
        with pytest.raises(InvalidInput):
            self.publish(Stage(name="a"), remind=least - 1, expire=expire)
        self.publish(Stage(name="a"), remind=least, expire=expire)
        assert (expire - 1) // least <= 200

    @given(st.integers(1, MAX_PENDING_S))
    def test_what_nobody_says_of_reminders_suits_every_expiry(self, expire: int) -> None:
        """An hour, unless that is longer than anybody waits, or more often than anybody listens."""
        usual = usual_reminder(expire)
        self.publish(Stage(name="a"), remind=usual, expire=expire)
        if 3_600 <= expire <= 200 * 3_600:
            assert usual == 3_600

    def test_a_short_path_may_remind_every_second(self) -> None:
        self.publish(Stage(name="a"), remind=1, expire=201)

    @pytest.mark.parametrize("path_id", ["", "Finance", "a" * 64, "a b", "a\n", "-a"])
    def test_a_name_is_a_name(self, path_id: str) -> None:
        with pytest.raises(InvalidInput, match="name"):
            self.publish(Stage(name="a"), path_id=path_id)

    @pytest.mark.parametrize("by", ["bob", "otto", "audra", "bot"])
    def test_needs_an_administrator(self, by: str) -> None:
        house().refuses(self.publish(Stage(name="a"), by=by), NotAllowed)


class TestRequestApproval:
    def test_everything_about_the_action_comes_from_the_decision(self) -> None:
        log = house().given(decided(), by=AGENT)
        callback = Callback(endpoint="https://pep.example/cb", events=("approved",))
        command = ask(justification="customer is\nangry", client='{"id":"x"}', callback=callback, callback_state="s")
        assert log.decide(command).not_after == T0 + timedelta(minutes=10)
        assert log.when(command) == (
            ApprovalRequested(
                approval_id=APPROVAL,
                decision_id=DECISION,
                subject=SUBJECT,
                action="refund",
                resource=RESOURCE,
                request='{"action":{"name":"refund"}}',
                justification="customer is\nangry",
                callback_state="s",
                client='{"id":"x"}',
                action_digest=ACTION,
                binding_hash=BINDING,
                path_id="default",
                path_version=1,
                stages=PATH.stages,
                remind_after_s=600,
                grant_lifetime_s=900,
                requester=prn("bot"),
                requesters=(prn("bot"), prn("bob")),
                owners=(prn("bob"),),
                expires_at=T0 + HOUR,
                callback=callback,
            ),
        )

    def test_the_latest_version_of_the_path_named_by_policy_counts(self) -> None:
        log = house().given(
            path(Stage(name="a"), path_id="finance"),
            path(Stage(name="b", quorum=2), path_id="finance", path_version=2, expires_after_s=60),
        )
        log.given(decided(approval_path="finance"), by=AGENT)
        (request,) = log.when(ask())
        assert isinstance(request, ApprovalRequested)
        assert (request.path_id, request.path_version, request.stages[0].quorum) == ("finance", 2, 2)
        assert request.expires_at == T0 + timedelta(minutes=1)

    def test_a_decision_without_a_path_means_the_default_one(self) -> None:
        log = house().given(decided(approval_path=None), by=AGENT)
        (request,) = log.when(ask())
        assert isinstance(request, ApprovalRequested)
        assert request.path_id == "default"

    def test_a_path_that_is_not_there_is_no_way_around(self) -> None:
        log = house().given(decided(approval_path="finance"), by=AGENT)
        log.refuses(ask(), NotRequestable, "publish", path_id="finance")

    @pytest.mark.parametrize("outcome", ["permit", "deny"])
    def test_only_what_policy_wants_asked_is_asked(self, outcome: Outcome) -> None:
        house().given(decided(outcome), by=AGENT).refuses(ask(), NotRequestable, outcome=outcome)

    @pytest.mark.parametrize(
        "changed",
        [
            {"decision_id": OTHER_DECISION},
            {"action_digest": OTHER_ACTION},
            {"binding_hash": "sha256:" + "d" * 64},
            {"subject": f"agent:{prn('other')}"},
            {"resource": "account:4712"},
            {"by": acting("cron", "service")},
            {"by": acting("bot", "agent", for_=["cleo"])},
        ],
    )
    def test_it_is_bound_to_its_decision(self, changed: dict[str, str]) -> None:
        log = house().given(registered("cron", "agent", kind="service", owner="bob")).given(decided(), by=AGENT)
        log.refuses(ask(**changed), InvalidDenialBinding)  # type: ignore[arg-type]

    def test_a_decision_grows_old(self) -> None:
        log = house().given(decided(), by=AGENT)
        log.wait(minutes=10, microseconds=-1)
        log.decide(ask())
        log.wait(microseconds=1)
        log.refuses(ask(), ExpiredDenial, "evaluate again", expired_at=T0 + timedelta(minutes=10))

    def test_the_window_is_a_setting(self) -> None:
        log = house().given(decided(), by=AGENT).wait(seconds=60)
        log.refuses(ask(window=timedelta(seconds=60)), ExpiredDenial)
        log.decide(ask(window=timedelta(seconds=61)))

    def test_whoever_is_gone_asks_nothing(self) -> None:
        log = house().given(decided(), by=AGENT)
        log.given(PrincipalDeactivated(principal_id=prn("bot"), reason="x"))
        log.refuses(ask(), NotAllowed)

    def test_nothing_is_asked_in_a_closed_tenant(self) -> None:
        log = house().given(decided(), by=AGENT).given(TenantClosed(tenant=TENANT, reason="x"))
        log.refuses(ask(), WrongState, "closed")

    def test_an_auditor_asks_nothing(self) -> None:
        log = house().given(decided(subject="user:x"), by=acting("audra"))
        log.refuses(ask(acting("audra"), subject="user:x"), NotAllowed, "commands nothing")

    def test_an_emergency_is_explained(self) -> None:
        for justification in (None, "", " \n"):
            with pytest.raises(InvalidInput, match="justification"):
                ask(emergency=True, justification=justification)
        log = house().given(decided(), by=AGENT)
        (request,) = log.when(ask(emergency=True, justification="the shop is down"))
        assert isinstance(request, ApprovalRequested)
        assert request.emergency

    def test_requested_until_bounds_the_wait(self) -> None:
        log = house().given(decided(), by=AGENT)
        until = (T0 + timedelta(minutes=5)).astimezone(timezone(timedelta(hours=2)))
        (request,) = log.when(ask(requested_until=until))
        assert isinstance(request, ApprovalRequested)
        assert request.expires_at == request.requested_until == T0 + timedelta(minutes=5)
        assert request.requested_until is not None
        assert request.requested_until.tzinfo is UTC

    def test_requested_until_lies_ahead_and_has_a_zone(self) -> None:
        house().given(decided(), by=AGENT).refuses(ask(requested_until=T0), InvalidInput, "over already")
        with pytest.raises(InvalidInput, match="time zone"):
            ask(requested_until=datetime(2026, 1, 6))  # noqa: DTZ001

    def test_text_may_be_as_long_as_it_may_be(self) -> None:
        subject, resource = "s" * 400, "r" * 400
        callback = Callback(endpoint="https://x/", events=("approved",) * 10)
        log = house().given(decided(subject=subject, resource=resource), by=AGENT)
        log.when(ask(subject=subject, resource=resource, justification="x" * 2_000, callback=callback))

    @pytest.mark.parametrize(
        "field",
        [
            {"justification": "x" * 2_001},
            {"justification": "ok\u202e"},
            {"justification": "\x1b[2J"},
            {"client": "x" * 4_001},
            {"client": "\ud800"},
            {"callback_state": "\x00"},
            {"subject": "x" * 401},
            {"resource": "x" * 401},
            {"callback": Callback(endpoint="")},
            {"callback": Callback(endpoint="https://x/" + "a" * 2_000)},
            {"callback": Callback(endpoint="https://x/", events=("approved",) * 11)},
            {"callback": Callback(endpoint="https://x/", events=("a\n",))},
        ],
    )
    def test_text_is_bounded_and_shows_what_it_is(self, field: dict[str, str]) -> None:
        with pytest.raises(InvalidInput):
            ask(**field)  # type: ignore[arg-type]


class TestRequesters:
    """Everyone who wants it, and the humans behind them."""

    def requesters(self, log: Log, by: Actor, subject: str = SUBJECT, resource: str = RESOURCE) -> set[str]:
        log.given(decided(subject=subject, resource=resource), by=by)
        (request,) = log.when(ask(by, subject=subject, resource=resource))
        assert isinstance(request, ApprovalRequested)
        assert request.requester == request.requesters[0] == by.principal
        assert len(set(request.requesters)) == len(request.requesters)
        return set(request.requesters)

    def test_the_chain_and_its_owners(self) -> None:
        log = house().given(registered("cron", "agent", kind="service", owner="dora"))
        by = acting("cron", "service", for_=["bot", "cleo"])
        assert self.requesters(log, by) == {prn(name) for name in ("cron", "dora", "bot", "bob", "cleo")}

    def test_the_subject_and_its_owner(self) -> None:
        log = house().given(registered("pep", "agent", kind="service", owner="dora"))
        assert self.requesters(log, acting("pep", "service"), f"user:{prn('cleo')}") == {
            prn("pep"),
            prn("dora"),
            prn("cleo"),
        }

    def test_whoever_gains_by_it(self) -> None:
        log = house().given(agent("bot2", "cleo"))
        found = self.requesters(log, AGENT, resource=f"principal:{prn('bot2')}")
        assert found == {prn("bot"), prn("bob"), prn("bot2"), prn("cleo")}

    def test_a_subject_with_a_misleading_type_is_found(self) -> None:
        assert prn("cleo") in self.requesters(house(), AGENT, subject=f"a:b\n:{prn('cleo')}")

    def test_the_owner_of_the_moment(self) -> None:
        log = house()
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=acting("ada")))
        assert self.requesters(log, AGENT) == {prn("bot"), prn("cleo")}

    def test_whoever_is_not_known_here_is_named_all_the_same(self) -> None:
        assert self.requesters(house(), acting("emil"), subject=f"user:{prn('stranger')}") == {
            prn("emil"),
            prn("stranger"),
        }

    def test_the_actors_of_the_subject_and_their_owners(self) -> None:
        log = house().given(registered("pep", "agent", kind="service", owner="dora"), agent("bot2", "cleo"))
        pep, user = acting("pep", "service"), f"user:{prn('emil')}"
        inner = {"sub": f"agent:{prn('bot2')}", "act": {"sub": "bot@elsewhere.example"}}
        request = json.dumps({"subject": {"properties": {"act": {"sub": prn("bot"), "act": inner}}}})
        log.given(decided(subject=user, request=request), by=pep)
        for wrong in ((), (prn("bot"),), (inner["sub"], prn("bot"), "bot@elsewhere.example")):
            log.refuses(ask(pep, subject=user, actors=wrong), InvalidDenialBinding)
        actors = (prn("bot"), inner["sub"], "bot@elsewhere.example")
        (request,) = log.when(ask(pep, subject=user, actors=actors))
        assert isinstance(request, ApprovalRequested)
        everyone = {prn(name) for name in ("pep", "dora", "emil", "bot", "bob", "bot2", "cleo")}
        assert set(request.requesters) == everyone
        for name in ("bob", "cleo", "dora", "emil"):
            log.refuses(vote(name), NotAllowed)
        log.given(registered("fay", "approver"))
        log.when(TransferOwnership(principal_id=prn("bot2"), owner=prn("fay"), actor=acting("ada")))
        log.refuses(vote("fay"), NotAllowed, "answer for")

    def test_whoever_has_the_account_that_is_named(self) -> None:
        log = house().given(registered("pep", "agent", kind="service", owner="dora"))
        pep, mine = acting("pep", "service"), "sha256:" + "e" * 64
        log.given(IdentityLinked(principal_id=prn("emil"), issuer="https://idp.example", identity=mine))
        other = IdentityLinked(principal_id=prn("cleo"), issuer="https://idp.example", identity="sha256:" + "f" * 64)
        log.given(other, decided(subject="user:emil@example.com"), by=pep)
        (request,) = log.when(ask(pep, subject="user:emil@example.com", identities=[mine]))
        assert isinstance(request, ApprovalRequested)
        assert set(request.requesters) == {prn(name) for name in ("pep", "dora", "emil")}
        log.refuses(vote("emil"), NotAllowed, "requested")
        log.when(vote("cleo"))

    def test_nobody_is_named_who_was_not_evaluated_for(self) -> None:
        house().given(decided(), by=AGENT).refuses(ask(actors=[prn("emil")]), InvalidDenialBinding)

    def test_what_was_erased_is_not_asked_for(self) -> None:
        house().given(decided(request=None), by=AGENT).refuses(ask(), InvalidDenialBinding)

    def test_a_human_is_alone(self) -> None:
        assert self.requesters(house(), acting("bob"), subject="user:bob") == {prn("bob")}


class TestOneOpenRequest:
    def again(self, log: Log) -> Log:
        return log.given(decided(decision_id=OTHER_DECISION), by=AGENT)

    def test_the_same_action_is_asked_for_once(self) -> None:
        log = self.again(requested())
        log.refuses(
            ask(approval_id=SECOND, decision_id=OTHER_DECISION), AlreadyRequested, "already", approval_id=APPROVAL
        )

    def test_another_action_is_another_request(self) -> None:
        log = requested().given(decided(decision_id=OTHER_DECISION, action_digest=OTHER_ACTION), by=AGENT)
        log.when(ask(approval_id=SECOND, decision_id=OTHER_DECISION, action_digest=OTHER_ACTION))

    def test_the_same_action_under_another_binding_is_another_request(self) -> None:
        other = "sha256:" + "d" * 64
        log = requested().given(decided(decision_id=OTHER_DECISION, binding_hash=other), by=AGENT)
        (second,) = log.when(ask(approval_id=SECOND, decision_id=OTHER_DECISION, binding_hash=other))
        assert isinstance(second, ApprovalRequested)
        assert second.binding_hash == other
        log.given(decided(decision_id=named("dec", "3"), binding_hash=other), by=AGENT)
        third = ask(approval_id=named("apr", "3"), decision_id=named("dec", "3"), binding_hash=other)
        log.refuses(third, AlreadyRequested, approval_id=SECOND)

    def test_the_end_of_one_binding_leaves_the_other_open(self) -> None:
        other = "sha256:" + "d" * 64
        log = requested().given(decided(decision_id=OTHER_DECISION, binding_hash=other), by=AGENT)
        log.when(ask(approval_id=SECOND, decision_id=OTHER_DECISION, binding_hash=other))
        log.when(CancelApproval(approval_id=SECOND, actor=AGENT))
        log.given(decided(decision_id=named("dec", "3")), by=AGENT)
        again = ask(approval_id=named("apr", "3"), decision_id=named("dec", "3"))
        log.refuses(again, AlreadyRequested, approval_id=APPROVAL)

    def test_again_after_a_denial(self) -> None:
        log = requested()
        log.when(vote("cleo", "deny"))
        self.again(log).when(ask(approval_id=SECOND, decision_id=OTHER_DECISION))

    def test_again_after_it_was_taken_back(self) -> None:
        log = requested()
        log.when(CancelApproval(approval_id=APPROVAL, actor=AGENT))
        self.again(log).when(ask(approval_id=SECOND, decision_id=OTHER_DECISION))

    def test_again_when_its_time_is_over_recorded_or_not(self) -> None:
        log = requested()
        log.wait(hours=1, microseconds=-2_000)
        self.again(log)
        log.refuses(ask(approval_id=SECOND, decision_id=OTHER_DECISION), AlreadyRequested)
        log.wait(microseconds=2_000)
        log.decide(ask(approval_id=SECOND, decision_id=OTHER_DECISION))
        log.when(ExpireApproval(approval_id=APPROVAL))
        log.when(ask(approval_id=SECOND, decision_id=OTHER_DECISION))

    def test_not_while_the_grant_waits_to_be_used(self) -> None:
        log = self.again(granted())
        log.refuses(ask(approval_id=SECOND, decision_id=OTHER_DECISION), AlreadyRequested, approval_id=APPROVAL)
        log.when(redeem())
        log.when(ask(approval_id=SECOND, decision_id=OTHER_DECISION))

    def test_again_after_the_grant_was_taken_back_or_ran_out(self) -> None:
        log = granted()
        log.now = log.payloads(GrantMinted)[0].expires_at
        self.again(log).decide(ask(approval_id=SECOND, decision_id=OTHER_DECISION))
        log = granted()
        log.when(RevokeGrant(grant_id=GRANT, reason="x", actor=acting("otto")))
        self.again(log).when(ask(approval_id=SECOND, decision_id=OTHER_DECISION))

    def test_two_at_once_are_one(self) -> None:
        log = self.again(house().given(decided(), by=AGENT))
        assert log.races(ask(), ask(approval_id=SECOND, decision_id=OTHER_DECISION))


class TestCancelApproval:
    def test_by_whoever_asked(self) -> None:
        log = requested()
        cancel = CancelApproval(approval_id=APPROVAL, reason="not needed", actor=AGENT)
        assert log.decide(cancel).not_after == T0 + HOUR
        assert log.when(cancel) == (ApprovalCancelled(approval_id=APPROVAL, action_digest=ACTION, reason="not needed"),)
        log.refuses(CancelApproval(approval_id=APPROVAL, actor=AGENT), WrongState, "cancelled", state="cancelled")
        log.refuses(vote("cleo"), WrongState, state="cancelled")

    @pytest.mark.parametrize(
        "by", [acting("bob"), acting("ada"), acting("cleo"), acting("bot", "agent", for_=["cleo"])]
    )
    def test_by_nobody_else(self, by: Actor) -> None:
        requested().refuses(CancelApproval(approval_id=APPROVAL, actor=by), NotAllowed, requester=prn("bot"))

    def test_not_by_whoever_is_gone_nor_in_a_closed_tenant(self) -> None:
        log = requested().given(PrincipalDeactivated(principal_id=prn("bot"), reason="x"))
        log.refuses(CancelApproval(approval_id=APPROVAL, actor=AGENT), NotAllowed, "not active")
        log = requested().given(TenantClosed(tenant=TENANT, reason="x"))
        log.refuses(CancelApproval(approval_id=APPROVAL, actor=AGENT), WrongState, "closed")

    def test_not_when_it_is_over(self) -> None:
        log = requested()
        log.now = T0 + HOUR
        log.refuses(CancelApproval(approval_id=APPROVAL, actor=AGENT), WrongState, "expired", state="expired")
        house().refuses(CancelApproval(approval_id=APPROVAL, actor=AGENT), NotFound)


class TestExpireApproval:
    def test_only_when_its_time_is_over(self) -> None:
        log = requested()
        log.now = T0 + HOUR - timedelta(microseconds=1)
        log.refuses(ExpireApproval(approval_id=APPROVAL), WrongState, "not over", expires_at=T0 + HOUR)
        log.wait(microseconds=1)
        assert log.when(ExpireApproval(approval_id=APPROVAL)) == (
            ApprovalExpired(approval_id=APPROVAL, action_digest=ACTION),
        )
        log.refuses(ExpireApproval(approval_id=APPROVAL), WrongState, state="expired")

    def test_not_what_was_decided_in_time(self) -> None:
        log = requested()
        log.when(vote("cleo"))
        log.now = T0 + HOUR
        log.refuses(ExpireApproval(approval_id=APPROVAL), WrongState, state="approved")
        log.refuses(ExpireApproval(approval_id=SECOND), NotFound)

    def test_a_vote_and_the_end_race(self) -> None:
        log = requested()
        late = vote("cleo")
        log.decide(late)
        query = late.consistency_boundary()
        log.now = T0 + HOUR
        log.when(ExpireApproval(approval_id=APPROVAL))
        assert any(ApprovalExpired.type in item.types and f"approval:{APPROVAL}" in item.tags for item in query.items)
        log.refuses(late, WrongState, state="expired")


def test_a_closed_tenant_has_no_timers() -> None:
    log = requested().given(TenantClosed(tenant=TENANT, reason="x"))
    log.wait(minutes=30)
    log.refuses(RemindApproval(approval_id=APPROVAL), WrongState, "closed")
    log.wait(minutes=30)
    log.refuses(ExpireApproval(approval_id=APPROVAL), WrongState, "closed")


class TestRemindApproval:
    def test_once_per_interval(self) -> None:
        log = requested()
        remind = RemindApproval(approval_id=APPROVAL)
        log.now = T0 + timedelta(minutes=10) - timedelta(microseconds=1)
        log.refuses(remind, WrongState, "a short while ago", due=T0 + timedelta(minutes=10))
        log.wait(microseconds=1)
        assert log.decide(RemindApproval(approval_id=APPROVAL)).not_after == T0 + HOUR
        assert log.when(RemindApproval(approval_id=APPROVAL)) == (ApprovalReminded(approval_id=APPROVAL),)
        log.refuses(RemindApproval(approval_id=APPROVAL), WrongState, due=T0 + timedelta(minutes=20))
        log.now = T0 + timedelta(minutes=20)
        log.when(RemindApproval(approval_id=APPROVAL))

    def test_only_while_it_waits(self) -> None:
        log = requested()
        log.now = T0 + HOUR
        log.refuses(RemindApproval(approval_id=APPROVAL), WrongState, state="expired")
        log = requested()
        log.when(vote("cleo", "deny"))
        log.wait(minutes=30)
        log.refuses(RemindApproval(approval_id=APPROVAL), WrongState, state="denied")
        house().refuses(RemindApproval(approval_id=APPROVAL), NotFound)
