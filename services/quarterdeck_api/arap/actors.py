"""Whether the delegation chain that a submission claims is the one the caller's credential speaks for.

A key says whom its holder acts for (`acts_for`, nearest first); a claimed chain must be a stretch of
holder-then-those, in order. Anything else is refused: an unverified actor would mislead whoever decides.

Source: ARAP draft, 'Delegation and On-Behalf-Of'.
"""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen.subjects import Actor
from quarterdeck_domain.errors import NotAllowed


def verify_chain(caller: Caller, claimed: Sequence[Actor], issuer: str) -> None:
    """Refuse a claimed chain that the credential does not prove.

    Raises:
        NotAllowed: it names another issuer, or is no stretch of the credential's own chain.
    """
    own = (caller.actor.principal, *caller.actor.on_behalf_of)
    names = tuple(actor.id for actor in claimed)
    stretch = any(own[start : start + len(names)] == names for start in range(len(own)))
    if not stretch or any(actor.issuer not in (None, issuer) for actor in claimed):
        raise NotAllowed(
            "client.actor names a chain that your credential does not prove; use a key that acts for these principals",
            claimed=names,
            proven=own,
        )
