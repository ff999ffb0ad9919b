"""The schema: every type, every question, every command, put together once a process."""

from __future__ import annotations

from functools import cache
from typing import Any

import strawberry
import structlog
from graphql import GraphQLError, print_schema
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext

from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_graphql.executor import RecordExecutor, prepare
from quarterdeck_graphql.extensions import expected, extensions
from quarterdeck_graphql.mutations import mutation_type
from quarterdeck_graphql.query import NODE_TYPES, Query
from quarterdeck_graphql.scalars import SCALARS
from quarterdeck_graphql.subscriptions import Subscription

_log = structlog.get_logger(__name__)


class RecordSchema(strawberry.Schema):
    """The schema with our errors in the log of the process: the unexpected ones, and those alone."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log what should not have happened."""
        for error in errors:
            if not expected(error):
                path = ".".join(str(part) for part in error.path or ())
                _log.error("graphql field failed", path=path, exc_info=error.original_error)


@cache
def build_schema(*, introspection: bool) -> RecordSchema:
    """Return the schema; with `introspection`, clients may ask for it."""
    schema = RecordSchema(
        query=Query,
        mutation=_mutation(),
        subscription=Subscription,
        types=NODE_TYPES,
        extensions=extensions(introspection=introspection),
        execution_context_class=RecordExecutor,
        config=StrawberryConfig(disable_field_suggestions=True, relay_max_results=100, scalar_map=SCALARS),
    )
    prepare(schema._schema)
    return schema


@cache
def _mutation() -> Any:
    return mutation_type(COMMANDS)


def schema_text() -> str:
    """Return the schema in its definition language, as it is committed."""
    return print_schema(build_schema(introspection=True)._schema) + "\n"
