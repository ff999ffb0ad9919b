"""The questions that people of each role ask of the estate, asked of the demo's. The answers are derived by hand from
`demo_estate.yaml` and `demo_happenings.py`.

The role questions are those of AI engineers, platform, security, governance, FinOps, leadership, auditors and incident
commanders that concern the estate; ids in the docstrings and in the operations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio
from demo_world import DemoWorld, demo_world

from quarterdeck_cli.demo_happenings import CUSTOMERS
from quarterdeck_graphql.persisted import operations

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARE: Final = {"agent:support-triage", "agent:order-assistant"}
"""Who could reach the customers' profiles from the beginning: by a grant, and by handing over to who has one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoWorld]:
    """The demo's estate, and what happens to it."""
    async with demo_world(module_database, tmp_path_factory.mktemp("house")) as made:
        yield made


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a connection."""
    assert not connection["pageInfo"]["hasNextPage"]
    return [edge["node"] for edge in connection["edges"]]


def name(asset: str) -> str:
    """Return an id as the file writes it."""
    return asset.removeprefix("asset:")


def by_id(connection: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the nodes of a connection by their ids as the file writes them."""
    return {name(node["id"]): node for node in nodes(connection)}


def reached(found: dict[str, Any]) -> set[str]:
    """Return what is within reach."""
    assert found.get("total", len(found["reached"])) == len(found["reached"])
    return {name(item["asset"]["id"]) for item in found["reached"]}


async def moment(demo: DemoWorld, position: int | None = None) -> str:
    """Return the moment at which only the file was applied, or that of another position."""
    query = "query($p: Position!) { at(position: $p) { recordedAt } }"
    found = await demo.here.ask(query, {"p": demo.before if position is None else position})
    time: str = found["at"]["recordedAt"]
    return time


async def now(demo: DemoWorld) -> str:
    """Return the moment of the last event."""
    return await moment(demo, await demo.here.world.position())


async def test_which_agents_can_reach(demo: DemoWorld) -> None:
    """S0-72: the flagship. Now four. On last Tuesday at eight two, as we know now; at ten three, though nobody knew."""
    known = {"position": await demo.here.world.position()}
    early, late = (demo.tuesday + timedelta(hours=hours) for hours in (-1, 1))
    found = await demo.ask("WhichAgentsCanReach", of=CUSTOMERS, time=early.isoformat(), knownAt=known)
    accesses = {name(item["asset"]["id"]): item for item in found["now"]["reachedBy"]["accesses"]}
    assert accesses.keys() == CARE | {"agent:campaign-writer", "agent:knowledge-curator"}
    assert {name(item["asset"]["id"]) for item in found["then"]["reachedBy"]["accesses"]} == CARE
    writer = accesses["agent:campaign-writer"]
    assert [tool["id"] for tool in writer["tools"]] == ["asset:tool:crm.find-customer"]
    assert {(item["on"], item["relation"], item["control"]["id"]) for item in writer["controls"]} == {
        ("asset:tool:crm.find-customer", "governed_by", "asset:policy_bundle:core"),
        ("asset:dataset:customer-profiles", "governed_by", "asset:policy_bundle:core"),
        ("asset:agent:campaign-writer", "holds", "asset:tool_grant:campaign-audience"),
    }
    assert writer["exceptions"] == []  # its time is over
    assert [item["sentence"] for item in writer["path"]["relations"]] == [
        "agent:campaign-writer holds tool_grant:campaign-audience",
        "tool_grant:campaign-audience permits the use of tool:crm.find-customer",
        "tool:crm.find-customer reads dataset:customer-profiles",
    ]
    # The others are gated themselves, or hand over to who is.
    assert [agent for agent, item in accesses.items() if item["ungated"]] == ["agent:campaign-writer"]
    found = await demo.ask("WhichAgentsCanReach", of=CUSTOMERS, time=late.isoformat(), knownAt=known)
    then = {name(item["asset"]["id"]) for item in found["then"]["reachedBy"]["accesses"]}
    assert then == CARE | {"agent:knowledge-curator"}
    found = await demo.ask(
        "WhichAgentsCanReach", of=CUSTOMERS, time=late.isoformat(), knownAt={"position": demo.before}
    )
    assert {name(item["asset"]["id"]) for item in found["then"]["reachedBy"]["accesses"]} == CARE


