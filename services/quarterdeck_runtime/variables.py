"""The names of every `QUARTERDECK_…` variable, so that a misspelt one is refused rather than passed over.

Those of settings are made from `Settings`; the others, which other parts read for themselves, are all listed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "QUARTERDECK_"
CONFIG_VARIABLE: Final = "QUARTERDECK_CONFIG"
SECRETS_VARIABLE: Final = "QUARTERDECK_SECRETS_DIR"

ELSEWHERE: Final = frozenset(
    {
        *(CONFIG_VARIABLE, SECRETS_VARIABLE),
        *("QUARTERDECK_URL", "QUARTERDECK_TOKEN"),  # the client and the command line
        "QUARTERDECK_DB_PASSWORD",  # docker-compose.yml
        *("QUARTERDECK_LEDGER_URL", "QUARTERDECK_LEDGER_TENANT"),  # applications of `eventsourcing` on our ledger
        *("QUARTERDECK_FAULTS", "QUARTERDECK_FAULTS_ALLOWED", "QUARTERDECK_SIMULATOR_SEED"),  # tests
        *(f"QUARTERDECK_BENCH_{name}" for name in ("APPROVALS", "CALLS", "GATES", "POSITIONS")),
        *(f"QUARTERDECK_BENCH_{name}" for name in ("DATABASE", "ESTATE", "ESTATES")),
        *(f"QUARTERDECK_BENCH_{name}" for name in ("ROWS", "SECONDS", "SIZES")),
    }
)
"""What is no setting and may be there all the same."""
_LINKED: Final = "_SERVICE_HOST"


def unknown(names: Iterable[str], settings: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with each name that begins as ours do and is none of ours, with the nearest that is.

    Case does not matter, as it does not where settings are read. What Kubernetes adds for a service whose name begins
    like ours is let through: nobody wrote it.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings}
    given = {name.upper(): name for name in names}
    links = tuple(name.removesuffix(_LINKED) for name in given if name.endswith(_LINKED))
    made = tuple(f"{link}{end}" for link in links for end in ("_SERVICE_", "_PORT_"))
    for name, written in sorted(given.items()):
        ours = name in known | ELSEWHERE or name.startswith(made) or name in {f"{link}_PORT" for link in links}
        if name.startswith(PREFIX) and not ours:
            yield f"{written} is no setting{did_you_mean(name, sorted(known | ELSEWHERE))}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question that a misspelt name calls for, nothing if no known name is near."""
    bare = {each.removeprefix(PREFIX): each for each in known}
    near = get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f"; did you mean {bare[near[0]]}?" if near else ""
