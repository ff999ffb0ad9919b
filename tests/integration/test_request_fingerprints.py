"""What the log keeps of a request tells its repetition, and nobody what it said. Serves S0-61, DC-08.

The digest of a request covers what the events seal; so it is kept under keys that stand apart from the log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from api_house import House, house

from quarterdeck_domain import canonical
from quarterdeck_domain.access.events import OwnershipTransferred, PrincipalDeactivated, RoleGranted
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import VoteCast
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.events import Cause, Event, RecordedEvent
from quarterdeck_ledger import fingerprints, keyfile
from quarterdeck_ledger.archive import writing
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore

GRACE = {"kind": "human", "display_name": "Grace Hopper", "email": "grace@navy.example", "roles": ["approver"]}
REUSED = (422, "urn:quarterdeck:problem:idempotency_key_reused")


def digest(name: str, body: object) -> str:
    """Return the digest of a request, as anybody can make it who knows the request."""
    return canonical.digest({"body": body, "for": [], "method": "POST", "name": name})


async def recorded(api: House) -> str:
    """Return what whoever holds an export has: the bytes of every entry."""
    entries = await api.services.ledger.store.read("acme", None, 0, None, None, False)
    return b"\n".join(entry for _, entry in entries).decode()


async def erase(api: House, principal_id: str) -> None:
    """Erase somebody, as an administrator does."""
    for name, reason in (("deactivate_principal", "left"), ("erase_principal", "requested")):
        answer = await api.command(name, {"principal_id": principal_id, "reason": reason}, key=f"{name} {principal_id}")
        assert answer.status_code == 200, answer.text


async def refused(api: House, body: object, key: str) -> None:
    """Assert that a registration is refused because its key was used otherwise, and that nothing was recorded."""
    before = await api.position()
    answer = await api.command("register_principal", body, key=key)
    assert (answer.status_code, answer.json()["type"]) == REUSED
    assert await api.position() == before


async def test_a_correct_guess_is_confirmed_by_nothing_once_erased(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Neither by the entries alone, nor by the entries and every key that is left."""
    async with house(migrated_database(), tmp_path) as api:
        made = (await api.command("register_principal", GRACE, key="k")).json()
        (event,) = await api.services.ledger.read("acme", after=made["position"] - 1)
        guess = digest("register_principal", GRACE)
        guesses = {guess.rpartition(":")[2], hashlib.sha256(json.dumps(GRACE).encode()).hexdigest()}
        text = await recorded(api)
        assert not [item for item in guesses if item in text]
        await erase(api, made["result"]["principal_id"])
        secrets = [bytes.fromhex(path.read_text().split()[1]) for path in (tmp_path / "keys").glob("subjects/*/*")]
        assert len(secrets) == 2, "the administrator's and the tenant's own are left"
        kept, command = str(event.cause.fingerprint).rpartition(":")[2], str(event.cause.command_id)
        for secret in (*secrets, b""):
            for key in (secret, hmac.digest(secret, b"quarterdeck request v1", hashlib.sha256)):
                for message in (guess, f"{command}\0{guess}"):
                    assert hmac.digest(key, message.encode(), hashlib.sha256).hex() != kept
        context = Context(tenant="acme", actor=event.actor, command_id=uuid.UUID(command), fingerprint=guess)
        assert not await fingerprints.same(api.services.ledger.keys, REGISTRY, context, [event])
        await refused(api, GRACE, "k")


async def test_a_repetition_is_known_after_a_restart_and_in_another_process(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """And from a copy of the keys, brought back; another body is refused by each of them."""
    url = migrated_database()
    async with house(url, tmp_path) as api, house(url, tmp_path, tenants=()) as other:
        first = (await api.command("register_principal", GRACE, key="k")).json()
        granted = {"principal_id": first["result"]["principal_id"], "role": "operator"}
        await api.command("grant_role", granted, key="g")
        credentials = other.keys, other.ids = api.keys, api.ids
        await _repeats(other, first, granted)
    with writing(tmp_path / "copy") as writer:
        keyfile.write(tmp_path / "keys", writer)
    with (tmp_path / "copy").open("rb") as file:
        keyfile.restore(keyfile.read(file), tmp_path / "restored" / "keys")
    async with house(url, tmp_path / "restored", tenants=()) as api:
        api.keys, api.ids = credentials
        await _repeats(api, first, granted)
        assert await api.services.ledger.keys.destroy_all("acme") >= 3
        for name, body, key in (("register_principal", GRACE, "k"), ("grant_role", granted, "g")):
            answer = await api.command(name, body, key=key)
            assert (answer.status_code, answer.json()["type"]) == REUSED, "with the tenant's keys it is gone"


async def _repeats(api: House, first: dict[str, object], granted: dict[str, str]) -> None:
    again = (await api.command("register_principal", GRACE, key="k")).json()
    assert again | {"repeated": None} == first | {"repeated": None}
    assert again["repeated"] is True
    assert (await api.command("grant_role", granted, key="g")).json()["repeated"] is True
    await refused(api, GRACE | {"email": "grace@army.example"}, "k")


async def test_equal_requests_do_not_look_equal(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Nobody learns from the log that two commands said the same."""
    async with house(migrated_database(), tmp_path) as api:
        for key in ("one", "two"):
            await api.command("issue_api_key", {}, key=key)
        one, two = (event.cause.fingerprint for event in (await api.services.ledger.read("acme"))[-2:])
        assert one is not None
        assert one != two


@pytest.mark.parametrize(
    ("payloads", "subjects"),
    [
        ((RoleGranted(principal_id="prn_a", role="agent"),), [fingerprints.NOBODY]),
        (
            (
                OwnershipTransferred(principal_id="prn_bot", owner="prn_b", previous_owner="prn_a"),
                PrincipalDeactivated(principal_id="prn_a", reason="left"),
            ),
            ["prn_a"],
        ),
        (
            tuple(
                VoteCast(approval_id="apr", approver=name, stage="s", verdict="approve", action_digest="d")
                for name in ("prn_a", "prn_b")
            ),
            ["prn_a", "prn_b"],
        ),
    ],
    ids=["nobody", "not the first event", "several"],
)
async def test_any_of_its_keys_ends_a_fingerprint(payloads: tuple[Event, ...], subjects: list[str]) -> None:
    """Of everybody whose data a command's events have, wherever among them; and keys made anew bring none back."""
    context = Context(tenant="acme", actor=SYSTEM, command_id=uuid.uuid4(), fingerprint="guess")
    for subject in subjects:
        keys = MemoryKeyStore()
        cause = Cause(fingerprint=(await fingerprints.keyed(keys, REGISTRY, context, payloads)).fingerprint)
        events = [_recorded(payload, cause) for payload in payloads]
        assert await fingerprints.same(keys, REGISTRY, context, events)
        await keys.destroy("acme", subject)
        assert not await fingerprints.same(keys, REGISTRY, context, events)
        assert await keys.get("acme", subject) is None, "to look makes no key"
        await keys.get_or_create("acme", subject)
        assert not await fingerprints.same(keys, REGISTRY, context, events)


def _recorded(payload: Event, cause: Cause) -> RecordedEvent:
    from datetime import UTC, datetime

    return RecordedEvent(
        tenant="acme",
        position=1,
        id=uuid.uuid4(),
        recorded_at=datetime.now(UTC),
        actor=SYSTEM,
        cause=cause,
        tags=(),
        payload=payload,
    )