async def test_which_ways_lead_there(demo: DemoWorld) -> None:
    """S0-19: by one way before, by two now, and one thing closes both: nobody but the agent itself is on both."""
    ends = {"from": "agent:support-triage", "to": CUSTOMERS}
    before = (await demo.ask("WhichWaysLeadThere", **ends, time=await moment(demo)))["at"]["ways"]
    (path,) = before["paths"]
    assert {(name(item["on"]), name(item["control"]["id"])) for item in path["controls"]} >= {
        ("agent:support-triage", "approval_path:default"),
        ("agent:support-triage", "guardrail:pii-filter"),
        ("tool_grant:care-crm-read", "policy_bundle:core"),
    }
    found = (await demo.ask("WhichWaysLeadThere", **ends, time=await now(demo)))["at"]["ways"]
    assert [len(path["relations"]) for path in found["paths"]] == [2, 3]
    assert found["cut"]["exact"]
    assert len(found["cut"]["steps"]) == 1


async def test_what_data_can_it_reach(demo: DemoWorld) -> None:
    """S0-56: what fraud watch computes with and what it changes; nothing of customers."""
    found = await demo.ask("WhatDataCanItReach", of="agent:fraud-watch", time=await now(demo))
    assert reached(found["at"]["reach"]) == {
        "feature_store:fraud-features",
        "dataset:payment-records",
        "dataset:order-history",
    }
    # It scores with a model that was made of payments: the same dataset again, by another way.
    early = await demo.ask("WhatDataCanItReach", of="agent:knowledge-curator", time=await moment(demo))
    assert reached(early["at"]["reach"]) == {
        "dataset:support-transcripts",
        "retrieval_index:help-center",
        "dataset:help-articles",
    }


async def test_what_was_it_allowed_to_do(demo: DemoWorld) -> None:
    """S0-92, S0-87: the writer, before its grant was widened and after; a tool in quarantine is none it can call."""
    before = (await demo.ask("WhatWasItAllowedToDo", of="asset:agent:campaign-writer", time=await moment(demo)))["at"]
    tools = {name(item["tool"]["id"]): (item["grants"], item["privileges"]) for item in before["node"]["callableTools"]}
    assert tools == {
        "tool:audience.preview": (["asset:tool_grant:campaign-audience"], ["read"]),
        "tool:newsletter.publish": ([], ["trigger"]),
    }
    assert before["node"]["controls"] == [
        {"relation": "excepted_by", "target": "asset:exception_window:campaign-without-gate"}
    ]
    after = (await demo.ask("WhatWasItAllowedToDo", of="asset:agent:campaign-writer", time=await now(demo)))["at"]
    assert {name(item["tool"]["id"]) for item in after["node"]["callableTools"]} == {
        "tool:crm.find-customer",
        "tool:newsletter.publish",
        "tool:export.csv",
    }
    assert reached(after["reach"]) - reached(before["reach"]) == {
        "tool:crm.find-customer",
        CUSTOMERS,
        "tool:export.csv",
    }


async def test_which_agents_can_act(demo: DemoWorld) -> None:
    """S0-23: five write or trigger, one only reads, one's grant has expired; the draft is not live. S0-63: two chain to
    others."""
    found = by_id((await demo.ask("WhichAgentsCanAct"))["at"]["assets"])
    privileges = {
        agent: {item for tool in node["callableTools"] for item in tool["privileges"]} for agent, node in found.items()
    }
    assert privileges == {
        "agent:support-triage": {"read", "trigger"},
        "agent:refund-bot": {"read", "write", "trigger"},
        "agent:order-assistant": {"read"},
        "agent:campaign-writer": {"read", "trigger"},
        "agent:fraud-watch": {"trigger"},
        "agent:people-helper": set(),
        "agent:knowledge-curator": {"write"},
    }
    chains = {agent: {name(item["target"]) for item in node["chains"]} for agent, node in found.items()}
    assert {agent: ends for agent, ends in chains.items() if ends} == {
        "agent:support-triage": {"agent:refund-bot"},
        "agent:order-assistant": {"agent:support-triage"},
        "agent:campaign-writer": {"mcp_server:marketing-suite", "tool:export.csv"},
    }


