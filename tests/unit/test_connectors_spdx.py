"""An estate as an SPDX 3.0.1 bill: readable by the rules of the standard's own model, deterministic, and read back whole.

What is written is read with the bindings that the SPDX project generates from the model of 3.0.1: they know every class,
property, type and vocabulary, refuse what is not among them, and count what must be there when they write it again.

Serves S0-60, S0-61.
"""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_estates import but_for_drift, estates, standing_of
from spdx_python_model.bindings import v3_0_1 as model

from quarterdeck_connectors import bom
from quarterdeck_connectors.bom import Stamp
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.spdx import CONTEXT, write_spdx
from quarterdeck_connectors.spdx_reading import read_spdx
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import read_declaration
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.standing import Standing

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "estate"
STAMP: Final = Stamp(tenant="tnt_1", position=41, at=datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC))
NOTHING: Final = Standing(facts={}, relations={})
FILE: Final[dict[str, Any]] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:a": {"relations": {"uses": ["model:m"], "governed_by": ["policy_bundle:p"], "owned_by": ["team:t"]}},
        "dataset:d": {"classification": "restricted", "attributes": {"digest": f"sha3-256:{'b' * 64}"}},
        "model:m": {
            "risk": "critical",
            "attributes": {"family": "f", "licence": "own", "tasks": ["chat"]},
            "relations": {"derived_from": ["dataset:d"]},
        },
        "policy_bundle:p": {},
        "prompt:p": {"relations": {"drives": ["agent:a"]}},
        "team:t": {},
    },
}


def accepted(data: bytes) -> int:
    """Let the standard's model read a bill and write it again; return how many objects are in it."""
    found = model.SHACLObjectSet()
    model.JSONLDDeserializer().read(io.BytesIO(data), found)
    model.JSONLDSerializer().write(found, io.BytesIO())
    assert not found.missing_ids
    return len(list(found.objects))


def bill(*graph: dict[str, Any], context: Any = CONTEXT) -> bytes:
    """Return somebody's bill."""
    return json.dumps({"@context": context, "@graph": list(graph)}).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(document=estates(), data=st.data())
def test_what_is_written_is_accepted_and_read_back_changes_nothing(
    document: dict[str, Any], data: st.DataObject
) -> None:
    """Over random estates of every kind, whole and in part: importing it where it comes from plans nothing."""
    root = data.draw(st.sampled_from([None, *sorted(document["assets"])]))
    written = write_spdx(document, STAMP, root=root)
    assert accepted(written) >= 3
    read = read_spdx(written, "bill")
    said = read_declaration(document)
    assert make_plan(read.declaration, standing_of(said), "run").steps == ()
    planned = but_for_drift(make_plan(read.declaration, NOTHING, "run"))
    if root is None:
        assert planned == but_for_drift(make_plan(said, NOTHING, "run"))
        assert read.notes == ()


def test_the_model_of_the_standard_refuses_what_it_does_not_know() -> None:
    """The judge judges: a property that is none, a word of no vocabulary, and a missing name of a licence are refused."""
    made = json.loads(write_spdx(FILE, STAMP))
    place = next(at for at, node in enumerate(made["@graph"]) if node["type"] == "dataset_DatasetPackage")
    for field, value in (("ai_domain", ["x"]), ("dataset_confidentialityLevel", "purple"), ("dataset_datasetType", [])):
        wrong = json.loads(json.dumps(made))
        wrong["@graph"][place][field] = value
        with pytest.raises((KeyError, ValueError)):
            accepted(json.dumps(wrong).encode())


def test_the_same_moment_gives_the_same_bytes() -> None:
    """Another position or another tenant is another bill, with other ids."""
    first = write_spdx(FILE, STAMP)
    assert write_spdx(FILE | {"assets": dict(reversed(FILE["assets"].items()))}, STAMP) == first
    assert write_spdx(FILE, Stamp(tenant="tnt_1", position=42, at=STAMP.at)) != first
    assert json.loads(first)["@graph"][0]["created"] == "2026-05-04T03:02:01Z"


def test_the_classes_and_relationships_of_the_standard_say_what_they_can() -> None:
    """Models are AI packages, data dataset packages, teams organizations; relations are typed where SPDX has the type."""
    graph = json.loads(write_spdx(FILE, STAMP))["@graph"]
    named = {node["spdxId"].partition("#")[2]: node for node in graph if "spdxId" in node}
    assert named["model:m"]["type"] == "ai_AIPackage"
    assert named["model:m"]["ai_safetyRiskAssessment"] == "serious"
    assert named["dataset:d"]["dataset_confidentialityLevel"] == "red"
    assert named["dataset:d"]["verifiedUsing"][0]["algorithm"] == "sha3_256"
    assert named["team:t"]["type"] == "Organization"
    said = {
        (node["from"].partition("#")[2], node["relationshipType"], node["to"][0].partition("#")[2], node.get("comment"))
        for node in graph
        if node["type"] == "Relationship"
    }
    assert said == {
        ("agent:a", "dependsOn", "model:m", "uses"),
        ("agent:a", "hasRequirement", "policy_bundle:p", "governed_by"),
        ("agent:a", "other", "team:t", "owned_by"),
        ("model:m", "trainedOn", "dataset:d", "derived_from"),
        ("model:m", "hasDeclaredLicense", "licence-0", None),
        ("prompt:p", "configures", "agent:a", "drives"),
    }


