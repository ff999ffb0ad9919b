"""The command line against the real API, each command a process of its own: sign in, decide, look after, prove.

Serves DC-07, DC-09, S0-32; threats T7 (what is shown is what is decided), T21.
"""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import Journey, journey

LARGE = {"amount": "120.00", "currency": "EUR"}
HOSTILE = "[bold red]APPROVED[/] :rocket: \u202egnp.exe \x1b[2J\rdone\u200b"
CLAIM = "lost parcel [bold red]APPROVED[/]\nWHAT POLICY VERIFIED\n  amount 1.00"


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


async def ask(there: Journey, order: str = "order:4711", why: str = "the parcel was lost", **more: str) -> str:
    """Let the agent ask for a large refund; return the approval's id."""
    async with there.client() as bot:
        decision = await bot.ask("refund", order, properties=LARGE | more, context=dict(more))
        return (await bot.request_approval(decision, justification=why)).id


async def parsed(there: Journey, *words: str, by: str | None = None, stdin: str = "") -> dict[str, object]:
    """Run a command that must succeed, with --json; return what it printed."""
    code, out, err = await there.cli(*words, "--json", by=by, stdin=stdin)
    assert code == 0, err
    found: dict[str, object] = json.loads(out)
    return found


async def test_sign_in_keeps_a_session_for_its_owner_alone(there: Journey) -> None:
    """The link works once; the session is in a file of mode 0600; whoami shows it; sign-out ends it."""
    link = f"{there.url}/sign-in/{there.house.links['acme']}"
    code, out, err = await there.cli("sign-in", "-", stdin=link + "\n", QUARTERDECK_URL="")
    assert code == 0, err
    assert there.house.links["acme"] not in out + err
    file = there.home / ".config" / "quarterdeck" / "credentials"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    me = await parsed(there, "whoami")
    assert (me["principal_id"], me["roles"], me["credential"]) == (
        there.house.ids["acme", "admin"],
        ["administrator"],
        "session",
    )
    code, out, err = await there.cli("sign-in", link)
    assert code == 1
    assert "used already" in err
    assert (await there.cli("sign-out"))[0] == 0
    code, _, err = await there.cli("whoami")
    assert code == 1
    assert "nobody is signed in" in err
    assert "quarterdeck sign-in" in err


async def test_a_session_goes_to_its_own_server_alone(there: Journey) -> None:
    """Pointed at another address, the command line is signed out there."""
    link = f"{there.url}/sign-in/{there.house.links['acme']}"
    assert (await there.cli("sign-in", link))[0] == 0
    code, _, err = await there.cli("whoami", QUARTERDECK_URL=there.url.replace("127.0.0.1", "localhost"))
    assert code == 1
    assert "nobody is signed in to http://localhost" in err


async def test_credentials_that_others_can_read_are_not_used(there: Journey) -> None:
    """The way out is named."""
    assert (await there.cli("sign-in", f"{there.url}/sign-in/{there.house.links['acme']}"))[0] == 0
    file = there.home / ".config" / "quarterdeck" / "credentials"
    file.chmod(0o644)
    code, _, err = await there.cli("whoami")
    assert code == 1
    assert f"try: chmod 600 {file}" in err


async def test_the_whole_life_of_an_approval(there: Journey) -> None:
    """List, show, approve after looking; then it is gone from the list, and the agent has its grant."""
    approval_id = await ask(there)
    code, out, _ = await there.cli("approvals", "list", by="iris")
    assert code == 0
    assert approval_id in out
    assert "order:4711" in out
    assert "can decide" in out
    code, out, err = await there.cli("approvals", "approve", approval_id, "-m", "checked", by="iris", stdin="y\n")
    assert code == 0, err
    shown = await parsed(there, "approvals", "show", approval_id, by="iris")
    digest = shown["action_digest"]
    assert f"Approve exactly this, digest {digest}?" in out
    assert '"amount": "120.00"' in out
    assert "the parcel was lost" in out
    assert (shown["status"], shown["votes"][0]["comment"]) == ("approved", "checked")  # type: ignore[index]
    code, out, _ = await there.cli("approvals", "list", by="iris")
    assert "Nothing waits for a human" in out
    async with there.client() as bot:
        assert (await bot.grant(approval_id)).status == "unused"


