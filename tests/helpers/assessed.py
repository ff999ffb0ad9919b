"""An estate in memory that can be told things, assessed and mended: slices decide, the tables' own folds tell the rows."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from given import Log, acting, registered

from quarterdeck_cli.estate_words import facts_of
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.estate import slices as say
from quarterdeck_domain.estate.declaration import Declaration, Link, read_declaration
from quarterdeck_domain.estate.drift import OFFER
from quarterdeck_domain.estate.events import DriftDetected, RelationObserved
from quarterdeck_domain.estate.finding_types import Finding
from quarterdeck_domain.estate.findings import Assessment, assess
from quarterdeck_domain.estate.kinds import json_schema
from quarterdeck_domain.estate.landscape import Clock, Landscape
from quarterdeck_domain.estate.offers import shut_places
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.slices_drift import AcceptDrift, DetectDrift
from quarterdeck_domain.estate.slices_relations import RelateAssets, UnrelateAssets
from quarterdeck_domain.estate.standing import Standing, Word
from quarterdeck_domain.estate.voices import read
from quarterdeck_domain.events import Event
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import Slice
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.folding import Run, fold
from quarterdeck_readmodels.mapping import landscape_of
from quarterdeck_readmodels.standing import facts_of as standing_facts
from quarterdeck_readmodels.tables import By, Row, Seen

ANN = acting("ann")
SCHEMAS: Mapping[str, Any] = json_schema()["$defs"]


class Told:
    """An estate that is told things."""

    def __init__(self, file: Mapping[str, Any] | None = None) -> None:
        self.log = Log(registered("ann", "operator"))
        if file is not None:
            self.apply(file)

    # -- telling

    def apply(self, assets: Mapping[str, Any], source: str = "platform", **how: Any) -> Told:
        """Make true what a file says of objects; `confidence="imported"` as an import does."""
        wanted = read_declaration({"version": 1, "source": source, "assets": dict(assets)})
        return self.take(msgspec.structs.replace(wanted, **how))

    def take(self, wanted: Declaration) -> Told:
        """Make a declaration true, as the estate's door does."""
        rows = self.rows()
        standing = Standing(
            facts={name: standing_facts(row) for name, row in rows[Asset].items()},
            relations={
                (row.source, row.relation, row.target): Link(
                    to=row.target, environment=row.environment, evidence=row.evidence
                )
                for row in rows[Relation].values()
                if row.declared
            },
            said_by={
                (row.source, row.relation, row.target): Word(row.said_by, row.confidence)
                for row in rows[Relation].values()
            },
            offered=frozenset(name for name, row in rows[Asset].items() if row.offered_by == wanted.source),
            registered={name: row.registered_at for name, row in rows[Asset].items()},
            reviewed=self._reviewed(rows),
            aliases={name: row.merged_into for name, row in rows[Asset].items() if row.merged_into},
            voices={name: read(row.voices, row.contested) for name, row in rows[Asset].items()},
            shut=shut_places((name, standing_facts(row)) for name, row in rows[Asset].items()),
            noted={
                name: frozenset(row.found for row in rows[Drift].values() if row.asset == name and row.state == "open")
                for name in rows[Asset]
            },
            offered_by={name: row.offered_by for name, row in rows[Asset].items() if row.offered_by},
        )
        self.log.given(*make_plan(wanted, standing, "run_1").events, by=ANN)
        return self.wait(milliseconds=1)

    def _reviewed(self, rows: Mapping[type[Row], Mapping[str, Any]]) -> dict[str, datetime]:
        found = {
            name: datetime.fromisoformat(row.since[OFFER][0]) for name, row in rows[Asset].items() if OFFER in row.since
        }
        for drift in rows[Drift].values():
            if drift.state == "accepted" and drift.found == rows[Asset][drift.asset].attributes.get("offer"):
                found[drift.asset] = drift.detected_at
        return found

    def given(self, *events: Event) -> Told:
        """Record facts as they are."""
        self.log.given(*events)
        return self.wait(milliseconds=1)

    def seen(
        self, source: str, relation: str, target: str, *, ago: timedelta = timedelta(0), sender: str | None = None
    ) -> Told:
        """Record that a relation was seen, so long ago; said by a sender that speaks for itself alone."""
        when = self.log.now - ago
        return self.given(
            RelationObserved(
                source=source, relation=relation, target=target, first_seen=when, last_seen=when, sender=sender
            )
        )

    def drift(self, asset: str, **said: Any) -> Told:
        """Record a drift."""
        return self.given(DriftDetected(asset=asset, **said))

    def wait(self, **duration: float) -> Told:
        """Let time pass."""
        self.log.wait(**duration)
        return self

    def when(self, command: Slice) -> Told:
        """Run a command."""
        return self.given(*self.log.decide(command).events)

    def mend(self, fix: str, **words: str) -> Told:
        """Run a fix as somebody would who knows what stands in it in capitals."""
        for line in fix.split(" && "):
            arguments = [words.get(word, word) for word in shlex.split(line)]
            arguments = [
                f"{name}={words[value]}" if value in words else word
                for word in arguments
                for name, _, value in [word.partition("=")]
            ]
            assert arguments[:2] == ["quarterdeck", "estate"], line
            self.when(command_of(arguments[2:]))
        return self

    # -- asking

    def rows(self) -> dict[type[Row], dict[str, Any]]:
        """Return the current rows of the estate, as its tables would hold them."""
        changes = []
        for event in self.log.events:
            found = FOLDS.get(event.payload.type)
            data = msgspec.json.decode(msgspec.json.encode(REGISTRY.to_data(event.payload)))
            seen = Seen(
                type=event.payload.type,
                version=event.payload.version,
                position=event.position,
                recorded_at=event.recorded_at,
                id=str(event.id),
                data=data,
                actor=By(principal=event.actor.principal),
            )
            if found is not None:
                changes += [(event.position, change) for change in found(seen)]
        writes = fold(Run(1, len(self.log.events), changes), {})
        return {
            row: {
                values["id"]: msgspec.convert(values, row)
                for values in writes.inserts.get(row, ())
                if values["to_position"] is None
            }
            for row in (Asset, Relation, Drift)
        }

    def landscape(self, moment: datetime | None = None) -> Landscape:
        """Return the estate at a moment; left out, now."""
        rows = self.rows()
        clock = Clock(moment or self.log.now)
        return landscape_of(rows[Asset].values(), rows[Relation].values(), rows[Drift].values(), clock)

    def assess(self, moment: datetime | None = None) -> Assessment:
        """Return what is found."""
        return assess(self.landscape(moment))

    def findings(self, *types: str, moment: datetime | None = None) -> list[Finding]:
        """Return what is found, of some types or of all."""
        return [item for item in self.assess(moment).findings if not types or item.type in types]

    def types(self, asset: str | None = None) -> set[str]:
        """Return the types of what is found, of one object or of all."""
        return {item.type for item in self.findings() if asset is None or item.asset == asset}


