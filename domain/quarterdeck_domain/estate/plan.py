"""What applying a declaration would do: the difference between what is and what it says, as events."""

from __future__ import annotations

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import MAX_PROBLEMS, Declaration, digest_of
from quarterdeck_domain.estate.events import EstateApplied
from quarterdeck_domain.estate.imports import followed, missing, modest
from quarterdeck_domain.estate.offers import hinted
from quarterdeck_domain.estate.plan_assets import plan_asset, plan_gone, plan_offered
from quarterdeck_domain.estate.plan_draft import Draft, Step
from quarterdeck_domain.estate.plan_relations import check_ends, held_by_source, plan_links, plan_unsaid
from quarterdeck_domain.estate.standing import Standing
from quarterdeck_domain.estate.unsaid import with_unsaid
from quarterdeck_domain.events import Event


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would be done, in order, and the events that do it."""

    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    digest: str
    gone: tuple[str, ...] = ()
    """What came from the source and is not in it any more, noted now or before."""

    def counts(self) -> dict[str, int]:
        """Return how many steps there are of each action; of drift and quarantine only where there are any."""
        found: dict[str, int] = dict.fromkeys(("register", "change", "retire", "relate", "unrelate"), 0)
        for step in self.steps:
            found[step.action] = found.get(step.action, 0) + 1
        return found


def make_plan(wanted: Declaration, standing: Standing, run: str) -> Plan:
    """Return what would make the declaration true. Nothing, if it is true already.

    Raises:
        InvalidInput: a relation leads to nothing, to something retired, or in a circle; an object was merged into
            another; `problems` lists what is wrong. Or what is said of an object cannot be done to it.
    """
    wanted = with_unsaid(hinted(followed(modest(wanted, standing), standing), standing), standing)
    held = held_by_source(standing)
    check_ends(wanted, standing, held)
    draft = Draft(wanted=wanted, standing=standing, run=run)
    _plan_assets(draft)
    plan_offered(draft)
    gone = missing(wanted, standing) if wanted.whole else ()
    if wanted.whole:
        plan_gone(draft, gone)
        plan_unsaid(draft)
    plan_links(draft, held)
    return Plan(steps=tuple(draft.steps), events=tuple(draft.events), digest=digest_of(draft.steps), gone=gone)


def _plan_assets(draft: Draft) -> None:
    """Plan every object; what is wrong with any of them is said at once."""
    refused: list[InvalidInput] = []
    for name, entry in draft.wanted.assets.items():
        try:
            plan_asset(draft, name, entry)
        except InvalidInput as error:
            refused.append(error)
            if len(refused) == MAX_PROBLEMS:
                break
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise InvalidInput(f"{len(refused)} problems", problems=[error.message for error in refused])


def applied(plan: Plan, wanted: Declaration, run: str, digest: str) -> EstateApplied:
    """Return the event that says that a plan was carried out."""
    counts = plan.counts()
    return EstateApplied(
        run=run,
        source=wanted.source,
        digest=digest,
        plan_digest=plan.digest,
        registered=counts["register"],
        changed=counts["change"],
        retired=counts["retire"],
        related=counts["relate"],
        unrelated=counts["unrelate"],
        drifted=counts.get("drift", 0),
        quarantined=counts.get("quarantine", 0),
    )
