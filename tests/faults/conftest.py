"""The house of real processes that a file's tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_house import FaultHouse, fault_house


@pytest.fixture(scope="module")
def house() -> Iterator[FaultHouse]:
    """Run PostgreSQL, Temporal, two APIs, a worker and a projector."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-faults-") as directory, fault_house(Path(directory)) as made:
        yield made
