"""What is made with a credential ends no later than it, and with it. Serves DC-07, S0-80, S0-86, S0-92."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from given import HASH, TENANT, Log, acting, agent, named, prn, registered
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.access import lineage
from quarterdeck_domain.access.credentials import CredentialFold, CredentialState
from quarterdeck_domain.access.events import ApiKeyIssued, ApiKeyRevoked, SignInLinkIssued
from quarterdeck_domain.access.slices import IssueApiKey, IssueSignInLink, RevokeApiKey, RotateApiKey, UseSignInLink
from quarterdeck_domain.access.values import SYSTEM, Held
from quarterdeck_domain.errors import NotAllowed, QuarterdeckError
from quarterdeck_domain.events import Actor
from quarterdeck_domain.slices import matches

ADA, BOB = acting("ada"), acting("bob")
BOT, CRON = acting("bot", "agent"), acting("cron", "service")


def house() -> Log:
    """Ada administers; Bob owns an agent and a service that operates; Otto operates."""
    return Log(
        registered("ada", "administrator"),
        registered("bob", "approver"),
        registered("otto", "operator"),
        agent("bot", "bob"),
        registered("cron", "operator", "agent", kind="service", owner="bob"),
    )


def key(name: str) -> str:
    return named("key", name)


def held(name: str | None, ends_at: datetime | None = None) -> Held:
    return Held(key_id=None if name is None else key(name), ends_at=ends_at)


def issue(name: str, holder: str, by: Actor, with_: Held | None, lifetime_s: int | None = None) -> IssueApiKey:
    return IssueApiKey(
        tenant=TENANT,
        key_id=key(name),
        principal_id=prn(holder),
        secret_hash=HASH,
        actor=by,
        lifetime_s=lifetime_s,
        held=with_,
    )


def rotate(name: str, new: str, by: Actor, with_: Held | None, overlap_s: int = 3_600) -> RotateApiKey:
    return RotateApiKey(
        tenant=TENANT,
        key_id=key(name),
        new_key_id=key(new),
        secret_hash=HASH,
        overlap_s=overlap_s,
        actor=by,
        held=with_,
    )


def revoke(name: str, by: Actor = ADA) -> RevokeApiKey:
    return RevokeApiKey(key_id=key(name), reason="leaked", actor=by)


def link(holder: str, by: Actor, with_: Held | None, lifetime_s: int = 900, name: str = "1") -> IssueSignInLink:
    return IssueSignInLink(
        link_id=named("lnk", name),
        principal_id=prn(holder),
        secret_hash=HASH,
        lifetime_s=lifetime_s,
        actor=by,
        held=with_,
    )


def sign_in(log: Log, name: str, holder: str, *, link_name: str = "1", hours: float = 12) -> Held:
    """Use a link; return the session."""
    log.when(
        UseSignInLink(
            tenant=TENANT,
            link_id=named("lnk", link_name),
            presented_hash=HASH,
            key_id=key(name),
            secret_hash=HASH,
            actor=acting(holder),
            session_s=round(hours * 3_600),
        )
    )
    return held(name)


def session(log: Log, holder: str, name: str = "session") -> Held:
    """Sign somebody in with a link that the house made."""
    log.when(link(holder, SYSTEM, None, name=f"of {name}"))
    return sign_in(log, name, holder, link_name=f"of {name}")


def made(log: Log, name: str) -> ApiKeyIssued:
    return next(item for item in log.payloads(ApiKeyIssued) if item.key_id == key(name))


def state(log: Log, name: str) -> CredentialState:
    fold = CredentialFold(key(name))
    while (query := fold.missing()) is not None:
        for event in log.events:
            if matches(query, event.type, frozenset(event.tags)):
                fold.apply(event)
    return fold.credential(HASH, log.now).state


class TestHowLongItLasts:
    def test_a_key_made_with_a_key_that_ends_ends_with_it(self) -> None:
        log = house()
        log.when(issue("short", "cron", SYSTEM, None, lifetime_s=60))
        end = made(log, "short").expires_at
        log.wait(seconds=10)
        log.when(issue("child", "cron", CRON, held("short")))
        assert made(log, "child").expires_at == end
        assert made(log, "child").issued_by_key == key("short")
        log.when(issue("grandchild", "cron", CRON, held("child")))
        assert made(log, "grandchild").expires_at == end

    def test_to_ask_for_longer_is_refused_with_the_latest_moment(self) -> None:
        log = house()
        log.when(issue("short", "cron", SYSTEM, None, lifetime_s=600))
        latest = made(log, "short").expires_at
        log.refuses(issue("child", "cron", CRON, held("short"), lifetime_s=601), NotAllowed, "no later", latest=latest)
        log.when(issue("child", "cron", CRON, held("short"), lifetime_s=60))
        assert made(log, "child").expires_at is not None

    def test_for_others_too(self) -> None:
        log = house()
        log.when(issue("admin", "ada", SYSTEM, None, lifetime_s=60))
        for number, holder in enumerate(("bot", "cron", "otto", "ada")):
            log.when(issue(f"child{number}", holder, ADA, held("admin")))
            assert made(log, f"child{number}").expires_at == made(log, "admin").expires_at

    def test_a_key_that_was_replaced_ends_with_its_overlap(self) -> None:
        log = house()
        log.when(issue("old", "cron", SYSTEM, None))
        log.when(rotate("old", "new", ADA, None, overlap_s=60))
        until = log.now - timedelta(milliseconds=1) + timedelta(seconds=60)
        log.when(issue("child", "cron", CRON, held("old")))
        assert made(log, "child").expires_at == until

    def test_a_lasting_key_makes_lasting_ones(self) -> None:
        log = house()
        log.when(issue("lasting", "cron", SYSTEM, None))
        log.when(issue("child", "cron", CRON, held("lasting")))
        assert (made(log, "child").expires_at, made(log, "child").bound_to) == (None, key("lasting"))

    @pytest.mark.parametrize("holder", ["bot", "cron"])
    def test_whoever_is_signed_in_makes_lasting_keys_for_services_and_agents(self, holder: str) -> None:
        log = house()
        ends_at = log.now + timedelta(minutes=5)
        for name, by in (("ada", ADA), ("bob", BOB)):
            for number, with_ in enumerate((session(log, name, name), held(None, ends_at))):
                log.when(issue(f"{name}{number}", holder, by, with_))
                found = made(log, f"{name}{number}")
                assert (found.expires_at, found.issued_by_key, found.bound_to) == (None, None, None)
        log.when(issue("year", holder, ADA, held("ada"), lifetime_s=365 * 86_400))

    def test_and_for_themselves_none_that_outlives_the_session(self) -> None:
        log = house()
        mine = session(log, "bob")
        end = made(log, "session").expires_at
        log.when(issue("capped", "bob", BOB, mine))
        assert (made(log, "capped").expires_at, made(log, "capped").issued_by_key) == (end, None)
        log.refuses(issue("year", "bob", BOB, mine, lifetime_s=365 * 86_400), NotAllowed, latest=end)

    def test_nor_for_another_human_who_might_be_themselves(self) -> None:
        log = house()
        mine = session(log, "ada")
        log.when(issue("otto", "otto", ADA, mine))
        assert made(log, "otto").expires_at == made(log, "session").expires_at

    def test_a_providers_token_is_outlived_by_nothing_that_its_bearer_holds(self) -> None:
        log = house()
        ends_at = log.now + timedelta(minutes=5)
        log.when(issue("capped", "bob", BOB, held(None, ends_at)))
        assert (made(log, "capped").expires_at, made(log, "capped").issued_by_key) == (ends_at, None)
        log.refuses(issue("longer", "bob", BOB, held(None, ends_at), lifetime_s=600), NotAllowed, latest=ends_at)

    def test_the_house_is_bound_by_nothing(self) -> None:
        log = house()
        log.when(issue("lasting", "ada", SYSTEM, None))
        assert made(log, "lasting").expires_at is None

    @pytest.mark.parametrize("how", ["revoked", "expired", "rotated", "token over"])
    def test_nothing_is_made_with_what_has_stopped_working(self, how: str) -> None:
        log = house()
        with_ = held("own")
        log.when(issue("own", "cron", SYSTEM, None, lifetime_s=60))
        if how == "revoked":
            log.when(revoke("own"))
        elif how == "rotated":
            log.when(rotate("own", "new", ADA, None, overlap_s=0))
        elif how == "expired":
            log.wait(seconds=60)
        else:
            with_ = held(None, log.now)
        log.refuses(issue("child", "cron", CRON, with_), NotAllowed, "stopped working")

    def test_an_agent_makes_none_for_itself_and_rotates_its_own(self) -> None:
        log = house()
        log.when(issue("own", "bot", BOB, None))
        log.refuses(issue("second", "bot", BOT, held("own")), NotAllowed, "rotates its own", owner=prn("bob"))
        log.when(rotate("own", "new", BOT, held("own"), overlap_s=60))
        assert (made(log, "new").expires_at, made(log, "new").issued_by_key) == (None, key("own"))
        assert (state(log, "own"), state(log, "new")) == ("active", "active")
        log.wait(seconds=60)
        assert (state(log, "own"), state(log, "new")) == ("rotated", "active")


class TestRotation:
    def test_with_itself_lengthens_no_life(self) -> None:
        log = house()
        log.when(issue("own", "bot", BOB, None, lifetime_s=600))
        end = made(log, "own").expires_at
        log.wait(seconds=300)
        log.when(rotate("own", "second", BOT, held("own")))
        log.when(rotate("second", "third", BOT, held("second")))
        assert made(log, "second").expires_at == made(log, "third").expires_at == end

    @pytest.mark.parametrize("by", [ADA, BOB])
    def test_by_whoever_answers_for_it_begins_its_life_anew(self, by: Actor) -> None:
        log = house()
        mine = session(log, "ada" if by == ADA else "bob")
        log.when(issue("own", "bot", BOB, None, lifetime_s=90 * 86_400))
        log.wait(hours=1)
        now = log.now
        log.when(rotate("own", "new", by, mine))
        found = made(log, "new")
        assert (found.expires_at, found.issued_by_key, found.bound_to) == (now + timedelta(days=90), None, None)

    def test_however_often_it_rotated_itself_before(self) -> None:
        log = house()
        log.when(issue("own", "bot", BOB, None, lifetime_s=90 * 86_400))
        log.wait(days=89)
        log.when(rotate("own", "second", BOT, held("own")))
        log.when(rotate("second", "third", BOT, held("second")))
        mine = session(log, "bob", "later")
        now = log.now
        log.when(rotate("third", "fourth", BOB, mine))
        assert made(log, "fourth").expires_at == now + timedelta(days=90)

    def test_of_somebodys_own_key_ends_with_the_session_it_came_with(self) -> None:
        log = house()
        mine = session(log, "bob")
        log.when(issue("own", "bob", SYSTEM, None))
        log.when(rotate("own", "new", BOB, mine))
        assert made(log, "new").expires_at == made(log, "session").expires_at

    def test_with_another_key_ends_with_that(self) -> None:
        log = house()
        log.when(issue("admin", "ada", SYSTEM, None, lifetime_s=60))
        log.when(issue("own", "bot", BOB, None))
        log.when(rotate("own", "new", ADA, held("admin")))
        assert (made(log, "new").expires_at, made(log, "new").issued_by_key) == (
            made(log, "admin").expires_at,
            key("admin"),
        )


class TestRevocation:
    def test_takes_what_was_made_with_it_to_any_depth(self) -> None:
        log = house()
        log.when(issue("root", "cron", SYSTEM, None))
        log.when(issue("other", "cron", SYSTEM, None))
        parent = "root"
        for number in range(12):
            log.when(issue(f"depth{number}", "cron", CRON, held(parent)))
            parent = f"depth{number}"
        log.when(issue("aside", "cron", CRON, held("other")))
        facts = log.when(revoke("depth3"))
        assert [type(item) for item in facts] == [ApiKeyRevoked], "one fact, however much came of the key"
        for name in ("root", "depth0", "depth1", "depth2", "other", "aside"):
            assert state(log, name) == "active", name
        for number in range(3, 12):
            assert state(log, f"depth{number}") == "revoked"
        log.when(revoke("root"))
        assert {state(log, name) for name in ("root", "depth0", "depth2", "depth11")} == {"revoked"}
        assert state(log, "aside") == "active"

    def test_takes_the_key_that_replaced_it_if_it_did_so_itself(self) -> None:
        """Whoever stole a key may have rotated it, too."""
        log = house()
        log.when(issue("own", "bot", BOB, None))
        for number in range(40):
            old, new = f"own{number - 1}" if number else "own", f"own{number}"
            log.when(rotate(old, new, BOT, held(old), overlap_s=0))
        assert [state(log, name) for name in ("own", "own38", "own39")] == ["rotated", "rotated", "active"]
        log.when(revoke("own"))
        assert state(log, "own39") == "revoked"

    def test_leaves_the_key_that_somebody_else_replaced_it_by(self) -> None:
        log = house()
        mine = session(log, "bob")
        log.when(issue("own", "bot", BOB, mine))
        log.when(rotate("own", "new", BOB, mine))
        log.when(revoke("own"))
        assert (state(log, "own"), state(log, "new")) == ("revoked", "active")

    def test_signing_out_ends_the_keys_that_one_made_for_oneself(self) -> None:
        log = house()
        mine = session(log, "bob")
        log.when(issue("own", "bob", BOB, mine))
        log.when(issue("own too", "bob", BOB, held("own")))
        log.when(issue("lasting", "bot", BOB, mine))
        log.when(revoke("session", BOB))
        assert [state(log, name) for name in ("own", "own too", "lasting")] == ["revoked", "revoked", "active"]

    def test_signing_out_of_a_session_that_a_key_gave_ends_them_too(self) -> None:
        log = house()
        log.when(issue("admin", "ada", SYSTEM, None))
        log.when(link("bob", ADA, held("admin")))
        mine = sign_in(log, "session", "bob")
        log.when(issue("own", "bob", BOB, mine))
        assert (made(log, "own").issued_by_key, made(log, "own").bound_to) == (key("session"), key("session"))
        log.when(revoke("session", BOB))
        assert [state(log, name) for name in ("own", "admin")] == ["revoked", "active"]

    @pytest.mark.parametrize("first", ["revoke", "issue"])
    def test_nobody_gets_in_its_way_by_making_more(self, first: str) -> None:
        """It meets no conflict with what is made with the key, and that is dead whichever is recorded first."""
        log = house()
        log.when(issue("root", "cron", SYSTEM, None))
        log.when(issue("middle", "cron", CRON, held("root")))
        commands = revoke("root"), issue("child", "cron", CRON, held("middle"))
        one, other = commands if first == "revoke" else commands[::-1]
        assert not log.races(one, other)
        log.when(other)
        assert state(log, "child") == "revoked"

    def test_spares_whom_the_key_itself_came_of(self) -> None:
        """However many keys came of the one that leaked: the one above it goes on, and makes others that work."""
        log = house()
        log.when(issue("root", "cron", SYSTEM, None))
        log.when(issue("leaked", "cron", CRON, held("root")))
        for number in range(300):
            log.when(issue(f"child{number}", "cron", CRON, held("leaked")))
        log.when(issue("sister", "cron", CRON, held("root")))
        log.when(revoke("leaked"))
        assert {state(log, f"child{number}") for number in range(300)} == {"revoked"}
        log.when(issue("after", "cron", CRON, held("root")))
        log.when(rotate("root", "new", CRON, held("root")))
        assert {state(log, name) for name in ("root", "sister", "after", "new")} == {"active"}

    def test_a_line_of_keys_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is looked at with each request is bounded; whoever is signed in begins a new line."""
        monkeypatch.setattr(lineage, "MAX_DEPTH", most := 12)
        log = house()
        log.when(issue("0", "cron", SYSTEM, None))
        for number in range(most):
            log.when(issue(str(number + 1), "cron", CRON, held(str(number))))
        assert state(log, str(most)) == "active"
        log.refuses(issue("more", "cron", CRON, held(str(most))), NotAllowed, "makes no more", limit=most)
        log.when(rotate(str(most), "anew", BOB, session(log, "bob", "later")))
        assert made(log, "anew").depth == 0
        log.when(revoke("0"))
        assert (state(log, str(most)), state(log, "anew")) == ("revoked", "active")


