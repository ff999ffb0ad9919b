"""Reading a bill of materials in SPDX 3.0, JSON-LD: our own exactly, anybody's as far as we have words.

| there | here |
|---|---|
| AI package; package whose purpose is a model | model, and a model version if it has a version or a digest |
| dataset package; package whose purpose is data | dataset |
| package whose purpose is an application | application |
| any other software artifact | left out, what it stands between is carried through |
| trainedOn, testedOn, descendantOf | derived from |
| contains, from an application | part of |
| dependsOn and its like | as the two kinds go together |

What we need of JSON-LD is its plain form, which SPDX asks for: one context, one `@graph`. Contexts are not fetched.

Source: SPDX 3.0.1, model and annex on JSON-LD serialization.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from quarterdeck_connectors.bom import declared, own_entry, own_id, read_bill
from quarterdeck_connectors.bom_foreign import Foreign, Found
from quarterdeck_connectors.draft import Draft, Imported, address, line, lines
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.spdx import LEVELS
from quarterdeck_domain.checks import legible

MAX_ELEMENTS: Final = 500_000
_CONTEXT: Final = re.compile(r"https://spdx\.org/rdf/3\.0(\.\d+)?/spdx-context\.jsonld")
_HEX: Final = re.compile("[0-9A-Fa-f]{32,128}")
_DIGESTS: Final = {
    "sha512": "sha512",
    "sha384": "sha384",
    "sha256": "sha256",
    "sha3_512": "sha3-512",
    "sha3_384": "sha3-384",
    "sha3_256": "sha3-256",
    "blake3": "blake3",
    "sha1": "sha1",
    "md5": "md5",
}
"""Our names of digests by those of SPDX, the strongest first."""
_NEEDS: Final = frozenset(
    {
        "dependsOn",
        "hasDynamicLink",
        "hasStaticLink",
        "hasOptionalDependency",
        "hasProvidedDependency",
        "hasPrerequisite",
        "hasDataFile",
        "usesTool",
        "hasOptionalComponent",
    }
)
_ORIGINS: Final = frozenset({"trainedOn", "testedOn", "descendantOf"})
_LICENCES: Final = ("hasDeclaredLicense", "hasConcludedLicense")


class _Node(msgspec.Struct):
    """Any node of the graph, as far as we read it. What refers to another may have it written out in its place, and a
    list with one member may be written as that member."""

    type: str = ""
    id: str | None = msgspec.field(name="spdxId", default=None)
    blank: str | None = msgspec.field(name="@id", default=None)
    name: str | None = None
    description: str | None = None
    summary: str | None = None
    version: str | None = msgspec.field(name="software_packageVersion", default=None)
    location: str | None = msgspec.field(name="software_downloadLocation", default=None)
    package_url: str | None = msgspec.field(name="software_packageUrl", default=None)
    purpose: str | None = msgspec.field(name="software_primaryPurpose", default=None)
    supplied_by: str | _Node | None = msgspec.field(name="suppliedBy", default=None)
    originated_by: list[str | _Node] | str | _Node = msgspec.field(name="originatedBy", default_factory=list)
    verified_using: list[str | _Node] | str | _Node = msgspec.field(name="verifiedUsing", default_factory=list)
    algorithm: str | None = None
    hash_value: str | None = msgspec.field(name="hashValue", default=None)
    model_types: list[str] | str = msgspec.field(name="ai_typeOfModel", default_factory=list)
    domains: list[str] | str = msgspec.field(name="ai_domain", default_factory=list)
    application: str | None = msgspec.field(name="ai_informationAboutApplication", default=None)
    level: str | None = msgspec.field(name="dataset_confidentialityLevel", default=None)
    intended_use: str | None = msgspec.field(name="dataset_intendedUse", default=None)
    licence: str | None = msgspec.field(name="simplelicensing_licenseExpression", default=None)
    begin: str | _Node | None = msgspec.field(name="from", default=None)
    to: list[str | _Node] | str | _Node = []
    relationship: str | None = msgspec.field(name="relationshipType", default=None)
    extension: list[str | _Node] | str | _Node = []
    properties: list[str | _Node] | str | _Node = msgspec.field(name="extension_cdxProperty", default_factory=list)
    property_name: str | None = msgspec.field(name="extension_cdxPropName", default=None)
    property_value: str | None = msgspec.field(name="extension_cdxPropValue", default=None)


class _Document(msgspec.Struct):
    context: str | list[str] = msgspec.field(name="@context", default="")
    graph: list[_Node] | _Node = msgspec.field(name="@graph", default_factory=list)
    spdx2: str | None = msgspec.field(name="spdxVersion", default=None)


def read_spdx(data: bytes, source: str) -> Imported:
    """Return what a bill says of an estate. `source` names who says so. Serves S0-60, S0-61.

    Raises:
        UnreadableSource: too large, no such bill, or something in it cannot be; says where and what would be right.
    """
    said = read_bill(data, _Document, "the SPDX bill")
    if said.spdx2 is not None:
        raise UnreadableSource(f"this is {legible(said.spdx2, limit=40)}: what is read is SPDX 3.0, JSON-LD")
    contexts = [said.context] if isinstance(said.context, str) else said.context
    if not any(_CONTEXT.fullmatch(context) for context in contexts):
        raise UnreadableSource("this is not SPDX 3.0: `@context` is https://spdx.org/rdf/3.0.1/spdx-context.jsonld")
    return _Reading(_all(said.graph), source).imported()


class _Reading:
    """One graph on its way to a declaration."""

    def __init__(self, graph: list[_Node], source: str) -> None:
        self.draft = Draft(source)
        self.foreign = Foreign(self.draft)
        self.own: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, _Node] = {}
        self.relationships: list[_Node] = []
        waiting: list[str | _Node] = [*reversed(graph)]
        count = 0
        while waiting:
            node = waiting.pop()
            if isinstance(node, str):
                continue
            count += 1
            if count > MAX_ELEMENTS:
                raise UnreadableSource(f"this bill has more than {MAX_ELEMENTS} elements", limit=MAX_ELEMENTS)
            self._keep(node)
            inside = (node.supplied_by, node.begin, *_all(node.to), *_all(node.originated_by))
            waiting += [found for found in inside if found is not None]

    def _keep(self, node: _Node) -> None:
        ref = node.id or node.blank
        if ref is not None and self.nodes.setdefault(ref, node) is not node:
            raise UnreadableSource(f"two elements are called {legible(ref, limit=120)!r}: a spdxId names one")
        if node.relationship is not None:
            self.relationships.append(node)

    def imported(self) -> Imported:
        """Return all of it."""
        licences = self._licences()
        for ref, node in self.nodes.items():
            if node.relationship is None:
                self._take(ref, node, licences.get(ref, ""))
        for relationship in self.relationships:
            self._relate(relationship)
        self.foreign.relate()
        return declared(self.own, self.draft)

    def _licences(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind in reversed(_LICENCES):
            for node in self.relationships:
                if node.relationship == kind:
                    said = [self._node(target) for target in _all(node.to)]
                    text = " AND ".join(part.licence for part in said if part is not None and part.licence)
                    if text:
                        found[_ref(node.begin)] = text
        return found

    def _take(self, ref: str, node: _Node, licence: str) -> None:
        given = self._properties(node)
        asset = own_id(given)
        if asset is not None:
            if asset in self.own:
                raise UnreadableSource(f"{asset} is in this file twice", asset=asset)
            self.own[asset] = own_entry(asset, given, node.description)
            self.foreign.own.add(ref)
            self.foreign.refer(ref, asset)
        elif node.type.startswith(("software_", "ai_", "dataset_")) and node.type != "software_Sbom":
            asset = self._foreign(node, licence)
            if asset is None:
                purpose = f" ({node.purpose})" if node.purpose else ""
                self.foreign.leave_out(f"{node.type}{purpose}")
            self.foreign.refer(ref, asset)

    def _properties(self, node: _Node) -> list[tuple[str, str]]:
        entries = [
            self._node(entry)
            for extension in _all(node.extension)
            if (held := self._node(extension)) is not None
            for entry in _all(held.properties)
        ]
        return [(entry.property_name, entry.property_value or "") for entry in entries if entry and entry.property_name]

    def _foreign(self, node: _Node, licence: str) -> str | None:
        parties = [self._node(party) for party in (node.supplied_by, *_all(node.originated_by)) if party is not None]
        provider = next((party.name for party in parties if party is not None and party.name), None)
        found = Found(
            name=node.name or node.id or "",
            version=node.version or "",
            description=node.description or node.summary or "",
            digest=self._digest(node),
            attributes={"provider": line(provider), "licence": line(licence)},
            labels={"purl": node.package_url} if node.package_url else {},
        )
        if node.type == "ai_AIPackage" or node.purpose == "model":
            found.purpose = node.application or ""
            found.attributes |= {
                "architecture": line(", ".join(_all(node.model_types))),
                "tasks": lines(_all(node.domains)),
                "origin": address(node.location),
            }
            return self.foreign.model(found)
        if node.type == "dataset_DatasetPackage" or node.purpose == "data":
            found.purpose = node.intended_use or ""
            found.classification = LEVELS.get(node.level or "", "")
            found.attributes["location"] = address(node.location)
            return self.foreign.add("dataset", found)
        return self.foreign.add("application", found) if node.purpose == "application" else None

    def _digest(self, node: _Node) -> str:
        nodes = [self._node(found) for found in _all(node.verified_using)]
        known = {found.algorithm: found.hash_value for found in nodes if found is not None}
        for theirs, ours in _DIGESTS.items():
            value = known.get(theirs)
            if value is not None and _HEX.fullmatch(value):
                return f"{ours}:{value.lower()}"
        return ""

    def _relate(self, node: _Node) -> None:
        begin, kind = _ref(node.begin), node.relationship
        for end in map(_ref, _all(node.to)):
            if begin in self.foreign.own and end in self.foreign.own:
                continue
            source, target = self.foreign.assets.get(begin), self.foreign.assets.get(end)
            if kind in _ORIGINS and source is not None and target is not None:
                if begin not in self.foreign.own and target.startswith(("model", "dataset:")):
                    self.foreign.depend(begin, end)
            elif kind == "contains" and source is not None and source.startswith("application:"):
                if target is not None and end not in self.foreign.own:
                    self.draft.relate(target, "part_of", source)
            elif kind in _NEEDS or kind == "contains":
                self.foreign.depend(begin, end)

    def _node(self, reference: str | _Node) -> _Node | None:
        return self.nodes.get(reference) if isinstance(reference, str) else reference


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _ref(reference: str | _Node | None) -> str:
    if isinstance(reference, _Node):
        return reference.id or reference.blank or ""
    return reference or ""
