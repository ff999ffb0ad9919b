"""The layout's promises: source roots are no packages, nothing shadows a library, package names are ours alone.

Serves C01: the layout of the house.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parents[2]
ROOTS = ("domain", "services", "workflows", "graphql")


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
