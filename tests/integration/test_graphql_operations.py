"""The questions people ask: every saved operation and every query of the guide is asked, and the answer looked at.

Serves DC-06, S0-120, C08.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from graphql import OperationDefinitionNode, OperationType, parse
from graphql_world import GraphWorld, Story, graph_world

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.graphql_mount import context_of
from quarterdeck_graphql.persisted import operations
from quarterdeck_graphql.schema import build_schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUIDE: Final = Path(__file__).parents[2] / "docs" / "graphql.md"
QUESTIONS: Final = Path(__file__).with_name("test_saved_questions.py")
BLOCKS: Final = re.findall(r"^```graphql\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(
    module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[GraphWorld, Story]]:
    """A world in which something happened."""
    directory: Path = tmp_path_factory.mktemp("house")
    async with graph_world(module_database, directory) as made:
        yield made, await made.tell()


class Asker:
    """Asks the saved operations."""

    def __init__(self, here: GraphWorld, story: Story) -> None:
        self.here, self.story, self.id = here, story, story.ids

    async def __call__(self, name: str, by: str = "ann", **variables: Any) -> dict[str, Any]:
        """Return the data of a saved operation."""
        await self.here.project()
        answer = (await self.here.post({"documentId": name, "variables": variables}, by)).json()
        assert "errors" not in answer, answer["errors"]
        found: dict[str, Any] = answer["data"]
        return found

    async def time_of(self, position: int) -> str:
        """Return when an event was recorded."""
        found = await self.here.ask("query($p: Position!) { at(position: $p) { recordedAt } }", {"p": position})
        moment: str = found["at"]["recordedAt"]
        return moment


@pytest.fixture
def ask(there: tuple[GraphWorld, Story]) -> Asker:
    """Somebody who asks."""
    return Asker(*there)


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a connection."""
    return [edge["node"] for edge in connection["edges"]]


async def test_who_approved(ask: Asker) -> None:
    """Carol; and dave refused another, and said why."""
    found = (await ask("WhoApproved", approval=ask.id["approval"]))["node"]
    assert found["status"] == "APPROVED"
    assert [(vote["verdict"], vote["approver"]["displayName"]) for vote in found["votes"]] == [("APPROVE", "carol")]
    assert found["requester"]["displayName"] == "bot"
    assert found["requester"]["owner"]["displayName"] == "Ada"
    assert set(found["excluded"]) >= {ask.here.world.id("bot"), ask.here.world.id("admin")}
    refused = (await ask("WhoApproved", approval=ask.id["refused"]))["node"]
    assert [(vote["verdict"], vote["comment"]) for vote in refused["votes"]] == [("DENY", "too much")]


async def test_what_was_true(ask: Asker) -> None:
    """After the one was approved, before the next was asked for: nothing waited, one bundle decided."""
    found = (await ask("WhatWasTrue", time=await ask.time_of(ask.story.positions["approved"])))["at"]
    assert found["position"] == ask.story.positions["approved"]
    assert found["approvals"]["edges"] == []
    assert [node["mode"] for node in nodes(found["policyBundles"])] == ["ENFORCED"]
    assert {node["displayName"] for node in nodes(found["principals"])} >= {"Ada", "carol", "bot"}


async def test_who_holds_which_role(ask: Asker) -> None:
    """Which agents hold which roles."""
    found = (await ask("WhoHoldsWhichRole", kind=["AGENT"]))["now"]["principals"]
    assert {(node["displayName"], tuple(node["roles"])) for node in nodes(found)} == {
        ("bot", ("AGENT",)),
        ("rival", ("AGENT",)),
    }
    auditors = (await ask("WhoHoldsWhichRole", roles=["AUDITOR"]))["now"]["principals"]
    assert [node["displayName"] for node in nodes(auditors)] == ["ann"]


async def test_who_could_approve(ask: Asker) -> None:
    """The approvers of then: nobody before they were registered."""
    late = (await ask("WhoCouldApprove", time=await ask.time_of(ask.story.positions["approved"])))["at"]
    assert [node["displayName"] for node in nodes(late["principals"])] == ["carol", "dave"]
    early = (await ask("WhoCouldApprove", time=await ask.time_of(2)))["at"]
    assert nodes(early["principals"]) == []


