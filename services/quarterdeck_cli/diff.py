"""`quarterdeck diff`: what is different between two moments, object by object and field by field.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.estate_words import plain, plainly, told, word
from quarterdeck_cli.moments import NOW, PAGE, Moment, hint_of, read_known, settled, unrecorded
from quarterdeck_cli.output import AsJson, cell_len, console, nodes, print_json
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

ESTATE: Final = ("policy_bundle", "approval_path", "asset", "relation", "drift")
"""What is compared where nobody asks for anything else: the estate and what governs it."""
OTHERS: Final = ("tenant", "principal", "api_key", "decision", "approval", "vote", "grant", "effect", "callback")
_MARKS: Final = {"ADDED": ("+", "green"), "CHANGED": ("~", "yellow"), "REMOVED": ("-", "red")}
_DIFF: Final = """
query Changed(
  $from: Moment!, $to: Moment, $known: Moment, $first: Int!, $after: String, $kinds: [ObjectKind!]%(types)s
) {
  diff(from: $from, to: $to, knownAt: $known) {
    from { position recordedAt moment } to { position recordedAt moment }
    changes(first: $first, after: $after, kinds: $kinds%(given)s) {
      edges { node { kind objectKind objectId sentence fields { name before after } } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
MAX_WHOLE: Final = 60
"""With more changes than this, what is new is shown by its name alone."""
_PLAIN: Final = frozenset(("kind", "name", "source", "confidence", "registered_at", "valid_from", "timed"))
"""What says little of what is new."""
_PARTS: Final = {"assets": "[String!]", "teams": "[String!]"}


def diff(
    since: Annotated[Any, typer.Argument(metavar="FROM", help="A position, a time, 7d, now.", parser=read_known)],
    until: Annotated[
        Any, typer.Argument(metavar="TO", help="The other moment; now, if you name none.", parser=read_known)
    ] = None,
    asset: Annotated[list[str], typer.Option(metavar="ID", help="Only this object and its relations.")] = [],  # noqa: B006
    team: Annotated[list[str], typer.Option(help="Only what this team answers for.")] = [],  # noqa: B006
    kind: Annotated[
        list[str],
        typer.Option(help=f"Only these: an estate's kind (agent, tool, …), {', '.join((*ESTATE, *OTHERS))}, all."),
    ] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many objects at most.")] = 500,
    everything: Annotated[bool, typer.Option("--all", help="Every fact of what is new, however much it is.")] = False,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="All of the estate that differs, at once, as lines of JSON, the moments first."),
    ] = False,
    known_at: Annotated[
        Any,
        typer.Option(
            "--known-at",
            metavar="MOMENT",
            help="How the estate differed in truth, as it was known at this moment; now: by all that is known.",
            show_default=False,
            parser=read_known,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what is different between two moments of the estate, and of what governs it."""
    until = None if until is not None and NOW in until else until
    if whole:
        if asset or team or kind or known_at is not None:
            raise typer.BadParameter("it is not narrowed; it tells how what was recorded differs", param_hint="--whole")
        _print_whole(since, until, json=json)
        return
    wanted = _Wanted(kind)
    hint = hint_of(since, known_at) or hint_of(until, known_at)
    parts = {"assets": [plain(item) for item in asset], "teams": team}
    with Api(json=json) as api:
        wanted.check(api, json=json)
        ends: dict[str, Any] = {}
        moments = (settled(api, since), until, settled(api, known_at))
        found = (item for item in _changes(api, moments, wanted.objects, parts, ends) if wanted.holds(item))
        changes = list(islice(found, limit + 1))
        nothing = None if changes or json else unrecorded(api, until, known_at)
    more = len(changes) > limit
    del changes[limit:]
    if json:
        print_json({**ends, "changes": changes, "more": more})
        return
    out = console()
    of = "recordedAt" if known_at is None else "moment"
    out.print(f"{_end(ends['from'], of)}  ->  {_end(ends['to'], of)}", soft_wrap=True)
    brief = len(changes) > MAX_WHOLE and not everything
    for item in changes:
        for line in change_lines(item, brief=brief, everything=everything):
            out.print(line, soft_wrap=True)
    counts = {name: sum(item["kind"] == name for item in changes) for name in _MARKS}
    summary = ", ".join(f"{count} {word(name)}" for name, count in counts.items() if count)
    typer.echo(nothing or f"{summary or 'Nothing is different'}{'; there is more: --limit' if more else ''}.")
    if not changes and hint:
        typer.echo(f"  ({hint})", err=True)


def _print_whole(since: Moment, until: Moment | None, *, json: bool) -> None:
    with Api(json=json) as api:
        ends = {"from": _said(settled(api, since)), "to": _said(until)}
        with api.stream("/v1/estate/diff", **ends) as response:
            for line in response.iter_lines():
                typer.echo(line)


def _said(moment: Moment | None) -> str | None:
    return None if moment is None else str(moment["position"] if "position" in moment else moment["time"])


class _Wanted:
    """Which objects are compared: kinds of the record's objects, and among the estate's those of some kinds."""

    def __init__(self, kinds: Sequence[str]) -> None:
        named = [kind for kind in kinds if kind in (*ESTATE, *OTHERS)]
        self._estate = [kind for kind in kinds if kind not in (*ESTATE, *OTHERS, "all")]
        objects = named + (["asset", "relation", "drift"] if self._estate else [])
        chosen = objects or list(ESTATE)
        self.objects = None if "all" in kinds else [name.upper() for name in dict.fromkeys(chosen)]

    def check(self, api: Api, *, json: bool) -> None:
        """Let pass kinds that there are; anything else ends the command."""
        if not self._estate:
            return
        known = sorted(api.get("/v1/estate/kinds")["kinds"]["$defs"])
        for kind in self._estate:
            if kind not in known:
                fail(
                    f"{kind!r} is no kind: there are {', '.join((*ESTATE, *OTHERS, *known, 'all'))}",
                    "quarterdeck estate kinds   tells of the estate's",
                    json=json,
                    kind="invalid_input",
                )

    def holds(self, change: Mapping[str, Any]) -> bool:
        """Tell whether a change is wanted."""
        if not self._estate or change["objectKind"] not in ("ASSET", "RELATION", "DRIFT"):
            return True
        ends = str(change["objectId"]).removeprefix("relation:").split(" ")
        drifted = [str(item["after"] or item["before"]) for item in change["fields"] if item["name"] == "asset"]
        return any(end.partition(":")[0] in self._estate for end in (*ends[::2], *drifted))


def _changes(
    api: Api,
    moments: tuple[Moment | None, Moment | None, Moment | None],
    kinds: Sequence[str] | None,
    parts: Mapping[str, Sequence[str]],
    ends: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yield what is different; `ends` gets the two moments. Of now: of the first page's."""
    given = {name: list(values) for name, values in parts.items() if values}
    types = "".join(f", ${name}: {_PARTS[name]}" for name in given)
    document = _DIFF % {"types": types, "given": "".join(f", {name}: ${name}" for name in given)}
    (since, until, known), after = moments, None
    while True:
        variables = {"from": since, "to": until, "known": known, "first": PAGE, "after": after, "kinds": kinds, **given}
        found = api.query(document, **variables)["diff"]
        ends.update({"from": found["from"], "to": found["to"]})
        if known is None:
            until = {"position": found["to"]["position"]}
        else:
            until, known = {"time": found["to"]["moment"]}, {"position": found["to"]["position"]}
        yield from (plainly(change) for change in nodes(found["changes"]))
        after = found["changes"]["pageInfo"]["endCursor"]
        if not found["changes"]["pageInfo"]["hasNextPage"]:
            return


def change_lines(change: Mapping[str, Any], *, brief: bool = False, everything: bool = False) -> Iterator[Text]:
    """Yield a change line by line: the object, and each of its fields before and after; in brief, what is new is its
    name alone."""
    from rich.text import Text

    mark, style = _MARKS.get(change["kind"], ("?", ""))
    name = str(change["objectId"]).removeprefix("relation:")
    kind = "" if change["objectKind"] in ("ASSET", "RELATION") else f"{word(change['objectKind'])} "
    yield Text(f"{mark} {kind}{visible(name)}", style=style)
    fields = [item for item in _flat(change["fields"]) if item[1] != item[2]]
    new = change["kind"] == "ADDED"
    if change["kind"] == "REMOVED" or (new and (brief or change["objectKind"] == "RELATION")):
        return
    if change["kind"] == "CHANGED" and any(item[0] == "dated" for item in fields):
        # What was said of another time is told in words, with the rest.
        yield Text(f"    {visible(str(change['sentence']).removeprefix(f'{name} '))}")
        fields = [item for item in fields if everything and item[0] != "dated"]
    if not everything:
        named = {item[0] for item in fields}
        fields = [item for item in fields if not _says_little(item, named, new=new)]
    width = max((cell_len(visible(item[0])) for item in fields), default=0)
    for field, before, after in fields:
        label = visible(field) + " " * (width - cell_len(visible(field)))
        shown = told(after, 80) if new else f"{told(before, 80)} -> {told(after, 80)}"
        if not new or after not in (None, "", [], {}):
            yield Text(f"    {label}  {shown}")


def _says_little(field: tuple[str, Any, Any], named: Collection[str], *, new: bool) -> bool:
    """Tell whether a field says nothing that the others do not."""
    name, _, after = field
    if new:
        return name in _PLAIN or (name == "lifecycle" and after == "live")
    return name == "periods" and bool({"declared", "observed"} & set(named))


def _flat(fields: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """Yield fields, a mapping's members by themselves."""
    for item in fields:
        before, after = item["before"], item["after"]
        if isinstance(before or {}, dict) and isinstance(after or {}, dict) and (before or after):
            old, new = before or {}, after or {}
            yield from ((f"{item['name']}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new}))
        else:
            yield item["name"], before, after


def _end(record: Mapping[str, Any], of: str) -> str:
    if of == "moment":
        return f"{visible(record['moment'])}, as known at position {record['position']}"
    return f"position {record['position']} ({visible(record['recordedAt'] or 'the beginning')})"
