"""Who may decide, what counts, and when a grant is minted. Serves S0-84, S0-173, S1-76, S1-78, DC-03, DC-07."""

from __future__ import annotations

from datetime import timedelta

import pytest
from approval_world import (
    ACTION,
    AGENT,
    APPROVAL,
    GRANT,
    OTHER_ACTION,
    SUBJECT,
    ask,
    decided,
    house,
    requested,
    vote,
)
from given import T0, TENANT, Log, acting, prn, registered

from quarterdeck_domain.access.events import Role, TenantClosed
from quarterdeck_domain.access.slices import DeactivatePrincipal, GrantRole, RevokeRole, TransferOwnership
from quarterdeck_domain.approvals.errors import DigestMismatch
from quarterdeck_domain.approvals.events import (
    ApprovalDenied,
    ApprovalGranted,
    GrantMinted,
    Stage,
    VoteCast,
)
from quarterdeck_domain.approvals.slices import PublishApprovalPath
from quarterdeck_domain.approvals.values import Vote, counted, open_stage
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor

ADA = acting("ada")
MINUTE = timedelta(minutes=1)


def revoke(name: str, role: Role = "approver") -> RevokeRole:
    return RevokeRole(principal_id=prn(name), role=role, actor=ADA)


def deactivate(name: str) -> DeactivatePrincipal:
    return DeactivatePrincipal(principal_id=prn(name), reason="left", actor=ADA)


def give(name: str, role: Role = "approver") -> GrantRole:
    return GrantRole(principal_id=prn(name), role=role, actor=ADA)


def mints(log: Log) -> int:
    return len(log.payloads(GrantMinted))


class TestOneVote:
    def test_approves_and_mints_at_once(self) -> None:
        log = requested()
        now = log.now
        assert log.decide(vote("cleo")).not_after == T0 + timedelta(hours=1)
        until = now + timedelta(minutes=15)
        assert log.when(vote("cleo", comment="fine by me")) == (
            VoteCast(
                approval_id=APPROVAL,
                approver=prn("cleo"),
                stage="decide",
                verdict="approve",
                comment="fine by me",
                action_digest=ACTION,
            ),
            ApprovalGranted(approval_id=APPROVAL, action_digest=ACTION, approved_until=until),
            GrantMinted(
                grant_id=GRANT,
                approval_id=APPROVAL,
                subject=SUBJECT,
                redeemer=prn("bot"),
                action_digest=ACTION,
                expires_at=until,
            ),
        )

    def test_denies_at_once(self) -> None:
        log = requested(Stage(name="decide", quorum=3))
        cast, denied = log.when(vote("cleo", "deny"))
        assert isinstance(cast, VoteCast)
        assert cast.verdict == "deny"
        assert denied == ApprovalDenied(approval_id=APPROVAL, action_digest=ACTION)
        for late in (vote("dora"), vote("cleo"), vote("dora", "deny")):
            log.refuses(late, WrongState, "denied", state="denied")

    def test_a_decision_is_final(self) -> None:
        log = requested()
        log.when(vote("cleo"))
        log.refuses(vote("dora", "deny"), WrongState, "approved", state="approved")

    def test_a_grant_lives_no_longer_than_what_was_asked_for(self) -> None:
        log = requested(requested_until=T0 + timedelta(minutes=5))
        _, granted, minted = log.when(vote("cleo"))
        assert isinstance(granted, ApprovalGranted)
        assert isinstance(minted, GrantMinted)
        assert granted.approved_until == minted.expires_at == T0 + timedelta(minutes=5)

    def test_time_ends_it(self) -> None:
        log = requested()
        log.now = T0 + timedelta(hours=1, microseconds=-1)
        log.decide(vote("cleo"))
        log.wait(microseconds=1)
        for verdict in ("approve", "deny"):
            log.refuses(vote("cleo", verdict), WrongState, "expired", state="expired")  # type: ignore[arg-type]

    def test_there_must_be_something_to_decide(self) -> None:
        house().refuses(vote("cleo"), NotFound)

    def test_what_was_shown_is_what_is_decided(self) -> None:
        log = requested()
        for verdict in ("approve", "deny"):
            log.refuses(
                vote("cleo", verdict, shown=OTHER_ACTION),  # type: ignore[arg-type]
                DigestMismatch,
                shown=OTHER_ACTION,
                asked=ACTION,
            )

    @pytest.mark.parametrize("comment", ["x" * 2_001, "\u202e", "\x07"])
    def test_a_comment_is_plain_text(self, comment: str) -> None:
        with pytest.raises(InvalidInput, match="comment"):
            vote("cleo", comment=comment)

    def test_a_closed_tenant_decides_nothing(self) -> None:
        requested().given(TenantClosed(tenant=TENANT, reason="x")).refuses(vote("cleo"), WrongState, "closed")