async def test_which_keys_opened(ask: Asker) -> None:
    """Each person's and agent's, with whose it is."""
    now = await ask.time_of(ask.story.positions["redeemed"])
    found = (await ask("WhichKeysOpened", time=now, principal=[ask.here.world.id("bot")]))["at"]["apiKeys"]
    (key,) = nodes(found)
    assert (key["state"], key["purpose"], key["principal"]["displayName"]) == ("ACTIVE", "API", "bot")
    assert key["issuedByKey"] is None


async def test_what_did_they_ask(ask: Asker) -> None:
    """Newest first: the wipe that was denied, the refunds; then nothing from before."""
    bot = ask.here.world.id("bot")
    found = nodes((await ask("WhatDidTheyAsk", principal=bot))["timeline"])
    assert found[0]["data"]["action"] == "wipe"
    assert [node["type"] for node in found].count("approval.requested") == 2
    start = await ask.time_of(1)
    before = await ask("WhatDidTheyAsk", principal=bot, to=start)
    assert before["timeline"]["edges"] == []


async def test_open_approvals(ask: Asker) -> None:
    """The one that waits."""
    found = nodes((await ask("OpenApprovals"))["now"]["approvals"])
    assert [node["id"] for node in found] == [ask.id["waiting"]]
    assert json.loads(found[0]["request"])["resource"]["id"] == "99"
    assert found[0]["requester"]["displayName"] == "rival"


async def test_decisions_denied(ask: Asker) -> None:
    """The wipe, and the policy that forbade it."""
    found = nodes((await ask("DecisionsDenied"))["now"]["decisions"])
    assert [(node["action"], node["determining"]) for node in found] == [("wipe", ["no.wipe"])]
    assert found[0]["reason"] == "nobody wipes"
    none = await ask("DecisionsDenied", requester=[ask.here.world.id("rival")])
    assert none["now"]["decisions"]["edges"] == []


async def test_story_of_approval(ask: Asker) -> None:
    """Event by event, and where it stands."""
    found = await ask("StoryOfApproval", approval=ask.id["approval"])
    assert [node["type"] for node in nodes(found["timeline"])] == [
        "approval.requested",
        "approval.vote_cast",
        "approval.granted",
        "grant.minted",
        "policy.decision_recorded",
        "grant.redeemed",
    ]
    assert found["node"]["grant"]["effect"]["id"] == ask.id["effect"]


async def test_explain_decision(ask: Asker) -> None:
    """The request, the rule, the people; and the same again."""
    found = (await ask("ExplainDecision", decision=ask.id["decision:refund:approval_required"]))["explain"]
    assert found["redecided"]["same"] is True
    assert found["policies"][0]["id"] == "ask.refund"
    assert found["approval"]["votes"][0]["approver"]["displayName"] == "carol"


async def test_why_is_it_so(ask: Asker) -> None:
    """Of a decision and of what came of it: by few events, everything checked, the same words again."""
    for object_id, fields in ((ask.id["decision:wipe:deny"], None), (ask.id["grant"], ["state"])):
        found = (await ask("WhyIsItSo", id=object_id, fields=fields))["explain"]
        assert set(found["slice"]["checked"].values()) == {True}
        assert (
            found["slice"]["text"] == (await ask("WhyIsItSo", id=object_id, fields=fields))["explain"]["slice"]["text"]
        )
    assert [event["type"] for event in found["slice"]["events"]] == ["grant.minted", "grant.redeemed"]


async def test_what_changed(ask: Asker) -> None:
    """Between two moments, by position and by time the same."""
    low, high = ask.story.positions["approved"], ask.story.positions["redeemed"]
    by_position = await ask("WhatChanged", **{"from": {"position": low}, "to": {"position": high}})
    times = {"from": {"time": await ask.time_of(low)}, "to": {"time": await ask.time_of(high)}}
    assert await ask("WhatChanged", **times) == by_position
    kinds = [node["objectKind"] for node in nodes(by_position["diff"]["changes"])]
    assert kinds == ["DECISION", "GRANT", "EFFECT"]
    only = await ask("WhatChanged", **times, kinds=["GRANT"])
    assert [node["objectId"] for node in nodes(only["diff"]["changes"])] == [ask.id["grant"]]


async def test_policy_in_force(ask: Asker) -> None:
    """Word for word; nothing before there was any."""
    found = (await ask("PolicyInForce", time=await ask.time_of(ask.story.positions["approved"])))["at"]
    (bundle,) = nodes(found["policyBundles"])
    assert '@id("no.wipe")' in bundle["text"]["policies"]
    early = (await ask("PolicyInForce", time=await ask.time_of(2)))["at"]
    assert nodes(early["policyBundles"]) == []


