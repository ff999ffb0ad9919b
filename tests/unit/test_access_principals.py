"""Humans, services and agents; their roles, owners and identities. Serves S0-86, S0-23, S1-76, DC-02."""

from __future__ import annotations

import pytest
from given import Log, acting, agent, prn, registered

from quarterdeck_domain.access.events import (
    IdentityLinked,
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalErased,
    PrincipalKind,
    PrincipalRegistered,
    Role,
    RoleGranted,
    RoleRevoked,
)
from quarterdeck_domain.access.slices import (
    DeactivatePrincipal,
    ErasePrincipal,
    GrantRole,
    LinkIdentity,
    RegisterPrincipal,
    RevokeRole,
    TransferOwnership,
)
from quarterdeck_domain.access.slices_principals import MAX_HANDED_OVER
from quarterdeck_domain.access.values import SYSTEM, People
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState

ADA = acting("ada")


def house() -> Log:
    """Ada administers; Bob owns an agent and a service; Cleo audits; Dan was deactivated."""
    return Log(
        registered("ada", "administrator"),
        registered("bob", "approver"),
        registered("cleo", "auditor"),
        registered("dan"),
        PrincipalDeactivated(principal_id=prn("dan"), reason="left"),
        agent("bot", "bob"),
        registered("cron", "operator", kind="service", owner="bob"),
    )


def register(
    name: str,
    kind: PrincipalKind = "agent",
    *,
    owner: str | None = "bob",
    roles: tuple[Role, ...] = (),
    by: str = "ada",
) -> RegisterPrincipal:
    return RegisterPrincipal(
        principal_id=prn(name),
        kind=kind,
        display_name=name,
        owner=None if owner is None else prn(owner),
        roles=roles,
        purpose="tries things",
        actor=acting(by),
    )


class TestRegisterPrincipal:
    def test_an_agent_is_an_agent_and_has_an_owner(self) -> None:
        assert house().when(register("scout")) == (
            PrincipalRegistered(
                principal_id=prn("scout"),
                kind="agent",
                display_name="scout",
                owner=prn("bob"),
                purpose="tries things",
                roles=("agent",),
            ),
        )

    def test_a_human_may_have_no_role_yet(self) -> None:
        (fact,) = house().when(register("eve", "human", owner=None))
        assert isinstance(fact, PrincipalRegistered)
        assert fact.roles == ()

    def test_roles_are_kept_sorted_and_once(self) -> None:
        (fact,) = house().when(register("eve", "human", owner=None, roles=("operator", "approver", "operator")))
        assert isinstance(fact, PrincipalRegistered)
        assert fact.roles == ("approver", "operator")

    @pytest.mark.parametrize(
        ("kind", "roles"),
        [
            ("agent", ("approver",)),
            ("agent", ("administrator",)),
            ("agent", ("agent", "operator")),
            ("agent", ("auditor",)),
            ("service", ("administrator",)),
            ("service", ("approver",)),
            ("human", ("agent",)),
        ],
    )
    def test_a_role_must_suit_the_kind(self, kind: PrincipalKind, roles: tuple[Role, ...]) -> None:
        with pytest.raises(InvalidInput, match=f"of kind {kind} may not be"):
            register("eve", kind, owner=None if kind == "human" else "bob", roles=roles)

    @pytest.mark.parametrize("roles", [("operator",), ("auditor",), ("agent",), ("agent", "operator")])
    def test_a_service_may_operate_audit_or_act(self, roles: tuple[Role, ...]) -> None:
        (fact,) = house().when(register("etl", "service", roles=roles))
        assert isinstance(fact, PrincipalRegistered)
        assert fact.roles == roles

    @pytest.mark.parametrize("owner", ["dan", "bot", "cron", "nobody"])
    def test_the_owner_is_an_active_human(self, owner: str) -> None:
        house().refuses(register("scout", owner=owner), WrongState, "active human", owner=prn(owner))

    @pytest.mark.parametrize(("kind", "owner"), [("agent", None), ("service", None), ("human", "bob")])
    def test_whoever_is_not_human_has_an_owner(self, kind: PrincipalKind, owner: str | None) -> None:
        with pytest.raises(InvalidInput, match="owner"):
            register("eve", kind, owner=owner)

    @pytest.mark.parametrize("by", ["bob", "bot", "cron", "cleo", "dan", "nobody"])
    def test_needs_an_administrator(self, by: str) -> None:
        house().refuses(register("scout", by=by), NotAllowed)

    def test_happens_once(self) -> None:
        house().refuses(register("bot"), WrongState, "exists", principal=prn("bot"))

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "  ",
            "a" * 121,
            "a\nb",
            "a\x00b",
            "a\x1b[31mb",
            "ab\u202ecod.exe",
            "a\u200bb",
            "a\ud800",
            "a\u2028b",
            "a\ufeffb",
        ],
    )
    def test_a_name_shows_what_it_is(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="display_name"):
            RegisterPrincipal(principal_id=prn("x"), kind="human", display_name=name, actor=ADA)

    @pytest.mark.parametrize("name", ["Zoë", "李小龙", "محمد", "Ivo 🚀", "ක්‍රිකට්", "O'Neil <b>"])
    def test_a_name_may_be_in_any_script(self, name: str) -> None:
        RegisterPrincipal(principal_id=prn("x"), kind="human", display_name=name, actor=ADA)

    def test_a_name_and_an_email_may_be_as_long_as_they_may_be(self) -> None:
        name, email = "n" * 120, "a" * 240 + "@example.test"
        person = RegisterPrincipal(principal_id=prn("x"), kind="human", display_name=name, email=email + "x", actor=ADA)
        (fact,) = house().when(person)
        assert isinstance(fact, PrincipalRegistered)
        assert (fact.display_name, fact.email) == (name, email + "x")

    @pytest.mark.parametrize("email", ["ada", "", "a" * 250 + "@x.org", "a@b\n.org"])
    def test_an_email_looks_like_one(self, email: str) -> None:
        with pytest.raises(InvalidInput, match=r"email|e-mail"):
            RegisterPrincipal(principal_id=prn("x"), kind="human", display_name="X", email=email, actor=ADA)


