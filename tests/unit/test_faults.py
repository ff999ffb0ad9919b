"""Fault points: the register is what the code has, a schedule does what it says, and no process gets one by accident.

Serves S0-20, DC-09.
"""

from __future__ import annotations

import ast
import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck_cli import roles
from quarterdeck_ledger import faults
from quarterdeck_ledger.faults import ALLOWED, CONSENT, FAULTS, FaultsRefused, InjectedFault, from_environment, parse
from quarterdeck_runtime.settings import load_settings

ROOT = Path(__file__).parents[2]
ROOTS = ("domain", "services", "workflows", "graphql")
WHERE = {
    "execute": "quarterdeck_ledger/ledger.py",
    "append": "quarterdeck_ledger/sequencer.py",
    "deciding": "quarterdeck_ledger/hot.py",
    "decision": "quarterdeck_policy/decision_point.py",
    "redeem": "quarterdeck_api/grants/redeem.py",
    "reply": "quarterdeck_api/limits.py",
    "dispatch": "quarterdeck_projector/dispatcher.py",
    "gate": "quarterdeck_workflows/approval_gate/activities.py quarterdeck_workflows/execution.py",
    "callback": "quarterdeck_workflows/callback_delivery/activities.py",
    "import": "quarterdeck_importing/importing.py",
    "project": "quarterdeck_projector/projector.py",
    "erase": "quarterdeck_projector/eraser.py",
    "checkpoint": "quarterdeck_ledger/checkpoints.py",
}


def called() -> Iterator[tuple[str, str]]:
    """Yield every `faults.point(...)` of the product: the file inside its source root, and the name."""
    for root in ROOTS:
        for file in sorted((ROOT / root).rglob("*.py")):
            text = file.read_text()
            if "faults" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.point":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{file}:{node.lineno}: a fault point is named by a literal"
                    yield str(file.relative_to(ROOT / root)), str(name.value)


def test_every_point_is_in_the_code_once_and_every_one_in_the_code_is_registered() -> None:
    assert Counter(name for _, name in called()) == Counter({point.name: 1 for point in faults.POINTS})


def test_every_point_is_in_the_part_that_its_name_says() -> None:
    found = list(called())
    assert {name for file, name in found if file not in WHERE[name.partition(".")[0]].split()} == set()
    assert {name.partition(".")[0] for _, name in found} == set(WHERE)


def test_names_are_unique_and_each_point_says_what_has_happened() -> None:
    assert len(faults.NAMES) == len(faults.POINTS)
    for point in faults.POINTS:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", point.name)
        assert point.says.endswith(".")


def test_a_point_does_nothing_where_nothing_is_installed() -> None:
    faults.point("append.after_commit")
    faults.point("nobody would look at this name")


def test_a_point_that_is_not_registered_is_refused_where_a_schedule_is_installed() -> None:
    with faults.installed(parse("")), pytest.raises(FaultsRefused, match="not a fault point"):
        faults.point("append.whenever")


def test_a_rule_strikes_at_its_hit_alone_and_only_while_installed() -> None:
    schedule = parse("execute.read=raise@2")
    with faults.installed(schedule):
        faults.point("execute.read")
        with pytest.raises(InjectedFault, match="injected at execute") as caught:
            faults.point("execute.read")
        faults.point("execute.read")
        faults.point("execute.done")
    faults.point("execute.read")
    assert caught.value.details == {"point": "execute.read", "hit": 2}
    assert schedule.hits == {"execute.read": 3, "execute.done": 1}


def test_what_was_installed_before_is_installed_again() -> None:
    outer, inner = parse(""), parse("")
    with faults.installed(outer):
        with faults.installed(inner):
            faults.point("execute.read")
        faults.point("execute.read")
    assert (outer.hits, inner.hits) == ({"execute.read": 1}, {"execute.read": 1})


def _struck(seed: int) -> list[int]:
    struck = []
    with faults.installed(parse(f"seed={seed}; *=raise~0.3")):
        for number in range(200):
            try:
                faults.point("gate.claimed")
            except InjectedFault:
                struck.append(number)
    return struck


