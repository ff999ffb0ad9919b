"""There is always an administrator, whoever does what in whatever order. Serves S1-76, S0-113, DC-02."""

from __future__ import annotations

from given import Log, acting, attempt, prn, registered
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quarterdeck_domain.access.slices import DeactivatePrincipal, GrantRole, RegisterPrincipal, RevokeRole
from quarterdeck_domain.slices import Slice

NAMES = ("ada", "bob", "cleo", "dan", "eve")
names = st.sampled_from(NAMES)


class Administrators(RuleBasedStateMachine):
    """Random commands against an oracle that is two sets of names."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.active: set[str] = set()
        self.administrators: set[str] = set()

    @initialize(first=names)
    def begin(self, first: str) -> None:
        self.log.given(registered(first, "administrator"))
        self.active.add(first)
        self.administrators.add(first)
        self.gone: set[str] = set()

    def attempt(self, command: Slice, allowed: bool) -> bool:
        """Run a command; it must succeed exactly if the oracle allows it."""
        refusal = attempt(self.log, command)
        assert (refusal is None) == allowed, refusal
        return allowed

    @rule(name=names, by=names, administrator=st.booleans())
    def register(self, name: str, by: str, administrator: bool) -> None:
        command = RegisterPrincipal(
            principal_id=prn(name),
            kind="human",
            display_name=name,
            roles=("administrator",) if administrator else ("operator",),
            actor=acting(by),
        )
        allowed = by in self.administrators and name not in self.active | self.gone
        if self.attempt(command, allowed):
            self.active.add(name)
            self.administrators |= {name} if administrator else set()

    @rule(name=names, by=names)
    def grant(self, name: str, by: str) -> None:
        allowed = by in self.administrators and name in self.active - self.administrators
        if self.attempt(GrantRole(principal_id=prn(name), role="administrator", actor=acting(by)), allowed):
            self.administrators.add(name)

    @rule(name=names, by=names)
    def revoke(self, name: str, by: str) -> None:
        allowed = by in self.administrators and name in self.administrators and len(self.administrators) > 1
        if self.attempt(RevokeRole(principal_id=prn(name), role="administrator", actor=acting(by)), allowed):
            self.administrators.discard(name)

    @rule(name=names, by=names)
    def deactivate(self, name: str, by: str) -> None:
        allowed = by in self.administrators and name in self.active and self.administrators != {name}
        if self.attempt(DeactivatePrincipal(principal_id=prn(name), reason="left", actor=acting(by)), allowed):
            self.administrators.discard(name)
            self.active.discard(name)
            self.gone.add(name)

    @invariant()
    def somebody_administers(self) -> None:
        assert not self.active or self.administrators


Administrators.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAdministrators = Administrators.TestCase


def two() -> Log:
    return Log(registered("ada", "administrator"), registered("bob", "administrator"), registered("cleo"))


class TestRaces:
    """Two commands at once that were each right alone: the second must decide again."""

    def revoke(self, name: str, by: str) -> RevokeRole:
        return RevokeRole(principal_id=prn(name), role="administrator", actor=acting(by))

    def deactivate(self, name: str, by: str) -> DeactivatePrincipal:
        return DeactivatePrincipal(principal_id=prn(name), reason="left", actor=acting(by))

    def test_each_takes_the_others_role(self) -> None:
        assert two().races(self.revoke("ada", "bob"), self.revoke("bob", "ada"))

    def test_each_gives_up_its_own(self) -> None:
        assert two().races(self.revoke("ada", "ada"), self.revoke("bob", "bob"))

    def test_one_is_deactivated_while_the_other_gives_up(self) -> None:
        assert two().races(self.deactivate("ada", "bob"), self.revoke("bob", "bob"))
        assert two().races(self.revoke("ada", "ada"), self.deactivate("bob", "bob"))

    def test_the_actor_loses_the_role_it_uses(self) -> None:
        grant = GrantRole(principal_id=prn("cleo"), role="operator", actor=acting("ada"))
        assert two().races(self.revoke("ada", "bob"), grant)
        assert two().races(self.deactivate("ada", "bob"), grant)

    def test_strangers_do_not_disturb_each_other(self) -> None:
        log = two().given(registered("dan"), registered("eve", "administrator"))
        one = GrantRole(principal_id=prn("cleo"), role="operator", actor=acting("ada"))
        other = GrantRole(principal_id=prn("dan"), role="operator", actor=acting("eve"))
        assert not log.races(one, other)
