"""Any OpenTelemetry SDK can send here what agents do: the real exporter against the running API.

Serves S0-05, S0-16, S0-52, S3-09.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_traces import SUPPORT_RELATIONS, Teller, as_json, protobuf, support_story
from api_house import over_http
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from graphql_world import GraphWorld, graph_world
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from quarterdeck_api.estate.traces import MAX_BODY_BYTES
from quarterdeck_connectors.quota import OF_AGENT
from quarterdeck_domain.estate.events import AssetRegistered, RelationObserved
from quarterdeck_readmodels.estate import Asset, Relation

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with an agent and an auditor in it."""
    async with graph_world(migrated_database(), tmp_path) as made:
        api, tenant = made.world.api, made.world.tenant
        await api.add(tenant, "sender", "agent", kind="agent")
        await api.add(tenant, "reader", "auditor")
        await made.project()
        yield made


class Door:
    """The door of traces, as somebody."""

    def __init__(self, here: GraphWorld, by: str = "sender") -> None:
        self.here = here
        self.headers = here.world.api.bearer(here.world.tenant, by)

    async def send(self, body: bytes, media: str = PROTOBUF, **headers: str) -> httpx.Response:
        """Send a request as it is."""
        return await self.here.world.client.post(
            "/v1/traces", content=body, headers=self.headers | {"content-type": media} | headers
        )

    async def relations(self) -> dict[str, Relation]:
        """Return the relations of the estate."""
        await self.here.project()
        async with self._reader().at(self.here.world.tenant) as record:
            return {row.id: row for row in (await record.page(Relation, first=100)).rows}

    async def assets(self) -> dict[str, Asset]:
        """Return the objects of the estate."""
        await self.here.project()
        async with self._reader().at(self.here.world.tenant) as record:
            return {row.id: row for row in (await record.page(Asset, first=100)).rows}

    def _reader(self) -> Any:
        return self.here.world.services.reader

    async def file(self, assets: dict[str, Any]) -> None:
        """Apply an estate file as an administrator."""
        await self.here.project()
        answer = await self.here.world.client.post(
            "/v1/estate/apply",
            json={"version": 1, "source": "platform", "assets": assets},
            headers=self.here.world.api.bearer(self.here.world.tenant, "admin"),
        )
        assert "result" in json.loads(answer.text.splitlines()[-1]), answer.text
        await self.here.project()


