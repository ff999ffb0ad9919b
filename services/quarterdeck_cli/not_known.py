"""What is not known to have been in use at a moment, though something recorded later says that it was there: what is
told of ways leaves it out, and whoever asks is to know that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from quarterdeck_cli.estate_words import plain
from quarterdeck_cli.moments import Asked, in_use_then
from quarterdeck_cli.output import nodes

MAX_DOUBTS: Final = 5
_ENDS: Final = (
    "{ edges { node { holds source target from { lifecycle dated { facts } } to { lifecycle dated { facts } } } } }"
)
_RELATED: Final = f"""out: relations(first: 100, filter: {{ source: $names }}) {_ENDS}
  into: relations(first: 100, filter: {{ target: $names }}) {_ENDS}
  drafts: assets(first: 100, filter: {{ lifecycle: [DRAFT] }}) {{
    edges {{ node {{ id lifecycle dated {{ facts }} }} }} }}"""


def doubts(asked: Asked, *names: str) -> list[str]:
    """Return, of what was recorded late, a line for each object of which it is not known that it was in use then,
    though something is said of it or it is related: the named ones, what they are related to, and others."""
    if asked.known_at is None or asked.at is None:
        return []
    ends = {f"n{place}": name for place, name in enumerate(names)}
    ends_of = " ".join(f"{key}: node(id: ${key}) {{ ... on Asset {{ lifecycle dated {{ facts }} }} }}" for key in ends)
    types = dict.fromkeys(ends, "ID!") | {"names": "[String!]"}
    found = asked.try_ask(f"{{ {ends_of} {_RELATED} }}", types, names=list(names), **ends)
    if found is None:
        return []
    seen = [(ends[key], found[key]) for key in ends]
    for item in (*nodes(found["out"]), *nodes(found["into"])):
        if item["holds"]:
            seen += [(item["source"], item["from"]), (item["target"], item["to"])]
    seen += [(item["id"], item) for item in nodes(found["drafts"])]
    unknown = dict.fromkeys(plain(name) for name, asset in seen if not asset or _is_unsaid(asset))
    return [in_use_then(name, asked.at.get("time")) for name in list(unknown)[:MAX_DOUBTS]]


def say_doubts(doubts: Sequence[str]) -> None:
    """Print of what it is not known that it was in use at a moment, and how to say so."""
    if doubts:
        typer.echo("Not known to have been in use then, so nothing is told of ways through it. If it was:")
        for line in doubts:
            typer.echo(f"  {line}")


def _is_unsaid(asset: Mapping[str, Any]) -> bool:
    """Tell whether an object counts as a draft only because nobody said whether it was in use: dated facts tell of it,
    and not of that."""
    if asset["lifecycle"] != "DRAFT" or not asset["dated"]:
        return False
    return all(item["facts"].get("lifecycle") != "draft" for item in asset["dated"])
