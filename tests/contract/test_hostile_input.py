"""Every field of every operation with what does not belong there: a typed refusal, and nothing recorded.

The table is made from our own OpenAPI and GraphQL descriptions, so a new operation is in it by being described.
Serves DC-05, DC-08, S0-120; threats T16, T18.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from access_world import World
from graphql import GraphQLInputObjectType, build_schema, get_named_type, is_list_type, is_non_null_type
from graphql_world import graph_world

from quarterdeck_api.app import create_app
from quarterdeck_graphql.schema import schema_text

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

UNLIMITED: Final = {"rate_per_s": 1e9, "rate_burst": 10**9, "failed_sign_ins_per_minute": 1e9}
ENDS_THE_RUN: Final = ("close_tenant", "sign-out", "deactivate", "erase", "revoke", "sign-in")
HUGE: Final = 10 * 2**20
OTLP: Final = "/v1/traces"
"""Has a wire of its own, which ignores what it does not know and answers a google.rpc.Status: `test_traces_door.py`."""

JSON_TEXTS: Final[Mapping[str, str]] = {
    "ten megabytes": json.dumps("x" * HUGE),
    "sixty thousand": json.dumps("x" * 60_000),
    "NUL": '"a\\u0000b"',
    "lone surrogate": '"\\ud800"',
    "reversed surrogates": '"\\udc00\\ud800"',
    "right to left": json.dumps("\u202egnp.exe\u2066"),
    "byte order mark": json.dumps("\ufeffx"),
    "combining": json.dumps("a" + "\u0301" * 2_000),
    "empty": '""',
    "blank": '" \\t\\n"',
    "injection": json.dumps("'; DROP TABLE events; -- ${jndi:ldap://x} {{7*7}} <script>"),
    "path": json.dumps("../../etc/passwd\r\nX-Other: 1"),
    "1e400": "1e400",
    "minus zero": "-0",
    "2 to the 64": str(2**64),
    "many digits": "9" * 5_000,
    "fraction": "0.1",
    "NaN": "NaN",
    "infinity": "-Infinity",
    "true": "true",
    "null": "null",
    "list": '[[],{},"x",1]',
    "object": '{"__proto__":{"a":1},"$ref":"#"}',
    "doubled keys": '{"a":1,"a":2}',
    "deep lists": "[" * 10_000 + "]" * 10_000,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
}
NOT_JSON: Final = frozenset({"NaN", "infinity", "1e400"})

RAW: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "not utf-8": b'{"a":"\xff\xfe"}',
    "overlong utf-8": b'{"a":"\xc0\x80"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "unfinished": b'{"a":',
    "doubled keys": b'{"a":1,"a":2}',
    "two values": b"{} {}",
    "a comment": b"{/* */}",
    "single quotes": b"{'a':1}",
    "NaN": b'{"a":NaN}',
    "infinite": b'{"a":1e400}',
    "deep": b"[" * 10_000,
    "deep and whole": b"[" * 10_000 + b"]" * 10_000,
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "ten megabytes": b'{"a":"' + b"x" * HUGE + b'"}',
}
"""Bodies that no operation takes, whatever it takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A furnished tenant."""
    async with graph_world(module_database, tmp_path_factory.mktemp("house"), **UNLIMITED) as made:
        await made.project()
        projecting = asyncio.create_task(made.projector.run())
        try:
            yield made.world
        finally:
            projecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await projecting


class Operation:
    """One operation of the OpenAPI document."""

    def __init__(self, document: Mapping[str, Any], method: str, path: str, described: Mapping[str, Any]) -> None:
        self.document, self.method, self.path, self.described = document, method, path, described
        self.statuses = {int(status) for status in described["responses"]}

    def body(self) -> Mapping[str, Any] | None:
        """Return the schema of its JSON body, if it takes one."""
        content = self.described.get("requestBody", {}).get("content", {})
        return self.resolved(content["application/json"]["schema"]) if "application/json" in content else None

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema without the references and choices at its top."""
        while True:
            if "$ref" in schema:
                schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            elif "anyOf" in schema or "oneOf" in schema:
                choices = schema.get("anyOf") or schema["oneOf"]
                schema = next(item for item in choices if item.get("type") != "null")
            else:
                return schema

    def places(self, schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Yield every field of a body, nested ones too."""
        for name, below in schema.get("properties", {}).items():
            yield (*path, name)
            if len(path) < 3:
                yield from self.places(self.resolved(below), (*path, name))

    def sample(self, schema: Mapping[str, Any], ids: Mapping[str, str], name: str = "") -> Any:
        """Return a plausible value."""
        schema = self.resolved(schema)
        if "const" in schema or "enum" in schema:
            return schema.get("const", next(iter(schema.get("enum", [None]))))
        kind = schema.get("type", "object")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return {key: self.sample(below, ids, key) for key, below in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.sample(schema.get("items", {"type": "string"}), ids, name)]
        if kind == "string":
            return ids.get(name, "x" * max(1, schema.get("minLength", 1)))
        return {"integer": schema.get("minimum", 1), "number": 1, "boolean": True}.get(kind)


def operations(here: World) -> list[Operation]:
    """Return the operations that can be tried without ending the run."""
    document = create_app(here.services).openapi()
    return [
        Operation(document, method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
        if path != OTLP and not any(word in path for word in ENDS_THE_RUN)
    ]


def filled(template: Any, place: tuple[str, ...], text: str) -> bytes:
    """Return a body with a JSON text put at a place, verbatim."""
    marker = "\u0001here\u0001"
    inner = template
    for name in place[:-1]:
        inner = inner.setdefault(name, {})
    kept = inner.get(place[-1])
    inner[place[-1]] = marker
    body = json.dumps(template).replace(json.dumps(marker), text)
    inner[place[-1]] = kept
    return body.encode()


def checked(operation: Operation, answer: httpx.Response, what: object) -> None:
    """An answer is one that the operation documents, and a refusal is a problem with a code and without a trace."""
    told = (operation.method, operation.path, what, answer.status_code, answer.text[:300])
    assert answer.status_code < 500, told
    assert answer.status_code in operation.statuses | {404, 405, 413, 415}, told
    for word in ("Traceback", "asyncpg", "msgspec", "pydantic", "SELECT ", 'File "'):
        assert word not in answer.text, told
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json"), told
        found = answer.json()
        assert found["type"].startswith("urn:"), told
        assert found["type"] != "urn:quarterdeck:problem:internal", told
        assert found["status"] == answer.status_code, told
        assert len(answer.content) < 8_192, told


async def head(here: World) -> int:
    """Return the length of the log."""
    position: int = (await here.services.ledger.head(here.tenant)).position
    return position


def address(operation: Operation, value: str = "x") -> str:
    """Return a path with something in the place of each name."""
    path = operation.path
    for parameter in operation.described.get("parameters", ()):
        path = path.replace("{" + parameter["name"] + "}", value)
    return path


async def test_bodies_that_are_no_json_are_refused_everywhere(here: World) -> None:
    """Whatever the operation, before it begins; compressed bodies and other media types too."""
    before = await head(here)
    for operation in operations(here):
        if operation.body() is None:
            continue
        headers = here.auth("admin") | {"Content-Type": "application/json"}
        for what, body in RAW.items():
            if what == "nothing" and "/cancel" in operation.path:
                continue  # its body may be left out
            answer = await here.client.request(operation.method, address(operation), content=body, headers=headers)
            assert 400 <= answer.status_code < 500, (operation.path, what, answer.text[:200])
            checked(operation, answer, what)
        bomb = gzip.compress(b"{" + b" " * HUGE + b"}")
        answer = await here.client.request(
            operation.method, address(operation), content=bomb, headers=headers | {"Content-Encoding": "gzip"}
        )
        assert 400 <= answer.status_code < 500
        checked(operation, answer, "gzip")
        for media in ("text/plain", "multipart/form-data; boundary=x", "é"):
            given = headers | {"Content-Type": media.encode()}
            answer = await here.client.request(operation.method, address(operation), content=b"{}", headers=given)
            assert 400 <= answer.status_code < 500, (operation.path, media)
            checked(operation, answer, media)
    assert await head(here) == before


async def test_every_field_with_every_hostile_value(here: World) -> None:
    """A refusal moves nothing; what is taken after all is an answer that the operation documents."""
    ids = {"principal_id": here.id("admin"), "owner": here.id("admin")}
    tried = 0
    position = await head(here)
    headers = here.auth("admin") | {"Content-Type": "application/json"}
    for operation in operations(here):
        schema = operation.body()
        if schema is None:
            continue
        template = operation.sample(schema, ids)
        places = [*operation.places(schema), ("unheard_of",)]
        for place in places:
            for what, text in JSON_TEXTS.items():
                if what == "ten megabytes" and place != places[0]:
                    continue  # cut off at the door, before anybody looks for a field
                answer = await here.client.request(
                    operation.method, address(operation), content=filled(template, place, text), headers=headers
                )
                tried += 1
                checked(operation, answer, (place, what))
                if what in NOT_JSON:
                    assert answer.status_code >= 400, (operation.path, place, what)
                if answer.status_code >= 400:
                    assert await head(here) == position, (operation.path, place, what)
                else:
                    position = await head(here)
    assert tried > 1_000


HOSTILE_TEXTS: Final = (
    "",
    "%00",
    "%FF%FE",
    "%ED%A0%80",
    "%E2%80%AE",
    "-0",
    "1e400",
    "NaN",
    str(2**64),
    "-1",
    "9" * 5_000,
    "x" * 7_000,
    "..%2F..%2Fetc%2Fpasswd",
    "%27%3B--",
    "%0d%0aX-Other:1",
    "true",
    "[]",
    "a%20b",
)


async def test_paths_and_query_strings(here: World) -> None:
    """Each name of each path and query, and names that nobody knows, with what is no value of theirs."""
    before = await head(here)
    for operation in operations(here):
        if operation.method != "get":
            continue
        parameters = operation.described.get("parameters", ())
        for value in HOSTILE_TEXTS:
            for parameter in parameters:
                if parameter["in"] == "path":
                    url = address(operation, value or "%20")
                elif parameter["in"] == "query":
                    url = f"{address(operation)}?{parameter['name']}={value}&{parameter['name']}={value}"
                else:
                    continue
                answer = await here.client.get(url, headers=here.auth("admin"))
                checked(operation, answer, (parameter["name"], value[:40]))
            answer = await here.client.get(f"{address(operation)}?{value}={value}", headers=here.auth("admin"))
            checked(operation, answer, value[:40])
    assert await head(here) == before


HOSTILE_HEADERS: Final = (
    b"",
    b" ",
    b"\xff\xfe",
    b"x" * 300,
    b"x" * 20_000,
    b"\x00",
    b"\t",
    "\u202e".encode(),
    b'"',
    b'"\\',
)


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Request-ID", "traceparent", "Prefer", "Accept", "Cookie"])
async def test_headers(here: World, name: str) -> None:
    """Refused or ignored; never an error of ours, never echoed into something else."""
    before = await head(here)
    for operation in operations(here):
        for value in HOSTILE_HEADERS:
            headers = here.auth("admin") | {"Content-Type": "application/json", name: value}
            body = None if operation.body() is None else b'{"unheard_of":1}'
            answer = await here.client.request(operation.method, address(operation), content=body, headers=headers)
            checked(operation, answer, (name, value[:20]))
    assert await head(here) == before


@pytest.mark.parametrize(
    "value",
    [b"Bearer", b"Bearer ", b"Bearer \xff", b"Basic eDp4", b"Bearer qd_", b"Bearer " + b"x" * 20_000, b"\x00"],
)
async def test_credentials_that_are_none(here: World, value: bytes) -> None:
    """Every operation that wants one answers 401 or has nothing to hide."""
    before = await head(here)
    for operation in operations(here):
        answer = await here.client.request(operation.method, address(operation), headers={"Authorization": value})
        checked(operation, answer, value[:20])
        if operation.path.startswith(("/v1/commands/", "/v1/log/")):
            assert answer.status_code == 401, operation.path
    assert await head(here) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("policies", "permit (principal, action, resource)"),
        ("policies", '@id("a") permit (principal, action, resource);' * 2),
        ("policies", '@id("a") permit (principal, action, resource) when { ' + "(" * 5_000 + "true"),
        ("policies", '@id("a") permit (principal, action, resource) when { ' + "!" * 20_000 + "true };"),
        ("policies", '@id("a") permit (principal, action, resource) when { 9223372036854775808 > 1 };'),
        ("policies", '@id("\u202e\x00") permit (principal, action, resource);'),
        ("entities", "[" * 20_000),
        ("entities", '[{"uid":{"type":"a","id":"b"},"attrs":{},"parents":[]}]' * 2),
        ("cedar_schema", "entity a = {"),
    ],
)
async def test_policy_bundles_that_are_none(here: World, field: str, value: str) -> None:
    """Refused with the place in the text; nothing is published."""
    before = await head(here)
    good = {"name": "tried", "policies": '@id("a") permit (principal, action, resource);', "entities": "[]"}
    answer = await here.client.post(
        "/v1/commands/publish_policy_bundle", json=good | {field: value}, headers=here.auth("admin")
    )
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert await head(here) == before


def inputs() -> Iterator[tuple[str, str, str]]:
    """Yield each mutation with each field of its input: name, field, input type."""
    schema = build_schema(schema_text())
    assert schema.mutation_type is not None
    for name, mutation in schema.mutation_type.fields.items():
        if name in ("closeTenant", "deactivatePrincipal", "erasePrincipal", "revokeApiKey", "revokeRole"):
            continue
        kind = get_named_type(mutation.args["input"].type)
        assert isinstance(kind, GraphQLInputObjectType)
        for field in kind.fields:
            yield name, field, kind.name


def plausible(kind: GraphQLInputObjectType) -> dict[str, Any]:
    """Return something for each field that must be there."""
    found: dict[str, Any] = {}
    for name, field in kind.fields.items():
        if not is_non_null_type(field.type):
            continue
        inner = get_named_type(field.type)
        value: Any = {"Int": 1, "Boolean": True, "Position": 1}.get(inner.name, "x")
        found[name] = [value] if is_list_type(field.type.of_type) else value
    return found


async def test_every_field_of_every_mutation(here: World) -> None:
    """Either the request is refused with a code, or the answer is a type of the union: never `internal`."""
    schema = build_schema(schema_text())
    headers = here.auth("admin") | {"Content-Type": "application/json"}
    position = await head(here)
    tried = 0
    for name, field, input_name in inputs():
        kind = schema.get_type(input_name)
        assert isinstance(kind, GraphQLInputObjectType)
        query = f"mutation($i:{input_name}!){{{name}(input:$i){{__typename ...on Problem{{code message}}}}}}"
        for what, text in JSON_TEXTS.items():
            if what == "ten megabytes":
                continue
            template = {"query": query, "variables": {"i": plausible(kind)}}
            content = filled(template, ("variables", "i", field), text)
            answer = await here.client.post("/graphql", content=content, headers=headers)
            tried += 1
            told = (name, field, what, answer.status_code, answer.text[:300])
            assert answer.status_code in (200, 400, 413), told
            found = answer.json()
            codes = [error["extensions"]["code"] for error in found.get("errors", ())]
            assert "internal" not in codes, told
            assert "Traceback" not in answer.text, told
            data = found.get("data")
            done = data is not None and data[name] is not None and data[name]["__typename"].endswith("Payload")
            if what in NOT_JSON or what == "doubled keys":
                assert not done, told
            if done:
                position = await head(here)
            else:
                assert await head(here) == position, told
    assert tried > 500


async def test_doubled_keys_in_a_graphql_request(here: World) -> None:
    """Two readers of such a request could each see another one."""
    headers = here.auth("admin") | {"Content-Type": "application/json"}
    for content in (
        b'{"query":"{now{position}}","query":"{now{position}}"}',
        b'{"query":"query($a:Int){now{position}}","variables":{"a":1,"a":2}}',
        b'{"query":"query($a:Int){now{position}}","variables":{},"variables":{}}',
    ):
        answer = await here.client.post("/graphql", content=content, headers=headers)
        with contextlib.suppress(KeyError):
            assert answer.json()["errors"][0]["extensions"]["code"] == "invalid_input"
            continue
        raise AssertionError(answer.text)


@pytest.mark.parametrize(
    "query",
    [
        'timeline(first:1 filter:{tags:["a\\u0000b"]}){edges{node{id}}}',
        'timeline(first:1 filter:{tags:["\\u202e"]}){edges{node{id}}}',
        'timeline(first:1 filter:{actors:["a\\u0000b"]}){edges{node{id}}}',
        'timeline(first:1 filter:{about:["apr_\\u0000"]}){edges{node{id}}}',
        'timeline(first:1 filter:{types:["a\\u0000b"]}){edges{node{id}}}',
        'timeline(first:1 filter:{from:"0001-01-01T00:00:00Z"}){edges{node{id}}}',
        'timeline(first:1 filter:{from:"0001-01-01T00:00:00+14:00"}){edges{node{id}}}',
        'timeline(first:1 filter:{to:"9999-12-31T23:59:59.999999-14:00"}){edges{node{id}}}',
        'timeline(first:1 after:"\\u0000"){edges{node{id}}}',
        'timeline(first:1 after:"AAAA"){edges{node{id}}}',
        'at(time:"0001-01-01T00:00:00Z"){position}',
        'at(time:"9999-12-31T23:59:59-14:00"){position}',
        "at(position:9007199254740993){position}",
        "at(position:-1){position}",
        'now{node(id:"apr_\\u0000"){id}}',
        'now{decisions(first:1 filter:{outcome:[PERMIT] resource:["\\u0000"]}){edges{node{id}}}}',
        'node(id:"\\u0000/x"){id}',
        'explain(id:"\\u0000"){__typename}',
        'explain(id:"asset:\\u0000"){__typename}',
        'explain(id:"dec_\\u0000"){__typename}',
    ],
)
async def test_hostile_values_in_questions(here: World, query: str) -> None:
    """A value that nothing can have finds nothing or is refused by a code of ours; it is never a fault of ours."""
    before = await head(here)
    content = json.dumps({"query": "{" + query + "}"})
    headers = here.auth("admin") | {"Content-Type": "application/json"}
    answer = await here.client.post("/graphql", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    codes = {error["extensions"]["code"] for error in answer.json().get("errors", ())}
    assert codes <= {"invalid_input", "invalid_request", "invalid_cursor", "not_found", "not_yet"}, answer.text
    assert await head(here) == before


async def test_verifying_garbage(tmp_path: Path) -> None:
    """A file that is no export is named as such; whatever it holds."""
    for number, content in enumerate((b"", b"\xff" * 1_000, b"[" * 100_000, b"{}\n{}\n", gzip.compress(b"x" * HUGE))):
        path = tmp_path / f"{number}.export"
        path.write_bytes(content)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("quarterdeck")),
            "verify",
            str(path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode not in (0, None), output
        assert b"Traceback" not in output, output
