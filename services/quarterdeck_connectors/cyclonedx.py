"""A bill of materials of an estate in CycloneDX 1.6 and 1.7 (ECMA-424), the ML-BOM: written here, read in
`cyclonedx_reading`.

- What acts, models, data and controls are components; what is called over a network is a service.
- `dependencies` hold where reach and parts lead, untyped; `declarations` claim every control; and the properties in our
  namespace hold everything with its type, so that nothing is lost (see `bom`).
- The same estate at the same moment gives the same bytes.

Source: CycloneDX 1.7 JSON schema: components, modelCard, services, dependencies, compositions, declarations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from quarterdeck_connectors.bom import NAMESPACE, Stamp, billed, iri, needs, properties
from quarterdeck_domain.estate.declaration import Declaration, Entry
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.relations import CONTROL, RELATION_TYPES
from quarterdeck_domain.estate.values import relation_id, split

Version = Literal["1.6", "1.7"]

SERVICES: Final = frozenset({"mcp_server", "tool", "deployment", "route", "provider"})
"""Kinds that are services; everything else is a component."""
_MODELS: Final = frozenset({"model", "model_version"})
_APPLICATIONS: Final = frozenset(kind for kind, found in KINDS.items() if found.acts) | {
    "training_pipeline",
    "fine_tuning_run",
}
_HASHES: Final = {
    "md5": ("MD5", 32),
    "sha1": ("SHA-1", 40),
    "sha256": ("SHA-256", 64),
    "sha384": ("SHA-384", 96),
    "sha512": ("SHA-512", 128),
    "sha3-256": ("SHA3-256", 64),
    "sha3-384": ("SHA3-384", 96),
    "sha3-512": ("SHA3-512", 128),
    "blake3": ("BLAKE3", 64),
}
HASHES: Final = {name: ours for ours, (name, _) in _HASHES.items()}
"""Our names of digests by those of CycloneDX."""


def write_cyclonedx(
    document: Mapping[str, Any], stamp: Stamp, *, version: Version = "1.7", root: str | None = None
) -> bytes:
    """Return the bill of a declarative file of an estate, or of one object in it and all that it needs.

    Serves S0-60, S0-61.

    Raises:
        InvalidInput: it is no such file, or the one object is not in it.
    """
    said = billed(document, root)
    made: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": f"urn:uuid:{stamp.serial(f'CycloneDX {version}', root)}",
        "version": 1,
        "metadata": _metadata(said, stamp, root),
        "components": [],
        "services": [],
        "dependencies": [{"ref": name, "dependsOn": targets} for name, targets in needs(said).items()],
        "compositions": [{"aggregate": "unknown", "dependencies": sorted(said.assets)}],
    }
    for name, entry in sorted(said.assets.items()):
        if split(name).kind in SERVICES:
            made["services"].append(_service(name, entry))
        elif name != root:
            made["components"].append(_component(name, entry))
    if claims := _claims(said):
        made["declarations"] = claims
    return msgspec.json.format(msgspec.json.encode(made, order="deterministic"), indent=1) + b"\n"


def _metadata(said: Declaration, stamp: Stamp, root: str | None) -> dict[str, Any]:
    about = [
        ("tenant", stamp.tenant),
        ("position", str(stamp.position)),
        ("source", said.source),
        *([("subject", root)] if root else []),
        *([("moment", stamp.true_at())] if stamp.moment else []),
    ]
    made: dict[str, Any] = {
        "timestamp": stamp.written(),
        "lifecycles": [{"phase": "operations"}],
        "tools": {"components": [{"type": "application", "name": "Quarterdeck"}]},
        "properties": [{"name": f"{NAMESPACE}bom:{name}", "value": value} for name, value in about],
    }
    if root is not None and split(root).kind not in SERVICES:
        made["component"] = _component(root, said.assets[root])
    return made


def _common(name: str, entry: Entry) -> dict[str, Any]:
    """What components and services have alike."""
    facts = entry.facts
    made: dict[str, Any] = {
        "bom-ref": name,
        "name": split(name).name,
        "properties": [{"name": key, "value": value} for key, value in properties(name, entry)],
    }
    if facts.get("description") is not None:
        made["description"] = facts["description"]
    version = facts.get("attributes.pin") or facts.get("attributes.version")
    if version:
        made["version"] = version
    if licence := facts.get("attributes.licence"):
        made["licenses"] = [{"license": {"name": licence}}]
    place = iri(facts.get("attributes.origin")) or iri(facts.get("attributes.code"))
    if place:
        made["externalReferences"] = [{"type": "distribution", "url": place}]
    return made


def _service(name: str, entry: Entry) -> dict[str, Any]:
    facts, made = entry.facts, _common(name, entry)
    if endpoint := iri(facts.get("attributes.endpoint")):
        made["endpoints"] = [endpoint]
    if provider := facts.get("attributes.provider"):
        made["provider"] = {"name": provider}
    if trust := facts.get("attributes.trust"):
        made["trustZone"] = trust
    return made


def _component(name: str, entry: Entry) -> dict[str, Any]:
    facts, kind, made = entry.facts, split(name).kind, _common(name, entry)
    made["type"] = "machine-learning-model" if kind in _MODELS else "application" if kind in _APPLICATIONS else "data"
    if provider := facts.get("attributes.provider"):
        made["supplier"] = {"name": provider}
    if found := hashed(facts.get("attributes.digest")):
        made["hashes"] = [found]
    if kind in _MODELS and (card := _card(entry)):
        made["modelCard"] = card
    if made["type"] == "data":
        made["data"] = [_data(name, entry)]
    return made


def hashed(digest: object) -> dict[str, str] | None:
    """Return a digest as the standard has it, or None if it has no such."""
    algorithm, _, value = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    known = _HASHES.get(algorithm)
    if known is None or len(value) != known[1] or not re.fullmatch("[0-9A-Fa-f]+", value):
        return None
    return {"alg": known[0], "content": value}


def _card(entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    parameters: dict[str, Any] = {}
    if tasks := facts.get("attributes.tasks"):
        parameters["task"] = ", ".join(tasks)
    for field, attribute in (("architectureFamily", "family"), ("modelArchitecture", "architecture")):
        if value := facts.get(f"attributes.{attribute}"):
            parameters[field] = value
    if modalities := facts.get("attributes.modalities"):
        parameters["inputs"] = [{"format": modality} for modality in modalities]
    trained = [link.to for link in entry.relations.get("derived_from", ()) if KINDS[split(link.to).kind].holds_data]
    if trained:
        parameters["datasets"] = [{"ref": name} for name in sorted(trained)]
    card: dict[str, Any] = {"modelParameters": parameters} if parameters else {}
    if purpose := facts.get("purpose"):
        card["considerations"] = {"useCases": [purpose]}
    return card


def _data(name: str, entry: Entry) -> dict[str, Any]:
    facts, kind = entry.facts, split(name).kind
    controls = KINDS[kind].control or kind in {"prompt", "prompt_version"}
    made: dict[str, Any] = {
        "type": "dataset" if KINDS[kind].holds_data else "configuration" if controls else "other",
        "name": split(name).name,
    }
    if place := iri(facts.get("attributes.location")) or iri(facts.get("attributes.path")):
        made["contents"] = {"url": place}
    if classification := facts.get("classification"):
        made["classification"] = classification
    if owner := facts.get("owner") or facts.get("team"):
        made["governance"] = {"owners": [{"organization": {"name": owner}}]}
    return made


def _claims(said: Declaration) -> dict[str, Any]:
    """Every control as a claim about what it controls: with the evidence, where there is any."""
    claims: list[dict[str, Any]] = []
    evidence: list[dict[str, Any]] = []
    for source, entry in sorted(said.assets.items()):
        for relation in sorted(entry.relations.keys() & CONTROL):
            for link in sorted(entry.relations[relation], key=lambda link: link.to):
                ref = f"claim {relation_id(source, relation, link.to)}"
                predicate = f"{RELATION_TYPES[relation].phrase} {link.to}"
                claim: dict[str, Any] = {"bom-ref": ref, "target": source, "predicate": predicate}
                if link.evidence:
                    claim["evidence"] = [f"evidence {ref}"]
                    evidence.append({"bom-ref": f"evidence {ref}", "description": link.evidence})
                claims.append(claim)
    if not claims:
        return {}
    stated: dict[str, Any] = {
        "assessors": [{"bom-ref": "assessor", "thirdParty": False, "organization": {"name": said.source}}],
        "attestations": [
            {
                "summary": "Controls as they are declared in the estate",
                "assessor": "assessor",
                "map": [{"claims": [claim["bom-ref"] for claim in claims]}],
            }
        ],
        "claims": claims,
    }
    return stated | ({"evidence": evidence} if evidence else {})
