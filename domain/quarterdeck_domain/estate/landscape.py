"""The whole estate at one moment: what stands on it, how it hangs together, and what follows from that for its parts.

What an object gets from what it is part of is decided here, and why in
`docs/decisions/0016-controls-come-from-the-whole.md`: controls from all that it is part of, an owner from what it is a
version of or what exposes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.relations import CONTROL
from quarterdeck_domain.estate.values import LIVE

Ends = tuple[str, str, str]
WATCHED_FOR: Final = timedelta(days=30)
"""For so long somebody must have been watched before what was not seen of it says anything, and so long what was seen
counts as what it does. Days are whole ones (UTC), so that what follows from it holds for a day."""
_VERSIONS: Final = frozenset({"version_of"})
_PARTS: Final = frozenset({"version_of", "part_of"})


class Object(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An object and what is true of it at the moment, flat. `since` says since when it is in its state of life.

    `contested` holds, by fact, what other sources say of it than the one that said it last; `offered_by` is the import
    that it came from, if it came from one.
    """

    id: str
    facts: Mapping[str, Any]
    confidence: str = "declared"
    voices: Mapping[str, Sequence[str]] = {}
    merged_into: str | None = None
    successor: str | None = None
    sunset: datetime | None = None
    registered: datetime | None = None
    since: datetime | None = None
    contested: Mapping[str, Mapping[str, Any]] = {}
    offered_by: str | None = None

    @property
    def kind(self) -> str:
        """What it is."""
        return self.id.partition(":")[0]

    @property
    def lifecycle(self) -> str:
        """Its state of life."""
        return str(self.facts.get("lifecycle") or "live")


