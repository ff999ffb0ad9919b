"""Grants of tools: what they let their holders use, what is more than needed, and what was used beyond them.

Source: S0-33, S0-57, S0-76.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from quarterdeck_domain.estate.finding_types import Finding, command
from quarterdeck_domain.estate.findings_senders import alleged
from quarterdeck_domain.estate.landscape import WATCHED_FOR, Clock, Landscape, Tie
from quarterdeck_domain.estate.lasting import end_of

VISIBLE: Final = frozenset({"uses", "calls", "reads", "exposes", "chains_to"})
"""The types that traces can show: of the others, not having been seen says nothing."""
ALIASES: Final = frozenset({"route", "deployment", "model", "model_version"})
"""Kinds that are used where what they lead to is used."""
MOST: Final = 2_000
_LEADS: Final = frozenset({"uses", "calls", "deployed_in"})
_USE: Final = frozenset({"calls", "uses"})


class Scope:
    """Who may use which tools by which grants, and who does."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        self.declared: dict[str, frozenset[str]] = {}
        self._within: dict[str, frozenset[str]] = {}
        self.grants = [name for name in sorted(landscape.in_use) if name.startswith("tool_grant:")]
        self.valid = {
            name
            for name in self.grants
            if (end := end_of(landscape.objects[name].facts.get("attributes.expires_at"))) is None
            or not landscape.clock.over(end)
        }

        self.under_grant = frozenset(tool for grant in self.grants for _, tool in self.permitted(grant))
        """The tools whose use somebody has bound to a grant."""
        self.watched = self._watched()
        """Those whose doings have been seen for long enough, and still are."""

    def within(self, end: str) -> frozenset[str]:
        """Return what is used where something is used: what a server exposes, a model's versions, what a route is
        declared to lead to; and of a tool the server that exposes it."""
        if end not in self._within:
            land = self.landscape
            found: set[str] = set()
            waiting = [end]
            while waiting and len(found) < MOST:
                here = waiting.pop()
                if here in found:
                    continue
                found.add(here)
                waiting += land.after(here, "exposes")
                waiting += land.before(here, "version_of")
                if here.partition(":")[0] in ALIASES:
                    waiting += [
                        tie.target
                        for tie in land.out.get(here, ())
                        if tie.declared and tie.relation in _LEADS and tie.target in land.in_use
                    ]
            if end.startswith("tool:"):
                found.update(land.before(end, "exposes"))
            self._within[end] = frozenset(found)
        return self._within[end]

    def permitted(self, grant: str) -> list[tuple[tuple[str, ...], str]]:
        """Return the tools that a grant permits, and through what."""
        found: list[tuple[tuple[str, ...], str]] = []
        for end in self.landscape.after(grant, "permits"):
            if end.startswith("tool:"):
                found.append(((grant,), end))
            else:
                found += [((grant, end), tool) for tool in self.offered(end)]
        return found

    def offered(self, server: str) -> list[str]:
        """Return the tools that a server exposes."""
        return [name for name in self.landscape.after(server, "exposes") if name.startswith("tool:")]

    def usable(self, actor: str) -> list[tuple[tuple[str, ...], str]]:
        """Return the tools that an object can use by itself, and through what. Where it holds grants for what a server
        offers, these say which, and not that it is connected to it; also while they, or the tools, are not to be used.
        """
        land = self.landscape
        granted = [
            item for grant in land.after(actor, "holds") if grant in self.valid for item in self.permitted(grant)
        ]
        bound = self._bound(actor)
        found = list(granted)
        for end in land.after(actor, "calls", "uses"):
            if end.startswith("tool:"):
                found.append(((), end))
            elif end.startswith("mcp_server:") and bound.isdisjoint({end, *self._standing(end, "exposes")}):
                found += [((end,), tool) for tool in self.offered(end)]
        return found

    def _bound(self, actor: str) -> set[str]:
        """Return the servers and tools for which somebody holds grants, valid or not, in use or in quarantine."""
        found = {end for grant in self._standing(actor, "holds") for end in self._standing(grant, "permits")}
        return found.union(*(self._standing(end, "exposes") for end in found))

    def _standing(self, name: str, relation: str) -> list[str]:
        """Return what an object leads to that is there: also what is in quarantine, which will come back."""
        land = self.landscape
        return [
            tie.target
            for tie in land.out.get(name, ())
            if tie.relation == relation
            and (tie.target in land.in_use or land.objects[tie.target].lifecycle == "quarantined")
        ]

    def _watched(self) -> frozenset[str]:
        first: dict[str, datetime] = {}
        last: dict[str, datetime] = {}
        for tie in self.landscape.ties():
            seen, began = self.landscape.seen(tie), self.landscape.seen_first(tie)
            if seen is not None and began is not None:
                first[tie.source] = min(began, first.get(tie.source, began))
                last[tie.source] = max(seen, last.get(tie.source, seen))
        recently = self.landscape.recently
        return frozenset(name for name, began in first.items() if began <= recently < last[name])

    def used(self, actor: str) -> set[str]:
        """Return what somebody was seen to use of late."""
        land = self.landscape
        return {tie.target for tie in land.out.get(actor, ()) if tie.relation in _USE and land.recent(tie)}

    def uses(self, actor: str, target: str) -> list[Tie]:
        """Return by which relations somebody was seen to use something of late."""
        land = self.landscape
        return [
            tie for tie in land.out.get(actor, ()) if tie.target == target and tie.relation in _USE and land.recent(tie)
        ]


