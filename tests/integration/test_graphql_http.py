"""GraphQL on the wire: POST alone, bounded, discreet. Serves DC-06, S0-120; RELIABILITY 3.6, G16."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from graphql import get_introspection_query
from graphql_world import GraphWorld, graph_world

from quarterdeck_graphql import service
from quarterdeck_graphql.persisted import digest, operations
from quarterdeck_ledger.errors import Unavailable

GRAPHQL = "application/graphql-response+json"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GraphWorld]:
    """A world. These tests only read."""
    directory: Path = tmp_path_factory.mktemp("house")
    async with graph_world(module_database, directory, graphql_introspection=True) as made:
        await made.project()
        yield made


def code_of(answer: Any) -> str:
    """Return the code of the one error."""
    (error,) = answer.json()["errors"]
    found: str = error["extensions"]["code"]
    return found


async def test_only_post_with_json_is_answered(here: GraphWorld) -> None:
    """No GET, no form, no upload, no page, no batch; each refused as what it is."""
    client, headers = here.world.client, here.world.auth("ann")
    body = b'{"query":"{now{position}}"}'
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        accepting = headers | {"Accept": "text/html"}
        answer = await client.request(method, "/graphql?query={now{position}}", headers=accepting)
        assert answer.status_code == 405
        assert "<html" not in answer.text
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x", ""):
        answer = await client.post("/graphql", content=body, headers=headers | {"Content-Type": kind})
        assert answer.status_code == 415
    batch = await here.post([{"query": "{now{position}}"}])
    assert (batch.status_code, code_of(batch)) == (400, "invalid_input")
    json_in_utf8 = {"Content-Type": "application/json; charset=utf-8"}
    fine = await client.post("/graphql", content=body, headers=headers | json_in_utf8)
    assert fine.status_code == 200
    assert fine.headers["cache-control"] == "no-store"


async def test_the_media_type_is_the_one_that_was_asked_for(here: GraphWorld) -> None:
    """`application/graphql-response+json` tells a refused request by its status; `application/json` is always 200."""
    for accept, good, bad in ((GRAPHQL, 200, 400), ("application/json", 200, 200), ("*/*", 200, 200)):
        wanted = GRAPHQL if accept == GRAPHQL else "application/json"
        answer = await here.post({"query": "{now{position}}"}, accept=accept)
        assert (answer.status_code, answer.headers["content-type"]) == (good, f"{wanted}; charset=utf-8")
        answer = await here.post({"query": "{nonsense}"}, accept=accept)
        assert (answer.status_code, answer.headers["content-type"]) == (bad, f"{wanted}; charset=utf-8")
        assert "data" not in answer.json()
        answer = await here.post({"query": "{at(position:99999){position}}"}, accept=accept)
        assert answer.status_code == 200
        assert answer.json()["data"] is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'"{now{position}}"',
        b'{"query":5}',
        b'{"query":""}',
        b'{"query":null}',
        b'{"query":"{now{position}}","variables":[]}',
        b'{"query":"{now{position}}","variables":"{}"}',
        b'{"query":"{now{position}}","operationName":7}',
        b'{"query":"{now{position}}","documentId":"OpenApprovals"}',
        b'{"documentId":"../../etc/passwd"}',
        b'{"query":"subscription{timeline{position}}"}',
        b'{"query":"{now{position}}","operationName":"nobody"}',
        b'{"query":"query a{now{position}} query b{now{position}}"}',
        b'{"query":"\\ud800"}',
        b"[" * 30_000,
        b'{"variables":' + b'{"a":' * 10_000,
        b"\xff\xfe",
    ],
)
async def test_a_body_that_is_no_request_is_refused(here: GraphWorld, body: bytes) -> None:
    """Typed, at once, whatever it is."""
    headers = here.world.auth("ann") | {"Content-Type": "application/json", "Accept": GRAPHQL}
    answer = await here.world.client.post("/graphql", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert code_of(answer) in ("invalid_input", "unknown_document", "invalid_request")


async def test_a_long_body_is_not_read(here: GraphWorld) -> None:
    """64 KiB, whatever is in it."""
    answer = await here.post({"query": "{now{position}}", "extensions": {"pad": "x" * 70_000}})
    assert answer.status_code == 413
    assert (await here.post({"query": "{now{position}}", "extensions": {"pad": "x" * 60_000}})).status_code == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{now{" * 11 + "position" + "}}" * 11, "invalid_request"),
        ("{a:now{position}" + "".join(f" a{i}:now{{position}}" for i in range(15)) + "}", "too_many_aliases"),
        ("{" + "now " * 1_001 + "}", "invalid_request"),
        ("{now{approvals(first:100){edges{node{votes{id}}}}}}", "too_costly"),
        ("{now{approvals(first:101){edges{node{id}}}}}", "invalid_input"),
        ("{now{approvals(first:" + "9" * 5_000 + "){edges{node{id}}}}}", "invalid_request"),
        ("{now(atLeast:" + "[" * 450 + "1" + "]" * 450 + "){position}}", "invalid_request"),
        ("{now{position " + "@include(if:true)" * 100 + "}}", "invalid_request"),
    ],
)
async def test_what_asks_for_too_much_is_refused(here: GraphWorld, query: str, code: str) -> None:
    """Before anything is resolved; the same again when it was cached."""
    for _ in range(2):
        answer = await here.post({"query": query})
        codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
        assert codes == {code}, answer.text[:300]


async def test_a_document_as_deep_as_allowed_is_answered_and_one_deeper_is_not(here: GraphWorld) -> None:
    """Ten fields below each other."""
    inner = "approval{grant{approval{id}}}"
    deep = "{now{decisions(first:1){edges{node{approval{grant{approval{grant{%s}}}}}}}}}"
    assert (await here.post({"query": deep % "id"})).json().keys() == {"data"}
    refused = await here.post({"query": deep % inner})
    assert code_of(refused) == "too_deep"
    assert refused.json()["errors"][0]["extensions"]["limit"] == 10


async def test_names_are_not_guessed_for_the_asker(here: GraphWorld) -> None:
    """Neither fields nor arguments, types, values or variables are suggested."""
    for query in (
        "{nwo{position}}",
        "{now(atLest:1){position}}",
        "{now{...on Recrd{position}}}",
        "{now{approvals(first:1,order:NEWEST_FIRS){edges{cursor}}}}",
        "query($fist:Int!){now{approvals(first:$first){edges{cursor}}}}",
        "mutation{castVot(input:{}){__typename}}",
        '{node(id:"x"){...on Approvl{id}}}',
    ):
        answer = await here.post({"query": query})
        assert answer.json()["errors"]
        assert "Did you mean" not in answer.text


async def test_introspection_is_a_switch(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """On, the schema may be asked for; off, as it is where nobody says, it may not, and everything else is answered."""
    for allowed in (True, False, None):
        async with graph_world(migrated_database(), tmp_path / str(allowed), graphql_introspection=allowed) as here:
            await here.project()
            answer = await here.post({"query": '{__schema{queryType{name}} __type(name:"Record"){name}}'})
            assert ("errors" not in answer.json()) == bool(allowed)
            assert (await here.post({"query": "{now{__typename position}}"})).json().keys() == {"data"}


async def test_a_circular_question_about_the_schema_is_refused(here: GraphWorld) -> None:
    """Introspection is no way round the limits."""
    query = "{__schema{types{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}"
    assert code_of(await here.post({"query": query})) == "invalid_request"


@pytest.mark.parametrize(
    "query",
    [
        "{a:__schema{types{name}} b:__schema{types{name}}}",
        '{__type(name:"Record"){name} b:__type(name:"Query"){name}}',
        "{...f ...g} fragment f on Query{__schema{types{name}}} fragment g on Query{b:__schema{types{name}}}",
        "{__schema{types{name} b:types{name}}}",
    ],
)
async def test_the_schema_is_asked_for_once(here: GraphWorld, query: str) -> None:
    """Not fifteen times in an answer of megabytes."""
    assert code_of(await here.post({"query": query})) == "too_costly"


async def test_tools_may_ask_for_the_whole_schema(here: GraphWorld) -> None:
    """With the question that they all ask."""
    answer = await here.post({"query": get_introspection_query()})
    assert answer.json().keys() == {"data"}


async def test_a_document_full_of_mistakes_is_told_a_few(here: GraphWorld) -> None:
    """And then that there are more."""
    answer = await here.post({"query": "{now{" + " ".join(f"nothing{i}" for i in range(300)) + "}}"})
    errors = answer.json()["errors"]
    assert len(errors) == 6
    assert {error["extensions"]["code"] for error in errors} == {"invalid_request"}


@pytest.mark.parametrize(
    "query",
    [
        "query($n:Int=5){now{principals(first:$n){edges{node{id}}}}}",
        "query($n:Order=NEWEST_FIRST){now{principals(first:1,order:$n){edges{node{id}}}}}",
        'query($n:String="a"){timeline(first:1,filter:{tags:[$n]}){edges{cursor}}}',
        "query($n:Boolean=true){now{position @skip(if:$n)}}",
        "query($n:Boolean=true){now @include(if:$n){position}}",
    ],
)
async def test_a_null_where_none_may_be_is_the_caller_s(
    here: GraphWorld, capsys: pytest.CaptureFixture[str], query: str
) -> None:
    """A variable with a default may be null, its place may not: told as what it is, and nobody's log has it."""
    assert code_of(await here.post({"query": query, "variables": {"n": None}})) == "invalid_request"
    assert (await here.post({"query": query})).json().keys() == {"data"}
    assert "graphql field failed" not in capsys.readouterr().out


