"""A tenant's whole record as a directory of files, each in a published format, none of which needs us to be read.

`log.ndjson` proves itself (docs/verify.md); `checkpoint.txt` and `vkeys.txt` are what to check it against; `tile/` are
the tiles of the tree (C2SP tlog-tiles), as the API serves them; `events.ndjson` are the events as CloudEvents 1.0.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from quarterdeck_ledger.checkpoints import Checkpointer, SignedCheckpoint
    from quarterdeck_ledger.ledger import EventLedger
    from quarterdeck_ledger.tiles import Tile

_PAGE: Final = 1_000


async def export_tenant(ledger: EventLedger, settings: Any, tenant: str, directory: Path) -> dict[str, Any]:
    """Write the export; it appears whole or not at all. Return what is in it.

    Raises:
        AlreadyThere: something is at the directory's path.
        NotFound: the log is empty.
        LogRewound: the log does not extend what was signed last, so nothing is signed.
    """
    from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_ledger.signing import FileSigningKeys

    store = ledger.store
    assert isinstance(store, PostgresStore)  # noqa: S101  the command line has no other
    _require_free(directory)
    checkpointer = Checkpointer(
        store,
        FileSigningKeys(settings.keys / "signing"),
        PostgresCheckpoints(store.pool),
        origin=settings.origin,
        held=settings.keys / "checkpoints",
    )
    signed = await checkpointer.checkpoint(tenant)
    draft = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    draft.mkdir(mode=0o700, parents=True)
    try:
        vkeys = await _write(ledger, checkpointer, signed, tenant, settings.origin(tenant), draft)
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {"tenant": tenant, "directory": str(directory), "events": signed.size, "vkeys": vkeys}


def _require_free(directory: Path) -> None:
    from quarterdeck_ledger.archive import AlreadyThere

    if directory.exists() or directory.is_symlink():
        raise AlreadyThere(f"{directory} is there already: choose another name", target=str(directory))


async def _write(
    ledger: EventLedger, checkpointer: Checkpointer, signed: SignedCheckpoint, tenant: str, origin: str, draft: Path
) -> list[str]:
    from quarterdeck_api.log.cloudevents import encode_cloudevent
    from quarterdeck_ledger import bundle

    keys = checkpointer.vkeys(tenant)
    (draft / "checkpoint.txt").write_bytes(signed.note)
    (draft / "vkeys.txt").write_text("".join(f"{key}\n" for key in keys))
    with (draft / "log.ndjson").open("wb") as log, (draft / "events.ndjson").open("wb") as events:

        async def entries() -> AsyncIterator[Sequence[bytes]]:
            async for page in _pages(ledger, tenant, signed.size):
                events.writelines(encode_cloudevent(entry, origin) + b"\n" for entry in page)
                yield page

        async for chunk in bundle.write_full(tenant, signed.note, keys, entries()):
            log.write(chunk)
    await _write_tiles(ledger, tenant, signed.size, draft)
    return [str(key) for key in keys]


async def _pages(ledger: EventLedger, tenant: str, until: int) -> AsyncIterator[list[bytes]]:
    after = 0
    while after < until:
        found = await ledger.store.read(tenant, None, after, until, _PAGE, False)
        yield [entry for _, entry in found]
        after = found[-1][0]


async def _write_tiles(ledger: EventLedger, tenant: str, size: int, draft: Path) -> None:
    from quarterdeck_ledger.tiles import TILE_WIDTH, Tile, tiles_of

    for last in tiles_of(size):
        left = [Tile(last.level, index, TILE_WIDTH) for index in range(last.index)]
        for tile in (*left, last):
            await _write_tile(ledger, tenant, tile, draft)
            if tile.level == 0:
                await _write_tile(ledger, tenant, Tile(None, tile.index, tile.width), draft)


async def _write_tile(ledger: EventLedger, tenant: str, tile: Tile, draft: Path) -> None:
    from quarterdeck_ledger.tiles import encode_entries, encode_tile

    path = draft / tile.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    if tile.level is None:
        found = await ledger.store.read(tenant, None, tile.start, tile.stop, None, False)
        path.write_bytes(encode_entries(entry for _, entry in found))
    elif tile.level == 0:
        path.write_bytes(encode_tile(await ledger.store.leaves(tenant, tile.start, tile.stop)))
    else:
        path.write_bytes(encode_tile(await ledger.store.nodes(tenant, tile.level, tile.start, tile.stop)))
