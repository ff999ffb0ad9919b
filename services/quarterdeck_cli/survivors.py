"""What merged objects are now: mergers are followed to the last object that something became part of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from quarterdeck_cli.moments import Asked

MAX_ASKED: Final = 50
"""So many objects, about, are asked for; of what is left, it is only said into what it was merged first."""
AT_ONCE: Final = 10
_NODE: Final = "... on Asset { id title lifecycle owner team mergedInto }"


def with_survivors(asked: Asked, objects: Iterable[dict[str, Any] | None]) -> None:
    """Add to each object that was merged into another what it is part of now, as `survivor`."""
    merged = [item for item in objects if item is not None and item.get("mergedInto")]
    known: dict[str, Mapping[str, Any]] = {}
    waiting = list(dict.fromkeys(item["mergedInto"] for item in merged))
    while waiting and len(known) < MAX_ASKED:
        given = {f"n{place}": name for place, name in enumerate(waiting[:AT_ONCE])}
        selection = " ".join(f"{place}: node(id: ${place}) {{ {_NODE} }}" for place in given)
        answer = asked.ask(f"{{ {selection} }}", dict.fromkeys(given, "ID!"), **given)
        known |= {name: answer[place] or {} for place, name in given.items()}
        into = [found.get("mergedInto") for found in known.values()]
        waiting = [name for name in dict.fromkeys((*waiting, *into)) if name is not None and name not in known]
    for item in merged:
        found = known.get(item["mergedInto"])
        while found and found["mergedInto"]:
            found = known.get(found["mergedInto"])
        if found:
            item["survivor"] = {name: value for name, value in found.items() if name != "mergedInto"}
