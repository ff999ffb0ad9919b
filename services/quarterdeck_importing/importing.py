"""Importing a registered source: read it, plan it, apply it whole or not at all, and record how that ended.

1. The log says how the source is read; the run has not ended before.
2. It is read (`fetching`), within bounds. Nothing has happened to the estate so far.
3. It is planned and applied in one append with `source.synced` (`applying`): refused if the estate, the source, the
   tenant or who asked has changed meanwhile, and then planned anew.
4. What is wrong with the source itself is recorded as `source.failed`.

A run has the id of its command: the same command again finds what it did, and does nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import QuarterdeckError, Refused
from quarterdeck_domain.estate.declaration import digest_of
from quarterdeck_domain.estate.plan import Plan
from quarterdeck_domain.estate.source_events import SourceSynced
from quarterdeck_domain.estate.source_slices import FailImport, ImportSource
from quarterdeck_domain.estate.sources import Source, SourceFold
from quarterdeck_domain.events import Actor, Event
from quarterdeck_domain.slices import boundary
from quarterdeck_importing import applying
from quarterdeck_importing.applying import Order, Progress
from quarterdeck_importing.asked import FAULTS_OF_SOURCE, Asked, SourceImported, SourceLookedAt
from quarterdeck_importing.fetching import Fetching
from quarterdeck_ledger import faults
from quarterdeck_ledger.errors import Contended
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.reader import Reader

MAX_NOTES: Final = 20
MAX_NOTE: Final = 300


class Importing:
    """Imports registered sources into the estate of whoever registered them."""

    def __init__(self, ledger: EventLedger, reader: Reader | None, fetching: Fetching) -> None:
        self._ledger = ledger
        self._reader = reader
        self.fetching = fetching

    async def plan(self, tenant: str, source_id: str, actor: Actor, *, seconds: float) -> SourceLookedAt:
        """Return what importing a source would do now. Nothing is recorded.

        Raises:
            NotFound, NotAllowed, WrongState: as `look`.
            and what `Fetching.read` and `applying.plan` raise.
        """
        source, _ = await self.look(tenant, source_id, actor)
        found = await self.fetching.read(tenant, source, seconds=seconds)
        planned, gone = await applying.plan_with_gone(
            self._ledger, self._reader, tenant, found.declaration, _notes(found.notes)
        )
        digest = await asyncio.to_thread(digest_of, found.declaration)
        return SourceLookedAt(
            source_id=source_id, digest=digest, objects=len(found.declaration.assets), gone=gone, plan=planned
        )

    async def run(self, asked: Asked, *, agreed: str | None, progress: Progress) -> SourceImported:
        """Import a source now, all of it or nothing, once a command.

        Raises:
            NotFound, NotAllowed, WrongState: as `look`, before it is read or once it is planned.
            PlanChanged, Contended, IdReused: as `applying.apply`.
            and what `Fetching.read` raises; that is recorded as `source.failed` by `failed`.
        """
        before = await self.ended(asked.tenant, asked.run)
        if before is not None:
            return before
        source, position = await self.look(asked.tenant, asked.source_id, asked.actor)
        progress("read", 0, 1)
        found = await self.fetching.read(asked.tenant, source, seconds=asked.seconds)
        progress("read", 1, 1)
        faults.point("import.read")
        digest = await asyncio.to_thread(digest_of, found.declaration)
        synced: list[SourceSynced] = []

        def also(made: Plan) -> tuple[Event, ...]:
            event = SourceSynced(
                source_id=source.source_id,
                run=asked.run,
                trigger=asked.trigger,
                said_by=source.said_by,
                digest=digest,
                plan_digest=made.digest,
                objects=len(found.declaration.assets),
                changed=bool(made.steps),
                counts=made.counts(),
                gone=len(made.gone),
                notes=_notes(found.notes),
            )
            synced[:] = [event]
            return (event,)

        async def check() -> None:
            if await self.look(asked.tenant, asked.source_id, asked.actor) != (source, position):
                raise Contended("the source was changed while it was read; import it again", source=source.source_id)

        order = Order(
            tenant=asked.tenant,
            actor=asked.actor,
            command_id=asked.command_id,
            fingerprint=asked.fingerprint,
            traceparent=asked.traceparent,
            unless=(SourceFold(source.source_id).needs(),),
            check=check,
            also=also,
        )
        done = await applying.apply(
            self._ledger, self._reader, order, found.declaration, digest=digest, agreed=agreed, progress=progress
        )
        faults.point("import.recorded")
        if not synced and (before := await self.ended(asked.tenant, asked.run)) is not None:
            return before  # the same command was carried out while this one read
        return _told(synced[0], done.position, repeated=done.repeated)

    async def failed(self, asked: Asked, error: QuarterdeckError) -> bool:
        """Record that a source could not be imported, if that is about the source; tell whether it was."""
        if not isinstance(error, FAULTS_OF_SOURCE):
            return False
        return await self.record_failure(asked, error.code, error.message)

    async def record_failure(self, asked: Asked, code: str, message: str) -> bool:
        """Record that a source could not be imported, and why; tell whether there is still such a source."""
        command = FailImport(
            source_id=asked.source_id,
            run=asked.run,
            trigger=asked.trigger,
            error=code,
            message=legible(message),
            actor=asked.actor,
        )
        context = Context(
            tenant=asked.tenant,
            actor=asked.actor,
            command_id=uuid.uuid5(asked.command_id, "failed"),
            traceparent=asked.traceparent,
        )
        try:
            await self._ledger.execute(command, context)
        except Refused:
            return False  # the source or the tenant is no more: nobody is to be told
        return True

    async def look(self, tenant: str, source_id: str, actor: Actor) -> tuple[Source, int]:
        """Return how a source is read, and the position of the event that settled it.

        Raises:
            NotFound: there is no such source.
            NotAllowed: the actor may not import it (any more).
            WrongState: the tenant is closed.
            InvalidInput: that is no source's name.
        """
        asking = ImportSource(source_id=source_id, actor=actor)
        for event in await self._ledger.read(tenant, asking.consistency_boundary()):
            asking.apply(event)
        asking.decide(await self._ledger.now())
        return asking.source.require(), asking.source.position

    async def ended(self, tenant: str, run: str) -> SourceImported | None:
        """Return what a run did, if it was recorded before."""
        found = await self._ledger.read(tenant, boundary(((SourceSynced,), (f"estate-run:{run}",))), limit=1)
        if not found or not isinstance(found[0].payload, SourceSynced):
            return None
        return _told(found[0].payload, found[0].position, repeated=True)


def _told(event: SourceSynced, position: int, *, repeated: bool) -> SourceImported:
    return SourceImported(
        source_id=event.source_id,
        run=event.run,
        position=position,
        digest=event.digest,
        plan_digest=event.plan_digest,
        objects=event.objects,
        changed=event.changed,
        counts=event.counts,
        gone=event.gone,
        notes=event.notes,
        repeated=repeated,
    )


def _notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(legible(note, limit=MAX_NOTE) for note in notes[:MAX_NOTES])
