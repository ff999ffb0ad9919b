"""Who may use which route, written down: a route that is not in this table fails the suite. Serves DC-05; threat T18.

`PUBLIC` needs no credential, `ANYBODY` any, and a set of roles one of them. Where anybody may come in, what they may
do or see is decided by the slice, the policy or the query behind the route.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from api_house import House, house, over_http
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from quarterdeck_api.app import create_app
from quarterdeck_projector.projector import Projector

PUBLIC: Final = frozenset({"public"})
ANYBODY: Final[frozenset[str]] = frozenset()
ROLES: Final = ("administrator", "operator", "approver", "auditor", "agent")

_ADMINISTRATOR: Final = frozenset({"administrator"})
_READERS: Final = frozenset({"administrator", "auditor"})
_OPERATORS: Final = frozenset({"administrator", "operator"})
_VOTERS: Final = frozenset({"administrator", "operator", "approver"})

TABLE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("GET", "/openapi.json"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/sign-in/{token}"): PUBLIC,
    ("POST", "/sign-in"): PUBLIC,
    ("GET", "/v1/sign-in-options"): PUBLIC,
    ("GET", "/.well-known/authzen-configuration"): PUBLIC,
    ("GET", "/.well-known/authzen-configuration/{tenant}"): PUBLIC,
    ("GET", "/.well-known/jwks.json"): PUBLIC,
    ("GET", "/.well-known/jwks/{tenant}.json"): PUBLIC,
    ("GET", "/access/v1/schemas/access-request.json"): PUBLIC,
    ("POST", "/sign-out"): ANYBODY,
    ("GET", "/v1/me"): ANYBODY,
    ("POST", "/graphql"): ANYBODY,
    ("WEBSOCKET", "/graphql"): ANYBODY,
    ("GET", "/v1/commands"): ANYBODY,
    ("POST", "/access/v1/evaluation"): ANYBODY,
    ("POST", "/access/v1/evaluations"): ANYBODY,
    ("POST", "/access/v1/requests"): ANYBODY,
    ("GET", "/access/v1/requests/{task_id}"): ANYBODY,
    ("POST", "/access/v1/requests/{task_id}/cancel"): ANYBODY,
    ("DELETE", "/access/v1/requests/{task_id}/cancel"): ANYBODY,
    ("GET", "/v1/approvals"): ANYBODY,
    ("GET", "/v1/approvals/{approval_id}"): ANYBODY,
    ("POST", "/v1/approvals/{approval_id}/approve"): _VOTERS,
    ("POST", "/v1/approvals/{approval_id}/deny"): _VOTERS,
    ("GET", "/v1/callbacks/keys"): ANYBODY,
    ("POST", "/v1/callbacks/secret"): _ADMINISTRATOR,
    ("POST", "/v1/grants/redeem"): ANYBODY,
    ("GET", "/v1/grants/{grant_id}"): ANYBODY,
    ("GET", "/v1/approvals/{approval_id}/grant"): ANYBODY,
    ("GET", "/v1/effects/{effect_id}"): ANYBODY,
    ("POST", "/v1/effects/{effect_id}/report"): ANYBODY,
    ("GET", "/v1/log/checkpoint"): _READERS,
    ("GET", "/v1/log/vkeys"): _READERS,
    ("GET", "/v1/log/tile/{path:path}"): _READERS,
    ("GET", "/v1/log/proof/inclusion"): _READERS,
    ("GET", "/v1/log/proof/consistency"): _READERS,
    ("GET", "/v1/log/export"): _READERS,
    ("GET", "/v1/log/export/proof"): _READERS,
    ("GET", "/v1/log/events"): _READERS,
    ("POST", "/v1/commands/cancel_approval"): ANYBODY,
    ("POST", "/v1/commands/cast_vote"): _VOTERS,
    ("POST", "/v1/commands/change_policy_bundle_mode"): _ADMINISTRATOR,
    ("POST", "/v1/commands/close_tenant"): _ADMINISTRATOR,
    ("POST", "/v1/commands/deactivate_principal"): ANYBODY,
    ("POST", "/v1/commands/erase_principal"): _ADMINISTRATOR,
    ("POST", "/v1/commands/grant_role"): _ADMINISTRATOR,
    ("POST", "/v1/commands/issue_api_key"): ANYBODY,
    ("POST", "/v1/commands/issue_sign_in_link"): _ADMINISTRATOR,
    ("POST", "/v1/commands/link_identity"): _ADMINISTRATOR,
    ("POST", "/v1/commands/publish_approval_path"): _ADMINISTRATOR,
    ("POST", "/v1/commands/publish_policy_bundle"): _ADMINISTRATOR,
    ("POST", "/v1/commands/reconcile_effect"): _OPERATORS,
    ("POST", "/v1/commands/register_principal"): _ADMINISTRATOR,
    ("POST", "/v1/commands/release_dispatch"): _OPERATORS,
    ("POST", "/v1/commands/report_effect"): ANYBODY,
    ("POST", "/v1/commands/resend_callback"): _OPERATORS,
    ("POST", "/v1/commands/revoke_api_key"): ANYBODY,
    ("POST", "/v1/commands/revoke_grant"): _OPERATORS,
    ("POST", "/v1/commands/revoke_role"): _ADMINISTRATOR,
    ("POST", "/v1/commands/rotate_api_key"): ANYBODY,
    ("POST", "/v1/commands/transfer_ownership"): ANYBODY,
    ("POST", "/v1/commands/accept_drift"): _OPERATORS,
    ("POST", "/v1/commands/change_asset"): _OPERATORS,
    ("POST", "/v1/commands/deprecate_asset"): _OPERATORS,
    ("POST", "/v1/commands/merge_assets"): _OPERATORS,
    ("POST", "/v1/commands/promote_asset"): _OPERATORS,
    ("POST", "/v1/commands/quarantine_asset"): _OPERATORS,
    ("POST", "/v1/commands/register_asset"): _OPERATORS,
    ("POST", "/v1/commands/relate_assets"): _OPERATORS,
    ("POST", "/v1/commands/release_asset"): _OPERATORS,
    ("POST", "/v1/commands/retire_asset"): _OPERATORS,
    ("POST", "/v1/commands/transfer_asset"): _OPERATORS,
    ("POST", "/v1/commands/unrelate_assets"): _OPERATORS,
    ("POST", "/v1/commands/detect_drift"): _OPERATORS,
    ("POST", "/v1/commands/register_source"): _OPERATORS,
    ("POST", "/v1/commands/change_source"): _OPERATORS,
    ("POST", "/v1/commands/remove_source"): _OPERATORS,
    ("GET", "/v1/estate/sources"): _VOTERS | _OPERATORS | _READERS,
    ("POST", "/v1/estate/sources"): _OPERATORS,
    ("GET", "/v1/estate/sources/{source_id}"): _VOTERS | _OPERATORS | _READERS,
    ("PATCH", "/v1/estate/sources/{source_id}"): _OPERATORS,
    ("DELETE", "/v1/estate/sources/{source_id}"): _OPERATORS,
    ("POST", "/v1/estate/sources/{source_id}/plan"): _OPERATORS,
    ("POST", "/v1/estate/sources/{source_id}/import"): _OPERATORS,
    ("GET", "/v1/estate/kinds"): ANYBODY,
    ("GET", "/v1/estate/file"): _VOTERS | _OPERATORS | _READERS,
    ("GET", "/v1/estate/bill"): _VOTERS | _OPERATORS | _READERS,
    ("GET", "/v1/estate/diff"): _VOTERS | _OPERATORS | _READERS,
    ("POST", "/v1/estate/plan"): _OPERATORS,
    ("POST", "/v1/estate/apply"): _OPERATORS,
    ("POST", "/v1/traces"): frozenset({"administrator", "operator", "agent"}),
}
PROTECTED: Final = [route for route, roles in TABLE.items() if roles != PUBLIC and route[0] != "WEBSOCKET"]
GATED: Final = [route for route, roles in TABLE.items() if roles not in (PUBLIC, ANYBODY)]


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with one principal of each role."""
    async with house(migrated_database(), tmp_path, failed_sign_ins_per_minute=1e9) as made:
        for role in ROLES:
            await made.add("acme", role, role, kind="agent" if role == "agent" else "human")  # type: ignore[arg-type]
        store: Any = made.services.ledger.store
        projector = Projector(store, store.pool)
        await projector.prepare()
        await projector.advance_to_end("acme")
        yield made


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return every (method, path) that an application answers; HEAD and OPTIONS go with GET."""
    found = set()
    for context in iter_route_contexts(app.routes):
        is_socket = isinstance(getattr(context, "original_route", context), WebSocketRoute)
        for method in {"WEBSOCKET"} if is_socket else getattr(context, "methods", None) or {"MOUNT"}:
            if method not in ("HEAD", "OPTIONS"):
                found.add((method, str(getattr(context, "path", context))))
    return found


def address(path: str) -> str:
    """Return a path with something in the place of its parameters."""
    path = path.replace("{approval_id}", "apr_" + "0" * 26)
    for name in ("task_id", "grant_id", "effect_id", "tenant", "token", "source_id"):
        path = path.replace(f"{{{name}}}", "x")
    return path.replace("{path:path}", "0/000") + ("?from=0" if path == "/v1/estate/diff" else "")


def body_for(path: str) -> dict[str, object]:
    """Return a body that gets as far as the role: well-formed where it is read before, nonsense elsewhere."""
    return {"action_digest": "sha256-action-v1:" + "0" * 64} if path.startswith("/v1/approvals/") else {"?": 1}


async def test_every_route_is_in_the_table_and_every_line_is_a_route(api: House) -> None:
    """So nobody adds a door without saying who may come in."""
    assert routes_of(create_app(api.services)) == set(TABLE)


async def test_no_protected_route_answers_without_a_credential(api: House) -> None:
    """401 before anything else is looked at: the body, the path's parameters, the query."""
    for method, path in PROTECTED:
        for headers in ({}, {"Authorization": "Bearer qd_acme_" + "0" * 26 + "_" + "A" * 43}):
            answer = await api.client.request(method, address(path), headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)


