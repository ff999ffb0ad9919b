"""Traces as a source: what arrives over OTLP, what it shows, and what of it is recorded.

Serves S0-05, S0-16, S0-52, S3-09. Vectors are made by OpenTelemetry's own SDK and exporter encoding.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from agent_traces import SUPPORT_RELATIONS, Teller, as_json, protobuf, support_story
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.observing import Observed, Standing, candidates, observe, other_names, possible_ends
from quarterdeck_connectors.otlp import MAX_ATTRIBUTES, MAX_RESOURCES, MAX_SPANS, Batch, Span, inflate, read
from quarterdeck_connectors.quota import OF_AGENT, OF_COLLECTOR, OF_TENANT, Quota
from quarterdeck_connectors.semconv import SPAN_NAMES
from quarterdeck_connectors.sightings import Sightings, gather
from quarterdeck_connectors.waiting import Waiting
from quarterdeck_domain.estate.events import AssetRegistered, RelationObserved
from quarterdeck_domain.estate.findings_grants import Scope
from quarterdeck_domain.estate.landscape import Clock, Landscape, Object, Tie
from quarterdeck_domain.estate.relation_drift import undeclared, unseen
from quarterdeck_domain.estate.values import check_facts, nested, relation_id, split
from quarterdeck_domain.events import Actor

NOW = datetime(2100, 1, 1, tzinfo=UTC)
SENDER = Actor(principal="prn_sender", kind="service")
NOTHING = Standing(facts={})


def spans_of(*tellers: Teller) -> list[ReadableSpan]:
    """Return the spans of several services, in the order in which they ended."""
    return sorted((span for teller in tellers for span in teller.spans()), key=lambda span: span.end_time or 0)


def batch_of(*tellers: Teller) -> Batch:
    """Return the spans of several services as one request."""
    return read(protobuf(spans_of(*tellers)), "protobuf")


def seen(batch: Batch, standing: Standing = NOTHING, **options: Any) -> Observed:
    """Return what a request is recorded as."""
    given_: dict[str, Any] = {"sender": SENDER, "now": NOW} | options
    return observe(gather(batch.spans), standing, **given_)


def relations(observed: Observed) -> set[str]:
    """Return the relations that are recorded, as they read."""
    return {relation_id(e.source, e.relation, e.target) for e in observed.events if isinstance(e, RelationObserved)}


def assets(observed: Observed) -> dict[str, AssetRegistered]:
    """Return the objects that are recorded."""
    return {event.asset: event for event in observed.events if isinstance(event, AssetRegistered)}


def after(standing: Standing, observed: Observed) -> Standing:
    """Return what stands once something was recorded."""
    facts = dict(standing.facts) | {name: event.facts for name, event in assets(observed).items()}
    last = dict(standing.last_seen)
    for event in observed.events:
        if isinstance(event, RelationObserved):
            last[event.source, event.relation, event.target] = event.last_seen
    return Standing(facts=facts, aliases=standing.aliases, last_seen=last)


# -- the wire


def test_both_encodings_of_the_real_exporter_say_the_same() -> None:
    """Protobuf and JSON give the same spans, and of their contents nothing is kept. S0-05."""
    spans = spans_of(*support_story())
    binary, text = read(protobuf(spans), "protobuf"), read(as_json(spans), "json")
    assert binary == text
    assert len(binary.spans) == len(spans)
    assert binary.rejected == 0
    assert "my secret" not in repr(binary)
    remote = [span.name for span in binary.spans if span.remote]
    assert remote == ["tools/call lookup"]


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_values = st.one_of(
    _texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(st.sampled_from(sorted(SPAN_NAMES)), _values, max_size=12), _texts, st.sampled_from(SpanKind))
def test_any_attributes_are_read_the_same_and_never_break_it(said: dict[str, Any], name: str, kind: SpanKind) -> None:
    """Whatever a span says under the names we know: both encodings agree, and what is recorded is fit to be."""
    teller = Teller(name or None)
    with teller.span(name, kind, **said), teller.span("below", gen_ai__request__model="m", gen_ai__data_source__id="d"):
        pass
    batch = batch_of(teller)
    assert batch == read(as_json(spans_of(teller)), "json")
    observed = seen(batch)
    for asset, registered in assets(observed).items():
        assert check_facts(split(asset).kind, nested(registered.facts)).lifecycle == "live"
    for event in observed.events:
        if isinstance(event, RelationObserved):
            assert len(event.evidence) <= 500
            assert {event.source, event.target} <= assets(observed).keys()
    assert not seen(batch, after(NOTHING, observed)).events


@given(st.binary(max_size=300), st.sampled_from(("protobuf", "json")))
def test_any_bytes_are_read_or_refused(body: bytes, encoding: Any) -> None:
    """Never anything else, and never a span that is none."""
    with contextlib.suppress(UnreadableSource):
        batch = read(body, encoding)
        assert all(len(span.trace) == 32 and len(span.id) == 16 for span in batch.spans)


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceSpans",
                    "scopeSpans",
                    "spans",
                    "traceId",
                    "attributes",
                    "key",
                    "value",
                    "stringValue",
                    "intValue",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(_json_values)
def test_any_json_is_read_or_refused(document: Any) -> None:
    """Also when it looks like a request in places."""
    with contextlib.suppress(UnreadableSource):
        assert len(read(json.dumps(document).encode(), "json").spans) <= 1


def one(**span: Any) -> bytes:
    """Return a JSON request with one span."""
    whole = {"traceId": "5b" * 16, "spanId": "ee" * 8, "name": "x"} | span
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [whole]}]}]}).encode()


def test_json_as_the_mapping_says() -> None:
    """Unknown members are skipped, null is a default, 64-bit integers are text or numbers, ids are hex in any case."""
    said = [
        {"key": "server.port", "value": {"intValue": "8443"}},
        {"key": "gen_ai.tool.name", "value": {"stringValue": "t", "new": 1}},
        {"key": "gen_ai.request.model", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
        {"key": "gen_ai.agent.name", "value": None},
    ]
    body = one(
        traceId="5B" * 16, attributes=said, startTimeUnixNano="1700000000000000000", kind="SPAN_KIND_SERVER", new={}
    )
    (span,) = read(body, "json").spans
    assert span == Span(
        trace="5b" * 16,
        id="ee" * 8,
        name="x",
        server=True,
        remote=True,
        begins_ns=1_700_000_000_000_000_000,
        said={"server.port": "8443", "gen_ai.tool.name": "t"},
    )
    assert read(one(startTimeUnixNano=17, parentSpanId=None, attributes=None, flags=0x300), "json").spans[0].remote
    assert read(b'{"resourceSpans":null}', "json") == read(b"", "protobuf") == Batch(spans=())


def test_a_wrong_span_is_rejected_alone() -> None:
    """The others are taken; the answer says how many were not, and why."""
    good = {"traceId": "5b" * 16, "spanId": "ee" * 8}
    many = [{"key": f"k{n}", "value": {"intValue": n}} for n in range(MAX_ATTRIBUTES + 1)]
    wrong = ({"traceId": "00" * 16}, {"spanId": "zz"}, {"parentSpanId": "ab"}, {"attributes": many}, {"traceId": None})
    spans = [good, *(good | part for part in wrong)]
    batch = read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode(), "json")
    assert (len(batch.spans), batch.rejected, len(batch.reasons)) == (1, 5, 4)


def test_more_than_is_read_is_refused() -> None:
    """Bytes, spans, resources, depth: each has a bound, and a bomb is not inflated beyond it."""
    bomb = gzip.compress(b"\0" * 40_000_000)
    assert len(bomb) < 50_000
    with pytest.raises(UnreadableSource, match="inflates to at most"):
        inflate(bomb, "gzip")
    with pytest.raises(UnreadableSource, match="inflates to at most"):
        inflate(gzip.compress(b"x" * 60) * 2, "gzip", max_bytes=100)
    with pytest.raises(UnreadableSource, match="at most 10 bytes"):
        inflate(b"x" * 11, "", max_bytes=10)
    group: dict[str, Any] = {"scopeSpans": [{"spans": []}]}
    with pytest.raises(UnreadableSource, match="resources and scopes"):
        read(json.dumps({"resourceSpans": [group] * (MAX_RESOURCES // 2 + 1)}).encode(), "json")
    request = ExportTraceServiceRequest()
    for _ in range(MAX_RESOURCES + 1):
        request.resource_spans.add()
    with pytest.raises(UnreadableSource, match="resources and scopes"):
        read(request.SerializeToString(), "protobuf")
    crowd = [{"traceId": "5b" * 16, "spanId": f"{number + 1:016x}"} for number in range(MAX_SPANS + 3)]
    batch = read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": crowd}]}]}).encode(), "json")
    assert (len(batch.spans), batch.rejected) == (MAX_SPANS, 3)
    value = b'{"arrayValue":{"values":[' * 50_000
    with pytest.raises(UnreadableSource, match=r"nests too deep|JSON"):
        read(b'{"resourceSpans":[{"new":' + value, "json")
    deep = ExportTraceServiceRequest()
    inner = deep.resource_spans.add().resource.attributes.add().value
    for _ in range(200):
        inner = inner.array_value.values.add()
    with pytest.raises(UnreadableSource, match="too deep"):
        read(deep.SerializeToString(), "protobuf")


def test_compression_is_gzip_or_none() -> None:
    """Whole, as one member or several; anything else is refused with a reason."""
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    assert inflate(body, "gzip") == b"one two"
    assert inflate(b"as is", "identity") == b"as is"
    for wrong, encoding in ((body[:-3], "gzip"), (b"plain", "gzip"), (zlib.compress(b"x"), "gzip"), (b"", "br")):
        with pytest.raises(UnreadableSource):
            inflate(wrong, encoding)


# -- what it shows


def test_a_story_in_the_conventions_of_opentelemetry() -> None:
    """Agents, models, providers, tools, MCP servers, datasets, prompts, and what leads from which to which. S0-16, S0-52."""
    observed = seen(batch_of(*support_story()))
    assert relations(observed) == SUPPORT_RELATIONS
    found = assets(observed)
    assert {event.confidence for event in found.values()} == {"observed"}
    assert {event.facts["lifecycle"] for event in found.values()} == {"live"}
    assert found["agent:support-bot"].facts["environments"] == ["prod"]
    assert found["model:gpt-4o"].facts["attributes.provider"] == "openai"
    server = found["mcp_server:crm"].facts
    assert (server["attributes.transport"], server["attributes.protocol_version"]) == ("streamable_http", "2025-11-25")
    counts = {
        relation_id(e.source, e.relation, e.target): e.count for e in observed.events if isinstance(e, RelationObserved)
    }
    assert counts["agent:support-bot calls tool:crm/lookup"] == 1
    for event in observed.events:
        if isinstance(event, RelationObserved):
            assert "trace " in event.evidence
            assert " span " in event.evidence
            assert event.first_seen <= event.last_seen < NOW


def test_a_story_in_the_names_of_openinference() -> None:
    """The other vocabulary shows the same kinds of things."""
    teller = Teller("shop")
    oi = "openinference.span.kind"
    with teller.span("run", **{oi: "AGENT", "agent.name": "shopper"}):
        with teller.span("llm", **{oi: "LLM", "llm.model_name": "llama", "llm.provider": "groq"}):
            pass
        with teller.span("search", **{oi: "TOOL", "tool.name": "search"}):
            pass
        with teller.span("unnamed tool", **{oi: "TOOL"}):
            pass
        with (
            teller.span("VectorStore", **{oi: "RETRIEVER"}),
            teller.span("embed", **{oi: "EMBEDDING", "embedding.model_name": "ada"}),
        ):
            pass
        with teller.span("rank", **{oi: "RERANKER", "reranker.model_name": "cross"}):
            pass
        with teller.span("chain", **{oi: "CHAIN"}), teller.span("p", **{oi: "PROMPT", "prompt.id": "p-1"}):
            pass
    assert relations(seen(batch_of(teller))) == {
        "workflow:shop calls agent:shopper",
        "agent:shopper uses model:llama",
        "model:llama deployed_in provider:groq",
        "agent:shopper calls tool:search",
        "agent:shopper calls tool:unnamed-tool",
        "agent:shopper reads retrieval_index:shop/VectorStore",
        "agent:shopper uses model:ada",
        "agent:shopper uses model:cross",
        "agent:shopper uses prompt:p-1",
    }


def test_what_has_nothing_to_do_with_ai_is_no_part_of_the_estate() -> None:
    """A shop's web traffic registers nothing, and a service that nobody named acts for nobody."""
    teller, nameless = Teller("shop"), Teller(None)
    with teller.span("GET /", SpanKind.SERVER, server__address="shop"), teller.span("SELECT", SpanKind.CLIENT):
        pass
    with nameless.span("chat", gen_ai__request__model="m"):
        pass
    observed = seen(batch_of(teller, nameless))
    assert set(assets(observed)) == {"model:m"}
    assert relations(observed) == set()


