"""An estate as a CycloneDX bill: valid by the official schema, the same bytes for the same moment, and read back whole.

Serves S0-60, S0-61.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_estates import but_for_drift, estates, standing_of

from quarterdeck_connectors import bom, bom_foreign
from quarterdeck_connectors.bom import Stamp
from quarterdeck_connectors.bom_foreign import relation_between
from quarterdeck_connectors.cyclonedx import Version, write_cyclonedx
from quarterdeck_connectors.cyclonedx_reading import MAX_NESTED, read_cyclonedx
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import read_declaration
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_domain.estate.standing import Standing

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "estate"
STAMP: Final = Stamp(tenant="tnt_1", position=41, at=datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC))
VALIDATORS: Final = {"1.6": JsonStrictValidator(SchemaVersion.V1_6), "1.7": JsonStrictValidator(SchemaVersion.V1_7)}
VERSIONS: Final[tuple[Version, ...]] = ("1.6", "1.7")
NOTHING: Final = Standing(facts={}, relations={})

FILE: Final[dict[str, Any]] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {
            "title": "Support",
            "description": "Answers\ncustomers",
            "attributes": {"autonomy": "acts", "labels": {"a.b": "c"}},
            "relations": {
                "calls": [{"to": "tool:refund", "environment": "prod", "evidence": "design 12"}],
                "uses": ["model_version:gpt@1"],
                "governed_by": [{"to": "policy_bundle:house", "evidence": "decision 4"}],
                "owned_by": ["team:desk"],
                "part_of": ["application:shop"],
            },
        },
        "agent:other": {"relations": {"calls": ["tool:refund"], "part_of": ["application:shop"]}},
        "application:shop": {},
        "dataset:orders": {"classification": "confidential", "attributes": {"location": "https://data.example.com/o"}},
        "mcp_server:crm": {
            "attributes": {"endpoint": "https://crm.example.com/mcp", "trust": "unreviewed"},
            "relations": {"exposes": ["tool:refund", "tool:find"]},
        },
        "model:gpt": {"purpose": "chat", "attributes": {"family": "gpt", "licence": "own", "modalities": ["text"]}},
        "model_version:gpt@1": {
            "attributes": {"digest": f"sha256:{'a' * 64}", "pin": "gpt-1"},
            "relations": {"version_of": ["model:gpt"], "derived_from": ["dataset:orders"]},
        },
        "policy_bundle:house": {},
        "prompt:hello": {"relations": {"drives": ["agent:support"]}},
        "team:desk": {},
        "tool:find": {},
        "tool:refund": {"attributes": {"privileges": ["read", "write"]}, "relations": {"writes": ["dataset:orders"]}},
    },
}


def invalid(data: bytes, version: str) -> str | None:
    """Return what the official schema finds wrong with a bill."""
    error = VALIDATORS[version].validate_str(data.decode())
    return None if error is None else repr(error)


def bill(**members: Any) -> bytes:
    """Return somebody's bill."""
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.7", "version": 1} | members).encode()


def model(**members: Any) -> dict[str, Any]:
    """Return somebody's model."""
    return {"type": "machine-learning-model", "bom-ref": "m", "name": "m"} | members


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(document=estates(), version=st.sampled_from(VERSIONS))
def test_what_is_written_is_valid_and_read_back_changes_nothing(document: dict[str, Any], version: Version) -> None:
    """Over random estates of every kind: valid by the schema, and importing it where it comes from plans nothing."""
    data = write_cyclonedx(document, STAMP, version=version)
    assert invalid(data, version) is None
    read = read_cyclonedx(data, "bill")
    said = read_declaration(document)
    assert read.notes == ()
    assert read.declaration.confidence == "imported"
    assert make_plan(read.declaration, standing_of(said), "run").steps == ()
    anew, first = make_plan(read.declaration, NOTHING, "run"), make_plan(said, NOTHING, "run")
    assert but_for_drift(anew) == but_for_drift(first)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(document=estates(least=1), data=st.data())
def test_a_part_is_valid_and_read_back_changes_nothing(document: dict[str, Any], data: st.DataObject) -> None:
    """A bill of one object leaves alone what it does not hold: imported where it comes from it plans nothing."""
    root = data.draw(st.sampled_from(sorted(document["assets"])))
    part = write_cyclonedx(document, STAMP, root=root)
    assert invalid(part, "1.7") is None
    read = read_cyclonedx(part, "bill").declaration
    assert root in read.assets
    assert make_plan(read, standing_of(read_declaration(document)), "run").steps == ()
    make_plan(read, NOTHING, "run")


