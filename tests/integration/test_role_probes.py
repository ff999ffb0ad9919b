"""Worker and projector say whether they are at work, and which part is away. Serves DC-07 and running's readiness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from otlp_receiver import wait_until

from quarterdeck_embedded import EmbeddedTemporal, free_port
from quarterdeck_runtime.probes import NotReady, Probes


@contextlib.contextmanager
def role(name: str, home: Path, **settings: str) -> Iterator[Callable[[], tuple[int, dict[str, Any]]]]:
    """Run a role as a process; yield a function that asks whether it is ready (status 0: it does not answer)."""
    port = free_port()
    given = {
        "QUARTERDECK_DATA_DIR": str(home / "data"),
        "QUARTERDECK_PROBE_PORT": str(port),
        "QUARTERDECK_LOG_FORMAT": "json",
        **{f"QUARTERDECK_{key.upper()}": value for key, value in settings.items()},
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")} | given
    with (home / f"{name}.log").open("wb") as output:
        command = [sys.executable, "-m", "quarterdeck_cli", "serve", name]
        child = subprocess.Popen(command, env=environment, cwd=home, stdout=output, stderr=subprocess.STDOUT)

    def ask() -> tuple[int, dict[str, Any]]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    try:
        yield ask
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def _failing(found: tuple[int, dict[str, Any]]) -> set[str]:
    return {item["part"] for item in found[1].get("failing", ())}


async def _break_schema(url: str, found: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE schema_version SET version_num = $1", found)
    await connection.close()


@pytest.mark.parametrize("name", ["worker", "projector"])
def test_a_role_is_ready_until_temporal_or_the_schema_is_gone(
    name: str, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Ready with both; unready by name without either; and the process lives on."""
    url = migrated_database()
    with (
        EmbeddedTemporal(None) as temporal,
        role(name, tmp_path, database_url=url, temporal_address=temporal.address) as ask,
    ):
        wait_until(lambda: ask()[0] == 200)
        assert ask()[1] == {"status": "ready", "failing": []}
        temporal.kill()
        wait_until(lambda: ask()[0] == 503)
        assert _failing(ask()) == {"temporal"}
        asyncio.run(_break_schema(url, "9999"))
        found = ask()
        assert found[0] == 503
        assert _failing(found) == {"temporal", "database"}
        assert {item["reason"] for item in found[1]["failing"]} == {"does not answer"}


def test_a_role_without_its_database_is_alive_and_unready(tmp_path: Path) -> None:
    """It waits, and says so."""
    with role(
        "projector",
        tmp_path,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        temporal_address="127.0.0.1:1",
    ) as ask:
        wait_until(lambda: ask()[0] == 503)
        assert _failing(ask()) == {"start", "database"}


async def _asked(port: int, request: bytes) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if not request.endswith(b"\r\n"):
        writer.write_eof()
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return (int(head.split()[1]), json.loads(body)) if head else (0, {})


async def test_answers_by_path_and_method_and_nothing_to_noise() -> None:
    """Health of a process that is up; strangers hear what is wrong with their request, or nothing."""
    probes, port = Probes(), free_port()

    async def breaks() -> None:
        raise RuntimeError("postgresql://user:SECRET@db")

    async def waits() -> None:
        raise NotReady("not connected yet")

    async with probes.serving("127.0.0.1", port):
        assert await _asked(port, b"GET /healthz HTTP/1.1\r\n\r\n") == (200, {"status": "live"})
        probes.started()
        assert await _asked(port, b"GET /readyz?x=1 HTTP/1.1\r\n\r\n") == (200, {"status": "ready", "failing": []})
        probes.watch("database", breaks)
        probes.watch("temporal", waits)
        status, said = await _asked(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert (status, said["status"]) == (503, "unready")
        assert said["failing"] == [
            {"part": "database", "reason": "does not answer"},
            {"part": "temporal", "reason": "not connected yet"},
        ]
        assert (await _asked(port, b"POST /readyz HTTP/1.1\r\n\r\n"))[0] == 405
        assert (await _asked(port, b"GET /else HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await _asked(port, b"\xff\xfe\r\n\r\n"))[0] == 404
        assert await _asked(port, b"x" * 10_000) == (0, {})
        assert (await _asked(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200


async def test_a_taken_port_does_not_stop_a_role() -> None:
    """The first keeps the port; the second goes on without one."""
    port, first, second = free_port(), Probes(), Probes()
    first.started()
    async with first.serving("127.0.0.1", port), second.serving("127.0.0.1", port):
        assert (await _asked(port, b"GET /readyz HTTP/1.1\r\n\r\n"))[0] == 200