def command_of(arguments: list[str]) -> Slice:
    """Return the command that a command line of the estate's stands for."""
    verb, *rest = arguments
    names = [word for place, word in enumerate(rest) if not word.startswith("--") and not _value(rest, place)]
    options: dict[str, list[str]] = {}
    for place, word in enumerate(rest):
        if _value(rest, place):
            options.setdefault(rest[place - 1].removeprefix("--"), []).append(word)
    one = {name: values[-1] for name, values in options.items()}
    match verb:
        case "change":
            schema = SCHEMAS[names[0].partition(":")[0]]
            set_ = facts_of(options.get("set", []), schema)
            return say.ChangeAsset(asset=names[0], set=set_, unset=options.get("unset", []), actor=ANN)
        case "transfer":
            return say.TransferAsset(asset=names[0], owner=one["owner"], team=one.get("team"), actor=ANN)
        case "promote" | "quarantine" | "release":
            made = {"promote": say.PromoteAsset, "quarantine": say.QuarantineAsset, "release": say.ReleaseAsset}[verb]
            return made(asset=names[0], reason=one["reason"], actor=ANN)
        case "retire":
            return say.RetireAsset(asset=names[0], actor=ANN)
        case "merge":
            return say.MergeAssets(survivor=names[0], merged=names[1], actor=ANN)
        case "relate":
            return RelateAssets(source=names[0], relation=names[1], target=names[2], actor=ANN)
        case "unrelate":
            return UnrelateAssets(source=names[0], relation=names[1], target=names[2], actor=ANN)
        case "note-drift":
            drift_id = make_id("drf", uuid.uuid5(uuid.NAMESPACE_OID, " ".join(arguments)))
            return DetectDrift(asset=names[0], drift_id=drift_id, actor=ANN, **one)  # type: ignore[arg-type]
        case "accept-drift":
            return AcceptDrift(asset=names[0], drift_id=names[1], reason=one["reason"], actor=ANN)
    raise AssertionError(f"no such verb: {verb}")


def _value(words: list[str], place: int) -> bool:
    return place > 0 and words[place - 1].startswith("--")
