"""What could have happened and did not: for each type of event, examples of one about the same thing.

They are shown to a judge (`causes`), never recorded. Where one would have made a difference, its absence is relied on.
What one says beside that is as ordinary as it can be, so that the answer is about whether it happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from quarterdeck_domain.access import contraries as access
from quarterdeck_domain.approvals import contraries as approvals
from quarterdeck_domain.causes import Contrary, Known, Maker
from quarterdeck_domain.estate import contraries as estate
from quarterdeck_domain.policy import contraries as policy

MAKERS: Final[Mapping[str, Maker]] = {**access.MAKERS, **policy.MAKERS, **approvals.MAKERS, **estate.MAKERS}
"""By the type of event. A type that is not here begins something, or changes nothing that is explained."""
BEGINS: Final[frozenset[str]] = frozenset(
    {
        "tenant.opened",
        "principal.registered",
        "api_key.issued",
        "policy_bundle.published",
        "policy_bundle.continued",
        "policy.decision_recorded",
        "approval.requested",
        "approval.vote_cast",
        "asset.registered",
        "drift.detected",
    }
)
"""Types that happen once to a thing, so that none of them is missed where there was one."""
_PRECISE: Final[Mapping[str, tuple[str, ...]]] = {
    "principal.role_granted": ("principal", "role"),
    "principal.role_revoked": ("principal", "role"),
    "policy_bundle.mode_changed": ("bundle",),
}
"""Types that are found by more tags than they are asked for by, where those are known."""


def contraries(types: Iterable[str], tags: Sequence[str], known: Known) -> Iterator[Contrary]:
    """Yield what could have happened of these types to what has these tags. Where they do not say to what, nothing."""
    whole = {**known, **{prefix: rest for prefix, _, rest in (tag.partition(":") for tag in tags)}}
    for event_type in dict.fromkeys(types):
        maker = MAKERS.get(event_type)
        try:
            made = list(maker(whole)) if maker is not None else []
        except KeyError:
            continue
        for payload in made:
            prefixes = _PRECISE.get(event_type, ())
            own = tuple(tag for tag in payload.tags() if tag.partition(":")[0] in prefixes and prefixes[0] in whole)
            yield Contrary(payload=payload, tags=own or tuple(tags))
