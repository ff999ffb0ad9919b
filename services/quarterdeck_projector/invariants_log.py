"""The invariants of one log, from its bytes up: nothing that is stored beside them is believed.

I1-I3 positions, ids, times · I4 hashes, columns, tags, tree, checkpoints · I10 tenants. Whatever is damaged is a
violation and never an error: what can be checked beside it still is. Behind a missing event no root can be recomputed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_domain import merkle
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.entry import Entry, parse_entry, tag_key
from quarterdeck_ledger.notes import VerifierKey, parse_checkpoint, parse_note, verify_checkpoint
from quarterdeck_ledger.postgres import PostgresStore, translated
from quarterdeck_ledger.store import StoredHead
from quarterdeck_projector.invariants import Violation

_PAGE: Final = 1_000
_KEPT: Final = ("id", "type", "recorded_at")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is kept apart from the database: what was said of the first `size` events, and where."""

    size: int
    root: bytes
    where: str
    ours: bool
    """Whether this installation keeps it itself: then the database must have it too."""


async def check_log(store: PostgresStore, tenant: str, held: Sequence[Held] = ()) -> AsyncIterator[Violation]:
    """I1-I4 and I10: the bytes, what is derived from them in the same append, and every root that was signed."""
    check = _Check(tenant, await _signed(store, tenant), held)
    head = StoredHead()
    while True:
        page = await store.read(tenant, None, check.last, None, _PAGE, False)
        if not page:
            if head.position > check.last:
                break  # it was not there a moment ago either
            head = await store.head(tenant)
            if head.position <= check.last:
                break
            continue  # it has grown since: what the head counts must be there now
        columns = await _columns(store, tenant, check.last, page[-1][0])
        tags = await _tags(store, tenant, check.last, page[-1][0])
        for position, raw in page:
            for violation in check.event(position, raw, columns.get(position), tags.get(position, set())):
                yield violation
    for violation in check.end(head, await store.now()):
        yield violation
    async for what in _derived(store, tenant, check):
        yield check.broken("I4", what)


async def check_checkpoints(
    store: PostgresStore, tenant: str, keys: Sequence[VerifierKey], held: Sequence[Held] = ()
) -> list[Violation]:
    """I4: every checkpoint in the database says what is stored beside it, and a key of the log's signed it.

    `keys` are those of the log under whatever name: it may have been called otherwise when a checkpoint was signed.
    Without any, signatures cannot be checked; that, and that nothing was ever signed, is worth knowing (I12).
    """
    rows = await _within(store, tenant, "SELECT size, root, note FROM ledger.checkpoints WHERE tenant_id = $1")
    amiss: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        why = _fault(row["size"], row["root"], row["note"].encode(), keys)
        if why is not None:
            amiss[why].append(row["size"])
    found = [Violation(invariant="I4", tenant=tenant, what=f"{_sizes(sizes)}: {why}") for why, sizes in amiss.items()]
    there = {(row["size"], row["root"]) for row in rows}
    for mine in held:
        if mine.ours and (mine.size, mine.root) not in there:
            what = f"the checkpoint of size {mine.size} at {mine.where} was signed, and the database has it no more"
            found.append(Violation(invariant="I4", tenant=tenant, what=what))
    if rows and not keys:
        what = f"{_sizes([row['size'] for row in rows])}: signatures were not checked, as no key of the log is here"
        found.append(Violation(invariant="I12", tenant=tenant, what=what))
    if not rows and not held and (await store.head(tenant)).position:
        what = "no checkpoint was ever signed: nothing commits the log to what it says"
        found.append(Violation(invariant="I12", tenant=tenant, what=what))
    return found


async def count_events(store: PostgresStore, tenant: str) -> int:
    """Return how many events there are, whatever the head says."""
    (row,) = await _within(store, tenant, "SELECT count(*) AS events FROM ledger.events WHERE tenant_id = $1")
    return int(row["events"])


