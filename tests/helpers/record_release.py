"""Record what this release keeps, into `tests/releases/<version>/`: a backup, the keys apart, a checkpoint held, and
a dump of the database with its read models; and what its schema is made of (`schema.txt`: revision and fingerprint).

Run once before a release; what is recorded is then never made anew, and every later release must read it. Clock, ids
and keys are given, so a second run writes the same bytes. In tenant `journey` every event type happens in several
rounds, with every field filled; tenant `ended` was closed.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from release_story import beginning, chapter, end

from quarterdeck_domain import merkle
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_embedded.postgres import binary
from quarterdeck_graphql.export import SCHEMA_FILE
from quarterdeck_ledger import archive, backup, keyfile
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import MemoryKeyStore, SubjectKey
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.migrations import fingerprint, revisions
from quarterdeck_ledger.notes import Ed25519Signer, VerifierKey, encode_base64, sign_checkpoint
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.restore import restore
from quarterdeck_ledger.server import current_schema
from quarterdeck_projector import dispatcher
from quarterdeck_projector.projector import Projector

FOLDER = Path(__file__).parents[1] / "releases"
START = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
ROUNDS = 8
FIRST_CHECKPOINT = 128
ACTOR = Actor(principal="prn_00000000000000000000000000", kind="human", on_behalf_of=())


class GivenKeys(MemoryKeyStore):
    """Keys of data subjects that follow from their names."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[tuple[str, str], SubjectKey] = {}

    async def get_or_create(self, tenant: str, subject: str) -> SubjectKey:
        """Return the key of a data subject."""
        secret = _digest(f"{tenant} {subject}")
        return self.made.setdefault((tenant, subject), SubjectKey(secret.hex()[:8], secret))


class Recorded:
    """What is backed up: logs in memory, with a checkpoint in the middle and one at the end of each."""

    def __init__(self, header: backup.Header, entries: dict[str, list[bytes]]) -> None:
        self.header = header
        self._entries = entries

    async def checkpoints(self, tenant: str) -> AsyncIterator[backup.KeptCheckpoint]:
        """Yield a tenant's checkpoints."""
        for size in sizes(self._entries[tenant]):
            at = (START + timedelta(seconds=size)).isoformat()
            yield backup.KeptCheckpoint(note=note(tenant, self._entries[tenant][:size]).decode(), signed_at=at)

    async def entries(self, tenant: str) -> AsyncIterator[Sequence[bytes]]:
        """Yield a tenant's entries."""
        yield self._entries[tenant]


def sizes(entries: Sequence[bytes]) -> list[int]:
    """Return the sizes at which a log was signed."""
    return sorted({min(FIRST_CHECKPOINT, len(entries)), len(entries)})


def signing_key(tenant: str) -> Ed25519PrivateKey:
    """Return the key that signs a log."""
    return Ed25519PrivateKey.from_private_bytes(_digest(f"checkpoint {tenant}"))


def note(tenant: str, entries: Sequence[bytes]) -> bytes:
    """Return the signed checkpoint of a log."""
    root = merkle.root(merkle.append_leaves(b"", 0, map(merkle.leaf_hash, entries)), len(entries))
    origin = f"quarterdeck/{tenant}"
    return sign_checkpoint(origin, len(entries), root, [Ed25519Signer(origin, signing_key(tenant))])


async def log_of(tenant: str, payloads: Sequence[Event], keys: GivenKeys) -> list[bytes]:
    """Return the entries of a log, as the ledger records them."""
    ticks = iter(range(10**6))
    ledger = EventLedger(MemoryStore(lambda: START + timedelta(seconds=next(ticks))), keys)
    for index, payload in enumerate(payloads):
        identity = uuid.UUID(bytes=_digest(f"{tenant} {index}")[:16], version=4)
        await ledger.append(tenant, [NewEvent(id=identity, payload=payload, actor=ACTOR)])
    return [entry for _, entry in await ledger.store.read(tenant, None, 0, None, None, False)]