def story() -> Any:
    """Return the spans of the support story, in the order in which they ended."""
    return sorted((span for teller in support_story() for span in teller.spans()), key=lambda span: span.end_time or 0)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_the_real_exporter_fills_the_estate(here: GraphWorld, compression: Compression) -> None:
    """Each span exported by itself as it ends, children first, over a real socket: agents, tools, relations. S0-16.

    The tables are not kept up to date meanwhile: what was recorded is known from the log.
    """
    door = Door(here)
    # The agent's side calls the server by its address, the server itself by its name: the estate knows both.
    await door.file({"mcp_server:crm": {"attributes": {"endpoint": "https://crm.internal:8443/mcp"}}})
    async with over_http(here.world.services) as address:
        results: list[SpanExportResult] = []

        class Noted(OTLPSpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                results.append(super().export(spans))
                return results[-1]

        exporter = Noted(f"{address}/v1/traces", headers=door.headers, compression=compression, timeout=20)
        tellers = (Teller("support-portal", exporter), Teller("crm", exporter))
        await asyncio.to_thread(support_story, *tellers)
        await asyncio.to_thread(exporter.shutdown)
    assert results == [SpanExportResult.SUCCESS] * 11
    found = await door.relations()
    missing = SUPPORT_RELATIONS - found.keys()
    assert not missing
    row = found["agent:support-bot calls tool:refund"]
    assert (row.observed, row.declared, row.confidence, row.seen) == (True, False, "observed", 1)
    assert "trace " in row.observation
    assets = await door.assets()
    assert {assets[name].confidence for name in ("agent:support-bot", "tool:refund", "dataset:orders")} == {"observed"}


@pytest.mark.parametrize(("media", "encode"), [(PROTOBUF, protobuf), (JSON, as_json)])
async def test_both_encodings_are_taken_and_answered(
    here: GraphWorld, media: str, encode: Callable[..., bytes]
) -> None:
    """The answer is in the encoding of the request; sent again, nothing is recorded. S0-05, S0-52."""
    door = Door(here)
    body = encode(story())
    before = await here.world.position()
    answer = await door.send(body, media)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.content == (b"{}" if media == JSON else b"")
    events = await here.world.services.ledger.read(here.world.tenant, after=before)
    assert {type(event.payload) for event in events} == {AssetRegistered, RelationObserved}
    assert {event.actor.principal for event in events} == {here.world.id("sender")}
    assert (await door.relations()).keys() == SUPPORT_RELATIONS
    after = await here.world.position()
    again = await door.send(gzip.compress(body), media, **{"content-encoding": "gzip"})
    assert again.status_code == 200
    assert await here.world.position() == after


async def test_what_is_registered_is_not_registered_again(here: GraphWorld) -> None:
    """Observed joins declared: one row says both, and only what nobody declared is new. S0-52, S3-09."""
    door = Door(here)
    await door.file(
        {
            "agent:support-bot": {"owner": "rota", "relations": {"uses": ["model:gpt-4o"]}},
            "model:gpt-4o": None,
            "application:support-portal": None,
        }
    )
    assert (await door.send(protobuf(story()))).status_code == 200
    assets, found = await door.assets(), await door.relations()
    assert (assets["agent:support-bot"].owner, assets["agent:support-bot"].confidence) == ("rota", "declared")
    assert "workflow:support-portal" not in assets
    assert "application:support-portal calls agent:support-bot" in found
    both = found["agent:support-bot uses model:gpt-4o"]
    assert (both.declared, both.observed, both.confidence) == (True, True, "declared")
    assert found["agent:support-bot calls tool:refund"].declared is False


async def test_what_was_merged_is_seen_as_one(here: GraphWorld) -> None:
    """A server seen by its address and merged into the one that is registered: what it offers is that one's. S0-16."""
    door = Door(here)
    agent, _ = support_story()
    assert (await door.send(protobuf(agent.spans()))).status_code == 200
    assert "agent:support-bot calls tool:crm.internal:8443/lookup" in await door.relations()
    await door.file({"mcp_server:crm": None, "tool:crm/lookup": None})
    merge = {"survivor": "mcp_server:crm", "merged": "mcp_server:crm.internal:8443"}
    answer = await here.world.api.command("merge_assets", merge, by=(here.world.tenant, "admin"))
    assert answer.status_code == 200, answer.text
    await here.project()
    before = await here.world.position()
    assert (await door.send(protobuf(agent.spans()))).status_code == 200
    events = await here.world.services.ledger.read(here.world.tenant, after=before)
    assert {event.tags[-1] for event in events} == {
        "relation:agent:support-bot calls mcp_server:crm",
        "relation:agent:support-bot calls tool:crm/lookup",
        "relation:mcp_server:crm exposes tool:crm/lookup",
    }


async def test_two_senders_do_not_register_twice(here: GraphWorld) -> None:
    """Many at once, on tables that are behind: each object and relation is recorded once."""
    door = Door(here)
    body = protobuf(story())
    before = await here.world.position()
    answers = await asyncio.gather(*(door.send(body) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    events = await here.world.services.ledger.read(here.world.tenant, after=before)
    names = [e.payload.asset for e in events if isinstance(e.payload, AssetRegistered)]
    seen = [e.payload.tags() for e in events if isinstance(e.payload, RelationObserved)]
    assert (len(names), len(seen)) == (len(set(names)), len(SUPPORT_RELATIONS))


def call(agent: str, tool: str) -> bytes:
    """Return a trace in which an agent calls a tool."""
    teller = Teller("portal")
    with (
        teller.span("invoke", gen_ai__operation__name="invoke_agent", gen_ai__agent__name=agent),
        teller.span("tool", gen_ai__operation__name="execute_tool", gen_ai__tool__name=tool),
    ):
        pass
    return protobuf(teller.spans())


@pytest.mark.parametrize("behind", [False, True], ids=["tables kept", "tables behind"])
async def test_a_use_of_what_is_in_quarantine_is_recorded_at_once(here: GraphWorld, behind: bool) -> None:
    """Use, quarantine, use: the second use is news, whatever was recorded of late, and once a while is enough."""
    door, world = Door(here), here.world
    await door.file({"agent:gap-bot": None, "tool:lookup": None})
    assert (await door.send(call("gap-bot", "lookup"))).status_code == 200
    await door.relations()
    shut = {"asset": "tool:lookup", "reason": "it leaks"}
    answer = await world.client.post(
        "/v1/commands/quarantine_asset", json=shut, headers=world.api.bearer(world.tenant, "admin")
    )
    assert answer.status_code in {200, 201}, answer.text
    if not behind:
        await here.project()
    before = await world.position()
    for _ in range(3):
        assert (await door.send(call("gap-bot", "lookup"))).status_code == 200
    events = await world.services.ledger.read(world.tenant, after=before)
    assert [type(event.payload) for event in events] == [RelationObserved]
    row = (await door.relations())["agent:gap-bot calls tool:lookup"]
    quarantined = (await door.assets())["tool:lookup"].since["lifecycle"][0]
    assert row.last_seen is not None
    assert row.last_seen.isoformat() > quarantined


def crowd(start: int, count: int) -> bytes:
    """Return a trace that names so many tools."""
    teller = Teller("portal")
    with teller.span("invoke", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="flood"):
        for number in range(start, start + count):
            with teller.span("t", gen_ai__operation__name="execute_tool", gen_ai__tool__name=f"t{number}"):
                pass
    return protobuf(teller.spans())


async def test_one_key_does_not_flood_the_map(here: GraphWorld) -> None:
    """A sender shows so much that is new in an hour, and is told why no more is recorded; what is known goes on, and so
    do others."""
    door = Door(here)
    before = await here.world.position()
    answers = []
    for number in range(8):
        answers.append(await door.send(crowd(number * 100, 100)))
        await here.project()
    assert {answer.status_code for answer in answers} == {200}
    told = [ExportTraceServiceResponse.FromString(answer.content).partial_success for answer in answers]
    assert told[0].error_message == ""
    assert told[-1].error_message.startswith("quota: 200 new objects and relations are not recorded")
    assert told[-1].rejected_spans == 0
    assert await here.world.position() - before == OF_AGENT
    known = await here.world.position()
    assert (await door.send(crowd(0, 100))).content == b""
    assert await here.world.position() == known
    await here.world.api.add(here.world.tenant, "collector", "operator", kind="service")
    assert (await Door(here, "collector").send(crowd(5_000, 50))).content == b""
    assert await here.world.position() > known + 100


async def test_a_forged_identity_stays_a_claim(here: GraphWorld) -> None:
    """A trace that speaks as another agent is recorded as its sender's, and the evidence says so."""
    door = Door(here)
    victim = here.world.id("admin")
    await door.file({"agent:billing-bot": {"attributes": {"principal": victim}}})
    teller = Teller("billing")
    with (
        teller.span("invoke", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="billing-bot"),
        teller.span("tool", gen_ai__operation__name="execute_tool", gen_ai__tool__name="wire-money"),
    ):
        pass
    before = await here.world.position()
    assert (await door.send(protobuf(teller.spans()))).status_code == 200
    events = await here.world.services.ledger.read(here.world.tenant, after=before)
    sender = here.world.id("sender")
    assert {event.actor.principal for event in events} == {sender}
    row = (await door.relations())["agent:billing-bot calls tool:wire-money"]
    assert f"in conflict with its sender: it claims to be {victim}, and {sender} sent it" in row.observation
    assert (await door.assets())["agent:billing-bot"].attributes == {"principal": victim}


async def test_the_tenant_comes_from_the_credential_alone(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Whatever resource attributes, headers and baggage say: nothing of it is another tenant's."""
    async with graph_world(migrated_database(), tmp_path, also=("globex",)) as made:
        await made.world.api.add(made.world.tenant, "sender", "agent", kind="agent")
        await made.project()
        before = await made.world.api.position("globex")
        names = ("tenant", "tenant.id", "quarterdeck.tenant", "enduser.id", "service.namespace")
        claims = [{"key": name, "value": {"stringValue": "globex"}} for name in names]
        said = [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}, *claims]
        span = {"traceId": "5b" * 16, "spanId": "ee" * 8, "attributes": said}
        body = {"resourceSpans": [{"resource": {"attributes": claims}, "scopeSpans": [{"spans": [span]}]}]}
        forged = {"x-tenant": "globex", "baggage": "tenant=globex"}
        answer = await Door(made).send(json.dumps(body).encode(), JSON, **forged)
        assert answer.status_code == 200, answer.text
        elsewhere = await Door(made).send(json.dumps(body).encode(), JSON, **forged, **{"quarterdeck-tenant": "globex"})
        assert elsewhere.status_code == 401
        assert "model:m" in await Door(made).assets()
        assert await made.world.api.position("globex") == before


async def test_rejected_spans_are_told_of(here: GraphWorld) -> None:
    """Partial success, in both encodings: how many, and why; the rest is taken."""
    door = Door(here)
    said = [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]
    good = {"traceId": "5b" * 16, "spanId": "ee" * 8, "attributes": said}
    bad = good | {"traceId": "00" * 16}
    answer = await door.send(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [bad, good]}]}]}).encode(), JSON)
    assert answer.json() == {
        "partialSuccess": {"rejectedSpans": "1", "errorMessage": "a trace id is 16 bytes and not all zero"}
    }
    assert "model:m" in await door.assets()
    request = protobuf(story())
    broken = await door.send(request + b"\x0a\x06\x12\x04\x12\x02\x0a\x00")  # one more resource, with one empty span
    told = ExportTraceServiceResponse.FromString(broken.content)
    assert told.partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"\xff\xff", {}, 400, 3),
        (gzip.compress(b"\0" * 40_000_000), {"content-encoding": "gzip"}, 400, 3),
        (b"x", {"content-encoding": "zstd"}, 400, 3),
    ],
)
async def test_what_cannot_be_read_is_refused_as_the_protocol_says(
    here: GraphWorld, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    """A Status in the encoding of the request, and nothing recorded."""
    door, before = Door(here), await here.world.position()
    binary = await door.send(body, **headers)
    assert (binary.status_code, binary.headers["content-type"]) == (status, PROTOBUF)
    assert Status.FromString(binary.content).code == code
    text = await door.send(body, JSON, **headers)
    assert (text.status_code, text.json()["code"]) == (status, code)
    assert text.json()["message"]
    assert await here.world.position() == before


async def test_who_may_send(here: GraphWorld) -> None:
    """Agents and operators; not auditors, nobody without a credential, no other media, no endless body."""
    refused = await Door(here, "reader").send(b"")
    assert (refused.status_code, Status.FromString(refused.content).code) == (403, 7)
    client = here.world.client
    nobody = await client.post("/v1/traces", content=b"{}", headers={"content-type": JSON})
    assert (nobody.status_code, nobody.json()["code"]) == (401, 16)
    assert "www-authenticate" in nobody.headers
    assert (await Door(here).send(b"", "text/plain")).status_code == 415
    for media in (PROTOBUF, JSON):
        endless = await Door(here).send(b"\0" * (MAX_BODY_BYTES + 1), media)
        assert (endless.status_code, endless.headers["content-type"]) == (413, media)
        code = endless.json()["code"] if media == JSON else Status.FromString(endless.content).code
        assert code == 3
    assert (await Door(here).send(b"")).status_code == 200
    assert (await Door(here, "admin").send(b"{}", "application/json; charset=utf-8")).json() == {}
