"""Every finding on a map that is otherwise complete: it is there, it is alone, and its fix mends it.

Serves S0-04, S0-21, S0-53, S0-54, S0-58, S0-59, S0-71, S0-76, S2-50, S3-08.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any

import click
import pytest
import typer
from assessed import ANN, Told
from given import HASH
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_cli.estate import app as estate_app
from quarterdeck_cli.people import app as people_app
from quarterdeck_domain.estate.finding_types import FINDING_TYPES, SEVERITIES, Finding, command
from quarterdeck_domain.estate.findings import TIER_ONE_DEPENDANTS, assess
from quarterdeck_domain.estate.findings_grants import VISIBLE
from quarterdeck_domain.estate.findings_sources import same_name
from quarterdeck_domain.estate.landscape import Unread
from quarterdeck_domain.estate.slices import DeprecateAsset

WHOLE = {"owner": "rota", "team": "support", "purpose": "answers customers", "environments": ["prod"]}
CONTROLLED = {
    "governed_by": ["policy_bundle:core"],
    "gated_by": ["approval_path:default"],
    "funded_by": ["budget:support"],
    "monitored_by": ["monitoring_hook:traces"],
}
COMPLETE: Mapping[str, Any] = {
    "agent:support": {
        **WHOLE,
        "attributes": {"autonomy": "acts", "endpoint": "https://agents.example/support"},
        "relations": {
            **CONTROLLED,
            "calls": ["mcp_server:crm"],
            "uses": ["model:gpt", "prompt:answer"],
            "reads": ["dataset:orders"],
            "holds": ["tool_grant:refunds"],
            "owned_by": ["team:support"],
        },
    },
    "agent:part": {
        **WHOLE,
        "attributes": {"autonomy": "acts"},
        "relations": {"part_of": ["application:desk"], "calls": ["mcp_server:crm"], "reads": ["dataset:orders"]},
    },
    "application:desk": {**WHOLE, "relations": {**CONTROLLED, "calls": ["agent:support"]}},
    "mcp_server:crm": {
        **WHOLE,
        "attributes": {"endpoint": "https://crm.example/mcp", "transport": "streamable_http", "trust": "trusted"},
        "relations": {"exposes": ["tool:crm/refund", "tool:crm/read"]},
    },
    "tool:crm/refund": {
        **WHOLE,
        "owner": None,
        "attributes": {"privileges": ["write"], "side_effect": "at_most_once"},
        "relations": {"writes": ["dataset:orders"]},
    },
    "tool:crm/read": {
        **WHOLE,
        "attributes": {"privileges": ["read"], "side_effect": "none"},
        "relations": {"reads": ["dataset:orders"]},
    },
    "tool_grant:refunds": {
        **WHOLE,
        "attributes": {"privileges": ["read", "write"], "expires_at": "2027-01-01T00:00:00Z"},
        "relations": {"permits": ["mcp_server:crm"]},
    },
    "dataset:orders": {
        **WHOLE,
        "classification": "confidential",
        "attributes": {"source_kind": "customer_data", "residency": "eu"},
        "relations": CONTROLLED,
    },
    "model:gpt": {**WHOLE, "attributes": {"family": "gpt", "provider": "openai"}},
    "model_version:gpt-1": {
        "environments": ["prod"],
        "attributes": {"digest": HASH},
        "relations": {"version_of": ["model:gpt"]},
    },
    "prompt:answer": WHOLE,
    "policy_bundle:core": WHOLE,
    "approval_path:default": WHOLE,
    "budget:support": {**WHOLE, "attributes": {"limit": "100", "currency": "EUR", "period": "month"}},
    "monitoring_hook:traces": WHOLE,
    "team:support": {"attributes": {"on_call": "https://pager.example/support"}},
}
DAY = timedelta(days=1)
AGENT = "agent:support"
USES = ((AGENT, "uses", "model:gpt"), (AGENT, "uses", "prompt:answer"), (AGENT, "reads", "dataset:orders"))
WORDS = {
    "OWNER": "rota",
    "TEAM": "support",
    "REASON": "looked at",
    "PURPOSE": "known now",
    "ENVIRONMENTS": "prod",
    "CLASSIFICATION": "internal",
    "AUTONOMY": "acts",
    "EXPIRES_AT": "2027-01-01",
    "RELATION": "calls",
    "OTHER": "tool:crm/read",
    "SUCCESSOR": "model:next",
    "policy_bundle:NAME": "policy_bundle:core",
    "approval_path:NAME": "approval_path:default",
    "budget:NAME": "budget:support",
    "monitoring_hook:NAME": "monitoring_hook:traces",
}

GROUPS = {"estate": typer.main.get_command(estate_app), "people": typer.main.get_command(people_app)}
READS = {"reads": ["dataset:orders"]}
WITHOUT = {"governed_by": "ungoverned", "gated_by": "ungated", "funded_by": "unfunded", "monitored_by": "unmonitored"}


def told(**changes: Mapping[str, Any] | None) -> Told:
    """Return the complete estate with some objects otherwise; names have `__` for the colon."""
    file = deepcopy(dict(COMPLETE))
    for name, said in changes.items():
        file[name.replace("__", ":", 1).replace("__", "/")] = said
    return Told(file)


def lacking(name: str, *relations: str) -> Told:
    """Return the complete estate in which an object has no relations of some types."""
    file = deepcopy(dict(COMPLETE))
    for relation in relations:
        del file[name]["relations"][relation]
    return Told(file)


def related(name: str, relations: Mapping[str, Any], others: Mapping[str, Any]) -> Told:
    """Return the complete estate with other objects in it, and an object related in other ways, too."""
    file = deepcopy(dict(COMPLETE)) | deepcopy(dict(others))
    file[name].setdefault("relations", {}).update(relations)
    return Told(file)


def watched(estate: Told, *uses: tuple[str, str, str]) -> Told:
    """Let uses have been seen for longer than is asked for, until today."""
    estate.wait(days=40)
    for ends in uses:
        estate.seen(*ends, ago=35 * DAY)
        estate.seen(*ends)
    return estate


def test_a_complete_estate_has_no_finding() -> None:
    """Nor has it one later, as long as no last day comes."""
    estate = told()
    assert estate.findings() == []
    estate.wait(days=90)
    assert estate.findings() == []
    assert {finding.type for finding in estate.wait(days=400).findings()} == {"expired"}


CASES: Mapping[str, tuple[Callable[[], Told], str, str]] = {
    "nobody owns it": (
        lambda: told(prompt__answer={**WHOLE, "owner": None, "team": None}),
        "unowned",
        "prompt:answer",
    ),
    "an exposed tool whose server nobody owns": (
        lambda: Told(
            {
                **COMPLETE,
                "mcp_server:x": {
                    **COMPLETE["mcp_server:crm"],
                    "owner": None,
                    "team": None,
                    "attributes": {"endpoint": "https://x.example", "transport": "sse", "trust": "trusted"},
                },
            }
        ),
        "unowned",
        "mcp_server:x",
    ),
    "no policy": (lambda: lacking(AGENT, "governed_by"), "ungoverned", AGENT),
    "a policy that is only a draft": (
        lambda: related(
            AGENT, {"governed_by": ["policy_bundle:b"]}, {"policy_bundle:b": {**WHOLE, "lifecycle": "draft"}}
        ),
        "ungoverned",
        AGENT,
    ),
    "no gate before a write": (lambda: lacking(AGENT, "gated_by"), "ungated", AGENT),
    "no budget": (lambda: lacking(AGENT, "funded_by"), "unfunded", AGENT),
    "nobody watches": (lambda: lacking(AGENT, "monitored_by"), "unmonitored", AGENT),
    "privileges that no tool needs": (
        lambda: told(
            tool_grant__refunds={
                **COMPLETE["tool_grant:refunds"],
                "attributes": {"privileges": ["read", "write", "route"]},
            }
        ),
        "over_permissioned",
        "tool_grant:refunds",
    ),
    "a grant nobody was seen to use": (
        lambda: watched(
            lacking(AGENT, "calls"),
            (AGENT, "uses", "model:gpt"),
            (AGENT, "uses", "prompt:answer"),
            (AGENT, "reads", "dataset:orders"),
        ),
        "over_permissioned",
        AGENT,
    ),
    "a grant past its end": (lambda: told().wait(days=400), "expired", "tool_grant:refunds"),
    "an exception past its end": (
        lambda: Told(
            {
                **COMPLETE,
                "exception_window:x": {**WHOLE, "attributes": {"reason": "r", "expires_at": "2020-01-01"}},
                AGENT: {
                    **COMPLETE[AGENT],
                    "relations": {**COMPLETE[AGENT]["relations"], "excepted_by": ["exception_window:x"]},
                },
            }
        ),
        "expired",
        "exception_window:x",
    ),
    "a name in another case": (
        lambda: told().apply({"prompt:An-swer": {**WHOLE, "relations": {"drives": [AGENT]}}}),
        "duplicate",
        "prompt:An-swer",
    ),
    "one address under two names": (
        lambda: Told(
            {
                **COMPLETE,
                "mcp_server:other": {
                    **COMPLETE["mcp_server:crm"],
                    "attributes": {
                        "endpoint": "https://CRM.example/mcp/",
                        "transport": "streamable_http",
                        "trust": "trusted",
                    },
                },
            }
        ),
        "duplicate",
        "mcp_server:other",
    ),
    "one digest under two names": (
        lambda: Told({**COMPLETE, "model_version:gpt-one": COMPLETE["model_version:gpt-1"]}),
        "duplicate",
        "model_version:gpt-one",
    ),
    "nobody said what it is for": (
        lambda: told(prompt__answer={**WHOLE, "purpose": None}),
        "incomplete",
        "prompt:answer",
    ),
    "its kind says more": (
        lambda: told(dataset__orders={**WHOLE, "attributes": {"source_kind": "public"}}),
        "incomplete",
        "dataset:orders",
    ),
    "an end that is no time": (
        lambda: told(
            tool_grant__refunds={
                **COMPLETE["tool_grant:refunds"],
                "attributes": {"privileges": ["read", "write"], "expires_at": "some day"},
            }
        ),
        "incomplete",
        "tool_grant:refunds",
    ),
    "an island": (
        lambda: Told(
            {**COMPLETE, "tool:alone": {**WHOLE, "attributes": {"privileges": ["read"], "side_effect": "none"}}}
        ),
        "isolated",
        "tool:alone",
    ),
    "seen and registered by nobody": (
        lambda: told().apply(
            {
                "tool:new": {
                    **WHOLE,
                    "attributes": {"privileges": ["read"], "side_effect": "none"},
                    "relations": {"reads": ["dataset:orders"]},
                }
            },
            "traces",
            confidence="observed",
        ),
        "unregistered",
        "tool:new",
    ),
    "seen and declared by nobody": (
        lambda: told().seen("agent:part", "uses", "model:gpt"),
        "undeclared_relation",
        "agent:part",
    ),
    "declared and not seen": (
        lambda: watched(
            told(), (AGENT, "calls", "tool:crm/refund"), (AGENT, "uses", "model:gpt"), (AGENT, "uses", "prompt:answer")
        ),
        "unseen_relation",
        AGENT,
    ),
    "beyond its grants": (
        lambda: related(
            AGENT,
            {"calls": ["mcp_server:crm", "tool:wipe"]},
            {
                "tool:wipe": {
                    **WHOLE,
                    "attributes": {"privileges": ["read"], "side_effect": "none"},
                    "relations": READS,
                },
                "tool_grant:wipe": {
                    **WHOLE,
                    "attributes": {"privileges": ["read"]},
                    "relations": {"permits": ["tool:wipe"]},
                },
            },
        ).seen(AGENT, "calls", "tool:wipe"),
        "out_of_scope",
        AGENT,
    ),
    "leads to what is retired": (
        lambda: Told(
            {
                **COMPLETE,
                "prompt:old": {**WHOLE},
                AGENT: {
                    **COMPLETE[AGENT],
                    "relations": {**COMPLETE[AGENT]["relations"], "uses": ["model:gpt", "prompt:answer", "prompt:old"]},
                },
            }
        ).mend("quarterdeck estate retire prompt:old"),
        "retired_relation",
        AGENT,
    ),
    "leads to what was merged": (
        lambda: Told(
            {
                **COMPLETE,
                "prompt:old": {**WHOLE},
                AGENT: {
                    **COMPLETE[AGENT],
                    "relations": {**COMPLETE[AGENT]["relations"], "uses": ["model:gpt", "prompt:old"]},
                },
                "agent:part": {
                    **COMPLETE["agent:part"],
                    "relations": {**COMPLETE["agent:part"]["relations"], "uses": ["prompt:answer"]},
                },
            }
        ).mend("quarterdeck estate merge prompt:answer prompt:old"),
        "retired_relation",
        AGENT,
    ),
    "used in quarantine": (
        lambda: (
            Told(
                {
                    **COMPLETE,
                    AGENT: {
                        **COMPLETE[AGENT],
                        "relations": {
                            **COMPLETE[AGENT]["relations"],
                            "uses": ["model:gpt", "prompt:answer", "retrieval_index:docs"],
                        },
                    },
                    "retrieval_index:docs": {**WHOLE, "classification": "internal"},
                }
            )
            .mend("quarterdeck estate quarantine retrieval_index:docs --reason r")
            .wait(days=1)
            .seen(AGENT, "uses", "retrieval_index:docs")
        ),
        "forbidden_use",
        AGENT,
    ),
    "a stranger says that it used what is shut": (
        lambda: (
            told()
            .apply({"retrieval_index:docs": {**WHOLE, "classification": "internal"}})
            .mend("quarterdeck estate relate agent:support uses retrieval_index:docs")
            .mend("quarterdeck estate quarantine retrieval_index:docs --reason r")
            .wait(minutes=1)
            .seen(AGENT, "uses", "retrieval_index:docs", sender="prn_stranger")
        ),
        "alleged_use",
        AGENT,
    ),
    "another key speaks for it": (
        lambda: told(
            agent__support={
                **COMPLETE[AGENT],
                "attributes": {**COMPLETE[AGENT]["attributes"], "principal": "prn_own"},
            }
        ).seen(AGENT, "uses", "model:gpt", sender="prn_stranger"),
        "forged",
        AGENT,
    ),
    "soon over": (
        lambda: Told(
            {
                **COMPLETE,
                "model:next": {**COMPLETE["model:gpt"]},
                "agent:part": {
                    **COMPLETE["agent:part"],
                    "relations": {**COMPLETE["agent:part"]["relations"], "uses": ["model:next"]},
                },
            }
        ),
        "sunset",
        AGENT,
    ),
    "many depend on it": (
        lambda: Told(
            {
                **COMPLETE,
                **{
                    f"workflow:w{chr(97 + number)}": {
                        **WHOLE,
                        "attributes": {"steps": ["a"], "workflow_class": "customer_facing"},
                        "relations": {**CONTROLLED, "calls": ["tool:crm/refund"], "reads": ["dataset:orders"]},
                    }
                    for number in range(TIER_ONE_DEPENDANTS)
                },
                "dataset:orders": {**COMPLETE["dataset:orders"], "tier": 1},
            }
        ),
        "unpromoted",
        "tool:crm/refund",
    ),
    "it may deceive": (
        lambda: told(
            tool__crm__read={
                **COMPLETE["tool:crm/read"],
                "attributes": {"privileges": ["read"], "side_effect": "none", "cautions": ["it names secrets"]},
            }
        ),
        "suspicious",
        "tool:crm/read",
    ),
    "not as it was pinned": (
        lambda: (
            told()
            .apply({"dataset:orders": {"attributes": {"digest": "sha256:" + "1" * 64}}}, "bom", confidence="imported")
            .apply({"dataset:orders": {"attributes": {"digest": "sha256:" + "2" * 64}}}, "bom", confidence="imported")
        ),
        "drifted",
        "dataset:orders",
    ),
    "two importers disagree": (
        lambda: (
            told()
            .apply({"dataset:orders": {"attributes": {"location": "s3://a"}}}, "bom a", confidence="imported")
            .apply({"dataset:orders": {"attributes": {"location": "s3://b"}}}, "bom b", confidence="imported")
        ),
        "contested",
        "dataset:orders",
    ),
    "an import overwrites what was declared": (
        lambda: told().apply({"dataset:orders": {"attributes": {"residency": "us"}}}, "bom", confidence="imported"),
        "contested",
        "dataset:orders",
    ),
    "no longer offered": (
        lambda: told(
            tool__crm__read={
                **COMPLETE["tool:crm/read"],
                "attributes": {"privileges": ["read"], "side_effect": "none", "gone": "mcp crm"},
            }
        ),
        "gone",
        "tool:crm/read",
    ),
}


def made(case: str) -> tuple[Told, str, str]:
    """Return the estate of a case, and what should be found on it."""
    make, type_, asset = CASES[case]
    estate = make()
    if type_ == "sunset":
        estate.when(
            DeprecateAsset(asset="model:gpt", successor="model:next", sunset=estate.log.now + 60 * DAY, actor=ANN)
        )
    return estate, type_, asset


@pytest.mark.parametrize("case", CASES)
def test_it_is_found_and_its_fix_mends_it(case: str) -> None:
    """One thing is wrong: that is found, nothing else is, and the command that is told mends it."""
    estate, type_, asset = made(case)
    found = estate.findings()
    assert {(item.type, item.asset) for item in found} == {(type_, asset)}, found
    for item in found:
        is_a_command_line(item.fix)
        if type_ == "forged":
            assert item.fix == "quarterdeck people deactivate prn_stranger --reason REASON"
            continue  # people mend that, not the map
        estate.mend(item.fix, **WORDS)
        assert (item.type, item.asset, item.subject) not in {
            (left.type, left.asset, left.subject) for left in estate.findings()
        }


def is_a_command_line(fix: str) -> None:
    """Let pass what the command line takes: its verb is there, nothing is missing and no option unknown."""
    for line in fix.split(" && "):
        program, *words = shlex.split(line)
        assert program == "quarterdeck"
        here: Any = GROUPS[words.pop(0)]
        verb = words.pop(0)
        found = here.get_command(click.Context(here), verb)
        assert found is not None, line
        found.make_context(verb, words)


def test_what_acts_although_it_is_out_of_use_is_stopped_where_it_runs() -> None:
    """The map cannot mend that: its principal is to be deactivated."""
    estate = told().mend(f"quarterdeck estate quarantine {AGENT} --reason r").wait(days=1)
    (found,) = estate.seen(AGENT, "uses", "model:gpt").findings("forbidden_use")
    assert found.fix == "quarterdeck people deactivate PRINCIPAL --reason REASON"
    is_a_command_line(found.fix)


def test_nobody_is_stopped_on_a_strangers_word() -> None:
    """What another key says of an agent is told of the key: lower than critical, and no fix touches the agent. What the
    agent says itself, and whoever speaks for others, counts, whoever says the same besides. S0-52, S3-09."""
    attributes = {**COMPLETE[AGENT]["attributes"], "principal": "prn_own"}
    victim = told(agent__support={**COMPLETE[AGENT], "attributes": attributes})
    victim.mend("quarterdeck estate quarantine tool:crm/read --reason r").wait(minutes=1)
    victim.seen(AGENT, "calls", "tool:crm/read", sender="prn_stranger")
    found = victim.findings()
    (forged,) = [item for item in found if item.type == "forged"]
    assert (forged.asset, forged.subject, forged.severity) == (AGENT, "prn_stranger", "high")
    assert "tool:crm/read" in forged.message
    assert "prn_own" in forged.message
    assert not {item.type for item in found} & {"forbidden_use", "out_of_scope", "alleged_use"}
    assert not any(f"quarantine {AGENT}" in item.fix for item in found)
    for sender in ("prn_own", None):
        named = victim.wait(minutes=1).seen(AGENT, "calls", "tool:crm/read", sender=sender).findings("forbidden_use")
        assert [item.asset for item in named] == [AGENT]
        victim.wait(minutes=1).seen(AGENT, "calls", "tool:crm/read", sender="prn_stranger")
        assert victim.findings("forbidden_use") == named


def own(name: str = AGENT, principal: str = "prn_own") -> dict[str, Any]:
    """Return a complete agent that acts as a principal."""
    return {**COMPLETE[name], "attributes": {**COMPLETE[name]["attributes"], "principal": principal}}


def test_a_forged_trace_gives_its_victim_nothing_to_answer_for() -> None:
    """No approval is missing before what only a stranger says that it does; nor is it known of it. What it does itself
    counts."""
    bare = {**WHOLE, "attributes": {"autonomy": "acts", "principal": "prn_own"}}
    victim = told(agent__support=bare, tool__wipe={**WHOLE, "attributes": {"privileges": ["write"]}})
    before, counted = victim.findings(), victim.assess().coverage
    assert victim.wait(minutes=1).findings() == before
    victim.seen(AGENT, "calls", "tool:wipe", sender="prn_stranger")
    assert [item.type for item in victim.findings() if item not in before] == ["forged"]
    assert victim.assess().coverage == counted
    victim.seen(AGENT, "calls", "tool:wipe", sender="prn_own")
    assert {"ungated", "undeclared_relation"} <= {item.type for item in victim.findings() if item not in before}


def test_who_is_known_by_no_principal_is_told_of_with_the_sender() -> None:
    """Who it is that acts so, nobody knows; who says so, everybody does."""
    bare = {**WHOLE, "attributes": {"autonomy": "acts"}}
    estate = told(agent__support=bare, tool__wipe={**WHOLE, "attributes": {"privileges": ["write"]}})
    (found,) = estate.seen(AGENT, "calls", "tool:wipe", sender="prn_stranger").findings("ungated")
    assert found.message.endswith("; prn_stranger says so, which is not known to be it")
    (found,) = estate.seen(AGENT, "calls", "tool:wipe", sender=None).findings("ungated")
    assert "prn_stranger" not in found.message


def test_who_is_known_by_no_principal_is_watched_by_its_own_key() -> None:
    """What it uses no more is found, although nobody can say whose key it is."""
    estate = told().seen("agent:part", "calls", "tool:crm/read", sender="prn_key").wait(days=31)
    estate.seen("agent:part", "calls", "tool:crm/read", sender="prn_key")
    assert [item.subject for item in estate.findings("unseen_relation")] == ["reads dataset:orders"]


FORGED = st.tuples(
    st.sampled_from(sorted(VISIBLE - {"exposes"})), st.sampled_from(sorted(COMPLETE)), st.integers(0, 90)
)


@settings(max_examples=60, deadline=None)
@given(forged=st.lists(FORGED, min_size=1, max_size=6), mine=st.integers(0, 90), days=st.integers(0, 120))
def test_whatever_a_stranger_says_nothing_but_that_is_found(
    forged: list[tuple[str, str, int]], mine: int, days: int
) -> None:
    """Of any agent that acts as a principal of its own, watched or not; nor is more or less of it known."""
    estate = told(agent__support=own()).wait(days=days)
    estate.seen(AGENT, "calls", "tool:crm/read", sender="prn_own", ago=timedelta(days=mine))
    before, counted = estate.findings(), estate.assess().coverage
    for relation, target, ago in forged:
        if target != AGENT and not target.startswith("team:"):
            estate.seen(AGENT, relation, target, sender="prn_stranger", ago=timedelta(days=ago))
    after = estate.findings()
    assert {item.type for item in after if item not in before} <= {"forged"}
    assert estate.assess().coverage == counted


def test_a_call_beyond_grants_by_a_strangers_word_is_alleged() -> None:
    """The same holds of what grants do not permit."""
    estate = told().seen("agent:part", "calls", "tool:crm/refund", sender="prn_stranger")
    assert estate.findings("out_of_scope") == []
    (found,) = estate.findings("alleged_use")
    assert (found.asset, found.severity) == ("agent:part", "moderate")
    assert "prn_stranger" in found.message
    assert estate.seen("agent:part", "calls", "tool:crm/refund", sender=None).findings("out_of_scope") != []


def test_a_fix_is_quoted_as_a_shell_takes_it() -> None:
    """Names may hold what a shell would read otherwise."""
    words = ("a'b", "$(reboot)", "x y", "plain:name/1.2", "")
    finding = Finding(type="isolated", asset="tool:x", message="", mend=command(*words))
    assert shlex.split(finding.fix) == ["quarterdeck", "estate", *words]


def test_every_type_of_finding_has_a_case() -> None:
    """Whoever adds one adds a case."""
    assert {type_ for _, type_, _ in CASES.values()} == set(FINDING_TYPES) - {"unread"}


def test_a_source_that_cannot_be_read_is_a_finding() -> None:
    """Of the server that it is, if that is known here; and the command that reads it again."""
    landscape = told().landscape()
    how = {"kind": "mcp", "on_drift": "quarantine", "failures": 3}
    landscape.unread = (
        Unread(source_id="crm", message="rename one\nof them", **how),
        Unread(source_id="new", message="it is away", **{**how, "on_drift": "note", "failures": 1}),
    )
    crm, new = (item for item in assess(landscape).findings if item.type == "unread")
    assert (crm.asset, crm.severity, new.asset) == ("mcp_server:crm", "high", "source:new")
    assert crm.message.startswith(
        "each of the last 3 imports of the source crm failed: rename one of them; what is not"
    )
    assert new.message == "the last import of the source new failed: it is away"
    assert new.fix == "quarterdeck estate sources run new"


def test_the_order_is_that_of_severity_and_stable() -> None:
    """The worst first; the table of types is in that order, too."""
    ranks = [SEVERITIES.index(kind.severity) for kind in FINDING_TYPES.values()]
    assert ranks == sorted(ranks)
    estate = told(agent__support={"attributes": {"autonomy": "acts"}, "relations": {"calls": ["mcp_server:crm"]}})
    found = estate.findings()
    places = [item.place for item in found]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


# -- controls of the whole, and owners of what exposes -------------------------------------------------------------------


def test_a_control_comes_from_the_whole_only_if_every_whole_has_it() -> None:
    """In the other workflow nothing would bound it."""
    relations = {**{name: to for name, to in CONTROLLED.items() if name != "funded_by"}, "calls": ["agent:part"]}
    night = {**WHOLE, "attributes": {"steps": ["a"], "workflow_class": "customer_facing"}, "relations": relations}
    estate = related("agent:part", {"part_of": ["application:desk", "workflow:night"]}, {"workflow:night": night})
    assert rest(estate.findings()) == {("unfunded", "agent:part", ""), ("unfunded", "workflow:night", "")}
    estate.mend("quarterdeck estate relate workflow:night funded_by budget:support")
    assert estate.findings() == []


@pytest.mark.parametrize(
    ("source", "gated"),
    [("agent:part", True), ("tool:crm/refund", True), ("mcp_server:crm", True), ("tool:crm/read", False)],
)
def test_a_gate_may_stand_anywhere_on_the_way_to_what_has_consequences(source: str, gated: bool) -> None:
    """At the agent, at the server or at the tool; at another tool it helps nobody."""
    estate = lacking("application:desk", "gated_by")
    assert ("ungated", "agent:part", "") in rest(estate.findings())
    estate.mend(f"quarterdeck estate relate {source} gated_by approval_path:default")
    assert (("ungated", "agent:part", "") in rest(estate.findings())) is not gated


def test_a_circle_of_parts_controls_nobody() -> None:
    """Two that are part of each other have no control from that."""
    steps = {"steps": ["a"], "workflow_class": "customer_facing"}
    estate = Told(
        {
            **COMPLETE,
            "workflow:a": {**WHOLE, "attributes": steps, "relations": {"part_of": ["application:b"], **READS}},
            "application:b": {**WHOLE, "relations": {"part_of": ["workflow:a"], **READS}},
        }
    )
    assert {item.asset for item in estate.findings("ungoverned")} == {"workflow:a", "application:b"}


def test_what_is_watched_for_a_day_is_not_called_unseen() -> None:
    """Nor is what was declared yesterday of somebody who was watched for months."""
    estate = told().seen(AGENT, "uses", "model:gpt").wait(days=1)
    assert estate.findings() == []
    estate = watched(told(), (AGENT, "calls", "mcp_server:crm"), *USES)
    estate.apply(
        {
            AGENT: {"relations": {"uses": ["model:gpt", "prompt:answer", "retrieval_index:new"]}},
            "retrieval_index:new": {**WHOLE, "classification": "public"},
        }
    )
    assert estate.findings() == []
    estate.wait(days=29).seen(AGENT, "uses", "model:gpt").wait(days=2)
    for ends in (*USES, (AGENT, "calls", "tool:crm/refund")):
        estate.seen(*ends)
    assert rest(estate.findings()) == {("unseen_relation", AGENT, "uses retrieval_index:new")}


def test_what_follows_from_what_is_declared_is_declared() -> None:
    """A tool of a server, a version of a model, what a route leads to, what a grant permits."""
    estate = related(
        AGENT,
        {"uses": ["model:gpt", "prompt:answer", "route:fast"]},
        {
            "route:fast": {**WHOLE, "attributes": {"targets": ["x"]}, "relations": {"uses": ["model:far"]}},
            "model:far": COMPLETE["model:gpt"],
        },
    )
    for end in ("tool:crm/refund", "mcp_server:crm"):
        estate.seen(AGENT, "calls", end)
    for end in ("model_version:gpt-1", "model:far"):
        estate.seen(AGENT, "uses", end)
    assert estate.findings() == []


def test_what_nobody_has_bound_to_a_grant_is_called_by_who_is_declared_to() -> None:
    """Somebody who holds grants for other tools; undeclared, it is beyond them, and told of once."""
    tool = {**WHOLE, "attributes": {"privileges": ["read"], "side_effect": "none"}, "relations": READS}
    estate = related(AGENT, {"calls": ["mcp_server:crm", "tool:free"]}, {"tool:free": tool})
    assert estate.seen(AGENT, "calls", "tool:free").findings() == []
    estate = Told({**COMPLETE, "tool:free": tool}).seen(AGENT, "calls", "tool:free")
    assert rest(estate.findings()) == {("out_of_scope", AGENT, "tool:free")}


def test_an_expired_grant_permits_nothing() -> None:
    """What is called by it is called beyond it, and too little of it is as well."""
    estate = lacking(AGENT, "calls").wait(days=400).seen(AGENT, "calls", "tool:crm/refund")
    assert ("out_of_scope", AGENT, "tool:crm/refund") in rest(estate.findings())
    less = {**COMPLETE["tool_grant:refunds"], "attributes": {"privileges": ["read"]}}
    estate = told(tool_grant__refunds=less).seen(AGENT, "calls", "tool:crm/refund")
    (found,) = estate.findings()
    assert (found.type, "does not grant write" in found.message) == ("out_of_scope", True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Support-Bot", "support_bot", True),
        ("gpt-4.1", "gpt-4-1", True),
        ("gpt-4.1", "gpt-41", False),
        ("crm/get-user", "crm/getuser", True),
        ("a/bc", "ab/c", False),
        ("p@1", "p1", False),
        ("!!!", "???", False),
    ],
)
def test_names_that_differ_in_case_or_punctuation_alone(one: str, other: str, same: bool) -> None:
    """Versions and paths are told apart."""
    assert (same_name(one) == same_name(other) and bool(same_name(one))) is same


# -- what changes with time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_nothing_changes_before_the_moment_that_is_named(case: str) -> None:
    """What was found stays found, and nothing else is, until the clock says so: that is how long it may be kept."""
    estate, _, _ = made(case)
    now = estate.log.now
    for _ in range(80):
        landscape = estate.landscape(now)
        found = rest(assess(landscape).findings)
        until = landscape.clock.until
        if until is None:
            assert rest(estate.findings(moment=now + 4_000 * DAY)) == found
            return
        assert until > now
        assert rest(estate.findings(moment=until - timedelta(microseconds=1))) == found
        now = until
    raise AssertionError("there are too many moments that matter")


# -- any change of a complete estate -------------------------------------------------------------------------------------

_FACETS = {"purpose": "incomplete", "environments": "incomplete", "classification": "incomplete"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_each_thing_that_is_taken_away_is_found(data: st.DataObject) -> None:
    """Some facts and controls are gone from some objects: exactly these are found, and mending all of it leaves none."""
    file = deepcopy(dict(COMPLETE))
    expected: set[tuple[str, str, str]] = set()
    for name in data.draw(
        st.lists(st.sampled_from([AGENT, "application:desk", "dataset:orders", "model:gpt"]), unique=True)
    ):
        said = file[name]
        if data.draw(st.booleans()):
            said["owner"] = said["team"] = None
            if "owned_by" not in said.get("relations", {}):
                expected.add(("unowned", name, ""))
        for field in data.draw(st.lists(st.sampled_from(sorted(_FACETS)), unique=True)):
            if field in said and not (field == "environments" and name == "model:gpt"):
                said[field] = None
                expected.add((_FACETS[field], name, ""))
        for relation in data.draw(st.lists(st.sampled_from(sorted(CONTROLLED)), unique=True)):
            if relation in said.get("relations", {}) and name != "dataset:orders":
                del said["relations"][relation]
                type_ = WITHOUT[relation]
                acts_alone = relation != "gated_by" or name == AGENT
                expected |= {(type_, name, "")} if acts_alone else set()
                expected |= {(type_, "agent:part", "")} if name == "application:desk" else set()
        if name == "model:gpt" and said["owner"] is None:
            expected.add(("unowned", "model_version:gpt-1", ""))
        if name == "model:gpt" and said["purpose"] is None:
            expected.add(("incomplete", "model_version:gpt-1", ""))
    estate = Told(file)
    assert rest(estate.findings()) == expected
    for item in estate.findings():
        estate.mend(item.fix, **WORDS)
    assert estate.findings() == []


def rest(found: Iterable[Finding]) -> set[tuple[str, str, str]]:
    """Return what names findings."""
    return {(item.type, item.asset, item.subject) for item in found}
