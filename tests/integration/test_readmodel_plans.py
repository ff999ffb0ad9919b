"""Every page is found by an index, under row-level security and without statistics. Serves DC-06, S0-120."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import schema, selects
from quarterdeck_readmodels.approvals import Approval
from quarterdeck_readmodels.catalogue import ROWS
from quarterdeck_readmodels.schema import LIVE, hashed
from quarterdeck_readmodels.tables import columns

_NARROWED = [(row, name) for row in ROWS for name in row.filters if columns(row)[name] != "jsonb"]


async def explained(connection: Any, query: str) -> list[str]:
    """Return the generic plan of a query, a line each. Its parameters are named by SQL's own PREPARE."""
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE page AS {query}")
    nothing = ", ".join("NULL" for _ in set(re.findall(r"\$\d+", query)))
    plan = [line[0] for line in await connection.fetch(f"EXPLAIN EXECUTE page ({nothing})")]
    await connection.execute("DEALLOCATE page")
    return plan


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_a_narrowed_page_searches_by_its_hash(migrated_database: Callable[[], str], then: bool) -> None:
    """The hash is part of the search, not looked at afterwards in every row that there is."""
    async with PostgresStore.open(migrated_database()) as store:
        await Projector(store, store.pool).prepare()
        async with store.pool.acquire() as connection, connection.transaction():
            await schema.enter(connection, LIVE, "acme")
            for row, name in _NARROWED:
                for newest_first in (False, True):
                    query = selects.page(LIVE, row, (name,), then=then, newest_first=newest_first)
                    plan = await explained(connection, query)
                    searched = [line for line in plan if "Index Cond" in line]
                    where = "\n".join((row.table, name, *plan))
                    assert len(searched) == (2 if then else 1), where
                    assert all(f"({hashed(name)} = " in line for line in searched), where
                    assert not any("Seq Scan" in line for line in plan), where


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_a_whole_page_walks_an_index(migrated_database: Callable[[], str], then: bool) -> None:
    """In the order of the page: nothing is sorted, nothing is read that is not shown."""
    async with PostgresStore.open(migrated_database()) as store:
        await Projector(store, store.pool).prepare()
        async with store.pool.acquire() as connection, connection.transaction():
            await schema.enter(connection, LIVE, "acme")
            for row in ROWS:
                query = selects.page(LIVE, row, (), then=then, newest_first=True)
                plan = await explained(connection, query)
                assert sum("Index Cond" in line for line in plan) == (2 if then else 1), (row.table, *plan)
                assert not any("Seq Scan" in line or "Sort" in line for line in plan), (row.table, *plan)


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_everything_that_matches_is_found_value_by_value(
    migrated_database: Callable[[], str], then: bool
) -> None:
    """Thousands of values are not compared with every row there is, as they were before there were statistics."""
    async with PostgresStore.open(migrated_database()) as store:
        await Projector(store, store.pool).prepare()
        async with store.pool.acquire() as connection, connection.transaction():
            await schema.enter(connection, LIVE, "acme")
            for row, name in _NARROWED:
                plan = await explained(connection, selects.matching(LIVE, row, name, then=then))
                searched = [line for line in plan if "Index Cond" in line]
                where = "\n".join((row.table, name, *plan))
                assert len(searched) == (2 if then else 1), where
                assert all(f"({hashed(name)} = " in line for line in searched), where
                assert not any("Seq Scan" in line or "Join Filter" in line for line in plan), where


async def test_statistics_do_not_lead_a_narrowed_page_astray(migrated_database: Callable[[], str]) -> None:
    """Where nearly all rows have one value, a question for another value still goes by its own index."""
    async with PostgresStore.open(migrated_database()) as store:
        await Projector(store, store.pool).prepare()
        async with store.pool.acquire() as connection:
            async with connection.transaction():
                await schema.enter(connection, LIVE, "acme")
                await connection.execute(
                    f"""INSERT INTO {LIVE}.approvals (tenant_id, id, created_position, from_position, status)
                        SELECT 'acme', 'apr_' || n, n, n, 'approved' FROM generate_series(1, 5000) n"""
                )
            await connection.execute(f"ANALYZE {LIVE}.approvals")
            async with connection.transaction():
                await schema.enter(connection, LIVE, "acme")
                query = selects.page(LIVE, Approval, ("status",), then=False, newest_first=True)
                plan = "\n".join(await explained(connection, query))
                assert "using approvals_status_now" in plan, plan
