"""What slices say to people: why an event is needed, what an absence is, and what it would have come to otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from quarterdeck_domain.causes import NOBODY as SOMEBODY
from quarterdeck_domain.causes import NOTHING, SOME_DAY
from quarterdeck_domain.estate.events import ACTS_AS, EXPOSED, SERVES
from quarterdeck_domain.policy.values import Verdict
from quarterdeck_graphql.causal import Slice
from quarterdeck_graphql.causal_absences import Missing, numbered, span
from quarterdeck_policy.replaying import Outcome
from quarterdeck_readmodels.estate import MARKS, stamp

WHY: Final[Mapping[str, str]] = {
    "tenant.opened": "the tenant began",
    "tenant.closed": "the tenant ended",
    "principal.registered": "it says who this is, with which roles, and who answers for it",
    "principal.role_granted": "it gave a role",
    "principal.role_revoked": "it took a role away",
    "principal.ownership_transferred": "it says who answers for it",
    "principal.deactivated": "since then this may not act",
    "principal.erased": "the key of these personal data was destroyed",
    "api_key.issued": "the key was made",
    "api_key.rotated": "the key was replaced",
    "api_key.revoked": "the key was revoked",
    "policy_bundle.published": "it holds what policy says",
    "policy_bundle.continued": "it holds more of what policy says",
    "policy_bundle.mode_changed": "it says what the bundle does, and which one is in force",
    "policy.decision_recorded": "it is what policy answered",
    "approval_path.published": "it says who has to approve, and how many",
    "approval.requested": "it says what consent was asked for, and who may give it",
    "approval.vote_cast": "somebody who could vote did",
    "approval.reminded": "people were told again",
    "approval.granted": "every stage had its quorum",
    "approval.denied": "somebody said no",
    "approval.expired": "nobody had decided in time",
    "approval.cancelled": "the requester took it back",
    "grant.minted": "it permits the action once",
    "grant.redeemed": "the grant was used, and the effect begun",
    "grant.revoked": "the grant was taken back",
    "effect.reported": "its executor said how it ended",
    "effect.reconciled": "a person said how it ended",
    "callback.delivered": "the message arrived",
    "callback.abandoned": "the message was given up",
    "callback.resent": "the message was sent again",
    "dispatch.parked": "the event could not be acted on",
    "dispatch.released": "the event was sent round again",
    "asset.registered": "the object is part of the estate since then, with what was said of it",
    "asset.changed": "it says what else is true of the object",
    "asset.ownership_transferred": "it says who answers for the object",
    "asset.promoted": "the object was named tier one",
    "asset.deprecated": "the object is on its way out",
    "asset.retired": "the object is no longer in use",
    "asset.merged": "two objects were one",
    "asset.quarantined": "the object is not to be used",
    "asset.released": "the object may be used again",
    "relation.declared": "somebody says that they are related",
    "relation.observed": "they were seen to be related",
    "relation.withdrawn": "they are no longer said to be related",
    "drift.detected": "something was not as it was pinned",
    "drift.accepted": "what was found is the new pin",
    "source.registered": "the estate is imported from there",
    "source.changed": "it says how the source is read",
    "source.removed": "the estate is no longer imported from there",
    "source.synced": "an import was read to its end",
    "source.failed": "an import failed",
}
"""Why an event of a type is in a slice."""
DONE: Final[Mapping[str, str]] = {
    "principal.registered": "registered",
    "principal.role_granted": "given the role {role}",
    "principal.role_revoked": "deprived of the role {role}",
    "principal.ownership_transferred": "given another owner",
    "principal.deactivated": "deactivated",
    "principal.erased": "erased",
    "tenant.closed": "closed",
    "api_key.rotated": "rotated",
    "api_key.revoked": "revoked",
    "policy_bundle.mode_changed": "put in force, taken out of it or watched",
    "approval_path.published": "published anew",
    "approval.reminded": "reminded of",
    "approval.granted": "granted",
    "approval.denied": "denied",
    "approval.expired": "let expire",
    "approval.cancelled": "cancelled",
    "grant.minted": "given a grant",
    "grant.redeemed": "redeemed",
    "grant.revoked": "taken back",
    "effect.reported": "reported on",
    "effect.reconciled": "settled by a person",
    "callback.delivered": "delivered",
    "callback.abandoned": "given up",
    "callback.resent": "sent again",
    "dispatch.parked": "parked",
    "dispatch.released": "released",
    "asset.registered": "registered",
    "asset.changed": "changed",
    "asset.ownership_transferred": "given to somebody else",
    "asset.promoted": "promoted",
    "asset.deprecated": "deprecated",
    "asset.retired": "retired",
    "asset.quarantined": "quarantined",
    "asset.released": "released",
    "asset.merged": "merged",
    "relation.declared": "declared",
    "relation.observed": "seen",
    "relation.withdrawn": "withdrawn",
    "drift.accepted": "accepted",
    "source.registered": "registered",
    "source.changed": "changed",
    "source.removed": "removed",
    "source.synced": "imported",
    "source.failed": "tried in vain",
}
"""What would have been done by an event of a type: `it was not …`."""
NOBODY: Final[Mapping[str, str]] = {"policy_bundle.mode_changed": "no policy bundle", "tenant.closed": "the tenant"}
"""Whom an absence is about, where no tag says so."""
KEPT: Final = MARKS | {"since", "plain", "dated", "voices", "intervals", "sealed_by"}
"""Columns that are kept for later questions, and say nothing to people."""
FIRST: Final = ("status", "state", "lifecycle", "mode", "outcome", "verdict", "declared", "quarantined", "owner")
"""Columns that are told before others."""
_TOLD: Final = 8
_SHOWN: Final = 4
_CUT: Final = 80
_SEALED: Final = "sealed:"
_UNSAID: Final = "left unsaid"
_OF: Final = {
    ACTS_AS: "what acts as {}",
    EXPOSED: "that something exposes {}",
    SERVES: "that something exposes {}",
}
"""What is asked about by a tag that is not of the thing itself."""
_KINDS: Final = {"key": "key", "grt": "grant", "apr": "approval", "eff": "effect", "dec": "decision", "bnd": "bundle"}
_EXAMPLES: Final = (
    (re.compile(SOMEBODY), "somebody else"),
    *((re.compile(f"{prefix}_{NOTHING}"), f"another {kind}") for prefix, kind in _KINDS.items()),
    (re.compile(rf"\b([a-z_]+):{NOTHING}"), r"another \1"),
    (re.compile(re.escape(stamp(SOME_DAY).partition(".")[0]) + r"(\.0+)?(Z|\+00:00)"), "another time"),
)
"""What examples of what did not happen are made of, and what people are told instead."""


def why(event_type: str) -> str:
    """Return why an event of a type is in a slice."""
    return WHY.get(event_type, "it has a bearing on this")


def absence(missing: Missing) -> str:
    """Return an absence as a sentence."""
    named = dict(tag.split(":", 1) for tag in missing.tags)
    done = [DONE.get(event_type, event_type).format(role=named.get("role", "")) for event_type in missing.types]
    listed = done[0] if len(done) == 1 else f"{', '.join(done[:-1])} or {done[-1]}"
    told = [_OF.get(kind, "{}").format(name) for kind, name in named.items() if kind != "role"]
    subject = ", ".join(told) or NOBODY.get(missing.types[0], "anything")
    verb = "was" if subject.startswith("no ") else "was not"
    aside = f", {numbered(missing.besides)} aside" if missing.besides else ""
    return f"{subject} {verb} {listed} {span(missing.after, missing.until)}{aside}"


def outcome(found: Any) -> str:
    """Return what a decision or a state came to."""
    if isinstance(found, Outcome):
        if found.verdict is None:
            return f"it could not be decided: {found.problem}"
        word, reason = found.verdict.outcome.replace("_", " "), found.verdict.reason
        if found.verdict.outcome == "permit" and found.verdict.approval_path is not None:
            # The reason is that of the policy that asks for an approval, and there was one.
            return f"{word}, as it was approved" + (f"; what asked for that: {reason}" if reason else "")
        return word + (f": {reason}" if reason else "")
    _, state = found
    if state is None:
        return "it would not be there"
    said = [name for name in state if name not in KEPT and _says(state[name])]
    said.sort(key=lambda name: name not in FIRST)
    told = [f"{name} {_text(state[name])}" for name in said[:_TOLD]]
    return "; ".join([*told, *([f"and {len(said) - _TOLD} more"] if len(said) > _TOLD else [])])


def instead(found: Any, recorded: Any) -> str:
    """Return what it would have come to otherwise, as far as that is different."""
    if isinstance(found, Outcome):
        if found.verdict is None or not isinstance(recorded, Outcome) or recorded.verdict is None:
            return outcome(found)
        return _verdict(found, found.verdict, recorded.verdict)
    sound, state = found
    if state is None or recorded[1] is None:
        return "it would not be there"
    differ = [name for name, value in state.items() if value != recorded[1].get(name)]
    changed = [name for name in differ if name not in KEPT]
    if not changed:
        said = "somebody else would have said it, or at another time" if differ else "it would be the same"
        return said if sound else "no votes of people who could vote would stand behind it"
    told = [_change(name, state[name], recorded[1].get(name)) for name in changed[:_SHOWN]]
    more = f"; {len(changed) - _SHOWN} more would differ" if len(changed) > _SHOWN else ""
    return "; ".join(told) + more


def _change(name: str, value: Any, was: Any) -> str:
    """Return how a fact would differ, if what is only an example had happened."""
    would, not_ = _example(value) if _says(value) else _UNSAID, _text(was) if _says(was) else _UNSAID
    return f"{name} would be {would}, not {not_}"


def _example(value: Any) -> str:
    """Return what an example says as a person would: examples are of somebody, something, another time."""
    if type(value) is int and value < 0:
        return "another number"
    return _text(_plain(str(value)))


def _plain(text: str) -> str:
    for pattern, word in _EXAMPLES:
        text = pattern.sub(word, text)
    return text


def _verdict(found: Outcome, verdict: Verdict, recorded: Verdict) -> str:
    if (verdict.outcome, verdict.reason) != (recorded.outcome, recorded.reason):
        return _plain(outcome(found))
    if verdict == recorded:
        return f"{verdict.outcome.replace('_', ' ')} as well, but by {found.bundle_id or 'no bundle'}"
    old, new = msgspec.to_builtins(recorded), msgspec.to_builtins(verdict)
    told = [
        f"{name} would be {_plain(_listed(new[name]))}, not {_listed(old[name])}"
        for name in new
        if new[name] != old[name]
    ]
    return f"{verdict.outcome.replace('_', ' ')} as well, but {'; '.join(told[:_SHOWN])}"


def _listed(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return _text(value) if _says(value) else "none"
    named = [item if isinstance(item, str) else _text(" ".join(map(str, _leaves(item)))) for item in value]
    return _text(", ".join(named)) if named else "none"


def _leaves(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else [item]


def value(found: Any) -> Any:
    """Return what a decision or a state came to, as JSON."""
    told = found if isinstance(found, Outcome) else found[1]
    return msgspec.to_builtins(told)


def other(found: Slice) -> str:
    """Return why there is no slice where replaying everything comes to something else than what is recorded."""
    come_to = instead(found.found.outcome, found.recorded)
    return f"all that has a bearing on it, replayed, comes to something else: {come_to}"


def text(what: str, found: Slice, visible: Sequence[bool], missing: Sequence[Missing]) -> str:
    """Return a slice for people. `visible` says of each event whether it may be shown; so may these absences."""
    size, of = len(found.entries), found.found.candidates
    lines = [f"{what}: {outcome(found.recorded)}"]
    if not found.found.whole:
        return "\n".join([*lines, f"There is no slice: {other(found)}."])
    lines.append(f"{size} of the {of} events that have a bearing on it force it:")
    for entry, may in zip(found.entries, visible, strict=True):
        said = f"{entry.type} by {entry.actor.principal}: {why(entry.type)}" if may else "an event that is not for you"
        without = instead(found.found.without[entry.position], found.recorded)
        lines.append(f"  {entry.position}  {entry.recorded_at:%Y-%m-%d %H:%M:%S}Z  {said}")
        lines += [f"      without it: {without}"] if may else []
    if missing:
        lines.append("And it rests on what did not happen:")
        lines += [f"  {absence(one)}" for one in missing]
    if found.found.settled:
        lines.append(f"Besides there were, and came to nothing all together: {numbered(found.found.settled)}")
    checks = {
        "all of them come to what is recorded": found.found.whole,
        "these alone come to the same": found.found.sufficient,
        "without any one of them it is something else": found.found.irreducible,
        "the log has none of what did not happen": all(one.holds for one in found.missing),
    }
    if found.found.settled:
        checks["with what came to nothing it is the same"] = found.found.settles
    lines += [f"Checked by replaying: {said}." if holds else f"Not so: {said}." for said, holds in checks.items()]
    return "\n".join(lines)


def _says(value: Any) -> bool:
    return value not in (None, "", [], {})


def _text(value: Any) -> str:
    if not _says(value):
        return "not said"
    found = "sealed" if isinstance(value, str) and value.startswith(_SEALED) else str(value)
    return found if len(found) <= _CUT else found[: _CUT - 1] + "…"
