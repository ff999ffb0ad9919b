"""PostgreSQL and Temporal from wheels, as child processes: what `quarterdeck up`, tests and benchmarks run on.

Nothing here knows anything of the rest of the house, or of any driver.
"""

from quarterdeck_embedded.errors import (
    AlreadyRunning,
    EmbeddedError,
    MissingPart,
    StartFailed,
    StatementFailed,
    WrongDirectory,
)
from quarterdeck_embedded.postgres import EmbeddedPostgres
from quarterdeck_embedded.process import free_port
from quarterdeck_embedded.temporal import EmbeddedTemporal

__all__ = [
    "AlreadyRunning",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedTemporal",
    "MissingPart",
    "StartFailed",
    "StatementFailed",
    "WrongDirectory",
    "free_port",
]