async def test_which_systems_reach_what(demo: DemoWorld) -> None:
    """S0-72 for everything that acts: the refund bot's tools and data, and that the writer has no control at all."""
    found = by_id((await demo.ask("WhichSystemsReachWhat"))["at"]["assets"])
    assert reached(found["agent:refund-bot"]["reach"]) == {
        "tool:orders.read",
        "tool:orders.refund",
        "dataset:order-history",
        "dataset:payment-records",
    }
    assert {item["relation"] for item in found["agent:refund-bot"]["controls"]} == {
        "governed_by",
        "gated_by",
        "funded_by",
        "monitored_by",
    }
    assert {item["relation"] for item in found["agent:campaign-writer"]["controls"]} == {"excepted_by"}
    others = by_id((await demo.ask("WhichSystemsReachWhat", kinds=["application"]))["at"]["assets"])
    assert reached(others["application:web-shop-us"]["reach"]) == set()


async def test_which_data_does_retrieval_expose(demo: DemoWorld) -> None:
    """S0-25: an index that calls itself public holds restricted data, and customers hear it."""
    found = by_id((await demo.ask("WhichDataDoesRetrievalExpose"))["at"]["assets"])
    index = found["retrieval_index:help-center"]
    assert index["classification"] == "public"
    assert {(name(item["asset"]["id"]), item["asset"]["classification"]) for item in index["exposes"]["reached"]} == {
        (CUSTOMERS, "restricted"),
        ("dataset:help-articles", "public"),
    }
    outputs = {
        name(item["asset"]["id"]): [name(end["target"]) for end in item["asset"]["outputs"]]
        for item in index["to"]["reached"]
    }
    assert outputs == {"agent:support-triage": ["output_channel:care-email"], "agent:knowledge-curator": []}
    assert reached(found["retrieval_index:people-policies"]["exposes"]) == set()


async def test_which_prompts_trigger_what(demo: DemoWorld) -> None:
    """S0-62, S0-24: of the workflows that prompts start, two are regulated."""
    found = nodes((await demo.ask("WhichPromptsTriggerWhat", of=["workflow"]))["at"]["relations"])
    regulated = {
        name(node["from"]["id"]): name(node["to"]["id"])
        for node in found
        if node["to"]["attributes"]["workflow_class"] == "regulated_internal"
    }
    assert regulated == {
        "prompt_version:refund-decision@2": "workflow:refund-handling",
        "prompt_version:fraud-summary@1": "workflow:fraud-review",
    }
    tools = nodes((await demo.ask("WhichPromptsTriggerWhat", of=["tool"]))["at"]["relations"])
    assert [node["sentence"] for node in tools] == ["prompt_version:refund-decision@2 drives tool:orders.refund"]


async def test_which_prompt_versions_run_where(demo: DemoWorld) -> None:
    """S0-28: four in production, each used by one agent; the one before the last in staging, by nobody."""
    found = by_id((await demo.ask("WhichPromptVersionsRunWhere", time=await now(demo)))["at"]["assets"])
    where = {
        version: (node["environments"], [name(item["source"]) for item in node["usedBy"]])
        for version, node in found.items()
    }
    assert where == {
        "prompt_version:support-reply@3": (["staging"], []),
        "prompt_version:support-reply@4": (["production"], ["agent:support-triage"]),
        "prompt_version:refund-decision@2": (["production"], ["agent:refund-bot"]),
        "prompt_version:campaign-copy@1": (["production"], ["agent:campaign-writer"]),
        "prompt_version:fraud-summary@1": (["production"], ["agent:fraud-watch"]),
    }
    staging = await demo.ask("WhichPromptVersionsRunWhere", time=await now(demo), environments=["staging"])
    assert list(by_id(staging["at"]["assets"])) == ["prompt_version:support-reply@3"]


async def test_what_is_deployed_where(demo: DemoWorld) -> None:
    """S2-47, S2-48: five deployments, one a region, of five versions."""
    found = by_id((await demo.ask("WhatIsDeployedWhere", time=await moment(demo)))["at"]["assets"])
    shown = {
        deployment: (
            node["attributes"]["region"],
            {item["relation"]: name(item["target"]) for item in node["runs"]},
            [name(item["source"]) for item in node["routes"]],
        )
        for deployment, node in found.items()
    }
    assert shown["deployment:aurora-4-us"] == (
        "us-east",
        {"uses": "model_version:aurora-4@2025-11", "deployed_in": "provider:aurora"},
        ["route:chat-us"],
    )
    assert {deployment: region for deployment, (region, _, _) in shown.items()} == {
        "deployment:aurora-4-eu": "eu-central",
        "deployment:aurora-4-us": "us-east",
        "deployment:aurora-mini-eu": "eu-central",
        "deployment:lindwurm-eu": "eu-west",
        "deployment:fraudnet-dc1": "de-own",
    }


