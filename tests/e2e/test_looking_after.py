"""An operator looks after an installation, with real processes alone: backed up, lost, brought back, found out.

Serves DC-01, S0-20, S0-23, S0-32; RELIABILITY 6 (a restored older copy is detected).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import httpx
import pytest
from operator_home import Operator

from quarterdeck import SyncQuarterdeck


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the demo has left its story, in `data`."""
    home = tmp_path_factory.mktemp("home")
    assert Operator(home).parsed("demo", "--data-dir", "data")["events"] > 20
    return home


@pytest.fixture
def operator(played: Path, tmp_path: Path) -> Operator:
    """An operator with a copy of that installation."""
    shutil.copytree(played / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.socket", "*.lock"))
    if os.geteuid() == 0:
        for path in (tmp_path / "data" / "postgres", *(tmp_path / "data" / "postgres").rglob("*")):
            os.chown(path, 65534, 65534)
    return Operator(tmp_path)


def events(address: str, token: str) -> tuple[str, str]:
    """Return the log's checkpoint and export, as an auditor takes them."""
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        return http.get("/v1/log/checkpoint").text, http.get("/v1/log/export").text


def entered(address: str, link: str) -> str:
    """Use a sign-in link; return the session's key."""
    with httpx.Client(base_url=address, trust_env=False) as http:
        answer = http.post("/sign-in", json={"token": link.rpartition("/")[2]}).json()
    return next(str(value) for value in answer.values() if str(value).startswith("qd_"))


def ask(address: str, admin: str) -> str:
    """Let a new agent ask a human; return the approval's id, which stays open."""
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {admin}"}, trust_env=False) as http:
        body = {"kind": "agent", "display_name": "bot", "roles": ["agent"]}
        body["owner"] = http.get("/v1/me").json()["principal_id"]
        agent = http.post("/v1/commands/register_principal", json=body).json()["result"]["principal_id"]
        key = http.post("/v1/commands/issue_api_key", json={"principal_id": agent}).json()["reveal"]["api_key"]
    with SyncQuarterdeck(address, key) as bot:
        decision = bot.ask("refund", "order:4711", properties={"amount": "480.00", "currency": "EUR"})
        return bot.request_approval(decision, justification="charged twice").id


def test_lost_and_brought_back(operator: Operator) -> None:
    """Backed up while it runs; the machine is lost; restored elsewhere it runs on, and every invariant holds."""
    with operator.up("data") as running:
        link = operator.run("recover-administrator", "--reason", "to ask", "--data-dir", "data")
        approval = ask(running["url"], entered(running["url"], link.stdout.split()[-1]))
        made = operator.parsed("backup", "log.qd", "--data-dir", "data")
        operator.parsed("backup-keys", "keys.qd", "--data-dir", "data")
        assert operator.refused("restore", "log.qd", "--data-dir", "data")["code"] == "embedded"
    shutil.rmtree(operator.home / "data")
    operator.parsed("restore-keys", "keys.qd", "--data-dir", "again")
    restored = operator.parsed("restore", "log.qd", "--data-dir", "again")
    assert restored["tenants"] == made["tenants"] == restored["read_models"]
    assert operator.parsed("verify", "--live", "--data-dir", "again")["ok"] is True
    again = operator.parsed("backup", "again.qd", "--data-dir", "again")
    assert again["tenants"] == made["tenants"]
    assert operator.refused("restore", "log.qd", "--data-dir", "again")["code"] == "not_empty"
    with operator.up("again") as running:
        link = operator.run("recover-administrator", "--reason", "the machine was lost", "--data-dir", "again")
        assert link.returncode == 0, link.stderr
        token = entered(running["url"], link.stdout.split()[-1])
        checkpoint, export = events(running["url"], token)
        assert int(checkpoint.split("\n")[1]) > made["tenants"]["default"]
        assert "Iris" not in export
        with httpx.Client(base_url=running["url"], headers={"Authorization": f"Bearer {token}"}) as http:
            query = {"query": "{ now { principals(first: 20) { edges { node { displayName } } } } }"}
            assert "Iris" in http.post("/graphql", json=query).text  # the restored keys open what was sealed
        # Temporal was not backed up: from the log alone the dispatcher opens the gate at which the agent waits.
        end = time.monotonic() + 60
        while not (found := json.loads(operator.run("verify", "--live", "--data-dir", "again", "--json").stdout))["ok"]:
            assert [item["invariant"] for item in found["found"]] == ["I8"]
            assert approval in found["found"][0]["what"]
            assert time.monotonic() < end


def test_an_older_copy_is_found_out(operator: Operator) -> None:
    """Against a checkpoint that an auditor holds, and already by the one kept beside the keys."""
    early = operator.parsed("backup", "early.qd", "--data-dir", "data")["tenants"]["default"]
    operator.parsed("backup-keys", "keys-early.qd", "--data-dir", "data")
    with operator.up("data") as running:
        link = operator.run("recover-administrator", "--reason", "a second one", "--data-dir", "data")
        checkpoint, _ = events(running["url"], entered(running["url"], link.stdout.split()[-1]))
    (operator.home / "held.txt").write_text(checkpoint)
    assert int(checkpoint.split("\n")[1]) > early
    assert operator.parsed("verify", "--live", "--data-dir", "data", "--checkpoint", "held.txt")["ok"] is True
    operator.parsed("backup-keys", "keys-late.qd", "--data-dir", "data")
    # With the later keys, which keep what was signed last, it is not even restored without a word.
    operator.parsed("restore-keys", "keys-late.qd", "--data-dir", "old")
    refused = operator.refused("restore", "early.qd", "--data-dir", "old")
    assert refused["code"] == "log_rewound"
    assert not (operator.home / "old" / "postgres").exists()
    accepted = operator.parsed("restore", "early.qd", "--data-dir", "old", "--accept-loss")
    assert len(accepted["set_aside"]) == 1
    # With keys as old as the copy, this installation knows nothing; whoever holds a checkpoint does.
    operator.parsed("restore-keys", "keys-early.qd", "--data-dir", "older")
    operator.parsed("restore", "early.qd", "--data-dir", "older")
    for directory in ("old", "older"):
        assert operator.parsed("verify", "--live", "--data-dir", directory)["ok"] is True
        done = operator.run("verify", "--live", "--data-dir", directory, "--checkpoint", "held.txt")
        assert done.returncode == 1
        assert "the log went back" in done.stdout
        assert checkpoint.split("\n")[1] in done.stdout
        assert str(early) in done.stdout
        operator.parsed("tenants", "export", "default", f"from-{directory}", "--data-dir", directory)
        away = operator.home / f"from-{directory}"
        vkey = (away / "vkeys.txt").read_text().split()[-1]
        words = ("verify", str(away / "log.ndjson"), "--vkey", vkey, "--json")
        assert operator.run(*words).returncode == 0
        assert json.loads(operator.run(*words, "--checkpoint", "held.txt").stdout)["code"] == "held_newer"
    # A log that goes on from the older copy becomes as long again, and stays another one.
    with operator.up("old"):
        for reason in ("once", "twice"):
            done = operator.run("recover-administrator", "--reason", reason, "--data-dir", "old")
            assert done.returncode == 0, done.stderr
    done = operator.run("verify", "--live", "--data-dir", "old", "--checkpoint", "held.txt")
    assert done.returncode == 1
    assert "the log was rewritten" in done.stdout


def test_what_is_no_checkpoint_is_not_checked(operator: Operator) -> None:
    """Exit code 2, as the standalone verifier's: another log's, an unsigned one, nothing at all."""
    (operator.home / "none.txt").write_text("nothing")
    kept = next((operator.home / "data" / "keys" / "checkpoints").glob("*.checkpoint")).read_text()
    (operator.home / "other.txt").write_text(kept.replace("quarterdeck/default", "elsewhere/default"))
    (operator.home / "forged.txt").write_text(re.sub(r"\n[0-9]+\n", "\n9999\n", kept, count=1))
    for name in ("none.txt", "other.txt", "forged.txt", "missing.txt"):
        words = ("verify", "--live", "--data-dir", "data", "--checkpoint", name)
        assert operator.refused(*words, code=2)["code"] == "not_checked"


def test_refusals_change_nothing(operator: Operator) -> None:
    """Damaged, cut, of the other kind, missing: one line, a code, and no directory where there was none."""
    operator.parsed("backup", "log.qd", "--data-dir", "data")
    operator.parsed("backup-keys", "keys.qd", "--data-dir", "data")
    packed = (operator.home / "log.qd").read_bytes()
    (operator.home / "cut.qd").write_bytes(packed[: len(packed) // 2])
    (operator.home / "bent.qd").write_bytes(packed[:-20] + bytes([packed[-20] ^ 1]) + packed[-19:])
    (operator.home / "text.qd").write_text("not an archive")
    for name, code in (
        ("cut.qd", "invalid_archive"),
        ("bent.qd", "invalid_archive"),
        ("text.qd", "invalid_archive"),
        ("keys.qd", "invalid_archive"),
        ("missing.qd", "unreadable"),
        ("data", "unreadable"),
    ):
        assert operator.refused("restore", name, "--data-dir", "fresh")["code"] == code, name
    assert operator.refused("restore-keys", "log.qd", "--data-dir", "fresh")["code"] == "invalid_archive"
    assert operator.refused("restore-keys", "keys.qd", "--data-dir", "data")["code"] == "already_there"
    assert operator.refused("backup", "log.qd", "--data-dir", "data")["code"] == "already_there"
    assert operator.refused("backup", "nowhere/log.qd", "--data-dir", "data")["code"] == "unreadable"
    assert operator.refused("backup", "new.qd", "--data-dir", "fresh")["code"] == "embedded"
    assert operator.refused("backup-keys", "new.qd", "--data-dir", "fresh")["code"] == "not_found"
    assert operator.refused("tenants", "list", "--data-dir", "fresh")["code"] == "embedded"
    assert not (operator.home / "fresh").exists()
    assert not list(operator.home.glob("*.partial-*"))
    done = operator.run("restore", "log.qd", "--data-dir", "fresh")  # without keys it says so, before anything signs
    assert done.returncode == 0, done.stderr
    assert "there are no keys here" in done.stdout
    assert not (operator.home / "fresh" / "keys" / "signing").exists()
    operator.parsed("restore-keys", "keys.qd", "--data-dir", "fresh")
    assert operator.parsed("verify", "--live", "--data-dir", "fresh")["ok"] is True
