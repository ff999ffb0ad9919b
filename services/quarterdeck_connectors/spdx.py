"""A bill of materials of an estate in SPDX 3.0.1, JSON-LD, with the classes of its AI and Dataset profiles: written
here, read in `spdx_reading`.

- Models are AI packages, data are dataset packages, teams and providers are organizations, the rest are packages.
- Relationships are of the nearest type that SPDX has, our own type in their comment; what exactly is so is in the
  properties in our namespace (Extension profile, CdxPropertiesExtension), so that nothing is lost (see `bom`).
- Conformance to the AI and Dataset profiles is not claimed: they ask for release times and places of download, which an
  estate does not know and we do not make up.
- The same estate at the same moment gives the same bytes.

Source: SPDX 3.0.1, model (Core, Software, AI, Dataset, Extension) and annex on JSON-LD serialization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from quarterdeck_connectors.bom import Stamp, billed, edges, iri, needs, properties
from quarterdeck_connectors.cyclonedx import hashed
from quarterdeck_domain.estate.declaration import Declaration, Entry
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.values import split

CONTEXT: Final = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
CREATION: Final = "_:creation"
_ORGANIZATIONS: Final = frozenset({"team", "provider"})
_PURPOSES: Final = {
    "model": "model",
    "model_version": "model",
    "deployment": "platform",
    "route": "configuration",
    "prompt": "configuration",
    "prompt_version": "configuration",
    "mcp_server": "application",
    "tool": "application",
    "training_pipeline": "application",
    "fine_tuning_run": "application",
    "output_channel": "other",
    "policy_bundle": "specification",
    "evaluation_suite": "test",
}
_RELATIONSHIPS: Final = {
    "uses": "dependsOn",
    "calls": "dependsOn",
    "exposes": "contains",
    "reads": "hasDataFile",
    "drives": "configures",
    "derived_from": "descendantOf",
    "part_of": "contains",
    "governed_by": "hasRequirement",
    "gated_by": "hasRequirement",
    "guarded_by": "hasRequirement",
    "evaluated_by": "hasTest",
}
_RISKS: Final = {"low": "low", "moderate": "medium", "high": "high", "critical": "serious"}
_LEVELS: Final = {"public": "clear", "internal": "green", "confidential": "amber", "restricted": "red"}
LEVELS: Final = {theirs: ours for ours, theirs in _LEVELS.items()}
"""Our classifications by the confidentiality levels of SPDX."""


def write_spdx(document: Mapping[str, Any], stamp: Stamp, *, root: str | None = None) -> bytes:
    """Return the bill of a declarative file of an estate, or of one object in it and all that it needs.

    Serves S0-60, S0-61.

    Raises:
        InvalidInput: it is no such file, or the one object is not in it.
    """
    said = billed(document, root)
    base = f"urn:uuid:{stamp.serial('SPDX 3.0.1', root)}"
    elements = [_element(base, name, entry) for name, entry in sorted(said.assets.items())]
    elements += _licences(base, said)
    elements += _relationships(base, said)
    names = [element["spdxId"] for element in elements]
    maker = {"type": "SoftwareAgent", "spdxId": f"{base}#maker", "creationInfo": CREATION, "name": "Quarterdeck"}
    of = f"as it was at {stamp.true_at()}, as known " if stamp.moment else ""
    creation = {
        "type": "CreationInfo",
        "@id": CREATION,
        "specVersion": "3.0.1",
        "created": stamp.written(),
        "createdBy": [maker["spdxId"]],
        "comment": f"Estate of {stamp.tenant} {of}at position {stamp.position}, as {said.source} has it",
    }
    bill: dict[str, Any] = {
        "type": "software_Sbom",
        "spdxId": f"{base}#bill",
        "creationInfo": CREATION,
        "software_sbomType": ["deployed"],
        "rootElement": [id_of(base, name) for name in _roots(said, root)],
        "element": names,
    }
    # Not `extension`: as a profile's name, the standard's own context reads it as the property of the same name.
    profiles = ["core", "software"] + (["simpleLicensing"] if _has_licences(said) else [])
    whole = {
        "type": "SpdxDocument",
        "spdxId": f"{base}#document",
        "creationInfo": CREATION,
        "profileConformance": profiles,
        "rootElement": [bill["spdxId"]],
        "element": [maker["spdxId"]],
    }
    graph = [creation, maker, whole, {key: value for key, value in bill.items() if value}, *elements]
    made = {"@context": CONTEXT, "@graph": graph}
    return msgspec.json.encode(made, order="deterministic") + b"\n"


def id_of(base: str, name: str) -> str:
    """Return the IRI of an object in a bill."""
    return f"{base}#{quote(name, safe=':@/-._~')}"


def _roots(said: Declaration, root: str | None) -> list[str]:
    """The one object, or those that nothing else needs; the first, where all need each other."""
    if root is not None:
        return [root]
    found = needs(said)
    needed = {target for targets in found.values() for target in targets}
    return [name for name in found if name not in needed] or list(found)[:1]


def _element(base: str, name: str, entry: Entry) -> dict[str, Any]:
    facts, kind = entry.facts, split(name).kind
    made: dict[str, Any] = {
        "spdxId": id_of(base, name),
        "creationInfo": CREATION,
        "name": split(name).name,
        "extension": [
            {
                "type": "extension_CdxPropertiesExtension",
                "extension_cdxProperty": [
                    {
                        "type": "extension_CdxPropertyEntry",
                        "extension_cdxPropName": key,
                        "extension_cdxPropValue": value,
                    }
                    for key, value in properties(name, entry)
                ],
            }
        ],
    }
    if facts.get("description") is not None:
        made["description"] = facts["description"]
    if kind in _ORGANIZATIONS:
        return made | {"type": "Organization"}
    return made | _package(kind, facts)


def _package(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    data = KINDS[kind].holds_data
    purpose = "data" if data else "application" if KINDS[kind].acts else _PURPOSES.get(kind, "configuration")
    made: dict[str, Any] = {"type": "software_Package", "software_primaryPurpose": purpose}
    if version := facts.get("attributes.pin") or facts.get("attributes.version"):
        made["software_packageVersion"] = version
    if place := iri(facts.get("attributes.origin")) or iri(facts.get("attributes.location")):
        made["software_downloadLocation"] = place
    if found := hashed(facts.get("attributes.digest")):
        algorithm = found["alg"].lower().replace("sha3-", "sha3_").replace("-", "")
        made["verifiedUsing"] = [{"type": "Hash", "algorithm": algorithm, "hashValue": found["content"]}]
    if purpose == "model":
        made |= {"type": "ai_AIPackage"} | _model(facts)
    elif data:
        made |= {"type": "dataset_DatasetPackage", "dataset_datasetType": ["noAssertion"]}
        if level := facts.get("classification"):
            made["dataset_confidentialityLevel"] = _LEVELS[level]
        if facts.get("purpose"):
            made["dataset_intendedUse"] = facts["purpose"]
    return made


def _model(facts: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if kinds := [facts[name] for name in ("attributes.family", "attributes.architecture") if facts.get(name)]:
        made["ai_typeOfModel"] = sorted(set(kinds))
    if tasks := facts.get("attributes.tasks"):
        made["ai_domain"] = list(tasks)
    if facts.get("purpose"):
        made["ai_informationAboutApplication"] = facts["purpose"]
    if risk := facts.get("risk"):
        made["ai_safetyRiskAssessment"] = _RISKS[risk]
    return made


def _has_licences(said: Declaration) -> bool:
    return any(entry.facts.get("attributes.licence") for entry in said.assets.values())


def _licences(base: str, said: Declaration) -> list[dict[str, Any]]:
    """Each licence as what is written of it: nobody says that it is an expression that SPDX knows."""
    found: dict[str, list[str]] = {}
    for name, entry in sorted(said.assets.items()):
        if licence := entry.facts.get("attributes.licence"):
            found.setdefault(licence, []).append(name)
    made: list[dict[str, Any]] = []
    for place, (licence, names) in enumerate(sorted(found.items())):
        ref = f"{base}#licence-{place}"
        text = {"type": "simplelicensing_SimpleLicensingText", "simplelicensing_licenseText": licence}
        made.append(text | {"spdxId": ref, "creationInfo": CREATION, "name": licence})
        made += [_relationship(base, f"{name} licence", name, "hasDeclaredLicense", [ref]) for name in names]
    return made


def _relationships(base: str, said: Declaration) -> list[dict[str, Any]]:
    """One relationship for all that an object is related to in one way."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for source, relation, target in sorted(edges(said)):
        if target in said.assets:
            begin, end = (target, source) if relation == "part_of" else (source, target)
            kind = _RELATIONSHIPS.get(relation, "other")
            exact = "trainedOn" if kind == "descendantOf" and _trained(begin, end) else kind
            found.setdefault((begin, relation, exact), []).append(id_of(base, end))
    return [
        _relationship(base, f"{begin} {relation} {kind}", begin, kind, ends) | {"comment": relation}
        for (begin, relation, kind), ends in sorted(found.items())
    ]


def _trained(source: str, target: str) -> bool:
    return split(source).kind in {"model", "model_version"} and KINDS[split(target).kind].holds_data


def _relationship(base: str, name: str, source: str, kind: str, to: list[str]) -> dict[str, Any]:
    return {
        "type": "Relationship",
        "spdxId": id_of(base, name),
        "creationInfo": CREATION,
        "from": id_of(base, source),
        "relationshipType": kind,
        "to": to,
    }
