"""The API against its own OpenAPI description, by schemathesis: valid and hostile values in every field of every route.

No server error, no undocumented status, media type or shape; and the log is whole afterwards. Serves DC-05, DC-08.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_house import House, house, over_http

from quarterdeck_domain import merkle
from quarterdeck_projector.projector import Projector

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
UNWANTED = "close_tenant|sign-out|deactivate|revoke|graphql"
"""These would end the run's own credential, or the tenant, or are described elsewhere."""


@pytest.mark.timeout(600)
async def test_every_route_keeps_its_description(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Thousands of requests by an administrator over a real socket; what fails is printed with how to repeat it."""
    unlimited = {"rate_per_s": 1e9, "rate_burst": 10**9, "failed_sign_ins_per_minute": 1e9}
    async with (
        house(migrated_database(), tmp_path, request_timeout_s=10, long_poll_max_s=1, **unlimited) as api,
        over_http(api.services) as address,
    ):
        store: Any = api.services.ledger.store
        projector = Projector(store, store.pool)
        await projector.prepare()
        projecting = asyncio.create_task(projector.run())
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{address}/openapi.json",
            f"--header=Authorization: {api.bearer('acme', 'admin')['Authorization']}",
            "--max-examples=10",
            "--seed=7",
            f"--checks={CHECKS}",
            f"--exclude-path-regex={UNWANTED}",
            "--phases=examples,coverage,fuzzing",
            "--request-timeout=30",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        projecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await projecting
        assert process.returncode == 0, output.decode(errors="replace")[-20_000:]
        await _is_whole(api)


async def _is_whole(api: House) -> None:
    entries = await api.services.ledger.store.read("acme", None, 0, None, None, False)
    assert [position for position, _ in entries] == list(range(1, await api.position() + 1))
    leaves = [merkle.leaf_hash(entry) for _, entry in entries]
    head = await api.services.ledger.head("acme")
    assert merkle.root(merkle.append_leaves(b"", 0, leaves), len(leaves)) == head.root