class TestRoles:
    def test_grant(self) -> None:
        log = house()
        assert log.when(GrantRole(principal_id=prn("bob"), role="operator", actor=ADA)) == (
            RoleGranted(principal_id=prn("bob"), role="operator"),
        )
        log.refuses(GrantRole(principal_id=prn("bob"), role="operator", actor=ADA), WrongState, "already")

    @pytest.mark.parametrize(("name", "role"), [("bot", "approver"), ("cron", "approver"), ("cron", "administrator")])
    def test_grant_only_what_suits_the_kind(self, name: str, role: Role) -> None:
        house().refuses(GrantRole(principal_id=prn(name), role=role, actor=ADA), InvalidInput, "may not be")

    def test_grant_nothing_to_whoever_is_gone_or_unknown(self) -> None:
        house().refuses(GrantRole(principal_id=prn("dan"), role="operator", actor=ADA), WrongState, "deactivated")
        house().refuses(GrantRole(principal_id=prn("nobody"), role="operator", actor=ADA), NotFound)

    def test_nobody_but_an_administrator_grants_even_to_themselves(self) -> None:
        log = house()
        for name in ("bob", "cleo", "cron"):
            log.refuses(GrantRole(principal_id=prn(name), role="operator", actor=acting(name)), NotAllowed)

    def test_revoke(self) -> None:
        log = house()
        assert log.when(RevokeRole(principal_id=prn("bob"), role="approver", actor=ADA)) == (
            RoleRevoked(principal_id=prn("bob"), role="approver"),
        )
        log.refuses(RevokeRole(principal_id=prn("bob"), role="approver", actor=ADA), WrongState, "is not approver")
        log.refuses(RevokeRole(principal_id=prn("bob"), role="approver", actor=acting("bob")), NotAllowed)

    def test_the_last_administrator_stays(self) -> None:
        log = house()
        log.refuses(RevokeRole(principal_id=prn("ada"), role="administrator", actor=ADA), WrongState, "last")
        log.when(GrantRole(principal_id=prn("bob"), role="administrator", actor=ADA))
        log.when(RevokeRole(principal_id=prn("ada"), role="administrator", actor=ADA))
        log.refuses(RevokeRole(principal_id=prn("bob"), role="administrator", actor=acting("bob")), WrongState, "last")

    def test_a_deactivated_administrator_does_not_count(self) -> None:
        log = house().given(registered("eve", "administrator"))
        log.when(DeactivatePrincipal(principal_id=prn("eve"), reason="left", actor=ADA))
        log.refuses(RevokeRole(principal_id=prn("ada"), role="administrator", actor=ADA), WrongState, "last")

    def test_whoever_acts_for_others_keeps_only_what_all_of_them_hold(self) -> None:
        log = house().given(registered("eve", "administrator", "operator"))
        grant = GrantRole(principal_id=prn("bob"), role="operator", actor=acting("eve", for_=("bob",)))
        log.refuses(grant, NotAllowed, needs=("administrator",))
        log.when(GrantRole(principal_id=prn("bob"), role="operator", actor=acting("eve", for_=("ada",))))

    def test_nobody_acts_for_whoever_is_gone(self) -> None:
        grant = GrantRole(principal_id=prn("bob"), role="operator", actor=acting("ada", for_=("dan",)))
        house().refuses(grant, NotAllowed, "not active", principal=prn("dan"))

    def test_whoever_was_administrator_is_refused_afterwards(self) -> None:
        log = house().given(registered("eve", "administrator"))
        log.when(RevokeRole(principal_id=prn("ada"), role="administrator", actor=acting("eve")))
        log.refuses(GrantRole(principal_id=prn("bob"), role="operator", actor=ADA), NotAllowed)


