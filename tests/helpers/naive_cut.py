"""What a cut must be, told from relations alone: nothing here is the product's but the names of relation types.

Ways are looked for by walking; a step is done by not walking where it closes; the smallest set is found by trying every
smaller one. Slow, and easy to believe.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
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
    """Two objects, and the relations between what is live."""

    def __init__(self, relations: Iterable[Relation], start: str, end: str) -> None:
        self.start, self.end = start, end
        self.relations = sorted(set(relations))
        self._out: dict[str, list[Relation]] = {}
        self._controls: dict[str, set[str]] = {}
        excepted = {item[0] for item in self.relations if item[1] == "excepted_by"}
        for item in self.relations:
            if item[1] in GOES:
                self._out.setdefault(item[0], []).append(item)
            elif item[1] in REFUSES and not (item[1] == "gated_by" and item[0] in excepted):
                self._controls.setdefault(item[0], set()).add(item[2])

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
            for source, relation, target in self._out.get(waiting.pop(), ()):
                if target not in seen and passes(target) and f"{source} {relation} {target}" not in gone:
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
        for source, relation, target in self._out.get(self.start, ()):
            if target == self.end:
                found.add(("withdraw", f"{source} {relation} {target}"))
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
