"""What waits in every tenant, as the projector shows it to a collector. Serves the telemetry of running, S0-51."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import TENANT, Journey, journey

from quarterdeck_ledger import instruments
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.dispatcher import NAME
from quarterdeck_projector.levels import Levels

REFUND = {"amount": "500.00", "currency": "EUR"}


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket, in which nothing dispatches."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


def levels_of(there: Journey) -> tuple[Levels, PostgresStore]:
    """Return the levels of a house, and its store."""
    store = there.house.services.ledger.store
    assert isinstance(store, PostgresStore)
    return Levels(store, Followers(store.pool)), store


async def test_levels_tell_what_is_there(there: Journey) -> None:
    """Nothing at first; then an open gate, a parked event, a dead letter, an unknown effect; then lag and age."""
    levels, store = levels_of(there)
    await there.projected()
    before = {level: values.get(TENANT) for level, values in (await levels.look()).items()}
    waiting = (
        instruments.GATES_OPEN,
        instruments.PARKED_EVENTS,
        instruments.DEAD_LETTERS,
        instruments.EFFECTS_UNKNOWN,
    )
    assert [before[level] for level in waiting] == [0, 0, 0, 0]
    await there.stick()
    async with there.client() as bot:
        decision = await bot.ask("refund", "order:2", properties=REFUND)
        task = await bot.request_approval(decision)
        await there.decide(task.id)
        effect = await bot.redeem(await bot.grant(await bot.wait(task, 10)), decision.intent)
        await bot.report(effect, "unknown", "the line went dead")
    await there.projected()
    head = (await store.head(TENANT)).position
    await Followers(store.pool).advance(TENANT, NAME, head - 5)
    await there.house.services.checkpointer.checkpoint(TENANT)
    after = {level: values.get(TENANT) for level, values in (await levels.look()).items()}
    assert [after[level] for level in waiting] == [1, 1, 1, 1]
    assert after[instruments.DISPATCHER_LAG] == 5
    assert after[instruments.PROJECTOR_LAG] == 0
    assert after[instruments.PROJECTOR_STOPPED] == 0
    age = after[instruments.CHECKPOINT_AGE]
    assert age is not None
    assert 0 <= age < 60


async def test_levels_of_a_database_that_is_away_are_not_shown(there: Journey) -> None:
    """Absent, not stale; and the looking goes on."""
    levels, store = levels_of(there)
    levels.show(await levels.look())
    assert instruments.GATES_OPEN.values[TENANT] == 0
    await store.pool.close()
    with pytest.raises(Unavailable):
        await levels.look()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await levels.run(0.01)
    assert not instruments.GATES_OPEN.values
