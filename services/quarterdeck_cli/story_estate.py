"""The estate of the demo's story: a file becomes the map, things happen to it, and the auditor asks who can reach what.

She asks of a day in the past, as it was known when only the file was applied and as it is known now, and of the
present: one fact came to light late.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from quarterdeck_cli.demo_happenings import CUSTOMERS, PREVIEW, WRITER, estate_file, happenings, last_tuesday, trace
from quarterdeck_cli.output import nodes, table
from quarterdeck_cli.story_door import WIDTH, Door, Say, must

WHO_CAN: Final = """
query WhoCan($of: ID!, $writer: ID!, $then: DateTime!, $before: Position!, $now: Position!) {
  before: at(time: $then, knownAt: { position: $before }) { ...Who }
  then: at(time: $then, knownAt: { position: $now }) { ...Who }
  now(atLeast: $now) {
    reachedBy(of: $of, first: 20) { accesses { asset { name } ungated path { relations { source } } } }
    ways(from: $writer, to: $of, first: 1) { cut { steps { action subject } } }
    findings(first: 1) { total edges { node { type assetId message fix } } }
  }
  opened(from: $writer, to: $of, since: { position: $before }, until: { position: $now }) {
    fewest { subject events { position actor { principal } } }
  }
}
fragment Who on Record { reachedBy(of: $of, first: 20) { accesses { asset { name } } } }
"""
LAST: Final = "{ timeline(first: 1, order: NEWEST_FIRST) { edges { node { position } } } }"


class Estate:
    """What happens to the map, and what Audra asks of it."""

    def __init__(self, door: Door, say: Say, tokens: Mapping[str, str], names: Mapping[str, str]) -> None:
        """`tokens` are those of `omar`, who keeps the map, and of `audra`; `names` say who a principal is."""
        self._door = door
        self._say = say
        self._names = names
        self._omar, self._audra = tokens["omar"], tokens["audra"]

    def play(self, bot: str) -> dict[str, Any]:
        """Apply the file, let everything happen, ask. `bot` is the principal by which the refund bot is known.

        Raises:
            StoryFailed: the map says anything else than what was played.
        """
        self._say("\n 6  The map: which agents can reach the customers' profiles?", strong=True)
        now = datetime.now(UTC)
        done = self._apply()
        position = self._happen(now, bot)
        return {"estate": {"applied": done, "customers": self._ask(now, done["position"], position)}}

    def _apply(self) -> dict[str, Any]:
        answer = self._door.upload("/v1/estate/apply", estate_file(), "application/yaml", self._omar)
        last = json.loads(answer.splitlines()[-1])
        must("result" in last, "the estate's file is applied", last)
        done: dict[str, Any] = last["result"]
        counts = done["counts"]
        self._say(
            f"    Omar applies a file: {counts['register']} objects, {counts['relate']} relations, all or nothing."
        )
        return done

    def _happen(self, now: datetime, bot: str) -> int:
        """Let everything happen; return the position of the last event of it."""
        named = ("change_asset", {"asset": "agent:refund-bot", "set": {"attributes": {"principal": bot}}})
        for name, body in [named, *happenings(now)]:
            self._door.command(self._omar, name, body)
        self._door.post("/v1/traces", trace(now), self._omar)
        self._say("    Then a grant is widened; an index turns out to hold more since Tuesday; a")
        self._say(f"    tool says something else of itself, and {PREVIEW} is put into")
        self._say("    quarantine; a trace shows an agent with a tool that nobody registered.")
        (last,) = nodes(self._door.ask(LAST, self._omar)["timeline"])
        position: int = last["position"]
        return position

    def _ask(self, now: datetime, before: int, position: int) -> dict[str, Any]:
        tuesday = last_tuesday(now)
        then = (tuesday + timedelta(hours=1)).isoformat()
        found = self._door.ask(
            WHO_CAN, self._audra, of=CUSTOMERS, writer=WRITER, before=before, then=then, now=position
        )
        accesses = found["now"]["reachedBy"]["accesses"]
        early, late = _names(found["before"]), _names(found["then"])
        told = {"before": early, "then": late, "now": _names(found["now"])}
        must(set(early) < set(late) < set(told["now"]), "more agents reach the data, each time", told)
        self._say(f"    Audra asks: could they on {tuesday:%A, %d %B}, by what was known before")
        self._say("    that came to light, by what is known since; and can they now?")
        rows = [
            (
                item["asset"]["name"],
                *(_yes(item["asset"]["name"] in told[when]) for when in ("before", "then", "now")),
                item["path"]["relations"][-1]["source"].split(":", 2)[-1],
                _yes(not item["ungated"]),
            )
            for item in accesses
        ]
        self._show(("agent", "known then", "known now", "today", "through", "gated"), rows)
        (change,) = found["opened"]["fewest"]
        event = change["events"][-1]
        who = self._names.get(event["actor"]["principal"], event["actor"]["principal"])
        self._say(f"    What opened {WRITER}'s way, of all that changed:")
        self._tell(f"{change['subject'].removeprefix('relation:')}, by {who} (event {event['position']})")
        (step,) = found["now"]["ways"]["cut"]["steps"]
        self._say(f"    What would close {WRITER}'s way: to {step['action']} {step['subject']}.")
        findings = found["now"]["findings"]
        (worst,) = nodes(findings)
        self._say(f"    {findings['total']} findings, each with the command that mends it. The worst:")
        self._tell(f"{worst['assetId'].removeprefix('asset:')}: {worst['message']}")
        self._say(f"      {worst['fix']}")
        return told | {"opened": change["subject"], "cut": step, "findings": findings["total"], "worst": worst}

    def _show(self, columns: Any, rows: Any) -> None:
        from rich.console import Console

        console = Console(width=WIDTH - 6, force_terminal=False, markup=False, emoji=False, highlight=False)
        with console.capture() as shown:
            console.print(table(columns, list(rows), WIDTH - 6))
        for line in shown.get().splitlines():
            if line.strip():
                self._say(f"      {line.rstrip()}")

    def _tell(self, text: str) -> None:
        for line in textwrap.wrap(text, WIDTH - 6):
            self._say(f"      {line}")


def _names(record: Mapping[str, Any]) -> list[str]:
    return [item["asset"]["name"] for item in record["reachedBy"]["accesses"]]


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
