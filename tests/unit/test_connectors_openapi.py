"""OpenAPI documents become tools, with privileges by method and a digest over all that an operation refers to.

Serves C02 (filling the inventory), S0-50, S0-149.
"""

from __future__ import annotations

import copy
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import settles

from quarterdeck_connectors import openapi_tools
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_domain.checks import optional_line
from quarterdeck_domain.estate.events import DriftDetected
from quarterdeck_domain.estate.naming import apart, names_for
from quarterdeck_domain.estate.plan import make_plan

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"
ORDERS = (VECTORS / "openapi-3.0.yaml").read_bytes()
CALENDAR = (VECTORS / "openapi-3.1.json").read_bytes()


def said(found: Imported, asset: str) -> dict[str, Any]:
    """Return what is said of an object, first guesses too, attributes by their names."""
    entry = found.declaration.assets[asset]
    return {name.removeprefix("attributes."): value for name, value in (entry.facts | entry.first).items()}


def digests(found: Imported) -> dict[str, str]:
    """Return the digest of each tool."""
    return {name: said(found, name)["digest"] for name in found.declaration.assets if name.startswith("tool:")}


def test_each_operation_is_a_tool_with_privileges_by_its_method() -> None:
    """S0-50: operations, permission scope, side-effect class and target system of each; the application exposes all."""
    found = read_openapi(ORDERS)
    tools = [link.to for link in found.declaration.assets["application:Orders-API"].relations["exposes"]]
    assert tools == [
        "tool:Orders-API/listOrders",
        "tool:Orders-API/createOrder",
        "tool:Orders-API/replaceOrder",
        "tool:Orders-API/DELETE-/orders/{id}",
        "tool:Orders-API/GET-/health",
    ]
    listing, creating, replacing, deleting, health = (said(found, tool) for tool in tools)
    assert listing["operations"] == ["GET /orders"]
    assert listing["title"] == "List orders"
    assert listing["target_system"] == "https://orders.acme.example/v2"
    assert [tool["privileges"] for tool in (listing, creating, replacing, deleting, health)] == [
        ["read"],
        ["write"],
        ["write"],
        ["write"],
        ["read"],
    ]
    assert [tool["side_effect"] for tool in (listing, creating, replacing, deleting)] == [
        "none",
        "at_most_once",
        "idempotent",
        "idempotent",
    ]
    assert listing["scope"] == "oauth: orders:read"
    assert creating["scope"] == "oauth: orders:write or key"
    assert deleting["scope"] == "no authentication"
    assert "scope" not in health
    assert any("leads out of the document" in note for note in found.notes)
    assert any("deprecated" in note for note in found.notes)


def test_a_document_of_3_1_and_its_path_items() -> None:
    """A path item may be a reference; webhooks are calls that the other side makes, so no tools."""
    found = read_openapi(CALENDAR, api="calendar")
    assert set(digests(found)) == {
        "tool:calendar/GET-/termine/{tag}",
        "tool:calendar/termin_verschieben",
        "tool:calendar/wiederholen",
    }
    assert said(found, "tool:calendar/wiederholen")["target_system"] == "calendar"


def test_a_digest_is_of_all_that_an_operation_refers_to() -> None:
    """A change far down in a shared schema changes every tool that uses it, and no other; spelling changes none."""
    before = digests(read_openapi(ORDERS))
    buyer = ORDERS.replace(b"properties: {name: {type: string}}", b"properties: {name: {type: string}, iban: {}}")
    changed = {name for name, digest in digests(read_openapi(buyer)).items() if digest != before[name]}
    assert changed == {"tool:Orders-API/listOrders", "tool:Orders-API/createOrder"}
    tenant = ORDERS.replace(b"name: X-Tenant", b"name: X-Org")
    assert {name for name, digest in digests(read_openapi(tenant)).items() if digest != before[name]} == {
        "tool:Orders-API/listOrders",
        "tool:Orders-API/createOrder",
    }
    assert digests(read_openapi(ORDERS.replace(b"Unused: {type: string}", b"Unused: {type: number}"))) == before
    document = yaml.safe_load(ORDERS)
    assert digests(read_openapi(json.dumps(document, indent=1, sort_keys=True).encode())) == before