class TestWhoMayVote:
    @pytest.mark.parametrize("name", ["ada", "otto", "audra", "nobody"])
    def test_not_without_the_role(self, name: str) -> None:
        requested().refuses(vote(name), NotAllowed)

    def test_the_role_asked_for_is_named(self) -> None:
        requested().refuses(vote("otto"), NotAllowed, "approver", stage="decide", needs=("approver",))

    def test_any_of_the_stages_roles_will_do(self) -> None:
        for name in ("ada", "otto", "cleo"):
            log = requested(Stage(name="decide", roles=("administrator", "approver", "operator")))
            log.when(vote(name))
            assert mints(log) == 1

    def test_not_the_requester(self) -> None:
        log = house().given(decided(), by=acting("cleo"))
        log.when(ask(acting("cleo")))
        log.refuses(vote("cleo"), NotAllowed, "^you requested this;", requester=prn("cleo"))
        log.refuses(vote("cleo", "deny"), NotAllowed, "you requested this")
        log.when(vote("dora"))

    def test_not_whoever_it_is_requested_for(self) -> None:
        by = acting("bot", "agent", for_=["cleo"])
        log = requested(by=by)
        log.refuses(vote("cleo"), NotAllowed, "^this was requested for you;", requester=prn("bot"))

    def test_not_the_requesters_owner(self) -> None:
        refused = requested().refuses(vote("bob"), NotAllowed, "^you answer for whoever requested this;")
        assert refused.details == {"requester": prn("bot"), "requesters": (prn("bot"),)}

    def test_not_whoever_has_become_the_owner_since(self) -> None:
        log = requested()
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA))
        log.refuses(vote("cleo"), NotAllowed, "answer for", requesters=(prn("bot"),))
        refused = log.refuses(vote("bob"), NotAllowed, "^when this was requested, you answered for whoever wanted it;")
        assert refused.details == {"requester": prn("bot")}
        log.when(vote("dora"))

    def test_not_even_when_what_they_answer_for_was_stopped(self) -> None:
        log = requested()
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA))
        log.when(deactivate("bot"))
        log.refuses(vote("cleo"), NotAllowed, "answer for")

    def test_whoever_was_owner_for_a_while_after_it_was_asked_may(self) -> None:
        log = requested()
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA))
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("dora"), actor=ADA))
        log.when(vote("cleo"))
        assert mints(log) == 1

    def test_not_the_owner_of_somebody_in_the_chain(self) -> None:
        log = house().given(registered("cron", "agent", kind="service", owner="dora"))
        by = acting("bot", "agent", for_=["cron"])
        log.given(decided(), by=by)
        log.when(ask(by))
        log.refuses(vote("dora"), NotAllowed, "^you answer for whoever this was requested for;")

    @pytest.mark.parametrize(
        "by",
        [
            acting("cleo", for_=["dora"]),
            acting("bot", "agent"),
            acting("bot", "human"),
            acting("cron", "service"),
            acting("nobody"),
        ],
    )
    def test_only_a_human_in_person(self, by: Actor) -> None:
        log = house(Stage(name="decide", roles=("approver", "operator"))).given(
            registered("cron", "operator", kind="service", owner="dora")
        )
        log.given(decided(), by=acting("emil"))
        log.when(ask(acting("emil")))
        log.refuses(vote(by), NotAllowed)

    def test_not_whoever_was_deactivated(self) -> None:
        log = requested()
        log.when(deactivate("cleo"))
        log.refuses(vote("cleo"), NotAllowed, "not active")

    def test_not_whoever_lost_the_role(self) -> None:
        log = requested()
        log.when(revoke("cleo"))
        log.refuses(vote("cleo"), NotAllowed, needs=("approver",))
        log.when(give("cleo"))
        log.when(vote("cleo"))

    def test_an_approver_made_after_it_was_asked_may(self) -> None:
        log = requested()
        log.when(give("otto"))
        log.when(vote("otto"))


