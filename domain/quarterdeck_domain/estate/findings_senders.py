"""What traces say of objects by the keys of others: told of the sender, and never held against the object.

A trace proves what its authenticated sender does itself (`attributes.principal`), and what those say whose work it is
to speak for others: operators, and so their collectors. All else is a claim. Source: S0-52, S3-09.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.finding_types import Commands, Finding, command
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.landscape import Landscape, Tie
from quarterdeck_domain.estate.values import relation_id

_SHOWN: Final = 3
_PRINCIPAL: Final = "attributes.principal"


def forged(landscape: Landscape) -> Iterator[Finding]:
    """Yield who said by a key of another principal that an object did something of late."""
    said: dict[tuple[str, str], list[Tie]] = {}
    for tie in (*landscape.ties(), *landscape.disowned):
        source = landscape.objects[tie.source]
        if not tie.senders or not source.facts.get(_PRINCIPAL) or source.merged_into is not None:
            continue
        if source.lifecycle == "retired":
            continue
        for sender, when in landscape.strangers(tie).items():
            if when > landscape.recently:
                said.setdefault((tie.source, sender), []).append(tie)
    for (asset, sender), ties in sorted(said.items()):
        what = sorted(relation_id(*tie.ends) for tie in ties)
        more = f" and {len(what) - _SHOWN} others" if len(what) > _SHOWN else ""
        yield Finding(
            type="forged",
            asset=asset,
            subject=sender,
            message=f"{sender} sent traces that say: {legible(', '.join(what[:_SHOWN]), limit=700)}{more}; it acts as "
            f"{landscape.objects[asset].facts[_PRINCIPAL]}",
            mend=_stop(sender),
        )


def alleged(landscape: Landscape, tie: Tie, why: str, since: datetime) -> Iterator[Finding]:
    """Yield who says that an object used something since it should not; nothing where that is told as forged."""
    source = landscape.objects[tie.source]
    said = {name: when for name, when in landscape.strangers(tie).items() if when > since}
    if source.facts.get(_PRINCIPAL) or not said:
        return
    sender = max(said, key=lambda name: (said[name], name))
    own = "principal" in KINDS[source.kind].__struct_fields__
    yield Finding(
        type="alleged_use",
        asset=tie.source,
        subject=f"{tie.relation} {tie.target}",
        message=f"{sender}, which is not known to be it, sent a trace of {said[sender].isoformat(timespec='seconds')} "
        f"that says that {relation_id(*tie.ends)}; {why}",
        mend=command("change", tie.source, "--set", f"{_PRINCIPAL}={sender}") if own else _stop(sender),
    )


def said_by(landscape: Landscape, tie: Tie) -> str:
    """Return whose word it is that a relation was seen, in words; nothing where it is known."""
    strangers = landscape.strangers(tie)
    if landscape.known(tie) or not strangers:
        return ""
    return f"; {max(strangers, key=lambda name: (strangers[name], name))} says so, which is not known to be it"


def _stop(sender: str) -> Commands:
    return (("quarterdeck", "people", "deactivate", sender, "--reason", "REASON"),)
