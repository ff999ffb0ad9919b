"""What every route may use: the parts that `bootstrap` wired together, handed out by dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.signing import SigningKeys
from quarterdeck_runtime.settings import Settings

if TYPE_CHECKING:
    from quarterdeck_api.auth.authenticator import Authenticator
    from quarterdeck_importing.importing import Importing
    from quarterdeck_ledger.checkpoints import Checkpointer
    from quarterdeck_policy.decision_point import DecisionPoint
    from quarterdeck_readmodels.reader import Reader


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a running API. `reader` is None where no read models are kept (unit tests, export only)."""

    settings: Settings
    ledger: EventLedger
    signing: SigningKeys
    decisions: DecisionPoint
    reader: Reader | None
    authenticator: Authenticator
    checkpointer: Checkpointer
    importing: Importing


def services(connection: HTTPConnection) -> Services:
    """Return the services of the application that serves this request or WebSocket."""
    found: Services = connection.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]
