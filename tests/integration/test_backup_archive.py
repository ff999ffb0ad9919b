"""The backup's file: whole or refused, whatever was done to it; restored all or nothing, and the same as before.

Serves S0-10, S0-11, S0-20, S0-23; DESIGN "bytes are the truth"; RELIABILITY 3 (hostile input) and 6 (restored copies).
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import stat
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from golden_events import example
from release_story import beginning, chapter

from quarterdeck_domain.access.events import PrincipalErased, PrincipalRegistered
from quarterdeck_domain.events import Actor, NewEvent, event_id
from quarterdeck_ledger import archive, backup, keyfile
from quarterdeck_ledger.archive import AlreadyThere, InvalidArchive
from quarterdeck_ledger.backup import NewerRelease
from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.restore import NotEmpty, restore
from quarterdeck_ledger.signing import FileSigningKeys
from quarterdeck_projector import invariants
from quarterdeck_projector.invariants_log import check_log
from quarterdeck_projector.projector import Projector

TENANTS = ("acme", "beta")
ACTOR = Actor(principal="prn_1", kind="human")


def named(text: str) -> uuid.UUID:
    """Return the command id that stands for a text."""
    return uuid.uuid5(uuid.NAMESPACE_OID, text)


Databases = Callable[[], str]


async def fill(url: str, keys: Path, rounds: int = 6) -> None:
    """Record a story of every event type in two tenants, and sign both logs in between and at the end."""
    async with PostgresStore.open(url, size=2) as store:
        ledger = EventLedger(store, FileKeyStore(keys / "subjects"))
        signer = Checkpointer(
            store, FileSigningKeys(keys / "signing"), PostgresCheckpoints(store.pool), origin=lambda name: f"log/{name}"
        )
        now = await ledger.now()
        for tenant in TENANTS:
            payloads = [*beginning(tenant), *(event for n in range(rounds) for event in chapter(n, now))]
            for start in range(0, len(payloads), 100):
                page = payloads[start : start + 100]
                await ledger.append(
                    tenant,
                    [
                        NewEvent(id=event_id(named(f"{tenant}{start}"), place), payload=payload, actor=ACTOR)
                        for place, payload in enumerate(page)
                    ],
                )
                await signer.checkpoint(tenant)


async def take(url: str, target: Path, release: str = "test") -> backup.Header:
    """Back a database up."""
    async with PostgresStore.open(url, size=1) as store, backup.snapshot(store.pool, release) as found:
        with archive.writing(target) as writer:
            await backup.write(found, writer)
        return found.header


async def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the log, but for how far followers are."""
    connection = await asyncpg.connect(url)
    try:
        names = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'")
        ]
        found = {}
        for name in sorted(set(names) - {"followers"}):
            rows = await connection.fetch(f"SELECT * FROM ledger.{name}")
            found[name] = sorted((tuple(row) for row in rows), key=repr)
        return found
    finally:
        await connection.close()


@pytest.fixture
async def original(migrated_database: Databases, tmp_path: Path) -> str:
    """A database with two logs."""
    url = migrated_database()
    await fill(url, tmp_path / "keys")
    return url


def lines_of(file: Path) -> list[bytes]:
    """Return an archive's lines."""
    return gzip.decompress(file.read_bytes()).split(b"\n")[:-1]


def sealed(lines: list[bytes]) -> io.BytesIO:
    """Return an archive of these lines, with a trailer that fits them."""
    body = b"".join(line + b"\n" for line in lines)
    trailer = json.dumps({"lines": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}, separators=(",", ":"))
    return io.BytesIO(gzip.compress(body + trailer.encode() + b"\n"))


