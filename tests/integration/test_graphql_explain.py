"""Why is it so? Of decisions and of states, checked here once more: by deciding again in another log, and by asking it.

Serves S0-27, DC-02, DC-06.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from decided_anew import decided_anew, told
from graphql_world import GraphWorld, graph_world

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary

SLICE = """slice { outcome value events { position type actor why without event { id type } }
    absences { words types tags after until besides instead holds } settled candidates size replays withheld
    notReplayable checked { whole sufficient irreducible absent settled } text }"""
EXPLAIN = f"""query($id: ID!, $at: Moment, $fields: [String!]) {{
    explain(id: $id, at: $at, fields: $fields) {{ id node {{ __typename id }} events {{ position }} {SLICE} }} }}"""
SOUND = {"whole": True, "sufficient": True, "irreducible": True, "absent": True, "settled": True}
ROLES = """
@id("refund") permit (principal, action == Action::"refund", resource)
when { context.verified.subject.roles.contains("operator") };
@id("gone") @reason("nobody who left") forbid (principal, action, resource)
when { context.verified.subject.deactivated };
"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        yield made


async def command(here: GraphWorld, name: str, body: dict[str, Any], by: str = "admin") -> dict[str, Any]:
    """Send a command; return what it answered."""
    answer = await here.world.api.command(name, body, by=(here.world.tenant, by))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def explain(here: GraphWorld, object_id: str, by: str = "ann", **variables: Any) -> dict[str, Any]:
    """Return an explanation of which everything was checked, here once more."""
    found: dict[str, Any] = (await here.ask(EXPLAIN, {"id": object_id, **variables}, by=by))["explain"]
    told = found["slice"]
    assert told["checked"] == SOUND, told["text"]
    assert told["size"] == len(told["events"]) <= told["candidates"]
    log, tenant = here.world.services.ledger, here.world.tenant
    named = {*told["settled"], *(event["position"] for event in told["events"])}
    for absence in told["absences"]:
        # Asked of the log in another way: every event of that stretch, one by one.
        stretch = await log.read_sealed(tenant, after=absence["after"], until=absence["until"])
        assert absence["after"] < absence["until"]
        there = [
            entry.position
            for entry in stretch
            if entry.type in absence["types"] and set(absence["tags"]) <= set(entry.tags)
        ]
        assert there == absence["besides"], absence["words"]
        assert set(there) <= named
    return found


async def decided(here: GraphWorld, by: str = "bot", **changes: Any) -> str:
    """Let policy decide; return the decision's id."""
    answer = await here.world.evaluate(here.world.intent(by, **changes), by)
    return str(answer.json()["context"]["evaluation_id"])


async def something_else(here: GraphWorld) -> None:
    """Let something happen that has nothing to do with anything."""
    await command(here, "register_asset", {"asset": f"dataset:{uuid.uuid4().hex}", "facts": {}})


async def check_by_deciding(here: GraphWorld, decision_id: str, found: dict[str, Any]) -> list[RecordedEvent]:
    """Assert that the slice forces the decision and nothing of it can be left out; return its events."""
    log, tenant = here.world.services.ledger, here.world.tenant
    (decision,) = await log.read(tenant, boundary(((DecisionRecorded,), (f"decision:{decision_id}",))))
    assert isinstance(decision.payload, DecisionRecorded)
    events = [
        (await log.read(tenant, after=event["position"] - 1, until=event["position"]))[0]
        for event in found["slice"]["events"]
    ]
    payloads = [event.payload for event in events]
    assert await decided_anew(payloads, decision) == told(decision.payload)
    for left_out in payloads:
        rest = [payload for payload in payloads if payload is not left_out]
        assert await decided_anew(rest, decision) != told(decision.payload), left_out.type
    return events


def types(found: dict[str, Any]) -> list[str]:
    """Return the types of a slice's events."""
    return [event["type"] for event in found["slice"]["events"]]


