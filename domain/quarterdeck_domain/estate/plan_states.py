"""What of a plan is about lifecycles: which of them a file may bring about, and which only a command can end.

Who writes a file may take something out of use by it (`deprecated`, `quarantined`, `retired`), and nothing brings back
by a file what a person took out of use: an old file would do so without anybody having looked. What an import says of
the lifecycle counts where the object is new; of known ones it says nothing (`imports.modest`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Ending
from quarterdeck_domain.estate.events import AssetDeprecated, AssetQuarantined, AssetRetired
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.plan_draft import Draft, changes_of

LIFECYCLE: Final = "lifecycle"
_PLAIN: Final = frozenset({"draft", "live"})
"""What is said as any other fact is."""


def plan_begun(draft: Draft, name: str, state: str, ending: Ending) -> None:
    """Add to what was just registered how it is kept from being used, or is on its way out.

    Raises:
        InvalidInput: what takes its place is not there.
    """
    if state == "quarantined":
        _shut(draft, name, "live")
    elif state == "deprecated":
        _end(draft, name, "live", ending)


def plan_state(
    draft: Draft, name: str, before: Mapping[str, Any], said: Mapping[str, Any], ending: Ending
) -> dict[str, Any]:
    """Return what is said of a known object, without a lifecycle that is no plain fact; that one is planned.

    Raises:
        InvalidInput: the file brings back what is out of use, or on its way out; says by which command that is done.
    """
    state, was = said.get(LIFECYCLE), before.get(LIFECYCLE) or "live"
    rest = {field: value for field, value in said.items() if field != LIFECYCLE}
    if state is None or (state in _PLAIN and was in _PLAIN):
        return dict(said)
    if draft.wanted.confidence != "declared":
        return rest
    if state == was:
        if state == "deprecated":
            _check_ending(draft, name, ending)
    elif was == "retired":
        raise _refused(name, was, state, "nothing brings it back: register what takes its place by another name")
    elif state == "retired":
        event = AssetRetired(asset=name, reason=f"said by {draft.wanted.source}", run=draft.run)
        draft.add("retire", name, event)
    elif was == "quarantined":
        raise _refused(name, was, state, f"look at it, then: quarterdeck estate release {name} --reason REASON")
    elif state == "quarantined":
        _shut(draft, name, was)
    elif was == "deprecated":
        raise _refused(name, was, state, f"to keep it after all: quarterdeck estate change {name} --set lifecycle=live")
    elif was != "live":
        raise _refused(name, was, state, "what was never in use does not go out of it: say `live` first, or `retired`")
    else:
        _end(draft, name, was, ending)
    return rest


def _refused(name: str, was: str, state: str, instead: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is {was}, and a file does not make it {state}: leave its lifecycle out, or {instead}",
        asset=name,
        lifecycle=was,
        said=state,
    )


def _shut(draft: Draft, name: str, was: str) -> None:
    reason = f"in quarantine, says {draft.wanted.source}"
    draft.add("quarantine", name, AssetQuarantined(asset=name, reason=reason, previous_lifecycle=was))


def _end(draft: Draft, name: str, was: str, ending: Ending) -> None:
    ending = _known(draft, name, ending)
    event = AssetDeprecated(
        asset=name, successor=ending.successor, sunset=ending.sunset, reason=f"said by {draft.wanted.source}"
    )
    draft.add("change", name, event, changes_of({LIFECYCLE: was}, {LIFECYCLE: "deprecated", **ending.told()}))


def _known(draft: Draft, name: str, ending: Ending) -> Ending:
    successor, standing = ending.successor, draft.standing
    if successor is None:
        return ending
    declared = draft.wanted.confidence == "declared"
    there = standing.facts.get(successor, {}).get(LIFECYCLE) != "retired" and successor not in standing.aliases
    if (successor in draft.wanted.assets or successor in standing.facts) and (there or not declared):
        return ending
    if not declared:
        return msgspec.structs.replace(ending, successor=None)  # a part of an estate, without what takes its place
    raise InvalidInput(
        f"{successor}, which takes the place of {name}, is neither in the file nor in use in the estate",
        asset=name,
        successor=successor,
    )


def _check_ending(draft: Draft, name: str, ending: Ending) -> None:
    stands = draft.standing.endings.get(name, Ending())
    successor = None if stands.successor is None else survivor(stands.successor, draft.standing.aliases)
    for field, said, held in (("successor", ending.successor, successor), ("sunset", ending.sunset, stands.sunset)):
        if said is not None and said != held:
            raise InvalidInput(
                f"{name} is deprecated already, with another {field}: leave that out, or begin anew: quarterdeck "
                f"estate change {name} --set lifecycle=live, then quarterdeck estate deprecate",
                asset=name,
                field=field,
            )
