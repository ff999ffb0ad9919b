"""Which of the ways of now were there at an earlier moment, whatever was merged since. Pure.

A relation that leads from or to something that was merged since was one of that then, and no part of the way. And where
one end of the question was merged itself, it is asked of what was called so then: what the survivor was related to by
then is part of a way only since that merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from quarterdeck_domain.estate.reach import Edge
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.naming import Names, named


class Asked(msgspec.Struct, frozen=True):
    """One end of a question: what its name stands for now, and what it stood for then."""

    now: str
    then: str


class Joined(msgspec.Struct, frozen=True):
    """What of the ways of now was not there then; and, of relations that held then and are part of a way only since
    something was merged, what was."""

    nodes: frozenset[str]
    edges: frozenset[Edge]
    merged: Mapping[str, tuple[str, ...]]
    """By the ids of the relations."""


class Ends(msgspec.Struct, frozen=True):
    """Both ends of a question."""

    start: Asked
    end: Asked

    def wanted(self, edge: Edge) -> tuple[str, str]:
        """Return between what a relation of a way had to be then to be one of the way."""
        return (
            self.start.then if edge.source == self.start.now else edge.source,
            self.end.then if edge.target == self.end.now else edge.target,
        )

    def at(self, edge: Edge) -> set[str]:
        """Return at which of the ends a relation is, as they are called now."""
        return {self.start.now} & {edge.source} | {self.end.now} & {edge.target}


def names_of(recorded: Mapping[Edge, Sequence[Relation]], ends: Ends) -> list[str]:
    """Return under what relations of ways may have been recorded by then."""
    found = {name for rows in recorded.values() for row in rows for name in (row.id, named(row))}
    for edge in recorded:
        source, target = ends.wanted(edge)
        found.add(f"{source} {edge.relation} {target}")
    return sorted(found)


def joined(
    recorded: Mapping[Edge, Sequence[Relation]],
    held: Mapping[str, Relation],
    names: Names[Asset],
    ends: Ends,
    stood: Callable[[str], bool],
) -> Joined:
    """Return what of ways was not there. `recorded` are their relations, each with all that was recorded and is that
    one by now, `held` those of `names_of` that held then, and `stood` tells which objects took part then; `names` have
    been seen then."""
    edges: set[Edge] = set()
    merged: dict[str, tuple[str, ...]] = {}
    was_there: set[str] = set()
    nodes: set[str] = set()
    for edge, rows in recorded.items():
        wanted, now = ends.wanted(edge), (edge.source, edge.target)
        nodes |= set(now)
        asked = f"{wanted[0]} {edge.relation} {wanted[1]}"
        then = {
            row.id: [
                (names.now(held[name].source), names.now(held[name].target))
                for name in (asked, row.id, named(row))
                if name in held
            ]
            for row in rows
        }
        shut = [name for name, to in zip(wanted, now, strict=True) if name != to and not stood(name)]
        if not shut and any(wanted in known for known in then.values()):
            was_there |= ends.at(edge)
            continue
        edges.add(edge)
        merged |= {name: tuple(_merged(known[0], wanted, now, shut)) for name, known in then.items() if known}
    # What an end was merged into is no part of the ways that there were of it by then.
    apart = {asked.now for asked in (ends.start, ends.end) if asked.now != asked.then} & was_there
    return Joined(frozenset(name for name in nodes - apart if not stood(name)), frozenset(edges), merged)


def _merged(then: tuple[str, str], wanted: tuple[str, str], now: tuple[str, str], shut: list[str]) -> Iterable[str]:
    for was, asked, to in zip(then, wanted, now, strict=True):
        if was != asked or asked in shut:
            yield from dict.fromkeys(name for name in (was, asked) if name != to)