async def test_everything_with_an_id_is_explained(here: GraphWorld) -> None:
    """Decisions, approvals, votes, grants, effects, people, keys, bundles, paths, the tenant: each checked."""
    story = await here.tell()
    listed = await here.ask(
        """{ now { policyBundles(first: 9) { edges { node { id } } } apiKeys(first: 9) { edges { node { id } } }
        approvals(first: 9) { edges { node { votes { id } } } } } }"""
    )
    ids = [*story.ids.values(), *(here.world.id(name) for name in ("bot", "carol", "admin"))]
    ids += [f"tenant:{here.world.tenant}", "path:default"]
    ids += [edge["node"]["id"] for name in ("policyBundles", "apiKeys") for edge in listed["now"][name]["edges"]]
    ids += [vote["id"] for edge in listed["now"]["approvals"]["edges"] for vote in edge["node"]["votes"]]
    kinds = set()
    for object_id in ids:
        found = await explain(here, object_id)
        assert found["id"] == found["node"]["id"] == object_id
        assert {event["position"] for event in found["slice"]["events"]} or found["slice"]["size"] == 0
        kinds.add(found["node"]["__typename"])
    assert kinds >= {"Decision", "Approval", "Vote", "Grant", "Effect", "Principal", "ApiKey", "PolicyBundle", "Tenant"}


async def test_a_consent_is_forced_by_votes(here: GraphWorld) -> None:
    """What a decision with an approval rests on: the people, what they were asked, and that nobody took it back."""
    story = await here.tell()
    found = await explain(here, story.ids["decision:refund:permit"])
    assert types(found) == [
        "principal.registered",
        "policy_bundle.published",
        "policy_bundle.mode_changed",
        "policy.decision_recorded",
        "approval.requested",
        "approval.vote_cast",
        "approval.granted",
        "grant.minted",
    ]
    vote = found["slice"]["events"][5]
    assert vote["actor"] == here.world.id("carol")
    assert vote["without"].startswith("approval required")
    said = {absence["words"].split(" up to")[0] for absence in found["slice"]["absences"]}
    assert any("deprived of the role approver" in words and here.world.id("carol") in words for words in said)
    approved = await explain(here, story.ids["approval"])
    assert {"approval.vote_cast", "principal.registered"} <= set(types(approved))
    assert approved["slice"]["value"]["status"] == "approved"
    cast = next(event for event in approved["slice"]["events"] if event["type"] == "approval.vote_cast")
    assert cast["without"] == "no votes of people who could vote would stand behind it"
    only = await explain(here, story.ids["approval"], fields=["requester"])
    assert types(only) == ["approval.requested"]


async def test_a_role_and_everything_that_became_of_it(here: GraphWorld) -> None:
    """The latest of several that would do, the bundle in force, and who would have made a difference."""
    bundle = await here.world.enforce(ROLES)
    carol, who = here.world.id("carol"), {"subject": {"type": "user", "id": here.world.id("carol")}}
    first = await decided(here, "carol", **who)
    denied = await explain(here, first)
    assert denied["slice"]["outcome"].startswith("deny")
    await check_by_deciding(here, first, denied)
    missing = {tuple(item["tags"]): item for item in denied["slice"]["absences"]}
    role = missing[f"principal:{carol}", "role:operator"]
    assert role["types"] == ["principal.role_granted"]
    assert role["instead"].startswith("permit")
    for name in ("grant_role", "revoke_role", "grant_role"):
        await command(here, name, {"principal_id": carol, "role": "operator"})
        if name == "revoke_role":
            again = await explain(here, await decided(here, "carol", **who))
            revoked = again["slice"]["absences"]
            assert "principal.role_revoked" not in types(again)
            given = next(item for item in revoked if "principal.role_granted" in item["types"])
            # Given and taken: both are named, as it takes both to come to nothing.
            assert (given["after"], len(given["besides"])) == (role["after"], 1)
            assert again["slice"]["settled"] == [given["besides"][0], given["besides"][0] + 1]
            assert "came to nothing" in again["slice"]["text"]
    granted_at = await here.world.position()
    await something_else(here)
    second = await decided(here, "carol", **who)
    permitted = await explain(here, second)
    events = await check_by_deciding(here, second, permitted)
    assert types(permitted) == [
        "policy_bundle.published",
        "policy_bundle.mode_changed",
        "principal.role_granted",
    ]
    assert events[-1].position == granted_at
    assert f"bundle:{bundle}" in events[0].tags
    said = {(tuple(item["types"]), item["after"]) for item in permitted["slice"]["absences"]}
    assert (("principal.role_revoked",), granted_at) in said
    await command(here, "deactivate_principal", {"principal_id": carol, "reason": "left"})
    intent = here.world.intent("admin", subject={"type": "user", "id": carol})
    last = str((await here.world.evaluate(intent, "admin")).json()["context"]["evaluation_id"])
    gone = await explain(here, last)
    await check_by_deciding(here, last, gone)
    assert types(gone)[-1] == "principal.deactivated"
    assert "nobody who left" in gone["slice"]["outcome"]


