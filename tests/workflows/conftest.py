"""A real Temporal server and a real log for every workflow test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from gate_world import House

from quarterdeck_embedded import EmbeddedTemporal
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_workflows.client import connect


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[EmbeddedTemporal]:
    """This worker's Temporal server, its state in memory."""
    with EmbeddedTemporal(None) as server:
        yield server


@pytest.fixture
async def house(temporal_server: EmbeddedTemporal, migrated_database: Callable[[], str]) -> AsyncIterator[House]:
    """A fresh log, and a task queue of its own."""
    async with PostgresStore.open(migrated_database(), size=4) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        temporal = await connect(temporal_server.address)
        followers = Followers(store.pool)
        queue = f"queue-{uuid.uuid4()}"
        yield House(ledger, followers, temporal, Dispatcher(ledger, followers, temporal, task_queue=queue), queue)
