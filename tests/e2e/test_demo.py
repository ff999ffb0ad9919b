"""`quarterdeck demo` as a newcomer has it: what it says happens, and whoever keeps the story can come back to it.

Serves DC-01, DC-07, S0-72; README "Two commands".
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from operator_home import Operator
from rich.cells import cell_len
from sample_log import Log

from quarterdeck_cli.demo import show_way_back
from quarterdeck_cli.story_audit import Auditor, flip
from quarterdeck_cli.story_door import Door, StoryFailed


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """A newcomer in an empty directory."""
    return Operator(tmp_path)


def test_the_auditor_looks_back_and_proves_it_and_whoever_kept_the_story_comes_back(operator: Operator) -> None:
    """Pending before the vote, approved now; the key and a checkpoint are older than the story; `up` answers the same."""
    told = operator.parsed("demo", "--data-dir", "data")
    vote = next(event for event in told["timeline"] if event["type"] == "approval.vote_cast")
    assert {"approval.requested", "approval.granted", "grant.redeemed", "effect.reported"} <= {
        event["type"] for event in told["timeline"]
    }
    assert told["held"]["size"] < told["timeline"][0]["position"]
    assert told["grown"]["from"] == told["held"]["size"] == told["verified"]["held"][0]
    assert told["grown"]["to"] == told["verified"]["size"] == told["events"]
    assert told["grown"]["hashes"] > 0
    assert told["verified"]["trust"] == "given key"
    assert told["verified"]["signed_by"] == [told["held"]["vkey"]]
    assert (told["flipped"]["verified"], told["flipped"]["code"]) == (False, "root")
    assert told["then"]["position"] == vote["position"] - 1
    assert told["then"]["recordedAt"] <= told["before"] < vote["recordedAt"]
    assert (told["then"]["node"]["status"], told["now"]["node"]["status"]) == ("PENDING", "APPROVED")
    assert [change["objectKind"] for change in told["changes"]] == ["APPROVAL", "VOTE", "GRANT", "EFFECT"]
    assert told["estate"]["applied"]["counts"]["register"] > 100
    customers = told["estate"]["customers"]
    assert [
        sorted(set(customers[later]) - set(customers[early])) for early, later in (("before", "then"), ("then", "now"))
    ] == [
        ["knowledge-curator"],  # it could already, and nobody knew
        ["campaign-writer"],  # its grant was widened
    ]
    assert customers["opened"] == "relation:tool_grant:campaign-audience permits tool:crm.find-customer"
    assert customers["worst"]["type"] == "OUT_OF_SCOPE"
    with operator.up("data") as started:
        link = urlsplit(told["sign_in"])
        assert operator.run("sign-in", f"{started['url']}{link.path}").returncode == 0
        assert "administrator" in operator.parsed("whoami")["roles"]
        shown = operator.run("log", "tail", "-n", "1000")
        assert all(event["type"] in shown.stdout for event in told["timeline"])
    again = operator.refused("demo", "--data-dir", "data")
    assert "holds a story already" in again["message"]


def test_the_story_fits_a_terminal_and_says_how_to_keep_it(operator: Operator) -> None:
    """No line is longer than 80 columns; each of the steps is told; the last lines say what to type."""
    done = operator.run("demo")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if cell_len(line) > 80] == []
    for said in (
        "notes the log's public key",
        "GraphQL",
        "pending",
        "approved",
        "VERIFIED: ",
        "One byte",
        "NOT VERIF",
        "campaign-writer",
    ):
        assert said in done.stdout
    assert lines[-2:] == ["   quarterdeck demo --data-dir story", "   quarterdeck up --data-dir story"]


def test_a_kept_story_says_how_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    """With the directory that was named, as a shell takes it, and the link on a line of its own."""
    show_way_back(Path("my story"), f"http://127.0.0.1:8480/sign-in/qdl_{'x' * 60}")
    lines = capsys.readouterr().out.splitlines()
    assert "   quarterdeck up --data-dir 'my story'" in lines
    assert [line for line in lines if cell_len(line) > 80] == [f"   http://127.0.0.1:8480/sign-in/qdl_{'x' * 60}"]


def test_exactly_one_byte_is_flipped() -> None:
    """And the file stays what it was otherwise."""
    export = b'{"approved_until":"2026-11-21"}\n{"approved_until":"2026-11-22"}\n'
    forged, place = flip(export)
    assert [at for at in range(len(export)) if export[at] != forged[at]] == [place - 1]
    assert forged == export.replace(b"2026", b"2036", 1)
    assert flip(b'{"approved_until":"2096"}')[0] == b'{"approved_until":"2006"}'
    with pytest.raises(StoryFailed):
        flip(b"{}\n")


def test_the_auditor_believes_no_key_that_comes_with_the_file(tmp_path: Path) -> None:
    """An export signed by another key, whose own header names that key, does not verify."""
    hers, forgers = Log(20), Log(20, key_seed=2)
    auditor = Auditor(Door("http://127.0.0.1:9"), "none", lambda *_, **__: None, tmp_path)
    auditor.hold(hers.vkey, hers.checkpoint(10))
    assert auditor.verify(hers.full())["verified"]
    assert auditor.verify(forgers.full())["code"] == "untrusted_key"