async def test_no_policy_is_an_absence(here: GraphWorld) -> None:
    """Nothing forces a denial by default: it rests on what did not happen, beside what was undone."""
    bundle = await here.world.enforce(ROLES)
    await command(here, "change_policy_bundle_mode", {"bundle_id": bundle, "mode": "retired", "reason": "none"})
    retired = await here.world.position()
    await something_else(here)
    found = await explain(here, await decided(here))
    assert found["slice"]["events"] == []
    assert found["slice"]["outcome"] == "deny: no policy is in force"
    absence = next(item for item in found["slice"]["absences"] if item["types"] == ["policy_bundle.mode_changed"])
    assert (absence["after"], absence["tags"]) == (0, [])
    assert absence["besides"] == found["slice"]["settled"]
    assert absence["besides"][-1] == retired
    assert absence["words"].startswith("no policy bundle was put in force")


async def test_a_long_bundle_is_needed_in_all_its_parts(here: GraphWorld) -> None:
    """Each piece of its text: without one there is no bundle."""
    many = ROLES + "\n".join(
        f'@id("extra{number}") permit (principal == user::"x{number}", action, resource);' for number in range(700)
    )
    await here.world.enforce(many)
    decision = await decided(here)
    found = await explain(here, decision)
    assert types(found).count("policy_bundle.continued") > 2
    await check_by_deciding(here, decision, found)


async def test_an_object_of_the_estate(here: GraphWorld) -> None:
    """Who said what last; a part of it alone; an earlier moment; by its name, its id and the id of an event."""
    asset = "tool:refund"
    await command(here, "register_asset", {"asset": asset, "facts": {"owner": "rota", "purpose": "one"}})
    registered = await here.world.position()
    for purpose in ("two", "three", "one"):
        await command(here, "change_asset", {"asset": asset, "set": {"purpose": purpose}, "reason": "words"})
    changed = await here.world.position()
    await command(here, "quarantine_asset", {"asset": asset, "reason": "looks odd"})
    quarantined = await here.world.position()
    await command(here, "change_asset", {"asset": asset, "set": {"team": "crm"}, "reason": "theirs"})
    whole = await explain(here, asset)
    assert whole["id"] == "asset:tool:refund"
    positions = [event["position"] for event in whole["slice"]["events"]]
    assert positions == [registered, changed, quarantined, quarantined + 1]
    assert whole["slice"]["candidates"] == 6
    part = await explain(here, f"asset:{asset}", fields=["lifecycle"])
    assert [event["position"] for event in part["slice"]["events"]] == [registered, quarantined]
    assert part["slice"]["value"]["lifecycle"] == "quarantined"
    assert part["slice"]["events"][1]["without"].startswith("lifecycle would be live, not quarantined")
    missing = {name for item in part["slice"]["absences"] for name in item["types"]}
    assert {"asset.released", "asset.retired"} <= missing
    before = await explain(here, asset, at={"position": changed}, fields=["lifecycle"])
    assert types(before) == ["asset.registered"]
    assert {"asset.quarantined"} <= {name for item in before["slice"]["absences"] for name in item["types"]}
    (event,) = await here.world.services.ledger.read(here.world.tenant, after=quarantined - 1, until=quarantined)
    by_event = await explain(here, str(event.id))
    assert by_event["id"] == "asset:tool:refund"
    assert [item["position"] for item in by_event["slice"]["events"]] == positions[:-1]


async def test_whoever_succeeds_others(here: GraphWorld) -> None:
    """What is found under its tag and was another's is named; all around it nothing happened to this one."""
    for version in ("v1", "v2", "v3"):
        await command(here, "register_asset", {"asset": f"tool:{version}", "facts": {}})
    registered = await here.world.position() - 2
    await command(here, "merge_assets", {"survivor": "tool:v1", "merged": "tool:v2"})
    await command(here, "deprecate_asset", {"asset": "tool:v3", "successor": "tool:v1", "reason": "old"})
    last = await here.world.position()
    found = (await explain(here, "tool:v1", fields=["lifecycle"]))["slice"]
    assert [event["position"] for event in found["events"]] == [registered]
    for name in ("asset.deprecated", "asset.merged"):
        (absence,) = (item for item in found["absences"] if name in item["types"])
        assert (absence["after"], absence["until"], absence["besides"]) == (registered, last, [last - 1, last])
        assert absence["words"].endswith(f"up to event {last}, events {last - 1} and {last} aside")
    assert found["settled"] == [last - 1, last]