class TestTransferOwnership:
    def transfer(self, name: str, owner: str, by: str = "ada", *, for_: tuple[str, ...] = ()) -> TransferOwnership:
        return TransferOwnership(principal_id=prn(name), owner=prn(owner), actor=acting(by, for_=for_))

    @pytest.mark.parametrize("by", ["ada", "bob"])
    def test_an_administrator_or_the_owner_hands_over(self, by: str) -> None:
        assert house().when(self.transfer("bot", "cleo", by)) == (
            OwnershipTransferred(principal_id=prn("bot"), owner=prn("cleo"), previous_owner=prn("bob")),
        )

    @pytest.mark.parametrize("by", ["cleo", "bot", "cron", "dan"])
    def test_nobody_else_does(self, by: str) -> None:
        house().refuses(self.transfer("bot", "cleo", by), NotAllowed)

    def test_the_owner_does_so_in_person(self) -> None:
        house().refuses(self.transfer("bot", "cleo", "bob", for_=("ada",)), NotAllowed, "owner or an administrator")

    def test_an_old_owner_has_no_say(self) -> None:
        log = house().given(registered("eve"))
        log.when(self.transfer("bot", "eve"))
        log.refuses(self.transfer("bot", "bob", "bob"), NotAllowed, owner=prn("eve"))

    @pytest.mark.parametrize("owner", ["dan", "bot", "cron", "nobody"])
    def test_the_new_owner_is_an_active_human(self, owner: str) -> None:
        house().refuses(self.transfer("bot", owner), WrongState, "active human")

    def test_to_the_same_owner_is_no_transfer(self) -> None:
        house().refuses(self.transfer("bot", "bob"), WrongState, "already")

    def test_a_human_has_no_owner(self) -> None:
        house().refuses(self.transfer("bob", "ada"), WrongState, "human has no owner")


class TestLinkIdentity:
    def link(self, name: str, identity: str = "sha256:1", by: str = "ada") -> LinkIdentity:
        return LinkIdentity(principal_id=prn(name), issuer="https://idp.example", identity=identity, actor=acting(by))

    def test_ties_an_account_to_a_human(self) -> None:
        assert house().when(self.link("bob")) == (
            IdentityLinked(principal_id=prn("bob"), issuer="https://idp.example", identity="sha256:1"),
        )

    def test_an_account_belongs_to_one_principal(self) -> None:
        log = house()
        log.when(self.link("bob"))
        log.refuses(self.link("ada"), WrongState, "linked already", principal=prn("bob"))
        log.refuses(self.link("bob"), WrongState, "linked already")
        log.when(self.link("bob", "sha256:2"))

    def test_only_active_humans_have_accounts(self) -> None:
        house().refuses(self.link("bot"), WrongState, "humans")
        house().refuses(self.link("dan"), WrongState, "deactivated")
        house().refuses(self.link("nobody"), NotFound)

    def test_needs_an_administrator(self) -> None:
        house().refuses(self.link("bob", by="bob"), NotAllowed)