def test_a_digest_is_of_who_is_called_and_with_which_rights() -> None:
    """S0-50: servers, security requirements and their schemes hold for operations that do not say otherwise."""
    document = yaml.safe_load(ORDERS)
    names = {name.removeprefix("tool:Orders-API/"): name for name in digests(read_openapi(ORDERS))}
    health = "GET-/health"

    def changed(document: Any) -> set[str]:
        found, before = digests(read_openapi(json.dumps(document).encode())), digests(read_openapi(ORDERS))
        return {short for short, name in names.items() if found[name] != before[name]}

    assert changed(document) == set()
    assert changed(document | {"servers": [{"url": "https://evil.example.net"}]}) == set(names)
    assert changed(document | {"servers": []}) == set(names)
    assert changed(document | {"security": [{"oauth": ["admin"]}]}) == {"listOrders", "replaceOrder"}
    kept = copy.deepcopy(document)
    kept["components"]["securitySchemes"]["oauth"] = {"type": "oauth2", "tokenUrl": "https://evil.example.net"}
    assert changed(kept) == {"listOrders", "createOrder", "replaceOrder"}
    moved = copy.deepcopy(document)
    moved["paths"]["/health"]["servers"] = [{"url": "https://evil.example.net"}]
    assert changed(moved) == {health}
    assert said(read_openapi(json.dumps(moved).encode()), names[health])["target_system"] == "https://evil.example.net"


@pytest.mark.parametrize("data", [ORDERS, CALENDAR])
def test_a_second_import_changes_nothing(data: bytes) -> None:
    """S0-149: importing is idempotent."""
    settles(read_openapi(data))


def test_what_people_correct_stays_and_what_changed_is_drift() -> None:
    """Privileges by method are a first guess. A schema that is not as pinned is drift of the tool."""
    standing = settles(read_openapi(ORDERS))
    corrected = dict(standing.facts["tool:Orders-API/listOrders"]) | {"attributes.privileges": ["read", "write"]}
    standing = type(standing)(
        facts={**standing.facts, "tool:Orders-API/listOrders": corrected}, relations=standing.relations
    )
    assert make_plan(read_openapi(ORDERS).declaration, standing, "run_2").steps == ()
    changed = read_openapi(ORDERS.replace(b"description: some orders", b"description: obey"))
    drifted = [
        event for event in make_plan(changed.declaration, standing, "run_3").events if isinstance(event, DriftDetected)
    ]
    assert [(event.asset, event.input) for event in drifted] == [("tool:Orders-API/listOrders", "tools")]


def test_an_operation_that_is_gone_is_no_longer_exposed() -> None:
    """What the document no longer has is withdrawn from the application; the tool itself stays, for people to retire."""
    standing = settles(read_openapi(ORDERS))
    document = yaml.safe_load(ORDERS)
    document["paths"] = {}
    plan = make_plan(read_openapi(json.dumps(document).encode()).declaration, standing, "run_2")
    assert {step.action for step in plan.steps} == {"unrelate"}
    assert len(plan.steps) == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[]", "mapping with `openapi`"),
        (b'{"swagger": "2.0", "info": {"title": "x"}}', "convert Swagger 2.0"),
        (b'{"openapi": "3.0.0", "info": {}}', "no `info.title`"),
        (b'{"openapi": "3.1.0", "info": {"title": "x"}, "paths": []}', "`paths` is a mapping"),
        (b'{"openapi": "3.0.0",\n "openapi": "3.0.0"}', "line 2, column 2"),
    ],
)
def test_what_is_no_such_document_is_refused(text: bytes, why: str) -> None:
    """The error says where, and what would be right."""
    with pytest.raises(UnreadableSource) as refused:
        read_openapi(text)
    assert why in refused.value.message


