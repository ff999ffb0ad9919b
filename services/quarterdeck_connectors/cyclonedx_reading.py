"""Reading a bill of materials in CycloneDX 1.5 to 1.7, JSON: our own exactly, anybody's as far as we have words.

| there | here |
|---|---|
| machine-learning-model | model, and a model version if it has a version or a digest |
| data | dataset; a prompt, if it is named one and is no dataset |
| application | application |
| service that names the Model Context Protocol | MCP server; services within it: tools that it exposes |
| other service | tool |
| any other component | left out, what it stands between is carried through |
| pedigree.ancestors, modelCard datasets | derived from |
| components of an application | part of |

Source: CycloneDX 1.7 JSON schema. What says nothing of an estate (vulnerabilities, formulation, signatures) is not
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from quarterdeck_connectors.bom import declared, own_entry, own_id, read_bill
from quarterdeck_connectors.bom_foreign import Foreign, Found
from quarterdeck_connectors.cyclonedx import HASHES
from quarterdeck_connectors.draft import Draft, Imported, address, line, lines
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.checks import legible

VERSIONS: Final = frozenset({"1.5", "1.6", "1.7"})
MAX_THINGS: Final = 200_000
MAX_NESTED: Final = 16
_MCP: Final = re.compile(r"\bmcp\b|model.?context.?protocol", re.IGNORECASE)
_HEX: Final = re.compile("[0-9A-Fa-f]{32,128}")
_STRONGEST: Final = ("SHA-512", "SHA-384", "SHA-256", "SHA3-512", "SHA3-384", "SHA3-256", "BLAKE3", "SHA-1", "MD5")


class _Property(msgspec.Struct):
    name: str
    value: str = ""


class _Party(msgspec.Struct):
    name: str | None = None


class _Hash(msgspec.Struct):
    alg: str
    content: str


class _LicenceName(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Licence(msgspec.Struct):
    license: _LicenceName | None = None
    expression: str | None = None


class _Address(msgspec.Struct):
    type: str = ""
    url: str = ""


class _Responsible(msgspec.Struct):
    organization: _Party | None = None


class _Governance(msgspec.Struct):
    owners: list[_Responsible] = []


class _Contents(msgspec.Struct):
    url: str | None = None


class _Data(msgspec.Struct):
    """componentData, serviceData, or the reference to a component that a model card may have instead."""

    ref: str | None = None
    type: str = ""
    name: str | None = None
    description: str | None = None
    classification: str | None = None
    governance: _Governance | None = None
    contents: _Contents | None = None


class _Format(msgspec.Struct):
    format: str | None = None


class _Parameters(msgspec.Struct):
    task: str | None = None
    architectureFamily: str | None = None  # noqa: N815  as the standard has it
    modelArchitecture: str | None = None  # noqa: N815
    datasets: list[_Data] = []
    inputs: list[_Format] = []
    outputs: list[_Format] = []


class _Considerations(msgspec.Struct):
    useCases: list[str] = []  # noqa: N815


class _Card(msgspec.Struct):
    modelParameters: _Parameters | None = None  # noqa: N815
    considerations: _Considerations | None = None


class _Pedigree(msgspec.Struct):
    ancestors: list[_Thing] = []


class _Thing(msgspec.Struct):
    """A component or a service."""

    name: str
    type: str = ""
    ref: str | None = msgspec.field(name="bom-ref", default=None)
    group: str | None = None
    version: str | None = None
    description: str | None = None
    publisher: str | None = None
    supplier: _Party | None = None
    manufacturer: _Party | None = None
    provider: _Party | None = None
    hashes: list[_Hash] = []
    licenses: list[_Licence] = []
    purl: str | None = None
    externalReferences: list[_Address] = []  # noqa: N815
    endpoints: list[str] = []
    modelCard: _Card | None = None  # noqa: N815
    data: list[_Data] = []
    pedigree: _Pedigree | None = None
    components: list[_Thing] = []
    services: list[_Thing] = []
    properties: list[_Property] = []


class _Dependency(msgspec.Struct):
    ref: str
    dependsOn: list[str] = []  # noqa: N815


class _Metadata(msgspec.Struct):
    component: _Thing | None = None


class _Bill(msgspec.Struct):
    bomFormat: str = ""  # noqa: N815
    specVersion: str = ""  # noqa: N815
    metadata: _Metadata | None = None
    components: list[_Thing] = []
    services: list[_Thing] = []
    dependencies: list[_Dependency] = []


def read_cyclonedx(data: bytes, source: str) -> Imported:
    """Return what a bill says of an estate. `source` names who says so. Serves S0-60, S0-61.

    Raises:
        UnreadableSource: too large, no such bill, or something in it cannot be; says where and what would be right.
    """
    if data.lstrip()[:1] == b"<":
        raise UnreadableSource("this CycloneDX bill is XML: give it as JSON")
    bill = read_bill(data, _Bill, "the CycloneDX bill")
    if bill.bomFormat != "CycloneDX" or bill.specVersion not in VERSIONS:
        raise UnreadableSource(
            f"this is {legible(bill.bomFormat or 'nothing known', limit=40)} {legible(bill.specVersion, limit=20)}; "
            f"what is read is CycloneDX {', '.join(sorted(VERSIONS))}"
        )
    return _Reading(bill, source).imported()


class _Reading:
    """One bill on its way to a declaration."""

    def __init__(self, bill: _Bill, source: str) -> None:
        self.bill = bill
        self.draft = Draft(source)
        self.foreign = Foreign(self.draft)
        self.own: dict[str, dict[str, Any]] = {}
        self.cards: list[tuple[str, _Thing]] = []
        self.count = 0

    def imported(self) -> Imported:
        """Return all of it."""
        top = [self.bill.metadata.component] if self.bill.metadata and self.bill.metadata.component else []
        for thing in (*top, *self.bill.components):
            self._tree(thing, service=False)
        for thing in self.bill.services:
            self._tree(thing, service=True)
        for dependency in self.bill.dependencies:
            for target in dependency.dependsOn:
                self.foreign.depend(dependency.ref, target)
        for asset, thing in self.cards:
            self._origins(asset, thing)
        self.foreign.relate()
        return declared(self.own, self.draft)

    def _tree(self, root: _Thing, *, service: bool) -> None:
        """Take a thing and what is nested in it. Iterative; how deep it may be is bounded."""
        waiting: list[tuple[_Thing, bool, str | None, int]] = [(root, service, None, 0)]
        while waiting:
            thing, is_service, parent, depth = waiting.pop()
            self.count += 1
            if self.count > MAX_THINGS or depth > MAX_NESTED:
                raise UnreadableSource(
                    f"this bill has more than {MAX_THINGS} things, or some nested deeper than {MAX_NESTED}",
                    limit=MAX_THINGS,
                )
            asset = self._take(thing, is_service, parent)
            if asset is not None and parent is not None:
                self._nest(asset, parent)
            inside = asset or parent
            for child, as_service in reversed([(child, is_service) for child in _children(thing, is_service)]):
                waiting.append((child, as_service, inside, depth + 1))

    def _take(self, thing: _Thing, service: bool, parent: str | None) -> str | None:
        given = [(item.name, item.value) for item in thing.properties]
        ref = thing.ref or f"#{self.count}"
        asset = own_id(given)
        if asset is not None:
            if asset in self.own:
                raise UnreadableSource(f"{asset} is in this file twice", asset=asset)
            self.own[asset] = own_entry(asset, given, thing.description)
            self.foreign.own.add(ref)
        else:
            asset = self._foreign(thing, service, parent)
            if asset is None:
                self.foreign.leave_out(thing.type or "component without a type")
            elif thing.modelCard or thing.pedigree:
                self.cards.append((asset, thing))
        self.foreign.refer(ref, asset)
        return asset

    def _foreign(self, thing: _Thing, service: bool, parent: str | None) -> str | None:
        found = _found(thing)
        if service:
            if parent is None and _speaks_mcp(thing):
                found.attributes["endpoint"] = next(filter(None, map(address, thing.endpoints)), None)
                return self.foreign.add("mcp_server", found)
            found.attributes["target_system"] = next(filter(None, (line(address(at)) for at in thing.endpoints)), None)
            return self.foreign.add("tool", found)
        if thing.type == "machine-learning-model":
            _describe_model(thing, found)
            return self.foreign.model(found)
        if thing.type == "data":
            return self._data(thing, found)
        if thing.type == "application":
            return self.foreign.add("application", found)
        return None

    def _data(self, thing: _Thing, found: Found) -> str | None:
        types = {data.type for data in thing.data}
        if types and "dataset" not in types:
            return self.foreign.add("prompt", found) if "prompt" in thing.name.lower() else None
        for data in thing.data:
            _describe_data(data, found)
        return self.foreign.add("dataset", found)

    def _nest(self, asset: str, parent: str) -> None:
        if asset in self.own or parent in self.own:
            return
        if parent.startswith("application:"):
            self.draft.relate(asset, "part_of", parent)
        elif parent.startswith("mcp_server:") and asset.startswith("tool:"):
            self.draft.relate(parent, "exposes", asset)

    def _origins(self, asset: str, thing: _Thing) -> None:
        """Relate a model to the models and data that it was made of."""
        if not asset.startswith(("model:", "model_version:", "dataset:")):
            return
        for ancestor in thing.pedigree.ancestors if thing.pedigree else ():
            made = self._foreign(ancestor, False, None)
            if made is not None and made.startswith(("model:", "model_version:", "dataset:")):
                self.draft.relate(asset, "derived_from", made)
        parameters = thing.modelCard.modelParameters if thing.modelCard else None
        for data in parameters.datasets if parameters else ():
            if data.ref is not None:
                target = self.foreign.assets.get(data.ref)
                if target is not None and target.startswith("dataset:"):
                    self.draft.relate(asset, "derived_from", target)
                else:
                    self.draft.note(f"{asset}: its card names the dataset {data.ref!r}, which is not in this file")
            elif data.name:
                found = Found(name=data.name, description=data.description or "")
                _describe_data(data, found)
                self.draft.relate(asset, "derived_from", self.foreign.add("dataset", found))


def _children(thing: _Thing, service: bool) -> Iterator[_Thing]:
    yield from thing.services if service else thing.components


def _found(thing: _Thing) -> Found:
    parties = (thing.supplier, thing.manufacturer, thing.provider)
    provider = next((party.name for party in parties if party and party.name), None) or thing.publisher
    licences = [
        named
        for licence in thing.licenses
        if (named := licence.expression or (licence.license and (licence.license.id or licence.license.name)))
    ]
    found = Found(
        name=f"{thing.group}/{thing.name}" if thing.group else thing.name,
        version=thing.version or "",
        title=thing.name if thing.group else "",
        description=thing.description or "",
        digest=_digest(thing.hashes),
    )
    if thing.purl:
        found.labels["purl"] = thing.purl
    found.attributes |= {"provider": line(provider), "licence": line(" AND ".join(licences))}
    return found


def _digest(hashes: list[_Hash]) -> str:
    known = {found.alg: found.content for found in hashes if _HEX.fullmatch(found.content)}
    best = next((name for name in _STRONGEST if name in known), None)
    return f"{HASHES[best]}:{known[best].lower()}" if best else ""


def _describe_model(thing: _Thing, found: Found) -> None:
    card = thing.modelCard or _Card()
    parameters = card.modelParameters or _Parameters()
    places = {place.type: place.url for place in reversed(thing.externalReferences)}
    origin = next((places[kind] for kind in ("distribution", "vcs", "website") if kind in places), None)
    found.purpose = "; ".join(card.considerations.useCases) if card.considerations else ""
    found.attributes |= {
        "origin": address(origin),
        "family": line(parameters.architectureFamily),
        "architecture": line(parameters.modelArchitecture),
        "tasks": lines([parameters.task]),
        "modalities": lines([item.format for item in (*parameters.inputs, *parameters.outputs)]),
    }


def _describe_data(data: _Data, found: Found) -> None:
    found.classification = found.classification or data.classification or ""
    if data.contents is not None:
        found.attributes.setdefault("location", address(data.contents.url))
    for owner in data.governance.owners if data.governance else ():
        found.owner = found.owner or (owner.organization and owner.organization.name) or ""


def _speaks_mcp(thing: _Thing) -> bool:
    said = (thing.name, thing.group, thing.description, *thing.endpoints, *(item.name for item in thing.properties))
    return any(_MCP.search(text[:2_000]) for text in said if text)