def follows(landscape: Landscape, scope: Scope, source: str, target: str) -> bool:
    """Tell whether an object is declared to use another, or that follows from what it is declared to use."""
    if source not in scope.declared:
        declared = [tie for tie in landscape.out.get(source, ()) if tie.declared]
        ends = {tie.target for tie in declared if tie.relation in VISIBLE}
        for tie in declared:
            if tie.relation == "holds":
                ends.update(landscape.after(tie.target, "permits"))
        scope.declared[source] = frozenset(ends)
    return any(end == target or target in scope.within(end) for end in scope.declared[source])


def beyond(landscape: Landscape, scope: Scope) -> Iterator[Finding]:
    """Yield the calls of tools that the caller's grants do not permit."""
    for actor in sorted(landscape.in_use):
        held = sorted(landscape.after(actor, "holds"))
        for tool in sorted(scope.used(actor)):
            if not tool.startswith("tool:") or not (held or tool in scope.under_grant):
                continue
            if tool not in scope.under_grant and follows(landscape, scope, actor, tool):
                continue  # nobody has bound its use to a grant, and that it uses it is declared
            why = _why_not(landscape, scope, held, tool)
            if why is not None:
                proofless = [tie for tie in scope.uses(actor, tool) if not landscape.known(tie)]
                if len(proofless) == len(scope.uses(actor, tool)):
                    yield from alleged(landscape, proofless[0], why, landscape.recently)
                    continue
                yield Finding(
                    type="out_of_scope",
                    asset=actor,
                    subject=tool,
                    message=f"it was seen to call {tool}, and {why}",
                    mend=command("quarantine", actor, "--reason", "REASON"),
                )


def _why_not(landscape: Landscape, scope: Scope, held: Sequence[str], tool: str) -> str | None:
    permitting = [grant for grant in held if any(end == tool for _, end in scope.permitted(grant))]
    valid = [grant for grant in permitting if grant in scope.valid]
    if not valid:
        return f"{permitting[0]} has expired" if permitting else "no grant that it holds permits that"
    needs = frozenset(landscape.objects[tool].facts.get("attributes.privileges") or ())
    given = [frozenset(landscape.objects[grant].facts.get("attributes.privileges") or ()) for grant in valid]
    if not needs or any(not item or needs <= item for item in given):
        return None
    lacking = ", ".join(sorted(needs.difference(*given)))
    return f"{valid[0]} does not grant {lacking}, which the tool does"


