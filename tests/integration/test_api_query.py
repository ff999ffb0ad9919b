"""What a route does not take is refused where it stands in the query, too, and not ignored. Serves DC-05, C08."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from api_house import House, house

from quarterdeck_api.app import create_app
from quarterdeck_projector.projector import Projector

TOLERANT: Final = {"/v1/sign-in-options", "/v1/traces"}
"""What is public and takes nothing, and what OpenTelemetry's senders are told to call."""


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """A running API with its read models."""
    async with house(migrated_database(), tmp_path) as made:
        store: Any = made.services.ledger.store
        projector = Projector(store, store.pool)
        await projector.prepare()
        await projector.advance_to_end("acme")
        yield made


async def test_no_route_ignores_a_parameter(api: House) -> None:
    """Every route of ours names what it does not take and what it takes, once it knows who asks; nothing is done."""
    before, tried = await api.position(), 0
    for path, operations in create_app(api.services).openapi()["paths"].items():
        if not path.startswith("/v1/") or path in TOLERANT:
            continue
        for method, operation in operations.items():
            known = sorted(item["name"] for item in operation.get("parameters", ()) if item["in"] == "query")
            url = "/".join("0" if part.startswith("{") else part for part in path.split("/"))
            params = dict.fromkeys(known, "1") | {"unheard_of": "1"}
            headers = api.bearer("acme", "admin")
            answer = await api.client.request(method, url, params=params, headers=headers)
            assert answer.status_code == 400, (method, path, answer.text)
            problem = answer.json()
            assert problem["type"] == "urn:quarterdeck:problem:invalid_input"
            assert problem["details"] == {"fields": ["unheard_of"], "known": known}, (method, path)
            assert "'unheard_of' is no parameter" in problem["detail"]
            assert (await api.client.request(method, url, params=params)).status_code == 401
            tried += 1
    assert tried > 50
    assert await api.position() == before


@pytest.mark.parametrize(
    ("url", "unknown", "known"),
    [
        ("/v1/estate/diff?from=1&known_at=3", "'known_at'", "from, to"),
        ("/v1/estate/diff?from=1&kind=tool", "'kind'", "from, to"),
        ("/v1/estate/file?at=5", "'at'", "position, source, time"),
        ("/v1/me?x=&y=", "'x', 'y'", "there is none"),
        ("/v1/estate/kinds?" + "n" * 200 + "=1", "'" + "n" * 60 + "'", "there is none"),
        ("/v1/estate/kinds?%00%0d%0a%E2%80%AE=1", "'\\x00\\r\\n\\u202e'", "there is none"),
    ],
)
async def test_it_says_which_and_what_there_is(api: House, url: str, unknown: str, known: str) -> None:
    """Nobody gets another answer than what was asked for; what is hostile is told in short, and in plain letters."""
    answer = await api.client.get(url, headers=api.bearer("acme", "admin"))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:quarterdeck:problem:invalid_input")
    assert answer.json()["detail"].startswith(f"{unknown} is no parameter")
    assert known in answer.json()["detail"]
