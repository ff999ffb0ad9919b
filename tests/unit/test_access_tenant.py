"""A tenant's beginning, end and way back in, and its signing keys. Serves C01, DC-01, DC-02, S0-20."""

from __future__ import annotations

from datetime import timedelta

import pytest
from given import HASH, T0, TENANT, Log, acting, named, prn, registered

from quarterdeck_domain.access.events import (
    AdministratorRecovered,
    PrincipalRegistered,
    SigningKeyRotated,
    SignInLinkIssued,
    TenantClosed,
    TenantOpened,
)
from quarterdeck_domain.access.slices import (
    CloseTenant,
    GrantRole,
    NewAdministrator,
    OpenTenant,
    RecoverAdministrator,
    RotateSigningKey,
)
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState

ADA = NewAdministrator(
    principal_id=prn("ada"), display_name="Ada", email="ada@example.org", link_id=named("lnk", "1"), link_hash=HASH
)
OPENED = TenantOpened(tenant=TENANT, display_name="Acme")


def opened() -> Log:
    return Log(OPENED, registered("ada", "administrator"), registered("bob", "operator"))


class TestOpenTenant:
    def test_makes_the_tenant_its_administrator_and_a_way_in_together(self) -> None:
        events = Log().when(OpenTenant(tenant=TENANT, display_name="Acme", administrator=ADA))
        assert events == (
            OPENED,
            PrincipalRegistered(
                principal_id=prn("ada"),
                kind="human",
                display_name="Ada",
                email="ada@example.org",
                roles=("administrator",),
            ),
            SignInLinkIssued(
                link_id=ADA.link_id,
                principal_id=prn("ada"),
                secret_hash=HASH,
                expires_at=T0 + timedelta(days=1),
            ),
        )

    def test_happens_once(self) -> None:
        again = OpenTenant(tenant=TENANT, display_name="Acme", administrator=ADA)
        Log(OPENED).refuses(again, WrongState, "open already", tenant=TENANT)

    def test_what_ended_does_not_begin_again(self) -> None:
        log = Log(OPENED, TenantClosed(tenant=TENANT, reason="moved"))
        log.refuses(OpenTenant(tenant=TENANT, display_name="Acme", administrator=ADA), WrongState, "closed")

    def test_refuses_a_name_that_deceives(self) -> None:
        odd = NewAdministrator(
            principal_id=prn("ada"), display_name="Ada\u202e", link_id=named("lnk", "1"), link_hash=HASH
        )
        with pytest.raises(InvalidInput, match="display_name"):
            OpenTenant(tenant=TENANT, display_name="Acme", administrator=odd)

    def test_is_the_machines_own(self) -> None:
        by_ada = OpenTenant(tenant=TENANT, display_name="Acme", administrator=ADA, actor=acting("ada"))
        Log().refuses(by_ada, NotAllowed, "command line")

    @pytest.mark.parametrize("name", ["", "Acme", "-acme", "acme_1", "a" * 64, "acme\n"])
    def test_refuses_what_is_no_tenant_name(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="tenant name"):
            OpenTenant(tenant=name, display_name="Acme", administrator=ADA)

    def test_refuses_a_secret_in_place_of_its_hash(self) -> None:
        careless = NewAdministrator(
            principal_id=prn("ada"), display_name="Ada", link_id=named("lnk", "1"), link_hash="s3cr3t" * 10
        )
        with pytest.raises(InvalidInput) as caught:
            OpenTenant(tenant=TENANT, display_name="Acme", administrator=careless)
        assert "s3cr3t" not in str(caught.value)


class TestCloseTenant:
    def test_ends_every_command(self) -> None:
        log = opened()
        assert log.when(CloseTenant(tenant=TENANT, reason="moved", actor=acting("ada"))) == (
            TenantClosed(tenant=TENANT, reason="moved"),
        )
        log.refuses(GrantRole(principal_id=prn("bob"), role="approver", actor=acting("ada")), WrongState, "closed")
        log.refuses(RecoverAdministrator(administrator=ADA, reason="lost"), WrongState, "closed")

    def test_needs_an_administrator(self) -> None:
        close = CloseTenant(tenant=TENANT, reason="moved", actor=acting("bob"))
        opened().refuses(close, NotAllowed, needs=("administrator",))

    def test_needs_the_name_of_this_tenant(self) -> None:
        close = CloseTenant(tenant="acme-test", reason="moved", actor=acting("ada"))
        opened().refuses(close, InvalidInput, tenant=TENANT)

    def test_needs_a_tenant(self) -> None:
        close = CloseTenant(tenant=TENANT, reason="moved", actor=SYSTEM)
        Log().refuses(close, NotFound)


