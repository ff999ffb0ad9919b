"""The schema as it is published: current, described, closed sets equal to the domain's, nothing broken unseen.

Serves DC-06, S0-120.
"""

from __future__ import annotations

import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLUnionType,
    parse,
    validate,
)

from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql import enums
from quarterdeck_graphql.export import SCHEMA_FILE, breaking_changes, dangerous_changes, main
from quarterdeck_graphql.limits import MAX_ALIASES, MAX_DEPTH, aliases_of, depth_of
from quarterdeck_graphql.persisted import digest, document, operations
from quarterdeck_graphql.problems import PROBLEMS, problem_of
from quarterdeck_graphql.schema import build_schema, schema_text

SCHEMA = build_schema(introspection=True)._schema
OURS = {name: found for name, found in SCHEMA.type_map.items() if not name.startswith("__")}

RELEASED = sorted((Path(__file__).parents[1] / "releases").glob("*/schema.graphql"))


def test_the_committed_schema_is_current() -> None:
    """`python -m quarterdeck_graphql.export` was run after the last change."""
    assert SCHEMA_FILE.read_text() == schema_text()
    assert main(["--check"]) == 0


def test_check_fails_on_another_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So CI does, when somebody forgot."""
    other = tmp_path / "schema.graphql"
    assert main(["--check", "--file", str(other)]) == 1
    assert main(["--file", str(other)]) == 0
    assert main(["--check", "--file", str(other)]) == 0
    other.write_text(other.read_text() + "\n# edited\n")
    assert main(["--check", "--file", str(other)]) == 1
    assert "run python -m quarterdeck_graphql.export" in capsys.readouterr().out


def test_a_breaking_change_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A field that goes, an argument that becomes required; what is only added breaks nobody."""
    before = "type Query { a(x: Int): Int b: Int }"
    assert breaking_changes(before, "type Query { a(x: Int): Int b: Int c: Int }") == []
    assert len(breaking_changes(before, "type Query { a(x: Int!): Int }")) == 2
    assert dangerous_changes("enum E { A } type Query { e: E }", "enum E { A B } type Query { e: E }")
    older = tmp_path / "older.graphql"
    older.write_text(schema_text().replace("type Query {", "type Query {\n  gone: Int\n", 1))
    assert main(["--check", "--against", str(older)]) == 1
    assert "breaking: Field Query.gone was removed." in capsys.readouterr().out
    older.write_text(schema_text())
    assert main(["--check", "--against", str(older)]) == 0


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.parent.name)
def test_what_was_released_is_not_broken(released: Path) -> None:
    """Whoever asks what an earlier release answered is answered still."""
    assert breaking_changes(released.read_text(), schema_text()) == []


def test_export_is_a_command() -> None:
    """As CI calls it."""
    done = subprocess.run(
        [sys.executable, "-m", "quarterdeck_graphql.export", "--check", "--against", "-"],
        input=schema_text(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_is_described() -> None:
    """Every type, field, argument and value says what it is for."""
    bare = []
    for name, found in OURS.items():
        if name in ("Int", "Float", "String", "Boolean", "ID"):
            continue
        if not found.description:
            bare.append(name)
        if isinstance(found, GraphQLObjectType | GraphQLInterfaceType):
            for field_name, field in found.fields.items():
                bare += [] if field.description else [f"{name}.{field_name}"]
                bare += [
                    f"{name}.{field_name}({argument})"
                    for argument, value in field.args.items()
                    if not value.description and name != "Mutation"
                ]
        if isinstance(found, GraphQLEnumType) and not name.endswith(("InputMode", "InputOutcome", "ObjectKind")):
            bare += [f"{name}.{value}" for value, item in found.values.items() if not item.description]
    assert bare == []


@pytest.mark.parametrize(("literal", "made"), enums.OF_LITERAL.items(), ids=lambda item: getattr(item, "__name__", ""))
def test_an_enum_has_exactly_the_domain_s_words(literal: Any, made: type[Enum]) -> None:
    """A word that the domain gains must get its meaning here."""
    assert {value.value for value in made} == set(get_args(literal))


def test_every_command_is_a_mutation_with_its_own_input_payload_and_ways_to_end() -> None:
    """Derived from the catalogue: none is missing, none is extra, each has every field of its input."""
    mutation = SCHEMA.mutation_type
    assert mutation is not None
    assert len(mutation.fields) == len(COMMANDS) > 15
    for command in COMMANDS.values():
        name = "".join(part.capitalize() for part in command.name.split("_"))
        field = mutation.fields[name[0].lower() + name[1:]]
        assert field.description == command.summary
        assert set(field.args) == {"input", "idempotencyKey"}
        made = OURS[f"{name}Input"]
        assert isinstance(made, GraphQLInputObjectType)
        wanted = {item.name: item.required for item in msgspec.structs.fields(command.input)}
        assert {key.lower() for key in made.fields} == {key.replace("_", "") for key in wanted}
        required = {key.lower() for key, value in made.fields.items() if str(value.type).endswith("!")}
        assert required == {key.replace("_", "") for key, needed in wanted.items() if needed}
        result = OURS[f"{name}Result"]
        assert isinstance(result, GraphQLUnionType)
        assert [item.name for item in result.types] == [f"{name}Payload", *(kind.__name__ for kind in PROBLEMS)]
        payload = OURS[f"{name}Payload"]
        assert isinstance(payload, GraphQLObjectType)
        assert str(payload.fields["position"].type) == "Position!"


def errors_below(root: type[QuarterdeckError]) -> set[type[QuarterdeckError]]:
    """Return every error class of the house that was imported."""
    found = set(root.__subclasses__())
    return found.union(*(errors_below(item) for item in found))


def test_every_error_has_a_type_or_is_hidden_on_purpose() -> None:
    """What is not told to callers is what they can do nothing about."""
    import quarterdeck_api.problems
    import quarterdeck_readmodels.reader

    assert quarterdeck_api.problems
    assert quarterdeck_readmodels.reader
    hidden = {kind.__name__ for kind in errors_below(QuarterdeckError) if problem_of(kind("x")) is None}
    assert hidden <= {
        "UnsafeServer",
        "ExportMismatch",
        "LogRewound",
        "Unauthenticated",
        "OtherRelease",
        "Rebuilding",
        "FaultsRefused",
    } | {name for name in hidden if name.startswith("_")}
    secret = problem_of(
        next(kind for kind in errors_below(QuarterdeckError) if kind.code == "unavailable")("db.internal")
    )
    assert secret is not None
    assert "db.internal" not in secret.message


@pytest.mark.parametrize("name", operations())
def test_a_saved_operation_fits_schema_and_limits(name: str) -> None:
    """Whatever its variables; it is found by its name and by its digest, and says what it is for."""
    text = operations()[name]
    parsed = parse(text)
    assert validate(SCHEMA, parsed) == []
    operation, *_ = parsed.definitions
    assert operation.name.value == name  # type: ignore[attr-defined]
    assert depth_of(parsed, operation) <= MAX_DEPTH  # type: ignore[arg-type]
    assert aliases_of(parsed, operation) <= MAX_ALIASES  # type: ignore[arg-type]
    assert text.startswith("# ")
    assert document(name) == document(digest(text)) == text
