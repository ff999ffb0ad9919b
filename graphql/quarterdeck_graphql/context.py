"""What a question is answered with: who asks, the log, the read models, and the ways out to commands and proofs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from strawberry.types import Info as StrawberryInfo

from quarterdeck_domain.commands import Command
from quarterdeck_domain.errors import NotAllowed
from quarterdeck_domain.events import Actor
from quarterdeck_graphql.cursors import Cursors, cursor_secret
from quarterdeck_graphql.limits import Due
from quarterdeck_graphql.turns import Turns
from quarterdeck_ledger.checkpoints import Checkpointer
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_readmodels.reader import Reader

READERS: Final = frozenset({"administrator", "operator", "approver", "auditor"})
"""Whoever holds one of these reads the whole record. Everybody else reads what concerns itself."""


class Recorded(Protocol):
    """What a command came to."""

    @property
    def position(self) -> int: ...

    @property
    def recorded_at(self) -> datetime | None: ...

    @property
    def result(self) -> Mapping[str, str]: ...

    @property
    def reveal(self) -> Mapping[str, str] | None: ...

    @property
    def repeated(self) -> bool: ...

    @property
    def events(self) -> Sequence[Any]:
        """The events, each with `position` and `type`."""
        ...


Send = Callable[[Command, Any, str | None], Awaitable[Recorded]]
"""Runs a command with the JSON value of its body and an idempotency key, as REST does."""


@dataclass(slots=True)
class Context:
    """One request's, or one connection's, context."""

    tenant: str
    actor: Actor
    roles: frozenset[str]
    log: EventLedger
    reader: Reader
    checkpointer: Checkpointer
    decisions: DecisionPoint
    send: Send
    still_valid: Callable[[], Awaitable[bool]]
    turns: Turns = field(default_factory=Turns)
    """Those of the process, where there are other streams."""
    due: Due | None = None
    """When the answer has to be there; None for a stream."""
    _secret: bytes | None = field(default=None, repr=False)

    @property
    def sees_all(self) -> bool:
        """Whether the caller reads the whole record."""
        return not self.roles.isdisjoint(READERS)

    @property
    def own(self) -> str | None:
        """The principal to whom the answers are narrowed; None where the caller reads everything."""
        return None if self.sees_all else self.actor.principal

    def require_all(self, what: str) -> None:
        """Refuse a caller that reads only what concerns itself.

        Raises:
            NotAllowed: it holds none of the reading roles.
        """
        if not self.sees_all:
            needs = tuple(sorted(READERS))
            raise NotAllowed(f"{what} is answered to {', '.join(needs[:-1])} and {needs[-1]} only", needs=needs)

    async def cursors(self, connection: str, *arguments: object) -> Cursors:
        """Return the cursors of a connection with the arguments that decide its content and order."""
        if self._secret is None:
            self._secret = await cursor_secret(self.log.keys, self.tenant)
        return Cursors(self._secret, connection, *arguments)


Info = StrawberryInfo[Context, None]
