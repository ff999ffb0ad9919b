"""PostgreSQL as a child process: it starts from nothing, survives every end, and serves one directory once.

Serves DC-01: the log stands on a server that needs no installation and comes back whole after kill -9.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from quarterdeck_embedded import AlreadyRunning, EmbeddedPostgres, StartFailed, StatementFailed, WrongDirectory
from quarterdeck_embedded.process import NOBODY

SMALL = {"shared_buffers": "16MB", "max_connections": "20"}
BOUND_S = 20.0
OWNER = """
import sys
from pathlib import Path
from quarterdeck_embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), settings={"shared_buffers": "16MB", "max_connections": "20"})
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that runs on a directory of this test's own."""
    with EmbeddedPostgres(tmp_path / "pg", settings=SMALL) as running:
        yield running


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Poll until the condition holds; tell whether it did in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


async def test_address_serves_a_driver_and_the_database_is_made(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url("made_on_demand"))
    try:
        assert await connection.fetchval("SELECT current_database()") == "made_on_demand"
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    finally:
        await connection.close()


def test_settings_are_durable_and_nothing_listens_on_the_network(server: EmbeddedPostgres) -> None:
    said = {
        name: server.psql(f"SHOW {name}")
        for name in (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "data_checksums",
            "wal_level",
            "jit",
            "TimeZone",
            "listen_addresses",
            "shared_buffers",
        )
    }
    assert said == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "wal_level": "replica",
        "jit": "off",
        "TimeZone": "UTC",
        "listen_addresses": "",
        "shared_buffers": "16MB",
    }
    assert server.pid is not None
    assert [c for c in psutil.Process(server.pid).net_connections(kind="inet") if c.status == psutil.CONN_LISTEN] == []


