"""What is refused is counted by address, and never what is right: nobody is locked out by junk from next door.

A credential that this process has not seen is looked at first, for that is cheap: an indexed read for a key, one
signature for a token. Past the limit a refusal says that the address has to wait (429), while what is valid goes on.
Past `LOOKS` times the limit nothing unseen is looked at any more, so that junk costs a bounded amount; then only
credentials known to the process open anything from there.

Source: OWASP Authentication Cheat Sheet, 'Account Lockout'; OWASP API Security Top 10 2023, API2 and API4.
"""

from __future__ import annotations

from typing import Final

from quarterdeck_api.limits import TokenBuckets
from quarterdeck_api.problems import TooManyRequests

LOOKS: Final = 10
_WHY: Final = "too many refused credentials from this address"


class Refusals:
    """Refusals a minute from each address."""

    def __init__(self, per_minute: float) -> None:
        self._refused = TokenBuckets(per_minute / 60, burst=max(1, round(per_minute)))
        self._looked = TokenBuckets(per_minute * LOOKS / 60, burst=max(1, round(per_minute * LOOKS)))

    def check(self, address: str) -> None:
        """Refuse before anything is looked at, when too much was.

        Raises:
            TooManyRequests: the address has to wait.
        """
        self._looked.check(address, _WHY)

    def count(self, address: str) -> None:
        """Count what was looked at and is about to be refused.

        Raises:
            TooManyRequests: so much was refused that this is all there is to say.
        """
        self._looked.take(address)
        if not self._refused.take(address):
            raise TooManyRequests(_WHY, retry_after_s=self._refused.wait_s(address))