async def test_what_needs_a_person(ask: Asker) -> None:
    """Nothing, until an effect's end is not known."""
    assert nodes((await ask("WhatNeedsAPerson"))["now"]["effects"]) == []
    report = await ask.here.world.api.command(
        "report_effect", {"effect_id": ask.id["effect"], "outcome": "unknown"}, by=(ask.here.world.tenant, "bot")
    )
    assert report.status_code == 200, report.text
    found = nodes((await ask("WhatNeedsAPerson"))["now"]["effects"])
    assert [(node["id"], node["outcome"]) for node in found] == [(ask.id["effect"], "UNKNOWN")]


async def test_prove_event(ask: Asker) -> None:
    """Proofs against the checkpoint in the same answer (what they prove is verified in `test_graphql_record.py`)."""
    found = (await ask("ProveEvent", position=7, held=20))["log"]
    assert found["inclusionProof"]["rootHash"] == found["checkpoint"]["rootHash"]
    assert found["consistencyProof"]["toRootHash"] == found["checkpoint"]["rootHash"]


SAVED: Final = {name.removeprefix("test_") for name in list(globals()) if name.startswith("test_")} | {
    *re.findall(r"^async def test_(w\w+|how_\w+|is_\w+|do_\w+|replay_\w+)\(", QUESTIONS.read_text(), re.MULTILINE),
    "cast_vote",
    "watch_timeline",
    "replay",
}


async def test_every_saved_operation_is_asked() -> None:
    """Here, and those about the estate in `test_saved_questions.py`; the vote in `test_graphql_commands.py`, the streams
    below and in `test_graphql_subscriptions.py`."""
    words = {re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=A)(?=[A-Z][a-z])", "_", name).lower() for name in operations()}
    assert words == SAVED


def variables_of(text: str, ask: Asker, time: str) -> dict[str, Any]:
    """Return the variables of a query of the guide, by their names."""
    known: dict[str, Any] = {
        "approval": ask.id["approval"],
        "before": ask.story.positions["before"],
        "time": time,
        "from": time,
        "after": None,
        "principal": ask.here.world.id("bot"),
        "decision": ask.id["decision:refund:approval_required"],
        "position": 7,
        "input": {"kind": "AGENT", "displayName": "scout", "owner": ask.here.world.id("admin"), "roles": ["AGENT"]},
    }
    return {name: known[name] for name in set(re.findall(r"\$(\w+):", text))}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_a_query_of_the_guide_is_answered(ask: Asker, number: int) -> None:
    """With something in it, and without an error."""
    text = BLOCKS[number]
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    variables = variables_of(text, ask, await ask.time_of(ask.story.positions["approved"]))
    if operation.operation is OperationType.SUBSCRIPTION:
        context = _context(ask)
        stream = await build_schema(introspection=False).subscribe(
            text, variable_values=variables | {"after": 0} if "after" in variables else variables, context_value=context
        )
        first = await anext(stream)
        await stream.aclose()
        assert first.errors is None
        assert first.data
        return
    by = "admin" if operation.operation is OperationType.MUTATION else "ann"
    async with _following(ask.here):
        data = await ask.here.ask(text, variables, by)
    assert _holds_something(data), data


def _context(ask: Asker) -> Any:
    caller = Caller(
        tenant=ask.here.world.tenant, actor=ask.here.world.actor("ann", "human"), roles=frozenset({"auditor"})
    )
    context = context_of(ask.here.world.services, caller)

    async def valid() -> bool:
        return True

    context.still_valid = valid
    return context


@contextlib.asynccontextmanager
async def _following(here: GraphWorld) -> AsyncIterator[None]:
    """Keep the read models current meanwhile."""
    task = asyncio.create_task(here.projector.follow(here.world.tenant))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _holds_something(data: Any) -> bool:
    """Tell whether an answer has a value that is neither null nor empty, and no list of it is empty by accident."""
    if isinstance(data, dict):
        return any(_holds_something(value) for value in data.values())
    if isinstance(data, list):
        return bool(data)
    return data is not None


async def test_the_guide_names_every_saved_operation() -> None:
    """Nobody looks for what they do not know of."""
    table = GUIDE.read_text()
    assert [name for name in operations() if f"`{name}`" not in table] == []
    assert len(BLOCKS) >= 11
