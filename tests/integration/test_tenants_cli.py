"""Tenants from the command line, beside a real API on the same database: opened, apart, exported, closed.

Serves S0-30, S0-32, DC-07; DESIGN "What must always hold" 5 (tenants are apart) and 7 (every change is an event).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import Journey, journey

from quarterdeck_domain import canonical, merkle
from quarterdeck_ledger.notes import parse_checkpoint, parse_note
from quarterdeck_ledger.tiles import decode_entries, decode_tile


class Machine:
    """Somebody with this machine's own rights, and the people who use its API."""

    def __init__(self, there: Journey, url: str) -> None:
        self.there = there
        self._here = {"QUARTERDECK_DATABASE_URL": url, "QUARTERDECK_DATA_DIR": str(there.home / "data")}

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """Run a command of the machine's own."""
        return await self.there.cli(*words, stdin=stdin, **self._here)

    async def parsed(self, *words: str) -> dict[str, object]:
        """Run one that must succeed, with --json; return what it printed."""
        code, out, err = await self.run(*words, "--json")
        assert code == 0, err
        found: dict[str, object] = json.loads(out)
        return found


@pytest.fixture
async def machine(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Machine]:
    """A house with the tenant `acme` in it, on a real socket."""
    url = migrated_database()
    async with journey(url, tmp_path) as there:
        yield Machine(there, url)


async def test_a_second_tenants_people_see_nothing_of_the_first(machine: Machine) -> None:
    """Its administrator signs in by the printed link; timeline, export, people and checkpoint are its own alone."""
    there = machine.there
    opened = await machine.parsed("tenants", "open", "beta", "--administrator", "Bea")
    code, _, err = await there.cli("sign-in", str(opened["sign_in"]).replace("http://127.0.0.1:8480", there.url))
    assert code == 0, err
    code, out, err = await there.cli("whoami", "--json")
    assert (json.loads(out)["tenant"], json.loads(out)["roles"]) == ("beta", ["administrator"]), err
    ids = [found for (tenant, _), found in there.house.ids.items() if tenant == "acme"]
    assert len(ids) > 4
    seen = ""
    for words in (
        ("log", "tail", "-n", "1000", "--json"),
        ("log", "checkpoint"),
        ("log", "export", "--output", str(there.home / "beta.ndjson"), "--json"),
        ("people", "list", "--json"),
        ("keys", "list", "--all", "--sessions", "--json"),
        ("approvals", "list", "--json"),
    ):
        code, out, err = await there.cli(*words)
        assert code == 0, err
        seen += out
    seen += (there.home / "beta.ndjson").read_text()
    assert "acme" not in seen
    assert [found for found in ids if found in seen] == []
    tenants = {item["tenant"]: item for item in (await machine.parsed("tenants", "list"))["tenants"]}  # type: ignore[attr-defined]
    assert sorted(tenants) == ["acme", "beta"]
    assert tenants["beta"]["state"] == "open"


async def test_what_cannot_be_opened_is_refused(machine: Machine) -> None:
    """A name that cannot be, and one that is there."""
    for name, code in (("Beta!", "invalid_input"), ("../x", "invalid_input"), ("acme", "wrong_state")):
        ended, _, err = await machine.run("tenants", "open", name, "--json")
        assert (ended, json.loads(err)["error"]["code"]) == (1, code)
    listed = (await machine.parsed("tenants", "list"))["tenants"]
    assert [item["tenant"] for item in listed] == ["acme"]  # type: ignore[attr-defined]


async def test_an_export_is_whole_and_needs_nobody(machine: Machine) -> None:
    """The log proves itself; the tiles lead to the signed root; CloudEvents are one a line; personal fields are sealed."""
    target = machine.there.home / "away"
    done = await machine.parsed("tenants", "export", "acme", str(target))
    size = done["events"]
    vkey = (target / "vkeys.txt").read_text().split()[-1]
    words = ("verify", str(target / "log.ndjson"), "--vkey", vkey, "--checkpoint", str(target / "checkpoint.txt"))
    code, out, _ = await machine.there.cli(*words, "--json")
    assert (code, json.loads(out)["size"]) == (0, size)
    checkpoint = parse_checkpoint(parse_note((target / "checkpoint.txt").read_bytes()).text)
    leaves = decode_tile((target / "tile" / "0" / f"000.p/{size}").read_bytes(), size)  # type: ignore[arg-type]
    assert merkle.root(merkle.append_leaves(b"", 0, leaves), checkpoint.size) == checkpoint.root
    entries = decode_entries((target / "tile" / "entries" / f"000.p/{size}").read_bytes(), size)  # type: ignore[arg-type]
    assert [merkle.leaf_hash(entry) for entry in entries] == leaves
    events = [json.loads(line) for line in (target / "events.ndjson").read_text().splitlines()]
    assert [event["id"] for event in events] == [canonical.decode(entry)["id"] for entry in entries]
    assert {event["specversion"] for event in events} == {"1.0"}
    names = [event["data"]["display_name"] for event in events if event["type"] == "quarterdeck.principal.registered"]
    assert names
    again = await machine.run("tenants", "export", "acme", str(target), "--json")
    assert (again[0], json.loads(again[2])["error"]["code"]) == (1, "already_there")
    code, _, err = await machine.run("tenants", "export", "nobody", str(machine.there.home / "n"), "--json")
    assert (code, json.loads(err)["error"]["code"]) == (1, "not_found")
    assert not (machine.there.home / "n").exists()


