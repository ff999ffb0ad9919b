"""Commands over REST: derived from the catalogue, strict, idempotent. Serves DC-02, DC-05, DC-08; threats T16, T21."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from api_house import House, house, key_id_of

from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_domain.access.events import ApiKeyRevoked, PrincipalDeactivated, PrincipalRegistered
from quarterdeck_domain.access.slices import ErasePrincipal
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.eraser import Eraser

PERSON = {"kind": "human", "display_name": "Grace", "roles": ["approver"]}
PROBLEM = "urn:quarterdeck:problem:"


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with two tenants."""
    async with house(migrated_database(), tmp_path, tenants=("acme", "globex")) as made:
        yield made


async def send(api: House, body: bytes, *, name: str = "register_principal", **headers: str) -> httpx.Response:
    """Send raw bytes as a command of the administrator."""
    given = api.bearer("acme", "admin") | {"Content-Type": "application/json"} | headers
    return await api.client.post(f"/v1/commands/{name}", content=body, headers=given)


async def test_a_command_answers_with_its_place_and_what_it_made(api: House) -> None:
    """Position, time, ids and the events, so that a reader can ask for its own write."""
    answer = await api.command("register_principal", PERSON)
    done = answer.json()
    assert answer.status_code == 200
    assert done["position"] == await api.position() == int(answer.headers["x-quarterdeck-position"])
    assert done["events"] == [{"position": done["position"], "type": "principal.registered"}]
    assert done["result"]["principal_id"].startswith("prn_")
    assert done["recorded_at"].endswith("Z")
    assert "reveal" not in done
    event = (await api.services.ledger.read("acme", after=done["position"] - 1))[0]
    assert event.actor.principal == api.ids["acme", "admin"]


