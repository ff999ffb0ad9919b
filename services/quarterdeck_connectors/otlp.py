"""What arrives over OTLP/HTTP, as spans: bytes in, `Batch` out, bounded in size, number and depth. Nothing is sent.

Protobuf and JSON give the same batch. Of a span only what `semconv` names is kept, so that no prompt, argument or
document of a trace is held longer than it takes to skip it.

Sources: OpenTelemetry protocol specification 1.11, "OTLP/HTTP" (binary and JSON encodings, partial success);
opentelemetry-proto, trace/v1/trace.proto; RFC 1952 (gzip).
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.semconv import RESOURCE_NAMES, SPAN_NAMES

MAX_BYTES: Final = 32 * 2**20
"""Of a request, inflated."""
MAX_SPANS: Final = 20_000
MAX_RESOURCES: Final = 5_000
"""Resources and scopes of a request, together."""
MAX_ATTRIBUTES: Final = 1_000
"""Of one span or one resource."""
MAX_VALUE: Final = 1_000
"""Characters of a value that is kept: what is longer is cut, and is no name of anything."""
MAX_REASONS: Final = 5

Encoding = Literal["protobuf", "json"]

_SERVER_KINDS: Final = frozenset({2, 5})
"""SERVER and CONSUMER: their parent is somebody else's."""
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it arrived: `said` is what it says of itself, of the names in `semconv` (numbers as text)."""

    trace: str
    id: str
    parent: str = ""
    name: str = ""
    server: bool = False
    """It serves somebody else's request."""
    remote: bool = False
    """Its parent is in another process."""
    begins_ns: int = 0
    said: Mapping[str, str] = {}
    resource: Mapping[str, str] = {}


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one request. `rejected` were not taken; `reasons` says why, the first few."""

    spans: tuple[Span, ...]
    rejected: int = 0
    reasons: tuple[str, ...] = ()


def inflate(body: bytes, encoding: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return a body as it was before it was compressed (`gzip`, or `identity`), never inflating more than the bound.

    Raises:
        UnreadableSource: another encoding, not gzip, cut short, or longer than `max_bytes` when inflated.
    """
    if encoding in ("", "identity"):
        found = body
    elif encoding == "gzip":
        found = _gunzip(body, max_bytes)
    else:
        raise UnreadableSource(f"Content-Encoding {encoding[:40]!r} is not read here: send gzip, or none")
    if len(found) > max_bytes:
        raise UnreadableSource(f"a request of traces has at most {max_bytes} bytes", limit=max_bytes)
    return found


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    found, rest = bytearray(), body
    while rest:
        # A gzip file may have several members, one after the other (RFC 1952 section 2.2).
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            found += member.decompress(rest, max_bytes + 1 - len(found))
        except zlib.error as error:
            raise UnreadableSource(f"the body is not gzip, as its Content-Encoding says: {error}") from None
        if len(found) > max_bytes:
            raise UnreadableSource(f"a request of traces inflates to at most {max_bytes} bytes", limit=max_bytes)
        if not member.eof:
            raise UnreadableSource("the gzip body is cut short")
        rest = member.unused_data
    return bytes(found)


def read(body: bytes, encoding: Encoding) -> Batch:
    """Return the spans of an ExportTraceServiceRequest. A span that is wrong is rejected alone; the others are taken.

    Raises:
        UnreadableSource: the body is not such a request, or has too many parts or too deep ones.
    """
    return _Reading().batch(_protobuf(body) if encoding == "protobuf" else _json(body))


class _Raw(msgspec.Struct, frozen=True):
    """A span before it is checked, and what its resource says."""

    trace: bytes | None
    id: bytes | None
    parent: bytes | None
    name: str
    kind: int
    flags: int
    begins_ns: int
    attributes: Mapping[str, str] | None
    resource: Mapping[str, str]


class _Reading:
    """Checks spans one by one and counts those that are wrong."""

    def __init__(self) -> None:
        self.rejected = 0
        self.reasons: dict[str, None] = {}

    def batch(self, raw: Iterable[_Raw]) -> Batch:
        spans = [span for found in raw if (span := self._span(found)) is not None]
        taken = spans[:MAX_SPANS]
        if len(spans) > MAX_SPANS:
            self._reject(f"a request has at most {MAX_SPANS} spans", len(spans) - MAX_SPANS)
        return Batch(spans=tuple(taken), rejected=self.rejected, reasons=tuple(self.reasons)[:MAX_REASONS])

    def _span(self, raw: _Raw) -> Span | None:
        wrong = _wrong(raw)
        if wrong or raw.trace is None or raw.id is None or raw.parent is None or raw.attributes is None:
            self._reject(wrong)
            return None
        server = raw.kind in _SERVER_KINDS
        return Span(
            trace=raw.trace.hex(),
            id=raw.id.hex(),
            parent=raw.parent.hex() if any(raw.parent) else "",
            name=raw.name[:MAX_VALUE],
            server=server,
            remote=server or raw.flags & (_HAS_IS_REMOTE | _IS_REMOTE) == _HAS_IS_REMOTE | _IS_REMOTE,
            begins_ns=raw.begins_ns,
            said=raw.attributes,
            resource=raw.resource,
        )

    def _reject(self, why: str, count: int = 1) -> None:
        self.rejected += count
        self.reasons[why] = None


