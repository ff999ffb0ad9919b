"""How findings, coverage and blast radius look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.estate_words import many, told, word
from quarterdeck_cli.output import table
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STYLES: Final = {"critical": "bold red", "high": "red", "moderate": "yellow", "low": "dim"}


def finding_lines(item: Mapping[str, Any]) -> Iterator[Text]:
    """Yield a finding: how bad, what, of what; what is wrong; and the command that mends it, to be copied."""
    from rich.text import Text

    severity = word(item["severity"])
    head = Text(f"{severity:<8}  ", style=_STYLES.get(severity, ""))
    head.append(f"{word(item['type'])}  ", style="bold")
    head.append(visible(item["assetId"]), style="")
    if item.get("team"):
        head.append(f"  ({told(item['team'])})", style="dim")
    yield head
    yield Text(f"          {visible(item['message'])}")
    yield Text(f"          fix: {visible(item['fix'])}", style="cyan")


def groups_table(by: str, found: Mapping[str, Any]) -> RenderableType:
    """Return coverage as a table: a row for each group, and one for the whole."""
    controls = [word(item["control"]) for item in found["whole"]["controls"]]
    rows = [_row(group, group["name"] or "(nobody)") for group in found["groups"]]
    return table((by, "objects", "known", *controls, "most missing"), [*rows, _row(found["whole"], "everything")])


def _row(group: Mapping[str, Any], name: str) -> tuple[object, ...]:
    missing = sorted(group["missing"], key=lambda item: -item["objects"])[:2]
    return (
        name,
        group["objects"],
        "" if group["completeness"] is None else f"{100 * group['completeness']:.0f} %",
        *(_share(item) for item in group["controls"]),
        ", ".join(f"{word(item['facet'])} of {item['objects']}" for item in missing),
    )


def _share(item: Mapping[str, Any]) -> str:
    if not item["required"]:
        return ""
    return f"{item['covered']} of {item['required']}{' !' if item['outlier'] else ''}"


def blast_lines(found: Mapping[str, Any]) -> Iterator[Text]:
    """Yield a blast radius: the people first, since they are who is called; then what is concerned, then the data."""
    from rich.text import Text

    of = found["of"]
    yield Text(
        f"{visible(of['id'])}: {many(found['total'], 'object')} {'depends' if found['total'] == 1 else 'depend'} on it",
        style="bold",
    )
    yield Text("whom to call, nearest first", style="bold")
    for person in found["people"]:
        yield Text(f"  {_person(person)}", style="" if person["owner"] or person["team"] else "bold red")
    for group in found["groups"]:
        yield Text(f"{word(group['group'])} ({group['total']})", style="bold")
        yield from (Text(f"  {_concerned(item)}") for item in group["nearest"])
        if group["total"] > len(group["nearest"]):
            yield Text(f"  … and {group['total'] - len(group['nearest'])} more", style="dim")
    if found["data"]:
        yield Text(f"data that these read or write ({found['dataTotal']})", style="bold")
    for item in found["data"]:
        label = f", {told(item['asset']['classification'])}" if item["asset"]["classification"] else ""
        how = "writes" if item["writes"] else "reads"
        yield Text(f"  {how} {visible(item['asset']['id'])}{label}{', alleged' if item['alleged'] else ''}")


def _person(person: Mapping[str, Any]) -> str:
    who = [told(person[name]) for name in ("owner", "team") if person[name]]
    where = [
        f"{label} {told(person[name])}"
        for name, label in (("onCall", "on call"), ("channel", "channel"))
        if person[name]
    ]
    said = ", ".join(who) if who else "nobody answers"
    return f"{said}{_in_brackets(where)}: {many(person['objects'], 'object')}, the nearest {visible(person['nearest'])}"


def _in_brackets(parts: Sequence[str]) -> str:
    return f" ({'; '.join(parts)})" if parts else ""


def _concerned(item: Mapping[str, Any]) -> str:
    relation = item["relation"]
    how = f"{visible(relation['source'])} {visible(relation['relation'])} {visible(relation['target'])}"
    if item["alleged"]:
        whose = relation["allegedBy"]
        how += f", alleged by {', '.join(map(told, whose))}" if whose else ", by what is alleged"
    audience = f", heard by {told(item['audience'])}" if item.get("audience") else ""
    return f"{visible(item['asset']['id'])}{audience}  ({many(item['steps'], 'step')}: {how})"
