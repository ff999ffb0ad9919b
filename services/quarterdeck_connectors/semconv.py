"""The names under which traces say what they are about: both vocabularies in one place, because both still move.

Sources: OpenTelemetry semantic conventions for generative AI, agents and MCP (docs/gen-ai in
open-telemetry/semantic-conventions-genai, status Development), and their older names; OpenTelemetry resource, server
and network conventions; OpenInference, spec/semantic_conventions.md. Of several names for one thing the newest comes
first.

Only what is named here is read from a span. Contents (messages, arguments, documents, vectors) have no name here, so
they are dropped where they arrive.
"""

from __future__ import annotations

from typing import Final

SERVICE: Final = "service.name"
UNKNOWN_SERVICE: Final = "unknown_service"
"""What an SDK calls a service that nobody has named, alone or before a colon."""
INSTANCE: Final = "service.instance.id"
ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")

OPERATION: Final = "gen_ai.operation.name"
INVOKE_AGENT: Final = frozenset({"invoke_agent", "create_agent"})
INVOKE_WORKFLOW: Final = "invoke_workflow"
EXECUTE_TOOL: Final = "execute_tool"

AGENT_NAME: Final = ("gen_ai.agent.name", "agent.name")
AGENT_ID: Final = "gen_ai.agent.id"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
REQUEST_MODEL: Final = ("gen_ai.request.model", "llm.model_name", "embedding.model_name", "reranker.model_name")
RESPONSE_MODEL: Final = "gen_ai.response.model"
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
TOOL_NAME: Final = ("gen_ai.tool.name", "tool.name")
DATA_SOURCE: Final = "gen_ai.data_source.id"
PROMPT_NAME: Final = ("gen_ai.prompt.name", "prompt.id")
PROMPT_VERSION: Final = "gen_ai.prompt.version"

INPUT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")

MCP_METHOD: Final = "mcp.method.name"
MCP_CALL_TOOL: Final = "tools/call"
MCP_PROTOCOL: Final = "mcp.protocol.version"
MCP_RESOURCE: Final = "mcp.resource.uri"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
TRANSPORT: Final = "network.transport"
STDIO: Final = "pipe"
"""The transport of a server that is spoken to over its standard input and output."""

OPENINFERENCE_KIND: Final = "openinference.span.kind"
OI_AGENT: Final = "AGENT"
OI_TOOL: Final = "TOOL"
OI_RETRIEVER: Final = "RETRIEVER"

RESOURCE_NAMES: Final = frozenset({SERVICE, INSTANCE, AGENT_ID, *ENVIRONMENT})
SPAN_NAMES: Final = frozenset(
    {
        OPERATION,
        *AGENT_NAME,
        AGENT_ID,
        WORKFLOW_NAME,
        *REQUEST_MODEL,
        RESPONSE_MODEL,
        *PROVIDER,
        *TOOL_NAME,
        DATA_SOURCE,
        *PROMPT_NAME,
        PROMPT_VERSION,
        *INPUT_TOKENS,
        MCP_METHOD,
        MCP_PROTOCOL,
        MCP_RESOURCE,
        SERVER_ADDRESS,
        SERVER_PORT,
        TRANSPORT,
        OPENINFERENCE_KIND,
    }
)