def test_workflows_servers_resources_and_prompts() -> None:
    """A named workflow acts; an MCP server's resources are known by where they lie, never by what was asked."""
    teller = Teller("portal")
    with teller.span("w", gen_ai__operation__name="invoke_workflow", gen_ai__workflow__name="onboarding"):
        uri = "https://ada:secret@files.internal/a/report.pdf?token=hush"
        mcp = {"server.address": "docs.internal", "server.port": 443, "network.transport": "tcp"}
        with teller.span("r", SpanKind.CLIENT, **mcp, mcp__method__name="resources/read", mcp__resource__uri=uri):
            pass
        with teller.span("p", SpanKind.CLIENT, **mcp, mcp__method__name="prompts/get", gen_ai__prompt__name="greet"):
            pass
    observed = seen(batch_of(teller))
    assert relations(observed) == {
        "workflow:portal calls workflow:onboarding",
        "workflow:onboarding calls mcp_server:docs.internal",
        "workflow:onboarding reads dataset:docs.internal/https://files.internal",
        "mcp_server:docs.internal exposes dataset:docs.internal/https://files.internal",
        "workflow:onboarding uses prompt:docs.internal/greet",
        "mcp_server:docs.internal exposes prompt:docs.internal/greet",
    }
    assert not any(word in repr(observed) for word in ("secret", "hush", "report.pdf"))
    exact = Standing(facts={"dataset:docs/https://files.internal/a/report.pdf": {}}, aliases=_DOCS)
    assert "workflow:onboarding reads dataset:docs/https://files.internal/a/report.pdf" in relations(
        seen(batch_of(teller), exact)
    )


