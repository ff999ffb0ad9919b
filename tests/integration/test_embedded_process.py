"""Children and their guards: who ends whom, and what is said when a machine cannot do it.

Serves DC-01: what one command starts is gone when the command is, however it went.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from quarterdeck_embedded import MissingPart, process
from quarterdeck_embedded.postgres import binary as postgres_binary
from quarterdeck_embedded.temporal import binary as temporal_binary

BOUND_S = 10.0
OWNER = """
import sys
from pathlib import Path
from quarterdeck_embedded import process
child = process.spawn([sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]), stop="USR1")
print(child.pid, flush=True)
sys.stdin.read()
"""
TELLS = """
import signal, sys
def told(number, frame):
    print("told", signal.Signals(number).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGUSR1, told)
print("up", flush=True)
while True:
    signal.pause()
"""


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Poll until the condition holds; tell whether it did in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def guards() -> set[int]:
    """Return our guards' process ids."""
    found = set()
    for child in psutil.Process().children():
        try:
            if child.cmdline()[:1] == ["/bin/sh"] and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_owners_death_is_told_to_the_child_by_the_signal_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(log), TELLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    assert within(BOUND_S, lambda: log.read_text() == "up\n")
    owner.kill()
    owner.communicate()
    assert within(BOUND_S, lambda: log.read_text() == "up\ntold SIGUSR1\n")
    assert within(BOUND_S, lambda: not child.is_running())


def test_guard_leaves_with_its_child(tmp_path: Path) -> None:
    before = guards()
    child = process.spawn(["sleep", "60"], tmp_path / "log")
    assert len(guards() - before) == 1
    assert child.stop((signal.SIGTERM, BOUND_S)) == -signal.SIGTERM
    assert guards() == before
    ended = process.spawn(["true"], tmp_path / "log")
    assert within(BOUND_S, lambda: ended.poll() == 0)
    assert guards() == before


def test_child_that_ignores_what_it_is_told_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = process.spawn([sys.executable, "-c", deaf], log)
    assert within(BOUND_S, lambda: log.read_text() == "up\n")
    assert child.stop((signal.SIGTERM, 0.05)) == -signal.SIGKILL


def test_missing_program_leaves_no_guard(tmp_path: Path) -> None:
    before = guards()
    with pytest.raises(FileNotFoundError):
        process.spawn([str(tmp_path / "nothing-here")], tmp_path / "log")
    assert guards() == before


def test_dead_guard_does_not_hinder_the_owner(tmp_path: Path) -> None:
    before = guards()
    child = process.spawn(["sleep", "60"], tmp_path / "log")
    (guard,) = guards() - before
    os.kill(guard, signal.SIGKILL)
    assert child.stop((signal.SIGTERM, BOUND_S)) == -signal.SIGTERM


def test_grown_log_is_set_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LARGEST_LOG", 10)
    log = tmp_path / "log"
    for word in ("first and long", "second and long", "third"):
        assert process.spawn(["echo", word], log).wait(BOUND_S) == 0
    assert log.read_text() == "third\n"
    assert (tmp_path / "log.1").read_text() == "second and long\n"
    assert process.tail(log) == "third"
    assert process.tail(tmp_path / "none") == ""


def test_callers_database_settings_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "not-for-children")
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert [line for line in process.run(["env"]).stdout.splitlines() if line.startswith("PG")] == []


def test_root_without_a_way_down_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(MissingPart, match="--database-url"):
        process.prefix(unprivileged=True)


def test_root_without_capabilities_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    powerless = tmp_path / "setpriv"
    powerless.write_text("#!/bin/sh\necho 'setpriv: setresuid failed: Operation not permitted' >&2\nexit 127\n")
    powerless.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _name: str(powerless))
    with pytest.raises(MissingPart, match=r"Operation not permitted.*run as another user.*--database-url"):
        process.check_privileges()


def test_other_users_need_no_way_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert process.prefix(unprivileged=True) == []


def test_missing_wheels_are_told_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingPart, match=r"quarterdeck\[embedded\]"):
        postgres_binary("postgres")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(MissingPart, match=r"quarterdeck\[embedded\]"):
        temporal_binary()


def test_free_ports_are_different() -> None:
    assert len(set(process.free_ports(20))) == 20
