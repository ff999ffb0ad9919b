"""Commands on credentials: API keys, sign-in links and sessions. Only hashes of secrets come here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.credentials import KeyFold, check_hash, prefix_of
from quarterdeck_domain.access.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    ApiKeyRotated,
    SignInLinkIssued,
    SignInLinkUsed,
)
from quarterdeck_domain.access.lineage import Maker
from quarterdeck_domain.access.slices_tenant import MAX_LINK_LIFETIME_S
from quarterdeck_domain.access.values import SYSTEM, CommandSlice, Held, Item, Principal
from quarterdeck_domain.checks import line, seconds
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.slices import Decision, Slice, boundary

MAX_CHAIN: Final = 8
MAX_KEY_LIFETIME_S: Final = 400 * 86_400
MAX_OVERLAP_S: Final = 30 * 86_400
MAX_SESSION_S: Final = 30 * 86_400


class IssueApiKey(CommandSlice):
    """Make a key for a principal: itself, its owner or an administrator may. An agent makes none for itself.

    A key may act for others. Only an administrator may issue such a key, or whoever it acts for, of its own
    key or of one that it owns. A key never gives more than its holder has, and lasts no longer than the credential
    that it is issued with (`held`); what a person who is signed in makes for a service or an agent may (see `lineage`).
    """

    def __init__(
        self,
        *,
        tenant: str,
        key_id: str,
        principal_id: str,
        secret_hash: str,
        actor: Actor,
        acts_for: Iterable[str] = (),
        lifetime_s: int | None = None,
        held: Held | None = None,
    ):
        chain = tuple(acts_for)
        super().__init__(actor, principal_id, *chain)
        if len(chain) > MAX_CHAIN or len(set(chain)) != len(chain) or principal_id in chain:
            raise InvalidInput(
                f"acts_for names at most {MAX_CHAIN} principals, each once, and not the holder", field="acts_for"
            )
        if lifetime_s is not None:
            seconds(lifetime_s, "lifetime_s", at_least=60, at_most=MAX_KEY_LIFETIME_S)
        self.tenant = tenant
        self.principal_id = principal_id
        self.acts_for = chain
        self.lifetime_s = lifetime_s
        self.secret_hash = check_hash(secret_hash)
        self._key = KeyFold(key_id)
        self._maker = Maker(held)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._key.needs(), *self._maker.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._key.apply(event)
        self._maker.apply(event)

    def decide(self, now: datetime) -> Decision:
        roles = self.require_commander()
        if self._key.issued is not None:
            raise WrongState("that key exists already", key=self._key.key_id)
        holder = self._require_right("administrator" in roles or self.actor == SYSTEM)
        bond = self._maker.bond(now, lasting=holder.kind != "human")
        until = bond.until if self.lifetime_s is None else bond.within(now + timedelta(seconds=self.lifetime_s))
        issued = ApiKeyIssued(
            key_id=self._key.key_id,
            principal_id=self.principal_id,
            purpose="api",
            prefix=prefix_of(self.tenant, self._key.key_id),
            secret_hash=self.secret_hash,
            expires_at=until,
            acts_for=self.acts_for,
            issued_by_key=bond.issued_by_key,
            bound_to=bond.bound_to,
            depth=bond.depth,
        )
        return Decision(events=(issued,))

    def _require_right(self, administrator: bool) -> Principal:
        holder = self.people.active(self.principal_id)
        if holder is None:
            raise NotFound("no active principal with that id", principal=self.principal_id)
        for name in self.acts_for:
            if self.people.active(name) is None:
                raise WrongState("a key may only act for active principals", principal=name)
        if administrator:
            return holder
        if self.actor.on_behalf_of:
            raise NotAllowed("acting for somebody else, you may not make keys; sign in as yourself")
        me = self.actor.principal
        if me not in (holder.id, holder.owner):
            raise NotAllowed("only the principal itself, its owner or an administrator may make its keys")
        others = tuple(name for name in self.acts_for if name != me)
        if others:
            raise NotAllowed("only an administrator may make a key that acts for somebody else", principals=others)
        if holder.kind == "agent" and me == holder.id:
            raise NotAllowed(
                "an agent makes no keys for itself: it rotates its own, or whoever answers for it makes one",
                owner=holder.owner,
            )
        return holder


class _OnKey(CommandSlice):
    """A command on one key that exists."""

    def __init__(self, actor: Actor, key_id: str, *concerned: str | None):
        super().__init__(actor, *concerned)
        self.key_id = key_id
        self._key = KeyFold(key_id)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._key.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._key.apply(event)

    def key(self) -> ApiKeyIssued:
        """Return the key as it was issued.

        Raises:
            NotFound: there is none.
        """
        if self._key.issued is None:
            raise NotFound("no such key", key=self.key_id)
        return self._key.issued

    def holds_or_owns(self, key: ApiKeyIssued) -> bool:
        """Tell whether the actor holds the key, with the same chain, or is the human who owns the holder."""
        if self.actor.principal == key.principal_id:
            return self.actor.on_behalf_of in ((), key.acts_for)
        return not self.actor.on_behalf_of and key.principal_id in self.people.owned_by(self.actor.principal)


class RotateApiKey(_OnKey):
    """Replace a key by another of the same holder, chain and length of life, as far as `held` allows (see `lineage`).

    The old one keeps working for `overlap_s` seconds, at most 30 days, and never beyond its own end. `holder` is
    learned.
    """

    def __init__(
        self,
        *,
        tenant: str,
        key_id: str,
        new_key_id: str,
        secret_hash: str,
        overlap_s: int,
        actor: Actor,
        held: Held | None = None,
        holder: str | None = None,
    ):
        super().__init__(actor, key_id, holder)
        self.tenant = tenant
        self.secret_hash = check_hash(secret_hash)
        self.overlap_s = seconds(overlap_s, "overlap_s", at_least=0, at_most=MAX_OVERLAP_S)
        self.held = held
        self._new = KeyFold(new_key_id)
        self._maker = Maker(held)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._new.needs(), *self._key.needs(), *self._maker.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._new.apply(event)
        self._maker.apply(event)

    def widened(self) -> Slice | None:
        """Return the command that knows the key's holder, too: how long the new key may last depends on its kind."""
        if self.held is None or self._key.issued is None or self._key.issued.principal_id in self.people.ids:
            return None
        return RotateApiKey(
            tenant=self.tenant,
            key_id=self.key_id,
            new_key_id=self._new.key_id,
            secret_hash=self.secret_hash,
            overlap_s=self.overlap_s,
            actor=self.actor,
            held=self.held,
            holder=self._key.issued.principal_id,
        )

    def decide(self, now: datetime) -> Decision:
        roles = self.require_commander()
        old = self.key()
        if "administrator" not in roles and not self.holds_or_owns(old):
            raise NotAllowed("only the key's holder, its owner or an administrator may rotate it", key=self.key_id)
        if old.purpose != "api":
            raise WrongState("a session is not rotated; sign in again", key=self.key_id)
        if self._key.replaced_by is not None:
            raise WrongState("this key was rotated already", key=self.key_id, replaced_by=self._key.replaced_by)
        state = self._key.state(now)
        if state != "active":
            raise WrongState(f"this key is {state}; issue a new one", key=self.key_id, state=state)
        if self._new.issued is not None:
            raise WrongState("the new key exists already", key=self._new.key_id)
        holder = self.people.find(old.principal_id) if self.held is not None else None
        bond = self._maker.bond(now, lasting=holder is not None and holder.kind != "human")
        lifetime = self._key.lifetime()
        ends = [end for end in (bond.until, None if lifetime is None else now + lifetime) if end is not None]
        issued = ApiKeyIssued(
            key_id=self._new.key_id,
            principal_id=old.principal_id,
            purpose="api",
            prefix=prefix_of(self.tenant, self._new.key_id),
            secret_hash=self.secret_hash,
            expires_at=min(ends, default=None),
            acts_for=old.acts_for,
            issued_by_key=bond.issued_by_key,
            bound_to=bond.bound_to,
            depth=bond.depth,
            lifetime_s=None if bond.until is None or lifetime is None else round(lifetime.total_seconds()),
        )
        rotated = ApiKeyRotated(
            key_id=self.key_id,
            new_key_id=self._new.key_id,
            principal_id=old.principal_id,
            overlap_until=now + timedelta(seconds=self.overlap_s),
        )
        return Decision(events=(issued, rotated))


