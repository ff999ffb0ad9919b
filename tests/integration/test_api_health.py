"""Health and readiness, and the headers every answer carries. Serves DC-07 and the running of section 5."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import httpx
import pytest
from api_house import House, house, settings_for
from structlog.testing import capture_logs

from quarterdeck_api.bootstrap import NotConfigured, running
from quarterdeck_api.outages import QUIET_S, Outages
from quarterdeck_embedded import EmbeddedPostgres, free_port
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.migrate import migrate
from quarterdeck_runtime.settings import Settings


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with one tenant."""
    async with house(migrated_database(), tmp_path) as made:
        yield made


async def test_a_healthy_process_lives_and_is_ready(api: House) -> None:
    """Both answer without a credential."""
    assert (await api.client.get("/healthz")).json() == {"status": "live"}
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "failing": []})


async def test_another_schema_is_not_ready(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """A database that a newer program has migrated is named as the reason."""
    url = migrated_database()
    async with house(url, tmp_path) as api:
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE schema_version SET version_num = '9999'")
        await connection.close()
        answer = await api.client.get("/readyz")
        assert answer.status_code == 503
        assert [item["part"] for item in answer.json()["failing"]] == ["schema"]
        assert "9999" in answer.json()["failing"][0]["reason"]


async def test_a_database_that_is_away_is_not_ready_and_decides_nothing(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Alive, but not ready; and a request with a good key is refused, not believed."""
    async with house(migrated_database(), tmp_path) as api:
        await api.services.ledger.store.pool.close()  # type: ignore[attr-defined]
        assert (await api.client.get("/healthz")).status_code == 200
        answer = await api.client.get("/readyz")
        assert answer.json() == {"status": "unready", "failing": [{"part": "database", "reason": "does not answer"}]}
        refused = await api.client.get("/v1/me", headers=api.bearer("acme", "admin"))
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:quarterdeck:problem:unavailable"
        assert refused.headers["retry-after"] == "1"
        assert "pool" not in refused.text


async def test_an_outage_is_two_lines_however_many_it_refuses(tmp_path: Path) -> None:
    """The first refused request and, when the database has been back for a while, how many there were."""
    postgres = EmbeddedPostgres(tmp_path / "pg")
    postgres.start()
    try:
        await migrate(postgres.url())
        async with house(postgres.url(), tmp_path / "data") as api:
            now = 0.0
            outages: Outages = api.client._transport.app.state.outages  # type: ignore[attr-defined]
            outages._monotonic = lambda: now
            await asyncio.to_thread(postgres.stop)
            with capture_logs() as lines:
                for _ in range(7):
                    refused = await api.client.get("/v1/me", headers=api.bearer("acme", "admin"))
                    assert refused.status_code == 503
                    assert (await api.client.get("/readyz")).status_code == 503
                    now += 1
            told = [(line["event"], line["log_level"]) for line in lines]
            assert told == [("request failed", "error"), ("not ready", "warning")]
            await asyncio.to_thread(postgres.start)
            with capture_logs() as lines:
                while (await api.client.get("/v1/me", headers=api.bearer("acme", "admin"))).status_code == 503:
                    pass
                assert [line for line in lines if line["event"] == "answered again"] == []
                now += QUIET_S
                for _ in range(3):
                    assert (await api.client.get("/v1/me", headers=api.bearer("acme", "admin"))).status_code == 200
            told = {line["code"]: line["failed"] for line in lines if line["event"] == "answered again"}
            assert told.keys() == {"unavailable", "not_ready"}
            assert told["unavailable"] >= 7
            assert told["not_ready"] == 7
    finally:
        await asyncio.to_thread(postgres.stop)


async def test_every_answer_carries_the_security_headers(api: House) -> None:
    """Answers, problems and unknown paths alike; and no other origin is let in."""
    for path in ("/healthz", "/v1/me", "/nowhere"):
        headers = (await api.client.get(path, headers={"Origin": "https://evil.test"})).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert not [name for name in headers if name.startswith("access-control-")]


async def test_a_served_process_answers_logs_lines_and_stops_when_told(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """The real server, from the environment alone: JSON lines, no word about itself, and a clean end on SIGTERM."""
    port = free_port()
    settings = {
        "QUARTERDECK_DATABASE_URL": migrated_database(),
        "QUARTERDECK_DATA_DIR": str(tmp_path),
        "QUARTERDECK_PORT": str(port),
        "QUARTERDECK_LOG_FORMAT": "json",
    }
    program = (
        "import asyncio; from quarterdeck_api.bootstrap import serve;"
        "from quarterdeck_runtime.settings import load_settings; asyncio.run(serve(load_settings()))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", program, env=settings, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    lines = [json.loads(await process.stderr.readline())]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while "serving" not in lines[-1]["event"]:
                lines.append(json.loads(await process.stderr.readline()))
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    answer = await client.get("/readyz")
                    break
            assert answer.json()["status"] == "ready"
            assert "server" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"Traceback" not in rest
    assert {line["role"] for line in lines} == {"api"}


async def test_it_does_not_run_without_a_database(tmp_path: Path) -> None:
    """And says which setting is missing."""
    with pytest.raises(NotConfigured, match="database_url"):
        async with running(Settings(data_dir=tmp_path)):
            pass
    with pytest.raises(Unavailable):
        async with running(settings_for("postgresql://nobody@127.0.0.1:1/none", tmp_path)):
            pass
