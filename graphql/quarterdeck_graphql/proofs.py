"""The log's proofs: a signed checkpoint, and the hashes that lead from an event, or from an older checkpoint, to it.

Source: C2SP tlog-checkpoint; RFC 6962 section 2.1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import Base64

from quarterdeck_domain import merkle
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.context import Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.scalars import Position


@strawberry.type(description="What the log commits to: the root over its first `size` events, signed.")
class Checkpoint:
    size: Position = strawberry.field(description="How many events it covers.")
    root_hash: Base64 = strawberry.field(description="The RFC 6962 root over them.")
    signed_at: datetime = strawberry.field(description="When it was signed, by the database's clock.")
    note: str = strawberry.field(description="The signed note (C2SP tlog-checkpoint): keep this.")


@strawberry.type(description="The proof that an event is in the log.")
class InclusionProof:
    position: Position = strawberry.field(description="The event's place.")
    leaf_hash: Base64 = strawberry.field(description="The RFC 6962 hash of the event's entry.")
    size: Position = strawberry.field(description="How many events the tree has that it is proven in.")
    root_hash: Base64 = strawberry.field(description="The root of that tree.")
    hashes: list[Base64] = strawberry.field(description="The proof, from the leaf upwards.")


@strawberry.type(description="The proof that a log of some size is the beginning of a longer one.")
class ConsistencyProof:
    from_: Position = strawberry.field(name="from", description="The size of the older log.")
    to: Position = strawberry.field(description="The size of the longer log.")
    from_root_hash: Base64 = strawberry.field(description="The root of the older log.")
    to_root_hash: Base64 = strawberry.field(description="The root of the longer log.")
    hashes: list[Base64] = strawberry.field(description="The proof.")


@strawberry.type(description="The tenant's log as a transparency log.")
class Log:
    @resolver("A checkpoint of the whole log as it is now, signed unless it was already.")
    async def checkpoint(self, info: Info) -> Checkpoint:
        context = info.context
        found = await context.checkpointer.checkpoint(context.tenant)
        return Checkpoint(
            size=Position(found.size),
            root_hash=Base64(found.root),
            signed_at=found.signed_at,
            note=found.note.decode(),
        )

    @resolver("Public keys that checkpoints are verified with, oldest first (C2SP vkey texts).")
    def verifier_keys(self, info: Info) -> list[str]:
        return [str(key) for key in info.context.checkpointer.vkeys(info.context.tenant)]

    @resolver("The proof that the event at a position is among the first `size`.")
    async def inclusion_proof(
        self,
        info: Info,
        position: Annotated[Position, strawberry.argument(description="The event's place, from 1.")],
        size: Annotated[
            Position | None, strawberry.argument(description="The size of the tree; left out: the whole log.")
        ] = None,
    ) -> InclusionProof:
        context = info.context
        proofs, tenant = context.checkpointer, context.tenant
        whole = size if size is not None else (await context.log.head(tenant)).position
        if not 1 <= position <= whole:
            raise InvalidInput(f"there is no event {position} among the first {whole}", position=position, size=whole)
        hashes = await proofs.inclusion(tenant, position, whole)
        (leaf,) = await context.log.store.leaves(tenant, position - 1, position)
        return InclusionProof(
            position=position,
            leaf_hash=Base64(leaf),
            size=Position(whole),
            root_hash=Base64(await proofs.root(tenant, whole)),
            hashes=[Base64(item) for item in hashes],
        )

    @resolver("The proof that the first `from` events are the beginning of the first `to`.")
    async def consistency_proof(
        self,
        info: Info,
        from_: Annotated[Position, strawberry.argument(name="from", description="The size you hold a checkpoint of.")],
        to: Annotated[
            Position | None, strawberry.argument(description="The size of the longer log; left out: the whole log.")
        ] = None,
    ) -> ConsistencyProof:
        context = info.context
        proofs, tenant = context.checkpointer, context.tenant
        whole = to if to is not None else (await context.log.head(tenant)).position
        if from_ > whole:
            raise InvalidInput(f"{from_} events are not the beginning of {whole}", **{"from": from_, "to": whole})
        hashes = await proofs.consistency(tenant, from_, whole)
        return ConsistencyProof(
            from_=from_,
            to=Position(whole),
            from_root_hash=Base64(await proofs.root(tenant, from_) if from_ else merkle.EMPTY_ROOT),
            to_root_hash=Base64(await proofs.root(tenant, whole)),
            hashes=[Base64(item) for item in hashes],
        )