def _wrong(raw: _Raw) -> str:
    if raw.trace is None or len(raw.trace) != 16 or not any(raw.trace):
        return "a trace id is 16 bytes and not all zero"
    if raw.id is None or len(raw.id) != 8 or not any(raw.id):
        return "a span id is 8 bytes and not all zero"
    if raw.parent is None or len(raw.parent) not in (0, 8):
        return "a parent span id is 8 bytes, or none"
    return f"a span has at most {MAX_ATTRIBUTES} attributes" if raw.attributes is None else ""


def _too_many(what: str, limit: int) -> UnreadableSource:
    return UnreadableSource(f"a request has at most {limit} {what}: send smaller batches", limit=limit)


# -- binary ------------------------------------------------------------------------------------------------------------


def _protobuf(body: bytes) -> Iterator[_Raw]:
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise UnreadableSource(
            "the body is not an ExportTraceServiceRequest in protobuf (or nests too deep)",
            expected="opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
        ) from None
    _bound(len(request.resource_spans), (len(found.scope_spans) for found in request.resource_spans))
    for group in request.resource_spans:
        resource = _pairs(group.resource.attributes, RESOURCE_NAMES) or {}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _of_message(span, resource)


def _of_message(span: trace_pb2.Span, resource: Mapping[str, str]) -> _Raw:
    return _Raw(
        trace=span.trace_id,
        id=span.span_id,
        parent=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        flags=span.flags,
        begins_ns=span.start_time_unix_nano,
        attributes=_pairs(span.attributes, SPAN_NAMES),
        resource=resource,
    )


def _pairs(pairs: Iterable[KeyValue], names: frozenset[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for count, pair in enumerate(pairs):
        if count == MAX_ATTRIBUTES:
            return None
        if pair.key in names:
            kind = pair.value.WhichOneof("value")
            if kind == "string_value":
                found[pair.key] = pair.value.string_value[:MAX_VALUE]
            elif kind == "int_value":
                found[pair.key] = str(pair.value.int_value)
    return found


def _bound(resources: int, scopes: Iterable[int]) -> None:
    if resources + sum(scopes) > MAX_RESOURCES:
        raise _too_many("resources and scopes", MAX_RESOURCES)


# -- JSON --------------------------------------------------------------------------------------------------------------
# The protobuf JSON mapping, but for ids, which are hex. Names are camelCase; unknown ones are skipped; null is a
# default; 64-bit integers are text or numbers.

_Int = int | str | None


class _JsonValue(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: _Int = None


class _JsonPair(msgspec.Struct):
    key: str | None = None
    value: _JsonValue | None = None


class _JsonSpan(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | str | None = None
    flags: int | None = None
    start_time_unix_nano: _Int = None
    attributes: list[_JsonPair] | None = None


class _JsonScope(msgspec.Struct):
    spans: list[_JsonSpan] | None = None


class _JsonResource(msgspec.Struct):
    attributes: list[_JsonPair] | None = None


class _JsonGroup(msgspec.Struct, rename="camel"):
    resource: _JsonResource | None = None
    scope_spans: list[_JsonScope] | None = None


class _JsonRequest(msgspec.Struct, rename="camel"):
    resource_spans: list[_JsonGroup] | None = None


_request: Final = msgspec.json.Decoder(_JsonRequest)


def _json(body: bytes) -> Iterator[_Raw]:
    try:
        groups = _request.decode(body.decode()).resource_spans or []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableSource(f"the body is not an ExportTraceServiceRequest in JSON: {error}") from None
    except RecursionError:
        raise UnreadableSource("the body nests too deep to be a request of traces") from None
    _bound(len(groups), (len(group.scope_spans or ()) for group in groups))
    for group in groups:
        said = group.resource.attributes if group.resource is not None else None
        resource = _json_pairs(said, RESOURCE_NAMES) or {}
        for scope in group.scope_spans or ():
            for span in scope.spans or ():
                yield _Raw(
                    trace=_hex(span.trace_id),
                    id=_hex(span.span_id),
                    parent=_hex(span.parent_span_id or ""),
                    name=span.name or "",
                    kind=_json_kind(span.kind),
                    flags=span.flags or 0,
                    begins_ns=_integer(span.start_time_unix_nano),
                    attributes=_json_pairs(span.attributes, SPAN_NAMES),
                    resource=resource,
                )


def _json_pairs(pairs: list[_JsonPair] | None, names: frozenset[str]) -> dict[str, str] | None:
    if pairs is not None and len(pairs) > MAX_ATTRIBUTES:
        return None
    found: dict[str, str] = {}
    for pair in pairs or ():
        if pair.key is not None and pair.key in names and pair.value is not None:
            if pair.value.string_value is not None:
                found[pair.key] = pair.value.string_value[:MAX_VALUE]
            elif pair.value.int_value is not None:
                found[pair.key] = str(_integer(pair.value.int_value))[:MAX_VALUE]
    return found


def _json_kind(kind: int | str | None) -> int:
    # OTLP says numbers; the general protobuf mapping also knows names.
    if isinstance(kind, str):
        return trace_pb2.Span.SpanKind.Value(kind) if kind in trace_pb2.Span.SpanKind.keys() else 0  # noqa: SIM118
    return kind or 0


def _integer(value: _Int) -> int:
    if isinstance(value, str):
        plain = value.isascii() and value.lstrip("-").isdigit() and len(value) <= 20
        return int(value) if plain and value.rfind("-") <= 0 else 0
    return value or 0


def _hex(text: str | None) -> bytes | None:
    try:
        return binascii.unhexlify(text or "")
    except (binascii.Error, ValueError):
        return None
