"""A bundle's entities with what the estate says of a request's own: few enough to be parsed for each request.

Cedar takes all entities or none, and adding one to many copies them. So a request gets those that its policies can
come to: its own three, those that the policies name, and whatever the attributes of these lead to, each with all of its
ancestors. What the bundle says of an entity stays; the estate adds what the bundle does not say.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import cedarpy
import msgspec

MAX_KEPT: Final = 1_024
Uid = tuple[str, str]
_NOTHING: Final[Mapping[str, Any]] = {}


class _Entity(msgspec.Struct, frozen=True):
    attributes: Mapping[str, Any]
    parents: tuple[Uid, ...]
    leads_to: tuple[Uid, ...]


class Shelf:
    """The entities of one bundle."""

    def __init__(self, entities: cedarpy.Entities) -> None:
        """Read them from the parsed handle, which knows the closure and what a schema adds."""
        self._entities: dict[Uid, _Entity] = {}
        for entity in json.loads(str(entities)):
            self._entities[_uid(entity["uid"])] = _Entity(
                entity["attrs"], tuple(map(_uid, entity["parents"])), tuple(_references(entity["attrs"]))
            )
        self._kept: OrderedDict[tuple[Any, ...], tuple[Mapping[Uid, Mapping[str, Any]], cedarpy.Entities]] = (
            OrderedDict()
        )

    def entities(
        self, own: Sequence[Uid], named: frozenset[Uid] | None, said: Mapping[Uid, Mapping[str, Any]]
    ) -> cedarpy.Entities:
        """Return the entities for one request: `own` are its own, `named` those that its policies name, None meaning
        that they may name any; `said` is what the estate says of some of them, and stays what it is.

        Raises:
            ValueError: Cedar does not take them.
        """
        key = (*own, named)
        before = self._kept.get(key)
        # What the estate says is kept as long as nothing of it changes: the same facts are the same object.
        if before is not None and before[0].keys() == said.keys() and all(before[0][uid] is said[uid] for uid in said):
            self._kept.move_to_end(key)
            return before[1]
        made = self._made(own, named, said)
        self._kept[key] = (said, made)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return made

    def _made(
        self, own: Iterable[Uid], named: frozenset[Uid] | None, said: Mapping[Uid, Mapping[str, Any]]
    ) -> cedarpy.Entities:
        waiting = [*own, *(self._entities if named is None else named), *said]
        chosen: dict[Uid, _Entity] = {}
        while waiting:
            uid = waiting.pop()
            if uid not in chosen and (uid in self._entities or uid in said):
                chosen[uid] = self._entities.get(uid) or _Entity(_NOTHING, (), ())
                waiting.extend(chosen[uid].leads_to)
        document: list[dict[str, Any]] = []
        for uid, entity in chosen.items():
            attributes = {**said.get(uid, _NOTHING), **entity.attributes}
            document.append({"uid": _json(uid), "attrs": attributes, "parents": list(map(_json, entity.parents))})
        return cedarpy.Entities.from_json_str(msgspec.json.encode(document).decode())


def _references(value: Any) -> Iterator[Uid]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            if "__entity" in item:
                yield _uid(item["__entity"])
            else:
                waiting.extend(item.values())


def _uid(value: Mapping[str, Any]) -> Uid:
    plain = value.get("__entity", value)
    return plain["type"], plain["id"]


def _json(uid: Uid) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}