class TestSignInLinks:
    def test_made_with_a_key_end_with_it_and_so_does_the_session(self) -> None:
        log = house()
        log.when(issue("admin", "ada", SYSTEM, None, lifetime_s=3_600))
        end = made(log, "admin").expires_at
        log.when(link("otto", ADA, held("admin")))
        (fact,) = log.payloads(SignInLinkIssued)
        assert (fact.bound_to, fact.session_until) == (key("admin"), end)
        sign_in(log, "session", "otto")
        found = made(log, "session")
        assert (found.expires_at, found.issued_by_key, found.depth) == (end, key("admin"), 1)
        log.when(revoke("admin"))
        assert state(log, "session") == "revoked"

    def test_are_worth_nothing_once_that_key_is_revoked(self) -> None:
        log = house()
        log.when(issue("admin", "ada", SYSTEM, None))
        log.when(link("otto", ADA, held("admin")))
        log.when(revoke("admin"))
        with pytest.raises(NotAllowed, match="stopped working"):
            sign_in(log, "session", "otto")

    def test_a_stolen_key_leaves_nothing_behind_by_way_of_a_session(self) -> None:
        """Whatever is made with a session that came of a key ends with the key: it is nobody who is signed in."""
        log = house()
        log.when(issue("stolen", "ada", SYSTEM, None))
        log.when(issue("own", "bot", BOB, None))
        log.when(link("ada", ADA, held("stolen"), name="1"))
        mine = sign_in(log, "session", "ada")
        log.when(link("ada", ADA, mine, name="2"))
        again = sign_in(log, "again", "ada", link_name="2")
        for number, with_ in enumerate((mine, again)):
            log.when(issue(f"agent{number}", "bot", ADA, with_))
            log.when(issue(f"service{number}", "cron", ADA, with_))
            log.when(link("otto", ADA, with_, name=f"of otto {number}"))
            sign_in(log, f"otto{number}", "otto", link_name=f"of otto {number}")
        log.when(rotate("own", "rotated", ADA, again))
        made_of_it = ("session", "again", "agent0", "agent1", "service0", "service1", "otto0", "otto1", "rotated")
        assert {state(log, name) for name in made_of_it} == {"active"}
        log.when(revoke("stolen"))
        assert {state(log, name) for name in made_of_it} == {"revoked"}

    def test_for_oneself_prolong_no_session(self) -> None:
        log = house()
        mine = session(log, "ada")
        end = made(log, "session").expires_at
        log.when(link("ada", ADA, mine))
        sign_in(log, "again", "ada")
        assert made(log, "again").expires_at == end
        log.refuses(link("ada", ADA, mine, lifetime_s=86_400, name="2"), NotAllowed, latest=end)

    def test_for_oneself_prolong_no_providers_token(self) -> None:
        log = house()
        ends_at = log.now + timedelta(hours=1)
        log.when(link("ada", ADA, held(None, ends_at)))
        sign_in(log, "again", "ada")
        assert made(log, "again").expires_at == ends_at

    def test_for_others_a_person_makes_as_before(self) -> None:
        log = house()
        log.when(link("otto", ADA, session(log, "ada"), lifetime_s=86_400))
        sign_in(log, "theirs", "otto", hours=24)
        assert made(log, "theirs").bound_to is None
        log.when(revoke("session"))
        assert state(log, "theirs") == "active"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["issue", "issue", "issue", "rotate", "rotate", "revoke", "wait"]),
        st.integers(0, 30),
        st.sampled_from([None, None, 60, 600, 3_600]),
        st.integers(0, 30),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(STEPS)