async def test_what_is_due_to_be_sunset(demo: DemoWorld) -> None:
    """S2-50: the old Aurora; its deployment, its route and the shop in the US depend on it. Before, nothing."""
    found = by_id((await demo.ask("WhatIsDueToBeSunset", kinds=["model_version"]))["at"]["assets"])
    assert list(found) == ["model_version:aurora-4@2025-11"]
    old = found["model_version:aurora-4@2025-11"]
    assert old["successor"] == "asset:model_version:aurora-4@2026-03"
    assert old["sunset"] > await now(demo)
    assert reached(old["affected"]) == {"deployment:aurora-4-us", "route:chat-us", "application:web-shop-us"}


async def test_where_do_versions_differ(demo: DemoWorld) -> None:
    """S1-65, S1-66: Aurora 4 answers in two versions, and each says why; the other models in one."""
    found = by_id((await demo.ask("WhereDoVersionsDiffer"))["at"]["assets"])
    versions = {
        model: {
            name(item["from"]["id"]): [name(end["source"]) for end in item["from"]["deployments"]]
            for item in node["versions"]
        }
        for model, node in found.items()
    }
    assert versions["model:aurora-4"] == {
        "model_version:aurora-4@2025-11": ["deployment:aurora-4-us"],
        "model_version:aurora-4@2026-03": ["deployment:aurora-4-eu"],
    }
    assert [model for model, found_ in versions.items() if len(found_) > 1] == ["model:aurora-4"]


async def test_which_model_families_do_we_use(demo: DemoWorld) -> None:
    """S0-22: three families, two models of Aurora's."""
    found = by_id((await demo.ask("WhichModelFamiliesDoWeUse"))["at"]["assets"])
    families = sorted(node["attributes"]["family"] for node in found.values())
    assert families == ["aurora", "aurora", "fraudnet", "lindwurm"]


async def test_how_dependent_on_one_provider(demo: DemoWorld) -> None:
    """S3-44: three of five deployments are Aurora's, and everybody but fraud watch needs them."""
    found = by_id((await demo.ask("HowDependentOnOneProvider"))["at"]["assets"])
    assert {provider: len(node["deployments"]) for provider, node in found.items()} == {
        "provider:aurora": 3,
        "provider:lindwurm": 1,
        "provider:larkspur-dc1": 1,
    }
    assert reached(found["provider:aurora"]["dependants"]) == {
        "agent:support-triage",
        "agent:refund-bot",
        "agent:order-assistant",
        "agent:campaign-writer",
        "agent:people-helper",
        "agent:knowledge-curator",
        "application:care-desk",
        "application:web-shop",
        "application:web-shop-us",
    }
    assert reached(found["provider:larkspur-dc1"]["dependants"]) == {"agent:fraud-watch"}


async def test_who_owns_it(demo: DemoWorld) -> None:
    """S0-53, S2-112: the curator's owner changed; before, it was another's, and the timeline says who changed it."""
    about = "asset:agent:knowledge-curator"
    found = await demo.ask("WhoOwnsIt", id=about, time=await now(demo))
    assert (found["at"]["node"]["owner"], found["at"]["node"]["team"]) == ("care-lead", "customer-care")
    (team,) = found["at"]["node"]["teams"]
    assert team["to"]["attributes"]["on_call"] == "rota://data"
    types = [node["type"] for node in (edge["node"] for edge in found["timeline"]["edges"])]
    assert types == ["asset.ownership_transferred", "asset.registered"]
    assert found["timeline"]["edges"][0]["node"]["data"]["previous_owner"] == "data-rota"
    before = await demo.ask("WhoOwnsIt", id=about, time=await moment(demo))
    assert before["at"]["node"]["owner"] == "data-rota"