_DOCS = other_names({"mcp_server:docs": {"attributes.endpoint": "https://docs.internal/mcp"}})


def test_the_estate_says_what_a_thing_is() -> None:
    """What stands decides: of which kind a service or a model is, which name it goes by, and into what it was merged."""
    servers = {"mcp_server:crm-eu": {"attributes.endpoint": "https://crm.internal:8443/mcp"}}
    agent, _ = support_story()
    standing = Standing(
        facts={
            "application:support-portal": {},
            "agent:helper": {},
            "agent:support-bot": {"lifecycle": "retired"},
            "route:claude": {},
            **servers,
            "tool:crm-eu/lookup": {},
        },
        aliases={"agent:support-bot": "agent:helper", **other_names(servers)},
    )
    found = seen(batch_of(agent), standing)
    assert {
        "application:support-portal calls agent:helper",
        "agent:helper calls tool:crm-eu/lookup",
        "agent:helper calls mcp_server:crm-eu",
        "agent:billing uses route:claude",
    } < relations(found)
    assert not {"agent:support-bot", "model:claude", "tool:crm.internal:8443/lookup"} & assets(found).keys()
    assert {"agent:helper", "tool:crm-eu/lookup"} <= candidates(gather(batch_of(agent).spans), standing.aliases)
    two = other_names({name: {"attributes.implementation": "crm 1.0"} for name in ("mcp_server:a", "mcp_server:b")})
    assert two == {}