async def test_the_callers_trace_is_recorded(api: House) -> None:
    """An event can be found from the trace of whoever asked."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    await send(api, json.dumps(PERSON).encode(), **headers)
    event = (await api.services.ledger.read("acme", backwards=True, limit=1))[0]
    assert event.cause.traceparent is not None
    assert event.cause.traceparent.split("-")[1] == trace_id


async def test_the_same_key_does_it_once_and_shows_secrets_once(api: House) -> None:
    """The repetition gets the first answer, position and ids, but not the secret."""
    first = (await api.command("issue_api_key", {}, key="k-1")).json()
    before = await api.position()
    again = (await api.command("issue_api_key", {}, key="k-1")).json()
    assert await api.position() == before
    assert again["repeated"] is True
    assert "reveal" not in again
    for name in ("position", "recorded_at", "result", "events"):
        assert again[name] == first[name]
    secret = first["reveal"]["api_key"]
    assert (await api.client.get("/v1/me", headers={"Authorization": f"Bearer {secret}"})).status_code == 200


async def test_quoted_and_bare_keys_are_one(api: House) -> None:
    """The draft writes the header as a quoted string; people leave the quotes out."""
    first = (await api.command("register_principal", PERSON, key='"a-key"')).json()
    again = (await api.command("register_principal", PERSON, key="a-key")).json()
    assert again["result"] == first["result"]
    assert again["repeated"] is True


async def test_a_key_used_with_another_request_is_refused(api: House) -> None:
    """Another body or another command: 422, and nothing recorded. White space and order are no difference."""
    await api.command("register_principal", PERSON, key="k")
    before = await api.position()
    other = await api.command("register_principal", PERSON | {"display_name": "Eve"}, key="k")
    assert (other.status_code, other.json()["type"]) == (422, PROBLEM + "idempotency_key_reused")
    other = await api.command("issue_api_key", {}, key="k")
    assert (other.status_code, other.json()["type"]) == (422, PROBLEM + "idempotency_key_reused")
    spaced = json.dumps(dict(reversed(PERSON.items())), indent=3).encode()
    assert (await send(api, spaced, **{"Idempotency-Key": "k"})).json()["repeated"] is True
    assert await api.position() == before


async def test_a_key_belongs_to_its_principal_and_tenant(api: House) -> None:
    """Two people, or two tenants, may use the same key for different things."""
    await api.add("acme", "second", "administrator")
    made = [
        (await api.command("register_principal", PERSON, key="k", by=by)).json()
        for by in (("acme", "admin"), ("acme", "second"), ("globex", "admin"))
    ]
    assert len({done["result"]["principal_id"] for done in made}) == 3
    assert not any(done.get("repeated") for done in made)


async def test_concurrent_repetitions_record_once(api: House) -> None:
    """Twenty at once with one key: one recording, one secret."""
    answers = await asyncio.gather(*(api.command("issue_api_key", {}, key="race") for _ in range(20)))
    done = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert len({item["result"]["key_id"] for item in done}) == 1
    assert sum("reveal" in item for item in done) == 1


async def test_a_repetition_after_the_world_moved_gets_the_first_answer(api: House) -> None:
    """Granted, revoked since: the repeated grant grants nothing anew."""
    await api.add("acme", "olga", "approver")
    body = {"principal_id": api.ids["acme", "olga"], "role": "operator"}
    first = (await api.command("grant_role", body, key="g")).json()
    await api.command("revoke_role", body)
    again = (await api.command("grant_role", body, key="g")).json()
    assert again["repeated"] is True
    assert again["position"] == first["position"]
    me = await api.client.get("/v1/me", headers=api.bearer("acme", "olga"))
    assert me.json()["roles"] == ["approver"]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "tab\tinside", "ünïcode".encode(), " "])
async def test_malformed_keys_are_refused(api: House, key: str | bytes) -> None:
    """1 to 255 visible characters."""
    before = await api.position()
    headers = [(b"idempotency-key", key if isinstance(key, bytes) else key.encode())]
    headers += [(k.lower().encode(), v.encode()) for k, v in api.bearer("acme", "admin").items()]
    answer = await api.client.post(
        "/v1/commands/register_principal", json=PERSON, headers=httpx.Headers(headers, encoding="latin-1")
    )
    assert (answer.status_code, answer.json()["type"]) == (400, PROBLEM + "invalid_input")
    assert await api.position() == before


BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "not json": b"{",
    "two values": b"{} {}",
    "an array": b"[]",
    "null": b"null",
    "text": b'"register"',
    "duplicate keys": b'{"kind": "human", "kind": "agent", "display_name": "x"}',
    "duplicate keys by escape": b'{"kind": "human", "k\\u0069nd": "agent", "display_name": "x"}',
    "a float": b'{"kind": "human", "display_name": 1.5}',
    "a huge number": b'{"kind": "human", "display_name": 1' + b"0" * 400 + b"}",
    "not a number": b'{"kind": "human", "display_name": NaN}',
    "infinity": b'{"kind": "human", "display_name": 1e999}',
    "too deep": b'{"kind":' + b"[" * 40 + b"]" * 40 + b"}",
    "very deep": b"[" * 30_000,
    "lone surrogate": b'{"kind": "human", "display_name": "\\ud800"}',
    "not UTF-8": b'{"kind": "human", "display_name": "\xff\xfe"}',
    "UTF-16": '{"kind": "human", "display_name": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"kind": "human", "display_name": "x"}',
    "NUL": b'{"kind": "human", "display_name": "a\\u0000b"}',
    "right to left override": '{"kind": "human", "display_name": "Gr\u202eace"}'.encode(),
    "unknown field": b'{"kind": "human", "display_name": "x", "is_admin": true}',
    "missing field": b'{"kind": "human"}',
    "wrong type": b'{"kind": "human", "display_name": true}',
    "number as text": b'{"kind": "human", "display_name": 7}',
    "unknown kind": b'{"kind": "root", "display_name": "x"}',
    "unknown role": b'{"kind": "human", "display_name": "x", "roles": ["root"]}',
    "too long": json.dumps({"kind": "human", "display_name": "x" * 5_000}).encode(),
    "blank": b'{"kind": "human", "display_name": "   "}',
    "keys not ASCII": '{"kind": "human", "display_name": "x", "\u043a\u0456nd": "agent"}'.encode(),
}


@pytest.mark.parametrize("how", BAD_BODIES)
async def test_bad_bodies_are_typed_problems_and_change_nothing(api: House, how: str) -> None:
    """Every one is a 400 that says what is wrong, in the shape of RFC 9457."""
    before = await api.position()
    answer = await send(api, BAD_BODIES[how])
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] in {PROBLEM + "invalid_input", PROBLEM + "not_canonical"}
    assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (400, True, True)
    assert await api.position() == before


@pytest.mark.parametrize(
    "media", ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonp"]
)
async def test_other_media_types_are_refused(api: House, media: str) -> None:
    """A form that another site's page can send is not JSON."""
    answer = await send(api, json.dumps(PERSON).encode(), **{"Content-Type": media})
    assert (answer.status_code, answer.json()["type"]) == (415, PROBLEM + "unsupported_media_type")


