"""Nothing is kept on a server that could lose what it acknowledged: no role starts, none stays ready. Serves DC-07."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_house import house

from quarterdeck_cli.roles import _safe
from quarterdeck_embedded import EmbeddedPostgres, process
from quarterdeck_embedded.postgres import binary
from quarterdeck_ledger.errors import UnsafeServer
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.server import check_server, is_current, wait_for_schema
from quarterdeck_runtime.probes import NotReady

SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")


class Server:
    """A migrated server that can be started again with other settings, or without checksums."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "pg"
        self._checksums = True
        self._running = EmbeddedPostgres(self._directory)

    def start(self, *off: str) -> str:
        """Start it, anew, with these settings off; return its address."""
        self.stop()
        checksums = "data_checksums" not in off
        if checksums != self._checksums:
            words = [str(binary("pg_checksums")), "--enable" if checksums else "--disable", "-D", str(self._directory)]
            done = process.run(words, unprivileged=True)
            assert done.returncode == 0, done.stderr
            self._checksums = checksums
        given = {name: "off" for name in off if name != "data_checksums"}
        self._running = EmbeddedPostgres(self._directory, settings={"shared_buffers": "16MB", **given})
        self._running.start()
        return self._running.url()

    def stop(self) -> None:
        """Stop it."""
        if self._running.pid is not None:
            self._running.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at the current schema, one for all tests."""
    made = Server(tmp_path_factory.mktemp("unsafe"))
    asyncio.run(migrate(made.start()))
    yield made
    made.stop()


@pytest.mark.parametrize("setting", [*SETTINGS, "data_checksums"])
async def test_whoever_would_write_refuses_it(server: Server, setting: str) -> None:
    """By the setting's name, at once; only to read, and so to bring away what is there, it will do."""
    url = server.start(setting)
    for attempt in (check_server(url), is_current(url), wait_for_schema(url, 60), migrate(url)):
        with pytest.raises(UnsafeServer, match=f"^{setting} is off"):
            await attempt
    with pytest.raises(UnsafeServer, match=f"^{setting} is off"):
        async with PostgresStore.open(url, size=1):
            pass
    async with PostgresStore.open(url, size=1, reading=True) as store:
        assert await store.tenants() == []


@pytest.mark.parametrize("role", ["api", "worker", "projector"])
async def test_no_role_starts_on_it(server: Server, tmp_path: Path, role: str) -> None:
    """It ends at once, and says what to do."""
    url = server.start(*SETTINGS, "data_checksums")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", "serve", role),
        env=os.environ | {"QUARTERDECK_DATABASE_URL": url, "QUARTERDECK_DATA_DIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    assert child.returncode == 1
    assert "fsync is off" in output.decode()


async def test_what_to_do_about_checksums_is_said_and_helps(server: Server) -> None:
    """`pg_checksums --enable` is all it takes."""
    url = server.start("data_checksums")
    with pytest.raises(UnsafeServer, match="pg_checksums --enable -D DIRECTORY"):
        await check_server(url)
    await check_server(server.start())


async def test_a_role_is_unready_once_its_server_comes_back_so(server: Server, tmp_path: Path) -> None:
    """Somebody turned it off meanwhile: the API and the probe of the other roles say so."""
    url = server.start()
    async with house(url, tmp_path) as api:
        assert (await api.client.get("/readyz")).status_code == 200
        await _safe(url)()
        await asyncio.to_thread(server.start, "fsync")
        async with asyncio.timeout(30):
            while "does not answer" in (answer := await api.client.get("/readyz")).text:
                pass  # the connections of before are noticed to be gone
        assert answer.status_code == 503
        assert answer.json()["failing"] == [{"part": "database", "reason": "could lose what it acknowledges"}]
        with pytest.raises(NotReady, match="could lose what it acknowledges"):
            await _safe(url)()