class TestQuorum:
    TWO = Stage(name="team", quorum=2)

    def test_counts_people(self) -> None:
        log = requested(self.TWO)
        (first,) = log.when(vote("cleo"))
        assert isinstance(first, VoteCast)
        log.refuses(vote("cleo"), WrongState, "nobody votes twice")
        log.refuses(vote("cleo", "deny"), WrongState, "nobody votes twice")
        assert mints(log) == 0
        assert len(log.when(vote("dora"))) == 3
        assert mints(log) == 1

    def test_stages_come_in_order(self) -> None:
        log = requested(Stage(name="team"), Stage(name="ops", roles=("operator",)))
        log.refuses(vote("otto"), NotAllowed, stage="team")
        (first,) = log.when(vote("cleo"))
        assert isinstance(first, VoteCast)
        assert first.stage == "team"
        log.refuses(vote("dora"), NotAllowed, stage="ops")
        second, *_ = log.when(vote("otto"))
        assert isinstance(second, VoteCast)
        assert second.stage == "ops"
        assert mints(log) == 1

    def test_nobody_votes_in_two_stages(self) -> None:
        log = requested(Stage(name="one"), Stage(name="two"))
        log.when(vote("cleo"))
        log.refuses(vote("cleo"), WrongState, "nobody votes twice")
        log.when(vote("dora"))
        assert mints(log) == 1

    def test_a_later_stage_denies_too(self) -> None:
        log = requested(Stage(name="one"), Stage(name="two"))
        log.when(vote("cleo"))
        log.when(vote("dora", "deny"))
        assert mints(log) == 0
        log.refuses(vote("emil"), WrongState, state="denied")

    @pytest.mark.parametrize("lost", [revoke("cleo"), deactivate("cleo")])
    def test_whoever_lost_the_role_before_the_quorum_no_longer_counts(
        self, lost: RevokeRole | DeactivatePrincipal
    ) -> None:
        log = requested(self.TWO)
        log.when(vote("cleo"))
        log.when(lost)
        assert len(log.when(vote("dora"))) == 1
        assert mints(log) == 0
        log.when(vote("emil"))
        assert mints(log) == 1

    def test_a_role_that_came_back_counts_again(self) -> None:
        log = requested(self.TWO)
        log.when(vote("cleo"))
        log.when(revoke("cleo"))
        log.when(give("cleo"))
        log.when(vote("dora"))
        assert mints(log) == 1

    def test_another_role_of_the_stage_is_as_good(self) -> None:
        log = requested(Stage(name="team", quorum=2, roles=("approver", "operator")))
        log.when(vote("cleo"))
        log.when(give("cleo", "operator"))
        log.when(revoke("cleo"))
        log.when(vote("dora"))
        assert mints(log) == 1

    def test_a_role_of_another_stage_is_not(self) -> None:
        log = requested(self.TWO)
        log.when(vote("cleo"))
        log.when(give("cleo", "operator"))
        log.when(revoke("cleo"))
        log.when(vote("dora"))
        assert mints(log) == 0

    def test_an_earlier_stage_that_lost_its_quorum_is_voted_again(self) -> None:
        log = requested(Stage(name="team"), Stage(name="ops", roles=("operator",)))
        log.when(vote("cleo"))
        log.when(revoke("cleo"))
        log.refuses(vote("otto"), NotAllowed, stage="team")
        log.when(vote("dora"))
        log.when(vote("otto"))
        assert mints(log) == 1

    def test_the_last_vote_counts_every_stage_anew(self) -> None:
        log = requested(Stage(name="team"), Stage(name="ops", roles=("operator",), quorum=2))
        log.given(registered("olga", "operator"))
        log.when(vote("cleo"))
        log.when(vote("otto"))
        log.when(revoke("cleo"))
        log.refuses(vote("olga"), NotAllowed, stage="team")
        (only,) = log.when(vote("dora"))
        assert isinstance(only, VoteCast)
        assert only.stage == "team"
        log.when(vote("olga"))
        assert mints(log) == 1

    def test_when_roles_came_back_the_next_vote_settles_it(self) -> None:
        log = requested(self.TWO)
        log.when(vote("cleo"))
        log.when(revoke("cleo"))
        log.when(vote("dora"))
        log.when(give("cleo"))
        assert mints(log) == 0
        cast, *_ = log.when(vote("emil"))
        assert isinstance(cast, VoteCast)
        assert cast.stage == "team"
        assert mints(log) == 1

    def test_a_new_version_of_the_path_changes_no_open_request(self) -> None:
        log = requested(self.TWO)
        log.when(vote("cleo"))
        log.when(
            PublishApprovalPath(
                path_id="default",
                stages=(Stage(name="team"),),
                remind_after_s=1,
                expires_after_s=1,
                grant_lifetime_s=1,
                replaces=1,
                actor=ADA,
            )
        )
        log.when(vote("dora"))
        (minted,) = log.payloads(GrantMinted)
        assert minted.expires_at > log.now + 14 * MINUTE


