"""`--at` and `--known-at`: of which moment a question is asked, and the one helper that asks the record about it.

A moment is a position of the log, a time (`2026-11-14`, `2026-11-14T09:30:00Z`; without a zone it is UTC), how long ago
it was (`7d`, `12h`, `30m`), or, for what can be known, `now`: the server says what that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import NO_OBJECT, USAGE, Api, fail
from quarterdeck_cli.output import nodes
from quarterdeck_cli.text import quoted

PAGE: Final = 100
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_HOW: Final = "write a position, 2026-11-14, 2026-11-14T09:30:00Z, or how long ago: 7d, 12h, 30m"

NOW: Final = "now"
HINT: Final = "that is as it was recorded then; what was true then, by all that is known today:  add --known-at now"

UNRECORDED: Final = "Nothing had been recorded by then"

Moment = dict[str, Any]
"""A time or a position, as the API takes it; or now."""


def read_moment(text: str, now: datetime | None = None) -> Moment:
    """Return the moment that a text stands for.

    Raises:
        typer.BadParameter: it is none.
    """
    given = text.strip()
    if given.isascii() and given.isdigit() and len(given) <= 16:
        return {"position": int(given)}
    number, unit = given[:-1], given[-1:]
    if unit in _UNITS and number.isascii() and number.isdigit() and len(number) <= 6:
        ago = timedelta(seconds=int(number) * _UNITS[unit])
        try:
            return {"time": ((now or datetime.now(UTC)) - ago).isoformat()}
        except OverflowError:
            raise typer.BadParameter(f"{text!r} is before there was time; {_HOW}") from None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no moment; {_HOW}") from None
    return {"time": (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()}


def read_known(text: str) -> Moment:
    """Return the same, or now.

    Raises:
        typer.BadParameter: it is none.
    """
    if text.strip().lower() == NOW:
        return {NOW: True}
    try:
        return read_moment(text)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}; or {NOW}") from None


def settled(api: Api, moment: Moment | None) -> Moment | None:
    """Return a moment as the API takes it: now is the last position that can be asked about."""
    if moment is None or NOW not in moment:
        return moment
    return {"position": api.query("{ now { position } }")["now"]["position"]}


def hint_of(at: Moment | None, known_at: Moment | None) -> str | None:
    """Return what to say where nothing is found of a time that was asked for as it was recorded."""
    return HINT if known_at is None and at is not None and "time" in at else None


def unrecorded(api: Api, at: Moment | None, known_at: Moment | None = None) -> str | None:
    """Return what to say where nothing is found, if the moment lies before the first event of the tenant and nothing
    is known of it: that nothing was found there is no praise."""
    if at is None:
        return None
    position = at.get("position")
    if position is None:
        # A time that has not come is no time before.
        found = api.try_query("query Then($t: DateTime!) { at(time: $t) { position } }", t=at["time"])
        position = None if found is None else found["at"]["position"]
    if position != 0:
        return None
    if known_at is None:
        return f"{UNRECORDED}."
    there = "at(time: $t, knownAt: $k) { assets(first: 1) { edges { cursor } } }"
    document = f"query There($t: DateTime!, $k: Moment!) {{ {there} }}"
    said = api.try_query(document, t=at.get("time"), k=settled(api, known_at))
    nothing = said is not None and not said["at"]["assets"]["edges"]
    return f"{UNRECORDED}, and nothing was said of it later." if nothing else None


def absent(api: Api, asset: str, at: Moment | None, known_at: Moment | None = None) -> str:
    """Return what to do where an object is not there at a moment."""
    if at is None:
        return NO_OBJECT
    if known_at is not None:
        return in_use_then(asset, at.get("time"))
    nothing = unrecorded(api, at)
    return "  ·  ".join(hint for hint in (nothing, hint_of(at, known_at), NO_OBJECT) if hint)


def in_use_then(asset: str, time: str | None) -> str:
    """Return the command that says of an object that it was in use at a moment, for whoever knows that it was."""
    command = f"quarterdeck estate change {quoted(asset)} --set lifecycle=live --valid-from {quoted(time or 'TIME')}"
    return f"{command}   says that it was in use"


At = Annotated[
    Any,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="As it was then: a position, a time, or how long ago (7d).",
        show_default=False,
        parser=read_moment,
    ),
]
KnownAt = Annotated[
    Any,
    typer.Option(
        "--known-at",
        metavar="MOMENT",
        help="With --at: what was true, as it was known at this moment; now: by all that is known.",
        show_default=False,
        parser=read_known,
    ),
]


class Asked:
    """The record of one moment, and how to ask it."""

    def __init__(self, api: Api, at: Moment | None = None, known_at: Moment | None = None, *, json: bool) -> None:
        if known_at is not None and at is None:
            fail(
                "--known-at says when it was known; --at says of when",
                "add --at MOMENT, or use --at alone for what was true and known then",
                code=USAGE,
                json=json,
                kind="usage",
            )
        self._api = api
        self.at, self.known_at = at, known_at
        api.no_object = lambda asset: absent(api, asset, at, known_at)
        self._given = dict(at or {}) | ({} if known_at is None else {"knownAt": settled(api, known_at)})
        self.is_now = at is None
        self.hint = hint_of(at, known_at)

    def ask(self, selection: str, types: Mapping[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        """Return what the record of that moment answers. `types` are those of the variables in the selection."""
        document, given = self._document(selection, types or {}, variables)
        found: dict[str, Any] = self._api.query(document, **given)["record"]
        return found

    def try_ask(
        self, selection: str, types: Mapping[str, str] | None = None, **variables: Any
    ) -> dict[str, Any] | None:
        """Return the same, or None where it is not answered: for what an answer can do without."""
        document, given = self._document(selection, types or {}, variables)
        answer = self._api.try_query(document, **given)
        return None if answer is None else answer["record"]

    def _document(
        self, selection: str, types: Mapping[str, str], variables: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        known = {"time": "DateTime", "position": "Position", "knownAt": "Moment"}
        declared = dict(types) | {f"at_{name}": known[name] for name in self._given}
        given = dict(variables) | {f"at_{name}": value for name, value in self._given.items()}
        head = f"at({', '.join(f'{name}: $at_{name}' for name in self._given)})" if self._given else "now"
        heading = f"({', '.join(f'${name}: {type_}' for name, type_ in declared.items())})" if declared else ""
        return f"query Asked{heading} {{ record: {head} {selection} }}", given

    def pages(
        self, field: str, node: str, types: Mapping[str, str], *, limit: int, pin: bool = True, **variables: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield at most `limit` nodes of a connection, page by page, all of one moment. Of now: of the first page's, or
        with `pin` false of each page's own."""
        arguments = ", ".join(f"{name}: ${name}" for name in ("first", "after", *types))
        edges = f"edges {{ node {node} }} pageInfo {{ hasNextPage endCursor }}"
        selection = f"{{ position moment {field}({arguments}) {{ {edges} }} }}"
        asked, after = self, None
        while limit > 0:
            first = min(PAGE, limit)
            found = asked.ask(
                selection, {"first": "Int!", "after": "String", **types}, first=first, after=after, **variables
            )
            asked = asked.pinned(found["position"], found["moment"]) if pin else asked
            page = found[field]
            yield from nodes(page)
            limit -= len(page["edges"])
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                return

    def unrecorded(self) -> str | None:
        """Return what to say where nothing is found, if nothing had been recorded by that moment."""
        return unrecorded(self._api, self.at, self.known_at)

    def absent(self, asset: str) -> str:
        """Return what to do where an object is not there at that moment."""
        return absent(self._api, asset, self.at, self.known_at)

    def position(self) -> int:
        """Return the position of that moment."""
        return int(self.ask("{ position }")["position"])

    def pinned(self, position: int, moment: str | None) -> Asked:
        """Return the record of an answer, so that what is asked next is asked of the same one."""
        if not self.is_now:
            return self
        given = self._api.no_object  # of whoever asked for now
        if moment is None:
            made = Asked(self._api, {"position": position}, json=False)
        else:
            made = Asked(self._api, {"time": moment}, {"position": position}, json=False)
        self._api.no_object = given
        return made
