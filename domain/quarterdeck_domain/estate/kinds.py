"""The kinds of objects an estate is made of. Adding one means adding a class here: schema, registry, read side and
documentation are derived from it.

A kind's class holds the attributes that only objects of that kind have. All may be missing, so that a draft can begin
with a name and be improved step by step; which ones a live object should have is `Kind.expected`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Digest = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{2,20}:[0-9A-Za-z+/=_-]{8,140}$", max_length=161)]
"""An algorithm's name and a digest, such as `sha256:…`."""
Decimal = Annotated[str, msgspec.Meta(pattern="^-?[0-9]{1,18}(\\.[0-9]{1,18})?$", max_length=38)]
"""An exact number as text: our JSON has no floats."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(max_length=200)]
Key = Annotated[str, msgspec.Meta(pattern="^[!-~](?:[ -~]{0,98}[!-~])?$", max_length=100)]
"""The name of a label or of a part: printable ASCII, because that is what our JSON's names are."""
Parts = Annotated[dict[Key, Digest], msgspec.Meta(max_length=10)]

Audience = Literal["customer", "employee", "operational_system"]
Privilege = Literal["read", "write", "trigger", "route"]
SideEffect = Literal["none", "idempotent", "check_then_act", "at_most_once"]
Trust = Literal["trusted", "unreviewed", "untrusted"]
Hosting = Literal["public_cloud_api", "on_premises", "dedicated_cluster"]
SourceKind = Literal["customer_data", "internal_documents", "business_system", "public", "telemetry"]
UseKind = Literal[
    "composing_responses", "ranking_results", "routing_tickets", "drafting_communications", "summarizing_data", "other"
]


class Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every kind: its attributes. `labels` is what a house wants to note and we do not know."""

    title: ClassVar[str]
    """What people call it."""
    control: ClassVar[bool] = False
    """Whether it is itself a control: it governs others."""
    acts: ClassVar[bool] = False
    """Whether it does things by itself, so that somebody must answer for what it can reach."""
    holds_data: ClassVar[bool] = False
    """Whether reaching it is reaching data."""
    expected: ClassVar[tuple[str, ...]] = ()
    """Attributes that a live object of this kind should have."""

    labels: Annotated[dict[Key, Text], msgspec.Meta(max_length=50)] = {}
    cautions: Texts = ()
    """What looked wrong to the importer that read it last: hints for people, not verdicts."""
    gone: Text | None = None
    """The source that it came from and that no longer offers it."""


class Model(Kind, frozen=True, kw_only=True):
    """A model, whoever runs it; what answers is one of its versions, deployed somewhere."""

    title = "model"
    expected = ("family", "provider")

    family: Text | None = None
    provider: Text | None = None
    origin: Address | None = None
    """Where the weights or the service come from."""
    licence: Text | None = None
    modalities: Texts = ()
    tasks: Texts = ()
    architecture: Text | None = None
    context_tokens: Count | None = None
    serves: Text | None = None
    """The version that answers when it is asked for, as it was reviewed: its pin."""


class ModelVersion(Kind, frozen=True, kw_only=True):
    """One version of a model, pinned."""

    title = "model version"
    expected = ("digest",)

    digest: Digest | None = None
    pinned: Digest | None = None
    pin: Text | None = None
    """What a request names to get exactly this version."""
    status: Literal["candidate", "current", "superseded", "withdrawn"] | None = None


class Deployment(Kind, frozen=True, kw_only=True):
    """A model version where it runs."""

    title = "deployment"
    expected = ("region", "provider")

    endpoint: Address | None = None
    region: Text | None = None
    site: Text | None = None
    provider: Text | None = None
    hosting: Hosting | None = None


class Provider(Kind, frozen=True, kw_only=True):
    """A company or team that serves models or tools."""

    title = "provider"

    contract: Text | None = None
    residency: Texts = ()
    hosting: Hosting | None = None


class Route(Kind, frozen=True, kw_only=True):
    """A name under which calls are sent to deployments, with weights and fallbacks."""

    title = "route"
    expected = ("targets",)

    targets: Texts = ()
    strategy: Text | None = None
    fallbacks: Texts = ()
    digest: Digest | None = None
    """Of the models that it sends calls to, as its configuration names them; not of fallbacks."""
    pinned: Digest | None = None
    parts: Parts = {}
    """By model, so that what came and went can be named."""
    pinned_parts: Parts = {}


class Prompt(Kind, frozen=True, kw_only=True):
    """A prompt; what is sent is one of its versions."""

    title = "prompt"

    use: UseKind | None = None
    path: Address | None = None
    digest: Digest | None = None
    """Of the version that its source shows as the newest, as it was last read."""
    pinned: Digest | None = None


class PromptVersion(Kind, frozen=True, kw_only=True):
    """One version of a prompt, by the digest of its text."""

    title = "prompt version"
    expected = ("digest",)

    digest: Digest | None = None
    variables: Texts = ()
    path: Address | None = None


class Agent(Kind, frozen=True, kw_only=True):
    """A program that decides by a model what it does next."""

    title = "agent"
    acts = True
    expected = ("autonomy",)

    principal: Text | None = None
    """The id of the principal it is known by here."""
    autonomy: Literal["suggests", "acts_with_approval", "acts"] | None = None
    max_steps: Count | None = None
    max_calls: Count | None = None
    max_tokens: Count | None = None
    endpoint: Address | None = None
    protocol: Text | None = None
    skills: Texts = ()
    digest: Digest | None = None
    """Of what it says of itself (its card), as it was last read."""
    pinned: Digest | None = None
    input_mix: Text | None = None
    """How long what it is asked is, as it was reviewed: its pin. See `input_mix`."""


class McpServer(Kind, frozen=True, kw_only=True):
    """A server of the Model Context Protocol, with the tools, resources and prompts that it offers."""

    title = "MCP server"
    expected = ("endpoint", "transport", "trust")

    endpoint: Address | None = None
    transport: Literal["streamable_http", "sse", "stdio"] | None = None
    trust: Trust | None = None
    protocol_version: Text | None = None
    implementation: Text | None = None
    digest: Digest | None = None
    """Of everything that it offers, as it was last read."""
    offer: Digest | None = None
    """Of the names of its tools as they were reviewed: its pin. See `offers`."""


class Tool(Kind, frozen=True, kw_only=True):
    """Something an agent can call. `pinned` is the digest of the description and schema that were reviewed."""

    title = "tool"
    expected = ("privileges", "side_effect")

    operations: Texts = ()
    privileges: tuple[Privilege, ...] = ()
    scope: Text | None = None
    side_effect: SideEffect | None = None
    target_system: Text | None = None
    hints: Texts = ()
    """What its server says of it (annotations of MCP): claims, which nobody has checked."""
    digest: Digest | None = None
    pinned: Digest | None = None
    parts: Parts = {}
    """Digests of what `digest` is made of, so that a change can be named."""
    pinned_parts: Parts = {}


class ToolGrant(Kind, frozen=True, kw_only=True):
    """The permission of an agent to use a tool within a scope."""

    title = "tool grant"
    control = True
    expected = ("privileges",)

    privileges: tuple[Privilege, ...] = ()
    scope: Text | None = None
    expires_at: Text | None = None


class Dataset(Kind, frozen=True, kw_only=True):
    """Data that is read, written, retrieved or trained on."""

    title = "dataset"
    holds_data = True
    expected = ("source_kind", "residency")

    source_kind: SourceKind | None = None
    residency: Text | None = None
    location: Address | None = None
    retention_days: Count | None = None
    digest: Digest | None = None
    pinned: Digest | None = None


class RetrievalIndex(Kind, frozen=True, kw_only=True):
    """An index through which documents reach a prompt."""

    title = "retrieval index"
    holds_data = True

    embedding_model: Text | None = None
    digest: Digest | None = None
    pinned: Digest | None = None
    documents: Count | None = None


class FeatureStore(Kind, frozen=True, kw_only=True):
    """A store of features for models."""

    title = "feature store"
    holds_data = True

    location: Address | None = None


class ContextStore(Kind, frozen=True, kw_only=True):
    """Memory or state that agents keep between calls."""

    title = "context store"
    holds_data = True
    expected = ("retention_days",)

    retention_days: Count | None = None
    location: Address | None = None


class TrainingPipeline(Kind, frozen=True, kw_only=True):
    """What makes model versions out of data and code."""

    title = "training pipeline"

    code: Address | None = None
    digest: Digest | None = None


class FineTuningRun(Kind, frozen=True, kw_only=True):
    """One run that made a version of a model out of another."""

    title = "fine-tuning run"

    method: Text | None = None
    digest: Digest | None = None


class Workflow(Kind, frozen=True, kw_only=True):
    """A business process in which agents, prompts and people take part."""

    title = "workflow"
    acts = True
    expected = ("steps", "workflow_class")

    steps: Texts = ()
    workflow_class: Literal["low_risk_sandbox", "customer_facing", "regulated_internal"] | None = None
    version: Text | None = None


class Orchestration(Kind, frozen=True, kw_only=True):
    """The code or graph that decides which agent or tool comes next."""

    title = "orchestration logic"
    acts = True

    code: Address | None = None
    framework: Text | None = None
    digest: Digest | None = None


class Application(Kind, frozen=True, kw_only=True):
    """A product or an internal application in which all of it is used."""

    title = "application"
    acts = True

    surface: Text | None = None
    region: Text | None = None


class OutputChannel(Kind, frozen=True, kw_only=True):
    """Where results go, and who hears them."""

    title = "output channel"
    expected = ("audience",)

    audience: Audience | None = None
    address: Address | None = None


class Team(Kind, frozen=True, kw_only=True):
    """People who answer for a part of the estate. Names of persons do not belong here: name a rota or a channel."""

    title = "team"

    function: (
        Literal["ai_engineering", "platform", "security", "governance", "finops", "leadership", "product"] | None
    ) = None
    on_call: Address | None = None
    channel: Address | None = None


class PolicyBundle(Kind, frozen=True, kw_only=True):
    """A bundle of policies as a control of the map."""

    title = "policy bundle"
    control = True

    bundle: Text | None = None
    """The name of the bundle that is published here."""
    policy_class: Text | None = None


class ApprovalPath(Kind, frozen=True, kw_only=True):
    """The way by which people consent."""

    title = "approval path"
    control = True

    path: Text | None = None
    """The id of the path that is published here."""


class ExceptionWindow(Kind, frozen=True, kw_only=True):
    """A time in which a rule does not hold, why, and until when."""

    title = "exception window"
    control = True
    expected = ("reason", "expires_at")

    reason: Text | None = None
    expires_at: Text | None = None


class MonitoringHook(Kind, frozen=True, kw_only=True):
    """Where somebody watches."""

    title = "monitoring hook"
    control = True

    signal: Text | None = None
    destination: Address | None = None


class Budget(Kind, frozen=True, kw_only=True):
    """A limit on what may be spent."""

    title = "budget"
    control = True
    expected = ("limit", "currency", "period")

    limit: Decimal | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", max_length=3)] | None = None
    period: Literal["hour", "day", "week", "month", "quarter", "year"] | None = None


class Guardrail(Kind, frozen=True, kw_only=True):
    """A filter on what goes into or comes out of a model."""

    title = "guardrail"
    control = True
    expected = ("stage",)

    stage: Literal["input", "output", "tool_call", "retrieval"] | None = None
    digest: Digest | None = None


class EvaluationSuite(Kind, frozen=True, kw_only=True):
    """Tests by which quality is judged."""

    title = "evaluation suite"
    control = True

    cases: Count | None = None
    digest: Digest | None = None


KINDS: Final[Mapping[str, type[Kind]]] = MappingProxyType(
    {
        "model": Model,
        "model_version": ModelVersion,
        "deployment": Deployment,
        "provider": Provider,
        "route": Route,
        "prompt": Prompt,
        "prompt_version": PromptVersion,
        "agent": Agent,
        "mcp_server": McpServer,
        "tool": Tool,
        "tool_grant": ToolGrant,
        "dataset": Dataset,
        "retrieval_index": RetrievalIndex,
        "feature_store": FeatureStore,
        "context_store": ContextStore,
        "training_pipeline": TrainingPipeline,
        "fine_tuning_run": FineTuningRun,
        "workflow": Workflow,
        "orchestration": Orchestration,
        "application": Application,
        "output_channel": OutputChannel,
        "team": Team,
        "policy_bundle": PolicyBundle,
        "approval_path": ApprovalPath,
        "exception_window": ExceptionWindow,
        "monitoring_hook": MonitoringHook,
        "budget": Budget,
        "guardrail": Guardrail,
        "evaluation_suite": EvaluationSuite,
    }
)
"""Every kind by its name. The order is that in which people read an estate: from what acts to what controls it."""


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema (2020-12) of the attributes of every kind, one definition a kind."""
    _, components = msgspec.json.schema_components(tuple(KINDS.values()), ref_template="#/$defs/{name}")
    named = {name: components[found.__name__] | {"title": found.title} for name, found in KINDS.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": named}