async def test_a_restored_log_is_the_same_to_the_last_row(
    original: str, migrated_database: Databases, tmp_path: Path
) -> None:
    """Entries, hashes, tags, tree, heads and checkpoints: all equal; every invariant holds; it can be appended to."""
    await take(original, tmp_path / "b.qd")
    assert stat.S_IMODE((tmp_path / "b.qd").stat().st_mode) == 0o600
    other = migrated_database()
    with (tmp_path / "b.qd").open("rb") as file:
        backup.check(file)
        header = await restore(other, file)
    before, after = await content(original), await content(other)
    assert before == after
    assert len(before["tree_nodes"]) == 2  # long enough for the tree to have stored levels
    assert {end.tenant: end.position for end in header.tenants} == dict.fromkeys(TENANTS, len(before["events"]) // 2)
    async with PostgresStore.open(other, size=3) as store:
        await Projector(store, store.pool).rebuild()
        ledger = EventLedger(store, FileKeyStore(tmp_path / "keys" / "subjects"))
        for tenant in TENANTS:
            assert [found async for found in check_log(store, tenant)] == []
            assert invariants.check_rules(tenant, await ledger.read(tenant)) == []
        assert await invariants.check_read_models(store) == []
        head = (await ledger.head("acme")).position
        placed = await ledger.append(
            "acme", [NewEvent(id=event_id(named("more"), 0), payload=example(PrincipalErased), actor=ACTOR)]
        )
        assert placed.first == head + 1
        repeated = await ledger.append(
            "acme", [NewEvent(id=event_id(named("acme0"), 0), payload=beginning("acme")[0], actor=ACTOR)]
        )
        assert (repeated.first, repeated.repeated) == (1, True)


async def test_a_backup_is_of_one_moment(original: str, tmp_path: Path) -> None:
    """What is appended while it is written is not in it, and it is whole all the same."""
    keys = FileKeyStore(tmp_path / "keys" / "subjects")
    async with PostgresStore.open(original, size=2) as store, backup.snapshot(store.pool, "test") as found:
        end = found.header.tenants[0].position
        other = EventLedger(store, keys)
        await other.append(
            "acme", [NewEvent(id=event_id(named("m"), 0), payload=example(PrincipalErased), actor=ACTOR)]
        )
        await other.append("new", [NewEvent(id=event_id(named("n"), 0), payload=beginning("new")[0], actor=ACTOR)])
        with archive.writing(tmp_path / "b.qd") as writer:
            await backup.write(found, writer)
        assert (await other.head("acme")).position == end + 1
    with (tmp_path / "b.qd").open("rb") as file:
        header = backup.check(file)
    assert [(item.tenant, item.position) for item in header.tenants] == [("acme", end), ("beta", end)]


async def test_no_plaintext_and_no_key_is_in_a_backup(original: str, tmp_path: Path) -> None:
    """Names, addresses and secrets are sealed; whoever finds the file alone reads nothing personal."""
    await take(original, tmp_path / "b.qd")
    raw = gzip.decompress((tmp_path / "b.qd").read_bytes())
    assert b"sealed:v1:" in raw
    assert b"@example.test" not in raw
    secrets = [path.read_text().rpartition(" ")[2] for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    assert len(secrets) > 10
    assert not [secret for secret in secrets if secret.encode() in raw or bytes.fromhex(secret) in raw]


async def test_random_damage_is_always_refused(original: str, migrated_database: Databases, tmp_path: Path) -> None:
    """Flipped, cut, added, doubled or swapped: in the compressed file or in its content. Nothing is ever written."""
    await take(original, tmp_path / "b.qd")
    packed, dice = (tmp_path / "b.qd").read_bytes(), random.Random(5)
    accepted = []
    for number in range(300):
        damaged = bytearray(packed)
        place = dice.randrange(12, len(packed))
        kind = number % 3
        if kind == 0:
            damaged[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del damaged[place:]
        else:
            damaged[place:place] = dice.randbytes(3)
        try:
            backup.check(io.BytesIO(bytes(damaged)))
        except InvalidArchive:
            continue
        accepted.append((kind, place))
    assert accepted == []
    other = migrated_database()
    with pytest.raises(InvalidArchive):
        await restore(other, io.BytesIO(packed[: len(packed) // 2]))
    assert all(rows == [] for rows in (await content(other)).values())


async def test_a_forged_content_is_refused_though_its_digest_fits(
    original: str, migrated_database: Databases, tmp_path: Path
) -> None:
    """Whoever can compute SHA-256 still cannot change, leave out, swap or add an entry, or move it to another tenant."""
    await take(original, tmp_path / "b.qd")
    *body, _ = lines_of(tmp_path / "b.qd")
    header = json.loads(body[0])
    first = 1 + header["tenants"][0]["checkpoints"]

    def with_header(**changes: object) -> list[bytes]:
        return [json.dumps(header | changes, sort_keys=True, separators=(",", ":")).encode(), *body[1:]]

    ends = header["tenants"]
    hostile = {
        "changed": [*body[:first], body[first].replace(b"Acme", b"Evil"), *body[first + 1 :]],
        "left out": [*body[:first], *body[first + 1 :]],
        "swapped": [*body[:first], body[first + 1], body[first], *body[first + 2 :]],
        "added": [*body, body[-1]],
        "spaced": [*body[:first], body[first].replace(b":", b": ", 1), *body[first + 1 :]],
        "not utf-8": [*body[:first], b"\xff\xfe", *body[first + 1 :]],
        "deep": [*body[:first], b"[" * 60_000 + b"]" * 60_000, *body[first + 1 :]],
        "long": [*body[:first], b'"' + b"a" * 200_000 + b'"', *body[first + 1 :]],
        "no such tenant": with_header(tenants=[ends[0] | {"tenant": "../../etc"}, ends[1]]),
        "other tenant": with_header(tenants=[ends[0] | {"tenant": "aaaa"}, ends[1]]),
        "twice": with_header(tenants=[ends[0], ends[0]]),
        "negative": with_header(tenants=[ends[0] | {"position": -1}, ends[1]]),
        "endless": with_header(tenants=[ends[0] | {"position": 2**53 - 1}, ends[1]]),
        "text for number": with_header(tenants=[ends[0] | {"position": "5"}, ends[1]]),
        "root": with_header(tenants=[ends[0] | {"root": ends[1]["root"]}, ends[1]]),
        "checkpoint": [body[0], body[1].replace(b"log/acme", b"log/beta"), *body[2:]],
        "format": with_header(format="quarterdeck-keys"),
        "version": with_header(version=2),
        "field": with_header(more=1),
        "no lines": [],
    }
    backup.check(sealed(body))
    other = migrated_database()
    for name, lines in hostile.items():
        with pytest.raises(InvalidArchive):
            backup.check(sealed(lines))
        with pytest.raises(InvalidArchive):
            await restore(other, sealed(lines))
        assert all(rows == [] for rows in (await content(other)).values()), name


async def test_an_id_that_occurs_twice_is_refused_whole(
    original: str, migrated_database: Databases, tmp_path: Path
) -> None:
    """What only the database can see (an id used twice, with roots recomputed to fit) leaves nothing behind either."""
    await take(original, tmp_path / "b.qd")
    *body, _ = lines_of(tmp_path / "b.qd")
    header = json.loads(body[0])
    (end, *_), first = header["tenants"], 1 + header["tenants"][0]["checkpoints"]
    entries = body[first : first + end["position"]]
    entries[1] = entries[1].replace(
        b'"id":"' + json.loads(entries[1])["id"].encode(), b'"id":"' + json.loads(entries[0])["id"].encode()
    )
    from quarterdeck_domain import merkle
    from quarterdeck_ledger.notes import encode_base64

    frontier = merkle.append_leaves(b"", 0, map(merkle.leaf_hash, entries))
    root = encode_base64(merkle.root(frontier, len(entries)))
    header["tenants"] = [end | {"root": root, "checkpoints": 0}]
    forged = [json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), *entries]
    backup.check(sealed(forged))
    other = migrated_database()
    with pytest.raises(InvalidArchive, match="no log can have"):
        await restore(other, sealed(forged))
    assert all(rows == [] for rows in (await content(other)).values())


async def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    """Gigabytes of zeros in a megabyte are refused at the first line that is too long."""
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as stream:
        for _ in range(256):
            stream.write(b"0" * 2**20)
    bomb.seek(0)
    with pytest.raises(InvalidArchive, match="longer than any can be"):
        backup.check(bomb)
    assert bomb.tell() < 2**20


async def test_a_newer_releases_backup_is_refused(original: str, tmp_path: Path) -> None:
    """It says which release can restore it."""
    await take(original, tmp_path / "b.qd", release="9.9.9")
    *body, _ = lines_of(tmp_path / "b.qd")
    header = json.loads(body[0]) | {"schema": "9999"}
    forged = [json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), *body[1:]]
    with pytest.raises(NewerRelease, match=r"9\.9\.9.*9999"):
        backup.check(sealed(forged))


async def test_a_log_is_never_restored_over_another(original: str, tmp_path: Path) -> None:
    """Whatever is there stays as it was."""
    await take(original, tmp_path / "b.qd")
    before = await content(original)
    with (tmp_path / "b.qd").open("rb") as file, pytest.raises(NotEmpty, match="acme, beta"):
        await restore(original, file)
    assert await content(original) == before


async def test_two_restores_at_once_are_one(original: str, migrated_database: Databases, tmp_path: Path) -> None:
    """One of them writes, the other is told that there is a log."""
    await take(original, tmp_path / "b.qd")
    other = migrated_database()
    with (tmp_path / "b.qd").open("rb") as one, (tmp_path / "b.qd").open("rb") as two:
        done = await asyncio.gather(restore(other, one), restore(other, two), return_exceptions=True)
    assert sorted(type(item).__name__ for item in done) == ["Header", "NotEmpty"]
    assert await content(other) == await content(original)


async def test_an_archive_appears_whole_or_not_at_all(original: str, tmp_path: Path) -> None:
    """Nothing is overwritten; a failure leaves no part of a file."""
    await take(original, tmp_path / "b.qd")
    with pytest.raises(AlreadyThere):
        await take(original, tmp_path / "b.qd")
    with pytest.raises(RuntimeError), archive.writing(tmp_path / "c.qd"):
        raise RuntimeError
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyThere):
        await take(original, tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.qd", "keys", "link"]


async def test_keys_are_copied_apart_and_restored_private(original: str, tmp_path: Path) -> None:
    """The same files with the same content, for the owner alone; never mixed with keys that are there."""
    keys = tmp_path / "keys"
    (keys / "subjects" / "acme" / "draft.0123").write_text("half written")
    zeroed = keys / "subjects" / "acme" / ("0" * 64)
    zeroed.write_text("0" * 73)  # being destroyed
    with archive.writing(tmp_path / "k.qd") as writer:
        counts = keyfile.write(keys, writer)
    assert stat.S_IMODE((tmp_path / "k.qd").stat().st_mode) == 0o600
    with (tmp_path / "k.qd").open("rb") as file:
        files = keyfile.read(file)
    assert keyfile.restore(files, tmp_path / "new" / "keys") == counts
    made = {
        path.relative_to(tmp_path / "new" / "keys"): path for path in (tmp_path / "new").rglob("*") if path.is_file()
    }
    assert {name: path.read_text() for name, path in made.items()} == {
        path.relative_to(keys): path.read_text()
        for path in keys.rglob("*")
        if path.is_file() and path != zeroed and "draft" not in path.name
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o600}
    assert counts.subjects > 10
    assert counts.signing == 2
    with pytest.raises(AlreadyThere):
        keyfile.restore(files, keys)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("../../etc/cron.d/evil", "a" * 64),
        ("/etc/passwd", "a" * 64),
        ("subjects/acme/../../x", "a" * 64),
        ("subjects/acme/" + "a" * 64 + "\n", "12345678 " + "a" * 64),
        ("subjects/.././" + "a" * 64, "12345678 " + "a" * 64),
        ("signing/acme/grant/000001.ed25519", "not hex"),
        ("signing/acme/shell/000001.ed25519", "a" * 64),
        ("subjects/acme/" + "a" * 64, "12345678 " + "a" * 63),
        ("checkpoints/acme.checkpoint", "nothing"),
    ],
)
def test_hostile_copies_of_keys_are_refused(tmp_path: Path, path: str, content: str) -> None:
    """No path leads out of the keys' directory, and nothing that is no key gets in."""
    header = {"created_at": "2026-01-01T00:00:00+00:00", "files": 1, "format": "quarterdeck-keys", "version": 1}
    line = json.dumps({"content": content, "path": path}, separators=(",", ":"))
    with pytest.raises(InvalidArchive):
        keyfile.read(sealed([json.dumps(header, separators=(",", ":")).encode(), line.encode()]))
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_key_is_not_left_out_in_silence(original: str, tmp_path: Path) -> None:
    """A copy that lacks a key would be found out too late."""
    victim = next((tmp_path / "keys" / "subjects" / "acme").iterdir())
    victim.write_text(victim.read_text()[:-1])
    with pytest.raises(InvalidArchive, match=victim.name), archive.writing(tmp_path / "k.qd") as writer:
        keyfile.write(tmp_path / "keys", writer)
    assert not (tmp_path / "k.qd").exists()


async def test_an_erased_person_stays_erased_in_an_older_backup(migrated_database: Databases, tmp_path: Path) -> None:
    """The backup was made while the key lived; its bytes are proven still, and nobody reads them."""
    url, keys = migrated_database(), FileKeyStore(tmp_path / "subjects")
    person = PrincipalRegistered(principal_id="prn_ada", kind="human", display_name="Ada", email="ada@example.test")
    async with PostgresStore.open(url, size=1) as store:
        ledger = EventLedger(store, keys)
        await ledger.append("acme", [NewEvent(id=event_id(named("ada"), 0), payload=person, actor=ACTOR)])
        assert (await ledger.read("acme"))[0].payload == person
    await take(url, tmp_path / "b.qd")
    assert await keys.destroy("acme", "prn_ada")
    other = migrated_database()
    with (tmp_path / "b.qd").open("rb") as file:
        await restore(other, file)
    async with PostgresStore.open(other, size=1) as store:
        (found,) = await EventLedger(store, FileKeyStore(tmp_path / "subjects")).read("acme")
        assert [item async for item in check_log(store, "acme")] == []
    assert isinstance(found.payload, PrincipalRegistered)
    assert found.payload.email is None


async def test_a_database_of_ones_own_is_backed_up_and_restored(
    original: str, fresh_database: Databases, tmp_path: Path
) -> None:
    """By the commands themselves, over its address; the new one need not even have a schema."""
    other = fresh_database()

    async def run(url: str, *words: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck_cli", *words, "--json", "--data-dir", str(tmp_path)),
            env=dict(os.environ) | {"QUARTERDECK_DATABASE_URL": url, "QUARTERDECK_LOG_ORIGIN": "log"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        found: dict[str, Any] = json.loads(out)
        return found

    made = await run(original, "backup", str(tmp_path / "b.qd"))
    assert made["sha256"] == hashlib.sha256((tmp_path / "b.qd").read_bytes()).hexdigest()
    restored = await run(other, "restore", str(tmp_path / "b.qd"))
    assert restored["tenants"] == restored["read_models"] == made["tenants"]
    assert restored["keys"] is True
    assert await content(other) == await content(original)
    assert (await run(other, "verify", "--live"))["ok"] is True


async def test_what_was_signed_after_the_backup_is_brought_back_with_the_keys(
    original: str, fresh_database: Databases, tmp_path: Path
) -> None:
    """A log is backed up first and its keys after it: the checkpoint kept beside them may be a later one."""
    async with PostgresStore.open(original, size=2) as store:
        person = PrincipalRegistered(principal_id="prn_late", kind="human", display_name="Late")
        more = [NewEvent(id=event_id(named("more"), 0), payload=person, actor=ACTOR)]
        await EventLedger(store, FileKeyStore(tmp_path / "keys" / "subjects")).append("acme", more)
        await take(original, tmp_path / "b.qd")
        signing, kept = FileSigningKeys(tmp_path / "keys" / "signing"), PostgresCheckpoints(store.pool)
        held = tmp_path / "keys" / "checkpoints"
        await Checkpointer(store, signing, kept, origin="log/{}".format, held=held).checkpoint("acme")
    other = fresh_database()

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck_cli", *words, "--data-dir", str(tmp_path)),
            env=dict(os.environ) | {"QUARTERDECK_DATABASE_URL": other, "QUARTERDECK_LOG_ORIGIN": "log"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    said = await run("restore", str(tmp_path / "b.qd"))
    assert [what for what in ("check", "log", "read models") if f"acme: {what} " not in said] == []
    answer = json.loads(await run("verify", "--live", "--json"))
    assert (answer["ok"], answer["found"]) == (True, [])


async def test_a_restore_that_is_killed_leaves_nothing(
    original: str, migrated_database: Databases, tmp_path: Path
) -> None:
    """In the middle of its rows; run again, it does it all."""
    await take(original, tmp_path / "b.qd")
    other = migrated_database()
    blocker, watcher = await asyncpg.connect(other), await asyncpg.connect(other)
    try:
        block = blocker.transaction()
        await block.start()
        await blocker.execute("LOCK TABLE ledger.tree_nodes IN EXCLUSIVE MODE")  # events and tags are written by then
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck_cli", "restore", "b.qd", "--json"),
            cwd=tmp_path,
            env=dict(os.environ) | {"QUARTERDECK_DATABASE_URL": other, "QUARTERDECK_DATA_DIR": str(tmp_path)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            while not await watcher.fetchval(_WAITING):
                await watcher.execute("SELECT pg_sleep(0.02)")
        process.kill()
        await process.wait()
        await block.rollback()
        async with asyncio.timeout(30):
            while await watcher.fetchval(_OTHERS):
                await watcher.execute("SELECT pg_sleep(0.02)")
    finally:
        await blocker.close()
        await watcher.close()
    assert all(rows == [] for rows in (await content(other)).values())
    with (tmp_path / "b.qd").open("rb") as file:
        await restore(other, file)
    found, before = await content(other), await content(original)
    assert [row[1:] for row in found["events"]] == [row[1:] for row in before["events"]]


_OTHERS = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'ledger.events'::regclass AND pid <> pg_backend_pid()"
_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%ledger.tree_nodes%'
"""