def test_the_same_moment_gives_the_same_bytes_and_another_does_not() -> None:
    """Neither the order of a file nor of its lists matters; tenant, position, form and subject name the bill."""
    first = write_cyclonedx(FILE, STAMP)
    turned = FILE | {"assets": dict(reversed(FILE["assets"].items()))}
    assert write_cyclonedx(turned, STAMP) == first
    others = [
        write_cyclonedx(FILE, Stamp(tenant="tnt_1", position=42, at=STAMP.at)),
        write_cyclonedx(FILE, Stamp(tenant="tnt_2", position=41, at=STAMP.at)),
        write_cyclonedx(FILE, STAMP, version="1.6"),
        write_cyclonedx(FILE, STAMP, root="agent:support"),
    ]
    assert len({json.loads(data)["serialNumber"] for data in (first, *others)}) == 5
    assert json.loads(first)["metadata"]["timestamp"] == "2026-05-04T03:02:01Z"


def test_the_fields_of_the_standard_say_what_they_can() -> None:
    """Who does not know our properties finds models with cards, data with owners, services, dependencies, claims."""
    made = json.loads(write_cyclonedx(FILE, STAMP))
    components = {item["bom-ref"]: item for item in made["components"]}
    services = {item["bom-ref"]: item for item in made["services"]}
    version = components["model_version:gpt@1"]
    assert version["type"] == "machine-learning-model"
    assert version["version"] == "gpt-1"
    assert version["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert version["modelCard"]["modelParameters"]["datasets"] == [{"ref": "dataset:orders"}]
    card = components["model:gpt"]["modelCard"]
    assert card["modelParameters"]["architectureFamily"] == "gpt"
    assert card["considerations"] == {"useCases": ["chat"]}
    assert components["dataset:orders"]["data"][0]["classification"] == "confidential"
    assert services["mcp_server:crm"]["endpoints"] == ["https://crm.example.com/mcp"]
    needs = {item["ref"]: item["dependsOn"] for item in made["dependencies"]}
    assert needs["agent:support"] == ["model_version:gpt@1", "prompt:hello", "tool:refund"]
    assert needs["application:shop"] == ["agent:other", "agent:support"]
    assert needs["tool:refund"] == ["dataset:orders", "mcp_server:crm"]
    (claim,) = made["declarations"]["claims"]
    assert (claim["target"], claim["predicate"]) == ("agent:support", "is governed by policy_bundle:house")
    assert made["declarations"]["evidence"][0]["description"] == "decision 4"
    typed = {(item["name"], item["value"]) for item in components["agent:support"]["properties"]}
    assert ("quarterdeck:relation:governed_by", '{"to":"policy_bundle:house","evidence":"decision 4"}') in typed
    assert ("quarterdeck:relation:uses", "model_version:gpt@1") in typed


def test_a_bill_of_one_object_holds_what_it_needs_and_nothing_else() -> None:
    """With prompts that drive it, controls, owners, and the server of a tool; not who else is part of the same."""
    made = json.loads(write_cyclonedx(FILE, STAMP, root="agent:support"))
    assert made["metadata"]["component"]["bom-ref"] == "agent:support"
    found = {item["bom-ref"] for item in (*made["components"], *made["services"])} | {"agent:support"}
    assert found == set(FILE["assets"]) - {"agent:other", "application:shop"}
    read = read_cyclonedx(write_cyclonedx(FILE, STAMP, root="agent:support"), "bill")
    assert read.notes == ("agent:support part_of: leads to what is not in this file, and is left as it stands",)


def test_what_is_not_in_the_estate_has_no_bill() -> None:
    """The error names the object; a name of no kind is one as well."""
    with pytest.raises(InvalidInput, match="agent:gone is not in the estate"):
        write_cyclonedx(FILE, STAMP, root="agent:gone")
    with pytest.raises(InvalidInput, match="does not name an object"):
        write_cyclonedx(FILE, STAMP, root="gone")


def test_a_model_bill_of_the_wild() -> None:
    """A 1.6 model bill: version apart from model, training data, the model it was made of, dependencies carried through
    libraries; the secret in an address is not taken over, what is missing is noted."""
    data = (VECTORS / "cyclonedx-1.6-model.json").read_bytes()
    assert invalid(data, "1.6") is None
    read = read_cyclonedx(data, "vendor")
    said = read.declaration.assets
    version = said["model_version:acme/triage-7b@rev9"]
    assert version.facts["attributes.digest"].startswith("sha256:aa11")
    assert [link.to for link in version.relations["derived_from"]] == [
        "model_version:base-7b@2",
        "dataset:claims-2025",
        "dataset:public-claims",
    ]
    described = said["model:acme/triage-7b"].facts
    assert described["attributes.origin"] == "https://models.example.com/acme/triage-7b/weights"
    assert described["attributes.licence"] == "Apache-2.0"
    assert described["purpose"] == "Sorting claims by urgency"
    assert said["dataset:claims-2025"].facts["owner"] == "Claims department"
    assert {link.to for link in said["application:claims-triage"].relations["uses"]} == {
        "prompt:triage-prompt",
        "model_version:acme/triage-7b@rev9",
    }
    assert read.notes == (
        "'gone' is depended on or depends, and is not in this file",
        "2 x library: an estate has no such kind, left out",
    )
    assert make_plan(read.declaration, NOTHING, "run").counts()["register"] == len(said)
    assert b"secret" not in repr(said).encode()


def test_a_service_bill_of_the_wild() -> None:
    """A 1.7 bill: an MCP server with its tools, another service, parts of an application, two versions of a model."""
    data = (VECTORS / "cyclonedx-1.7-services.json").read_bytes()
    assert invalid(data, "1.7") is None
    said = read_cyclonedx(data, "scanner").declaration.assets
    assert said["mcp_server:crm"].facts["attributes.endpoint"] == "https://crm.example.com/mcp"
    assert [link.to for link in said["mcp_server:crm"].relations["exposes"]] == ["tool:find_customer", "tool:refund"]
    assert said["model:router-small"].relations["part_of"][0].to == "application:shop".replace("shop", "service-desk")
    assert {"model_version:assistant@2026-05-01", "model_version:assistant@2026-08-01"} <= said.keys()
    calls = {link.to for link in said["application:service-desk"].relations["calls"]}
    assert calls == {"mcp_server:crm", "tool:mail-gateway"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"<bom xmlns='http://cyclonedx.org/schema/bom/1.6'/>", "is XML: give it as JSON"),
        (b"[1]", "Expected `object`"),
        (b'{"bomFormat":"CycloneDX","bomFormat":"CycloneDX"}', "given twice"),
        (b'{"bomFormat":"SPDX","specVersion":"1.6"}', "what is read is CycloneDX 1.5, 1.6, 1.7"),
        (bill(specVersion="1.3"), "CycloneDX 1.3"),
        (bill(components={}), r"Expected `array`, got `object` - at `\$.components`"),
        (bill(components=[{"type": "data"}]), r"required field `name` - at `\$.components\[0\]`"),
        (bill(components=[model(), model()]), "two things are called 'm'"),
        (b'{"components":' + b"[" * 100_000, "."),
        (bill(components=[model(properties=[{"name": "quarterdeck:id", "value": "ghost:x"}])]), "quarterdeck:id"),
    ],
)
def test_what_is_no_bill_is_refused_with_the_reason(data: bytes, says: str) -> None:
    """Every refusal is typed and says where and what would be right."""
    with pytest.raises(UnreadableSource, match=says):
        read_cyclonedx(data, "stranger")


