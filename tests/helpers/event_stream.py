"""Random but possible histories of a tenant, from a seed: what the read models are compared on."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta

from estate_stream import EstateStream

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.estate import source_events as sources
from quarterdeck_domain.events import Event
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy import events as policy

START = datetime(2026, 1, 1, tzinfo=UTC)


class Stream:
    """Yields payloads that could follow one another."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.principals: list[str] = []
        self.keys: list[str] = []
        self.bundles: list[str] = []
        self.decisions: list[str] = []
        self.open: list[str] = []
        self.paths: dict[str, int] = {}
        self.grants: list[tuple[str, str]] = []
        self.effects: list[tuple[str, str, str]] = []
        self.voted: set[tuple[str, str]] = set()
        self.messages: list[tuple[str, str]] = []
        self.estate = EstateStream(self._random)
        self.sources: dict[str, bool] = {}

    def take(self, count: int) -> list[Event]:
        """Return the next events."""
        found: list[Event] = [access.TenantOpened(tenant="acme", display_name="Acme")] if not self.principals else []
        while len(found) < count:
            found += self._next()
        return found[:count]

    def _id(self, prefix: str) -> str:
        return make_id(prefix, uuid.UUID(int=self._random.getrandbits(128)))

    def _some(self, items: list[str]) -> str:
        return self._random.choice(items)

    def _when(self) -> datetime:
        return START + timedelta(seconds=self._random.randrange(10**6))

    def _next(self) -> list[Event]:
        makers = [self._principal]
        if self.principals:
            makers += [self.estate.take] * 6
            makers += [self._change, self._key, self._bundle, self._path, self._decision, self._source]
        if self.decisions and self.paths:
            makers += [self._request] * 2
        if self.open:
            makers += [self._settle, self._vote, self._remind]
        if self.grants:
            makers.append(self._use_grant)
        if self.effects:
            makers.append(self._end_effect)
        return self._random.choice(makers)()

    def _source(self) -> list[Event]:
        name = f"source-{self._random.randrange(4)}"
        every_s = self._random.choice([None, 900, 86_400])
        address = f"https://{name}.example/{self._random.randrange(9)}"
        if not self.sources.get(name):
            self.sources[name] = True
            kind = self._random.choice(["mcp", "openapi"])
            return [sources.SourceRegistered(source_id=name, kind=kind, address=address, every_s=every_s)]  # type: ignore[arg-type]
        what, run = self._random.randrange(8), self._id("run")
        if what == 0:
            self.sources[name] = False
            return [sources.SourceRemoved(source_id=name)]
        if what == 1:
            return [sources.SourceChanged(source_id=name, address=address, every_s=every_s)]
        if what < 5:
            synced = sources.SourceSynced(
                source_id=name,
                run=run,
                trigger="schedule",
                said_by=name,
                digest=run,
                plan_digest=run,
                objects=what,
                changed=False,
            )
            return [synced]
        return [sources.SourceFailed(source_id=name, run=run, trigger="request", error="source_away", message="No.")]

    def _principal(self) -> list[Event]:
        principal = self._id("prn")
        kind = self._random.choice(["human", "service", "agent"])
        owner = self._some(self.principals) if self.principals and kind != "human" else None
        self.principals.append(principal)
        return [
            access.PrincipalRegistered(
                principal_id=principal,
                kind=kind,  # type: ignore[arg-type]
                display_name=f"Name {principal[-4:]}",
                email=None,
                owner=owner,
                roles=("agent",) if kind == "agent" else (),
            )
        ]

    def _change(self) -> list[Event]:
        principal = self._some(self.principals)
        role = self._random.choice(["operator", "approver", "auditor"])
        return [
            self._random.choice(
                [
                    access.RoleGranted(principal_id=principal, role=role),  # type: ignore[arg-type]
                    access.RoleRevoked(principal_id=principal, role=role),  # type: ignore[arg-type]
                    access.OwnershipTransferred(
                        principal_id=principal, owner=self._some(self.principals), previous_owner="prn_x"
                    ),
                    access.PrincipalDeactivated(principal_id=principal, reason="left"),
                ]
            )
        ]

    def _key(self) -> list[Event]:
        key, owner = self._id("key"), self._some(self.principals)
        maker = self.keys[-1] if self.keys else None
        issued = access.ApiKeyIssued(
            key_id=key,
            principal_id=owner,
            purpose="api",
            prefix=key[-6:],
            secret_hash="0" * 64,
            acts_for=(),
            issued_by_key=maker,
            bound_to=maker,
            depth=len(self.keys),
        )
        if self.keys and self._random.random() < 0.5:
            old = self.keys.pop()
            if self._random.random() < 0.5:
                return [access.ApiKeyRevoked(key_id=old, principal_id=owner, reason="lost")]
            rotated = access.ApiKeyRotated(key_id=old, new_key_id=key, principal_id=owner, overlap_until=self._when())
            return [issued, rotated]
        self.keys.append(key)
        return [issued]

    def _bundle(self) -> list[Event]:
        if self.bundles and self._random.random() < 0.5:
            bundle, other = self._some(self.bundles), self._some(self.bundles)
            replaces = None if bundle == other else other
            return [policy.BundleModeChanged(bundle_id=bundle, mode="enforced", replaces=replaces)]
        self.bundles.append(self._id("bnd"))
        return [
            policy.BundlePublished(
                bundle_id=self.bundles[-1], name="main", bundle_version=len(self.bundles), policies="", digest="d"
            )
        ]

    def _path(self) -> list[Event]:
        name = self._random.choice(["default", "strict"])
        self.paths[name] = self.paths.get(name, 0) + 1
        return [
            approvals.ApprovalPathPublished(
                path_id=name,
                path_version=self.paths[name],
                stages=(approvals.Stage(name="decide", quorum=self._random.randint(1, 3)),),
                remind_after_s=60,
                expires_after_s=600,
                grant_lifetime_s=60,
            )
        ]

    def _decision(self) -> list[Event]:
        self.decisions.append(self._id("dec"))
        return [
            policy.DecisionRecorded(
                decision_id=self.decisions[-1],
                subject=f"agent:{self._some(self.principals)}",
                action="refund",
                resource=f"order:{self._random.randrange(9)}",
                request='{"x":1}',
                action_digest="sha256-action-v1:" + "a" * 64,
                binding_hash="sha256:" + "b" * 64,
                outcome=self._random.choice(["permit", "deny", "approval_required"]),  # type: ignore[arg-type]
                determining=("p1",),
                estate_position=0,
            )
        ]

    def _request(self) -> list[Event]:
        approval, requester = self._id("apr"), self._some(self.principals)
        self.open.append(approval)
        return [
            approvals.ApprovalRequested(
                approval_id=approval,
                decision_id=self._some(self.decisions),
                subject=f"agent:{requester}",
                action="refund",
                resource="order:1",
                request='{"x":1}',
                justification=self._random.choice([None, "because"]),
                action_digest="sha256-action-v1:" + "a" * 64,
                binding_hash="sha256:" + "b" * 64,
                path_id=self._some(list(self.paths)),
                path_version=1,
                stages=(approvals.Stage(name="decide"),),
                remind_after_s=60,
                grant_lifetime_s=60,
                requester=requester,
                requesters=(requester,),
                expires_at=self._when(),
            )
        ]

    def _vote(self) -> list[Event]:
        approval, approver = self._some(self.open), self._some(self.principals)
        if (approval, approver) in self.voted:
            return []
        self.voted.add((approval, approver))
        return [
            approvals.VoteCast(
                approval_id=approval,
                approver=approver,
                stage="decide",
                verdict="approve",
                action_digest="x",
                comment="ok",
            )
        ]

    def _remind(self) -> list[Event]:
        return [approvals.ApprovalReminded(approval_id=self._some(self.open))]

    def _settle(self) -> list[Event]:
        approval = self.open.pop(self._random.randrange(len(self.open)))
        way = self._random.randrange(4)
        if way == 0:
            grant = self._id("grt")
            self.grants.append((grant, approval))
            return [
                approvals.ApprovalGranted(approval_id=approval, action_digest="x", approved_until=self._when()),
                approvals.GrantMinted(
                    grant_id=grant,
                    approval_id=approval,
                    subject="agent:a",
                    redeemer=self._some(self.principals),
                    action_digest="x",
                    expires_at=self._when(),
                ),
            ]
        kind = (approvals.ApprovalDenied, approvals.ApprovalExpired, approvals.ApprovalCancelled)[way - 1]
        message = str(uuid.UUID(int=self._random.getrandbits(128)))
        self.messages.append((approval, message))
        return [
            kind(approval_id=approval, action_digest="x"),
            approvals.CallbackAbandoned(approval_id=approval, message_id=message, reason="gone"),
            approvals.CallbackResent(approval_id=approval, message_id=message),
            approvals.CallbackDelivered(approval_id=approval, message_id=message, status=204),
            approvals.CallbackSecretRevealed(origin="https://pep.example:443", key_id="sig_a"),
        ]

    def _use_grant(self) -> list[Event]:
        grant, approval = self.grants.pop()
        if self._random.random() < 0.3:
            return [approvals.GrantRevoked(grant_id=grant, approval_id=approval, action_digest="x", reason="no")]
        effect = self._id("eff")
        self.effects.append((effect, grant, approval))
        return [
            approvals.GrantRedeemed(
                grant_id=grant,
                approval_id=approval,
                effect_id=effect,
                redeemer="prn_a",
                effect_class="idempotent",
                action_digest="x",
                decision_id="dec_a",
            )
        ]

    def _end_effect(self) -> list[Event]:
        effect, grant, approval = self.effects.pop()
        reported = approvals.EffectReported(effect_id=effect, grant_id=grant, approval_id=approval, outcome="unknown")
        settled = approvals.EffectReconciled(
            effect_id=effect, grant_id=grant, approval_id=approval, outcome="committed", reason="seen at the bank"
        )
        return [reported, settled] if self._random.random() < 0.5 else [reported]
