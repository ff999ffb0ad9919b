"""`python -m quarterdeck_graphql.export`: write the schema to the tree, or check what is there.

`--check` fails when the file is not what the code says. `--against FILE` (a schema of before, `-` for standard input)
fails on changes that would break clients, and prints them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from graphql import build_schema as parse_schema
from graphql.utilities import find_breaking_changes, find_dangerous_changes

from quarterdeck_graphql.schema import schema_text

SCHEMA_FILE: Final = Path(__file__).parent.parent / "schema.graphql"


def breaking_changes(before: str, after: str) -> list[str]:
    """Return what breaks clients of the schema `before` when the schema `after` takes its place."""
    return [change.description for change in find_breaking_changes(parse_schema(before), parse_schema(after))]


def dangerous_changes(before: str, after: str) -> list[str]:
    """Return what may surprise clients, without breaking them: new enum values, new members of a union."""
    return [change.description for change in find_dangerous_changes(parse_schema(before), parse_schema(after))]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m quarterdeck_graphql.export", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    parser.add_argument("--against", metavar="FILE", help="fail on changes that break clients of this schema")
    parser.add_argument("--file", type=Path, default=SCHEMA_FILE, help="the file of the schema")
    options = parser.parse_args(arguments)
    text = schema_text()
    if options.against:
        before = sys.stdin.read() if options.against == "-" else Path(options.against).read_text()
        broken = breaking_changes(before, text)
        for line in broken:
            print(f"breaking: {line}")
        for line in dangerous_changes(before, text):
            print(f"take care: {line}")
        if broken:
            return 1
    if not options.check:
        options.file.write_text(text)
        return 0
    if not options.file.is_file() or options.file.read_text() != text:
        print(f"{options.file} is not what the code says; run python -m quarterdeck_graphql.export")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