async def test_a_socket_says_nothing_without_a_credential(api: House) -> None:
    """It is closed with 4401 or 4403 when its first message brings none, and before that it only waits."""
    async with over_http(api.services) as address:
        uri = address.replace("http://", "ws://") + "/graphql"
        for payload in ({}, {"authorization": "Bearer qd_acme_" + "0" * 26 + "_" + "A" * 43}):
            async with connect(uri, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
                await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code in (4401, 4403)


async def test_gated_routes_refuse_every_other_role(api: House) -> None:
    """Each with each: 403 for whoever is not named, and something else (if only 400) for whoever is."""
    before = await api.position()
    for method, path in GATED:
        for role in ROLES:
            headers = api.bearer("acme", role)
            answer = await api.client.request(
                method, address(path), headers=headers, json=body_for(path) if method == "POST" else None
            )
            allowed = role in TABLE[method, path]
            assert (answer.status_code != 403) == allowed, (method, path, role, answer.text)
            assert answer.status_code < 500
    assert await api.position() == before


async def test_reading_never_writes(api: House) -> None:
    """Every GET, by everyone, leaves the log as it was: a link opened by a scanner does nothing."""
    before = await api.position()
    for method, path in TABLE:
        if method == "GET":
            for role in ROLES:
                await api.client.get(address(path), headers=api.bearer("acme", role))
    assert await api.position() == before