class RevokeApiKey(_OnKey):
    """Stop a key or a session at once. Its holder, the holder's owner, whoever it acts for, an operator or an
    administrator may; a session's holder may even as an auditor, who commands nothing else: it signs out.

    Everything that was made with it, to any depth, is worth nothing from then on (see `lineage`).
    """

    def __init__(self, *, key_id: str, reason: str, actor: Actor):
        super().__init__(actor, key_id)
        self.reason = line(reason, "reason")

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        roles = frozenset() if self._signs_out() else self.require_commander()
        key = self.key()
        delegator = self.actor.principal in key.acts_for and not self.actor.on_behalf_of
        if not roles & {"administrator", "operator"} and not delegator and not self.holds_or_owns(key):
            raise NotAllowed(
                "only its holder, its owner, whoever it acts for, an operator or an administrator may revoke a key",
                key=self.key_id,
            )
        if self._key.revoked:
            raise WrongState("this key was revoked already", key=self.key_id)
        return Decision(events=(ApiKeyRevoked(key_id=self.key_id, principal_id=key.principal_id, reason=self.reason),))

    def _signs_out(self) -> bool:
        key = self._key.issued
        return key is not None and key.purpose == "session" and self.holds_or_owns(key)


class IssueSignInLink(CommandSlice):
    """Make a one-time sign-in link for a human. An administrator does this, and hands it over.

    Made with an API key, or for oneself, the link and its session end with the credential it came with (`held`).
    """

    def __init__(
        self,
        *,
        link_id: str,
        principal_id: str,
        secret_hash: str,
        actor: Actor,
        lifetime_s: int = 900,
        held: Held | None = None,
    ):
        super().__init__(actor, principal_id)
        self.link_id = link_id
        self.principal_id = principal_id
        self.secret_hash = check_hash(secret_hash)
        self.lifetime_s = seconds(lifetime_s, "lifetime_s", at_least=60, at_most=MAX_LINK_LIFETIME_S)
        self._issued = False
        self._maker = Maker(held)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((SignInLinkIssued,), (f"link:{self.link_id}",)), *self._maker.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._maker.apply(event)
        match event.payload:
            case SignInLinkIssued(link_id=self.link_id):
                self._issued = True
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self._issued:
            raise WrongState("that link exists already", link=self.link_id)
        target = self.people.active(self.principal_id)
        if target is None:
            raise NotFound("no active principal with that id", principal=self.principal_id)
        if target.kind != "human":
            raise WrongState("only humans sign in; services and agents hold keys", principal=self.principal_id)
        bond = self._maker.bond(now, lasting=self.principal_id != self.actor.principal)
        issued = SignInLinkIssued(
            link_id=self.link_id,
            principal_id=self.principal_id,
            secret_hash=self.secret_hash,
            expires_at=bond.within(now + timedelta(seconds=self.lifetime_s)),
            bound_to=bond.bound_to,
            session_until=bond.until,
        )
        return Decision(events=(issued,))