async def test_a_release_that_is_over_forces_nothing(here: GraphWorld) -> None:
    """What was released and is in quarantine again is there because of the last one alone."""
    asset = "tool:refund"
    await command(here, "register_asset", {"asset": asset, "facts": {}})
    for name in ("quarantine_asset", "release_asset", "quarantine_asset"):
        await command(here, name, {"asset": asset, "reason": "looks odd"})
    found = await explain(here, asset)
    assert types(found) == ["asset.registered", "asset.quarantined"]
    await command(here, "release_asset", {"asset": asset, "reason": "is not"})
    assert types(await explain(here, asset))[-1] == "asset.released"


async def test_relations_and_drifts(here: GraphWorld) -> None:
    """Declared, withdrawn, declared again; pinned, drifted, accepted."""
    for asset in ("agent:support", "tool:refund"):
        await command(here, "register_asset", {"asset": asset, "facts": {}})
    ends = {"source": "agent:support", "relation": "calls", "target": "tool:refund"}
    await command(here, "relate_assets", ends)
    await command(here, "unrelate_assets", ends | {"reason": "no more"})
    await command(here, "relate_assets", ends | {"evidence": "seen in the code"})
    found = await explain(here, "agent:support calls tool:refund", fields=["declared", "evidence"])
    assert types(found) == ["relation.declared"]
    assert found["slice"]["events"][0]["position"] == await here.world.position()
    whole = await explain(here, "agent:support calls tool:refund")
    assert types(whole)[-1] == "relation.declared"
    drift = {
        "asset": "tool:refund",
        "input": "tools",
        "field": "digest",
        "expected": "sha256:" + "a" * 8,
        "found": "sha256:" + "b" * 8,
    }
    await command(here, "detect_drift", drift | {"evidence": "import", "quarantine": False})
    (detected,) = await here.world.log("drift.detected")
    opened = await explain(here, detected.drift_id)
    assert (types(opened), opened["slice"]["value"]["state"]) == (["drift.detected"], "open")
    await command(here, "accept_drift", {"asset": "tool:refund", "drift_id": detected.drift_id, "reason": "meant"})
    assert types(await explain(here, detected.drift_id)) == ["drift.detected", "drift.accepted"]


async def test_a_relation_as_ways_shows_it_after_mergers(here: GraphWorld) -> None:
    """By what its ends are called now, by the one or the other name and under its own id it is the same relation."""
    for asset in ("tool:one", "tool:two", "dataset:one", "dataset:two"):
        await command(here, "register_asset", {"asset": asset, "facts": {}})
    await command(here, "relate_assets", {"source": "tool:two", "relation": "reads", "target": "dataset:two"})
    declared = await here.world.position()
    for kind in ("tool", "dataset"):
        await command(here, "merge_assets", {"survivor": f"{kind}:one", "merged": f"{kind}:two"})
    await here.project()
    document = """{ now { ways(from: "tool:one", to: "dataset:one") {
        paths { relations { id source relation target } } } } }"""
    (path,) = (await here.ask(document, by="admin"))["now"]["ways"]["paths"]
    (shown,) = path["relations"]
    named = f"{shown['source']} {shown['relation']} {shown['target']}".replace("asset:", "")
    assert named == "tool:one reads dataset:one"
    for name in (named, f"relation:{named}", "tool:two reads dataset:one", "tool:two reads dataset:two", shown["id"]):
        found = await explain(here, name)
        assert found["id"] == found["node"]["id"] == shown["id"] == "relation:tool:two reads dataset:two"
        assert [event["position"] for event in found["slice"]["events"]] == [declared]
    # By then the one was not part of the other.
    before = {"id": named, "at": {"position": declared}}
    assert (await here.ask(EXPLAIN, before, by="admin"))["explain"] is None
    for name in ("tool:one calls dataset:one", "tool:one reads", "tool:nine reads dataset:one"):
        assert (await here.ask(EXPLAIN, {"id": name}, by="admin"))["explain"] is None


async def test_a_decision_that_the_estate_forbids(here: GraphWorld) -> None:
    """What quarantine denies is forced by the quarantine, and rests on nobody's having released it."""
    await command(here, "register_asset", {"asset": "tool:refund", "facts": {}})
    await command(here, "quarantine_asset", {"asset": "tool:refund", "reason": "looks odd"})
    await something_else(here)
    decision = await decided(here)
    found = await explain(here, decision)
    assert found["slice"]["outcome"].startswith("deny")
    assert types(found)[-1] == "asset.quarantined"
    released = [item for item in found["slice"]["absences"] if "asset.released" in item["types"]]
    assert released
    assert released[0]["tags"] == ["asset:tool:refund"]
    await check_by_deciding(here, decision, found)