def test_a_name_that_deceives_is_made_legible() -> None:
    """Control and direction characters, persons' addresses, endless names: kept apart, bounded, never a crash."""
    hostile = [
        "bot\u202egnp.exe",
        "bot gnp.exe",
        "客服",
        "经理",
        "x" * 900,
        "x" * 899 + "y",
        "ada@example.com",
        "\0",
        "a\nb",
    ]
    teller = Teller("s")
    for name in hostile:
        with teller.span("a", gen_ai__operation__name="invoke_agent", gen_ai__agent__name=name):
            pass
    found = {name: event for name, event in assets(seen(batch_of(teller))).items() if name.startswith("agent:")}
    assert len(found) == len(hostile)
    assert "ada@example" not in repr(found)
    assert "\u202e" not in repr([event.facts for event in found.values()]).encode("unicode_escape").decode()
    assert any(event.facts.get("title") == "客服" for event in found.values())


def test_a_trace_that_goes_in_a_circle_ends() -> None:
    """A forged parent, of itself or of its own parent, is nobody's."""
    loop = {"gen_ai.request.model": "m"}
    spans = [Span(trace="t", id=a, parent=b, said=loop, resource={"service.name": "s"}) for a, b in ("ab", "ba", "cc")]
    assert relations(seen(Batch(spans=tuple(spans)))) == {"workflow:s uses model:m"}
    line = [Span(trace="t", id=str(n), parent=str(n - 1) if n else "", said=loop) for n in range(20_000)]
    assert gather(line).unsettled == ()


