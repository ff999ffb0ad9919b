"""Structured logs of every process: JSON for machines, console lines for people, trace ids in both, secrets in neither.

Records of libraries that use `logging` go the same way. Redaction runs last before a line is written, over keys that
name secrets and over any text that holds a credential of ours or a bearer token, wherever it stands.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from quarterdeck_runtime.settings import Settings
from quarterdeck_runtime.telemetry import current_span_id, current_trace_id

REDACTED: Final = "[redacted]"
MAX_DEPTH: Final = 6
MAX_TEXT: Final = 4_000

_SECRET_NAMES: Final = re.compile(
    r"authorization|cookie|secret|token|password|passwd|api_?key|private|credential|signature|reveal|database_url|"
    r"migrate_url|dsn",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"(?P<mark>qdl?_[a-z0-9-]{1,63}_[0-9a-z]{26}_)[A-Za-z0-9_-]+"  # a credential of ours: its id may stay
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JSON Web Token
    r"|(?P<userinfo>://[^\s/:@]*:)[^\s/@]+(?=@)"  # a password in an address
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.IGNORECASE,
)


def configure(settings: Settings, role: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process. Call it first; calling it again replaces what was set up."""
    target = stream if stream is not None else sys.stderr
    console = settings.log_format == "console" or (settings.log_format == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _adder(role),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=target.isatty())
        if console
        else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for telltale in ("mcp", "client"):
        # The MCP SDK logs what servers send, and servers may send back the secret that they were read with. What was
        # wrong with a server is told by our own error.
        logging.getLogger(telltale).setLevel(logging.CRITICAL + 1)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event without anything that opens something. The last processor before rendering."""
    return {name: _redacted(name, value, 0) for name, value in event.items()}


def redact_text(text: str) -> str:
    """Return a text with the secrets in it replaced; what tells credentials apart stays."""
    return _SECRET_TEXT.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    kept = match["mark"] or match["scheme"] or match["userinfo"] or ""
    return f"{kept}{REDACTED}"


def _redacted(name: str, value: object, depth: int) -> object:
    if name.startswith("_"):
        return value  # structlog's own record of the log call, taken out before rendering
    if value is not None and _SECRET_NAMES.search(name) and not isinstance(value, bool):
        return REDACTED
    if isinstance(value, str):
        shown = redact_text(value)
        return shown if len(shown) <= MAX_TEXT or name in ("exception", "stack") else f"{shown[:MAX_TEXT]}…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _redacted(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(name, item, depth + 1) for item in value]
    return redact_text(str(value))


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    trace_id = current_trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
        event.setdefault("span_id", current_span_id())
    return event


def _adder(role: str) -> Processor:
    def add_role(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["role"] = role
        return event

    return add_role
