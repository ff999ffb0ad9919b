"""Sound slicing: for a request, the policies whose scope it satisfies, and one parsed handle per such set.

Cedar walks every policy of a set on every call; this walks an index instead. A policy is left out only if its scope is
false for the request, and then it neither applies nor errs, so the answer is the whole bundle's. It is exact because
entities come only from the bundle: no request adds a parent.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from cedarpy import Entities, PolicySet

Uid = tuple[str, str]
Condition = tuple[Literal["any", "eq", "in", "is", "is_in"], str, tuple[Uid, ...]]
"""A scope's demand on one of the three: its kind, an entity type for `is`, the entities for the others."""

MAX_SLICES: Final = 1_024
MAX_SLICED_POLICIES: Final = 50_000


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy's head demands of principal, action and resource."""

    principal: Condition
    action: Condition
    resource: Condition


class Family:
    """The hierarchy of a bundle's entities: who is `in` whom, reflexively and transitively."""

    def __init__(self, entities: Entities) -> None:
        """Read it from the parsed handle, which knows the closure and what a schema adds."""
        self._ancestors: dict[Uid, frozenset[Uid]] = {}
        for entity in json.loads(str(entities)):
            uid = _uid(entity["uid"])
            self._ancestors[uid] = frozenset((uid, *map(_uid, entity["parents"])))

    def of(self, uid: Uid) -> frozenset[Uid]:
        """Return the entity and all its ancestors."""
        return self._ancestors.get(uid) or frozenset((uid,))


class Slicer:
    """An index of policies by scope, with a bounded cache of parsed slices."""

    def __init__(self, texts: Sequence[str], scopes: Sequence[Scope], family: Family) -> None:
        """Index policies; their numbers are their places in the bundle."""
        self._texts = tuple(texts)
        self._scopes = tuple(scopes)
        self._family = family
        self._always: list[int] = []
        self._by_entity: dict[str, dict[Uid, list[int]]] = {"principal": {}, "action": {}, "resource": {}}
        self._by_type: dict[str, dict[str, list[int]]] = {"principal": {}, "resource": {}}
        for number, scope in enumerate(self._scopes):
            self._index(number, scope)
        self._cache: OrderedDict[tuple[int, ...], PolicySet] = OrderedDict()
        self._cached_policies = 0

    def _index(self, number: int, scope: Scope) -> None:
        # One place per policy, under its most telling demand. A principal or resource tells more than an action.
        for axis, (kind, _, entities) in (
            ("principal", scope.principal),
            ("resource", scope.resource),
            ("action", scope.action),
        ):
            if kind in {"eq", "in", "is_in"}:
                for uid in entities:
                    self._by_entity[axis].setdefault(uid, []).append(number)
                return
        for axis, (kind, entity_type, _) in (("resource", scope.resource), ("principal", scope.principal)):
            if kind == "is":
                self._by_type[axis].setdefault(entity_type, []).append(number)
                return
        self._always.append(number)

    def matching(self, principal: Uid, action: Uid, resource: Uid) -> tuple[int, ...]:
        """Return the numbers of the policies whose scope the request satisfies, ascending."""
        families = {name: self._family.of(uid) for name, uid in zip(_AXES, (principal, action, resource), strict=True)}
        candidates: set[int] = set(self._always)
        for axis, family in families.items():
            index = self._by_entity[axis]
            if index:
                for uid in family:
                    candidates.update(index.get(uid, ()))
        candidates.update(self._by_type["principal"].get(principal[0], ()))
        candidates.update(self._by_type["resource"].get(resource[0], ()))
        return tuple(
            number
            for number in sorted(candidates)
            if _satisfied(self._scopes[number].principal, principal[0], families["principal"], principal)
            and _satisfied(self._scopes[number].action, action[0], families["action"], action)
            and _satisfied(self._scopes[number].resource, resource[0], families["resource"], resource)
        )

    def policies(self, numbers: tuple[int, ...]) -> PolicySet:
        """Return the parsed set of these policies. In it, the policy at place i has Cedar's id `policy<i>`."""
        cached = self._cache.get(numbers)
        if cached is not None:
            self._cache.move_to_end(numbers)
            return cached
        parsed = PolicySet.from_str("\n".join(self._texts[number] for number in numbers))
        self._cache[numbers] = parsed
        self._cached_policies += len(numbers)
        while len(self._cache) > 1 and (len(self._cache) > MAX_SLICES or self._cached_policies > MAX_SLICED_POLICIES):
            evicted, _ = self._cache.popitem(last=False)
            self._cached_policies -= len(evicted)
        return parsed


def read_scope(policy: Mapping[str, Any]) -> Scope:
    """Return the scope of a policy in Cedar's JSON form.

    Raises:
        ValueError: a template's slot, or a constraint this release does not know.
    """
    return Scope(**{axis: _condition(policy[axis]) for axis in _AXES})


_AXES: Final = ("principal", "action", "resource")


def _condition(constraint: Mapping[str, Any]) -> Condition:
    match constraint:
        case {"op": "All"}:
            return "any", "", ()
        case {"op": "==", "entity": entity}:
            return "eq", "", (_uid(entity),)
        case {"op": "in", "entity": entity}:
            return "in", "", (_uid(entity),)
        case {"op": "in", "entities": entities}:
            return "in", "", tuple(map(_uid, entities))
        case {"op": "is", "entity_type": entity_type, "in": {"entity": entity}}:
            return "is_in", entity_type, (_uid(entity),)
        case {"op": "is", "entity_type": entity_type, **rest} if not rest:
            return "is", entity_type, ()
    raise ValueError("templates (?principal, ?resource) cannot be used in a bundle; write the policy out")


def _satisfied(condition: Condition, entity_type: str, family: Iterable[Uid], uid: Uid) -> bool:
    kind, wanted_type, entities = condition
    if kind == "any":
        return True
    if kind == "eq":
        return uid == entities[0]
    if kind == "is":
        return entity_type == wanted_type
    if kind == "is_in" and entity_type != wanted_type:
        return False
    return any(wanted in family for wanted in entities)


def _uid(value: Mapping[str, Any]) -> Uid:
    plain = value.get("__entity", value)
    return plain["type"], plain["id"]