async def test_who_answers_for_exceptions(demo: DemoWorld) -> None:
    """S0-26: one of marketing's that has run out and that nobody owns, one of the people team's that holds."""
    found = await demo.ask("WhoAnswersForExceptions")
    exceptions = by_id(found["at"]["assets"])
    shown = {
        window: (
            node["owner"],
            node["team"],
            node["attributes"]["expires_at"] > found["at"]["moment"],
            [name(item["source"]) for item in node["holdsFor"]],
        )
        for window, node in exceptions.items()
    }
    assert shown == {
        "exception_window:campaign-without-gate": (None, "marketing", False, ["agent:campaign-writer"]),
        "exception_window:people-pilot": ("people-lead", "people-ops", True, ["agent:people-helper"]),
    }


async def test_which_gates_stand_before_actions(demo: DemoWorld) -> None:
    """S0-58: of the tools that write or trigger, two have no gate: the newsletter's, and the old name of the refund."""
    found = by_id((await demo.ask("WhichGatesStandBeforeActions", time=await moment(demo)))["at"]["assets"])
    assert len(found) == 11
    consequential = {
        tool: [name(item["target"]) for item in node["gates"]]
        for tool, node in found.items()
        if {"write", "trigger"} & set(node["attributes"]["privileges"])
    }
    assert [tool for tool, gates in consequential.items() if not gates] == [
        "tool:orders-refund",
        "tool:newsletter.publish",
    ]
    assert consequential["tool:payments.hold"] == ["approval_path:two-person"]


async def test_which_policy_governs_what(demo: DemoWorld) -> None:
    """S0-65: marketing's agent and workflow fall under none."""
    found = by_id((await demo.ask("WhichPolicyGovernsWhat"))["at"]["assets"])
    assert [asset for asset, node in found.items() if not node["governedBy"]] == [
        "agent:campaign-writer",
        "workflow:campaign-launch",
    ]
    people = found["agent:people-helper"]
    assert people["policyClass"] == "employee-data"
    assert [item["to"]["attributes"]["policy_class"] for item in people["governedBy"]] == ["employee-data"]


async def test_what_touched_it(demo: DemoWorld) -> None:
    """S0-120: a tool's whole story: registered by the file, related, found drifted, in quarantine."""
    types = [
        edge["node"]["type"]
        for edge in (await demo.ask("WhatTouchedIt", id="tool:audience.preview"))["timeline"]["edges"]
    ]
    assert types == [
        "estate.applied",
        "asset.registered",
        "relation.declared",  # the server exposes it
        "relation.declared",  # it reads the subscribers
        "relation.declared",  # the grant permits it
        "drift.detected",
        "asset.quarantined",
    ]


async def test_what_has_drifted(demo: DemoWorld) -> None:
    """S0-115, S3-45: the tool's description; the agents that could call it cannot any more."""
    (drift,) = nodes((await demo.ask("WhatHasDrifted", state=["OPEN"]))["at"]["drifts"])
    assert (drift["assetId"], drift["input"], drift["fieldName"], drift["quarantined"]) == (
        "asset:tool:audience.preview",
        "TOOLS",
        "description",
        True,
    )
    assert "export.csv" in drift["found"]
    assert drift["asset"]["lifecycle"] == "QUARANTINED"