async def test_not_confirmed_is_not_decided(there: Journey) -> None:
    """No, nothing at all, and another digest: nothing is recorded."""
    approval_id = await ask(there)
    for stdin in ("n\n", ""):
        code, _, _ = await there.cli("approvals", "approve", approval_id, by="iris", stdin=stdin)
        assert code == 1
    code, _, err = await there.cli("approvals", "approve", approval_id, "--yes", "--digest", "x", by="iris")
    assert code == 1
    assert "nothing was decided" in err
    code, _, err = await there.cli("approvals", "approve", approval_id, "--json", by="iris")
    assert code == 2
    assert "--yes" in json.loads(err)["error"]["hint"]
    assert await there.events("approval.vote_cast") == []


async def test_deny(there: Journey) -> None:
    """One word, and the agent hears of it."""
    approval_id = await ask(there)
    done = await parsed(there, "approvals", "deny", approval_id, "-m", "not plausible", by="iris")
    assert done["status"] == "denied"
    async with there.client() as bot:
        assert (await bot.wait(approval_id, 10)).status == "denied"


async def test_an_approval_given_by_mistake_is_taken_back(there: Journey) -> None:
    """By an operator, while its grant was not used; the agent is told, and nothing runs."""
    approval_id = await ask(there)
    words = ("approvals", "revoke", approval_id, "-m", "approved by mistake")
    assert (await there.cli(*words, by="otto"))[0] == 1
    await there.decide(approval_id)
    assert (await there.cli(*words, by="iris"))[0] == 1
    code, out, err = await there.cli(*words, by="otto")
    assert code == 0, err
    assert out.startswith("grt_")
    async with there.client() as bot:
        assert (await bot.grant(approval_id)).status == "revoked"


async def test_who_may_not_decide_is_told_why(there: Journey) -> None:
    """An operator's vote is refused by the server, an agent's by its kind; exit code 1, and nothing recorded."""
    approval_id = await ask(there)
    for name in ("audra", "bot"):
        code, _, err = await there.cli("approvals", "approve", approval_id, "--yes", "--json", by=name)
        assert (code, json.loads(err)["error"]["code"]) == (1, "not_allowed")
    code, out, err = await there.cli("approvals", "approve", approval_id, by="audra", stdin="y\n")
    assert code == 1
    assert "You cannot decide this" in out
    assert await there.events("approval.vote_cast") == []


async def test_what_an_agent_writes_stays_text(there: Journey) -> None:
    """Markup is not rendered, escapes and overrides are written out, and each line stands behind a bar of its own."""
    approval_id = await ask(there, order=f"order:{HOSTILE}", why=CLAIM, note=HOSTILE)
    code, out, _ = await there.cli("approvals", "show", approval_id, by="iris", FORCE_COLOR="1", NO_COLOR="")
    assert code == 0
    verified, claimed = out.split("WHAT THE AGENT CLAIMS")
    for part in (verified, claimed):
        assert "[bold red]APPROVED[/]" in part
        assert ":rocket: \\u202egnp.exe" in part.replace("\\\\", "\\")
    for hidden in ("\u202e", "\x1b[2J", "\r", "\u200b"):
        assert hidden not in out
    assert "  │ WHAT POLICY VERIFIED\n" in claimed
    assert "  │   amount 1.00" in claimed
    assert verified.count('"amount": "120.00"') == 1
    for words in (("approvals", "list"), ("approvals", "list", "--json"), ("approvals", "show", approval_id, "--json")):
        code, out, _ = await there.cli(*words, by="iris")
        assert code == 0
        assert out.isprintable() or not set(out) & {"\u202e", "\x1b", "\r", "\u200b"}


