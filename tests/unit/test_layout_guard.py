"""The layout's promises: source roots are no packages, nothing shadows a library, package names are ours alone, arrows
point down and the domain is pure.

Serves C01: the layout of the house.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parents[2]
ROOTS = ("domain", "services", "workflows", "graphql")

DOMAIN_USES = {"eventsourcing", "msgspec", "quarterdeck_domain"} | {
    *("__future__", "abc", "collections", "datetime", "hashlib", "hmac", "json", "re", "types", "typing"),
    *("unicodedata", "uuid"),
}
SCRIPTS_USE = {"quarterdeck_domain.schemas": {"inspect", "pathlib", "sys"}}
"""What single modules of the domain use besides: the script that writes the event catalogue."""
CLOCKS_AND_DICE = {
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid.getnode"),
}
DOORS = {"__import__", "breakpoint", "compile", "eval", "exec", "open", "print"}
"""Builtins that reach the world or hide an import."""

OURS_ABOVE = ("readmodels.reader", "policy.decision_point", "runtime.settings", "projector.projector", "workflows.ids")
STORES = ("postgres", "store", "sequencer", "memory", "hot", "recorder", "followers", "notify", "migrate", "tiles")
PLANTS = {
    "quarterdeck_domain": [
        *("redis", "aiohttp", "asyncpg", "httpx", "pydantic", "structlog", "temporalio", "cryptography"),
        *("socket", "time", "random", "secrets", "os", "subprocess", "asyncio", "threading", "pathlib", "sys"),
        *("importlib", "logging", "io", "urllib", "quarterdeck_ledger.interface", "quarterdeck_readmodels.reader"),
    ],
    "quarterdeck_ledger": [*(f"quarterdeck_{name}" for name in OURS_ABOVE), "fastapi", "strawberry", "temporalio"],
    "quarterdeck_readmodels": [
        *(f"quarterdeck_ledger.{name}" for name in (*STORES, "interface", "ledger")),
        *("quarterdeck_policy.decision_point", "quarterdeck_workflows.ids", "fastapi", "strawberry", "temporalio"),
    ],
    "quarterdeck_policy": [
        *(f"quarterdeck_ledger.{name}" for name in (*STORES, "ledger", "keys", "checkpoints")),
        *("quarterdeck_readmodels.reader", "quarterdeck_workflows.ids", "asyncpg", "fastapi", "temporalio"),
    ],
    "quarterdeck_runtime": ["quarterdeck_ledger.postgres", "quarterdeck_domain.ids", "asyncpg", "temporalio"],
    "quarterdeck_importing": [
        *("quarterdeck_runtime.settings", "quarterdeck_policy.decision_point", "quarterdeck_workflows.ids"),
        *("quarterdeck_projector.projector", "quarterdeck_api.app", "asyncpg", "fastapi", "httpx", "temporalio"),
    ],
    "quarterdeck_workflows": [
        *(f"quarterdeck_ledger.{name}" for name in (*STORES, "ledger", "keys", "checkpoints", "entry", "sealing")),
        *("quarterdeck_ledger", "quarterdeck_readmodels.reader", "quarterdeck_policy.decision_point"),
        *("quarterdeck_runtime.settings", "quarterdeck_projector.projector", "quarterdeck_graphql.schema"),
        *("quarterdeck_embedded", "quarterdeck", "asyncpg", "sqlalchemy", "fastapi", "starlette", "strawberry"),
    ],
    "quarterdeck_graphql": [
        *(f"quarterdeck_ledger.{name}" for name in (*STORES, "ledger", "keys", "checkpoints", "sealing", "signing")),
        *("quarterdeck_policy.engine", "quarterdeck_policy.preflight", "quarterdeck_policy.decision_point"),
        *("quarterdeck_workflows.ids", "quarterdeck_runtime.settings", "quarterdeck_api.app", "quarterdeck_embedded"),
        *("asyncpg", "sqlalchemy", "fastapi", "starlette", "temporalio"),
    ],
    "quarterdeck_projector": ["quarterdeck_api.app", "quarterdeck_worker.worker", "quarterdeck_embedded"],
    "quarterdeck_worker": ["quarterdeck_projector.projector", "quarterdeck_cli.main", "quarterdeck"],
    "quarterdeck_api": ["quarterdeck_worker.worker", "quarterdeck_cli.main", "quarterdeck_embedded"],
    "quarterdeck": ["quarterdeck_domain.ids", "quarterdeck_embedded"],
    "quarterdeck_embedded": ["quarterdeck_ledger.server", "quarterdeck"],
}
"""Imports that each floor must not have: what a module planted in it tries, and import-linter must name."""


def project() -> dict[str, Any]:
    """Return the project's own configuration."""
    return tomllib.loads((HOUSE / "pyproject.toml").read_text())


def packages() -> dict[str, Path]:
    """Return each package of the source roots and the root it lies in."""
    return {path.parent.name: path.parents[1] for root in ROOTS for path in (HOUSE / root).glob("*/__init__.py")}


@pytest.mark.parametrize("root", [*ROOTS, "bench", "tests"])
def test_source_roots_and_tests_are_no_packages(root: str) -> None:
    assert (HOUSE / root).is_dir()
    assert not (HOUSE / root / "__init__.py").exists()


def test_no_folder_of_tests_is_a_package() -> None:
    assert [str(path) for path in (HOUSE / "tests").rglob("__init__.py")] == []


