"""Every invariant of a living installation, tenant by tenant. Whatever a check meets, the others are still made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import msgspec
from temporalio.client import Client
from temporalio.service import RPCError

from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.notes import VerifierKey
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector import invariants
from quarterdeck_projector.invariants import Violation
from quarterdeck_projector.invariants_estate import INVARIANT, check_estate
from quarterdeck_projector.invariants_log import Held, check_checkpoints, check_log, count_events
from quarterdeck_projector.projector import OtherRelease
from quarterdeck_projector.rebuild import Rebuilding
from quarterdeck_readmodels.reader import NO_TABLES

ALL: Final = "*"
"""Stands for the tenant where a check is of all of them."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tenant's log apart from the database: keys that sign it, checkpoints that were kept."""

    keys: Sequence[VerifierKey] = ()
    held: Sequence[Held] = ()


async def check_all(
    store: PostgresStore, trust: Mapping[str, Trust], temporal: Client | None
) -> tuple[int, list[Violation]]:
    """Return how many events there are, and what does not hold. Gates are checked where there is a `temporal`.

    A tenant of which somebody holds a checkpoint is one, whether or not the database still knows it.

    Raises:
        Unavailable: the database does not answer, or went away.
    """
    found: list[Violation] = []
    count = 0
    for tenant in sorted({*await store.tenants(), *trust}):
        known = trust.get(tenant, Trust())
        found += await _tried(tenant, "I4", check_log(store, tenant, known.held))
        found += await _tried(tenant, "I4", _checkpoints(store, tenant, known))
        found += await _tried(tenant, "I5", _meaning(store, tenant))
        found += await _tried(tenant, INVARIANT, check_estate(store, tenant))
        if temporal is not None:
            found += await _tried(tenant, "I8", _gates(store, tenant, temporal))
        found += await _tried(tenant, "I8", _followers(store, tenant))
        count += await _count(store, tenant)
    found += await _tried(ALL, "I9", _read_models(store))
    return count, found


async def _count(store: PostgresStore, tenant: str) -> int:
    try:
        return await count_events(store, tenant)
    except Unavailable as error:
        if not _damaged(error):
            raise
        return 0  # the checks have told of it


async def _checkpoints(store: PostgresStore, tenant: str, trust: Trust) -> AsyncIterator[Violation]:
    for violation in await check_checkpoints(store, tenant, trust.keys, trust.held):
        yield violation


async def _meaning(store: PostgresStore, tenant: str) -> AsyncIterator[Violation]:
    events, unreadable = await invariants.ruled(store, tenant)
    for violation in (*unreadable, *invariants.check_rules(tenant, events), *invariants.stuck(tenant, events)):
        yield violation


async def _gates(store: PostgresStore, tenant: str, temporal: Client) -> AsyncIterator[Violation]:
    events, _ = await invariants.ruled(store, tenant)
    try:
        for violation in await invariants.check_gates(store, temporal, tenant, events):
            yield violation
    except RPCError as error:
        what = f"gates were not checked, as Temporal does not answer: {error}"
        yield Violation(invariant="I12", tenant=tenant, what=what)


async def _followers(store: PostgresStore, tenant: str) -> AsyncIterator[Violation]:
    for violation in await invariants.check_followers(store, tenant):
        yield violation


async def _read_models(store: PostgresStore) -> AsyncIterator[Violation]:
    try:
        for violation in await invariants.check_read_models(store):
            yield violation
    except NO_TABLES:
        what = "there are no read models yet: the projector makes them when it starts"
        yield Violation(invariant="I12", tenant=ALL, what=what)
    except (Rebuilding, OtherRelease) as error:
        what = f"read models were not compared with a rebuild: {error.message}"
        yield Violation(invariant="I12", tenant=ALL, what=what)


async def _tried(tenant: str, invariant: str, check: AsyncIterator[Violation]) -> list[Violation]:
    """Return what a check finds. That it breaks down is a finding too, unless the database is what is gone."""
    found: list[Violation] = []
    try:
        async for violation in check:
            found.append(violation)  # noqa: PERF401  what it found before it broke down counts
    except Exception as error:
        # Class XX is PostgreSQL's word for damage: a page whose checksum is wrong, an index that contradicts its table.
        if isinstance(error, Unavailable | OSError) and not _damaged(error):
            raise
        what = f"the check broke down on what it found: {type(error).__name__}: {error}"
        found.append(Violation(invariant=invariant, tenant=tenant, what=what))
    return found


def _damaged(error: BaseException) -> bool:
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state.startswith("XX")