def test_a_crowd_under_one_span_is_looked_at_once() -> None:
    """However many spans a forged one has below it, and however often their tool is asked for: linear work."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
    top = Span(trace="t", id="top", parent="gone", said=tool, resource={"service.name": "s"})
    crowd = [
        Span(trace="t", id=str(n), parent="top", said={**tool, "mcp.method.name": "tools/call"})
        for n in range(MAX_SPANS)
    ]
    found = gather([top, *crowd])
    assert (len(found.things), len(found.unsettled)) == (1, MAX_SPANS + 1)


# -- what is recorded


def test_what_is_known_is_recorded_again_only_after_a_while() -> None:
    """The log grows with what is new, not with traffic. S0-05."""
    batch = batch_of(*support_story())
    first = seen(batch)
    standing = after(NOTHING, first)
    assert not seen(batch, standing).events
    later = Batch(spans=tuple(_moved(span, timedelta(minutes=59)) for span in batch.spans))
    assert not seen(later, standing).events
    latest = Batch(spans=tuple(_moved(span, timedelta(minutes=61)) for span in batch.spans))
    again = seen(latest, standing)
    assert (relations(again), assets(again)) == (SUPPORT_RELATIONS, {})
    assert not seen(latest, after(standing, again)).events
    assert relations(seen(later, standing, every=timedelta(minutes=58))) == SUPPORT_RELATIONS


@pytest.mark.parametrize(("minutes", "again"), [(1, True), (30, False)])
@pytest.mark.parametrize("end", ["agent:support-bot", "tool:refund"])
def test_a_use_of_what_was_shut_meanwhile_is_recorded_at_once(end: str, minutes: int, again: bool) -> None:
    """A known relation is news once one of its ends is out of use: recorded then, and again only after a while."""
    batch = batch_of(*support_story())
    standing = after(NOTHING, seen(batch))
    (begins,) = {span.begins_ns for span in batch.spans if "refund" in span.name}
    shut = datetime.fromtimestamp(begins // 10**9, UTC) + timedelta(minutes=minutes)
    standing = msgspec.structs.replace(standing, shut={end: shut})
    later = Batch(spans=tuple(_moved(span, timedelta(minutes=20)) for span in batch.spans))
    found = seen(later, standing)
    assert ("agent:support-bot calls tool:refund" in relations(found)) is again
    assert assets(found) == {}
    assert not seen(later, after(standing, found)).events


def _moved(span: Span, by: timedelta) -> Span:
    return msgspec.structs.replace(span, begins_ns=span.begins_ns + int(by.total_seconds()) * 10**9)


def test_a_time_that_cannot_be_is_now() -> None:
    """A span from the future, or without a time, was seen now: it cannot keep later ones from being recorded."""
    for begins in (0, -5, 2**63, 10**40):
        span = Span(
            trace="t", id="a", begins_ns=begins, said={"gen_ai.request.model": "m"}, resource={"service.name": "s"}
        )
        (event,) = [e for e in seen(Batch(spans=(span,))).events if isinstance(e, RelationObserved)]
        assert (event.first_seen, event.last_seen) == (NOW, NOW)


def test_calls_are_counted_together() -> None:
    """Many spans of one relation are one event, from its first to its last moment."""
    said, service = {"gen_ai.request.model": "m"}, {"service.name": "s"}
    spans = [Span(trace="t", id=f"{n:x}", begins_ns=n * 10**9, said=said, resource=service) for n in (5, 3, 9, 4)]
    (event,) = [e for e in seen(Batch(spans=tuple(spans))).events if isinstance(e, RelationObserved)]
    assert (event.count, event.first_seen.timestamp(), event.last_seen.timestamp()) == (4, 3, 9)
    assert "span 9" in event.evidence


def test_no_more_than_so_much_at_once_and_never_half() -> None:
    """A flood of names is cut and told of; no relation is recorded whose ends are not."""
    teller = Teller("s")
    for number in range(30):
        with teller.span("chat", gen_ai__request__model=f"m{number}"):
            pass
    batch = batch_of(teller)
    standing, left = NOTHING, []
    for _ in range(10):
        observed = seen(batch, standing, most=10)
        standing = after(standing, observed)
        left.append(observed.left_out)
        for event in observed.events:
            if isinstance(event, RelationObserved):
                assert {event.source, event.target} <= standing.facts.keys()
    assert left == sorted(left, reverse=True)
    assert (left[0], left[-1]) == (51, 0)
    assert len(possible_ends(gather(batch.spans), standing)) == 30


def test_a_quota_lasts_an_hour_and_is_each_senders_own() -> None:
    """A sender's hour begins with what it shows first; the tenant's counts over all its senders."""
    quota = Quota()
    quota.spend("t", "a", OF_AGENT - 1, 0.0)
    assert quota.left("t", "a", 10.0, collects=False) == 1
    assert quota.left("t", "b", 10.0, collects=False) == OF_AGENT
    quota.spend("t", "a", 1, 10.0)
    assert quota.left("t", "a", 3_599.0, collects=False) == 0
    assert quota.left("t", "a", 3_600.0, collects=False) == OF_AGENT
    quota.spend("t", "c", OF_TENANT, 20.0)
    assert quota.left("t", "b", 30.0, collects=True) == 0
    assert quota.left("u", "b", 30.0, collects=True) == OF_COLLECTOR


@pytest.mark.parametrize(("kind", "word"), [("agent", "in conflict with its sender"), ("service", "passed on")])
def test_what_a_trace_says_of_itself_is_a_claim(kind: str, word: str) -> None:
    """An agent that is known as another principal, or a principal named in the trace: the evidence says who sent it."""
    teller = Teller("portal", service__instance__id="prn_victim")
    with (
        teller.span(
            "a", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="bot", gen_ai__agent__id="prn_boss"
        ),
        teller.span("chat", gen_ai__request__model="m"),
    ):
        pass
    standing = Standing(facts={"agent:bot": {"attributes.principal": "prn_bot"}})
    observed = seen(batch_of(teller), standing, sender=Actor(principal="prn_forger", kind=kind))
    (event,) = [e for e in observed.events if isinstance(e, RelationObserved) and e.target == "model:m"]
    assert word in event.evidence
    assert "prn_bot" in event.evidence
    assert "prn_victim" in event.evidence
    assert "prn_forger sent it" in event.evidence
    assert "attributes.principal" not in repr(observed.events)
    own = Standing(facts={"agent:bot": {"attributes.principal": "prn_bot"}})
    quiet = Teller("portal")
    with quiet.span("chat", gen_ai__agent__name="bot", gen_ai__request__model="m"):
        pass
    fine = seen(batch_of(quiet), own, sender=Actor(principal="prn_bot", kind="agent"))
    assert "claims" not in repr(fine)


# -- spans that wait


def _arrive(waiting: Waiting, batches: Iterable[Sequence[Span]], sender: tuple[str, str] = ("t", "p")) -> Standing:
    standing = NOTHING
    for spans in batches:
        together = waiting.join(sender, spans, 0.0)
        found: Sightings = gather(together.spans, together.overdue)
        waiting.keep(sender, found.unsettled, 0.0)
        standing = after(standing, observe(found, standing, sender=SENDER, now=NOW))
    return standing


def _read(standing: Standing) -> set[str]:
    return {relation_id(*ends) for ends in standing.last_seen}


@given(st.integers(0, 2**32), st.integers(1, 14))
def test_children_that_come_before_their_parents_wait_for_them(seed: int, size: int) -> None:
    """However the spans of one process are cut into requests, as they end: the same relations are found."""
    agent, _ = support_story()
    spans = list(batch_of(agent).spans)
    rng = random.Random(seed)
    batches: list[list[Span]] = [[]]
    for span in spans:
        if len(batches[-1]) >= size or rng.random() < 0.3:
            batches.append([])
        batches[-1].append(span)
    waiting = Waiting()
    assert _read(_arrive(waiting, batches)) == _read(_arrive(Waiting(), [spans]))
    assert len(waiting) == 0


def test_nobody_hangs_anothers_spans_under_an_agent() -> None:
    """What waits is joined with what the same sender sends; somebody else's parent is not taken for theirs."""
    child = Span(trace="t", id="c", parent="p", said={"gen_ai.request.model": "m"}, resource={"service.name": "honest"})
    parent = Span(trace="t", id="p", said={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "evil"})
    waiting = Waiting()
    assert _read(_arrive(waiting, [[child]], ("t", "honest"))) == set()
    assert _read(_arrive(waiting, [[parent]], ("t", "evil"))) == set()
    assert len(waiting) == 1