def test_test_files_have_unique_names() -> None:
    names = [path.name for path in (HOUSE / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_graphql_is_the_library_also_from_the_root_of_the_house() -> None:
    asked = "import graphql, sys; print(graphql.__file__); graphql.parse('{ a }')"
    said = subprocess.run([sys.executable, "-c", asked], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert not Path(said.stdout.strip()).is_relative_to(HOUSE / "graphql")
    assert "graphql-core" in packages_distributions()["graphql"]


def test_every_package_has_a_name_of_its_own() -> None:
    names = packages()
    assert names, "the source roots hold packages"
    assert all(name == "quarterdeck" or name.startswith("quarterdeck_") for name in names), sorted(names)
    assert len(names) == sum(1 for root in ROOTS for _ in (HOUSE / root).glob("*/__init__.py"))
    owners = packages_distributions()
    strangers = {name: owners[name] for name in names if set(owners.get(name, ["quarterdeck"])) != {"quarterdeck"}}
    assert strangers == {}


@pytest.mark.parametrize("name", sorted(packages()))
def test_every_package_is_imported_from_the_house(name: str) -> None:
    assert importlib.import_module(name).__file__ == str(packages()[name] / name / "__init__.py")


def test_checks_cover_every_package() -> None:
    names = set(packages())
    assert names <= set(project()["tool"]["mypy"]["packages"])
    assert names == set(project()["tool"]["importlinter"]["root_packages"])


def test_wheel_takes_every_source_root_and_strips_its_name() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == list(ROOTS)
    assert wheel["sources"] == list(ROOTS)
    for source in wheel["force-include"]:
        assert (HOUSE / source).exists()


def test_embedded_parts_import_the_standard_library_alone() -> None:
    asked = (
        "import sys; before = set(sys.modules); import quarterdeck_embedded; "
        "print('\\n'.join(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert set(said.stdout.split()) - set(sys.stdlib_module_names) == {"quarterdeck_embedded"}


def impurities(module: str, source: str) -> list[str]:
    """Return what a module of the domain uses that it must not: imports beyond the list, clocks, dice and doors."""
    allowed = DOMAIN_USES | SCRIPTS_USE.get(module, set())
    stands_for: dict[str, str] = {}
    found: list[str] = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
            stands_for |= {name: full if name != full.partition(".")[0] else name for name, full in names.items()}
            found += [full for full in names.values() if full.partition(".")[0] not in allowed]
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names = {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in node.names}
            stands_for |= names
            found += [origin] if origin.partition(".")[0] not in allowed else []
            found += [full for full in names.values() if full in CLOCKS_AND_DICE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):  # also where it is only named: `default_factory=uuid.uuid4`
            name, _, rest = ast.unparse(node).partition(".")
            full = f"{stands_for.get(name, name)}.{rest}"
            found += [full] if full in CLOCKS_AND_DICE else []
        elif isinstance(node, ast.Name) and node.id in DOORS:
            found.append(node.id)
    return found


def test_the_domain_has_no_clock_no_dice_and_no_door() -> None:
    root = HOUSE / "domain"
    modules = {".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")}
    assert set(SCRIPTS_USE) <= set(modules)
    found = {name: impurities(name, path.read_text()) for name, path in modules.items()}
    assert {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import socket", ["socket"]),
        ("def f():\n    import os.path as p", ["os.path"]),
        ("from urllib.request import urlopen", ["urllib.request"]),
        ("from . import ids", ["."]),
        ("import redis, json", ["redis"]),
        ("import pathlib", ["pathlib"]),
        ("from time import time", ["time"]),
        ("from datetime import datetime, UTC\nx = datetime.now(UTC)", ["datetime.datetime.now"]),
        ("import datetime as d\nx = d.date.today()", ["datetime.date.today"]),
        ("from datetime import datetime as when\nx = when.utcnow", ["datetime.datetime.utcnow"]),
        ("import uuid\nx = field(default_factory=uuid.uuid4)", ["uuid.uuid4"]),
        ("from uuid import uuid1 as new", ["uuid.uuid1"]),
        ("x = __import__('socket')", ["__import__"]),
        ("x = open('file')", ["open"]),
        ("import uuid\nfrom datetime import datetime\nx = uuid.uuid5(n, 'a'), datetime.fromisoformat(t), e.now", []),
    ],
)
def test_what_is_not_pure_is_seen(source: str, seen: list[str]) -> None:
    assert impurities("quarterdeck_domain.planted", source) == seen


def test_only_the_script_may_do_what_a_script_does() -> None:
    assert impurities("quarterdeck_domain.schemas", "import sys, inspect\nfrom pathlib import Path") == []


def test_import_linter_and_this_page_allow_the_domain_the_same() -> None:
    contracts = project()["tool"]["importlinter"]["contracts"]
    (pure,) = (each for each in contracts if each.get("source_modules") == ["quarterdeck_domain"])
    arrows = {("quarterdeck_domain.**", name) for name in DOMAIN_USES - {"quarterdeck_domain"}}
    arrows |= {(module, name) for module, names in SCRIPTS_USE.items() for name in names}
    assert {tuple(each.split(" -> ")) for each in pure["ignore_imports"]} == arrows
    assert pure["forbidden_modules"] == ["*"]


def test_every_contract_bites(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "*.sql", "*.md")
    for name, root in packages().items():
        shutil.copytree(root / name, tmp_path / "house" / name, ignore=skip)
    for package, names in PLANTS.items():
        planted = "".join(f"import {name}\n" for name in names)
        (tmp_path / "house" / package / "planted.py").write_text(planted)
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "house"), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 1, linted.stdout + linted.stderr
    named = set(re.findall(r"(quarterdeck\S*) -> (\S+) \(l\.", linted.stdout))
    wanted = {(f"{package}.planted", name) for package, names in PLANTS.items() for name in names}
    assert wanted - named == set()
    contracts = [each["name"] for each in project()["tool"]["importlinter"]["contracts"]]
    assert [name for name in contracts if f"{name} BROKEN" not in linted.stdout] == []