async def test_a_question_during_an_outage_is_told_to_come_again(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no idempotency key to repeat."""
    reader: Any = here.world.services.reader

    async def away(*_: object) -> int:
        raise Unavailable("PostgreSQL does not answer: postgresql://db.internal")

    monkeypatch.setattr(type(reader), "projected", away)
    answer = await here.post({"query": "{now{position}}"})
    assert code_of(answer) == "unavailable"
    assert answer.json()["errors"][0]["message"] == "a part that is needed does not answer; ask again later"


async def test_time_runs_from_the_arrival(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from when it was known who asks: what came in time and was held up is given up before it is begun."""
    loop = asyncio.get_running_loop()
    authenticator: Any = here.world.services.authenticator
    reader: Any = here.world.services.reader
    recognise = type(authenticator).of_connection
    asked: list[float] = []
    arrivals: list[float] = []

    async def noted(self: Any, connection: Any) -> Any:
        asked.append(loop.time())
        return await recognise(self, connection)

    async def held_up(*arguments: Any, arrived: float, **options: Any) -> Any:
        arrivals.append(arrived)
        return await service.answer(*arguments, arrived=arrived - service.DEADLINE_S, **options)

    async def reached(*_: object) -> int:
        raise AssertionError("it was begun")

    with monkeypatch.context() as patched:
        patched.setattr(type(authenticator), "of_connection", noted)
        patched.setattr("quarterdeck_api.graphql_mount.answer", held_up)
        patched.setattr(type(reader), "projected", reached)
        answer = await here.post({"query": "{now{position}}"})
    assert (answer.status_code, code_of(answer)) == (504, "timed_out")
    assert arrivals[0] <= asked[0]


async def test_what_went_wrong_inside_stays_inside(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer says where, never what; the operator's log has it."""
    reader: Any = here.world.services.reader

    async def fail(*_: object) -> int:
        raise RuntimeError("postgresql://quarterdeck:hunter2@db.internal/quarterdeck")

    monkeypatch.setattr(type(reader), "projected", fail)
    answer = await here.post({"query": "{now{position} log{verifierKeys}}"})
    assert (answer.status_code, code_of(answer)) == (200, "internal")
    assert answer.json()["errors"][0]["path"] == ["now"]
    assert "hunter2" not in answer.text
    assert "db.internal" not in answer.text
    assert "graphql field failed" in capsys.readouterr().out


async def test_a_late_answer_is_given_up(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline, with a code that says so; the connection to the database is given back."""
    reader: Any = here.world.services.reader
    reached = asyncio.Event()

    async def never(*_: object) -> int:
        reached.set()
        await asyncio.Event().wait()
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(type(reader), "projected", never)
        patched.setattr(service.answer, "__kwdefaults__", {"accept": "", "deadline_s": 0.05})
        answer = await here.post({"query": "{now{position}}"})
    assert reached.is_set()
    assert (answer.status_code, code_of(answer)) == (504, "timed_out")
    assert (await here.post({"query": "{now{position}}"})).status_code == 200


@pytest.mark.parametrize("name", ["OpenApprovals", "WhoHoldsWhichRole"])
async def test_a_saved_operation_is_asked_by_its_name_or_digest(here: GraphWorld, name: str) -> None:
    """The same answer as by its text."""
    text = operations()[name]
    by_text = await here.post({"query": text})
    for document_id in (name, digest(text)):
        answer = await here.post({"documentId": document_id})
        assert answer.json() == by_text.json()
    assert "data" in by_text.json()
    assert code_of(await here.post({"documentId": "sha256:" + "0" * 64})) == "unknown_document"