def test_waiting_ends() -> None:
    """After a while, or when too many wait, the service is who acted; and memory is bounded whoever sends what."""
    said, service = {"gen_ai.request.model": "m"}, {"service.name": "s"}

    def orphan(trace: str) -> Span:
        return Span(trace=trace, id="c", parent="p", said=said, resource=service)

    waiting = Waiting(longest_s=10, most_of_one=3, most=5)
    waiting.keep(("t", "a"), [orphan("1")], 0.0)
    assert waiting.join(("t", "a"), (), 9.0) == ((), frozenset())
    spans, overdue = waiting.join(("t", "a"), (), 10.0)
    assert (spans, overdue) == ((orphan("1"),), frozenset({("1", "c")}))
    found = gather(spans, overdue)
    assert found.unsettled == ()
    assert relations(observe(found, NOTHING, sender=SENDER, now=NOW)) == {"workflow:s uses model:m"}
    assert len(waiting) == 0
    waiting.keep(("t", "a"), [orphan(str(n)) for n in range(5)], 0.0)
    assert len(waiting.join(("t", "a"), (), 0.0).overdue) == 2
    for number in range(50):
        waiting.keep(("t", f"p{number}"), [orphan("1"), orphan("2")], 0.0)
    assert len(waiting) <= 5


# -- drift