async def test_watch_tells_what_is_new_and_what_changes(there: Journey) -> None:
    """A line of JSON for each; Ctrl-C is a normal end."""
    words = ("approvals", "watch", "--status", "all", "--every", "0.2", "--json")
    async with there.running(*words, by="iris") as watch:
        approval_id = await ask(there)
        first = await watch.line()
        assert (first["id"], first["status"]) == (approval_id, "pending")
        await there.decide(approval_id)
        second = await watch.line()
        assert (second["id"], second["status"]) == (approval_id, "approved")


async def test_the_live_view(there: Journey) -> None:
    """What waits is on the screen as text; Ctrl-C ends it."""
    approval_id = await ask(there)
    async with there.running("approvals", "watch", by="iris", FORCE_COLOR="1") as watch:
        shown = await watch.until(b"Ctrl-C ends")
        assert approval_id in shown
        assert "order:4711" in shown


async def test_people_from_registering_to_leaving(there: Journey) -> None:
    """Add, link, sign in, roles, list, deactivate: all of it by the administrator's hand, all of it events."""
    made = await parsed(
        there, "people", "add", "Grace", "--email", "grace@example.com", "--role", "approver", by="admin"
    )
    grace = str(made["result"]["principal_id"])  # type: ignore[index]
    linked = await parsed(there, "people", "link", grace, by="admin")
    code, _, err = await there.cli("sign-in", str(linked["link"]))
    assert code == 0, err
    assert (await parsed(there, "whoami"))["principal_id"] == grace
    assert (await there.cli("people", "grant-role", grace, "operator", by="admin"))[0] == 0
    assert (await there.cli("people", "revoke-role", grace, "approver", by="admin"))[0] == 0
    await there.projected()
    listed = await parsed(there, "people", "list", "--role", "operator", by="admin")
    found = {item["id"]: item for item in listed["people"]}  # type: ignore[attr-defined]
    assert set(found) == {grace, there.house.ids["acme", "otto"]}
    assert (found[grace]["displayName"], found[grace]["roles"]) == ("Grace", ["OPERATOR"])
    code, out, _ = await there.cli("people", "list", "--kind", "agent", by="admin")
    assert there.house.ids["acme", "bot"] in out
    assert (await there.cli("people", "deactivate", grace, "-m", "left", by="admin"))[0] == 0
    code, _, err = await there.cli("whoami")
    assert (code, "sign-in" in err) == (1, True)
    await there.projected()
    assert grace not in (await there.cli("people", "list", by="admin"))[1]
    assert grace in (await there.cli("people", "list", "--all", by="admin"))[1]


async def test_an_agent_that_names_no_owner_is_its_makers(there: Journey) -> None:
    """One human must answer for it, and there is one who asks; its link was used, and another is what helps."""
    made = await parsed(there, "people", "add", "helper", "--kind", "agent", by="admin")
    agent = str(made["result"]["principal_id"])  # type: ignore[index]
    assert made["id"] == agent
    name, *words = str(made["next"]).split()  # as it stands, it is the next thing to type
    assert name == "quarterdeck"
    code, out, err = await there.cli(*words, by="admin")
    assert code == 0, err
    assert out.startswith("qd_")
    await there.projected()
    listed = await parsed(there, "people", "list", "--kind", "agent", by="admin")
    owners = {item["id"]: item["owner"]["id"] for item in listed["people"]}  # type: ignore[attr-defined]
    assert owners[agent] == there.house.ids["acme", "admin"]
    link = str((await parsed(there, "people", "link", there.house.ids["acme", "iris"], by="admin"))["link"])
    assert (await there.cli("sign-in", link))[0] == 0
    code, _, err = await there.cli("sign-in", link)
    assert (code, "quarterdeck people link" in err) == (1, True)


async def test_refusals_name_the_next_step(there: Journey) -> None:
    """What only an administrator may do, asked by an approver; words that are none; a principal that is none."""
    code, _, err = await there.cli("people", "add", "Eve", by="iris")
    assert code == 1
    assert "quarterdeck whoami" in err
    code, _, err = await there.cli("people", "grant-role", "prn_x", "root", by="admin")
    assert code == 2
    assert "'root' is not one of" in err
    code, _, err = await there.cli(
        "people", "grant-role", "prn_00000000000000000000000000", "operator", by="admin", COLUMNS="200"
    )
    assert code == 1
    assert "no such principal" in err
    assert "people list" in err


