"""Commands on what did not get through: callbacks to requesters, and events that could not be acted on."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import SYSTEM, CommandSlice
from quarterdeck_domain.approvals.events import (
    ApprovalRequested,
    CallbackAbandoned,
    CallbackDelivered,
    CallbackResent,
    CallbackSecretRevealed,
    DispatchParked,
    DispatchReleased,
)
from quarterdeck_domain.checks import MAX_ID, legible, line
from quarterdeck_domain.errors import InvalidInput, NotFound, WrongState
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary

MAX_ORIGIN: Final = 300
"""Scheme, the longest host name there is, and port."""


class _OnCallback(CommandSlice):
    """A command on one message to a requester's endpoint."""

    def __init__(self, actor: Actor, approval_id: str, message_id: str):
        super().__init__(actor)
        self.approval_id = approval_id
        self.message_id = line(message_id, "message_id", limit=MAX_ID)
        self.state: Literal["sending", "delivered", "abandoned"] = "sending"
        self._wanted = False

    def consistency_boundary(self) -> DCBQuery:
        types = (ApprovalRequested, CallbackDelivered, CallbackAbandoned, CallbackResent)
        return boundary((types, (f"approval:{self.approval_id}",)), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case ApprovalRequested(approval_id=self.approval_id, callback=callback):
                self._wanted = callback is not None
            case CallbackDelivered(approval_id=self.approval_id, message_id=self.message_id):
                self.state = "delivered"
            case CallbackAbandoned(approval_id=self.approval_id, message_id=self.message_id):
                self.state = "abandoned"
            case CallbackResent(approval_id=self.approval_id, message_id=self.message_id):
                self.state = "sending"
            case _:
                pass

    def require_wanted(self) -> None:
        """Refuse unless this approval's requester asked for callbacks.

        Raises:
            NotFound: there is no such approval, or it has no callback.
        """
        if not self._wanted:
            raise NotFound("no such approval with a callback", approval_id=self.approval_id)


class RecordCallback(_OnCallback):
    """State how sending a message ended: acknowledged with an HTTP `status`, or `abandoned` for a reason.

    The house does this; exactly one of the two is given.
    """

    def __init__(self, *, approval_id: str, message_id: str, status: int | None = None, abandoned: str | None = None):
        super().__init__(SYSTEM, approval_id, message_id)
        if (status is None) == (abandoned is None):
            raise InvalidInput("a callback was either delivered, with a status, or abandoned, with a reason")
        if status is not None and not 100 <= status <= 599:
            raise InvalidInput("not an HTTP status", field="status", status=status)
        self.status = status
        self.abandoned = None if abandoned is None else legible(abandoned)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        self.require_wanted()
        if self.state != "sending":
            raise WrongState(f"this callback is {self.state} already", message_id=self.message_id, state=self.state)
        return Decision(events=(self._fact(),))

    def _fact(self) -> Event:
        if self.status is not None:
            return CallbackDelivered(approval_id=self.approval_id, message_id=self.message_id, status=self.status)
        return CallbackAbandoned(
            approval_id=self.approval_id, message_id=self.message_id, reason=self.abandoned or "unknown"
        )


class ResendCallback(_OnCallback):
    """Have an abandoned callback tried again. An operator or an administrator may."""

    def __init__(self, *, approval_id: str, message_id: str, actor: Actor):
        super().__init__(actor, approval_id, message_id)

    def decide(self, now: datetime) -> Decision:
        self.require_role("operator", "administrator")
        self.require_wanted()
        if self.state != "abandoned":
            raise WrongState(
                f"only an abandoned callback is sent again; this one is {self.state}",
                message_id=self.message_id,
                state=self.state,
            )
        return Decision(events=(CallbackResent(approval_id=self.approval_id, message_id=self.message_id),))


class RevealCallbackSecret(CommandSlice):
    """State that an administrator is given the secret of callbacks to an origin. The secret is never recorded."""

    def __init__(self, *, origin: str, key_id: str, actor: Actor):
        super().__init__(actor)
        self.origin = line(origin, "origin", limit=MAX_ORIGIN)
        self.key_id = line(key_id, "key_id", limit=MAX_ID)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.house())

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        return Decision(events=(CallbackSecretRevealed(origin=self.origin, key_id=self.key_id),))


class _OnDispatch(CommandSlice):
    """A command on one event that the dispatcher met."""

    def __init__(self, actor: Actor, position: int):
        super().__init__(actor)
        if position < 1:
            raise InvalidInput("positions count from 1", field="position", position=position)
        self.position = position
        self.parked = False

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((DispatchParked, DispatchReleased), (f"parked:{self.position}",)), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case DispatchParked(parked_position=self.position):
                self.parked = True
            case DispatchReleased(parked_position=self.position):
                self.parked = False
            case _:
                pass


class ParkDispatch(_OnDispatch):
    """Set an event aside that cannot be acted on, so that the others go on. The house does this."""

    def __init__(self, *, position: int, workflow_id: str, reason: str):
        super().__init__(SYSTEM, position)
        self.workflow_id = line(workflow_id, "workflow_id", limit=MAX_ID)
        self.reason = legible(reason)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        if self.parked:
            raise WrongState("this event is parked already", position=self.position)
        parked = DispatchParked(parked_position=self.position, workflow_id=self.workflow_id, reason=self.reason)
        return Decision(events=(parked,))


class ReleaseDispatch(_OnDispatch):
    """Send a parked event round again. An operator or an administrator may."""

    def __init__(self, *, position: int, actor: Actor):
        super().__init__(actor, position)

    def decide(self, now: datetime) -> Decision:
        self.require_role("operator", "administrator")
        if not self.parked:
            raise WrongState("this event is not parked", position=self.position)
        return Decision(events=(DispatchReleased(parked_position=self.position),))