class Tie(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A relation that is declared at the moment, or was seen, or both. `since`: since when it is declared.

    `senders` says when it was last seen by whom; "" is whoever speaks for others. Without any, it is known to be so.
    """

    source: str
    relation: str
    target: str
    declared: bool = True
    since: datetime | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    senders: Mapping[str, datetime] = {}

    @property
    def ends(self) -> Ends:
        """Return what names it."""
        return (self.source, self.relation, self.target)


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """A drift that was noted, and whether somebody has accepted it."""

    id: str
    asset: str
    input: str
    field: str
    expected: str
    found: str
    accepted: bool = False
    detected: datetime


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A source whose last import failed."""

    source_id: str
    kind: str
    on_drift: str
    failures: int
    message: str


class Clock:
    """A moment, and until when whatever was found with it stays true while nothing is recorded."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.until: datetime | None = None

    def over(self, when: datetime) -> bool:
        """Tell whether a time has come by now. If it has not, nothing that follows from this holds beyond it."""
        if when <= self.now:
            return True
        if self.until is None or when < self.until:
            self.until = when
        return False


class Landscape:
    """Objects, relations and drifts at one moment. Relations to objects that are not there are left out; what only
    others say of an object that acts as a principal of its own is kept apart: of that one, nothing follows from it."""

    def __init__(
        self, objects: Mapping[str, Object], ties: Iterable[Tie], clock: Clock, drifts: Sequence[Noted] = ()
    ) -> None:
        self.objects = objects
        self.clock = clock
        self.drifts = drifts
        self.unread: Sequence[Unread] = ()
        """The sources whose last import failed."""
        self.in_use = frozenset(
            name for name, found in objects.items() if found.merged_into is None and found.lifecycle in LIVE
        )
        self.out: dict[str, list[Tie]] = {}
        self.into: dict[str, list[Tie]] = {}
        self.disowned: list[Tie] = []
        """Relations that nobody declares, and that were seen by the word of others alone."""
        self._after: dict[str, dict[str, list[str]]] = {}
        self._before: dict[str, dict[str, list[str]]] = {}
        for tie in ties:
            source, target = tie.source, tie.target
            if source not in objects or target not in objects:
                continue
            if tie.senders and not tie.declared and self.seen(tie) is None:
                self.disowned.append(tie)
            else:
                self.out.setdefault(source, []).append(tie)
                self.into.setdefault(target, []).append(tie)
                if target in self.in_use:
                    self._after.setdefault(source, {}).setdefault(tie.relation, []).append(target)
                if source in self.in_use:
                    self._before.setdefault(target, {}).setdefault(tie.relation, []).append(source)
        self._held: dict[str, frozenset[str]] = {}
        today = clock.now.replace(hour=0, minute=0, second=0, microsecond=0)
        self.recently = _shifted(today, -WATCHED_FOR)
        if any(
            when is not None and when > self.recently
            for tie in (*self.ties(), *self.disowned)
            for when in (tie.last_seen, tie.since)
        ):
            clock.over(_shifted(today, timedelta(days=1)))
        self.owned = self._owned()
        """The objects in use that somebody answers for: an owner, or a team."""
        self.with_owner = self._with_owner()
        """The objects in use for which an owner is named."""
        self.teams = self._teams()
        """The team of each object that has one: its own, or that of the nearest whole, version or server above it."""

    def seen(self, tie: Tie) -> datetime | None:
        """Return when a relation was last seen, as far as that counts: of what acts as a principal of its own, others
        prove nothing."""
        own = self.objects[tie.source].facts.get("attributes.principal")
        return self.proven(tie) if own else tie.last_seen

    def seen_first(self, tie: Tie) -> datetime | None:
        """Return since when a relation was seen, as far as that counts: where others say so too, nobody knows who was
        the first."""
        own = self.objects[tie.source].facts.get("attributes.principal")
        return self.proven(tie) if own and self.strangers(tie) else tie.first_seen or tie.last_seen

    def recent(self, tie: Tie) -> bool:
        """Tell whether a relation was seen of late."""
        last = self.seen(tie)
        return last is not None and last > self.recently

    def proven(self, tie: Tie) -> datetime | None:
        """Return when a relation was last seen by its source itself, or by somebody who speaks for others."""
        if not tie.senders:
            return tie.last_seen
        own = self.objects[tie.source].facts.get("attributes.principal")
        return max((when for name, when in tie.senders.items() if name in ("", own)), default=None)

    def known(self, tie: Tie) -> bool:
        """Tell whether a relation was seen of late by somebody whose word proves it."""
        proven = self.proven(tie)
        return proven is not None and proven > self.recently

    def strangers(self, tie: Tie) -> Mapping[str, datetime]:
        """Return who said that a relation was seen, and last when, of those whose word proves nothing of its source."""
        own = self.objects[tie.source].facts.get("attributes.principal")
        return {name: when for name, when in tie.senders.items() if name not in ("", own)}

    def for_long(self, tie: Tie) -> bool:
        """Tell whether a relation is declared for so long that not having been seen says something."""
        return tie.since is not None and tie.since <= self.recently

    def ties(self) -> Iterator[Tie]:
        """Yield every relation."""
        for found in self.out.values():
            yield from found

    def after(self, name: str, *relations: str) -> Sequence[str]:
        """Return the objects in use that an object leads to by some types of relations."""
        return _of(self._after.get(name), relations)

    def before(self, name: str, *relations: str) -> Sequence[str]:
        """Return the objects in use that lead to an object by some types of relations."""
        return _of(self._before.get(name), relations)

    def has(self, name: str, control: str) -> bool:
        """Tell whether an object has a control: one in use of its own, or all that it is part of have one."""
        if control not in self._held:
            self._held[control] = self._with(control)
        return name in self._held[control]

    def _with(self, control: str) -> frozenset[str]:
        own = {name for name in self.in_use if self.after(name, control)}
        return frozenset(self._spread(own, _PARTS, every=True)) if control in CONTROL else frozenset(own)

    def _spread(self, first: Iterable[str], relations: frozenset[str], *, every: bool) -> set[str]:
        """Return objects and what gets the same from them as their parts: of one, or of every whole it is part of."""
        found = set(first)
        waiting = list(found)
        while waiting:
            for part in self.before(waiting.pop(), *relations):
                if part not in found and (not every or all(item in found for item in self.after(part, *relations))):
                    found.add(part)
                    waiting.append(part)
        return found

    def _owned(self) -> frozenset[str]:
        return self._answered(lambda name, facts: bool(facts.get("owner") or self._team(name)))

    def _with_owner(self) -> frozenset[str]:
        return self._answered(lambda _, facts: bool(facts.get("owner")))

    def _answered(self, own: Callable[[str, Mapping[str, Any]], bool]) -> frozenset[str]:
        found = {name for name in self.in_use if own(name, self.objects[name].facts)}
        waiting = list(found)
        while waiting:
            here = waiting.pop()
            for part in (*self.before(here, "version_of"), *self.after(here, "exposes")):
                if part not in found:
                    found.add(part)
                    waiting.append(part)
        return frozenset(found)

    def _team(self, name: str) -> str | None:
        said = self.objects[name].facts.get("team")
        if said:
            return str(said).removeprefix("team:")
        teams = sorted(self.after(name, "owned_by"))
        return teams[0].removeprefix("team:") if teams else None

    def _teams(self) -> Mapping[str, str]:
        found = {name: team for name in self.objects if (team := self._team(name)) is not None}
        found |= {name: name.removeprefix("team:") for name in self.objects if name.startswith("team:")}
        layer = sorted(name for name in found if name in self.in_use and not name.startswith("team:"))
        while layer:
            fresh: dict[str, str] = {}
            for here in layer:
                for part in (*self.before(here, *_PARTS), *self.after(here, "exposes")):
                    if part not in found:
                        fresh[part] = min(found[here], fresh.get(part, found[here]))
            found |= fresh
            layer = sorted(fresh)
        return found

    def facet(self, name: str, field: str) -> Any:
        """Return what is said of an object, or else of what it is a version of."""
        here: str | None = name
        passed: set[str] = set()
        while here is not None and here not in passed:
            passed.add(here)
            value = self.objects[here].facts.get(field)
            if value not in (None, [], (), ""):
                return value
            here = next(iter(sorted(self.after(here, *_VERSIONS))), None)
        return None

    def reaching(self, ends: Iterable[str], relations: frozenset[str]) -> set[str]:
        """Return every object in use from which one of some objects is within reach."""
        found = set(ends)
        waiting = list(found)
        while waiting:
            for tie in self.into.get(waiting.pop(), ()):
                if tie.relation in relations and tie.source in self.in_use and tie.source not in found:
                    found.add(tie.source)
                    waiting.append(tie.source)
        return found


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """Return a moment so much later; the first or the last that there is, where that is beyond it."""
    try:
        return moment + by
    except OverflowError:
        if by < timedelta(0):
            return datetime.min.replace(tzinfo=moment.tzinfo)
        return datetime.max.replace(tzinfo=moment.tzinfo)


def _of(found: Mapping[str, list[str]] | None, relations: tuple[str, ...]) -> Sequence[str]:
    if found is None:
        return ()
    if len(relations) == 1:
        return found.get(relations[0], ())
    return [name for relation, names in found.items() if relation in relations for name in names]
