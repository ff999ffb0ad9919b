"""The `eventsourcing` library's own recorder tests, unmodified, against our log on PostgreSQL.

`DCBRecorderTestCase` has no test method of its own: each of its `_test_…` cases is called here, and their
number is asserted, so that a release with more of them is noticed. Serves C01, DC-01.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eventsourcing.dcb.tests import DCBRecorderTestCase

from quarterdeck_ledger.recorder import LedgerRecorder

CASES = sorted(name for name in vars(DCBRecorderTestCase) if name.startswith("_test_"))


def test_every_published_case_is_run() -> None:
    """Two cases are published; a third would have to be run, too."""
    assert CASES == ["_test_append_read", "_test_append_subscribe"]


@pytest.mark.parametrize("case", CASES)
def test_recorder_case(case: str, migrated_database: Callable[[], str]) -> None:
    """One published case on a fresh log."""
    with LedgerRecorder(migrated_database(), "acme") as recorder:
        getattr(DCBRecorderTestCase("run"), case)(recorder)