async def test_other_methods_and_commands_do_not_exist(api: House) -> None:
    """404 and 405, as problems; a GET runs nothing."""
    headers = api.bearer("acme", "admin")
    unknown = await api.client.post("/v1/commands/drop_everything", json={}, headers=headers)
    assert (unknown.status_code, unknown.json()["type"]) == (404, PROBLEM + "not_found")
    wrong = await api.client.get("/v1/commands/register_principal", headers=headers)
    assert (wrong.status_code, wrong.json()["type"]) == (405, PROBLEM + "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_another_tenants_things_look_as_if_they_did_not_exist(api: House) -> None:
    """The answer about another tenant's id is the answer about an id that nobody has, to the letter."""
    theirs = {"principal_id": api.ids["globex", "admin"], "role": "operator"}
    nobody = {"principal_id": theirs["principal_id"][:-5] + "00000", "role": "operator"}
    answers = [await api.command("grant_role", body) for body in (theirs, nobody)]
    texts = {
        answer.text.replace(theirs["principal_id"], "X").replace(nobody["principal_id"], "X") for answer in answers
    }
    assert [answer.status_code for answer in answers] == [404, 404]
    assert len(texts) == 1
    key = key_id_of(api.keys["globex", "admin"])
    revoked = await api.command("revoke_api_key", {"key_id": key, "reason": "mine now"})
    assert revoked.status_code == 404
    assert (await api.client.get("/v1/me", headers=api.bearer("globex", "admin"))).status_code == 200


async def test_every_command_asks_for_its_roles(api: House) -> None:
    """Whoever holds none of them is refused before the body is looked at; an auditor commands nothing."""
    kinds = {"administrator": "human", "operator": "human", "approver": "human", "auditor": "human", "agent": "agent"}
    for role, kind in kinds.items():
        await api.add("acme", role, role, kind=kind)  # type: ignore[arg-type]
    before = await api.position()
    for name, command in COMMANDS.items():
        for role in kinds:
            answer = await api.command(name, {"nonsense": 1}, by=("acme", role))
            expected = 400 if not command.roles or role in command.roles else 403
            assert answer.status_code == expected, (name, role, answer.text)
    assert await api.position() == before


async def test_an_auditor_commands_nothing_even_where_anybody_may(api: House) -> None:
    """The role gate lets anybody through; the slice does not."""
    await api.add("acme", "audrey", "auditor")
    answer = await api.command("issue_api_key", {}, by=("acme", "audrey"))
    assert (answer.status_code, answer.json()["type"]) == (403, PROBLEM + "not_allowed")


async def test_a_policy_that_cedar_refuses_is_never_recorded(api: House) -> None:
    """What the pure domain cannot judge is judged before: the problem names the fault."""
    before = await api.position()
    body = {"name": "broken", "policies": "permit(principal, action"}
    answer = await api.command("publish_policy_bundle", body)
    assert answer.status_code == 400
    assert await api.position() == before


async def test_erasing_a_person_destroys_their_key(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """With the answer to the command; or by the eraser, where the process died in between."""
    url = migrated_database()
    async with house(url, tmp_path) as api:
        for name in ("grace", "heidi"):
            await api.add("acme", name, "approver")
            body = {"principal_id": api.ids["acme", name], "reason": "left"}
            assert (await api.command("deactivate_principal", body)).status_code == 200
        keys = api.services.ledger.keys
        grace, heidi = (api.ids["acme", name] for name in ("grace", "heidi"))
        assert await keys.get("acme", grace) is not None
        erased = await api.command("erase_principal", {"principal_id": grace, "reason": "requested"})
        assert erased.status_code == 200
        assert await keys.get("acme", grace) is None
        command = ErasePrincipal(principal_id=heidi, reason="requested", actor=api.actor("acme", "admin"))
        await api.run("acme", command)
        assert await keys.get("acme", heidi) is not None
        store = api.services.ledger.store
        assert isinstance(store, PostgresStore)
        eraser = Eraser(api.services.ledger, Followers(store.pool))
        assert await eraser.advance("acme") == 1, "the other key was gone already"
        assert await eraser.advance("acme") == 0
        assert await keys.get("acme", heidi) is None
        query = boundary(((PrincipalRegistered,), (f"principal:{heidi}",)))
        (event,) = await api.services.ledger.read("acme", query)
        assert isinstance(event.payload, PrincipalRegistered)
        assert event.payload.display_name is None


async def test_a_reason_given_of_a_person_is_erased_with_them(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Why they left, why their key was revoked: also what was recorded after they were erased, by erasing again."""
    async with house(migrated_database(), tmp_path) as api:
        text = await api.add("acme", "grace", "approver")
        grace, key_id = api.ids["acme", "grace"], key_id_of(text)
        query = boundary(((PrincipalDeactivated, ApiKeyRevoked), (f"principal:{grace}",)))

        async def reasons() -> list[str | None]:
            return [event.payload.reason for event in await api.services.ledger.read("acme", query)]  # type: ignore[attr-defined]

        async def erased(reason: str) -> int:
            return (await api.command("erase_principal", {"principal_id": grace, "reason": reason})).status_code

        await api.command("deactivate_principal", {"principal_id": grace, "reason": "canary: long ill"})
        assert await reasons() == ["canary: long ill"]
        assert await erased("canary: her lawyer wrote") == 400, "a word from the list, as it stays"
        assert await erased("requested") == 200
        assert await reasons() == [None]
        await api.command("revoke_api_key", {"key_id": key_id, "reason": "canary: found at her desk"})
        assert await reasons() == [None, "canary: found at her desk"]
        assert await erased("no_longer_needed") == 200
        assert await reasons() == [None, None]
        entries = await api.services.ledger.store.read("acme", None, 0, None, None, False)
        assert not any(b"canary" in entry for _, entry in entries)


async def test_the_catalogue_and_openapi_describe_every_command(api: House) -> None:
    """Each with its body's schema; so clients are made from the description alone."""
    listed = (await api.client.get("/v1/commands", headers=api.bearer("acme", "admin"))).json()
    assert [item["name"] for item in listed] == list(COMMANDS)
    document = (await api.client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for name, command in COMMANDS.items():
        operation = document["paths"][f"/v1/commands/{name}"]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = schemas[reference.rpartition("/")[2]]
        assert schema["additionalProperties"] is False
        assert set(schema["properties"]) == set(command.input.__struct_fields__)
        assert "CommandResult" in str(operation["responses"]["200"])
        assert {"400", "401", "403", "409", "422", "503"} <= set(operation["responses"])
    assert "HTTPValidationError" not in str(document)
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in schemas


def test_fresh_ids_are_version_7_and_in_order_of_time() -> None:
    """They sort by the millisecond they were made in."""
    made = [fresh_id() for _ in range(50)]
    assert {value.version for value in made} == {7}
    assert {value.variant for value in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 50
    times = [value.int >> 80 for value in made]
    assert times == sorted(times)