class _Check:
    """What was read of a log so far."""

    def __init__(self, tenant: str, signed: dict[int, set[bytes]], held: Sequence[Held]) -> None:
        self.tenant = tenant
        self.last = 0
        self.size = 0
        """How many events the tree stands over: those before the first that is missing."""
        self.nodes: dict[merkle.Node, bytes] = {}
        self._signed = signed
        self._held = sorted(held, key=lambda item: item.size)
        self._roots = dict.fromkeys((*signed, *(item.size for item in held)), b"") | {0: merkle.EMPTY_ROOT}
        self._frontier = b""
        self._ids: set[str] = set()
        self._before: datetime | None = None

    def broken(self, invariant: str, what: str, position: int | None = None) -> Violation:
        return Violation(invariant=invariant, tenant=self.tenant, what=what, position=position)

    def event(self, position: int, raw: bytes, columns: tuple[Any, ...] | None, tags: set[str]) -> Iterator[Violation]:
        """Check the next event."""
        first = self.last + 1
        if position > first:
            missing = f"event {first} is" if position == first + 1 else f"events {first} to {position - 1} are"
            yield self.broken("I3", f"{missing} missing", first)
        leaf = hashlib.sha256(b"\x00" + raw).digest()
        if position == self.size + 1:
            self._frontier, completed = merkle.append_leaves_and_nodes(self._frontier, self.size, [leaf])
            self.nodes.update(completed)
            self.size += 1
            if self.size in self._roots:
                self._roots[self.size] = merkle.root(self._frontier, self.size)
        self.last = position
        *kept, stored_leaf = columns or (None,) * (len(_KEPT) + 1)
        if stored_leaf != leaf:
            yield self.broken("I4", "the stored leaf hash is not that of the bytes", position)
        try:
            entry, keys = _read(raw)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            yield self.broken("I4", f"the bytes are no entry: {error}", position)
            return
        for invariant, what in self._entry(position, entry):
            yield self.broken(invariant, what, position)
        for name, told, found in zip(_KEPT, (entry.id, entry.type, entry.recorded_at), kept, strict=True):
            if told != found:
                yield self.broken("I4", f"the stored {name} is not that of the bytes", position)
        if keys != tags:
            yield self.broken("I4", "the indexed tags are not those of the bytes", position)

    def _entry(self, position: int, entry: Entry) -> Iterator[tuple[str, str]]:
        if entry.position != position:
            yield "I3", f"it stands at {position}, its bytes say {entry.position}"
        if str(entry.id) in self._ids:
            yield "I2", f"id {entry.id} occurs twice"
        self._ids.add(str(entry.id))
        if self._before is not None and entry.recorded_at < self._before:
            yield "I3", "recorded_at decreases"
        self._before = entry.recorded_at
        if entry.tenant != self.tenant:
            yield "I10", f"the entry belongs to {entry.tenant}"

    def end(self, head: StoredHead, now: datetime) -> Iterator[Violation]:
        """Check what only the whole log shows: its head, its clock, and every root that was signed."""
        if head.position != self.last:
            there = f"there are {self.last} events" if self.last == self.size else f"the last event is {self.last}"
            yield self.broken("I3", f"the head says {head.position}, {there}", min(head.position, self.last) + 1)
        elif self.last == self.size and list(head.frontier) != merkle.split_frontier(self._frontier, self.size):
            yield self.broken("I4", "the head's root is not that of the bytes")
        if self._before is not None and head.position and head.recorded_at != self._before:
            yield self.broken("I3", f"the head says {head.recorded_at}, the last event {self._before}")
        if self._before is not None and self._before > now:
            yield self.broken("I3", f"the last event is of {self._before}, which has not come yet")
        yield from self._checkpoints()
        for item in self._held:
            what = self._contradicts(item)
            if what is not None:
                yield self.broken("I4", what, min(item.size, self.last))

    def _checkpoints(self) -> Iterator[Violation]:
        for size in sorted(size for size in self._signed if size <= self.size):
            if self._signed[size] != {self._roots[size]}:
                yield self.broken("I4", f"a checkpoint of size {size} was signed over another root", size)
        if beyond := [size for size in self._signed if size > self.last]:
            yield self.broken("I4", f"{_sizes(beyond)}: signed, and {self.last} events are left", self.last)
        if lost := [size for size in self._signed if self.size < size <= self.last]:
            yield self.broken("I4", f"{_sizes(lost)}: no root can be recomputed, as events are missing", self.size + 1)

    def _contradicts(self, held: Held) -> str | None:
        if held.size > self.last:
            return (
                f"the log went back: {held.where} says that it had {held.size:,} events, it has {self.last:,}. "
                "Its end was cut off, or an older copy was put in its place"
            )
        if held.size > self.size:
            return f"of the first {held.size:,} events that {held.where} commits to, some are missing"
        if self._roots[held.size] != held.root:
            return f"the log was rewritten: its first {held.size:,} events are not those that {held.where} commits to"
        return None