def surplus(landscape: Landscape, scope: Scope) -> Iterator[Finding]:
    """Yield what grants give beyond what the tools need, and beyond what their holders were seen to use."""
    for grant in scope.grants:
        tools = [tool for _, tool in scope.permitted(grant)]
        yield from _privileges(landscape, grant, tools)
        holders = sorted(set(landscape.before(grant, "holds")))
        used = {name: scope.used(name) for name in holders if name in scope.watched}
        idle = [name for name in used if tools and not _uses_any(landscape, scope, grant, used[name])]
        for holder in idle:
            if _held_for_long(landscape, holder, "holds", grant):
                yield Finding(
                    type="over_permissioned",
                    asset=holder,
                    subject=grant,
                    message=f"it holds {grant} and was not seen to use what that permits for {WATCHED_FOR.days} days",
                    mend=command("unrelate", holder, "holds", grant),
                )
        if not holders or len(used) < len(holders) or idle:
            continue
        for end in sorted(set(landscape.after(grant, "permits"))):
            wanted = {end, *(scope.offered(end) if end.startswith("mcp_server:") else ())}
            if all(wanted.isdisjoint(found) for found in used.values()) and _held_for_long(
                landscape, grant, "permits", end
            ):
                yield Finding(
                    type="over_permissioned",
                    asset=grant,
                    subject=end,
                    message=f"it permits the use of {end}, which none of its holders was seen to use for "
                    f"{WATCHED_FOR.days} days",
                    mend=command("unrelate", grant, "permits", end),
                )


def _privileges(landscape: Landscape, grant: str, tools: list[str]) -> Iterator[Finding]:
    given = frozenset(landscape.objects[grant].facts.get("attributes.privileges") or ())
    each = [frozenset(landscape.objects[tool].facts.get("attributes.privileges") or ()) for tool in tools]
    if not each or not all(each):
        return  # of a tool nobody has said what it needs
    needed = frozenset[Any]().union(*each)
    extra = sorted(given - needed)
    if not extra:
        return
    rest = ",".join(sorted(given & needed))
    keep = ("--set", f"attributes.privileges={rest}") if rest else ("--unset", "attributes.privileges")
    yield Finding(
        type="over_permissioned",
        asset=grant,
        message=f"it grants {', '.join(extra)}, which no tool behind it needs",
        mend=command("change", grant, *keep),
    )


def _uses_any(landscape: Landscape, scope: Scope, grant: str, used: set[str]) -> bool:
    ends = {end for passed, tool in scope.permitted(grant) for end in (*passed[1:], tool)}
    return not used.isdisjoint(ends)


def _held_for_long(landscape: Landscape, source: str, relation: str, target: str) -> bool:
    return any(
        tie.declared and landscape.for_long(tie)
        for tie in landscape.out.get(source, ())
        if tie.relation == relation and tie.target == target
    )


def ended(landscape: Landscape) -> Iterator[Finding]:
    """Yield what is still there after its last day."""
    clock: Clock = landscape.clock
    for name in sorted(landscape.in_use):
        found = landscape.objects[name]
        end = end_of(found.facts.get("attributes.expires_at"))
        if end is None and found.lifecycle == "deprecated":
            end = found.sunset
        if end is None or not clock.over(end):
            continue
        leading = sorted({*landscape.before(name, "holds", "excepted_by"), *_dependants(landscape, name)})
        still = f", and {_some(leading)} still {'lead' if len(leading) > 1 else 'leads'} to it" if leading else ""
        yield Finding(
            type="expired",
            asset=name,
            message=f"its last day was {end.isoformat(timespec='minutes')}{still}",
            mend=command("retire", name),
        )


def _dependants(landscape: Landscape, name: str) -> Sequence[str]:
    return landscape.before(name, "uses", "calls", "reads", "deployed_in", "chains_to", "permits")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