class TestCounting:
    """The counting itself, which readers use too."""

    STAGES = (Stage(name="one", quorum=2), Stage(name="two", roles=("operator",)))

    def roles(self, name: str) -> frozenset[Role]:
        return frozenset({"o": {"operator"}, "x": set()}.get(name[0], {"approver"}))  # type: ignore[arg-type]

    def votes(self, *found: tuple[str, str]) -> tuple[Vote, ...]:
        return tuple(
            Vote(approver=name, stage=stage, verdict="deny" if name.endswith("!") else "approve")
            for name, stage in found
        )

    def test_counts_approvals_of_the_eligible_in_their_stage_once(self) -> None:
        votes = self.votes(("a", "one"), ("a", "one"), ("b!", "one"), ("x", "one"), ("o", "one"), ("c", "two"))
        assert counted(self.STAGES[0], votes, self.roles) == {"a"}
        assert counted(self.STAGES[1], votes, self.roles) == frozenset()

    def test_the_first_stage_without_its_quorum_is_open(self) -> None:
        one, two = self.STAGES
        assert open_stage(self.STAGES, (), self.roles) is one
        assert open_stage(self.STAGES, self.votes(("a", "one"), ("o", "two")), self.roles) is one
        assert open_stage(self.STAGES, self.votes(("a", "one"), ("b", "one")), self.roles) is two
        assert open_stage(self.STAGES, self.votes(("a", "one"), ("b", "one"), ("o", "two")), self.roles) is None


class TestRaces:
    """Whatever would change a vote's outcome makes it decide again."""

    def second_vote(self) -> Log:
        log = requested(Stage(name="team", quorum=2))
        log.when(vote("cleo"))
        return log

    def test_two_votes_at_once(self) -> None:
        assert requested().races(vote("cleo"), vote("dora"))
        assert requested().races(vote("cleo", "deny"), vote("dora"))

    def test_an_earlier_voter_loses_the_role(self) -> None:
        assert self.second_vote().races(revoke("cleo"), vote("dora"))

    def test_an_earlier_voter_is_deactivated(self) -> None:
        assert self.second_vote().races(deactivate("cleo"), vote("dora"))

    def test_the_voter_loses_the_role(self) -> None:
        assert requested().races(revoke("cleo"), vote("cleo"))

    def test_the_voter_becomes_the_owner(self) -> None:
        transfer = TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA)
        assert requested().races(transfer, vote("cleo"))

    def test_strangers_do_not_disturb(self) -> None:
        log = requested()
        log.given(decided(decision_id="dec_other", action_digest=OTHER_ACTION), by=AGENT)
        other = ask(approval_id="apr_other", decision_id="dec_other", action_digest=OTHER_ACTION)
        assert not log.races(other, vote("cleo"))
        assert not log.races(vote("dora", approval_id="apr_other", shown=OTHER_ACTION), vote("cleo"))