def test_a_bill_of_a_hundred_megabytes_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even decoded: what would be read is never looked at."""
    data = b'{"bomFormat":' + b" " * 100_000_000
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(UnreadableSource, match=str(bom.MAX_BYTES)):
        read_cyclonedx(data, "stranger")


def test_nesting_is_bounded_and_entangled_dependencies_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is nested too deeply, or leads through too much that is left out, is refused, not followed for ever."""
    nested: dict[str, Any] = {"type": "library", "name": "x"}
    for _ in range(MAX_NESTED + 1):
        nested = {"type": "library", "name": "x", "components": [nested]}
    with pytest.raises(UnreadableSource, match="nested deeper"):
        read_cyclonedx(bill(components=[nested]), "stranger")
    libraries = [{"type": "library", "bom-ref": f"l{place}", "name": "l"} for place in range(40)]
    everyone = [item["bom-ref"] for item in libraries]
    tangle = [{"ref": ref, "dependsOn": everyone} for ref in ("m", *everyone)]
    monkeypatch.setattr(bom_foreign, "MAX_STEPS", 1_000)
    with pytest.raises(UnreadableSource, match="entangled"):
        read_cyclonedx(bill(components=[model(), *libraries], dependencies=tangle), "stranger")


def own(asset: str, *said: tuple[str, str]) -> dict[str, Any]:
    """Return a component as we write it, of an object of which this is said."""
    given = (("quarterdeck:id", asset), *said)
    properties = [{"name": name, "value": value} for name, value in given]
    return {"type": "application", "bom-ref": asset, "name": "x", "properties": properties}


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ([own("agent:a"), own("agent:a") | {"bom-ref": "b"}], "agent:a is in this file twice"),
        ([own("agent:a", ("quarterdeck:tier", "first"))], "whole number"),
        ([own("agent:a", ("quarterdeck:tier", "1"), ("quarterdeck:tier", "2"))], "there twice"),
        ([own("agent:a", ("quarterdeck:tier", "9"))], "tier"),
        ([own("agent:a", ("quarterdeck:nonsense", "x"))], "nonsense"),
        ([own("agent:a", ("quarterdeck:lifecycle", "released"))], "lifecycle"),
        ([own("agent:a", ("quarterdeck:successor", "agent:b"))], "lifecycle: deprecated"),
        ([own("agent:a", ("quarterdeck:owner", "ann@example.com"))], "looks like somebody's address"),
        ([own("agent:a", ("quarterdeck:relation:calls", "{"))], "JSON with `to`"),
        ([own("agent:a", ("quarterdeck:relation:calls", "team:t")), own("team:t")], "does not lead to a team"),
        ([own("application:m"), {"type": "application", "bom-ref": "o", "name": "m"}], "is in this file twice"),
    ],
)
def test_properties_of_ours_that_somebody_forged_are_refused(components: list[dict[str, Any]], says: str) -> None:
    """Our namespace gives nobody more than a declarative file could say."""
    with pytest.raises(UnreadableSource, match=says):
        read_cyclonedx(bill(components=components), "stranger")


