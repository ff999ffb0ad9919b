"""What the estate's commands share: how its objects are named, and what is said of them on the command line."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.text import visible

PREFIXES: Final = ("asset:", "relation:")
NOTHING: Final = "(nothing)"
MAX_SHOWN: Final = 160
MAX_LINES: Final = 8
"""How much of one value is shown where nobody asked for all of it, in characters and in lines."""
IDS: Final = frozenset(
    {
        "id",
        "source",
        "target",
        "assetId",
        "mergedInto",
        "successor",
        "on",
        "objectId",
        "asset",
        "nearest",
        "subject",
        "control",
    }
)
"""Where answers hold ids of objects and relations: they are shown as files and commands take them."""
_WHOLE: Final = {"tier": "integer", "environments": "array"}
"""Facts of every kind that are not text."""

AssetId = Annotated[str, typer.Argument(metavar="ID", help="The object, kind:name.", show_default=False)]


def plain(name: str) -> str:
    """Return the id of an object or a relation as files and commands take it."""
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)


def plainly(answer: Any) -> Any:
    """Return an answer of the record's with every id of an object as files and commands take it."""
    if isinstance(answer, list):
        return [plainly(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: plain(value)
        if name in IDS and isinstance(value, str)
        else [plain(item) if isinstance(item, str) else plainly(item) for item in value]
        if name == "closes" and isinstance(value, list)
        else value
        if name in ("attributes", "before", "after", "data") and isinstance(value, dict) and "__typename" not in value
        else plainly(value)
        for name, value in answer.items()
    }


def told(value: Any, limit: int | None = MAX_SHOWN) -> str:
    """Return a fact as one line for people, with nothing hidden in it; longer than the limit, it is cut and says so."""
    if value is None or value == [] or value == {}:
        return NOTHING
    if isinstance(value, str):
        text = visible(value)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = ", ".join(map(visible, value))
    else:
        text = visible(jsonlib.dumps(value, ensure_ascii=False, sort_keys=True))
    return text if limit is None or len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def told_lines(value: Any) -> list[str]:
    """Return a fact as lines for people: prose has those that it was written in, as far as it is not too long."""
    if not isinstance(value, str) or "\n" not in value.strip():
        return [told(value.strip() if isinstance(value, str) else value)]
    found = value.strip()[:MAX_SHOWN].split("\n")
    shown = [told(line) for line in found[:MAX_LINES]]
    if len(value.strip()) > MAX_SHOWN or len(found) > MAX_LINES:
        shown[-1] += f"… ({len(value)} characters)"
    return shown


def many(count: Any, what: str) -> str:
    """Return how many there are, in words: `1 step`, `2 steps`."""
    return f"{visible(count)} {what}{'' if count == 1 else 's'}"


def word(value: Any) -> str:
    """Return one of the API's own words, such as `OVER_PERMISSIONED`, as people write it."""
    return visible(str(value).lower().replace("_", " "))


def facts_of(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--set` said, as the API takes it. `schema` is that of the kind's attributes.

    `name=value` is read as the schema has it: text, a number, a list between commas. `name:=JSON` is JSON as it stands.

    Raises:
        typer.BadParameter: one of them is not such a pair, or its value cannot be what the schema wants.
    """
    facts: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        raw = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not name=value (or name:=JSON)", param_hint="--set")
        attribute = name.removeprefix("attributes.") if name.startswith("attributes.") else None
        value = _json(pair, text) if raw else _read(pair, text, _type(name, attribute, schema))
        where = facts if attribute is None else facts.setdefault("attributes", {})
        where[name if attribute is None else attribute] = value
    return facts


def _type(name: str, attribute: str | None, schema: Mapping[str, Any]) -> str:
    if attribute is None:
        return _WHOLE.get(name, "string")
    said = schema.get("properties", {}).get(attribute, {})
    for option in (said, *said.get("anyOf", ())):
        if option.get("type") not in (None, "null"):
            return str(option["type"])
    return "string"


def _read(pair: str, text: str, type_: str) -> Any:
    if type_ == "array":
        return [item.strip() for item in text.split(",") if item.strip()]
    if type_ in ("integer", "boolean", "object", "number"):
        return _json(pair, text)
    return text


def _json(pair: str, text: str) -> Any:
    try:
        return jsonlib.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{pair!r}: what stands after = is not JSON: {error}", param_hint="--set") from None
