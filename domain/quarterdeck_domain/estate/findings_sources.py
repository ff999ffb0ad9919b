"""What sources say that does not fit together: one thing under two names, two words on one fact, another digest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.drift import DIGEST, INPUTS, PINNED, is_fact
from quarterdeck_domain.estate.finding_types import Commands, Finding, command
from quarterdeck_domain.estate.landscape import Landscape, Noted, Object
from quarterdeck_domain.estate.offers import reached_at
from quarterdeck_domain.estate.voices import BASE

_STANDING: Final = {"declared": 0, "imported": 1, "observed": 2}
_IN_NUMBER: Final = re.compile(r"(?<=[0-9])[^0-9a-z/:@]+(?=[0-9])")
_PUNCTUATION: Final = re.compile(r"[^0-9a-z/:@.]+|\.(?![0-9])|(?<![0-9])\.")
_AT: Final[Mapping[str, str]] = {
    "agent": "endpoint",
    "mcp_server": "endpoint",
    "dataset": "location",
    "feature_store": "location",
    "context_store": "location",
}
"""The attribute that says where an object of a kind is, where there is one object at one place."""
_DIGESTED: Final = frozenset(
    {
        "model_version",
        "prompt_version",
        "dataset",
        "retrieval_index",
        "agent",
        "training_pipeline",
        "fine_tuning_run",
        "orchestration",
        "guardrail",
        "evaluation_suite",
    }
)
"""The kinds of which two with one digest are one thing. Tools and servers are not: the same may run in two places."""
_GONE: Final = "attributes.gone"
_NAMES: Final = "their names differ only in case or punctuation"
_MOST: Final = 200
_OFFERS: Final[Mapping[str, str]] = {"mcp": "mcp_server", "models": "provider"}
"""The object that a source of a kind is, where it is one."""


def same_name(name: str) -> str:
    """Return a name without case and punctuation. What stands between two digits and what divides a name is kept: 4.1
    is not 41, and a/bc is not ab/c."""
    return _PUNCTUATION.sub("", _IN_NUMBER.sub(".", name.lower()))


def duplicates(landscape: Landscape) -> Iterator[Finding]:
    """Yield the objects that are perhaps another: the one that is declared, better
    related, or was there first, stays. With what is in quarantine nothing is merged: it may have to be shut, too."""
    here = [item for item in landscape.objects.values() if item.merged_into is None and item.lifecycle != "retired"]
    said: dict[tuple[str, str], str] = {}
    shut = {item.id for item in here if item.lifecycle == "quarantined"}

    def rank(item: Object) -> tuple[bool, int, int, str, str]:
        related = len(landscape.out.get(item.id, ())) + len(landscape.into.get(item.id, ()))
        began = "" if item.registered is None else item.registered.isoformat()
        return (item.lifecycle == "draft", _STANDING.get(item.confidence, 3), -related, began, item.id)

    def by(key: Callable[[Object], str | None], why: str) -> None:
        groups: dict[tuple[str, str], list[Object]] = {}
        for item in here:
            value = key(item)
            if value:
                groups.setdefault((item.kind, value), []).append(item)
        for group in groups.values():
            if len(group) > 1:
                first, *others = sorted(group, key=lambda item: (item.id not in shut, *rank(item)))
                for other in others:
                    if other.id not in shut and not (why is _NAMES and _told_apart(first, other)):
                        said.setdefault((other.id, first.id), why)

    by(lambda item: same_name(item.id.partition(":")[2]), _NAMES)
    by(lambda item: reached_at(item.facts.get(f"attributes.{_AT.get(item.kind, '')}")), "they are at one address")
    by(lambda item: item.facts.get(DIGEST) if item.kind in _DIGESTED else None, "they have one digest")
    for (other, first), why in said.items():
        if (first, other) in said and first > other:
            continue  # each would be merged into the other
        yield Finding(
            type="duplicate",
            asset=other,
            subject=first,
            message=f"it may be the same as {first}{', which is in quarantine' if first in shut else ''}: {why}",
            mend=command("quarantine", other, "--reason", "REASON")
            if first in shut
            else command("merge", first, other),
        )


def _told_apart(one: Object, other: Object) -> bool:
    """Tell whether one source offers both of one server or document of its: then they are two."""
    offers = [(item.offered_by, item.id.partition("/")[0]) for item in (one, other)]
    return None not in offers[0] and offers[0] == offers[1] and not any(_GONE in item.facts for item in (one, other))


def contested(landscape: Landscape) -> Iterator[Finding]:
    """Yield the facts of which two sources say different things."""
    for name in sorted(landscape.objects):
        found = landscape.objects[name]
        if not found.contested or found.merged_into is not None or found.lifecycle == "retired":
            continue
        for fact, others in sorted(found.contested.items()):
            value = found.facts.get(fact)
            claims = {source: said for source, said in sorted(others.items()) if said != value}
            if not claims or value is None:
                continue
            last = (found.voices.get(fact) or found.voices.get(BASE) or ("another source",))[0]
            words = "; ".join(f"{source} says {_told(said)}" for source, said in claims.items())
            yield Finding(
                type="contested",
                asset=name,
                subject=fact,
                message=f"its {fact.removeprefix('attributes.')} is {_told(value)} ({last} has the say); {words}",
                mend=command("change", name, "--set", _setting(fact, value)),
            )


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return legible(text.replace("\n", " "), limit=_MOST)


def _setting(fact: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{fact}={value}"
    return f"{fact}:={json.dumps(value, ensure_ascii=False, sort_keys=True)}"


def drifted(landscape: Landscape) -> Iterator[Finding]:
    """Yield what is not as it was pinned, or was not for a while and nobody has looked.

    Of several drifts of one thing the last one counts: whoever takes that as the pin has taken what led to it.
    """
    latest: dict[tuple[str, str, str], list[Noted]] = {}
    for drift in sorted(landscape.drifts, key=lambda item: (item.detected, item.id)):
        found = landscape.objects.get(drift.asset)
        if found is None or found.merged_into is not None or found.lifecycle == "retired":
            continue
        alone = is_fact(drift.asset, drift.field, found.facts)
        group = latest.setdefault((drift.asset, drift.input, drift.field if alone else ""), [])
        if drift.accepted:
            group.clear()
        else:
            group.append(drift)
    noted: set[str] = set()
    for (asset, _, field), group in latest.items():
        if group:
            yield _noted(landscape.objects[asset], group, alone=bool(field))
            if not field:
                noted.add(asset)
    for name in sorted(landscape.objects.keys() - noted):
        found = landscape.objects[name]
        pinned, digest = found.facts.get(PINNED), found.facts.get(DIGEST)
        in_question = found.merged_into is None and found.lifecycle != "retired"
        if in_question and pinned and digest and pinned != digest:
            yield Finding(
                type="drifted",
                asset=name,
                message=f"its digest is {digest}, and {pinned} was pinned when it was reviewed",
                mend=_note(name, pinned, digest),
            )


def _note(name: str, pinned: str, digest: str) -> Commands:
    """Return what notes that something is not as pinned, so that somebody can accept it: a pin moves by that alone."""
    what = INPUTS.get(name.partition(":")[0], "tools")
    said = ("--input", what, "--field", "digest", "--expected", pinned, "--found", digest)
    return command("note-drift", name, *said)


def _noted(found: Object, group: list[Noted], *, alone: bool) -> Finding:
    drift = group[-1]
    pinned, digest = found.facts.get(PINNED), found.facts.get(DIGEST)
    fix = command("accept-drift", found.id, drift.id, "--reason", "REASON")
    state = "is not what was pinned"
    if not alone and digest == pinned:
        state = "was not what was pinned, and is again"
    elif not alone and digest and digest != drift.found:
        fix = _note(found.id, str(pinned), str(digest))
    earlier = f" ({len(group) - 1} before it)" if len(group) > 1 else ""
    return Finding(
        type="drifted",
        asset=found.id,
        subject=f"{drift.input} {drift.field}" if alone else drift.input,
        message=f"its {drift.field} ({drift.input.replace('_', ' ')}) {state}: {_told(drift.expected)} became "
        f"{_told(drift.found)}{earlier}",
        mend=fix,
    )


def unread(landscape: Landscape) -> Iterator[Finding]:
    """Yield the sources that could not be read when they were last. Told of what is imported from there, if that is one
    object; else of `source:` and the source's name."""
    for source in landscape.unread:
        named = f"{_OFFERS.get(source.kind, 'source')}:{source.source_id}"
        asset = named if named in landscape.objects else f"source:{source.source_id}"
        last = "the last import" if source.failures == 1 else f"each of the last {source.failures} imports"
        kept = "; what is not as pinned there is not kept from being used" if source.on_drift == "quarantine" else ""
        yield Finding(
            type="unread",
            asset=asset,
            subject=source.source_id,
            message=f"{last} of the source {source.source_id} failed: {_told(source.message)}{kept}",
            mend=command("sources", "run", source.source_id),
        )


def suspicious(landscape: Landscape) -> Iterator[Finding]:
    """Yield what looked wrong to an importer, of what is in use or about to be."""
    for name in sorted(landscape.objects):
        found = landscape.objects[name]
        cautions: Iterable[Any] = found.facts.get("attributes.cautions") or ()
        if cautions and found.merged_into is None and found.lifecycle not in ("quarantined", "retired"):
            yield Finding(
                type="suspicious",
                asset=name,
                message=f"what it says of itself may be meant to deceive: {_told('; '.join(map(str, cautions)))}",
                mend=command("quarantine", name, "--reason", "REASON"),
            )
