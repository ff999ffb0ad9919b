"""Grants are used once, for what they were given for; effects end once. Serves S0-84, S1-78, DC-02, DC-07."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from approval_world import (
    ACTION,
    AGENT,
    APPROVAL,
    DECISION,
    EFFECT,
    GRANT,
    OTHER_ACTION,
    REEVALUATION,
    decided,
    granted,
    house,
    redeem,
    reevaluated,
    requested,
    vote,
)
from given import TENANT, Log, acting, named, prn, registered

from quarterdeck_domain.access.events import PrincipalDeactivated, TenantClosed
from quarterdeck_domain.access.slices import DeactivatePrincipal, RevokeRole
from quarterdeck_domain.approvals.errors import DigestMismatch
from quarterdeck_domain.approvals.events import (
    EffectOutcome,
    EffectReconciled,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
)
from quarterdeck_domain.approvals.slices import ReconcileEffect, ReportEffect, RevokeGrant
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.estate.events import AssetQuarantined, AssetRegistered, AssetsMerged, RelationDeclared
from quarterdeck_domain.events import Actor
from quarterdeck_domain.policy.events import BundleModeChanged, Outcome

POLICY_CHANGED = BundleModeChanged(bundle_id="bnd_2", mode="enforced", replaces="bnd_1")


def revoke(by: str = "otto") -> RevokeGrant:
    return RevokeGrant(grant_id=GRANT, reason="changed our mind", actor=acting(by))


def report(outcome: EffectOutcome, by: Actor = AGENT, detail: str = "") -> ReportEffect:
    return ReportEffect(effect_id=EFFECT, outcome=outcome, detail=detail, actor=by)


def reconcile(by: Actor | None = None) -> ReconcileEffect:
    return ReconcileEffect(effect_id=EFFECT, outcome="committed", reason="seen in the bank", actor=by or acting("otto"))


def redeemed() -> Log:
    log = granted()
    log.when(redeem())
    return log


class TestRedeemGrant:
    def test_starts_the_effect(self) -> None:
        log = granted()
        assert log.decide(redeem()).not_after == log.payloads(GrantMinted)[0].expires_at
        assert log.when(redeem()) == (
            GrantRedeemed(
                grant_id=GRANT,
                approval_id=APPROVAL,
                effect_id=EFFECT,
                redeemer=prn("bot"),
                effect_class="at_most_once",
                action_digest=ACTION,
                decision_id=REEVALUATION,
            ),
        )

    def test_happens_once(self) -> None:
        log = redeemed()
        log.refuses(redeem(effect_id=named("eff", "2")), WrongState, "redeemed", state="redeemed", approval_id=APPROVAL)

    def test_two_at_once_are_one(self) -> None:
        assert granted().races(redeem(), redeem(effect_id=named("eff", "2")))

    def test_is_for_exactly_what_was_approved(self) -> None:
        granted().refuses(redeem(action_digest=OTHER_ACTION), DigestMismatch, granted=ACTION, found=OTHER_ACTION)

    @pytest.mark.parametrize("by", [acting("bob"), acting("ada"), acting("cleo"), acting("cron", "service")])
    def test_is_its_requesters_alone(self, by: Actor) -> None:
        log = granted().given(registered("cron", "agent", kind="service", owner="bob"))
        log.refuses(redeem(by), NotFound)

    def test_a_stranger_does_not_learn_whether_it_was_used(self) -> None:
        before = granted().refuses(redeem(acting("bob")), NotFound)
        after = redeemed().refuses(redeem(acting("bob")), NotFound)
        never = house().refuses(redeem(acting("bob")), NotFound)
        assert str(before) == str(after) == str(never)
        assert before.details == after.details == never.details

    def test_ends_when_it_says(self) -> None:
        log = granted()
        until = log.payloads(GrantMinted)[0].expires_at
        log.now = until - timedelta(seconds=1)
        reevaluated(log, decision_id="dec_late")
        log.now = until - timedelta(microseconds=1)
        log.decide(redeem(decision_id="dec_late"))
        log.wait(microseconds=1)
        log.refuses(redeem(decision_id="dec_late"), WrongState, "expired", state="expired")

    def test_not_after_it_was_taken_back(self) -> None:
        log = granted()
        log.when(revoke())
        log.refuses(redeem(), WrongState, "revoked", state="revoked")

    def test_taking_back_and_using_race(self) -> None:
        assert granted().races(revoke(), redeem())
        assert granted().races(redeem(), revoke())

    def test_not_by_whoever_is_gone(self) -> None:
        log = granted().given(PrincipalDeactivated(principal_id=prn("bot"), reason="x"))
        log.refuses(redeem(), NotAllowed, "not active")

    def test_not_in_a_closed_tenant(self) -> None:
        granted().given(TenantClosed(tenant=TENANT, reason="x")).refuses(redeem(), WrongState, "closed")

    def test_losing_it_races_with_using_it(self) -> None:
        gone = DeactivatePrincipal(principal_id=prn("bot"), reason="misbehaves", actor=acting("ada"))
        assert granted().races(gone, redeem())


class TestReevaluation:
    """A grant is worth only what the policy in force says when it is used."""

    def minted(self) -> Log:
        log = requested()
        log.when(vote("cleo"))
        return log

    def test_is_needed(self) -> None:
        self.minted().refuses(redeem(), WrongState, "evaluate the action again", approval_id=APPROVAL)

    @pytest.mark.parametrize("outcome", ["deny", "approval_required"])
    def test_is_a_permit(self, outcome: Outcome) -> None:
        log = reevaluated(self.minted(), outcome)
        log.refuses(redeem(), NotAllowed, outcome, decision_id=REEVALUATION)

    @pytest.mark.parametrize("approval_id", [None, named("apr", "2")])
    def test_is_with_this_approval(self, approval_id: str | None) -> None:
        reevaluated(self.minted(), approval_id=approval_id).refuses(redeem(), WrongState, "evaluate")

    def test_is_of_this_action(self) -> None:
        reevaluated(self.minted(), action_digest=OTHER_ACTION).refuses(redeem(), WrongState, "evaluate")

    @pytest.mark.parametrize("by", [acting("bob"), acting("bot", "agent", for_=["bob"])])
    def test_is_the_redeemers_own(self, by: Actor) -> None:
        reevaluated(self.minted(), by=by).refuses(redeem(), WrongState, "evaluate")

    def test_is_not_the_first_decision_again(self) -> None:
        self.minted().refuses(redeem(decision_id=DECISION), WrongState, "evaluate")

    def test_came_after_the_grant(self) -> None:
        log = requested()
        reevaluated(log)
        log.when(vote("cleo"))
        log.refuses(redeem(), WrongState, "evaluate")

    def test_grows_old(self) -> None:
        log = reevaluated(self.minted())
        log.wait(minutes=5, microseconds=-1)
        log.decide(redeem())
        log.wait(microseconds=1)
        log.refuses(redeem(), WrongState, "moved on")

    def test_is_by_the_policy_in_force(self) -> None:
        log = reevaluated(self.minted()).given(POLICY_CHANGED)
        log.refuses(redeem(), WrongState, "moved on")
        reevaluated(log, decision_id="dec_new")
        log.when(redeem(decision_id="dec_new"))

    def test_that_had_not_seen_a_change_of_policy_is_not_enough(self) -> None:
        log = self.minted()
        seen = len(log.events)
        log.given(POLICY_CHANGED)
        reevaluated(log, estate_position=seen).refuses(redeem(), WrongState, "moved on")

    def test_a_change_of_policy_races_with_it(self) -> None:
        log = reevaluated(self.minted())
        assert BundleModeChanged.type in {kind for item in redeem().consistency_boundary().items for kind in item.types}
        log.given(POLICY_CHANGED)
        log.refuses(redeem(), WrongState)


class TestRevokeGrant:
    @pytest.mark.parametrize("by", ["otto", "ada"])
    def test_by_an_operator_or_administrator(self, by: str) -> None:
        assert granted().when(revoke(by)) == (
            GrantRevoked(grant_id=GRANT, approval_id=APPROVAL, action_digest=ACTION, reason="changed our mind"),
        )

    @pytest.mark.parametrize("by", ["bob", "cleo", "audra", "bot"])
    def test_by_nobody_else(self, by: str) -> None:
        granted().refuses(revoke(by), NotAllowed)

    def test_only_an_unused_one(self) -> None:
        log = granted()
        log.when(revoke())
        log.refuses(revoke(), WrongState, state="revoked")
        redeemed().refuses(revoke(), WrongState, state="redeemed")
        log = granted()
        log.wait(hours=1)
        log.refuses(revoke(), WrongState, state="expired")
        house().refuses(revoke(), NotFound)


class TestReportEffect:
    @pytest.mark.parametrize("outcome", ["committed", "failed", "unknown"])
    def test_once_by_whoever_redeemed(self, outcome: EffectOutcome) -> None:
        log = redeemed()
        assert log.when(report(outcome, detail="HTTP 200")) == (
            EffectReported(effect_id=EFFECT, grant_id=GRANT, approval_id=APPROVAL, outcome=outcome, detail="HTTP 200"),
        )
        for again in ("committed", "failed", "unknown"):
            log.refuses(report(again), WrongState, f"is {outcome} already", outcome=outcome)  # type: ignore[arg-type]

    @pytest.mark.parametrize("by", [acting("bob"), acting("ada"), acting("otto")])
    def test_by_nobody_else(self, by: Actor) -> None:
        redeemed().refuses(report("committed", by), NotAllowed)

    def test_not_by_whoever_is_gone_nor_in_a_closed_tenant(self) -> None:
        log = redeemed().given(PrincipalDeactivated(principal_id=prn("bot"), reason="x"))
        log.refuses(report("committed"), NotAllowed, "not active")
        log = redeemed().given(TenantClosed(tenant=TENANT, reason="x"))
        log.refuses(report("committed"), WrongState, "closed")

    def test_there_must_be_one(self) -> None:
        granted().refuses(report("committed"), NotFound)

    @pytest.mark.parametrize(
        ("detail", "kept"),
        [
            ("Traceback\n  x", "Traceback\\u{000a}  x"),
            ("\x1b[31mred\x00", "\\u{001b}[31mred\\u{0000}"),
            ("\u202etxt", "\\u{202e}txt"),
            ("\ud800", "\\u{d800}"),
            ("a" * 2_000, "a" * 2_000),
            ("a" * 2_001, "a" * 1_999 + "…"),
            ("\n" * 2_000, ("\\u{000a}" * 2_000)[:1_999] + "…"),
        ],
    )
    def test_is_never_lost_over_its_wording(self, detail: str, kept: str) -> None:
        (reported,) = redeemed().when(report("failed", detail=detail))
        assert isinstance(reported, EffectReported)
        assert reported.detail == kept

    def test_after_it_was_settled_it_is_too_late(self) -> None:
        log = redeemed()
        log.when(reconcile())
        log.refuses(report("failed"), WrongState, outcome="committed")


class TestReconcileEffect:
    def test_what_nobody_knows(self) -> None:
        log = redeemed()
        log.when(report("unknown"))
        assert log.when(reconcile()) == (
            EffectReconciled(
                effect_id=EFFECT,
                grant_id=GRANT,
                approval_id=APPROVAL,
                outcome="committed",
                reason="seen in the bank",
            ),
        )
        log.refuses(reconcile(), WrongState, "committed already", outcome="committed")

    def test_what_nobody_reported(self) -> None:
        redeemed().when(reconcile(acting("ada")))

    @pytest.mark.parametrize("outcome", ["committed", "failed"])
    def test_not_what_is_known(self, outcome: EffectOutcome) -> None:
        log = redeemed()
        log.when(report(outcome))
        log.refuses(reconcile(), WrongState, outcome=outcome)

    def test_by_nobody_else(self) -> None:
        log = redeemed().given(registered("cron", "operator", kind="service", owner="bob"))
        for by in (AGENT, acting("bob"), acting("audra")):
            log.refuses(reconcile(by), NotAllowed)
        log.refuses(reconcile(acting("cron", "human")), NotAllowed, "only a human")
        log.when(RevokeRole(principal_id=prn("otto"), role="operator", actor=acting("ada")))
        log.refuses(reconcile(), NotAllowed)

    def test_there_must_be_one(self) -> None:
        granted().refuses(reconcile(), NotFound)

    def test_is_explained(self) -> None:
        with pytest.raises(InvalidInput, match="reason"):
            ReconcileEffect(effect_id=EFFECT, outcome="failed", reason="", actor=acting("otto"))

    def test_reporting_and_settling_race(self) -> None:
        assert redeemed().races(report("failed"), reconcile())
        assert redeemed().races(reconcile(), report("failed"))


def test_a_decision_about_something_else_changes_nothing() -> None:
    log = granted().given(decided("deny", decision_id="dec_other", action_digest=OTHER_ACTION), by=AGENT)
    log.when(redeem())


TOOL, SERVER = "tool:crm/refund", "mcp_server:crm"
SHUT = AssetQuarantined(asset=TOOL, reason="it changed", previous_lifecycle="live")
TOUCHED = {
    "the tool is shut": SHUT,
    "its server is shut": AssetQuarantined(asset=SERVER, reason="breached", previous_lifecycle="live"),
    "it is merged away": AssetsMerged(survivor="tool:other", merged=TOOL),
    "another server exposes it": RelationDeclared(source="mcp_server:evil", relation="exposes", target=TOOL),
}


@pytest.mark.parametrize("what", TOUCHED)
def test_a_grant_is_not_used_on_a_permit_that_did_not_see_what_became_of_its_objects(what: str) -> None:
    """Whoever redeems has to ask policy again; what happens to others of the estate is nothing to it."""
    log = requested()
    log.when(vote("cleo"))
    log.given(AssetRegistered(asset=TOOL, facts={}, source="x"), AssetRegistered(asset=SERVER, facts={}, source="x"))
    reevaluated(log, estate=(TOOL, SERVER))
    other = AssetQuarantined(asset="tool:crm/lookup", reason="it changed", previous_lifecycle="live")
    log.given(other, RelationDeclared(source="agent:a", relation="calls", target=TOOL))
    assert isinstance(copy.deepcopy(log).when(redeem())[0], GrantRedeemed)
    log.given(TOUCHED[what])
    log.refuses(redeem(), WrongState, match="evaluate again")
    reevaluated(log, estate=(TOOL, SERVER))
    assert isinstance(log.when(redeem())[0], GrantRedeemed)
