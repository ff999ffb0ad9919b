"""The errors of policy, below the house's one root.

QuarterdeckError
├── InvalidInput
│   └── InvalidBundle   Cedar, or our rules for bundles, do not accept it; `problems` says what and where
└── Refused
    └── NotReplayable   a decision cannot be made again, because what it was about was erased
"""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck_domain.errors import InvalidInput, Refused

_SHOWN = 20


class InvalidBundle(InvalidInput):
    """The bundle cannot be used. Mend what `problems` lists; nothing has changed."""

    code = "invalid_bundle"

    def __init__(self, problems: Sequence[str]) -> None:
        """Take every problem that was found, not only the first."""
        shown = tuple(problems[:_SHOWN])
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        super().__init__("; ".join(shown) + more, problems=shown)
        self.problems = shown


class NotReplayable(Refused):
    """The request of this decision was erased with its data subject's key; the recorded verdict stands."""

    code = "not_replayable"
