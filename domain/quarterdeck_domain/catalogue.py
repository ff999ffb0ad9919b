"""Every event of the house, in one registry. A new event is added to its room's EVENTS and lands here."""

from __future__ import annotations

from typing import Final

from quarterdeck_domain.access import events as access
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.estate import source_events
from quarterdeck_domain.events import EventRegistry
from quarterdeck_domain.policy import events as policy

REGISTRY: Final = EventRegistry(
    (*access.EVENTS, *policy.EVENTS, *approvals.EVENTS, *estate.EVENTS, *source_events.EVENTS)
)
