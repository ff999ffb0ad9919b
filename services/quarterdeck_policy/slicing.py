"""Sound slicing: for a request, the few policies that could match, in slices that are parsed once and kept.

Cedar walks every policy of a set on every call; this walks an index instead. A policy is left out only if its scope is
false for the request, and then it neither applies nor errs, so the answer is the whole bundle's. That holds because
entities come only from the bundle: no request adds a parent.

A request has a few slices: policies about its principal, about each group that is in, likewise for its resource, and
the others. Apart, each is shared by many requests; together, nearly every pair of principal and resource would need a
slice of its own. Cedar's answers to slices add up: a policy is satisfied, or errs, alone.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from cedarpy import Entities, PolicySet

from quarterdeck_policy.cedar_text import PolicyText, members_read

Uid = tuple[str, str]
Condition = tuple[Literal["any", "eq", "in", "is", "is_in"], str, tuple[Uid, ...]]
"""A scope's demand on one of the three: its kind, an entity type for `is`, the entities for the others."""

MAX_PARTS: Final = 3
MAX_CHOICES: Final = 8_192
MAX_SLICES: Final = 4_096
MAX_SLICED_POLICIES: Final = 50_000


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy's head demands of principal, action and resource."""

    principal: Condition
    action: Condition
    resource: Condition


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Policies parsed together. In the set, the policy at place i has Cedar's id `policy<i>`."""

    policies: PolicySet
    context_members: frozenset[str] | None
    """Members of `context` they read; None if one uses the context as a whole."""
    reads_estate: bool
    """Whether one could read what the estate says of an entity."""
    entities_named: frozenset[Uid] | None
    """The entities that their conditions name; None if that cannot be told."""


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

    def __init__(self, policies: Sequence[PolicyText], scopes: Sequence[Scope], family: Family) -> None:
        """Index policies; their numbers are their places in the bundle."""
        self._policies = tuple(policies)
        self._scopes = tuple(scopes)
        self._family = family
        self._by_principal: dict[Uid, list[int]] = {}
        self._by_resource: dict[Uid, list[int]] = {}
        self._by_action: dict[Uid, list[int]] = {}
        self._others: list[int] = []
        for number, scope in enumerate(self._scopes):
            if scope.principal[2]:
                self._by_principal.setdefault(scope.principal[2][0], []).append(number)
            elif scope.resource[2]:
                self._by_resource.setdefault(scope.resource[2][0], []).append(number)
            elif scope.action[0] != "any":
                for uid in scope.action[2]:
                    self._by_action.setdefault(uid, []).append(number)
            else:
                self._others.append(number)
        self._chosen: OrderedDict[tuple[Any, ...], tuple[tuple[int, ...], ...]] = OrderedDict()  # oldest first
        self._cache: OrderedDict[tuple[int, ...], Slice] = OrderedDict()
        self._cached_policies = 0

    def slices(self, principal: Uid, action: Uid, resource: Uid) -> list[tuple[int, ...]]:
        """Return the request's slices, none of them empty: numbers of policies, ascending, each in one slice at most.

        Every policy whose scope the request satisfies is in one of them.
        """
        return [
            *self._about("principal", self._by_principal, principal, action),
            *self._about("resource", self._by_resource, resource, action),
            *self._rest(principal[0], action, resource[0]),
        ]

    def _about(
        self, axis: Literal["principal", "resource"], index: Mapping[Uid, Sequence[int]], uid: Uid, action: Uid
    ) -> tuple[tuple[int, ...], ...]:
        """Return the policies about an entity and those about its ancestors, for this action."""
        if not index:
            return ()
        family = self._family.of(uid)
        relatives = [relative for relative in family if relative in index]
        if not relatives:
            return ()
        key = (axis, uid, action)
        found = self._chosen.get(key)
        if found is None:
            actions = self._family.of(action)
            parts = [
                tuple(
                    number
                    for number in index[relative]
                    if _satisfied(getattr(self._scopes[number], axis), uid, family)
                    and _satisfied(self._scopes[number].action, action, actions)
                )
                for relative in sorted(relatives)
            ]
            found = self._remember(key, parts)
        return found

    def _rest(self, principal_type: str, action: Uid, resource_type: str) -> tuple[tuple[int, ...], ...]:
        """Return the policies that name no principal and no resource, for this action and these types."""
        key = (principal_type, action, resource_type)
        found = self._chosen.get(key)
        if found is None:
            actions = self._family.of(action)
            candidates = {*self._others, *(number for uid in actions for number in self._by_action.get(uid, ()))}
            part = tuple(
                number
                for number in sorted(candidates)
                if self._scopes[number].principal[1] in {"", principal_type}
                and self._scopes[number].resource[1] in {"", resource_type}
            )
            found = self._remember(key, [part])
        return found

    def _remember(self, key: tuple[Any, ...], parts: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        found = tuple(part for part in parts if part)
        if len(found) > MAX_PARTS:
            # Each slice costs a call: whoever is in many groups gets one slice of all of them.
            found = (tuple(sorted(number for part in found for number in part)),)
        self._chosen[key] = found
        if len(self._chosen) > MAX_CHOICES:
            self._chosen.popitem(last=False)
        return found

    def slice(self, numbers: tuple[int, ...]) -> Slice:
        """Return the parsed slice of these policies."""
        cached = self._cache.get(numbers)
        if cached is not None:
            self._cache.move_to_end(numbers)
            return cached
        policies = [self._policies[number] for number in numbers]
        parsed = Slice(
            policies=PolicySet.from_str("\n".join(policy.text for policy in policies)),
            context_members=members_read(policies),
            reads_estate=any(policy.reads_estate for policy in policies),
            entities_named=_all_named(policies),
        )
        self._cache[numbers] = parsed
        self._cached_policies += len(numbers)
        while len(self._cache) > 1 and (len(self._cache) > MAX_SLICES or self._cached_policies > MAX_SLICED_POLICIES):
            evicted, _ = self._cache.popitem(last=False)
            self._cached_policies -= len(evicted)
        return parsed


def _all_named(policies: Sequence[PolicyText]) -> frozenset[Uid] | None:
    found: frozenset[Uid] = frozenset()
    for policy in policies:
        if policy.entities_named is None:
            return None
        found |= policy.entities_named
    return found


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


def _satisfied(condition: Condition, uid: Uid, family: Iterable[Uid]) -> bool:
    kind, wanted_type, entities = condition
    if kind == "any":
        return True
    if kind == "eq":
        return uid == entities[0]
    if wanted_type and uid[0] != wanted_type:
        return False
    return kind == "is" or any(wanted in family for wanted in entities)


def _uid(value: Mapping[str, Any]) -> Uid:
    plain = value.get("__entity", value)
    return plain["type"], plain["id"]
