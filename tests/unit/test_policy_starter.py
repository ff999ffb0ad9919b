"""The starter bundle lets a newcomer's agents do what a newcomer would expect.

Serves S0-58, S0-78, S0-82, S0-83, S0-84, S0-90.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.values import BundleText, SubjectFacts, Verdict
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_policy.starter import starter_bundle

AGENT = Actor(principal="prn_bot", kind="agent", on_behalf_of=("prn_ann",))


@pytest.fixture(scope="module")
def starter() -> LoadedBundle:
    return Engine().load(starter_bundle())


def ask(action: str, arguments: dict[str, Any] | None = None, about: dict[str, Any] | None = None) -> Intent:
    return Intent(
        subject=Entity(type="agent", id="prn_bot"),
        action=Action(name=action, properties=arguments),
        resource=Entity(type="order", id="A-1", properties=about),
    )


def answer(bundle: LoadedBundle, intent: Intent, **known: Any) -> Verdict:
    verdict = bundle.evaluate(intent, caller=known.pop("caller", AGENT), **known)
    assert verdict.errors == ()
    return verdict


@pytest.mark.parametrize(
    ("action", "arguments", "about", "outcome"),
    [
        ("read", None, None, "permit"),
        ("can_read", None, None, "permit"),
        ("crm.search", {"q": "x"}, None, "permit"),
        ("secrets.read", None, None, "approval_required"),
        ("vault.secret.get", None, None, "approval_required"),
        ("refund", {"amount": 50, "currency": "EUR"}, None, "permit"),
        ("payments.refund", {"amount": 49.99, "currency": "USD"}, None, "permit"),
        ("payments.refund", {"amount": "12.50", "currency": "GBP"}, None, "permit"),
        ("refund", {"amount": 500, "currency": "EUR"}, None, "approval_required"),
        ("refund", {"amount": 50.01, "currency": "EUR"}, None, "approval_required"),
        ("refund", {"amount": 50, "currency": "BTC"}, None, "approval_required"),
        ("refund", {"amount": 50}, None, "approval_required"),
        ("refund", {"amount": -50, "currency": "EUR"}, None, "approval_required"),
        ("refund", {"amount": 0, "currency": "EUR"}, None, "approval_required"),
        ("refund", {"amount": "a lot", "currency": "EUR"}, None, "approval_required"),
        ("refund", {"amount": [1], "currency": ["EUR"]}, None, "approval_required"),
        ("refund", {"amount": 1e300, "currency": "EUR"}, None, "approval_required"),
        ("refund", None, None, "approval_required"),
        ("refund", {"amount": 10, "currency": "EUR"}, {"criticality": "high"}, "approval_required"),
        ("read", None, {"criticality": "critical"}, "approval_required"),
        ("read", None, {"criticality": "low"}, "permit"),
        ("deploy", None, None, "approval_required"),
        ("deploy.production", None, None, "approval_required"),
        ("payments.transfer", None, None, "approval_required"),
        ("mail.send", None, None, "approval_required"),
        ("delete", None, None, "approval_required"),
        ("delete", None, {"environment": "staging"}, "approval_required"),
        ("delete", None, {"environment": "production"}, "deny"),
        ("table.drop", None, {"environment": "prod"}, "deny"),
        ("read", None, {"environment": "production"}, "permit"),
        ("table.drop", None, None, "deny"),
        ("make-coffee", None, None, "deny"),
        ("read ", None, None, "deny"),
        ("", None, None, "deny"),
    ],
)
def test_what_an_agent_may_do(
    starter: LoadedBundle, action: str, arguments: dict[str, Any] | None, about: dict[str, Any] | None, outcome: str
) -> None:
    verdict = answer(starter, ask(action, arguments, about))
    assert verdict.outcome == outcome
    assert verdict.reason
    assert (verdict.approval_path == "default") == (outcome == "approval_required")


def test_whoever_was_deactivated_does_nothing(starter: LoadedBundle) -> None:
    gone = SubjectFacts(known=True, kind="agent", deactivated=True)
    assert answer(starter, ask("read"), subject=gone).determining == ("starter.deactivated",)
    assert answer(starter, ask("read"), subject=gone, approved=True).outcome == "deny"
    stored = Engine().load(
        BundleText(
            policies=starter_bundle().policies,
            entities='[{"uid":{"type":"agent","id":"prn_bot"},"attrs":{"deactivated":true},"parents":[]}]',
        )
    )
    assert answer(stored, ask("read")).determining == ("starter.deactivated",)


def test_facts_that_the_estate_holds_count_whatever_the_request_claims() -> None:
    stored = Engine().load(
        BundleText(
            policies=starter_bundle().policies,
            entities=(
                '[{"uid":{"type":"order","id":"A-1"},"attrs":{"environment":"production","criticality":"high"},'
                '"parents":[]}]'
            ),
        )
    )
    assert answer(stored, ask("delete", None, {"environment": "staging"})).outcome == "deny"
    assert answer(stored, ask("read", None, {"criticality": "low"})).outcome == "approval_required"


@pytest.mark.parametrize(
    ("caller", "outcome"),
    [
        (Actor(principal="prn_other", kind="agent"), "deny"),
        (Actor(principal="prn_other", kind="agent", on_behalf_of=("prn_bot",)), "permit"),
        (Actor(principal="prn_gateway", kind="service"), "permit"),
        (None, "permit"),
    ],
)
def test_an_agent_asks_for_itself_or_for_whom_it_acts_for(
    starter: LoadedBundle, caller: Actor | None, outcome: str
) -> None:
    assert answer(starter, ask("read"), caller=caller).outcome == outcome


def test_an_approval_lets_the_consequential_happen_and_not_the_forbidden(starter: LoadedBundle) -> None:
    assert answer(starter, ask("deploy.production"), approved=True).outcome == "permit"
    assert answer(starter, ask("delete", None, {"environment": "production"}), approved=True).outcome == "deny"


def test_it_reads_nothing_of_the_requests_own_context_and_no_clock(starter: LoadedBundle) -> None:
    assert starter.context_members == frozenset()
    assert not starter.reads_clock


def test_the_policies_in_the_guide_are_policies() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```cedar\n(.*?)```", guide, re.DOTALL) if block.startswith("@id")]
    assert blocks
    for block in blocks:
        assert len(Engine().load(BundleText(policies=block))) == 1