def _read(raw: bytes) -> tuple[Entry, set[str]]:
    entry = parse_entry(raw)
    if entry.recorded_at.tzinfo is None:
        raise ValueError("its time has no zone")
    return entry, {tag_key(tag) for tag in entry.tags}


def _fault(size: int, root: bytes, note: bytes, keys: Iterable[VerifierKey]) -> str | None:
    """Return what is wrong with a stored checkpoint, in words that are the same for all that have that wrong."""
    try:
        said = parse_checkpoint(parse_note(note).text)
    except QuarterdeckError as error:
        return f"the note is none: {error.message}"
    if (said.size, said.root) != (size, root):
        return "the note says another size or root"
    named = [VerifierKey(said.origin, key.public_key, key.type) for key in keys]
    try:
        if named:
            verify_checkpoint(note, named)
    except QuarterdeckError as error:
        return f"{error.message} (if the log was restored without its keys, give the one it had: --vkey)"
    return None


def _sizes(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"a checkpoint of size {sizes[0]}"
    return f"{len(sizes)} checkpoints of sizes {min(sizes)} to {max(sizes)}"


async def _signed(store: PostgresStore, tenant: str) -> dict[int, set[bytes]]:
    found: defaultdict[int, set[bytes]] = defaultdict(set)
    for row in await _within(store, tenant, "SELECT size, root FROM ledger.checkpoints WHERE tenant_id = $1"):
        found[row["size"]].add(row["root"])
    return found


async def _columns(store: PostgresStore, tenant: str, after: int, until: int) -> dict[int, tuple[Any, ...]]:
    statement = """SELECT position, id, type, recorded_at, leaf_hash FROM ledger.events
        WHERE tenant_id = $1 AND position > $2 AND position <= $3"""
    return {row["position"]: tuple(row)[1:] for row in await _within(store, tenant, statement, after, until)}


async def _tags(store: PostgresStore, tenant: str, after: int, until: int) -> dict[int, set[str]]:
    statement = "SELECT position, tag FROM ledger.tags WHERE tenant_id = $1 AND position > $2 AND position <= $3"
    found: defaultdict[int, set[str]] = defaultdict(set)
    for row in await _within(store, tenant, statement, after, until):
        found[row["position"]].add(row["tag"].hex)
    return found


async def _derived(store: PostgresStore, tenant: str, check: _Check) -> AsyncIterator[str]:
    """Yield what is wrong with the stored nodes of the tree, and with tags of events that do not exist."""
    found = await _within(store, tenant, "SELECT level, index, hash FROM ledger.tree_nodes WHERE tenant_id = $1")
    stored = {(row["level"] * merkle.TILE_HEIGHT, row["index"]): row["hash"] for row in found}
    for level, index in sorted({*check.nodes, *stored}):
        # What has been completed since is checked the next time.
        if (index + 1) << level <= check.size and stored.get((level, index)) != check.nodes.get((level, index)):
            yield f"the stored node {index} of level {level} is not that of the bytes"
    statement = """SELECT t.position FROM ledger.tags t JOIN ledger.heads h USING (tenant_id)
        WHERE t.tenant_id = $1 AND t.position > h.position LIMIT 1"""
    for row in await _within(store, tenant, statement):
        yield f"a tag is indexed for position {row['position']}, where no event is"
    statement = """SELECT n.level, n.index FROM ledger.tree_nodes n JOIN ledger.heads h USING (tenant_id)
        WHERE n.tenant_id = $1 AND (n.index + 1) * power(256, n.level) > h.position LIMIT 1"""
    for row in await _within(store, tenant, statement):
        yield f"the tree has node {row['index']} of level {row['level'] * merkle.TILE_HEIGHT}, which is not complete"


async def _within(store: PostgresStore, tenant: str, statement: str, *arguments: Any) -> list[Any]:
    async with translated(), store.pool.acquire() as connection, connection.transaction():
        tenant_id = await connection.fetchval("SELECT ledger.enter($1)", tenant)
        rows: list[Any] = await connection.fetch(statement, tenant_id, *arguments)
    return rows
