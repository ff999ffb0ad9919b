"""The event catalogue for others: as JSON Schema, and as a page.

`python -m quarterdeck_domain.schemas docs` writes `events.schema.json` and `events.md` into a folder.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.events import Event


def event_schemas() -> dict[str, Any]:
    """Return one JSON Schema (2020-12) with the data of every event under `$defs`, by type."""
    types = REGISTRY.types()
    _, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    by_class = {kind.__name__: kind.type for kind in types}
    definitions = {by_class.get(name, name): _described(schema) for name, schema in components.items()}
    text = json.dumps({"$defs": definitions})
    for name, event_type in by_class.items():
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{event_type}"')
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Quarterdeck events: the `data` of an entry, by type",
        "description": "Personal fields of a stored entry are sealed: text that begins with `sealed:v1:`.",
        **json.loads(text),
        "properties": {kind.type: {"$ref": f"#/$defs/{kind.type}"} for kind in types},
    }


def event_page() -> str:
    """Return the catalogue as Markdown, a section a room."""
    lines = [
        "# Events",
        "",
        "Every fact the log can hold, generated from the code. Fields marked *personal* are sealed with the key of the",
        "person named in brackets. `events.schema.json` beside this page is the same for machines.",
    ]
    room = ""
    for kind in sorted(REGISTRY.types(), key=lambda kind: (kind.__module__, kind.type)):
        found = kind.__module__.split(".")[-2]
        if found != room:
            room = found
            lines += ["", f"## {room}"]
        lines += ["", f"### `{kind.type}` (version {kind.version})", "", _summary(kind), ""]
        lines += [
            "| field | type | |",
            "|---|---|---|",
            *(_field(kind, field) for field in msgspec.structs.fields(kind)),
        ]
    return "\n".join(lines) + "\n"


def _field(kind: type[Event], field: msgspec.structs.FieldInfo) -> str:
    notes = []
    if field.name in REGISTRY.personal(kind.type):
        notes.append(f"*personal* [{kind.data_subject}]")
    if field.name in kind.tag_fields:
        notes.append(f"tag `{kind.tag_fields[field.name]}:…`")
    if not field.required:
        notes.append("optional")
    shown = str(kind.__annotations__.get(field.name, "")).replace("|", "\\|")
    return f"| `{field.encode_name}` | {shown} | {', '.join(notes)} |"


def _summary(kind: type[Event]) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    return schema


def main(folder: Path) -> None:
    """Write both files."""
    (folder / "events.schema.json").write_text(json.dumps(event_schemas(), indent=2, sort_keys=True) + "\n")
    (folder / "events.md").write_text(event_page())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
