"""What is said of an object that became part of another is said of that one, from the merge on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from quarterdeck_domain.estate.landscape import Ends, Object, Tie


class Moved(Tie, frozen=True, kw_only=True, gc=False):
    """A relation of an object that was merged into another, as that one's. What names it is as it was recorded."""

    recorded: Ends

    @property
    def ends(self) -> Ends:
        """Return what names it."""
        return self.recorded


def survivor(name: str, into: Mapping[str, str]) -> str:
    """Return what a name stands for: what it was merged into, and what that was merged into, to the end."""
    passed = {name}
    while (following := into.get(name)) is not None and following not in passed:
        passed.add(following)
        name = following
    return name


def mergers(objects: Mapping[str, Object]) -> dict[str, str]:
    """Return what each name that was merged into another was merged into."""
    return {name: item.merged_into for name, item in objects.items() if item.merged_into is not None}


def with_moved(objects: Mapping[str, Object], ties: Iterable[Tie]) -> list[Tie]:
    """Return relations, and besides those of merged names the same as the survivors'.

    As recorded they stay, too: that something is still declared of a name that is no more is worth telling.
    """
    found = list(ties)
    into = mergers(objects)
    if not into:
        return found
    places = {(tie.source, tie.relation, tie.target): place for place, tie in enumerate(found)}
    for tie in tuple(found):
        source, target = survivor(tie.source, into), survivor(tie.target, into)
        ends = (source, tie.relation, target)
        if source == target or (source, target) == (tie.source, tie.target):
            continue
        if ends in places:
            found[places[ends]] = _both(found[places[ends]], tie)
            continue
        places[ends] = len(found)
        said = {name: getattr(tie, name) for name in tie.__struct_fields__}
        found.append(Moved(**{**said, "source": source, "target": target}, recorded=tie.ends))
    return found


def _both(tie: Tie, other: Tie) -> Tie:
    first = [when for when in (tie.first_seen, other.first_seen) if when is not None]
    last = [when for when in (tie.last_seen, other.last_seen) if when is not None]
    since = [when for when in (tie.since, other.since) if when is not None]
    return msgspec.structs.replace(
        tie,
        declared=tie.declared or other.declared,
        since=min(since, default=None),
        first_seen=min(first, default=None),
        last_seen=max(last, default=None),
        senders=_senders(tie, other),
    )


def _senders(*ties: Tie) -> Mapping[str, datetime]:
    """Return when one of some relations was last seen by whom; what is known to be so, whoever says it, is under ""."""
    found: dict[str, datetime] = {}
    for tie in ties:
        said = tie.senders or ({} if tie.last_seen is None else {"": tie.last_seen})
        found |= {name: max(when, found.get(name, when)) for name, when in said.items()}
    return found
