"""What of a plan is about objects: what is registered and changed, what drifted, and what a source no longer offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Declaration, Ending, Entry
from quarterdeck_domain.estate.drift import DIGEST, PINNED, PINNED_PARTS, differs, find_drift, first_pin
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    AssetRegistered,
    DriftDetected,
)
from quarterdeck_domain.estate.hearing import holding_of
from quarterdeck_domain.estate.imports import GONE
from quarterdeck_domain.estate.offers import added, beside, released, shut
from quarterdeck_domain.estate.plan_draft import Draft, FieldChange, changes_of
from quarterdeck_domain.estate.plan_states import plan_begun, plan_state
from quarterdeck_domain.estate.standing import Standing, same
from quarterdeck_domain.estate.voices import Voices


def plan_asset(draft: Draft, name: str, entry: Entry) -> None:
    """Register one object, or change what is said otherwise of it; note where it is not as it was pinned.

    Raises:
        InvalidInput: a file says that something is retired which was never there, brings back what is out of use (see
            `plan_states`), or moves a pin.
    """
    wanted, standing = draft.wanted, draft.standing
    before = standing.facts.get(name)
    first = {field: value for field, value in entry.first.items() if same((before or {}).get(field), None)}
    if PINNED not in first:
        first.pop(PINNED_PARTS, None)
    holds, claims = holding_of(wanted, standing, name, entry.facts)
    said = first | _kept_pin(wanted, name, before or {}, holds)
    if wanted.whole and before is not None and before.get(GONE) == wanted.source:
        said |= {GONE: None}  # it is back
    if before is None:
        _plan_new(draft, name, said, entry.ending)
    else:
        _plan_known(draft, name, before, plan_state(draft, name, before, said, entry.ending))
        if claims:
            _contest(draft, name, before, claims)
    # A file says what should be; only what an importer found can differ from what was pinned.
    if wanted.confidence != "declared" and said.get(DIGEST):
        _plan_drift(draft, name, said, {**entry.facts, DIGEST: said[DIGEST]})


def plan_offered(draft: Draft) -> None:
    """Note what servers offer beyond what was reviewed; where policy says so, it waits in quarantine. So does, whatever
    the policy, what comes with a server that is reached where one in quarantine is."""
    wanted, standing = draft.wanted, draft.standing
    done = {step.subject for step in draft.steps if step.action == "quarantine"}

    def keep(assets: Iterable[str], reason: str) -> None:
        for asset in assets:
            if asset not in done and (kept := shut(asset, reason, wanted, standing)):
                draft.add("quarantine", asset, kept)
                done.add(asset)

    for known in beside(wanted, standing):
        keep(known.assets, known.reason)
    for found in added(wanted, standing, draft.run):
        if found.drift is not None:
            draft.add("drift", found.server, found.drift, _difference(found.drift))
        if wanted.on_drift == "quarantine":
            unread = (tool for tool in found.tools if not released(standing, tool, _digest(standing, tool)))
            keep(unread, f"{found.server} did not offer it when it was reviewed")


def plan_gone(draft: Draft, gone: tuple[str, ...]) -> None:
    """Note what a source no longer offers."""
    source = draft.wanted.source
    for name in gone:
        before = draft.standing.facts[name]
        if before.get(GONE) != source:
            _change(draft, name, before, {GONE: source}, f"{source} no longer offers it")


def _plan_new(draft: Draft, name: str, said: Mapping[str, Any], ending: Ending) -> None:
    wanted = draft.wanted
    if wanted.confidence != "declared":
        said = {**first_pin(name, {}, said), **said}
    facts = {"lifecycle": "live"} | {field: value for field, value in said.items() if value is not None}
    if facts["lifecycle"] == "retired":
        raise InvalidInput(f"{name} is retired in the file and was never in the estate", asset=name)
    event = AssetRegistered(
        asset=name,
        facts=facts,
        source=wanted.source,
        confidence=wanted.confidence,
        valid_from=wanted.valid_from,
        run=draft.run,
    )
    draft.add("register", name, event, changes_of({}, facts))
    plan_begun(draft, name, facts["lifecycle"], ending)


def _plan_known(draft: Draft, name: str, before: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    wanted = draft.wanted
    pin = {} if wanted.confidence == "declared" else first_pin(name, before, said)
    said = {**pin, **said}
    contested = draft.standing.voices.get(name, Voices()).contested
    changed = {
        field: value
        for field, value in said.items()
        # Where it said otherwise before, that it agrees now is news, too.
        if not same(before.get(field), value) or wanted.source in contested.get(field, {})
    }
    if changed:
        _change(draft, name, before, changed)


def _change(draft: Draft, name: str, before: Mapping[str, Any], facts: Mapping[str, Any], reason: str = "") -> None:
    wanted = draft.wanted
    event = AssetChanged(
        asset=name,
        facts=dict(facts),
        source=wanted.source,
        confidence=wanted.confidence,
        reason=reason,
        run=draft.run,
    )
    draft.add("change", name, event, changes_of(before, facts))


def _contest(draft: Draft, name: str, before: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    wanted = draft.wanted
    event = AssetChanged(
        asset=name, facts={}, source=wanted.source, confidence=wanted.confidence, run=draft.run, claims=dict(claims)
    )
    told = {field: before.get(field) if value is None else value for field, value in claims.items()}
    draft.add("contest", name, event, changes_of(before, told))


def _plan_drift(draft: Draft, name: str, said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Note what is not as it was pinned, once; where policy says so it waits in quarantine, however it came about,
    unless somebody has released it as it is."""
    standing, wanted = draft.standing, draft.wanted
    there = standing.facts.get(name)
    before = {**said, **first_pin(name, {}, said)} if there is None else {**first_pin(name, there, said), **there}
    if not differs(before, found):
        return
    digest, lifecycle = found[DIGEST], before.get("lifecycle") or "live"
    seen = there is not None and digest == before.get(DIGEST)
    shuts = (
        wanted.on_drift == "quarantine"
        and lifecycle not in {"quarantined", "retired"}
        and not (seen and released(standing, name, digest))
    )
    drift = find_drift(name, before, found, draft.run, standing.noted.get(name, frozenset()))
    if drift is not None:
        draft.add("drift", name, msgspec.structs.replace(drift, quarantined=shuts), _difference(drift))
    if shuts:
        field = "digest" if drift is None else drift.field
        reason = f"its {field} is not as it was pinned, says {wanted.source}"
        draft.add("quarantine", name, AssetQuarantined(asset=name, reason=reason, previous_lifecycle=lifecycle))


def _digest(standing: Standing, asset: str) -> Any:
    return standing.facts.get(asset, {}).get(DIGEST)


def _difference(drift: DriftDetected) -> tuple[FieldChange, ...]:
    return (FieldChange(field=drift.field, before=drift.expected, after=drift.found),)


def _kept_pin(wanted: Declaration, name: str, before: Mapping[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return what is said without a pin, where there is one: that moves by accepting a drift alone.

    Raises:
        InvalidInput: a file that people write says another pin.
    """
    if not before.get(PINNED):
        return facts
    moved = [field for field in (PINNED, PINNED_PARTS) if field in facts and not same(before.get(field), facts[field])]
    if moved and wanted.confidence == "declared":
        raise InvalidInput(
            f"{name} is pinned already, and a file does not move {moved[0]}: accept the drift instead, or leave it out",
            asset=name,
            field=moved[0],
        )
    return {field: value for field, value in facts.items() if field not in {PINNED, PINNED_PARTS}}
