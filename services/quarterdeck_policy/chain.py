"""Whom policy judges: the named subject, and where the caller acts for it, everyone from the caller to the subject.

An action asked through a chain is permitted only if each of them is permitted it: delegation lends nobody a right, and
a `forbid` against an agent holds whomever it names. The others are judged as what the log says they are, `agent::"…"`,
`service::"…"` or, for a human, `user::"…"`; and so is the subject, where the request says another type of it. Claims
about the named subject (its `properties`) are nobody else's.

Whoever asks about others without acting for them is trusted to say who wants what, and is not judged itself.

Source: RFC 8693 section 4.1; AuthZEN Authorization API 1.0, 'Trust'.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Entity, Intent
from quarterdeck_domain.policy.events import Judged, Obligation
from quarterdeck_domain.policy.values import UNKNOWN_SUBJECT, SubjectFacts, Verdict
from quarterdeck_policy.engine import MAX_DETERMINING, NOTHING_PERMITS, LoadedBundle, bounded, failed
from quarterdeck_policy.estate import NOTHING_SEEN, Sight

TYPES: Final[Mapping[str, str]] = {"agent": "agent", "service": "service", "human": "user"}
"""The type that policy knows a principal by, from its kind."""

PATHS_DIFFER: Final = "those who ask together need approvals by different paths, so each has to ask alone"

FactsOf = Callable[[str], Awaitable[SubjectFacts]]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One of those who are judged. `known` is False for a link of the chain that the log does not know."""

    entity: Entity
    facts: SubjectFacts = UNKNOWN_SUBJECT
    known: bool = True


async def members(intent: Intent, caller: Actor, facts_of: FactsOf) -> tuple[Member, ...]:
    """Return who is judged: the subject as it was named, then from the caller to the subject, as what they are."""
    subject = intent.subject
    found = [Member(entity=subject, facts=await facts_of(subject.id))]
    for name in between(caller, subject.id):
        facts = found[0].facts if name == subject.id else await facts_of(name)
        kind = facts.kind or (caller.kind if name == caller.principal else "")
        if name != subject.id:
            entity = Entity(type=TYPES.get(kind, "principal"), id=name)
            found.append(Member(entity=entity, facts=facts, known=kind in TYPES))
        elif TYPES.get(kind, subject.type) != subject.type:
            found.append(Member(entity=msgspec.structs.replace(subject, type=TYPES[kind]), facts=facts))
    return tuple(found)


def between(caller: Actor, subject_id: str) -> tuple[str, ...]:
    """Return the ids from the caller to the subject it acts for, both included; none if it does not act for it."""
    chain = (caller.principal, *caller.on_behalf_of)
    return chain[: chain.index(subject_id) + 1] if subject_id in chain else ()


def judge(
    bundle: LoadedBundle,
    intent: Intent,
    judged: Sequence[Member],
    now: datetime | None,
    *,
    caller: Actor,
    approved: bool,
    sight: Sight = NOTHING_SEEN,
) -> Verdict:
    """Return the verdict on an intent of these members: each is asked about by itself. Never raises."""
    found: list[tuple[str, Verdict]] = []
    for member in judged:
        if member.known:
            one = msgspec.structs.replace(intent, subject=member.entity)
            verdict = bundle.evaluate(
                one, now, caller=caller, subject=member.facts, approved=approved, estate=sight.attributes
            )
        else:
            verdict = failed(["a link of the chain is not known here"])
        found.append((member.entity.ref, verdict))
    return found[0][1] if len(found) == 1 else united(found)


def united(found: Sequence[tuple[str, Verdict]]) -> Verdict:
    """Return one verdict of several: denied if one is, then approval required if one requires it, else permitted.

    Members that ask for different approval paths are denied: neither path is the other's, and whoever acts for somebody
    may not choose the easier one.

    Those that decide are the ones with that outcome, except that a permit and a demand for approval rest on all. The
    first of them, in order, gives the reason and the approval path; obligations are those of all who decide, each once.
    """
    share = MAX_DETERMINING // len(found)
    judged = tuple(
        Judged(principal=ref, outcome=verdict.outcome, determining=verdict.determining[:share])
        for ref, verdict in found
    )
    errors = [error for _, verdict in found for error in verdict.errors]
    if errors:
        return msgspec.structs.replace(failed(errors), judged=judged)
    denials = [(ref, verdict) for ref, verdict in found if verdict.outcome == "deny"]
    ways = {verdict.approval_path: ref for ref, verdict in found if verdict.approval_path is not None}
    if not denials and len(ways) > 1:
        wanted = ", ".join(f"{ref} by {path}" for path, ref in ways.items())
        reason = f"{PATHS_DIFFER}: {wanted}"
        named = tuple(_once(name for _, verdict in found for name in verdict.determining))[:MAX_DETERMINING]
        refused = bounded(Verdict(outcome="deny", determining=named, reason=reason))
        return msgspec.structs.replace(refused, judged=judged)
    deciding = denials or found
    # As within one verdict, what asks for approval, or was approved, comes first.
    asking = [(ref, verdict) for ref, verdict in deciding if verdict.approval_path is not None] or deciding
    waiting = not denials and any(verdict.outcome == "approval_required" for _, verdict in found)
    whole = Verdict(
        outcome="deny" if denials else "approval_required" if waiting else "permit",
        determining=tuple(_once(name for _, verdict in deciding for name in verdict.determining))[:MAX_DETERMINING],
        reason=_reason(asking, named=found[0][0]),
        obligations=() if waiting else _obligations(deciding),
        approval_path=asking[0][1].approval_path,
        judged=judged,
    )
    return msgspec.structs.replace(bounded(whole), judged=judged)


def _reason(deciding: Sequence[tuple[str, Verdict]], named: str) -> str:
    ref, reason = next(((ref, verdict.reason) for ref, verdict in deciding if verdict.reason), ("", ""))
    # A policy's author wrote the reason for whoever it is about; ours would be taken for the subject's.
    return f"{NOTHING_PERMITS} to {ref}" if reason == NOTHING_PERMITS and ref != named else reason


def _obligations(deciding: Sequence[tuple[str, Verdict]]) -> tuple[Obligation, ...]:
    return tuple({item.id: item for _, verdict in deciding for item in verdict.obligations}.values())


def _once(names: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(names)
