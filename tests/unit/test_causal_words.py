"""What explanations say reads as people would say it, and says nothing of the examples that they are found by.

Serves DC-02, S0-27.
"""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck_domain.causes import NOBODY, NOTHING, SOME_DAY, SOMETHING
from quarterdeck_domain.policy.values import Barred, Verdict
from quarterdeck_graphql.causal_words import instead, outcome
from quarterdeck_policy.replaying import Outcome
from quarterdeck_readmodels.estate import stamp

FACTS: list[tuple[Any, Any, str]] = [
    ("rota", None, "it would be rota, not left unsaid"),
    (None, "rota", "it would be left unsaid, not rota"),
    ([], ["prod"], "it would be left unsaid, not ['prod']"),
    (SOMETHING, "", "it would be something else, not left unsaid"),
    (NOBODY, "prn_1", "it would be somebody else, not prn_1"),
    (f"agent:{NOTHING}", None, "it would be another agent, not left unsaid"),
    (f"mcp_server:{NOTHING}", None, "it would be another mcp_server, not left unsaid"),
    (f"grt_{NOTHING}", None, "it would be another grant, not left unsaid"),
    (["tool:a", f"tool:{NOTHING}"], ["tool:a"], "it would be ['tool:a', 'another tool'], not ['tool:a']"),
    (stamp(SOME_DAY), None, "it would be another time, not left unsaid"),
    (SOME_DAY.isoformat(), stamp(SOME_DAY), f"it would be another time, not {stamp(SOME_DAY)}"),
    (-1, 4, "it would be another number, not 4"),
    (False, True, "it would be False, not True"),
    (0, 2, "it would be 0, not 2"),
]


@pytest.mark.parametrize(("would", "recorded", "said"), FACTS)
def test_what_a_fact_would_be(would: Any, recorded: Any, said: str) -> None:
    """What is said of nothing is left unsaid; examples are of somebody, something, another time. What is, stays."""
    assert instead((True, {"it": would}), (True, {"it": recorded})) == said


def of(**said: Any) -> Outcome:
    """Return what a decision came to."""
    return Outcome(verdict=Verdict(**said), bundle_id="bnd_1", bundle_digest="sha256:1")


def test_a_permit_that_was_approved_says_so() -> None:
    """The reason is that of the policy that asked for an approval: it is not why this was permitted."""
    reason = "a human must approve this refund"
    asked = of(outcome="approval_required", reason=reason, approval_path="default")
    given = of(outcome="permit", reason=reason, approval_path="default")
    assert outcome(asked) == f"approval required: {reason}"
    assert outcome(given) == f"permit, as it was approved; what asked for that: {reason}"
    assert outcome(of(outcome="permit", approval_path="default")) == "permit, as it was approved"
    assert outcome(of(outcome="permit", reason="refunds up to 50")) == "permit: refunds up to 50"


def test_a_decision_about_an_example() -> None:
    """An agent that there is not is told of as another one, in the reason and in what is barred."""
    name = f"agent:{NOTHING}"
    recorded = of(outcome="permit")
    barred = of(
        outcome="deny",
        reason=f"{name} is in quarantine",
        barred=(Barred(asset=name, named="through the agent", lifecycle="quarantined"),),
    )
    assert instead(barred, recorded) == "deny: another agent is in quarantine"
    same = of(outcome="deny", reason=f"{name} is in quarantine")
    assert NOTHING not in instead(barred, same)


def test_a_verdict_that_differs_in_a_part() -> None:
    """What one of them has not is none of it."""
    denied, by_path = of(outcome="deny"), of(outcome="deny", approval_path="default")
    assert instead(by_path, denied) == "deny as well, but approval_path would be default, not none"
    assert instead(denied, by_path) == "deny as well, but approval_path would be none, not default"
