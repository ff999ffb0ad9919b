"""Events of the log as the command line asks for them and shows them: for `timeline` and `replay`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.estate_words import told, word
from quarterdeck_cli.moments import PAGE, Asked, Moment, settled
from quarterdeck_cli.output import nodes
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

_EVENTS: Final = """
query Happened($first: Int!, $after: String, $order: Order!, $filter: TimelineFilter) {
  timeline(first: $first, after: $after, order: $order, filter: $filter) {
    edges { node { id position type recordedAt actor { principal kind onBehalfOf } tags data } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
_STYLES: Final = (
    (("quarantined", "denied", "detected", "revoked", "retired", "withdrawn"), "red"),
    (("registered", "declared", "released", "granted", "accepted", "applied"), "green"),
    (("changed", "transferred", "promoted", "deprecated", "merged"), "yellow"),
)
_SAYS: Final = ("reason", "evidence", "purpose", "name", "outcome", "verdict", "status", "mode", "role")
"""What says most of an event of a kind that is not known here."""


class Span:
    """A part of the log: what it concerns, and from when to when. Moments are times or positions."""

    def __init__(
        self,
        api: Api,
        wanted: Mapping[str, Any],
        begin: Moment | None = None,
        end: Moment | None = None,
        *,
        json: bool = False,
    ) -> None:
        """Take its bounds; one that ends before it begins ends the command."""
        self._api = api
        self._wanted = {name: value for name, value in wanted.items() if value}
        self._after = self._bound("from", begin)
        self._until = self._bound("to", end)
        if self._backwards():
            fail("--to is before --from", "exchange them", json=json, kind="invalid_input")

    def events(self, *, newest_first: bool = False) -> Iterator[dict[str, Any]]:
        """Yield its events, page by page."""
        order, after = "NEWEST_FIRST" if newest_first else "OLDEST_FIRST", None
        while True:
            page = self._api.query(_EVENTS, first=PAGE, after=after, order=order, filter=self._wanted)["timeline"]
            yield from (event for event in nodes(page) if self._holds(int(event["position"])))
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                return

    def _bound(self, name: str, moment: Moment | None) -> int | None:
        """Say when it begins or ends; return the position, where that is what was given: times do not tell events of
        the same microsecond apart."""
        moment = settled(self._api, moment)
        if moment is None:
            return None
        if "time" in moment:
            self._wanted[name] = moment["time"]
            return None
        position = int(moment["position"])
        recorded = Asked(self._api, {"position": position}, json=False).ask("{ recordedAt }")["recordedAt"]
        if recorded is not None:
            self._wanted[name] = recorded
        return position

    def _backwards(self) -> bool:
        if self._after is not None and self._until is not None:
            return self._until < self._after
        begins, ends = (self._wanted.get(name) for name in ("from", "to"))
        return None not in (begins, ends) and datetime.fromisoformat(str(ends)) < datetime.fromisoformat(str(begins))

    def _holds(self, position: int) -> bool:
        return (self._after is None or position > self._after) and (self._until is None or position <= self._until)


def event_line(event: Mapping[str, Any]) -> Text:
    """Return an event as one line: where, when, what, what it says, by whom."""
    from rich.text import Text

    kind = str(event["type"])
    style = next((style for words, style in _STYLES if kind.rpartition(".")[2].split("_")[-1] in words), "cyan")
    line = Text(f"{visible(event['position']):>7}  {_time(event['recordedAt'])}  ")
    line.append(f"{visible(kind):<28}", style=style)
    line.append(f"  {said(event)}")
    line.append(f"  {by(event)}", style="dim")
    return line


def by(event: Mapping[str, Any]) -> str:
    """Return who recorded an event, and for whom."""
    actor = event["actor"]
    return " for ".join(visible(name) for name in (actor["principal"], *actor["onBehalfOf"]))


def said(event: Mapping[str, Any]) -> str:
    """Return what an event says, in a few words."""
    data = event.get("data")
    if not isinstance(data, dict):
        return ""
    parts = [_subject(data)]
    facts = data.get("facts") or data.get("adopted")
    if isinstance(facts, dict):
        parts.append(", ".join(f"{visible(name)}={told(value, 40)}" for name, value in list(facts.items())[:6]))
        if len(facts) > 6:
            parts.append(f"and {len(facts) - 6} more")
    elif data.get("drift_id") and data.get("field"):
        change = f"{told(data.get('expected'), 24)} -> {told(data.get('found'), 24)}"
        parts.append(f"{word(data.get('input'))} {told(data['field'], 40)}: {change}")
    if isinstance(claims := data.get("claims"), dict) and claims:
        told_of = ", ".join(f"{visible(name)}={told(value, 40)}" for name, value in list(claims.items())[:6])
        parts.append(f"says otherwise, which does not hold: {told_of}")
    if data.get("owner") or data.get("team"):
        parts.append(f"owner {told(data.get('owner'), 60)}, team {told(data.get('team'), 60)}")
    parts += [f"{name}: {told(data[name], 80)}" for name in _SAYS if isinstance(data.get(name), str) and data[name]]
    return "  ".join(part for part in parts if part)


def _subject(data: Mapping[str, Any]) -> str:
    if all(isinstance(data.get(name), str) for name in ("source", "relation", "target")):
        return " ".join(visible(data[name]) for name in ("source", "relation", "target"))
    if isinstance(data.get("merged"), str):
        return f"{visible(data['merged'])} into {told(data.get('survivor'), 120)}"
    if isinstance(data.get("asset"), str):
        return visible(data["asset"])
    if isinstance(data.get("run"), str):
        counts = [
            f"{told(data[name], 20)} {name}"
            for name in ("registered", "changed", "retired", "related")
            if data.get(name)
        ]
        return f"{told(data.get('source'), 60)}: {', '.join(counts)}"
    return ""


def _time(text: object) -> str:
    shown = visible(text)
    return f"{shown[:19]}Z" if len(shown) > 19 and shown[4:5] == "-" else shown