def told(found: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return findings as type, object and what else they are about."""
    assert found["findings"]["total"] == len(found["findings"]["edges"])
    return {(item["type"], name(item["assetId"]), item["subject"]) for item in nodes(found["findings"])}


async def test_which_grants_go_too_far(demo: DemoWorld) -> None:
    """S0-33, S0-76: two grants to write that no tool behind them needs, one of which has run out; and the writer calls
    a tool for which it holds no grant."""
    assert told((await demo.ask("WhichGrantsGoTooFar"))["at"]) == {
        ("OUT_OF_SCOPE", "agent:campaign-writer", "tool:export.csv"),
        ("OVER_PERMISSIONED", "tool_grant:campaign-audience", ""),
        ("OVER_PERMISSIONED", "tool_grant:people-records", ""),
        ("EXPIRED", "tool_grant:people-records", ""),
    }


async def test_which_tool_and_identity_risks_are_there(demo: DemoWorld) -> None:
    """S0-30: the worst first; nobody answers for the tool that nobody registered."""
    found = (await demo.ask("WhichToolAndIdentityRisksAreThere"))["at"]
    risks = told(found)
    assert {item for item in risks if item[1] == "tool:export.csv"} == {
        ("UNREGISTERED", "tool:export.csv", ""),
        ("UNOWNED", "tool:export.csv", ""),
        ("INCOMPLETE", "tool:export.csv", ""),
    }
    severities = [item["severity"] for item in nodes(found["findings"])]
    assert severities == sorted(severities, key=["CRITICAL", "HIGH", "MODERATE", "LOW"].index)
    assert severities[0] == "CRITICAL"
    mine = told((await demo.ask("WhichToolAndIdentityRisksAreThere", team=["people-ops"]))["at"])
    assert mine == {
        ("OVER_PERMISSIONED", "tool_grant:people-records", ""),
        ("EXPIRED", "tool_grant:people-records", ""),
        ("UNFUNDED", "agent:people-helper", ""),
    }


async def test_what_is_outside_the_plane(demo: DemoWorld) -> None:
    """S1-68: a tool nobody registered and the call of it that nobody declared; marketing, watched by nobody."""
    assert told((await demo.ask("WhatIsOutsideThePlane"))["at"]) == {
        ("UNREGISTERED", "tool:export.csv", ""),
        ("OUT_OF_SCOPE", "agent:campaign-writer", "tool:export.csv"),
        ("UNMONITORED", "agent:campaign-writer", ""),
        ("UNMONITORED", "workflow:campaign-launch", ""),
    }


async def test_which_are_tier_one_in_fact(demo: DemoWorld) -> None:
    """S3-08: the route of every conversation: six agents, the care desk, two guardrails and two suites use it."""
    assert told((await demo.ask("WhichAreTierOneInFact"))["at"]) == {("UNPROMOTED", "route:chat", "")}
    assert told((await demo.ask("WhichAreTierOneInFact", kind=["model"]))["at"]) == set()


async def test_do_assumptions_match_live_use(demo: DemoWorld) -> None:
    """S0-114: for marketing they do not; for the care team they do."""
    assert told((await demo.ask("DoAssumptionsMatchLiveUse", team=["marketing"]))["at"]) == {
        ("DRIFTED", "tool:audience.preview", "tools"),
        ("OUT_OF_SCOPE", "agent:campaign-writer", "tool:export.csv"),
        ("EXPIRED", "exception_window:campaign-without-gate", ""),
    }
    assert told((await demo.ask("DoAssumptionsMatchLiveUse", team=["customer-care"]))["at"]) == set()


async def test_what_is_missing_or_wrong(demo: DemoWorld) -> None:
    """S0-08: nothing was drifted, unregistered or about to end when only the file was applied; the rest was there."""
    before = told((await demo.ask("WhatIsMissingOrWrong", time=await moment(demo)))["at"])
    after = told((await demo.ask("WhatIsMissingOrWrong", time=await now(demo)))["at"])
    assert {type_ for type_, _, _ in after - before} == {
        "OUT_OF_SCOPE",
        "DRIFTED",
        "UNREGISTERED",
        "UNOWNED",
        "INCOMPLETE",
        "OVER_PERMISSIONED",
        "SUNSET",
    }
    assert before - after == set()
    duplicates = {"filter": {"type": ["DUPLICATE"]}}
    found = (await demo.ask("WhatIsMissingOrWrong", time=await now(demo), **duplicates))["at"]
    assert told(found) == {("DUPLICATE", "tool:orders-refund", "tool:orders.refund")}
    (fix,) = (item["fix"] for item in nodes(found["findings"]))
    assert fix == "quarterdeck estate merge tool:orders.refund tool:orders-refund"


async def test_is_control_coverage_equal(demo: DemoWorld) -> None:
    """S0-04: of fifteen that act thirteen are governed; both that are not are marketing's, which lags in everything."""
    found = (await demo.ask("IsControlCoverageEqual", time=await moment(demo)))["at"]["coverage"]
    whole = {item["control"]: (item["covered"], item["required"]) for item in found["whole"]["controls"]}
    assert whole == {
        "OWNED": (104, 104),
        "GOVERNED": (13, 15),
        "GATED": (4, 5),
        "FUNDED": (10, 15),
        "MONITORED": (13, 15),
    }
    groups = {group["name"]: {item["control"]: item for item in group["controls"]} for group in found["groups"]}
    lagging = {team: [name for name, item in controls.items() if item["outlier"]] for team, controls in groups.items()}
    assert lagging["marketing"] == ["GOVERNED", "GATED", "FUNDED", "MONITORED"]
    assert lagging["customer-care"] == []


async def test_what_is_the_blast_radius(demo: DemoWorld) -> None:
    """S2-82: of the tool that finds customers, before the grant was widened: what the care team does, whom to call."""
    of = {"of": "tool:crm.find-customer"}
    found = (await demo.ask("WhatIsTheBlastRadius", **of, time=await moment(demo)))["at"]["blastRadius"]
    groups = {item["group"]: {name(hit["asset"]["id"]) for hit in item["nearest"]} for item in found["groups"]}
    assert groups["AGENTS"] == {"agent:support-triage", "agent:order-assistant", "agent:refund-bot"}
    assert groups["CHANNELS"] == {
        "output_channel:care-email",
        "output_channel:shop-chat",
        "output_channel:payment-system",
    }
    assert [(item["owner"], item["onCall"]) for item in found["people"]][:2] == [
        ("data-rota", "rota://data"),
        ("care-lead", "rota://care"),
    ]
    after = (await demo.ask("WhatIsTheBlastRadius", **of, time=await now(demo)))["at"]["blastRadius"]
    groups = {item["group"]: {name(hit["asset"]["id"]) for hit in item["nearest"]} for item in after["groups"]}
    assert "agent:campaign-writer" in groups["AGENTS"]
    assert "output_channel:newsletter" in groups["CHANNELS"]


async def test_what_opened_the_way(demo: DemoWorld) -> None:
    """S0-72, S0-56: the writer's by one relation of its grant; the curator's since Tuesday by one of the index, as we
    know now; support triage had one before."""
    since = {"since": {"position": demo.before}}
    writer = (await demo.ask("WhatOpenedTheWay", **{"from": "agent:campaign-writer", "to": CUSTOMERS}, **since))[
        "opened"
    ]
    (change,) = writer["fewest"]
    assert change["subject"] == "relation:tool_grant:campaign-audience permits tool:crm.find-customer"
    assert [event["actor"]["principal"] for event in change["events"]] == [demo.here.world.id("admin")]
    assert writer["undo"] == [change]
    known = {"knownAt": {"position": await demo.here.world.position()}}
    ends = {"from": "agent:knowledge-curator", "to": CUSTOMERS}
    early, late = ((demo.tuesday + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    curator = (await demo.ask("WhatOpenedTheWay", **ends, since={"time": early}, until={"time": late}, **known))[
        "opened"
    ]
    assert [item["subject"] for item in curator["fewest"]] == [
        f"relation:retrieval_index:help-center derived_from {CUSTOMERS}"
    ]
    triage = await demo.ask("WhatOpenedTheWay", **{"from": "agent:support-triage", "to": CUSTOMERS}, **since)
    assert (triage["opened"]["verdict"], triage["opened"]["fewest"]) == ("OPEN_BEFORE", [])


async def test_which_component_changed(demo: DemoWorld) -> None:
    """S3-114: for support triage one thing, what its index is made of; for the shop in the US its model; for fraud watch
    nothing; for the writer its grant, a tool that was found drifted, and one that came out of nowhere."""

    async def changed(of: str) -> set[str]:
        found = await demo.ask("WhichComponentChanged", of=of, **{"from": {"position": demo.before}})
        return {node["objectId"].partition("drf_")[0] for node in nodes(found["diff"]["changes"])}

    assert await changed("agent:support-triage") == {f"relation:retrieval_index:help-center derived_from {CUSTOMERS}"}
    assert await changed("application:web-shop-us") == {"asset:model_version:aurora-4@2025-11"}
    assert await changed("agent:fraud-watch") == set()
    assert await changed("agent:campaign-writer") == {
        "asset:tool_grant:campaign-audience",
        "relation:tool_grant:campaign-audience permits tool:crm.find-customer",
        "asset:tool:audience.preview",
        "",  # the drift of it
        "asset:tool:export.csv",
        "relation:agent:campaign-writer calls tool:export.csv",
    }
    body = {
        "documentId": "WhichComponentChanged",
        "variables": {"of": "agent:nobody", "from": {"position": demo.before}},
    }
    refused = (await demo.here.post(body)).json()["errors"][0]
    assert refused["extensions"]["code"] == "not_found"


async def test_why_is_it_so(demo: DemoWorld) -> None:
    """The tool is in quarantine because it was registered and put there; nothing else is needed for it."""
    found = (await demo.ask("WhyIsItSo", id="asset:tool:audience.preview", fields=["lifecycle"]))["explain"]["slice"]
    assert [event["type"] for event in found["events"]] == ["asset.registered", "asset.quarantined"]
    assert found["checked"]["irreducible"]


async def test_replay_what_touched_it(demo: DemoWorld) -> None:
    """S0-120, DC-09: the index's story to any point: what it was made of is what was found last."""
    stream = await demo.listen("ReplayWhatTouchedIt", id="asset:retrieval_index:help-center")
    found = [result.data["replay"] async for result in stream]
    assert [event["type"] for event in found][:2] == ["estate.applied", "asset.registered"]
    assert found[-1]["data"]["evidence"].startswith("Its nightly job")
    assert found[-1]["record"]["node"]["owner"] == "data-rota"
    until = await demo.listen(
        "ReplayWhatTouchedIt", id="asset:retrieval_index:help-center", to={"position": found[-1]["position"] - 1}
    )
    assert [result.data["replay"] async for result in until] == found[:-1]


async def test_the_bill_of_then(demo: DemoWorld) -> None:
    """S0-60: a bill of materials of any moment, over REST: the same bytes whenever it is asked for, and what was there."""
    headers = demo.here.world.auth("ann")

    async def bill(position: int) -> bytes:
        path = f"/v1/estate/bill?form=cyclonedx-1.7&position={position}"
        answer = await demo.here.world.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    then, today = await bill(demo.before), await bill(await demo.here.world.position())
    assert await bill(demo.before) == then
    assert b"exception_window:people-pilot" in today
    assert b"exception_window:people-pilot" not in then
    assert b"model_version:aurora-4@2025-11" in then


async def test_two_roles_see_the_same_story(demo: DemoWorld) -> None:
    """S0-110: an auditor and an operator get the same bytes, of the map, of its past and of what happened."""
    for operation, variables in (
        ("WhichSystemsReachWhat", {}),
        ("WhatTouchedIt", {"id": CUSTOMERS}),
        ("WhatWasItAllowedToDo", {"of": "asset:agent:campaign-writer", "time": await moment(demo)}),
        (
            "WhichAgentsCanReach",
            {"of": CUSTOMERS, "time": demo.tuesday.isoformat(), "knownAt": {"position": demo.before}},
        ),
    ):
        body = {"documentId": operation, "variables": variables}
        ann, admin, carol = [(await demo.here.post(body, by)).content for by in ("ann", "admin", "carol")]
        assert ann == admin == carol
        assert b'"errors"' not in ann


AT_ANY_MOMENT: Final = tuple(
    name
    for name, text in sorted(operations().items())
    if "at(time: $time, knownAt: $knownAt)" in text and "$time: DateTime," in text
)


async def test_questions_are_asked_of_any_moment(demo: DemoWorld) -> None:
    """S0-72, S0-92: left out, it is now; of the moment before anything was there, nothing; of the one at which only the
    file was applied, what it says: not what happened since."""
    given = {"of": "agent:support-triage", "id": "asset:agent:support-triage", "from": "agent:support-triage"}
    given |= {"to": "dataset:customer-profiles", "asset": "agent:support-triage"}
    assert len(AT_ANY_MOMENT) >= 25
    for operation in AT_ANY_MOMENT:
        text = operations()[operation]
        variables = {name: value for name, value in given.items() if f"${name}: ID!" in text}
        now_, then = (
            await demo.ask(operation, **variables),
            await demo.ask(operation, **variables, time=await moment(demo)),
        )
        assert (now_["at"]["position"], then["at"]["position"]) == (
            (await demo.here.ask("{ now { position } }"))["now"]["position"],
            demo.before,
        ), operation
    for operation in (
        "WhichSystemsReachWhat",
        "WhichAgentsCanAct",
        "WhichPolicyGovernsWhat",
        "WhichDataDoesRetrievalExpose",
    ):
        nothing = await demo.ask(operation, time="2001-01-01T00:00:00Z")
        assert nothing["at"]["assets"]["edges"] == [], operation
    for operation in ("WhatIsOutsideThePlane", "WhichGrantsGoTooFar"):
        nothing = await demo.ask(operation, time="2001-01-01T00:00:00Z")
        assert nothing["at"]["findings"]["total"] == 0, operation
        before = await demo.ask(operation, time=await moment(demo))
        assert before["at"]["findings"] != (await demo.ask(operation))["at"]["findings"], operation
