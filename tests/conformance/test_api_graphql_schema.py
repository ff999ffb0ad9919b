"""The API against its own GraphQL schema, by schemathesis: generated questions and commands, several seeds.

No fault of ours, no exception's text, no unknown code; questions leave the log as it was, and commands with values that
nothing has answer with a type of their union. Serves DC-06, S0-120.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import schemathesis
from access_world import World
from graphql_world import graph_world
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.graphql import nodes

from quarterdeck_graphql.schema import schema_text

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SEEDS: Final = (1, 2, 3)
EXAMPLES: Final = 40
CODES: Final = frozenset(
    {
        "invalid_input",
        "invalid_request",
        "invalid_cursor",
        "not_found",
        "not_allowed",
        "not_yet",
        "too_costly",
        "too_deep",
        "too_many_aliases",
    }
)
ENDS_THE_RUN: Final = frozenset({"closeTenant", "deactivatePrincipal", "erasePrincipal", "revokeApiKey", "revokeRole"})

schemathesis.graphql.scalar("Position", st.integers(-1, 2**53).map(nodes.Int))
schemathesis.graphql.scalar(
    "DateTime",
    st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x"]).map(nodes.String),
)
schemathesis.graphql.scalar("JSON", st.text(max_size=20).map(nodes.String))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A furnished tenant with its read models."""
    directory: Path = tmp_path_factory.mktemp("house")
    unlimited = {"rate_per_s": 1e9, "rate_burst": 10**9}
    async with graph_world(module_database, directory, **unlimited) as made:
        await made.project()
        yield made.world


def drawn(operation: Any, number: int, examples: int) -> list[str]:
    """Return documents that schemathesis makes for one field, the same for a seed."""
    found: list[str] = []

    @seed(number)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def collect(case: Any) -> None:
        found.append(case.body)

    collect()
    return found


def documents(root: str, number: int) -> list[tuple[str, str]]:
    """Return generated documents with the field of the root that each asks for."""
    found: list[tuple[str, str]] = []
    schema = schemathesis.graphql.from_file(schema_text())
    for result in schema.get_all_operations():
        operation = result.ok()
        assert operation is not None
        kind, _, field = operation.label.partition(".")
        if kind != root or field in ENDS_THE_RUN:
            continue
        examples = EXAMPLES if root == "Query" else EXAMPLES // 8
        found += [(field, text) for text in drawn(operation, number, examples)]
    return found


@pytest.mark.parametrize("number", SEEDS)
@pytest.mark.parametrize("root", ["Query", "Mutation"])
async def test_generated_documents(here: World, root: str, number: int) -> None:
    """Each is answered, or refused by a code that is documented; a question moves nothing."""
    headers = here.auth("admin")
    position = (await here.services.ledger.head(here.tenant)).position
    asked = documents(root, number)
    assert len(asked) >= EXAMPLES
    for field, text in asked:
        answer = await here.client.post("/graphql", json={"query": text}, headers=headers)
        told = (field, text[:2_000], answer.status_code, answer.text[:500])
        assert answer.status_code in (200, 413), told
        found = answer.json()
        for error in found.get("errors", ()):
            assert error["extensions"]["code"] in CODES, told
        for word in ("Traceback", "asyncpg", "SELECT ", 'File "'):
            assert word not in str(found.get("errors")), told
        head = (await here.services.ledger.head(here.tenant)).position
        if root == "Query" or not found.get("data"):
            assert head == position, told
        position = head