def test_a_bill_of_the_wild() -> None:
    """A model of another house: version apart, licence and supplier followed, dependency carried through a library."""
    data = (VECTORS / "spdx-3.0.1-model.json").read_bytes()
    assert accepted(data) > 10
    read = read_spdx(data, "vendor")
    said = read.declaration.assets
    assert said["model:triage-7b"].facts["attributes.provider"] == "ACME Research"
    assert said["model:triage-7b"].facts["attributes.licence"] == "Apache-2.0"
    version = said["model_version:triage-7b@rev9"]
    assert version.facts["attributes.digest"].startswith("sha256:aa11")
    assert [link.to for link in version.relations["derived_from"]] == ["dataset:claims-2025"]
    assert said["dataset:claims-2025"].facts["classification"] == "confidential"
    assert [link.to for link in said["application:claims-triage"].relations["uses"]] == ["model_version:triage-7b@rev9"]
    assert read.notes == ("1 x software_Package (library): an estate has no such kind, left out",)
    make_plan(read.declaration, NOTHING, "run")


def test_one_value_in_place_of_a_list_is_a_list_of_one() -> None:
    """As JSON-LD has it, and as others write and read it: the same is read, domains and ends of relationships too."""
    data = (VECTORS / "spdx-3.0.1-model.json").read_bytes()

    def compacted(value: Any) -> Any:
        if isinstance(value, list):
            return compacted(value[0]) if len(value) == 1 else [compacted(item) for item in value]
        return {key: compacted(item) for key, item in value.items()} if isinstance(value, dict) else value

    compact = json.dumps(compacted(json.loads(data))).encode()
    assert b'"to": "' in compact
    assert b'"ai_domain": "' in compact
    assert accepted(compact) == accepted(data)
    assert read_spdx(compact, "vendor") == read_spdx(data, "vendor")
    alone = json.dumps(
        json.loads(bill({"type": "ai_AIPackage", "spdxId": "a:b", "name": "n"})) | {"@graph": {}}
    ).encode()
    assert read_spdx(alone, "vendor").declaration.assets == {}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "not JSON"),
        (b'{"spdxVersion":"SPDX-2.3"}', "SPDX-2.3: what is read is SPDX 3.0"),
        (bill(context="https://evil.example/context.jsonld"), "@context"),
        (bill({"type": "ai_AIPackage", "name": 4}), r"\$.@graph\[0\]|name"),
        (bill({"type": "ai_AIPackage", "spdxId": "a:b"}, {"type": "Tool", "spdxId": "a:b"}), "a spdxId names one"),
        (b'{"@graph":' + b"[" * 100_000, "."),
    ],
)
def test_what_is_no_bill_is_refused_with_the_reason(data: bytes, says: str) -> None:
    """Every refusal is typed and says where and what would be right; no context is fetched."""
    with pytest.raises(UnreadableSource, match=says):
        read_spdx(data, "stranger")


def test_a_bill_of_a_hundred_megabytes_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even decoded."""
    data = b'{"@graph":' + b" " * 100_000_000
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(UnreadableSource, match=str(bom.MAX_BYTES)):
        read_spdx(data, "stranger")


_REFS = st.sampled_from(["a:1", "a:2", "a:3", "_:b"])
_NODES = st.fixed_dictionaries(
    {"type": st.sampled_from(["ai_AIPackage", "dataset_DatasetPackage", "software_Package", "Relationship", "Tool"])},
    optional={
        "spdxId": _REFS,
        "name": st.text(max_size=6),
        "software_primaryPurpose": st.sampled_from(["application", "data", "library"]),
        "software_packageVersion": st.text(max_size=6),
        "from": _REFS,
        "to": st.lists(_REFS, max_size=3),
        "relationshipType": st.sampled_from(["dependsOn", "contains", "trainedOn", "hasDeclaredLicense", "x"]),
        "suppliedBy": _REFS | st.fixed_dictionaries({"name": st.text(max_size=5)}),
        "verifiedUsing": st.lists(
            st.fixed_dictionaries({"algorithm": st.just("md5"), "hashValue": st.text(max_size=3)})
        ),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=st.lists(_NODES, max_size=6))
def test_whatever_comes_is_read_or_refused(graph: list[dict[str, Any]]) -> None:
    """Nothing but a declaration that can be planned, or a typed refusal, ever comes of it."""
    with contextlib.suppress(InvalidInput):
        make_plan(read_spdx(bill(*graph), "stranger").declaration, NOTHING, "run")