def test_chances_are_as_often_as_said_and_repeat_with_the_seed() -> None:
    assert _struck(7) == _struck(7)
    assert _struck(7) != _struck(8)
    assert 30 <= len(_struck(7)) <= 90


def test_a_stall_lasts_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    with faults.installed(parse("reply.before=stall:0.25@1")):
        faults.point("reply.before")
        faults.point("reply.before")
    assert slept == [0.25]


def test_the_record_names_each_point_once_in_the_order_of_first_hits(tmp_path: Path) -> None:
    record = tmp_path / "hits"
    with faults.installed(parse(f"record={record}")):
        for name in ("execute.read", "execute.decide", "execute.read"):
            faults.point(name)
    assert record.read_text().splitlines() == ["execute.read", "execute.decide"]


@pytest.mark.parametrize(
    "text",
    [
        "append.after_commit",
        "append.afterwards=kill",
        "append.after_commit=explode",
        "append.after_commit=kill@often",
        "append.after_commit=kill:2",
        "append.after_commit=stall",
        "append.after_commit=stall:long",
        "append.after_commit=raise~much",
        "seed=lucky",
        "=kill",
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(FaultsRefused, match="is no rule"):
        parse(text)


@pytest.fixture(autouse=True)
def nothing_stays_installed() -> Iterator[None]:
    yield
    faults.install(None)


def test_no_schedule_without_the_environment() -> None:
    from_environment({ALLOWED: CONSENT}, "postgresql://elsewhere.example/db")
    assert faults._installed is None


@pytest.mark.parametrize("consent", [None, "", "yes", "1", "i am a test"])
def test_refused_where_nothing_says_that_this_is_a_test(consent: str | None) -> None:
    environment = {FAULTS: "*=kill"} | ({} if consent is None else {ALLOWED: consent})
    with pytest.raises(FaultsRefused, match="I am a test"):
        from_environment(environment, "postgresql://localhost/db")
    assert faults._installed is None


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://db.example.org/app",
        "postgresql://app@10.0.0.7:5432/app",
        "postgresql://app@/app?host=db.example.org",
        "postgresql://app@/app?hostaddr=10.0.0.7",
        "postgresql://localhost:5432,db.example.org:5432/app",
        "postgresql://[2001:db8::1]:5432/app",
        "postgresql://localhost@db.example.org/app",
        "temporal.example.org:7233",
        "10.0.0.7:7233",
        "localhost.example.org:7233",
    ],
)
def test_refused_where_a_server_is_not_on_this_machine(address: str) -> None:
    with pytest.raises(FaultsRefused, match="not this machine"):
        from_environment({FAULTS: "*=kill", ALLOWED: CONSENT}, None, address)
    assert faults._installed is None


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app:secret@localhost:5432/app",
        "postgresql://app@/app?host=/run/postgresql",
        "postgresql://app@/app?host=%2Ftmp%2Fqd%2Fpg.socket",
        "postgresql://app@127.0.0.1/app",
        "postgresql://app@[::1]:5432/app",
        "postgresql://app@/app?host=::1",
        "127.0.0.1:7233",
        "localhost:7233",
        None,
    ],
)
def test_installed_on_this_machine_with_consent(address: str | None) -> None:
    from_environment({FAULTS: "gate.claimed=raise", ALLOWED: CONSENT}, address)
    with pytest.raises(InjectedFault):
        faults.point("gate.claimed")


def test_a_kill_is_a_kill() -> None:
    script = (
        "import os; from quarterdeck_ledger import faults; faults.from_environment(os.environ)\n"
        "for _ in range(5): faults.point('project.before_commit'); print('alive', flush=True)\n"
    )
    environment = {FAULTS: "project.before_commit=kill@3", ALLOWED: CONSENT}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["alive", "alive"])


def test_every_served_role_asks_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(database_url="postgresql://app@db.example.org/app")
    monkeypatch.setenv(FAULTS, "*=kill")
    monkeypatch.setenv(ALLOWED, CONSENT)
    for role in roles.ROLES.values():
        with pytest.raises(FaultsRefused, match="not this machine"):
            asyncio.run(role(settings))