async def record(folder: Path) -> None:
    """Write the files of this release."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = GivenKeys()
    logs = {
        "ended": await log_of("ended", [*beginning("ended"), *chapter(0, START), *end("ended")], keys),
        "journey": await log_of("journey", [*beginning("journey"), *_rounds()], keys),
    }
    ends = [
        backup.TenantEnd(
            tenant=tenant,
            position=len(entries),
            root=encode_base64(merkle.root(merkle.append_leaves(b"", 0, map(merkle.leaf_hash, entries)), len(entries))),
            checkpoints=len(sizes(entries)),
        )
        for tenant, entries in sorted(logs.items())
    ]
    header = backup.Header(
        format="quarterdeck-backup",
        version=1,
        created_at=START.isoformat(),
        schema=current_schema(),
        release=version("quarterdeck"),
        tenants=tuple(ends),
    )
    with archive.writing(folder / "backup.qd") as writer:
        await backup.write(Recorded(header, logs), writer)
    _write_keys(folder / "keys.qd", keys, sorted(logs))
    held = logs["journey"][:FIRST_CHECKPOINT]
    (folder / "checkpoint.txt").write_bytes(note("journey", held))
    key = VerifierKey("quarterdeck/journey", signing_key("journey").public_key().public_bytes_raw())
    (folder / "vkey.txt").write_text(f"{key}\n")
    shutil.copy(SCHEMA_FILE, folder / "schema.graphql")
    (folder / "schema.txt").write_text("".join(f"{known} {fingerprint(known)}\n" for known in revisions()))


async def record_database(folder: Path, url: str) -> None:
    """Write `database.sql.gz`: an empty database at `url`, once it has what `record` wrote and has been projected."""
    await migrate(url)
    with (folder / "backup.qd").open("rb") as file:
        header = await restore(url, file)
    async with PostgresStore.open(url, size=3) as store:
        projector = Projector(store, store.pool)
        await projector.prepare()
        for end in header.tenants:
            reached = await projector.advance_to_end(end.tenant)
            assert reached == end.position
            await Followers(store.pool).advance(end.tenant, dispatcher.NAME, reached)
    # As text, with the oldest time there is: the same database is the same bytes.
    (folder / "database.sql.gz").write_bytes(gzip.compress(dump(url).encode(), mtime=0))


def dump(url: str, *options: str) -> str:
    """Return a database as SQL, without the versions of the server and of the program that wrote it down."""
    command = [str(binary("pg_dump")), "--restrict-key=quarterdeck", *options, url]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.sub(r"^-- Dumped (from|by) .*\n", "", written, flags=re.MULTILINE)


def load(url: str, text: str) -> None:
    """Fill an empty database from SQL that `dump` wrote. The roles it names must be there."""
    command = [str(binary("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d", url]
    subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.DEVNULL)


def _rounds() -> Iterator[Event]:
    for number in range(ROUNDS):
        yield from chapter(number, START)


def _write_keys(target: Path, keys: GivenKeys, tenants: Sequence[str]) -> None:
    files = [
        keyfile.KeyFile(
            path=f"signing/{tenant}/checkpoint/000001.ed25519", content=signing_key(tenant).private_bytes_raw().hex()
        )
        for tenant in tenants
    ]
    for (tenant, subject), key in sorted(keys.made.items()):
        name = hashlib.sha256(subject.encode()).hexdigest()
        files.append(keyfile.KeyFile(path=f"subjects/{tenant}/{name}", content=f"{key.id} {key.secret.hex()}"))
    with archive.writing(target) as writer:
        writer.header(
            keyfile.Header(format="quarterdeck-keys", version=1, created_at=START.isoformat(), files=len(files))
        )
        for file in files:
            writer.struct(file)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _main(folder: Path) -> None:
    for name in ("backup.qd", "keys.qd"):
        (folder / name).unlink(missing_ok=True)
    asyncio.run(record(folder))
    with tempfile.TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory) / "pg") as server:
        asyncio.run(record_database(folder, server.url()))
    print(folder)


if __name__ == "__main__":
    _main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / version("quarterdeck"))
