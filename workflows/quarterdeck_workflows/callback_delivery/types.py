"""What goes in and out of a callback's delivery."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CallbackDeliveryInput:
    """Which message: that of the event that ended the approval. The message id is the same for every try."""

    tenant: str
    approval_id: str
    message_id: str


@dataclass(frozen=True)
class AbandonInput:
    """Which message is given up, and why."""

    tenant: str
    approval_id: str
    message_id: str
    reason: str