async def test_a_denial_through_a_server_rests_on_what_it_exposes(here: GraphWorld) -> None:
    """Had anybody taken that back, it would be another decision: that nobody did is said."""
    server, asset = "mcp_server:shed", "tool:refund"
    for name in (server, asset):
        await command(here, "register_asset", {"asset": name, "facts": {}})
    await command(here, "relate_assets", {"source": server, "relation": "exposes", "target": asset})
    await command(here, "quarantine_asset", {"asset": server, "reason": "looks odd"})
    await something_else(here)
    found = await explain(here, await decided(here))
    missing = {name for item in found["slice"]["absences"] for name in item["types"]}
    assert {"asset.released", "relation.withdrawn"} <= missing
    assert "relation.declared" in types(found)


async def test_what_was_erased_is_not_replayed(here: GraphWorld) -> None:
    """Without the request there is no slice, and that is what is said; states need no personal data."""
    story = await here.tell()
    assert await here.world.services.ledger.keys.destroy(here.world.tenant, here.world.id("bot"))
    decision = story.ids["decision:refund:permit"]
    found = (await here.ask(EXPLAIN, {"id": decision}))["explain"]["slice"]
    assert found["checked"] == dict.fromkeys(SOUND)
    assert (found["events"], found["absences"]) == ([], [])
    assert "erased" in found["notReplayable"]
    assert found["outcome"].startswith("permit")
    assert "There is no slice" in found["text"]
    assert (await explain(here, story.ids["approval"]))["slice"]["value"]["status"] == "approved"
    assert "sealed" in (await explain(here, here.world.id("bot")))["slice"]["outcome"]


async def test_what_is_not_one_s_own_is_withheld(here: GraphWorld) -> None:
    """An agent hears that its decision was checked, and of its own events; never of people, policy or others' things."""
    story = await here.tell()
    found = await explain(here, story.ids["decision:refund:permit"], by="bot")
    by_type = {event["type"] for event in found["slice"]["events"]}
    assert by_type == {None, "policy.decision_recorded", "approval.requested", "grant.minted"}
    hidden = [event for event in found["slice"]["events"] if event["type"] is None]
    assert all((event["why"], event["without"], event["event"], event["actor"]) == (None,) * 4 for event in hidden)
    assert found["slice"]["withheld"] > 0
    bundles = [event.bundle_id for event in await here.world.log("policy_bundle.published")]
    told = str(found["slice"]["absences"]) + found["slice"]["text"]
    assert not any(secret in told for secret in (f"principal:{here.world.id('carol')}", *bundles))
    for object_id in (story.ids["approval"], story.ids["grant"], here.world.id("carol"), "path:default"):
        assert (await here.ask(EXPLAIN, {"id": object_id}, by="rival"))["explain"] is None


@pytest.mark.parametrize(
    ("object_id", "more", "code"),
    [
        ("dec_" + "0" * 26, {}, None),
        ("tool:nothing", {}, None),
        ("nonsense", {}, None),
        (str(uuid.UUID(int=7)), {}, None),
        ("path:default", {"fields": []}, "invalid_input"),
        ("path:default", {"fields": ["no_such"]}, "invalid_input"),
        ("path:default", {"at": {"position": 99_999}}, "invalid_input"),
        ("path:default", {"at": {"position": 1}}, None),
    ],
)
async def test_what_cannot_be_explained_says_so(
    here: GraphWorld, object_id: str, more: dict[str, Any], code: str | None
) -> None:
    """Unknown is null; what is wrong with a question is a typed error."""
    variables = {"id": object_id, **more}
    if code is None:
        assert (await here.ask(EXPLAIN, variables))["explain"] is None
    else:
        assert await here.codes(EXPLAIN, variables) == [code]


async def test_a_decision_has_no_fields(here: GraphWorld) -> None:
    """It is explained as a whole; and before it was made there is none."""
    decision = await decided(here)
    assert await here.codes(EXPLAIN, {"id": decision, "fields": ["outcome"]}) == ["invalid_input"]
    position = await here.world.position()
    assert (await here.ask(EXPLAIN, {"id": decision, "at": {"position": position - 1}}))["explain"] is None
    assert (await explain(here, decision, at={"position": position}))["id"] == decision