class TestRecoverAdministrator:
    def test_makes_a_new_administrator_and_says_why(self) -> None:
        eve = NewAdministrator(
            principal_id=prn("eve"), display_name="Eve", link_id=named("lnk", "2"), link_hash=HASH, link_lifetime_s=600
        )
        log = opened()
        recovered, person, link = log.when(RecoverAdministrator(administrator=eve, reason="Ada lost her keys"))
        assert recovered == AdministratorRecovered(principal_id=prn("eve"), reason="Ada lost her keys")
        assert isinstance(person, PrincipalRegistered)
        assert person.roles == ("administrator",)
        assert isinstance(link, SignInLinkIssued)
        assert link.expires_at == T0 + timedelta(minutes=10)
        log.when(GrantRole(principal_id=prn("bob"), role="approver", actor=acting("eve")))

    def test_is_the_machines_own(self) -> None:
        by_ada = RecoverAdministrator(administrator=ADA, reason="lost", actor=acting("ada"))
        opened().refuses(by_ada, NotAllowed, "command line")

    def test_needs_a_tenant(self) -> None:
        Log().refuses(RecoverAdministrator(administrator=ADA, reason="lost"), WrongState, "never opened")

    def test_never_touches_somebody_who_is_there(self) -> None:
        opened().refuses(RecoverAdministrator(administrator=ADA, reason="lost"), WrongState, "exists")

    @pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1])
    def test_bounds_the_link(self, seconds: int) -> None:
        eve = NewAdministrator(
            principal_id=prn("eve"),
            display_name="Eve",
            link_id=named("lnk", "2"),
            link_hash=HASH,
            link_lifetime_s=seconds,
        )
        with pytest.raises(InvalidInput, match="link_lifetime_s"):
            RecoverAdministrator(administrator=eve, reason="lost")


class TestRotateSigningKey:
    def rotate(
        self, key_id: str, public_key: str, purpose: str = "grant", *, by: str | None = "ada"
    ) -> RotateSigningKey:
        return RotateSigningKey(
            purpose=purpose,  # type: ignore[arg-type]
            key_id=key_id,
            public_key=public_key,
            overlap_s=3_600,
            actor=SYSTEM if by is None else acting(by),
        )

    def test_the_first_key_replaces_none(self) -> None:
        (rotated,) = opened().when(self.rotate("g1", "pk1", by=None))
        assert rotated == SigningKeyRotated(key_id="g1", purpose="grant", public_key="pk1")

    def test_the_next_one_lets_the_old_one_verify_for_a_while(self) -> None:
        log = opened()
        log.when(self.rotate("g1", "pk1"))
        log.when(self.rotate("w1", "pk2", "webhook"))
        now = log.now
        (rotated,) = log.when(self.rotate("g2", "pk3"))
        assert rotated == SigningKeyRotated(
            key_id="g2",
            purpose="grant",
            public_key="pk3",
            previous_key_id="g1",
            retired_at=now + timedelta(hours=1),
        )

    @pytest.mark.parametrize(("key_id", "public_key"), [("g1", "other"), ("other", "pk1")])
    @pytest.mark.parametrize("purpose", ["grant", "webhook", "checkpoint"])
    def test_no_key_serves_twice(self, key_id: str, public_key: str, purpose: str) -> None:
        log = opened()
        log.when(self.rotate("g1", "pk1"))
        log.refuses(self.rotate(key_id, public_key, purpose), WrongState, "one purpose")

    def test_needs_an_administrator(self) -> None:
        opened().refuses(self.rotate("g1", "pk1", by="bob"), NotAllowed, needs=("administrator",))
