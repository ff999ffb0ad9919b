"""What a cut must be, told from relations alone: nothing here is the product's but the names of relation types.

Ways are looked for by walking; a step is done by not walking where it closes; the smallest set is found by trying every
smaller one. Slow, and easy to believe.

A name that was merged into another leads on as that one; a relation is withdrawn as it was recorded, and no other is.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise

Relation = tuple[str, str, str]
"""Where it begins, its type, where it leads."""
Step = tuple[str, str]
"""What is done: let a control `enforce`, `revoke` a grant, `quarantine` an object, `withdraw` a relation; and the name."""
GOES = frozenset(
    [
        "calls",
        "chains_to",
        "deployed_in",
        "derived_from",
        "drives",
        "exposes",
        "feeds",
        "holds",
        "permits",
        "reads",
        "uses",
        "writes",
    ]
)
"""The types of relations along which reach goes."""
REFUSES = frozenset({"governed_by", "gated_by", "funded_by", "guarded_by"})
"""Those whose target can refuse."""


class Ways:
    """Two objects, the relations between what is live, as they were recorded, and what was merged into what since."""

    def __init__(
        self, relations: Iterable[Relation], start: str, end: str, merged: Mapping[str, str] | None = None
    ) -> None:
        self.start, self.end = start, end
        self.relations = sorted(set(relations))
        self.merged = dict(merged or {})
        self._out: dict[str, list[Relation]] = {}
        """Where one can go, and by which relation as it was recorded."""
        self._controls: dict[str, set[str]] = {}
        excepted = {self._now(item[0]) for item in self.relations if item[1] == "excepted_by"}
        for source, relation, target in self.relations:
            here, there = self._now(source), self._now(target)
            if relation in GOES:
                self._out.setdefault(here, []).append((here, f"{source} {relation} {target}", there))
            elif relation in REFUSES and not (relation == "gated_by" and here in excepted):
                self._controls.setdefault(here, set()).add(there)

    def _now(self, name: str) -> str:
        while name in self.merged:
            name = self.merged[name]
        return name

    def is_open(self, done: Iterable[Step] = ()) -> bool:
        """Tell whether there is a way once some steps are done."""
        steps = set(done)
        shut = {name for action, name in steps if action in ("revoke", "quarantine")}
        refusing = {name for action, name in steps if action == "enforce"}
        gone = {name for action, name in steps if action == "withdraw"}

        def passes(node: str) -> bool:
            return node not in shut and refusing.isdisjoint(self._controls.get(node, ()))

        if not passes(self.start):
            return False
        seen, waiting = {self.start}, [self.start]
        while waiting:
            for _, recorded, target in self._out.get(waiting.pop(), ()):
                if target not in seen and passes(target) and recorded not in gone:
                    if target == self.end:
                        return True
                    seen.add(target)
                    waiting.append(target)
        return False

    def steps(self) -> list[Step]:
        """Return every step that could be done: about what is between the two, and about the two themselves only what
        their controls can do."""
        between = self._walked(forwards=True) & self._walked(forwards=False)
        found = {("enforce", control) for node in between for control in self._controls.get(node, ())}
        for node in between - {self.start, self.end}:
            found.add(("revoke" if node.startswith("tool_grant:") else "quarantine", node))
        for _, recorded, target in self._out.get(self.start, ()):
            if target == self.end:
                found.add(("withdraw", recorded))
        return sorted(found)

    def has_smaller(self, steps: Iterable[Step], than: int) -> bool:
        """Tell whether fewer of some steps leave no way, by trying all of so many."""
        given = list(steps)
        return any(not self.is_open(chosen) for size in range(than) for chosen in combinations(given, size))

    def is_minimal(self, done: Iterable[Step]) -> bool:
        """Tell whether steps leave no way, and none of them can be left out."""
        given = list(done)
        return not self.is_open(given) and all(
            self.is_open(item for item in given if item != left_out) for left_out in given
        )

    def _walked(self, *, forwards: bool) -> set[str]:
        found = {self.start if forwards else self.end}
        while True:
            more = {
                (item[2] if forwards else item[0])
                for items in self._out.values()
                for item in items
                if (item[0] if forwards else item[2]) in found
            } - found
            if not more:
                return found
            found |= more


def woven(chance: random.Random) -> Ways:
    """Return some ways side by side, woven into one another, under controls of which each stands on several of them: so
    that the smallest cut is of several steps, and taking what closes most is often not the way to find it."""
    ways, length = chance.randint(3, 6), chance.randint(1, 3)
    rows = [[f"tool:{row}-{way}" for way in range(ways)] for row in range(length)]
    relations: list[Relation] = [("agent:start", "calls", node) for node in rows[0]]
    relations += [(node, "reads", "dataset:end") for node in rows[-1]]
    for here, there in pairwise(rows):
        relations += [(one, "calls", other) for one, other in zip(here, there, strict=True)]
        relations += [(one, "calls", other) for one in here for other in there if chance.random() < 0.15]
    for number in range(chance.randint(2, max(2, 19 - ways * length))):
        for way in chance.sample(range(ways), min(ways, chance.choice((1, 2, 2, 3)))):
            node = chance.choice(rows)[way]
            relations.append((node, chance.choice(("governed_by", "gated_by")), f"policy_bundle:{number}"))
            if chance.random() < 0.1:
                # A gate there stops nothing.
                relations.append((node, "excepted_by", "exception_window:now"))
    return Ways(relations, "agent:start", "dataset:end")


def renamed(chance: random.Random, ways: Ways) -> Ways:
    """Return ways of which some were recorded by names that were merged since, one into the next, at either end of a
    relation; some relations by several names, and some of these lead straight from the one end to the other."""
    relations = list(ways.relations)
    if chance.random() < 0.7:
        relations.append((ways.start, chance.choice(("reads", "calls")), ways.end))
    merged: dict[str, str] = {}
    names: dict[str, list[str]] = {}

    def some(name: str) -> str:
        if name not in names:
            share = 0.8 if name in (ways.start, ways.end) else 0.3
            count = chance.randint(1, 3) if chance.random() < share else 0
            names[name] = [name, *(f"{name}.{number}" for number in range(count))]
            for place, former in enumerate(names[name][1:], 1):
                merged[former] = names[name][chance.randrange(place)]
        return chance.choice(names[name])

    found: set[Relation] = set()
    for source, relation, target in relations:
        straight = (source, target) == (ways.start, ways.end)
        for _ in range(chance.choice((1, 2, 3)) if straight else chance.choice((1, 1, 1, 2))):
            found.add((some(source), relation, some(target)))
    return Ways(found, ways.start, ways.end, merged)


def hitting(chance: random.Random, ways: int) -> Ways:
    """Return ways of one object each, and twenty controls of which four stand on each."""
    relations: list[Relation] = []
    for number in range(ways):
        node = f"tool:{number}"
        relations += [("agent:start", "calls", node), (node, "reads", "dataset:end")]
        relations += [(node, "governed_by", f"policy_bundle:{which}") for which in chance.sample(range(20), 4)]
    return Ways(relations, "agent:start", "dataset:end")


def sizes(found: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield each size that there is, and how many there are of it."""
    counted: dict[int, int] = {}
    for size in found:
        counted[size] = counted.get(size, 0) + 1
    yield from sorted(counted.items())
