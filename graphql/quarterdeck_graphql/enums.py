"""The closed sets of the record, with what each value means. Their values are the domain's own words."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import strawberry

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.estate import events as estate_events
from quarterdeck_domain.estate import source_events
from quarterdeck_domain.estate import values as estate
from quarterdeck_domain.policy import events as policy


def _value(word: str, description: str) -> Any:
    return strawberry.enum_value(word, description=description)


@strawberry.enum(description="The order of a page.")
class Order(Enum):
    OLDEST_FIRST = _value("oldest_first", "As it began.")
    NEWEST_FIRST = _value("newest_first", "What began last comes first.")


@strawberry.enum(description="What a principal may do.")
class Role(Enum):
    ADMINISTRATOR = _value("administrator", "Decides who may do what.")
    OPERATOR = _value("operator", "Keeps things going: reconciles, revokes, sends again.")
    APPROVER = _value("approver", "Approves or denies what others ask for.")
    AUDITOR = _value("auditor", "Reads everything, commands nothing.")
    AGENT = _value("agent", "Asks, waits and redeems.")


@strawberry.enum(description="What a principal is.")
class PrincipalKind(Enum):
    HUMAN = _value("human", "A person.")
    SERVICE = _value("service", "A program that people run.")
    AGENT = _value("agent", "An AI agent.")


@strawberry.enum(description="Whether a principal may act.")
class PrincipalState(Enum):
    ACTIVE = _value("active", "It may.")
    DEACTIVATED = _value("deactivated", "It may no more; its history stays.")
    ERASED = _value("erased", "Deactivated, and its personal data cannot be read any more.")


@strawberry.enum(description="Why somebody's personal data is erased.")
class ErasureReason(Enum):
    REQUESTED = _value("requested", "They asked for it, or took back their consent.")
    NO_LONGER_NEEDED = _value("no_longer_needed", "What it was kept for is over.")
    UNLAWFUL = _value("unlawful", "It should never have been kept.")
    OBLIGATION = _value("obligation", "A law or a court demands it.")


@strawberry.enum(description="Whether a tenant takes commands.")
class TenantState(Enum):
    OPEN = _value("open", "It does.")
    CLOSED = _value("closed", "It does no more; its log stays readable.")


@strawberry.enum(description="What a key is for.")
class ApiKeyPurpose(Enum):
    API = _value("api", "Programs.")
    SESSION = _value("session", "A person's signed-in session.")


@strawberry.enum(description="Whether a key opens anything.")
class ApiKeyState(Enum):
    ACTIVE = _value("active", "It does, until it expires.")
    ROTATED = _value("rotated", "Another took its place; it works until it expires.")
    REVOKED = _value("revoked", "It does no more.")


@strawberry.enum(description="What a policy bundle does.")
class PolicyBundleMode(Enum):
    DRAFT = _value("draft", "Nothing yet.")
    ENFORCED = _value("enforced", "It decides.")
    SHADOW = _value("shadow", "It is watched beside the one that decides.")
    RETIRED = _value("retired", "Nothing any more.")


@strawberry.enum(description="What policy said.")
class DecisionOutcome(Enum):
    PERMIT = _value("permit", "Yes.")
    DENY = _value("deny", "No.")
    APPROVAL_REQUIRED = _value("approval_required", "Ask a human.")


@strawberry.enum(description="How an approval stands.")
class ApprovalStatus(Enum):
    PENDING = _value("pending", "People have yet to decide.")
    APPROVED = _value("approved", "Every stage has its quorum.")
    DENIED = _value("denied", "Somebody said no.")
    EXPIRED = _value("expired", "Nobody decided in time.")
    CANCELLED = _value("cancelled", "Its requester took it back.")


@strawberry.enum(description="What an approver said.")
class Verdict(Enum):
    APPROVE = _value("approve", "Yes.")
    DENY = _value("deny", "No.")


@strawberry.enum(description="How a grant stands. One that was minted ends at `expiresAt` if it is not used.")
class GrantState(Enum):
    MINTED = _value("minted", "It may be redeemed, once.")
    REDEEMED = _value("redeemed", "It was used.")
    REVOKED = _value("revoked", "It was taken back before it was used.")


@strawberry.enum(description="How an effect may be repeated.")
class EffectClass(Enum):
    IDEMPOTENT = _value("idempotent", "Doing it again changes nothing more.")
    CHECK_THEN_ACT = _value("check_then_act", "Look first whether it was done.")
    AT_MOST_ONCE = _value("at_most_once", "Never again without a human.")


@strawberry.enum(description="How an effect stands.")
class EffectState(Enum):
    STARTED = _value("started", "Its executor has not said how it ended.")
    COMMITTED = _value("committed", "It happened.")
    FAILED = _value("failed", "It did not happen.")
    UNKNOWN = _value("unknown", "Nobody knows, until a human settles it.")


@strawberry.enum(description="How an effect ended.")
class EffectOutcome(Enum):
    COMMITTED = _value("committed", "It happened.")
    FAILED = _value("failed", "It did not happen.")
    UNKNOWN = _value("unknown", "Its executor does not know.")


@strawberry.enum(description="How the delivery of a callback stands.")
class CallbackState(Enum):
    DELIVERED = _value("delivered", "The requester's endpoint took it.")
    ABANDONED = _value("abandoned", "It could not be delivered: a dead letter.")
    RESENT = _value("resent", "An operator sent it again.")


@strawberry.enum(description="How an event stands that could not be acted on.")
class ParkedState(Enum):
    PARKED = _value("parked", "It waits for an operator.")
    RELEASED = _value("released", "An operator sent it round again.")


@strawberry.enum(description="Whether an object of the estate is in use.")
class Lifecycle(Enum):
    DRAFT = _value("draft", "Not yet.")
    LIVE = _value("live", "It is.")
    DEPRECATED = _value("deprecated", "It is, and on its way out.")
    QUARANTINED = _value("quarantined", "It is not to be used until somebody has looked at it.")
    RETIRED = _value("retired", "No more.")


@strawberry.enum(description="How something about the estate came to be known.")
class Confidence(Enum):
    DECLARED = _value("declared", "Somebody says so.")
    IMPORTED = _value("imported", "It was read where it is kept.")
    OBSERVED = _value("observed", "It was seen.")


@strawberry.enum(description="An input of behaviour.")
class DriftInput(Enum):
    MODEL = _value("model", "The model that answers.")
    PROMPT = _value("prompt", "The prompt it is given.")
    RETRIEVAL = _value("retrieval", "The documents that are retrieved.")
    TOOLS = _value("tools", "The tools it can call, and what they say of themselves.")
    INPUT_MIX = _value("input_mix", "What it is asked.")


@strawberry.enum(description="How a drift stands.")
class DriftState(Enum):
    OPEN = _value("open", "Nobody has looked at it.")
    ACCEPTED = _value("accepted", "What was found is the new pin.")


@strawberry.enum(description="What a source of the estate is.")
class SourceKind(Enum):
    MCP = _value("mcp", "A server of the Model Context Protocol, over streamable HTTP.")
    MODELS = _value("models", "A list of models, as OpenAI-compatible and Anthropic-compatible servers have it.")
    LITELLM = _value("litellm", "A configuration of the LiteLLM proxy.")
    OPENAPI = _value("openapi", "An OpenAPI document.")
    A2A = _value("a2a", "An agent card.")
    CYCLONEDX = _value("cyclonedx", "A CycloneDX bill of materials.")
    SPDX = _value("spdx", "An SPDX 3 bill of materials.")
    ESTATE = _value("estate", "An estate file.")


@strawberry.enum(description="Whose list of models it is.")
class ModelDialect(Enum):
    OPENAI = _value("openai", "As OpenAI's API has it.")
    ANTHROPIC = _value("anthropic", "As Anthropic's API has it.")


@strawberry.enum(description="What becomes of an object that is not as it was pinned.")
class OnDrift(Enum):
    NOTE = _value("note", "The drift is noted.")
    QUARANTINE = _value("quarantine", "And the object is not to be used until somebody has looked at it.")


@strawberry.enum(description="A setting that a source may be without.")
class SourceSetting(Enum):
    EVERY_S = _value("every_s", "How often it is imported: without, only on request.")
    ENVIRONMENT = _value("environment", "Where what it declares runs.")
    CREDENTIAL = _value("credential", "The secret that it is read with.")


@strawberry.enum(description="Whether the estate is imported from a source.")
class SourceState(Enum):
    ACTIVE = _value("active", "It is.")
    REMOVED = _value("removed", "No more.")


@strawberry.enum(description="How the last import of a source ended.")
class SourceOutcome(Enum):
    SYNCED = _value("synced", "The estate says what it says.")
    FAILED = _value("failed", "Nothing of it was imported.")


@strawberry.enum(description="Why a source was imported.")
class ImportTrigger(Enum):
    REQUEST = _value("request", "Somebody asked for it.")
    SCHEDULE = _value("schedule", "It was due.")


OF_LITERAL: Final[dict[Any, Any]] = {
    access.Role: Role,
    access.PrincipalKind: PrincipalKind,
    access.KeyPurpose: ApiKeyPurpose,
    access.ErasureReason: ErasureReason,
    policy.Outcome: DecisionOutcome,
    approvals.Verdict: Verdict,
    approvals.EffectClass: EffectClass,
    approvals.EffectOutcome: EffectOutcome,
    estate.Lifecycle: Lifecycle,
    estate.Confidence: Confidence,
    estate_events.DriftInput: DriftInput,
    source_events.SourceKind: SourceKind,
    source_events.Dialect: ModelDialect,
    source_events.OnDrift: OnDrift,
    source_events.Trigger: ImportTrigger,
    source_events.Clearable: SourceSetting,
}
"""Which enum stands for which of the domain's own sets; each has exactly its words."""