def test_over_any_chain_of_keys_nothing_outlives_what_it_was_made_with(steps: list[tuple[str, int, Any, int]]) -> None:
    """However keys are made with keys, replaced with keys and revoked: a child ends first, and dies with its maker."""
    log = house()
    log.when(issue("0", "cron", SYSTEM, None))
    log.when(issue("1", "cron", SYSTEM, None, lifetime_s=3_600))
    names = ["0", "1"]
    for step, which, seconds, other in steps:
        name, new = names[which % len(names)], str(len(names))
        maker = names[other % len(names)]
        # Whoever presents a key that does not work gets no further than the door.
        if step in ("issue", "rotate") and state(log, maker) != "active":
            continue
        try:
            if step == "issue":
                log.when(issue(new, "cron", CRON, held(maker), lifetime_s=seconds))
                names.append(new)
            elif step == "rotate":
                log.when(rotate(name, new, CRON, held(maker), overlap_s=seconds or 0))
                names.append(new)
            elif step == "revoke":
                log.when(revoke(name))
            else:
                log.wait(seconds=(seconds or 30) / 2)
        except QuarterdeckError:
            continue
        _check_lineage(log, names)


def _check_lineage(log: Log, names: list[str]) -> None:
    by_id = {key(name): made(log, name) for name in names}
    revoked = {item.key_id for item in log.payloads(ApiKeyRevoked)}
    for name in names:
        child = made(log, name)
        if child.issued_by_key is None:
            continue
        parent = by_id[child.issued_by_key]
        assert (child.bound_to, child.depth) == (parent.key_id, parent.depth + 1)
        if parent.expires_at is not None:
            assert child.expires_at is not None
            assert child.expires_at <= parent.expires_at
        maker: ApiKeyIssued | None = parent
        while maker is not None:
            assert maker.key_id not in revoked or state(log, name) != "active", (
                "what was made with a revoked key is dead"
            )
            maker = by_id.get(maker.bound_to or "")
