"""Keys, links, sessions, identities: who may make them, what they are worth. Serves DC-07, S0-80, S0-86, S0-92."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from given import HASH, T0, TENANT, Log, acting, agent, named, prn, registered
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.access.credentials import (
    Credential,
    CredentialFold,
    IdentityFold,
    Presented,
    check_hash,
    credential_text,
    hash_secret,
    identity_digest,
    prefix_of,
    present,
)
from quarterdeck_domain.access.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    ApiKeyRotated,
    IdentityLinked,
    PrincipalDeactivated,
    RoleRevoked,
    SignInLinkIssued,
    SignInLinkUsed,
    TenantClosed,
)
from quarterdeck_domain.access.slices import (
    DeactivatePrincipal,
    IssueApiKey,
    IssueSignInLink,
    RevokeApiKey,
    RotateApiKey,
    UseSignInLink,
)
from quarterdeck_domain.access.slices_credentials import MAX_CHAIN
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor
from quarterdeck_domain.slices import matches

KEY, NEW_KEY, LINK = named("key", "1"), named("key", "2"), named("lnk", "1")
SECRET = "s" * 43
OTHER_HASH = "sha256:" + "1" * 64


def house() -> Log:
    """Ada administers; Bob owns an agent; Otto operates; Cleo audits; Dan was deactivated."""
    return Log(
        registered("ada", "administrator"),
        registered("bob", "approver"),
        registered("otto", "operator"),
        registered("cleo", "auditor"),
        registered("dan"),
        PrincipalDeactivated(principal_id=prn("dan"), reason="left"),
        agent("bot", "bob"),
        registered("cron", "operator", "agent", kind="service", owner="bob"),
    )


def issue(
    holder: str,
    by: Actor,
    *,
    acts_for: Sequence[str] = (),
    key_id: str = KEY,
    lifetime_s: int | None = None,
) -> IssueApiKey:
    return IssueApiKey(
        tenant=TENANT,
        key_id=key_id,
        principal_id=prn(holder),
        secret_hash=HASH,
        acts_for=tuple(prn(name) for name in acts_for),
        lifetime_s=lifetime_s,
        actor=by,
    )


def rotate(by: Actor, *, key_id: str = KEY, overlap_s: int = 3_600, new: str = NEW_KEY) -> RotateApiKey:
    return RotateApiKey(
        tenant=TENANT, key_id=key_id, new_key_id=new, secret_hash=OTHER_HASH, overlap_s=overlap_s, actor=by
    )


def worth(log: Log, key_id: str = KEY, secret_hash: str = HASH) -> Credential:
    fold = CredentialFold(key_id)
    while (query := fold.missing()) is not None:
        assert query.items
        for event in log.events:
            if matches(query, event.type, frozenset(event.tags)):
                fold.apply(event)
    return fold.credential(secret_hash, log.now)


class TestText:
    def test_names_its_tenant_and_key_and_is_recognised(self) -> None:
        text = credential_text(TENANT, KEY, SECRET)
        assert text == f"qd_{TENANT}_{KEY.removeprefix('key_')}_{SECRET}"
        assert text.startswith(prefix_of(TENANT, KEY))
        assert present(text) == Presented(tenant=TENANT, id=KEY, secret_hash=hash_secret(text))

    def test_a_link_is_no_key(self) -> None:
        assert present(credential_text(TENANT, LINK, SECRET)).id == LINK

    @given(st.text(max_size=200))
    def test_anything_else_is_refused_without_being_repeated(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            present(text)
        assert len(text) < 12 or text not in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            f"qd_{TENANT}_{KEY.removeprefix('key_')}_{SECRET}\n",
            f"qd_{TENANT}_{KEY.removeprefix('key_')}_{'s' * 42}",
            f"qd_{TENANT}_{KEY.removeprefix('key_')}_{'s' * 129}",
            f"qd_ACME_{KEY.removeprefix('key_')}_{SECRET}",
            f"qd_{TENANT}_{'z' * 26}_{SECRET}",
            f"qd_{TENANT}_{KEY.removeprefix('key_')}_{'ſ' * 43}",
        ],
    )
    def test_near_misses_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            present(text)

    def test_one_bit_of_the_secret_is_another_hash(self) -> None:
        assert hash_secret(credential_text(TENANT, KEY, SECRET)) != hash_secret(credential_text(TENANT, KEY, "t" * 43))

    @pytest.mark.parametrize("value", ["", SECRET, "0" * 64, "sha256:" + "G" * 64, HASH + "\n", HASH.upper()])
    def test_a_hash_is_a_hash(self, value: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            check_hash(value)
        assert not value or value not in str(caught.value)

    def test_an_identity_belongs_to_tenant_issuer_and_subject(self) -> None:
        digests = {
            identity_digest(*parts) for parts in [("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ("b", "a", "c")]
        }
        assert len(digests) == 4


class TestIssueApiKey:
    @pytest.mark.parametrize(("holder", "by"), [("bob", "bob"), ("bob", "ada"), ("bot", "bob"), ("cron", "ada")])
    def test_by_the_principal_its_owner_or_an_administrator(self, holder: str, by: str) -> None:
        assert house().when(issue(holder, acting(by), lifetime_s=60)) == (
            ApiKeyIssued(
                key_id=KEY,
                principal_id=prn(holder),
                purpose="api",
                prefix=prefix_of(TENANT, KEY),
                secret_hash=HASH,
                expires_at=T0 + timedelta(seconds=60),
            ),
        )

    @pytest.mark.parametrize(
        ("holder", "by"),
        [("bob", "otto"), ("bot", "otto"), ("bob", "bot"), ("bob", "cleo"), ("ada", "bob"), ("dan", "dan")],
    )
    def test_by_nobody_else(self, holder: str, by: str) -> None:
        house().refuses(issue(holder, acting(by)), NotAllowed)

    def test_for_nobody_who_is_gone(self) -> None:
        house().refuses(issue("dan", acting("ada")), NotFound)
        house().refuses(issue("nobody", acting("ada")), NotFound)

    def test_a_key_id_is_issued_once(self) -> None:
        log = house()
        log.when(issue("bob", acting("bob")))
        log.refuses(issue("otto", acting("otto")), WrongState, "exists")

    def test_acting_for_somebody_is_theirs_to_give(self) -> None:
        (key,) = house().when(issue("bot", acting("bob"), acts_for=["bob"]))
        assert isinstance(key, ApiKeyIssued)
        assert key.acts_for == (prn("bob"),)

    def test_or_an_administrators(self) -> None:
        (key,) = house().when(issue("bot", acting("ada"), acts_for=["cron", "otto"]))
        assert isinstance(key, ApiKeyIssued)
        assert key.acts_for == (prn("cron"), prn("otto"))

    @pytest.mark.parametrize(
        ("holder", "by", "acts_for"), [("bot", "bob", "otto"), ("bot", "bot", "bob"), ("bob", "bob", "ada")]
    )
    def test_nobody_takes_it(self, holder: str, by: str, acts_for: str) -> None:
        command = issue(holder, acting(by), acts_for=[acts_for])
        house().refuses(command, NotAllowed, "acts for somebody else", principals=(prn(acts_for),))

    def test_nobody_makes_a_key_for_a_stranger_that_acts_for_themselves(self) -> None:
        house().refuses(issue("cron", acting("otto"), acts_for=["otto"]), NotAllowed, "its owner or an administrator")

    def test_nobody_sheds_a_chain_by_making_a_key_without_it(self) -> None:
        log = house()
        log.refuses(issue("bot", acting("bot", "agent", for_=["bob"])), NotAllowed, "acting for somebody else")
        log.refuses(issue("ada", acting("ada", for_=["bob"])), NotAllowed)

    @pytest.mark.parametrize("name", ["dan", "nobody"])
    def test_nobody_acts_for_whoever_is_gone(self, name: str) -> None:
        house().refuses(issue("bot", acting("ada"), acts_for=[name]), WrongState, "active", principal=prn(name))

    def test_a_chain_is_bounded_and_never_names_anybody_twice(self) -> None:
        for chain in (["bob", "bob"], ["bot"], [f"p{number}" for number in range(MAX_CHAIN + 1)]):
            with pytest.raises(InvalidInput, match="acts_for"):
                issue("bot", acting("ada"), acts_for=chain)

    def test_a_chain_of_the_greatest_length_is_fine(self) -> None:
        names = [f"p{number}" for number in range(MAX_CHAIN)]
        log = house().given(*(registered(name) for name in names))
        (key,) = log.when(issue("bot", acting("ada"), acts_for=names))
        assert isinstance(key, ApiKeyIssued)
        assert len(key.acts_for) == MAX_CHAIN

    def test_the_house_itself_makes_any(self) -> None:
        house().when(issue("bot", SYSTEM, acts_for=["bob"]))

    @pytest.mark.parametrize("lifetime_s", [0, 59, 400 * 86_400 + 1])
    def test_a_life_is_bounded(self, lifetime_s: int) -> None:
        with pytest.raises(InvalidInput, match="lifetime_s"):
            issue("bob", acting("bob"), lifetime_s=lifetime_s)

    def test_an_auditor_makes_none(self) -> None:
        house().refuses(issue("cleo", acting("cleo")), NotAllowed, "commands nothing")


class TestRotateApiKey:
    def test_the_new_key_is_worth_what_the_old_one_was(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob"), acts_for=["bob"], lifetime_s=1_000))
        log.wait(seconds=900)
        now = log.now
        assert log.when(rotate(acting("bob"))) == (
            ApiKeyIssued(
                key_id=NEW_KEY,
                principal_id=prn("bot"),
                purpose="api",
                prefix=prefix_of(TENANT, NEW_KEY),
                secret_hash=OTHER_HASH,
                expires_at=now + timedelta(seconds=1_000),
                acts_for=(prn("bob"),),
            ),
            ApiKeyRotated(
                key_id=KEY, new_key_id=NEW_KEY, principal_id=prn("bot"), overlap_until=now + timedelta(hours=1)
            ),
        )
        assert worth(log).state == "active"
        assert worth(log, NEW_KEY, OTHER_HASH).state == "active"
        log.wait(seconds=100)
        assert worth(log).state == "expired", "an overlap lengthens no life"

    def test_the_overlap_ends(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob")))
        log.when(rotate(acting("bob"), overlap_s=60))
        log.now = log.payloads(ApiKeyRotated)[0].overlap_until - timedelta(microseconds=1)
        assert worth(log).state == "active"
        log.wait(microseconds=1)
        assert worth(log).state == "rotated"
        assert worth(log, NEW_KEY, OTHER_HASH).state == "active"

    def test_no_overlap_at_all_is_allowed(self) -> None:
        log = house()
        log.when(issue("bob", acting("bob")))
        log.when(rotate(acting("bob"), overlap_s=0))
        assert worth(log).state == "rotated"

    @pytest.mark.parametrize("overlap_s", [-1, 30 * 86_400 + 1])
    def test_the_overlap_is_bounded(self, overlap_s: int) -> None:
        with pytest.raises(InvalidInput, match="overlap_s"):
            rotate(acting("bob"), overlap_s=overlap_s)

    def test_by_its_holder_with_the_same_chain(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob"), acts_for=["bob"]))
        log.refuses(rotate(acting("bot", "agent", for_=["otto"])), NotAllowed)
        log.refuses(rotate(acting("otto")), NotAllowed)
        log.refuses(rotate(acting("bob", for_=["otto"])), NotAllowed)
        log.when(rotate(acting("bot", "agent", for_=["bob"])))

    def test_by_an_administrator(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob")))
        log.when(rotate(acting("ada")))

    def test_only_a_key_that_works_once(self) -> None:
        log = house()
        log.refuses(rotate(acting("bob")), NotFound)
        log.when(issue("bob", acting("bob"), lifetime_s=60))
        log.wait(seconds=60)
        log.refuses(rotate(acting("bob")), WrongState, "expired", state="expired")
        log.when(issue("bob", acting("bob"), key_id=named("key", "3")))
        log.refuses(rotate(acting("bob"), key_id=named("key", "3"), new=KEY), WrongState, "exists already")
        log.when(rotate(acting("bob"), key_id=named("key", "3")))
        log.refuses(
            rotate(acting("bob"), key_id=named("key", "3"), new=named("key", "4")),
            WrongState,
            "rotated already",
            replaced_by=NEW_KEY,
        )

    def test_not_a_revoked_key(self) -> None:
        log = house()
        log.when(issue("bob", acting("bob")))
        log.when(RevokeApiKey(key_id=KEY, reason="lost", actor=acting("bob")))
        log.refuses(rotate(acting("bob")), WrongState, "revoked")


class TestRevokeApiKey:
    @pytest.mark.parametrize("by", ["bot", "bob", "otto", "ada"])
    def test_by_holder_owner_operator_or_administrator(self, by: str) -> None:
        log = house()
        log.when(issue("bot", acting("bob")))
        command = RevokeApiKey(key_id=KEY, reason="leaked", actor=acting(by))
        assert log.when(command) == (ApiKeyRevoked(key_id=KEY, principal_id=prn("bot"), reason="leaked"),)
        assert worth(log).state == "revoked"
        log.refuses(RevokeApiKey(key_id=KEY, reason="leaked", actor=acting("ada")), WrongState, "already")

    def test_by_whoever_it_acts_for(self) -> None:
        log = house().given(registered("eve"))
        log.when(issue("bot", acting("ada"), acts_for=["eve"]))
        log.when(RevokeApiKey(key_id=KEY, reason="changed my mind", actor=acting("eve")))

    @pytest.mark.parametrize("by", [acting("cleo"), acting("dan"), acting("eve"), acting("bot", for_=["eve"])])
    def test_by_nobody_else(self, by: Actor) -> None:
        log = house().given(registered("eve"))
        log.when(issue("bot", acting("bob"), acts_for=["bob"]))
        log.refuses(RevokeApiKey(key_id=KEY, reason="x", actor=by), NotAllowed)

    def test_by_whoever_it_acts_for_only_in_person(self) -> None:
        log = house().given(registered("eve"))
        log.when(issue("bot", acting("ada"), acts_for=["eve"]))
        log.refuses(RevokeApiKey(key_id=KEY, reason="x", actor=acting("eve", for_=["bob"])), NotAllowed)

    def test_not_by_an_auditor_even_its_own(self) -> None:
        log = house()
        log.when(issue("cleo", acting("ada")))
        log.refuses(RevokeApiKey(key_id=KEY, reason="x", actor=acting("cleo")), NotAllowed, "commands nothing")

    def test_there_must_be_one(self) -> None:
        house().refuses(RevokeApiKey(key_id=KEY, reason="x", actor=acting("ada")), NotFound)


class TestSignInLink:
    def link(self, holder: str = "bob", by: str = "ada") -> IssueSignInLink:
        return IssueSignInLink(
            link_id=LINK, principal_id=prn(holder), secret_hash=HASH, lifetime_s=600, actor=acting(by)
        )

    def use(self, holder: str = "bob", presented: str = HASH) -> UseSignInLink:
        return UseSignInLink(
            tenant=TENANT,
            link_id=LINK,
            presented_hash=presented,
            key_id=KEY,
            secret_hash=OTHER_HASH,
            session_s=3_600,
            actor=acting(holder),
        )

    def test_is_made_by_an_administrator_for_a_human(self) -> None:
        log = house()
        assert log.when(self.link()) == (
            SignInLinkIssued(
                link_id=LINK, principal_id=prn("bob"), secret_hash=HASH, expires_at=T0 + timedelta(minutes=10)
            ),
        )
        log.refuses(self.link("otto"), WrongState, "exists already")

    def test_is_made_for_nobody_else_and_by_nobody_else(self) -> None:
        house().refuses(self.link(by="bob"), NotAllowed)
        house().refuses(self.link("bot"), WrongState, "humans")
        house().refuses(self.link("dan"), NotFound)

    def test_opens_one_session(self) -> None:
        log = house()
        log.when(self.link())
        now = log.now
        decision = log.decide(self.use())
        assert decision.not_after == T0 + timedelta(minutes=10)
        assert log.when(self.use()) == (
            SignInLinkUsed(link_id=LINK, principal_id=prn("bob"), key_id=KEY),
            ApiKeyIssued(
                key_id=KEY,
                principal_id=prn("bob"),
                purpose="session",
                prefix=prefix_of(TENANT, KEY),
                secret_hash=OTHER_HASH,
                expires_at=now + timedelta(hours=1),
            ),
        )
        log.refuses(self.use(), WrongState, "used already")
        session = worth(log, KEY, OTHER_HASH)
        assert (session.state, session.purpose, session.roles) == ("active", "session", {"approver"})

    def test_a_session_is_not_rotated(self) -> None:
        log = house()
        log.when(self.link())
        log.when(self.use())
        log.refuses(rotate(acting("bob")), WrongState, "sign in again")

    def test_ends_when_it_says(self) -> None:
        log = house()
        log.when(self.link())
        log.now = T0 + timedelta(minutes=10) - timedelta(microseconds=1)
        log.decide(self.use())
        log.wait(microseconds=1)
        log.refuses(self.use(), WrongState, "expired", expired_at=T0 + timedelta(minutes=10))

    def test_a_wrong_secret_somebody_elses_and_none_look_the_same(self) -> None:
        log = house()
        nothing = log.refuses(self.use(), NotFound)
        log.when(self.link())
        wrong = log.refuses(self.use(presented=OTHER_HASH), NotFound)
        foreign = log.refuses(self.use("otto"), NotFound)
        assert str(nothing) == str(wrong) == str(foreign)
        assert nothing.details == wrong.details == foreign.details

    def test_whoever_signed_in_signs_out_even_an_auditor(self) -> None:
        log = house()
        log.when(self.link("cleo"))
        log.when(self.use("cleo"))
        out = RevokeApiKey(key_id=KEY, reason="signed out", actor=acting("cleo"))
        log.refuses(RevokeApiKey(key_id=KEY, reason="x", actor=acting("bob")), NotAllowed)
        assert log.when(out) == (ApiKeyRevoked(key_id=KEY, principal_id=prn("cleo"), reason="signed out"),)
        log.refuses(RevokeApiKey(key_id=KEY, reason="signed out", actor=acting("cleo")), WrongState, "already")
        log.given(TenantClosed(tenant=TENANT, reason="x"))
        log.refuses(RevokeApiKey(key_id=KEY, reason="signed out", actor=acting("cleo")), WrongState, "closed")

    def test_an_auditor_signs_nobody_else_out(self) -> None:
        log = house()
        log.when(self.link())
        log.when(self.use())
        log.refuses(RevokeApiKey(key_id=KEY, reason="x", actor=acting("cleo")), NotAllowed, "commands nothing")

    def test_is_worth_nothing_to_whoever_is_gone(self) -> None:
        log = house().given(registered("eve"))
        log.when(self.link("eve"))
        log.when(DeactivatePrincipal(principal_id=prn("eve"), reason="left", actor=acting("ada")))
        log.refuses(self.use("eve"), NotAllowed, "deactivated")

    def test_is_worth_nothing_in_a_closed_tenant(self) -> None:
        log = house()
        log.when(self.link())
        log.given(TenantClosed(tenant=TENANT, reason="x"))
        log.refuses(self.use(), WrongState, "closed")


class TestWorth:
    def test_is_its_holders_roles(self) -> None:
        log = house()
        log.when(issue("cron", acting("bob"), lifetime_s=60))
        assert worth(log) == Credential(
            state="active",
            principal=prn("cron"),
            kind="service",
            roles=frozenset({"operator", "agent"}),
            key_id=KEY,
            expires_at=T0 + timedelta(seconds=60),
        )
        assert worth(log).actor() == Actor(principal=prn("cron"), kind="service")

    def test_acting_for_others_is_less(self) -> None:
        log = house()
        log.when(issue("cron", acting("ada"), acts_for=["bob"]))
        assert worth(log).roles == {"agent"}
        assert worth(log).actor() == Actor(principal=prn("cron"), kind="service", on_behalf_of=(prn("bob"),))

    def test_a_wrong_secret_is_worth_nothing(self) -> None:
        log = house()
        log.when(issue("bob", acting("bob")))
        assert worth(log, secret_hash=OTHER_HASH) == Credential(state="unknown")
        assert worth(log, NEW_KEY) == Credential(state="unknown")

    def test_it_ends_when_it_says(self) -> None:
        log = house()
        log.when(issue("bob", acting("bob"), lifetime_s=60))
        log.now = T0 + timedelta(seconds=60) - timedelta(microseconds=1)
        assert worth(log).state == "active"
        log.wait(microseconds=1)
        assert (worth(log).state, worth(log).roles) == ("expired", frozenset())

    def test_it_dies_with_its_holder(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob")))
        log.when(DeactivatePrincipal(principal_id=prn("bot"), reason="misbehaves", actor=acting("bob")))
        assert (worth(log).state, worth(log).roles) == ("principal_inactive", frozenset())

    def test_it_dies_with_whoever_it_acts_for(self) -> None:
        log = house()
        log.when(issue("bot", acting("ada"), acts_for=["otto"]))
        log.when(DeactivatePrincipal(principal_id=prn("otto"), reason="left", actor=acting("ada")))
        assert (worth(log).state, worth(log).roles) == ("delegator_inactive", frozenset())
        with pytest.raises(ValueError, match="acts for nobody"):
            worth(log).actor()

    def test_it_dies_with_its_tenant(self) -> None:
        log = house()
        log.when(issue("bot", acting("bob")))
        log.given(TenantClosed(tenant=TENANT, reason="x"))
        assert worth(log).state == "tenant_closed"

    @pytest.mark.parametrize(
        ("holder", "left"),
        [("ada", {"auditor"}), ("cleo", {"auditor"}), ("bob", set()), ("otto", set()), ("bot", set())],
    )
    def test_in_a_closed_tenant_only_reading_is_left(self, holder: str, left: set[str]) -> None:
        log = house()
        log.when(issue(holder, acting("ada")))
        log.given(TenantClosed(tenant=TENANT, reason="x"))
        assert (worth(log).state, worth(log).roles) == ("tenant_closed", left)
        log.wait(days=1)
        log.given(ApiKeyRevoked(key_id=KEY, principal_id=prn(holder), reason="x"))
        assert (worth(log).state, worth(log).roles) == ("revoked", frozenset())

    def test_a_role_lost_is_lost_at_once(self) -> None:
        log = house()
        log.when(issue("otto", acting("otto")))
        log.given(RoleRevoked(principal_id=prn("otto"), role="operator"))
        assert (worth(log).state, worth(log).roles) == ("active", frozenset())


class TestIdentity:
    def worth(self, log: Log, identity: str) -> Credential:
        fold = IdentityFold(identity)
        while (query := fold.missing()) is not None:
            for event in log.events:
                if matches(query, event.type, frozenset(event.tags)):
                    fold.apply(event)
        return fold.credential()

    def test_is_its_principals_roles(self) -> None:
        log = house().given(IdentityLinked(principal_id=prn("bob"), issuer="i", identity="sha256:1"))
        assert self.worth(log, "sha256:1") == Credential(
            state="active", principal=prn("bob"), kind="human", roles=frozenset({"approver"}), purpose="identity"
        )
        assert self.worth(log, "sha256:2") == Credential(state="unknown", purpose="identity")

    def test_dies_with_its_principal_and_tenant(self) -> None:
        log = house().given(IdentityLinked(principal_id=prn("dan"), issuer="i", identity="sha256:1"))
        assert self.worth(log, "sha256:1").state == "principal_inactive"
        log.given(IdentityLinked(principal_id=prn("bob"), issuer="i", identity="sha256:2"))
        log.given(TenantClosed(tenant=TENANT, reason="x"))
        assert self.worth(log, "sha256:2").state == "tenant_closed"