class TestDeactivatePrincipal:
    def deactivate(self, name: str, by: str = "ada", successor: str | None = None) -> DeactivatePrincipal:
        return DeactivatePrincipal(
            principal_id=prn(name),
            reason="left",
            successor=None if successor is None else prn(successor),
            actor=acting(by),
        )

    @pytest.mark.parametrize("by", ["ada", "bob"])
    def test_an_administrator_or_the_owner_stops_an_agent(self, by: str) -> None:
        assert house().when(self.deactivate("bot", by)) == (
            PrincipalDeactivated(principal_id=prn("bot"), reason="left", roles=("agent",), owner=prn("bob")),
        )

    @pytest.mark.parametrize(("name", "by"), [("bot", "cleo"), ("bot", "cron"), ("bob", "bob"), ("cleo", "bob")])
    def test_nobody_else_does(self, name: str, by: str) -> None:
        house().refuses(self.deactivate(name, by), NotAllowed)

    def test_whoever_is_gone_does_nothing_more(self) -> None:
        log = house()
        log.when(self.deactivate("bob", successor="ada"))
        log.refuses(self.deactivate("bot", "bob"), NotAllowed, "not active")
        log.refuses(self.deactivate("bob"), WrongState, "deactivated")

    def test_the_last_administrator_stays(self) -> None:
        log = house()
        log.refuses(self.deactivate("ada"), WrongState, "last administrator")
        log.given(registered("eve", "administrator"))
        log.when(self.deactivate("ada"))
        log.refuses(self.deactivate("eve", "eve"), WrongState, "last administrator")

    def test_an_owner_needs_a_successor(self) -> None:
        log = house()
        owned = tuple(sorted((prn("bot"), prn("cron"))))
        log.refuses(self.deactivate("bob"), WrongState, "successor", owned=owned, count=2)
        log.refuses(self.deactivate("bob", successor="bob"), WrongState, "successor")
        log.refuses(self.deactivate("bob", successor="dan"), WrongState, "active human")
        log.refuses(self.deactivate("bob", successor="cron"), WrongState, "active human")
        events = log.when(self.deactivate("bob", successor="ada"))
        assert events == (
            *(OwnershipTransferred(principal_id=name, owner=prn("ada"), previous_owner=prn("bob")) for name in owned),
            PrincipalDeactivated(principal_id=prn("bob"), reason="left", roles=("approver",)),
        )

    def test_what_is_gone_or_handed_over_needs_none(self) -> None:
        log = house()
        log.when(self.deactivate("cron"))
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA))
        (only,) = log.when(self.deactivate("bob"))
        assert isinstance(only, PrincipalDeactivated)

    def test_what_was_handed_to_it_counts(self) -> None:
        log = house()
        log.when(TransferOwnership(principal_id=prn("bot"), owner=prn("cleo"), actor=ADA))
        log.refuses(self.deactivate("cleo"), WrongState, "successor", count=1)

    def test_an_append_has_its_bounds(self) -> None:
        log = house().given(*(agent(f"bot{number}", "cleo") for number in range(MAX_HANDED_OVER + 1)))
        log.refuses(self.deactivate("cleo", successor="ada"), WrongState, f"more than {MAX_HANDED_OVER}")
        log.when(self.deactivate("bot0"))
        assert len(log.when(self.deactivate("cleo", successor="ada"))) == MAX_HANDED_OVER + 1

    def test_a_reason_is_given(self) -> None:
        with pytest.raises(InvalidInput, match="reason is blank"):
            DeactivatePrincipal(principal_id=prn("bob"), reason=" ", actor=ADA)


class TestErasePrincipal:
    def erase(self, name: str, by: str = "ada") -> ErasePrincipal:
        return ErasePrincipal(principal_id=prn(name), reason="requested", actor=acting(by))

    def test_after_deactivation_once(self) -> None:
        log = house()
        log.refuses(self.erase("bob"), WrongState, "deactivate")
        assert log.when(self.erase("dan")) == (PrincipalErased(principal_id=prn("dan"), reason="requested"),)
        assert log.when(self.erase("dan")), "again, for what was recorded since"
        log.refuses(self.erase("nobody"), NotFound)

    def test_needs_an_administrator(self) -> None:
        house().refuses(self.erase("dan", by="bob"), NotAllowed)


def test_a_fold_never_answers_about_whom_it_was_not_asked_to_know() -> None:
    """It has seen only part of their events: a wrong answer would look like a right one."""
    people = People(prn("bob"), None)
    house().fold(people.apply)
    assert people.find(prn("bob")) is not None
    assert people.find(None) is None
    assert people.find(SYSTEM.principal) is None
    for ask in (people.find, people.active, people.owned_by, people.answers_for):
        with pytest.raises(LookupError, match="outside"):
            ask(prn("bot"))


def test_an_auditor_commands_nothing() -> None:
    log = house().given(agent("probe", "cleo"))
    commands = (
        TransferOwnership(principal_id=prn("probe"), owner=prn("bob"), actor=acting("cleo")),
        DeactivatePrincipal(principal_id=prn("probe"), reason="x", actor=acting("cleo")),
        DeactivatePrincipal(principal_id=prn("probe"), reason="x", actor=acting("cleo", for_=("bob",))),
        GrantRole(principal_id=prn("cleo"), role="operator", actor=acting("cleo")),
    )
    for command in commands:
        log.refuses(command, NotAllowed, "reads everything and commands nothing")
