"""The light install is enough: the client and the command line against a server import nothing heavier. Serves DC-07."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUARD = """
import sys
from importlib.abc import MetaPathFinder

HEAVY = set(sys.argv[1].split(","))

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} is not in the light install")
        return None

sys.meta_path.insert(0, Refuse())
"""
SERVER_ONLY = (
    "quarterdeck_domain,quarterdeck_ledger,quarterdeck_policy,quarterdeck_readmodels,quarterdeck_graphql,quarterdeck_api,"
    "quarterdeck_workflows,quarterdeck_worker,quarterdeck_projector,quarterdeck_runtime,quarterdeck_embedded"
)


def heavy() -> str:
    """Return the packages that only the server extra brings, by their import names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [
        item.partition(">")[0].partition("[")[0].partition(",")[0]
        for item in project["optional-dependencies"]["server"]
    ]
    # What a light dependency brings along itself is there too.
    own = {"pydantic-settings": "pydantic_settings"}
    imports = [own.get(name, name.replace("-", "_")) for name in names if not name.startswith("opentelemetry")]
    return ",".join([*imports, "opentelemetry", "strawberry", SERVER_ONLY])


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process where nothing of the server can be imported."""
    return subprocess.run(
        [sys.executable, "-c", GUARD + script, heavy()], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_client_needs_nothing_of_the_server() -> None:
    """Every module of it is imported."""
    script = """
import importlib, pkgutil, quarterdeck
for module in pkgutil.iter_modules(quarterdeck.__path__):
    importlib.import_module(f"quarterdeck.{module.name}")
quarterdeck.SyncQuarterdeck("http://127.0.0.1:1", "qd_x").close()
"""
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_the_command_line_mounts_without_the_server() -> None:
    """All verbs are there, and until one runs, nothing that takes long is imported."""
    script = """
from quarterdeck_cli import main
main._mount()
assert not {"httpx", "cryptography", "quarterdeck"} & set(sys.modules), "imported before any command runs"
from typer.testing import CliRunner
result = CliRunner().invoke(main.app, ["verify", "/nowhere"])
assert result.exit_code == 2, result.output
result = CliRunner().invoke(main.app, ["whoami"], env={"QUARTERDECK_URL": "http://127.0.0.1:9", "QUARTERDECK_TOKEN": "x"})
assert result.exit_code == 3, result.output
"""
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_what_is_read_here_says_what_to_install() -> None:
    """Only that takes the server's part; everything else about the estate does without."""
    script = """
from quarterdeck_cli import main
main._mount("estate")
from typer.testing import CliRunner
there = {"QUARTERDECK_URL": "http://127.0.0.1:9", "QUARTERDECK_TOKEN": "x"}
for words in (["prompts", "."], ["mcp-stdio", "--as", "crm", "--", "true"], ["mcp", "http://127.0.0.1:9", "--as", "crm"]):
    result = CliRunner().invoke(main.app, ["estate", "import", *words, "--yes"], env=there)
    assert result.exit_code == 1, result.output
    assert "pip install 'quarterdeck[server]'" in result.output, result.output
result = CliRunner().invoke(main.app, ["estate", "list"], env=there)
assert result.exit_code == 3, result.output
"""
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_a_verb_imports_what_it_needs_alone() -> None:
    """The version needs no verb; a verb that asks a server needs none of those that run one."""
    script = """
from quarterdeck_cli import main
for words in (["--version"], ["whoami", "--help"]):
    sys.argv = ["quarterdeck", *words]
    try:
        main.run()
    except SystemExit as ended:
        assert not ended.code
    assert not {"asyncio", "quarterdeck_cli.up", "quarterdeck_cli.approvals"} & set(sys.modules), words
"""
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("quarterdeck ")
