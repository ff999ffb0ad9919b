"""Workflow ids are derived from the thing, so that starting twice is starting once; command ids from id and step."""

from __future__ import annotations

import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("0d6c1a52-3a3c-5f0e-8c0e-9a8e1b5f4a77")


def gate_id(tenant: str, approval_id: str) -> str:
    """Return the id of an approval's gate."""
    return f"{tenant}/approval/{approval_id}"


def delivery_id(tenant: str, approval_id: str, position: int) -> str:
    """Return the id of one delivery to a requester: of the event at `position`, which ended it or asked again."""
    return f"{tenant}/callback/{approval_id}/{position}"


def schedule_id(tenant: str, source_id: str) -> str:
    """Return the id of the schedule by which a source is imported."""
    return f"{tenant}/source/{source_id}"


def import_id(tenant: str, source_id: str) -> str:
    """Return the id of a source's import; a schedule adds the time for which it is."""
    return f"{tenant}/import/{source_id}"


def first_import_id(tenant: str, source_id: str, position: int) -> str:
    """Return the id of the import that follows a registration at once: of the event at `position`, and of no other.

    A schedule names its imports by the second, so two that it is asked for within one would be taken for one.
    """
    return f"{import_id(tenant, source_id)}/{position}"


def command_id(workflow_id: str, step: str) -> uuid.UUID:
    """Return the command id of one step of a workflow: a retry of the step repeats it."""
    return uuid.uuid5(_NAMESPACE, f"{workflow_id}/{step}")
