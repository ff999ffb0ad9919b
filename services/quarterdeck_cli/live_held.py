"""Whether a living log still extends every checkpoint that somebody kept of it, here or elsewhere.

It is the one thing that shows an older copy in a log's place: whatever is in such a copy agrees with itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck_domain.errors import InvalidInput

if TYPE_CHECKING:
    from quarterdeck_ledger.checkpoints import Checkpointer
    from quarterdeck_ledger.notes import VerifierKey
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_projector.invariants import Violation


async def check_held(
    store: PostgresStore, settings: Any, given: Sequence[Path], vkeys: Sequence[str]
) -> list[Violation]:
    """Return what contradicts the checkpoints in `given` files and those that this installation keeps beside its keys.

    Raises:
        InvalidInput: a given file is no checkpoint of a log named as these are, or signed by no key known for it.
    """
    from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
    from quarterdeck_ledger.notes import VerifierKey, parse_vkey
    from quarterdeck_ledger.signing import FileSigningKeys

    signing = FileSigningKeys(settings.keys / "signing")
    checkpointer = Checkpointer(store, signing, PostgresCheckpoints(store.pool), origin=settings.origin)
    found: list[Violation] = []
    for path in given:
        note, tenant = _read(path, settings)
        origin = settings.origin(tenant)
        # Not `checkpointer.vkeys`: checking makes no key where there is none.
        keys = [VerifierKey(origin, key.public) for key in signing.all(tenant, "checkpoint")]
        found += await _check(checkpointer, store, tenant, note, str(path), [*keys, *map(parse_vkey, vkeys)])
    for path in sorted((settings.keys / "checkpoints").glob("*.checkpoint")):
        found += await _check(checkpointer, store, path.stem, path.read_bytes(), str(path), None)
    return found


async def _check(
    checkpointer: Checkpointer,
    store: PostgresStore,
    tenant: str,
    note: bytes,
    where: str,
    keys: Iterable[VerifierKey] | None,
) -> list[Violation]:
    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_ledger.notes import parse_checkpoint, parse_note, verify_checkpoint
    from quarterdeck_projector.invariants import Violation

    try:
        held = parse_checkpoint(parse_note(note).text)
    except QuarterdeckError as error:
        return [Violation(invariant="I4", tenant=tenant, what=f"{where} is no checkpoint: {error.message}")]
    if keys is not None:
        try:
            verify_checkpoint(note, keys, origin=held.origin)
        except QuarterdeckError as error:
            raise InvalidInput(f"{where} cannot be believed: {error.message} (give the log's --vkey)") from None
    position = (await store.head(tenant)).position
    if held.size > position:
        what = (
            f"the log went back: {where} says that it had {held.size:,} events, it has {position:,}. "
            "An older copy was put in its place"
        )
    elif await checkpointer.root(tenant, held.size) != held.root:
        what = f"the log was rewritten: its first {held.size:,} events are not those that {where} commits to"
    else:
        return []
    return [Violation(invariant="I4", tenant=tenant, what=what, position=min(held.size, position))]


def _read(path: Path, settings: Any) -> tuple[bytes, str]:
    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_domain.ids import check_tenant
    from quarterdeck_ledger.notes import parse_checkpoint, parse_note

    try:
        note = path.read_bytes()
        origin = parse_checkpoint(parse_note(note).text).origin
        tenant = check_tenant(origin.rpartition("/")[2])
    except (OSError, QuarterdeckError, ValueError) as error:
        raise InvalidInput(f"{path} is no checkpoint: {error}") from None
    if settings.origin(tenant) != origin:
        raise InvalidInput(f"{path} is of {origin}; the logs here are called {settings.origin('<tenant>')}")
    return note, tenant