def test_a_circle_of_origins_is_refused_by_the_plan() -> None:
    """Two models, each made of the other: the plan says so, nothing is applied."""
    both = [model(), model(name="n") | {"bom-ref": "n"}]
    circle = [{"ref": "m", "dependsOn": ["n", "m"]}, {"ref": "n", "dependsOn": ["m"]}]
    read = read_cyclonedx(bill(components=both, dependencies=circle), "stranger")
    with pytest.raises(InvalidInput, match="a circle: model:m -> model:n -> model:m"):
        make_plan(read.declaration, NOTHING, "run")


def test_text_that_deceives_is_written_out() -> None:
    """Direction marks and invisible characters are shown as what they are, in bills of others and in ours."""
    forged = own("agent:a", ("quarterdeck:title", "x\u202ey")) | {"description": "a\u200bb\nc"}
    said = read_cyclonedx(bill(components=[model(description="a\u202eb"), forged]), "stranger").declaration.assets
    assert said["model:m"].facts["description"] == "a\\u{202e}b"
    assert said["agent:a"].facts["title"] == "x\\u{202e}y"
    assert said["agent:a"].facts["description"] == "a\\u{200b}b\nc"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
_THINGS = st.deferred(
    lambda: st.fixed_dictionaries(
        {"name": st.text(max_size=6)},
        optional={
            "type": st.sampled_from(["machine-learning-model", "data", "application", "library", "\u202e"]),
            "bom-ref": st.sampled_from("abcdef"),
            "version": st.text(max_size=300),
            "group": st.text(max_size=3),
            "description": st.text(max_size=50) | _JSON,
            "data": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["dataset", "other"])}), max_size=2),
            "components": st.lists(_THINGS, max_size=2),
            "services": st.lists(_THINGS, max_size=2),
            "purl": st.text(max_size=400),
        },
    )
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    components=st.lists(_THINGS, max_size=3),
    services=st.lists(_THINGS, max_size=3),
    dependencies=st.lists(
        st.fixed_dictionaries(
            {"ref": st.sampled_from("abcdefg"), "dependsOn": st.lists(st.sampled_from("abcdefg"), max_size=4)}
        ),
        max_size=6,
    ),
)
def test_whatever_comes_is_read_or_refused(components: list[Any], services: list[Any], dependencies: list[Any]) -> None:
    """Nothing but a declaration or a typed refusal ever comes of it, and the declaration can be planned."""
    try:
        read = read_cyclonedx(bill(components=components, services=services, dependencies=dependencies), "stranger")
        make_plan(read.declaration, NOTHING, "run")
    except InvalidInput:
        pass


def test_a_dependency_becomes_a_relation_that_the_two_kinds_allow() -> None:
    """Whatever relation is chosen for an untyped dependency, the estate allows it between these kinds."""
    for source in KINDS:
        for target in KINDS:
            relation = relation_between(source, target)
            if relation is not None:
                assert source in RELATION_TYPES[relation].sources
                assert target in RELATION_TYPES[relation].targets
    assert relation_between("application", "model") == "uses"
    assert relation_between("application", "dataset") == "reads"
    assert relation_between("mcp_server", "tool") == "exposes"
    assert relation_between("model", "dataset") == "derived_from"
    assert relation_between("team", "model") is None
