"""What happened to the sources of the estate: the servers and addresses that it is imported from, on request and on a
schedule. What an import found is in the events of the objects themselves, which carry the import's run.
"""

from __future__ import annotations

from typing import Literal

from quarterdeck_domain.events import Event

SourceKind = Literal["mcp", "models", "litellm", "openapi", "a2a", "cyclonedx", "spdx", "estate"]
Dialect = Literal["openai", "anthropic"]
OnDrift = Literal["note", "quarantine"]
Trigger = Literal["request", "schedule"]
Clearable = Literal["every_s", "environment", "credential"]
"""What a source may be without."""


class SourceRegistered(Event, frozen=True, kw_only=True):
    """The estate is imported from somewhere. No secret is here: `credential` names one that the operator keeps."""

    type = "source.registered"
    tag_fields = {"source_id": "source"}

    source_id: str
    """How the house calls it; also the name of the MCP server, proxy or provider that it is."""
    kind: SourceKind
    address: str
    dialect: Dialect = "openai"
    """Of a list of models: whose."""
    every_s: int | None = None
    """How often it is imported; None: only on request."""
    on_drift: OnDrift = "note"
    """What becomes of an object that is not as it was pinned."""
    environment: str | None = None
    """Where what it declares runs, unless it says so itself."""
    credential: str | None = None


class SourceChanged(Event, frozen=True, kw_only=True):
    """A source is read in another way. Every setting is here, not only those that are new."""

    type = "source.changed"
    tag_fields = {"source_id": "source"}

    source_id: str
    address: str
    dialect: Dialect = "openai"
    every_s: int | None = None
    on_drift: OnDrift = "note"
    environment: str | None = None
    credential: str | None = None
    reason: str = ""


class SourceRemoved(Event, frozen=True, kw_only=True):
    """The estate is no longer imported from somewhere. What came from there stays as it is."""

    type = "source.removed"
    tag_fields = {"source_id": "source"}

    source_id: str
    reason: str = ""


class SourceSynced(Event, frozen=True, kw_only=True):
    """A source was read to its end and the estate says what it says. Its events, if any, are in the same append."""

    type = "source.synced"
    tag_fields = {"source_id": "source", "run": "estate-run"}

    source_id: str
    run: str
    trigger: Trigger
    said_by: str
    """The name under which its objects and relations know it."""
    digest: str
    """Of what it declares."""
    plan_digest: str
    objects: int
    changed: bool
    counts: dict[str, int] = {}
    gone: int = 0
    """How many objects came from there and are not there any more."""
    notes: tuple[str, ...] = ()
    """What of it was not taken over, and why: the first of them."""


class SourceFailed(Event, frozen=True, kw_only=True):
    """A source could not be imported; nothing of it was. `error` is stable, `message` says what would be right."""

    type = "source.failed"
    tag_fields = {"source_id": "source", "run": "estate-run"}

    source_id: str
    run: str
    trigger: Trigger
    error: str
    message: str


EVENTS = (SourceRegistered, SourceChanged, SourceRemoved, SourceSynced, SourceFailed)