class UseSignInLink(CommandSlice):
    """Exchange a one-time sign-in link for a session. The actor is the human whom the link names.

    `presented_hash` is the hash of the text that was shown; `secret_hash` that of the new session key's. `bound_to` is
    learned.
    """

    def __init__(
        self,
        *,
        tenant: str,
        link_id: str,
        presented_hash: str,
        key_id: str,
        secret_hash: str,
        actor: Actor,
        session_s: int = 12 * 3_600,
        bound_to: str | None = None,
    ):
        super().__init__(actor)
        self.tenant = tenant
        self.link_id = link_id
        self.presented_hash = check_hash(presented_hash)
        self.key_id = key_id
        self.secret_hash = check_hash(secret_hash)
        self.session_s = seconds(session_s, "session_s", at_least=60, at_most=MAX_SESSION_S)
        self._issued: SignInLinkIssued | None = None
        self._used = False
        self.bound_to = bound_to
        self._maker = Maker(None if bound_to is None else Held(key_id=bound_to))

    def consistency_boundary(self) -> DCBQuery:
        link: Item = ((SignInLinkIssued, SignInLinkUsed), (f"link:{self.link_id}",))
        return boundary(link, *self._maker.needs(), *self.house())

    def widened(self) -> Slice | None:
        """Return the command that knows the credential which the link was made with, and ends with."""
        bound_to = None if self._issued is None else self._issued.bound_to
        if bound_to == self.bound_to:
            return None
        return UseSignInLink(
            tenant=self.tenant,
            link_id=self.link_id,
            presented_hash=self.presented_hash,
            key_id=self.key_id,
            secret_hash=self.secret_hash,
            actor=self.actor,
            session_s=self.session_s,
            bound_to=bound_to,
        )

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._maker.apply(event)
        match event.payload:
            case SignInLinkIssued(link_id=self.link_id) as issued:
                self._issued = issued
            case SignInLinkUsed(link_id=self.link_id):
                self._used = True
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        link = self._issued
        # A wrong secret, another's link and no link at all look the same from outside.
        if link is None or link.principal_id != self.actor.principal or link.secret_hash != self.presented_hash:
            raise NotFound("no such sign-in link; ask an administrator for a new one")
        if self._used:
            raise WrongState("this link was used already; ask an administrator for a new one", link=self.link_id)
        if now >= link.expires_at:
            raise WrongState("this link has expired; ask an administrator for a new one", expired_at=link.expires_at)
        if self.people.active(link.principal_id) is None:
            raise NotAllowed("this principal was deactivated", principal=link.principal_id)
        bond = self._maker.bond(now, lasting=False)
        ends = (now + timedelta(seconds=self.session_s), bond.until, link.session_until)
        used = SignInLinkUsed(link_id=self.link_id, principal_id=link.principal_id, key_id=self.key_id)
        session = ApiKeyIssued(
            key_id=self.key_id,
            principal_id=link.principal_id,
            purpose="session",
            prefix=prefix_of(self.tenant, self.key_id),
            secret_hash=self.secret_hash,
            expires_at=min(moment for moment in ends if moment is not None),
            issued_by_key=bond.issued_by_key,
            bound_to=bond.bound_to,
            depth=bond.depth,
        )
        return Decision(events=(used, session), not_after=link.expires_at)
