"""What goes in and out of an import. Ids and outcomes only: what the source says goes into the log, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImportSourceInput:
    """Which source of which tenant."""

    tenant: str
    source_id: str


@dataclass(frozen=True)
class FailedImport:
    """Which source could not be imported, and why."""

    tenant: str
    source_id: str
    error: str
    message: str
