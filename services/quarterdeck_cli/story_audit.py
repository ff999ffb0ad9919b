"""What the auditor of the demo's story does: first she notes a key and a checkpoint, and at the end asks and proves.

Asking goes over GraphQL, as any auditor's does; proving is the standalone verifier's, in a process of its own. Nothing
that she trusts comes out of the file that she proves.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from quarterdeck import verifier
from quarterdeck_cli.output import nodes, table, visible
from quarterdeck_cli.story_door import WIDTH, Door, Say, must

THEN_AND_NOW: Final = """
query ThenAndNow($approval: ID!, $before: DateTime!, $atLeast: Position!) {
  then: at(time: $before) { ...Standing }
  now(atLeast: $atLeast) { ...Standing }
}
fragment Standing on Record {
  position
  recordedAt
  node(id: $approval) { ... on Approval { status votes { verdict approver { displayName } } grant { state } } }
}
"""
_SAID: Final = {
    "approval.requested": "asks a human: {action}, {resource}",
    "approval.vote_cast": "votes: {verdict}, “{comment}”",
    "approval.granted": "so it is approved",
    "grant.minted": "and a grant is minted",
    "policy.decision_recorded": "policy, asked once more: {outcome}",
    "grant.redeemed": "redeems it: the effect begins",
    "effect.reported": "reports the effect: {outcome}",
}
"""What an event of an approval says, in words; another type stands for itself."""
_FORGED: Final = b'"approved_until":"20'
"""The decade of the year after this is the byte that the forger changes."""


class Auditor:
    """Audra, her credential, and the desk on which she keeps what is hers alone."""

    def __init__(self, door: Door, token: str, say: Say, desk: Path) -> None:
        self._door = door
        self._token = token
        self._say = say
        self._desk = desk
        self._vkey = ""

    def note(self) -> dict[str, Any]:
        """Note the log's public key and a checkpoint, before there is anything to prove.

        Raises:
            StoryFailed: they could not be had.
        """
        vkey = self._door.read("/v1/log/vkeys", self._token).decode().split()[-1]
        checkpoint = self._door.read("/v1/log/checkpoint", self._token)
        self.hold(vkey, checkpoint)
        return {"vkey": vkey, "size": verifier.parse_checkpoint(checkpoint).size}

    def hold(self, vkey: str, checkpoint: bytes) -> None:
        """Keep a key and a checkpoint: whatever is proven later is held against these, and nothing else."""
        self._vkey = vkey
        self._held.write_bytes(checkpoint)

    def look_back(self, approval: str, names: Mapping[str, str]) -> dict[str, Any]:
        """Ask what happened to an approval, what was true before its vote and is now, and what changed in between.

        Raises:
            StoryFailed: the record says anything else than what was played.
        """
        self._say("\n 5  Audra asks the record, over GraphQL: what happened?", strong=True)
        events = nodes(self._door.ask("StoryOfApproval", self._token, approval=approval)["timeline"])
        rows = [(event["position"], _clock(event), _who(event, names), _what(event)) for event in events]
        self._show(("event", "at", "who", "what"), rows)
        voted = next(datetime.fromisoformat(event["recordedAt"]) for event in events if "vote" in event["type"])
        before = (voted - timedelta(microseconds=1)).isoformat()
        self._say("\n    The same question of the microsecond before the vote, and of now:")
        told = self._door.ask(
            THEN_AND_NOW, self._token, approval=approval, before=before, atLeast=events[-1]["position"]
        )
        then, now = told["then"], told["now"]
        seen = (then["node"]["status"], now["node"]["status"])
        must(seen == ("PENDING", "APPROVED"), "pending before the vote, approved now", seen)
        columns = ("", f"then (event {then['position']})", f"now (event {now['position']})")
        self._show(columns, zip(("status", "votes", "grant"), _standing(then), _standing(now), strict=True))
        self._say("\n    And what is different between the two:")
        span = {"from": {"time": before}, "to": {"position": now["position"]}}
        kinds = ["APPROVAL", "VOTE", "GRANT", "EFFECT"]
        changes = nodes(self._door.ask("WhatChanged", self._token, **span, kinds=kinds)["diff"]["changes"])
        changed = [(change["objectKind"].lower(), _change(change)) for change in changes]
        must([kind for kind, _ in changed] == [kind.lower() for kind in kinds], "four objects changed", changes)
        self._show(("", ""), changed)
        timeline = [{name: event[name] for name in ("position", "recordedAt", "type", "actor")} for event in events]
        return {"timeline": timeline, "before": before, "then": then, "now": now, "changes": changes}

    def prove(self) -> dict[str, Any]:
        """Hold the log against what was noted: that it only grew, that the export is it, and one flipped byte is not.

        Raises:
            StoryFailed: something verifies that must not, or does not and must.
        """
        self._say("\n 7  Audra proves it, offline", strong=True)
        grown = self._grown()
        self._say(
            f"    The log has {grown['to']} events now. A proof of {grown['hashes']} hashes, and the key she noted:"
        )
        self._say(f"    its first {grown['from']} are those that she holds a checkpoint of.")
        export = self._door.read("/v1/log/export", self._token)
        said = self.verify(export)
        must(said["verified"], "the export verifies", said)
        self._say("    The exported file, by a verifier that imports nothing of ours:")
        self._tell(f"VERIFIED: {said['events']} events, extending her checkpoint of {said['held'][0]}.")
        forged, place = flip(export)
        self._say(f"    One byte of it changed (byte {place:,}, the year in which the consent ends):")
        refused = self.verify(forged)
        must(not refused["verified"] and refused["code"] == "root", "a changed export does not verify", refused)
        self._tell(f"NOT VERIFIED: {refused['reason']}.")
        return {"events": said["events"], "grown": grown, "verified": said, "flipped": {"byte": place, **refused}}

    def verify(self, export: bytes) -> dict[str, Any]:
        """Return what the standalone verifier says of a file, with the key and the checkpoint that were noted."""
        file = self._desk / "log.ndjson"
        file.write_bytes(export)
        command = [sys.executable, "-I", verifier.__file__, str(file), "--checkpoint", str(self._held)]
        done = subprocess.run([*command, "--vkey", self._vkey, "--json"], capture_output=True, text=True, check=False)
        must(done.returncode in (0, 1), "the verifier runs", done.stdout + done.stderr)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    @property
    def _held(self) -> Path:
        return self._desk / "held.txt"

    def _grown(self) -> dict[str, int]:
        held = verifier.parse_checkpoint(self._held.read_bytes())
        now = verifier.parse_checkpoint(self._door.read("/v1/log/checkpoint", self._token))
        key = verifier.parse_key(self._vkey)
        try:
            for signed in (held, now):
                verifier.check_held(signed, [key], now)
        except verifier.NotVerified as error:
            must(False, "both checkpoints are signed by the key that was noted", error.reason)
        path = f"/v1/log/proof/consistency?from={held.size}&to={now.size}"
        proof = self._door.get(path, self._token)["hashes"]
        hashes = [base64.b64decode(text) for text in proof]
        grew = verifier.is_consistent(held.size, held.root, now.size, now.root, hashes)
        must(grew, "the log only grew", proof)
        return {"from": held.size, "to": now.size, "hashes": len(hashes)}

    def _show(self, columns: Sequence[str], rows: Any) -> None:
        from rich.console import Console

        console = Console(width=WIDTH - 6, force_terminal=False, markup=False, emoji=False, highlight=False)
        with console.capture() as shown:
            console.print(table(columns, list(rows), WIDTH - 6))
        for line in shown.get().splitlines():
            if line.strip():
                self._say(f"      {line.rstrip()}")

    def _tell(self, text: str) -> None:
        for line in textwrap.wrap(visible(text), WIDTH - 6):
            self._say(f"      {line}")


def flip(export: bytes) -> tuple[bytes, int]:
    """Return an export with exactly one byte changed, which stays well-formed, and the byte's place (from 1).

    Raises:
        StoryFailed: there is no approval in it.
    """
    place = export.find(_FORGED) + len(_FORGED)
    must(place >= len(_FORGED), "the export holds an approval", len(export))
    return export[:place] + b"%d" % ((int(export[place : place + 1]) + 1) % 10) + export[place + 1 :], place + 1


def _clock(event: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(event["recordedAt"]).strftime("%H:%M:%S.%f")


def _who(event: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return names.get(event["actor"]["principal"], event["actor"]["principal"])


def _what(event: Mapping[str, Any]) -> str:
    words = _SAID.get(event["type"])
    return str(event["type"]) if words is None else words.format_map(event["data"])


def _standing(record: Mapping[str, Any]) -> tuple[str, str, str]:
    approval = record["node"]
    votes = ", ".join(f"{vote['approver']['displayName']}: {vote['verdict'].lower()}" for vote in approval["votes"])
    grant = "none" if approval["grant"] is None else approval["grant"]["state"].lower()
    return approval["status"].lower(), votes or "none", grant


def _change(change: Mapping[str, Any]) -> str:
    told = {"status", "verdict", "state", "outcome"}
    if change["kind"] == "ADDED":
        return "new: " + ", ".join(field["after"] for field in change["fields"] if field["name"] in told)
    fields = (field for field in change["fields"] if field["name"] in told)
    return ", ".join(f"{field['name']} {field['before']} → {field['after']}" for field in fields)
