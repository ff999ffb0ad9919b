"""What agents import: ask before acting, wait for a human where policy says so, act once, say how it ended.

    from quarterdeck import gate

    @gate("refund", resource=lambda order_id, **_: f"order:{order_id}")
    async def refund(order_id: str, amount: str, currency: str) -> str: ...

See `docs/sdk.md`. Nothing else of Quarterdeck's is imported here; `quarterdeck.verifier` stands alone too.
"""

from quarterdeck.client import Quarterdeck
from quarterdeck.decorator import gate
from quarterdeck.errors import (
    ActionChanged,
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalPending,
    BadAnswer,
    Denied,
    GrantSpent,
    NotConfigured,
    NotDone,
    Problem,
    QuarterdeckError,
    Refused,
    Unreachable,
)
from quarterdeck.gating import effect_key
from quarterdeck.model import Decision, Effect, Entity, Grant, Intent, Obligation, Task
from quarterdeck.replay import Replay
from quarterdeck.sync import SyncQuarterdeck

__all__ = (
    "ActionChanged",
    "ApprovalCancelled",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalPending",
    "BadAnswer",
    "Decision",
    "Denied",
    "Effect",
    "Entity",
    "Grant",
    "GrantSpent",
    "Intent",
    "NotConfigured",
    "NotDone",
    "Obligation",
    "Problem",
    "Quarterdeck",
    "QuarterdeckError",
    "Refused",
    "Replay",
    "SyncQuarterdeck",
    "Task",
    "Unreachable",
    "effect_key",
    "gate",
)
