"""A story in which every event type happens, in an order and with a content that the rules allow: for recordings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from golden_events import example

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.estate import source_events as sources
from quarterdeck_domain.events import Event
from quarterdeck_domain.policy import events as policy


def beginning(tenant: str) -> list[Event]:
    """Return how every tenant begins."""
    return [access.TenantOpened(tenant=tenant, display_name=tenant.title())]


def end(tenant: str) -> list[Event]:
    """Return how a tenant ends."""
    return [access.TenantClosed(tenant=tenant, reason="the team moved on")]


def chapter(number: int, now: datetime) -> list[Event]:
    """Return one round of everything else that can happen, about things that no other round is about."""
    return [*_people(number, now), *_policy(number), *_approvals(number, now), *_estate(number, now)]


def _people(n: int, now: datetime) -> Iterator[Event]:
    owner, agent, session, key = f"prn_owner{n:017d}", f"prn_agent{n:017d}", f"key_session{n}", f"key_agent{n}"
    yield _of(access.PrincipalRegistered, principal_id=owner, kind="human", email=f"ada{n}@example.test", owner=None)
    yield _of(access.AdministratorRecovered, principal_id=owner)
    yield _of(access.SignInLinkIssued, link_id=f"lnk_{n}", principal_id=owner, expires_at=now + timedelta(days=1))
    yield _of(access.ApiKeyIssued, key_id=session, principal_id=owner, purpose="session", acts_for=())
    yield _of(access.SignInLinkUsed, link_id=f"lnk_{n}", principal_id=owner, key_id=session)
    yield _of(access.IdentityLinked, principal_id=owner, identity=f"identity-{n}")
    yield _of(access.PrincipalRegistered, principal_id=agent, kind="agent", email=None, owner=owner)
    yield _of(access.RoleGranted, principal_id=agent, role="operator")
    yield _of(access.RoleRevoked, principal_id=agent, role="operator")
    yield _of(access.OwnershipTransferred, principal_id=agent, owner=owner, previous_owner=owner)
    yield _of(access.ApiKeyIssued, key_id=key, principal_id=agent, purpose="api", acts_for=())
    yield _of(access.ApiKeyIssued, key_id=f"{key}b", principal_id=agent, purpose="api", acts_for=(owner,))
    yield _of(access.ApiKeyRotated, key_id=key, new_key_id=f"{key}b", principal_id=agent)
    yield _of(access.ApiKeyRevoked, key_id=f"{key}b", principal_id=agent)
    yield _of(access.SigningKeyRotated, key_id=f"sig_{n}", previous_key_id=None if n == 0 else f"sig_{n - 1}")
    yield _of(access.PrincipalDeactivated, principal_id=agent, owner=owner)
    gone = f"prn_gone{n:018d}"
    yield _of(access.PrincipalRegistered, principal_id=gone, kind="human", email="gone@example.test", owner=None)
    yield _of(access.PrincipalDeactivated, principal_id=gone, roles=(), owner=None)
    yield _of(access.PrincipalErased, principal_id=gone)


def _policy(n: int) -> Iterator[Event]:
    bundle = f"bnd_{n}"
    yield _of(policy.BundlePublished, bundle_id=bundle, bundle_version=n + 1, parts=2)
    yield _of(policy.BundleContinued, bundle_id=bundle, part=2)
    yield _of(policy.BundleModeChanged, bundle_id=bundle, mode="shadow", replaces=None)
    yield _of(policy.BundleModeChanged, bundle_id=bundle, mode="retired", replaces=None)


def _approvals(n: int, now: datetime) -> Iterator[Event]:
    later = now + timedelta(days=1)
    stages = (approvals.Stage(name="decide", roles=("approver",), quorum=1),)
    yield _of(approvals.ApprovalPathPublished, path_id=f"path-{n}", path_version=1, stages=stages)
    agent = f"prn_agent{n:017d}"
    for way in ("granted", "revoked", "denied", "expired", "cancelled"):
        decision, approval = f"dec_{n}{way}", f"apr_{n}{way}"
        yield _of(policy.DecisionRecorded, decision_id=decision, approval_id=None, bundle_id=f"bnd_{n}")
        yield _of(
            approvals.ApprovalRequested,
            approval_id=approval,
            decision_id=decision,
            path_id=f"path-{n}",
            stages=stages,
            requester=agent,
            expires_at=later,
            requested_until=later,
        )
    yield _of(approvals.ApprovalReminded, approval_id=f"apr_{n}granted")
    for way in ("granted", "revoked"):
        yield _of(approvals.VoteCast, approval_id=f"apr_{n}{way}", stage="decide", verdict="approve")
        yield _of(approvals.ApprovalGranted, approval_id=f"apr_{n}{way}", approved_until=later)
    yield _of(approvals.VoteCast, approval_id=f"apr_{n}denied", stage="decide", verdict="deny")
    yield _of(approvals.ApprovalDenied, approval_id=f"apr_{n}denied")
    yield _of(approvals.ApprovalExpired, approval_id=f"apr_{n}expired")
    yield _of(approvals.ApprovalCancelled, approval_id=f"apr_{n}cancelled")
    yield from _grants(n, agent, later)
    message = {"approval_id": f"apr_{n}granted", "message_id": f"msg_{n}"}
    yield _of(approvals.CallbackAbandoned, **message)
    yield _of(approvals.CallbackResent, **message)
    yield _of(approvals.CallbackDelivered, **message, status=204)
    yield _of(approvals.CallbackSecretRevealed, origin="https://pep.example:443", key_id=f"sig_{n}")
    yield _of(approvals.DispatchParked, parked_position=n + 1)
    yield _of(approvals.DispatchReleased, parked_position=n + 1)


def _grants(n: int, agent: str, later: datetime) -> Iterator[Event]:
    about = {"approval_id": f"apr_{n}granted", "grant_id": f"grt_{n}"}
    effect = {**about, "effect_id": f"eff_{n}"}
    yield _of(approvals.GrantMinted, **about, redeemer=agent, expires_at=later)
    yield _of(approvals.GrantRedeemed, **effect, redeemer=agent, decision_id=f"dec_{n}granted")
    yield _of(approvals.EffectReported, **effect, outcome="unknown")
    yield _of(approvals.EffectReconciled, **effect, outcome="committed")
    other = {"approval_id": f"apr_{n}revoked", "grant_id": f"grt_{n}b"}
    yield _of(approvals.GrantMinted, **other, redeemer=agent, expires_at=later)
    yield _of(approvals.GrantRevoked, **other)


def _estate(n: int, now: datetime) -> Iterator[Event]:
    agent, tool, copy, run = f"agent:support-{n}", f"tool:refund-{n}", f"tool:Refund-{n}", f"run-{n}"
    ends = {"source": agent, "relation": "calls", "target": tool}
    for asset in (agent, tool, copy):
        yield _of(estate.AssetRegistered, asset=asset, facts={"purpose": "refunds"}, run=run)
    yield _of(estate.RelationDeclared, **ends, run=run)
    yield _of(estate.EstateApplied, run=run, registered=3, related=1)
    yield _of(estate.AssetChanged, asset=agent, facts={"risk": "high"}, valid_from=now - timedelta(days=3), run=None)
    yield _of(estate.AssetOwnershipTransferred, asset=agent)
    yield _of(estate.AssetPromoted, asset=tool)
    yield _of(estate.RelationObserved, **ends, first_seen=now, last_seen=now, run=None)
    drift = {"drift_id": f"drf_{n}", "asset": tool}
    yield _of(estate.DriftDetected, **drift, input="tools", quarantined=True, run=None)
    yield _of(estate.AssetQuarantined, asset=tool)
    yield _of(estate.DriftAccepted, **drift)
    yield _of(estate.AssetReleased, asset=tool, lifecycle="live")
    yield _of(estate.AssetsMerged, survivor=tool, merged=copy, adopted={})
    yield _of(estate.AssetDeprecated, asset=tool, successor=None)
    yield _of(estate.RelationWithdrawn, **ends, run=None)
    yield _of(estate.AssetRetired, asset=tool, run=None)
    source = f"src_{n:026d}"
    yield _of(sources.SourceRegistered, source_id=source)
    yield _of(sources.SourceChanged, source_id=source)
    yield _of(sources.SourceSynced, source_id=source, run=f"{run}-import")
    yield _of(sources.SourceFailed, source_id=source, run=f"{run}-again")
    yield _of(sources.SourceRemoved, source_id=source)


def _of(event_class: type[Event], /, **fields: object) -> Event:
    """Return the example of a type with these fields in place of its own."""
    return msgspec.structs.replace(example(event_class), **fields)