async def test_keys(there: Journey) -> None:
    """A key is printed alone and once, works, is rotated with an overlap, and revoked."""
    bot = there.house.ids["acme", "bot"]
    code, key, err = await there.cli("keys", "issue", "--for", bot, "--lifetime", "12h", by="admin")
    assert code == 0, err
    key = key.strip()
    key_id = err.split(",")[0]
    assert key not in err
    there.house.keys["acme", "new"] = key
    assert (await parsed(there, "whoami", by="new"))["principal_id"] == bot
    rotated = await parsed(there, "keys", "rotate", key_id, "--overlap", "0s", by="admin")
    code, _, _ = await there.cli("whoami", by="new")
    assert code == 1
    there.house.keys["acme", "newer"] = rotated["reveal"]["api_key"]  # type: ignore[index]
    assert (await parsed(there, "whoami", by="newer"))["principal_id"] == bot
    newer = str(rotated["result"]["key_id"])  # type: ignore[index]
    await there.projected()
    code, out, _ = await there.cli("keys", "list", "--for", bot, by="admin", COLUMNS="240")
    assert newer in out
    assert key not in out
    assert (await there.cli("keys", "revoke", newer, "-m", "leaked", by="admin"))[0] == 0
    assert (await there.cli("whoami", by="newer"))[0] == 1
    await there.projected()
    listed = await parsed(there, "keys", "list", "--for", bot, by="admin")
    assert newer not in [item["id"] for item in listed["keys"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [("issue", "--for"), ("issue", "--acts-for"), ("list", "--for")])
async def test_a_principal_is_named_by_its_id(there: Journey, words: tuple[str, ...]) -> None:
    """What is none is told before anything is asked, with where ids are found."""
    for name in ("", "bob"):
        code, _, err = await there.cli("keys", *words, name, by="admin", COLUMNS="200")
        assert code == 2
        assert f"Invalid value for '{words[-1]}': {name!r} is no principal's id, prn_…" in err
        assert "quarterdeck people list" in err


async def test_an_id_of_another_kind_is_told_in_words(there: Journey) -> None:
    """By the server, for every command."""
    code, _, err = await there.cli("keys", "revoke", "prn_1", "-m", "lost", by="admin")
    assert code == 1
    assert "`key_id` takes an id: key_ and 26 letters and digits" in err


async def test_effects_and_what_is_stuck(there: Journey) -> None:
    """An effect that nobody reported is stuck; a person looks, and settles it; then nothing is stuck."""
    approval_id = await ask(there)
    await there.decide(approval_id)
    async with there.client() as bot:
        decision = await bot.ask("refund", "order:4711", properties=LARGE)
        effect = await bot.redeem(await bot.grant(approval_id), decision.intent)
    await there.projected()
    stuck = await parsed(there, "stuck", "list", "--older", "0s", by="otto")
    assert [item["id"] for item in stuck["effects"]] == [effect.id]  # type: ignore[attr-defined]
    code, out, _ = await there.cli("stuck", "list", "--older", "1h", by="otto")
    assert (code, out.strip()) == (0, "Nothing is stuck.")
    code, out, _ = await there.cli("effects", "list", "--outcome", "started", by="otto", COLUMNS="240")
    assert effect.id in out
    words = ("effects", "reconcile", effect.id, "committed", "-m", "the bank says so")
    assert (await there.cli(*words, by="iris"))[0] == 1
    code, _, err = await there.cli(*words, by="otto")
    assert code == 0, err
    assert [event["outcome"] for event in await there.events("effect.reconciled")] == ["committed"]
    await there.projected()
    listed = await parsed(there, "effects", "list", by="otto")
    assert [(item["outcome"], item["reconciled"]) for item in listed["effects"]] == [("COMMITTED", True)]  # type: ignore[attr-defined]


async def test_parked_events_and_dead_letters(there: Journey) -> None:
    """They are listed with the command that moves them; moving them is an event; twice is refused."""
    approval_id = await there.stick()
    await there.projected()
    stuck = await parsed(there, "stuck", "list", by="otto")
    assert [item["position"] for item in stuck["parked"]] == [1]  # type: ignore[attr-defined]
    assert [(item["approvalId"], item["reason"]) for item in stuck["dead_letters"]] == [(approval_id, "refused")]  # type: ignore[attr-defined]
    _, out, _ = await there.cli("stuck", "list", by="otto", COLUMNS="200")
    assert "quarterdeck stuck release POSITION" in out
    assert "quarterdeck stuck resend APPROVAL MESSAGE" in out
    assert (await there.cli("stuck", "release", "1", by="otto"))[0] == 0
    assert (await there.cli("stuck", "resend", approval_id, "msg-1", by="otto"))[0] == 0
    assert (await there.cli("stuck", "release", "1", by="otto"))[0] == 1
    await there.projected()
    assert (await there.cli("stuck", "list", by="otto"))[1].strip() == "Nothing is stuck."


async def test_checkpoint_export_verify(there: Journey, tmp_path: Path) -> None:
    """What an auditor takes away verifies against what the auditor kept; one changed byte does not."""
    held, whole, part = tmp_path / "held", tmp_path / "whole.ndjson", tmp_path / "part.ndjson"
    kept = await parsed(there, "log", "checkpoint", "-o", str(held), by="audra")
    vkey = str(kept["vkeys"][-1])  # type: ignore[index]
    await ask(there)
    taken = await parsed(there, "log", "export", "-o", str(whole), by="audra")
    assert taken["size"] == (await there.house.position())
    size = str(kept["size"])
    code, _, err = await there.cli("log", "export", "-p", "2", "-p", "3", "--held", size, "-o", str(part), by="audra")
    assert code == 0, err
    for file in (whole, part):
        code, out, _ = await there.cli("verify", str(file), "--checkpoint", str(held), "--vkey", vkey)
        assert code == 0, out
        assert out.startswith("VERIFIED")
    spoiled = bytearray(whole.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    whole.write_bytes(spoiled)
    code, out, _ = await there.cli("verify", str(whole), "--vkey", vkey, "--json")
    assert (code, json.loads(out)["verified"]) == (1, False)
    assert (await there.cli("verify", str(whole)))[0] == 2
    assert (await there.cli("log", "export", by="bot"))[0] == 1


async def test_tail_shows_and_follows(there: Journey) -> None:
    """The last events oldest first, by type and tag; then those that come, each once."""
    code, out, err = await there.cli("log", "tail", "-n", "3", "--json", by="audra")
    assert code == 0, err
    positions = [json.loads(line)["position"] for line in out.splitlines()]
    head = await there.house.position()
    assert positions == [head - 2, head - 1, head]
    first = await ask(there, "order:1")
    words = ("log", "tail", "-n", "1", "-f", "--every", "0.2", "--json")
    async with there.running(*words, "--type", "approval.requested", "--type", "approval.granted", by="audra") as tail:
        assert (await tail.line())["tags"].count(f"approval:{first}") == 1
        second = await ask(there, "order:2")
        await there.decide(second)
        found = [await tail.line() for _ in range(2)]
    assert [item["type"] for item in found] == ["approval.requested", "approval.granted"]
    assert all(f"approval:{second}" in item["tags"] for item in found)


async def test_nobody_answers(there: Journey) -> None:
    """Exit code 3, in words and in JSON, with what to do."""
    code, _, err = await there.cli("whoami", by="iris", QUARTERDECK_URL="http://127.0.0.1:9")
    assert code == 3
    assert "quarterdeck up" in err
    code, _, err = await there.cli("approvals", "list", "--json", by="iris", QUARTERDECK_URL="http://127.0.0.1:9")
    assert (code, json.loads(err)["error"]["code"]) == (3, "unreachable")
    code, _, err = await there.cli("sign-in", "ftp://nowhere/", by=None)
    assert code == 2