def test_references_that_make_much_out_of_little_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation refers to the whole document, by as many names as there are operations: refused, not waited for."""
    monkeypatch.setattr(openapi_tools, "MAX_WORK", 50_000)
    paths = {
        f"/{n}": {"get": {"x": {"$ref": f"#/%{ord('p'):x}aths/~1{(n + 1) % 400}"}, "y": {"$ref": "#"}}}
        for n in range(400)
    }
    document = {"openapi": "3.0.0", "info": {"title": "x"}, "paths": paths}
    with pytest.raises(UnreadableSource, match="more than can be digested"):
        read_openapi(json.dumps(document).encode())
    monkeypatch.setattr(openapi_tools, "MAX_OPERATIONS", 10)
    with pytest.raises(UnreadableSource, match="more than 10 operations"):
        read_openapi(json.dumps(document).encode())


def test_circles_end() -> None:
    """Schemas that refer to themselves, to each other, to the whole document or to nothing have a digest."""
    schemas = {
        "a": {"$ref": "#/components/schemas/b"},
        "b": {"$ref": "#/components/schemas/a"},
        "c": {"$ref": "#"},
        "d": {"$ref": "#/nowhere/~1/99"},
        "e": {"$ref": "#/components/list/1"},
    }
    operation = {"x": [{"$ref": f"#/components/schemas/{name}"} for name in schemas]}
    document = {
        "openapi": "3.1.1",
        "info": {"title": "x"},
        "paths": {"/": {"get": operation}, "/self": {"$ref": "#/paths/~1self"}},
        "components": {"schemas": schemas, "list": [1, 2]},
    }
    found = read_openapi(json.dumps(document).encode())
    settles(found)
    assert len(digests(found)) == 1
    assert any("leads to nothing" in note for note in found.notes)


hostile = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u202e\u200b\x07\x00/~#{}%"), max_size=12)
anything = st.recursive(
    st.none() | st.integers() | hostile | st.sampled_from(["#", "#/", "#/paths", "#/paths/~1", "http://x/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile | st.just("$ref"), inner, max_size=3),
    max_leaves=6,
)
operations = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("operationId", "summary", "description", "security", "servers", "parameters"), anything),
)
items = st.dictionaries(
    st.sampled_from(["get", "post", "delete", "parameters", "$ref"]), operations | anything, max_size=3
)


def of(*operations: dict[str, Any], **more: Any) -> bytes:
    """Return a document with these operations, each at a path of its own."""
    paths = {f"/{place}": {"post": said} for place, said in enumerate(operations)}
    return json.dumps({"openapi": "3.1.0", "info": {"title": "Mail API"}, "paths": paths | more}).encode()


def tools(found: Imported) -> list[str]:
    """Return the tools that the application exposes."""
    return [link.to for link in found.declaration.assets["application:Mail-API"].relations["exposes"]]


def test_operations_whose_names_become_the_same_are_two_tools() -> None:
    """The one that is called so keeps the name, in whatever order they come; the other is found by what it is called."""
    for names in (("send mail", "send-mail"), ("send-mail", "send mail")):
        found = read_openapi(of(*({"operationId": name} for name in names)), api="mail")
        own = apart("mail/send mail")
        exposed = found.declaration.assets["application:mail"].relations["exposes"]
        assert {link.to for link in exposed} == {"tool:mail/send-mail", f"tool:{own}"}
        assert own in names_for("tool", "mail/send mail")
        assert said(found, f"tool:{own}")["title"] == "send mail"
        assert said(found, f"tool:{own}")["operations"] == [f"POST /{names.index('send mail')}"]
        (note,) = found.notes
        assert f"'send mail' would have: it is {own}" in note
        settles(found)
    neither = read_openapi(of({"operationId": "send mail"}, {"operationId": "send  mail"}), api="mail")
    assert len([name for name in neither.declaration.assets if name.startswith("tool:mail/send-mail~")]) == 2


def test_operations_with_one_id_are_two_tools() -> None:
    """The first keeps the name, and none is hidden behind another; also where somebody is called as the second would be."""
    found = read_openapi(of({"operationId": "send"}, {"operationId": "send"}, {"operationId": "send POST /1"}))
    first, second, third = tools(found)
    assert first == "tool:Mail-API/send"
    assert [said(found, name)["operations"] for name in (first, second, third)] == [
        ["POST /0"],
        ["POST /1"],
        ["POST /2"],
    ]
    assert any("several operations have one operationId" in note for note in found.notes)
    settles(found)


def test_names_that_were_made_to_meet_stay_apart() -> None:
    """Who knows how names are made hides nothing by it."""
    ids = ["send mail", "send-mail", apart("Mail API/send mail").removeprefix("Mail-API/")]
    found = read_openapi(of(*({"operationId": name} for name in ids)))
    assert len(set(tools(found))) == 3
    settles(found)


def test_one_long_id_that_thousands_share_is_not_kept_thousands_of_times() -> None:
    """Path items refer to one another, so that a document of a few hundred kilobytes would fill a gigabyte."""
    shared = {f"/r{place}": {"$ref": "#/paths/~10"} for place in range(2_000)}
    document = of({"operationId": "x" * 500_000}, **shared)
    tracemalloc.start()
    try:
        found = read_openapi(document)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(set(tools(found))) == 2_001
    assert most < 100 * 2**20


@given(st.dictionaries(hostile, items | anything, max_size=3), hostile, anything)
def test_hostile_documents_are_read_or_refused(paths: Any, title: str, security: Any) -> None:
    """Whatever stands where something else belongs, and whatever it is called: a declaration that settles, or an error."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "description": title},
        "paths": paths,
        "security": security,
    }
    try:
        found = read_openapi(json.dumps(document).encode())
    except UnreadableSource as refused:
        optional_line(refused.message, "message", limit=2_000)
    else:
        settles(found)
        for note in found.notes:
            optional_line(note, "note", limit=2_000)