def test_only_we_may_enter(server: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert server.socket_dir.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_committed_rows_are_there_after_any_end(server: EmbeddedPostgres, end: str) -> None:
    server.psql("CREATE TABLE kept (n int)")
    server.psql("INSERT INTO kept SELECT generate_series(1, 1000)")
    getattr(server, end)()
    assert not server.is_ready()
    assert server.pid is None
    server.start()
    assert server.psql("SELECT count(*), sum(n) FROM kept") == "1000|500500"


def test_killing_the_first_process_alone_is_waited_out(server: EmbeddedPostgres) -> None:
    server.psql("CREATE TABLE kept AS SELECT 1 AS n")
    assert server.pid is not None
    busy = subprocess.Popen(  # holds a backend, which outlives the first process until it notices
        [sys.executable, "-c", _HOLD, str(server.socket_dir / ".s.PGSQL.5432")], stdout=subprocess.PIPE
    )
    try:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"in\n"
        os.kill(server.pid, signal.SIGKILL)
        with EmbeddedPostgres(server.data_dir, settings=SMALL) as again:
            assert again.psql("SELECT n FROM kept") == "1"
    finally:
        busy.kill()
        busy.communicate()


def test_an_ended_server_can_be_started_again_by_the_same_object(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert within(BOUND_S, lambda: server.pid is None)
    server.start()
    assert server.is_ready()


def test_recycled_process_id_in_the_files_of_a_crash_does_not_stop_the_start(server: EmbeddedPostgres) -> None:
    server.kill()
    stranger = subprocess.Popen(["sleep", "60"], user=NOBODY if os.geteuid() == 0 else None)  # the server's own user
    try:
        for stale in (server.data_dir / "postmaster.pid", server.socket_dir / ".s.PGSQL.5432.lock"):
            lines = stale.read_text().splitlines()
            stale.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert server.is_ready()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_second_start_on_one_directory_is_refused_and_harms_nobody(server: EmbeddedPostgres) -> None:
    begun = time.monotonic()
    with pytest.raises(AlreadyRunning, match=str(server.pid)):
        EmbeddedPostgres(server.data_dir).start()
    with pytest.raises(AlreadyRunning, match="started here before"):
        server.start()
    assert time.monotonic() - begun < 5
    assert server.psql("SELECT 1") == "1"


def test_server_started_by_hand_is_not_started_over(server: EmbeddedPostgres) -> None:
    (server.data_dir.parent / "pg.lock").unlink()  # as if it had been started without us
    with pytest.raises(AlreadyRunning, match=str(server.pid)):
        EmbeddedPostgres(server.data_dir).start()
    assert server.psql("SELECT 1") == "1"


def test_two_starts_at_once_give_one_server(tmp_path: Path) -> None:
    servers = [EmbeddedPostgres(tmp_path / "pg", settings=SMALL) for _ in range(4)]
    refused: list[AlreadyRunning] = []

    def start(server: EmbeddedPostgres) -> None:
        try:
            server.start()
        except AlreadyRunning as error:
            refused.append(error)

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(refused) == 3
        assert [server.is_ready() for server in servers if server.pid] == [True]  # and it outlived its thread
    finally:
        for server in servers:
            server.stop()


def test_long_path_gets_a_short_private_socket_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 20) / ("longer" * 10)
    with EmbeddedPostgres(deep / "pg", settings=SMALL) as server:
        assert not str(server.socket_dir).startswith(str(tmp_path))
        assert server.socket_dir.name.startswith("quarterdeck-")
        assert stat.S_IMODE(server.socket_dir.lstat().st_mode) == 0o700
        assert server.psql("SELECT 1") == "1"
    server.socket_dir.rmdir()


def test_socket_directory_planted_by_another_is_refused(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", settings=SMALL)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    server.socket_dir.symlink_to(elsewhere)
    with pytest.raises(WrongDirectory, match="remove it"):
        server.start()
    server.socket_dir.unlink()
    server.socket_dir.mkdir(mode=0o755)
    with pytest.raises(WrongDirectory, match="0700"):
        server.start()
    assert list(elsewhere.iterdir()) == []


def test_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(WrongDirectory, match="no PostgreSQL data directory"):
        EmbeddedPostgres(photos).start()
    assert [path.name for path in photos.iterdir()] == ["cat.jpg"]
    with pytest.raises(WrongDirectory, match="not a directory"):
        EmbeddedPostgres(photos / "cat.jpg").start()
    assert (photos / "cat.jpg").read_bytes() == b"cat"


def test_what_would_be_refused_is_told_without_a_start(tmp_path: Path) -> None:
    """And nothing is made of it: neither the directory nor what lies beside it."""
    server = EmbeddedPostgres(tmp_path / "pg", settings=SMALL)
    server.check()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "PG_VERSION").write_text("x")
    with pytest.raises(WrongDirectory, match="its PG_VERSION is no version: restore a backup"):
        server.check()


_ENTER = """
import os, sys
from pathlib import Path
from quarterdeck_embedded import WrongDirectory, data_directory
from quarterdeck_cli.installation import check_data_dir
if os.geteuid() == 0:
    os.setuid(65534)
for check in (check_data_dir, data_directory.check):
    try:
        check(Path(sys.argv[1]))
    except WrongDirectory as error:
        print(error)
"""


def test_directory_of_another_user_is_refused_in_words() -> None:
    """Where we may not even look into it."""
    with tempfile.TemporaryDirectory() as made:  # not below pytest's directory, which others may not enter
        Path(made).chmod(0o711)
        theirs = Path(made) / "theirs"
        theirs.mkdir(mode=0o000)
        done = subprocess.run([sys.executable, "-c", _ENTER, theirs], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [line.partition(" may not ")[2] for line in done.stdout.splitlines()] == [
        f"write in {theirs}: run as its owner, or choose another --data-dir",
        f"enter {theirs}: run as the user who made it, or choose another path",
    ]


def test_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "PG_VERSION").write_text("17\n")
    with pytest.raises(WrongDirectory, match="PostgreSQL 17, this is 18"):
        EmbeddedPostgres(old).start()


def test_half_made_directory_of_a_crashed_first_start_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "pg.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path / "pg", settings=SMALL) as server:
        assert server.is_ready()
    assert not half.exists()


def test_start_that_fails_shows_the_servers_own_words(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="shared_buffers"):
        EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "plenty"}).start()
    with EmbeddedPostgres(tmp_path / "pg", settings=SMALL) as server:
        assert server.is_ready()


def test_refused_statement_and_impossible_name_are_told_apart(server: EmbeddedPostgres) -> None:
    with pytest.raises(StatementFailed, match="nowhere"):
        server.psql("SELECT * FROM nowhere")
    with pytest.raises(ValueError, match="database name"):
        server.url('x"; DROP DATABASE postgres; --')


def test_dropped_database_is_made_anew(server: EmbeddedPostgres) -> None:
    server.url("brief")
    server.psql("CREATE TABLE gone (n int)", "brief")
    server.drop_database("brief")
    server.url("brief")
    assert server.psql("SELECT to_regclass('gone') IS NULL", "brief") == "t"


def test_nobody_listening_is_not_ready(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    assert not server.is_ready()
    server.socket_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(server.socket_dir / ".s.PGSQL.5432"))
        assert not server.is_ready()


def test_death_of_the_owner_ends_the_server_and_the_next_start_recovers(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "pg")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(family) > 3
    orphan = EmbeddedPostgres(tmp_path / "pg", settings=SMALL)
    orphan.psql("CREATE TABLE kept AS SELECT 1 AS n")
    owner.kill()
    owner.communicate()
    with orphan:  # at once: it waits for what is still on its way down
        assert orphan.psql("SELECT n FROM kept") == "1"
        assert within(BOUND_S, lambda: not any(process.is_running() for process in family))


_HOLD = """
import socket, struct, sys
words = b"user\\0postgres\\0database\\0postgres\\0\\0"
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(struct.pack("!II", 8 + len(words), 3 << 16) + words)
client.recv(4096)
query = b"SELECT pg_sleep(1)\\0"
client.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
print("in", flush=True)
client.recv(4096)
"""
