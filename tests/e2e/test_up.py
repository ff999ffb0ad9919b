"""`quarterdeck up` as its user has it: parts that die come back, the doctor sees what is so, the way back in is there.

Serves DC-01, S0-20; DESIGN 'Running', RELIABILITY 3.2.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from operator_home import Operator
from otlp_receiver import wait_until

from quarterdeck_embedded import free_port

PARTS = ("postgres", "temporal", "api", "worker", "projector")


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator in an empty directory, with the file mode that most have."""
    os.umask(0o022)
    return Operator(tmp_path)


def diagnosis(operator: Operator, directory: str = "data") -> dict[str, Any]:
    """Return the doctor's findings by what was looked at; the exit code must agree with them."""
    done = operator.run("doctor", "--data-dir", directory, "--json")
    found = {finding["check"].partition(" (")[0]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == (0 if all(finding["ok"] for finding in found.values()) else 1), done.stderr
    return found


def healthy(operator: Operator) -> bool:
    """Tell whether the doctor finds nothing."""
    return all(finding["ok"] for finding in diagnosis(operator).values())


def ready(url: str) -> bool:
    """Tell whether the API is ready."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_every_part_that_dies_comes_back_and_the_doctor_sees_it(operator: Operator) -> None:
    """Killed one after the other, each is there again with all that was recorded, under the same addresses."""
    assert diagnosis(operator)["postgres"]["next"] == "quarterdeck up"
    with operator.up("data") as started:
        url = started["url"]
        wait_until(lambda: healthy(operator))
        assert url in diagnosis(operator)["api"]["seen"]
        before = pids(started)
        for part in PARTS:
            os.kill(before[part], signal.SIGKILL)
            wait_until(lambda: healthy(operator) and ready(url))
        signed_in = operator.run("sign-in", started["sign_in"])
        assert signed_in.returncode == 0, signed_in.stderr
        said = json.loads(operator.run("verify", "--live", "--data-dir", "data", "--json").stdout)
        assert said["ok"], said


def pids(started: dict[str, Any]) -> dict[str, int]:
    """Return the process id of each part."""
    return {**started["pids"], "postgres": started["postgres_pid"], "temporal": started["temporal_pid"]}


def test_the_doctor_does_not_take_a_dead_part_for_a_living_one(operator: Operator) -> None:
    """With `up` held still, nothing brings back what is killed: it is named, with the next step."""
    with operator.up("data") as started:
        wait_until(lambda: healthy(operator))
        assert operator.process is not None
        operator.process.send_signal(signal.SIGSTOP)
        try:
            for part, said in (("temporal", "temporal"), ("api", "api"), ("postgres", "postgres")):
                os.kill(pids(started)[part], signal.SIGKILL)
                wait_until(lambda said=said: not diagnosis(operator)[said]["ok"])
                assert "`quarterdeck up` runs" in diagnosis(operator)[said]["next"]
        finally:
            operator.process.send_signal(signal.SIGCONT)
        wait_until(lambda: healthy(operator))


@pytest.mark.parametrize(
    ("left", "said", "advice"),
    [
        ({"postgres/PG_VERSION": "x"}, "is damaged", "restore a backup"),
        ({"postgres/PG_VERSION": "17"}, "PostgreSQL 17", "restore a backup"),
        ({"postgres/notes.txt": ""}, "no PostgreSQL data directory", "choose another path"),
        ({"postgres": ""}, "not a directory", "choose another path"),
    ],
)
def test_the_doctor_explains_what_up_refuses(operator: Operator, left: dict[str, str], said: str, advice: str) -> None:
    """In the same words, with a next step that is not to start it; and neither sends to the other."""
    for name, text in left.items():
        file = operator.home / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(text)
    found = diagnosis(operator)
    assert list(found)[-1] == "data directory"
    assert said in found["data directory"]["seen"]
    assert found["data directory"]["next"].startswith(advice)
    refused = operator.refused("up", "--data-dir", "data", "--port", str(free_port()))
    assert refused["message"].startswith(found["data directory"]["seen"])
    assert refused["hint"] is None


def test_the_doctor_sees_a_file_where_the_directory_should_be(operator: Operator) -> None:
    """As `up` does."""
    (operator.home / "data").write_text("")
    assert "a file is in the way" in diagnosis(operator)["data directory"]["seen"]


def test_the_doctor_tells_of_settings_in_words(operator: Operator) -> None:
    """Not as a library's report."""
    operator.environment |= {"QUARTERDECK_PORT": "many", "QUARTERDECK_DATABSE_URL": "x"}
    assert diagnosis(operator)["settings"]["seen"].startswith("QUARTERDECK_DATABSE_URL is no setting; did you mean")
    del operator.environment["QUARTERDECK_DATABSE_URL"]
    assert "pydantic" not in diagnosis(operator)["settings"]["seen"]


def test_the_way_back_in_needs_nothing_that_runs(operator: Operator) -> None:
    """On a stopped installation, as on a running one; the link names where it was last served."""
    with operator.up("data") as started:
        url = started["url"]
        running = operator.run("recover-administrator", "--reason", "lost it", "--data-dir", "data")
    stopped = operator.run("recover-administrator", "--reason", "lost it again", "--data-dir", "data")
    for done in (running, stopped):
        assert done.returncode == 0, done.stderr
        assert f"{url}/sign-in/" in done.stdout
    opened = operator.parsed("tenants", "open", "acme", "--data-dir", "data")
    assert opened["sign_in"].startswith(f"{url}/sign-in/")
    assert operator.parsed("rebuild", "--data-dir", "data")["default"] > 0


def test_the_version_is_told() -> None:
    """By the first thing that anybody asks a command."""
    command = [sys.executable, "-m", "quarterdeck_cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("quarterdeck 0.")


@pytest.mark.parametrize(
    ("setting", "words", "said"),
    [
        ({"QUARTERDECK_CONFIG": "broken.toml"}, ("up",), "the configuration file"),
        ({"QUARTERDECK_CONFIG": "broken.toml"}, ("serve", "api"), "the configuration file"),
        ({"QUARTERDECK_PORT": "many"}, ("up",), "port: "),
        ({}, ("up", "--data-dir", "broken.toml"), "a file is in the way"),
        ({}, ("up", "--data-dir", "/proc/none"), "/proc/none cannot be made"),
        ({}, ("up", "--host", "192.0.2.1"), "choose a --host that is an address of this machine"),
        ({}, ("up", "--host", "no.such.host.invalid"), "choose a --host"),
        ({"QUARTERDECK_DATABSE_URL": "x"}, ("up",), "did you mean QUARTERDECK_DATABASE_URL?"),
        ({"QUARTERDECK_SECRETS_DIR": "/nonexistent"}, ("serve", "api"), "which is no directory"),
        ({"QUARTERDECK_OIDC_ISSUER": "https://issuer.test"}, ("up",), "error: oidc_audience is required"),
        ({"QUARTERDECK_DATABASE_URL": "mysql://localhost/x"}, ("up",), "no address of a PostgreSQL database"),
        ({"QUARTERDECK_DATABASE_URL": "garbage"}, ("migrate",), "no address of a PostgreSQL database"),
        ({"QUARTERDECK_DATABASE_URL": "postgresql://localhost:99999/x"}, ("migrate",), "PostgreSQL"),
    ],
)
def test_what_cannot_work_is_said_in_words(
    operator: Operator, setting: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    """Never a traceback; always what is wrong."""
    (operator.home / "broken.toml").write_text("port = = 1\n")
    operator.environment |= {"QUARTERDECK_PORT": str(free_port())} | setting
    done = operator.run(*words)
    assert done.returncode in (1, 2, 3), done.stdout
    assert "Traceback" not in done.stderr
    assert said in done.stderr, done.stderr
