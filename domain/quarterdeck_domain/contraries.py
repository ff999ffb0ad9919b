"""What could have happened and did not: for each type of event, examples of one about the same thing.

They are shown to a judge (`causes`), never recorded. Where one would have made a difference, its absence is relied on.
What begins a thing has none: it can begin only once. What it says beside that is as ordinary as it can be, so that the
answer is about whether it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, get_args

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.causes import Contrary
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import Event
from quarterdeck_domain.policy import events as policy

NOBODY: Final = "prn_" + "0" * 26
NOTHING: Final = "0" * 26
SOME_DAY: Final = datetime(9000, 1, 1, tzinfo=UTC)
_TEXT: Final = "something else"
_FIELDS: Final = (
    "title",
    "description",
    "owner",
    "team",
    "purpose",
    "policy_class",
    "environments",
    "classification",
    "risk",
    "tier",
    "lifecycle",
)

Known = Mapping[str, str]
"""What is known of the thing: the ids in its tags by their prefix, and whatever else an event about it must say."""
Maker = Callable[[Known], Iterable[Event]]


def _registered(known: Known) -> Iterable[Event]:
    for kind in get_args(access.PrincipalKind):
        for roles in ((), *((role,) for role in get_args(access.Role))):
            yield access.PrincipalRegistered(principal_id=known["principal"], kind=kind, display_name=None, roles=roles)


def _granted(known: Known) -> Iterable[Event]:
    return (access.RoleGranted(principal_id=known["principal"], role=role) for role in get_args(access.Role))


def _taken(known: Known) -> Iterable[Event]:
    return (access.RoleRevoked(principal_id=known["principal"], role=role) for role in get_args(access.Role))


def _transferred(known: Known) -> Iterable[Event]:
    yield access.OwnershipTransferred(principal_id=known["principal"], owner=NOBODY, previous_owner=NOBODY)


def _deactivated(known: Known) -> Iterable[Event]:
    yield access.PrincipalDeactivated(principal_id=known["principal"], reason=None)


def _erased(known: Known) -> Iterable[Event]:
    yield access.PrincipalErased(principal_id=known["principal"], reason="requested")


def _closed(known: Known) -> Iterable[Event]:
    yield access.TenantClosed(tenant=known["tenant"], reason=_TEXT)


def _key_rotated(known: Known) -> Iterable[Event]:
    yield access.ApiKeyRotated(
        key_id=known["key"], new_key_id="key_" + NOTHING, principal_id=NOBODY, overlap_until=SOME_DAY
    )


def _key_revoked(known: Known) -> Iterable[Event]:
    yield access.ApiKeyRevoked(key_id=known["key"], principal_id=NOBODY, reason=None)


def _mode_changed(known: Known) -> Iterable[Event]:
    for mode in ("retired", "shadow", "enforced"):
        bundle = known.get("bundle", "bnd_" + NOTHING)
        yield policy.BundleModeChanged(bundle_id=bundle, mode=mode)


def _path(known: Known) -> Iterable[Event]:
    yield approvals.ApprovalPathPublished(
        path_id=known["path"],
        path_version=2**31,
        stages=(approvals.Stage(name=_TEXT),),
        remind_after_s=1,
        expires_after_s=2,
        grant_lifetime_s=1,
    )


def _approval(made: type[Event]) -> Maker:
    return lambda known: (made(approval_id=known["approval"], action_digest=""),)


def _reminded(known: Known) -> Iterable[Event]:
    yield approvals.ApprovalReminded(approval_id=known["approval"])


def _approved(known: Known) -> Iterable[Event]:
    yield approvals.ApprovalGranted(approval_id=known["approval"], action_digest="", approved_until=SOME_DAY)


def _minted(known: Known) -> Iterable[Event]:
    yield approvals.GrantMinted(
        grant_id="grt_" + NOTHING,
        approval_id=known["approval"],
        subject="",
        redeemer=NOBODY,
        action_digest="",
        expires_at=SOME_DAY,
    )


def _redeemed(known: Known) -> Iterable[Event]:
    yield approvals.GrantRedeemed(
        grant_id=known.get("grant", "grt_" + NOTHING),
        approval_id=known.get("approval", "apr_" + NOTHING),
        effect_id="eff_" + NOTHING,
        redeemer=NOBODY,
        effect_class="idempotent",
        action_digest="",
        decision_id="dec_" + NOTHING,
    )


def _revoked(known: Known) -> Iterable[Event]:
    yield approvals.GrantRevoked(
        grant_id=known.get("grant", "grt_" + NOTHING),
        approval_id=known.get("approval", "apr_" + NOTHING),
        action_digest="",
        reason=_TEXT,
    )


def _reported(known: Known) -> Iterable[Event]:
    for outcome in get_args(approvals.EffectOutcome):
        yield approvals.EffectReported(
            effect_id=known["effect"], grant_id="", approval_id="", outcome=outcome, detail=_TEXT
        )


def _reconciled(known: Known) -> Iterable[Event]:
    yield approvals.EffectReconciled(
        effect_id=known["effect"], grant_id="", approval_id="", outcome="failed", reason=_TEXT
    )


def _delivered(known: Known) -> Iterable[Event]:
    yield approvals.CallbackDelivered(approval_id=known["approval"], message_id=known["message"], status=0)


def _abandoned(known: Known) -> Iterable[Event]:
    yield approvals.CallbackAbandoned(approval_id=known["approval"], message_id=known["message"], reason=_TEXT)


def _resent(known: Known) -> Iterable[Event]:
    yield approvals.CallbackResent(approval_id=known["approval"], message_id=known["message"])


def _parked(known: Known) -> Iterable[Event]:
    yield approvals.DispatchParked(parked_position=int(known["parked"]), workflow_id="", reason=_TEXT)


def _unparked(known: Known) -> Iterable[Event]:
    yield approvals.DispatchReleased(parked_position=int(known["parked"]))


def _registered_asset(known: Known) -> Iterable[Event]:
    facts: dict[str, Any] = {"lifecycle": "quarantined"}
    if "acts-as" in known:
        facts["attributes.principal"] = known["acts-as"]
    asset = f"agent:{NOTHING}" if "acts-as" in known else known["asset"]
    yield estate.AssetRegistered(asset=asset, facts=facts, source=_TEXT)


def _changed(known: Known) -> Iterable[Event]:
    yield estate.AssetChanged(asset=known["asset"], facts=dict.fromkeys(_FIELDS), source=_TEXT)
    if "attribute" in known:
        facts = {f"attributes.{known['attribute']}": None}
        yield estate.AssetChanged(asset=known["asset"], facts=facts, source=_TEXT)


def _asset(made: type[Event]) -> Maker:
    return lambda known: (made(asset=known["asset"], reason=_TEXT),)


def _moved(known: Known) -> Iterable[Event]:
    yield estate.AssetOwnershipTransferred(
        asset=known["asset"], owner=NOBODY, team=_TEXT, previous_owner=None, previous_team=None
    )


def _promoted(known: Known) -> Iterable[Event]:
    yield estate.AssetPromoted(asset=known["asset"], previous_tier=None, reason=_TEXT)


def _quarantined(known: Known) -> Iterable[Event]:
    yield estate.AssetQuarantined(asset=known["asset"], reason=_TEXT, previous_lifecycle="live")


def _unlocked(known: Known) -> Iterable[Event]:
    for lifecycle in ("live", "deprecated"):
        yield estate.AssetReleased(asset=known["asset"], lifecycle=lifecycle, reason=_TEXT)


def _merged(known: Known) -> Iterable[Event]:
    yield estate.AssetsMerged(survivor="application:" + NOTHING, merged=known["asset"])
    yield estate.AssetsMerged(survivor=known["asset"], merged="application:" + NOTHING)


def _related(known: Known) -> dict[str, Any]:
    return dict(zip(("source", "relation", "target"), known["relation"].split(" ", 2), strict=True))


def _declared(known: Known) -> Iterable[Event]:
    yield estate.RelationDeclared(**_related(known), environment=_TEXT, evidence=_TEXT)


def _seen(known: Known) -> Iterable[Event]:
    yield estate.RelationObserved(**_related(known), evidence=_TEXT, first_seen=SOME_DAY, last_seen=SOME_DAY)


def _withdrawn(known: Known) -> Iterable[Event]:
    yield estate.RelationWithdrawn(**_related(known))


def _accepted(known: Known) -> Iterable[Event]:
    yield estate.DriftAccepted(drift_id=known["drift"], asset="", reason=_TEXT)


MAKERS: Final[Mapping[str, Maker]] = {
    "principal.registered": _registered,
    "principal.role_granted": _granted,
    "principal.role_revoked": _taken,
    "principal.ownership_transferred": _transferred,
    "principal.deactivated": _deactivated,
    "principal.erased": _erased,
    "tenant.closed": _closed,
    "api_key.rotated": _key_rotated,
    "api_key.revoked": _key_revoked,
    "policy_bundle.mode_changed": _mode_changed,
    "approval_path.published": _path,
    "approval.reminded": _reminded,
    "approval.granted": _approved,
    "approval.denied": _approval(approvals.ApprovalDenied),
    "approval.expired": _approval(approvals.ApprovalExpired),
    "approval.cancelled": _approval(approvals.ApprovalCancelled),
    "grant.minted": _minted,
    "grant.redeemed": _redeemed,
    "grant.revoked": _revoked,
    "effect.reported": _reported,
    "effect.reconciled": _reconciled,
    "callback.delivered": _delivered,
    "callback.abandoned": _abandoned,
    "callback.resent": _resent,
    "dispatch.parked": _parked,
    "dispatch.released": _unparked,
    "asset.registered": _registered_asset,
    "asset.changed": _changed,
    "asset.ownership_transferred": _moved,
    "asset.promoted": _promoted,
    "asset.deprecated": _asset(estate.AssetDeprecated),
    "asset.retired": _asset(estate.AssetRetired),
    "asset.quarantined": _quarantined,
    "asset.released": _unlocked,
    "asset.merged": _merged,
    "relation.declared": _declared,
    "relation.observed": _seen,
    "relation.withdrawn": _withdrawn,
    "drift.accepted": _accepted,
}
"""By the type of event. A type that is not here begins something, or changes nothing that is explained."""
BEGINS: Final[frozenset[str]] = frozenset(
    {
        "tenant.opened",
        "principal.registered",
        "api_key.issued",
        "policy_bundle.published",
        "policy_bundle.continued",
        "policy.decision_recorded",
        "approval.requested",
        "approval.vote_cast",
        "asset.registered",
        "drift.detected",
    }
)
"""Types that happen once to a thing, so that none of them is missed where there was one."""
_PRECISE: Final[Mapping[str, tuple[str, ...]]] = {
    "principal.role_granted": ("principal", "role"),
    "principal.role_revoked": ("principal", "role"),
    "policy_bundle.mode_changed": ("bundle",),
}
"""Types that are found by more tags than they are asked for by, where those are known."""


def contraries(types: Iterable[str], tags: Sequence[str], known: Known) -> Iterator[Contrary]:
    """Yield what could have happened of these types to what has these tags. Where they do not say to what, nothing."""
    whole = {**known, **{prefix: rest for prefix, _, rest in (tag.partition(":") for tag in tags)}}
    for event_type in dict.fromkeys(types):
        maker = MAKERS.get(event_type)
        try:
            made = list(maker(whole)) if maker is not None else []
        except KeyError:
            continue
        for payload in made:
            prefixes = _PRECISE.get(event_type, ())
            own = tuple(tag for tag in payload.tags() if tag.partition(":")[0] in prefixes and prefixes[0] in whole)
            yield Contrary(payload=payload, tags=own or tuple(tags))