async def test_a_closed_tenant_takes_no_command_and_permits_nothing(machine: Machine) -> None:
    """Neither a decision nor a command, by nobody; its log is read by its auditors, exported, and verified."""
    there = machine.there
    request = {
        "subject": {"type": "agent", "id": there.house.ids["acme", "bot"]},
        "action": {"name": "refund", "properties": {"amount": "5.00", "currency": "EUR"}},
        "resource": {"type": "order", "id": "4711"},
    }
    before = await there.as_("bot", "POST", "/access/v1/evaluation", json=request)
    assert before.json()["decision"] is True
    closed = await machine.parsed("tenants", "close", "acme", "-m", "moved away", "--confirm", "acme")
    (at,) = (
        event.recorded_at for event in await there.house.services.ledger.read("acme") if event.type == "tenant.closed"
    )
    assert closed.pop("closed_at") == at.isoformat()
    assert closed == {"tenant": "acme", "state": "closed", "already": False, "destroyed_keys": 0}
    after = await there.as_("bot", "POST", "/access/v1/evaluation", json=request)
    assert after.status_code == 401, after.text
    assert "decision" not in after.json()
    for name in ("admin", "otto", "iris"):
        answer = await there.as_(name, "POST", "/v1/commands/grant_role", json={"principal_id": "x", "role": "agent"})
        assert answer.status_code == 401, answer.text
    code, _, err = await machine.run("recover-administrator", "--reason", "let me in", "--tenant", "acme")
    assert code == 1
    assert "closed" in err
    code, _, err = await machine.run("tenants", "close", "acme", "-m", "again", "--confirm", "acme", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (1, "wrong_state")
    assert re.search(
        r"acme was closed already, \d{4}-\d\d-\d\d \d\d:\d\d UTC: moved away$", json.loads(err)["error"]["message"]
    )
    (item,) = (await machine.parsed("tenants", "list"))["tenants"]  # type: ignore[misc]
    assert (item["state"], item["closed_because"]) == ("closed", "moved away")
    target = there.home / "away"
    done = await machine.parsed("tenants", "export", "acme", str(target))
    assert '"type":"tenant.closed"' in (target / "log.ndjson").read_text()
    assert done["events"] == item["events"]
    answer = await there.as_("audra", "GET", "/v1/log/export")
    assert answer.status_code == 200
    emails = await there.events("principal.registered")
    assert "iris" in {str(person["display_name"]) for person in emails}


async def test_closing_can_destroy_every_key(machine: Machine) -> None:
    """Said at the closing and recorded with it: nobody reads what was sealed, and the log proves as before."""
    there = machine.there
    keys = there.home / "data" / "keys" / "subjects" / "acme"
    count = len(list(keys.iterdir()))
    assert count > 4
    words = ("tenants", "close", "acme", "-m", "moved away", "--destroy-keys", "--confirm", "acme")
    assert (await machine.parsed(*words))["destroyed_keys"] == count
    assert list(keys.iterdir()) == []
    assert {person["display_name"] for person in await there.events("principal.registered")} == {None}
    (closed,) = await there.events("tenant.closed")
    assert closed["reason"] == "moved away [the keys of its data subjects are destroyed]"
    again = await machine.parsed(*words)  # what broke off is ended by a repetition
    assert (again["already"], again["destroyed_keys"]) == (True, 0)
    code, out, _ = await machine.run(*words)
    assert code == 0
    assert re.search(r"acme was closed already, \d{4}-.* UTC\. No key was still there to destroy\.\n", out), out
    (keys / "left").write_bytes(b"x")
    code, out, _ = await machine.run(*words)
    assert "1 key was still there to destroy." in out
    code, out, err = await machine.run("verify", "--live", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True), err
    target = there.home / "away"
    await machine.parsed("tenants", "export", "acme", str(target))
    words = ("verify", str(target / "log.ndjson"), "--vkey", (target / "vkeys.txt").read_text().split()[-1])
    assert (await there.cli(*words))[0] == 0


async def test_keys_are_not_destroyed_after_a_closing_that_did_not_say_so(machine: Machine) -> None:
    """Nothing could record it any more."""
    keys = machine.there.home / "data" / "keys" / "subjects" / "acme"
    await machine.parsed("tenants", "close", "acme", "-m", "moved away", "--confirm", "acme")
    count = len(list(keys.iterdir()))
    words = ("tenants", "close", "acme", "-m", "late", "--destroy-keys", "--confirm", "acme", "--json")
    code, _, err = await machine.run(*words)
    assert code == 1
    assert "did not say that keys are destroyed" in json.loads(err)["error"]["message"]
    assert len(list(keys.iterdir())) == count > 0


async def test_nothing_is_closed_by_mistake(machine: Machine) -> None:
    """Another name, none, or no name at all."""
    for words, stdin in (
        (("--confirm", "beta"), ""),
        (("--json",), ""),
        ((), "beta\n"),
        ((), ""),
    ):
        code, _, _ = await machine.run("tenants", "close", "acme", "-m", "oops", *words, stdin=stdin)
        assert code in (1, 2)
    assert await machine.there.events("tenant.closed") == []
    code, out, err = await machine.run("tenants", "close", "acme", "-m", "meant", stdin="acme\n")
    assert code == 0, err
    assert "for good" in out