def test_what_differs_between_declared_and_seen_is_drift() -> None:
    """What nobody declared, and what was declared and is no longer seen; what follows from a declaration is fine."""
    day = timedelta(days=1)
    declared = [
        ("agent:a", "calls", "mcp_server:crm"),
        ("mcp_server:crm", "exposes", "tool:crm/read"),
        ("agent:a", "uses", "model:m"),
        ("agent:a", "reads", "dataset:old"),
        ("agent:a", "uses", "model:gone"),
        ("agent:a", "governed_by", "policy_bundle:p"),
        ("agent:quiet", "uses", "model:m"),
    ]
    seen = {
        ("agent:a", "calls", "tool:crm/read"): NOW - day,
        ("agent:a", "calls", "tool:wipe"): NOW - day,
        ("agent:a", "uses", "model_version:m-1"): NOW - day,
        ("model_version:m-1", "version_of", "model:m"): NOW - day,
        ("agent:a", "uses", "model:gone"): NOW - 31 * day,
        ("mcp_server:crm", "exposes", "tool:crm/new"): NOW - day,
    }

    def found(declared: list[Any], seen: dict[Any, datetime]) -> list[tuple[str, str, str]]:
        names = {name for source, _, target in (*declared, *seen) for name in (source, target)}
        ties = [Tie(source=ends[0], relation=ends[1], target=ends[2], since=NOW - 60 * day) for ends in declared]
        ties += [
            Tie(source=ends[0], relation=ends[1], target=ends[2], declared=False, first_seen=last, last_seen=last)
            for ends, last in seen.items()
        ]
        whole = {tie.ends: tie for tie in ties[: len(declared)]}
        for tie in ties[len(declared) :]:
            both = tie.ends in whole
            said = {"declared": True, "since": NOW - 60 * day} if both else {}
            whole[tie.ends] = msgspec.structs.replace(tie, **said)
        objects = {name: Object(id=name, facts={"lifecycle": "live"}) for name in names}
        estate = Landscape(objects, whole.values(), Clock(NOW))
        scope = Scope(estate)
        return [
            (item.type, item.asset, item.message.partition(",")[0])
            for item in (*undeclared(estate, scope), *unseen(estate, scope))
        ]

    assert found(declared, seen) == [
        ("undeclared_relation", "agent:a", "it was seen that agent:a calls tool:wipe"),
        ("undeclared_relation", "mcp_server:crm", "it was seen that mcp_server:crm exposes tool:crm/new"),
        ("unseen_relation", "agent:a", "it is declared that agent:a reads dataset:old"),
        ("unseen_relation", "agent:a", "it is declared that agent:a uses model:gone"),
    ]
    assert found(declared, {}) == []
    assert found([*declared, *seen], dict.fromkeys([*declared, *seen], NOW)) == []
