"""The record folded the plain way: one event after another into dictionaries. Shares nothing with the read models."""

from __future__ import annotations

import copy
from typing import Any

from naive_estate import Estate

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.estate import source_events as sources
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy import events as policy

State = dict[str, dict[str, dict[str, Any]]]


def states(events: list[RecordedEvent]) -> list[State]:
    """Return the state after each prefix of the log: element p is the state at position p."""
    state: State = {}
    estate = Estate()
    found: list[State] = [{}]
    for event in events:
        _fold(state, event)
        estate.hear(event)
        for table, object_id in estate.changed:
            state.setdefault(table, {})[object_id] = estate.row(table, object_id)
        estate.changed.clear()
        found.append(copy.deepcopy(state))
    return found


def _fold(state: State, event: RecordedEvent) -> None:
    def table(name: str) -> dict[str, dict[str, Any]]:
        return state.setdefault(name, {})

    match event.payload:
        case access.TenantOpened() as e:
            table("tenants")[e.tenant] = {"state": "open"}
        case access.PrincipalRegistered() as e:
            table("principals")[e.principal_id] = {
                "kind": e.kind,
                "owner": e.owner,
                "roles": sorted(e.roles),
                "state": "active",
            }
        case access.RoleGranted() as e:
            person = table("principals")[e.principal_id]
            person["roles"] = sorted({*person["roles"], e.role})
        case access.RoleRevoked() as e:
            person = table("principals")[e.principal_id]
            person["roles"] = sorted(set(person["roles"]) - {e.role})
        case access.OwnershipTransferred() as e:
            table("principals")[e.principal_id]["owner"] = e.owner
        case access.PrincipalDeactivated() as e:
            table("principals")[e.principal_id]["state"] = "deactivated"
        case access.ApiKeyIssued() as e:
            table("api_keys")[e.key_id] = {
                "principal_id": e.principal_id,
                "state": "active",
                "expires_at": None,
                "issued_by_key": e.issued_by_key,
                "bound_to": e.bound_to,
            }
        case access.ApiKeyRotated() as e:
            table("api_keys")[e.key_id] |= {"state": "rotated", "expires_at": e.overlap_until}
        case access.ApiKeyRevoked() as e:
            table("api_keys")[e.key_id]["state"] = "revoked"
        case policy.BundlePublished() as e:
            table("policy_bundles")[e.bundle_id] = {"mode": "draft", "bundle_version": e.bundle_version}
        case policy.BundleModeChanged() as e:
            if e.replaces:
                table("policy_bundles")[e.replaces]["mode"] = "retired"
            table("policy_bundles")[e.bundle_id]["mode"] = e.mode
        case policy.DecisionRecorded() as e:
            table("decisions")[e.decision_id] = {"outcome": e.outcome, "subject": e.subject, "resource": e.resource}
        case approvals.ApprovalPathPublished() as e:
            table("approval_paths")[e.path_id] = {"path_version": e.path_version}
        case approvals.ApprovalRequested() as e:
            table("approvals")[e.approval_id] = {
                "status": "pending",
                "requester": e.requester,
                "grant_id": None,
                "expires_at": e.expires_at,
                "reminders": 0,
            }
        case approvals.ApprovalReminded() as e:
            table("approvals")[e.approval_id]["reminders"] += 1
        case approvals.VoteCast() as e:
            table("votes")[f"{e.approval_id}/{e.approver}"] = {"verdict": e.verdict, "stage": e.stage}
        case approvals.ApprovalGranted() as e:
            table("approvals")[e.approval_id]["status"] = "approved"
        case approvals.ApprovalDenied() as e:
            table("approvals")[e.approval_id]["status"] = "denied"
        case approvals.ApprovalExpired() as e:
            table("approvals")[e.approval_id]["status"] = "expired"
        case approvals.ApprovalCancelled() as e:
            table("approvals")[e.approval_id]["status"] = "cancelled"
        case approvals.GrantMinted() as e:
            table("grants")[e.grant_id] = {"state": "minted", "effect_id": None, "approval_id": e.approval_id}
            table("approvals")[e.approval_id]["grant_id"] = e.grant_id
        case approvals.GrantRedeemed() as e:
            table("grants")[e.grant_id] |= {"state": "redeemed", "effect_id": e.effect_id}
            table("effects")[e.effect_id] = {"outcome": "started", "reconciled": False}
        case approvals.GrantRevoked() as e:
            table("grants")[e.grant_id]["state"] = "revoked"
        case approvals.EffectReported() as e:
            table("effects")[e.effect_id]["outcome"] = e.outcome
        case approvals.EffectReconciled() as e:
            table("effects")[e.effect_id] |= {"outcome": e.outcome, "reconciled": True}
        case approvals.CallbackDelivered() as e:
            table("callbacks")[e.message_id] = {"state": "delivered", "status": e.status}
        case approvals.CallbackAbandoned() as e:
            table("callbacks")[e.message_id] = {"state": "abandoned", "status": None}
        case approvals.CallbackResent() as e:
            table("callbacks")[e.message_id] = {"state": "resent", "status": None}
        case sources.SourceRegistered() as e:
            before = state.get("sources", {}).get(e.source_id, {"imports": 0, "failures": 0, "last_outcome": None})
            table("sources")[e.source_id] = before | {"state": "active", "kind": e.kind, **_read(e)}
        case sources.SourceChanged() as e:
            table("sources")[e.source_id] |= _read(e)
        case sources.SourceRemoved() as e:
            table("sources")[e.source_id]["state"] = "removed"
        case sources.SourceSynced() as e:
            source = table("sources")[e.source_id]
            source |= {"last_outcome": "synced", "imports": source["imports"] + 1, "failures": 0}
        case sources.SourceFailed() as e:
            source = table("sources")[e.source_id]
            source |= {"last_outcome": "failed", "imports": source["imports"] + 1, "failures": source["failures"] + 1}
        case _:
            pass


def _read(source: sources.SourceRegistered | sources.SourceChanged) -> dict[str, Any]:
    names = ("address", "dialect", "every_s", "on_drift", "environment", "credential")
    return {name: getattr(source, name) for name in names}
