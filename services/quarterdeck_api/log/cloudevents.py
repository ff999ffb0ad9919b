"""Recorded events as CloudEvents 1.0 in the JSON format, straight from their entries: personal fields stay sealed.

`sequence` is the position, padded so that it sorts as text; `time` is when it was recorded. Tags and the chain of
principals acted for are lists here and CloudEvents attributes are not, so they are separated by spaces.

Source: CloudEvents 1.0.2 and its JSON format; extensions sequence, partitioning, distributed tracing, authcontext.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

TYPE_PREFIX: Final = "quarterdeck."
MEDIA_TYPE: Final = "application/cloudevents+json"
BATCH_MEDIA_TYPE: Final = "application/cloudevents-batch+json"

_AUTH_TYPES: Final[Mapping[str, str]] = {"human": "user", "service": "service_account", "agent": "service_account"}


def source_of(origin: str) -> str:
    """Return the `source` of a log's events: a network-path reference that names the log as its checkpoints do."""
    return f"//{origin}"


def to_cloudevent(entry: bytes, origin: str) -> dict[str, Any]:
    """Return an entry as the members of a CloudEvent."""
    event = msgspec.json.decode(entry)
    actor = event["actor"]
    found = {
        "specversion": "1.0",
        "id": event["id"],
        "source": source_of(origin),
        "type": TYPE_PREFIX + event["type"],
        "time": event["recorded_at"],
        "datacontenttype": "application/json",
        "dataschema": f"urn:quarterdeck:event:{event['type']}:{event['version']}",
        "sequence": f"{event['position']:016d}",
        "partitionkey": event["tenant"],
        "authtype": _AUTH_TYPES.get(actor["kind"], "unknown"),
        "authid": actor["principal"],
        "onbehalfof": " ".join(actor["on_behalf_of"]) or None,
        "tags": " ".join(event["tags"]) or None,
        "traceparent": event["cause"].get("traceparent"),
        "data": event["data"],
    }
    return {name: value for name, value in found.items() if value is not None}


def encode_cloudevent(entry: bytes, origin: str) -> bytes:
    """Return an entry as one CloudEvent in the JSON format, on one line."""
    return msgspec.json.encode(to_cloudevent(entry, origin), order="sorted")
