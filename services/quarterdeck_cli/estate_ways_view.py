"""How ways look: each path step by step with what must hold on it, who watches and what is excepted, and under all of
them what would close them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.estate_words import many, told
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

_DO: Final = {
    "enforce": "enforce {}",
    "revoke": "revoke {}",
    "quarantine": "put {} into quarantine",
    "withdraw": "withdraw: {}",
    "stop": "stop where it happens, since it was only seen: {}",
}
MAX_CLOSED: Final = 5


def over(hops: int | None) -> str:
    """Return over how many steps something was asked, in words; nothing where over any."""
    return "" if hops is None else f" over at most {many(hops, 'step')}"


def ways_lines(start: str, end: str, found: dict[str, Any], hops: int | None) -> Iterator[Text]:
    """Yield the ways between two objects line by line."""
    from rich.text import Text

    paths = found["paths"]
    if not paths and not found["beyond"]:
        yield Text(f"No way leads from {visible(start)} to {visible(end)}.")
        return
    if not paths:
        ends = f"from {visible(start)} to {visible(end)}"
        yield Text(
            f"No way leads {ends}{over(hops)}, but longer ones do: leave out --hops to see them", style="bold red"
        )
    for number, path in enumerate(paths, 1):
        doubt = "alleged: not all of it is known" if path["alleged"] else "not all of it is declared"
        yield Text(f"way {number}{'' if path['declared'] else f'  ({doubt})'}", style="bold")
        yield from _path(start, path)
    if found["more"]:
        yield Text("  … and there may be others; --limit shows more", style="dim")
    if paths and found["beyond"]:
        yield Text(f"  … and there may be longer ones than {many(hops or 0, 'step')}; leave out --hops", style="dim")
    yield from _cut(found.get("cut"), "to close every way")
    yield from _cut(found.get("smallerCut"), "or, taking objects out of use")


def path_line(path: dict[str, Any]) -> str:
    """Return a path as one line."""
    relations = path["relations"]
    steps = [f" {visible(item['relation'])} {visible(item['target'])}" for item in relations]
    return visible(relations[0]["source"]) + "".join(steps) if relations else ""


def seen_by(relation: dict[str, Any]) -> str:
    """Return how a relation is known that nobody has declared, in words."""
    if not relation["allegedBy"]:
        return "seen, never declared"
    return f"alleged by {', '.join(map(told, relation['allegedBy']))}, never declared"


def access_lines(found: dict[str, Any], hops: int | None = None) -> Iterator[Text]:
    """Yield what can reach something, each with the tools on its ways and the controls over them."""
    from rich.text import Text

    for item in found["accesses"]:
        asset = item["asset"]
        line = Text(visible(asset["id"]), style="bold")
        who = asset["owner"] or asset["team"]
        line.append(f"  {many(item['steps'], 'step')}, {told(who) if who else 'nobody'} answers for it", style="")
        yield line
        if item["alleged"]:
            said = dict.fromkeys(name for step in item["path"]["relations"] for name in step["allegedBy"])
            yield Text(f"    alleged by {', '.join(map(told, said))}, and not known to be so", style="yellow")
        if item["ungated"]:
            yield Text("    on one way at least, nobody has to consent", style="bold red")
        if item["tools"]:
            yield Text(f"    through  {', '.join(visible(tool['id']) for tool in item['tools'])}")
        yield Text(f"    under    {_names(item['controls']) or 'no control'}", style="cyan")
        if item["exceptions"]:
            yield Text(f"    excepted {_names(item['exceptions'])}", style="yellow")
        if item["watchers"]:
            yield Text(f"    watched  {_names(item['watchers'])}", style="dim")
        steps = [f"{visible(step['relation'])} {visible(step['target'])}" for step in item["path"]["relations"]]
        yield Text(f"    shortest {', '.join(steps)}", style="dim")
    if found["total"] > len(found["accesses"]):
        yield Text(f"  … {found['total'] - len(found['accesses'])} more; without --limit, all of them", style="dim")
    if found.get("beyond"):
        longer = f"{found['beyond']} more can, over more than {many(hops or 0, 'step')}"
        yield Text(f"  … {longer}; leave out --hops to see them", style="bold red")


def _names(found: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({_said(item) for item in found}))


def _said(item: dict[str, Any]) -> str:
    """Return what stands over something, in words: how, what, and until when."""
    until = f", until {told(item['expiresAt'])}" if item.get("expiresAt") else ""
    return f"{visible(item['relation'])} {visible(item['control']['id'])}{until}"


_WORDS: Final = (
    ("controls", "must hold", "cyan"),
    ("exceptions", "excepted", "yellow"),
    ("watchers", "watched", "dim"),
)


def _path(start: str, path: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    yield Text(f"  {visible(start)}")
    yield from _over(start, path)
    for item in path["relations"]:
        seen = "" if item["declared"] else f"  ({seen_by(item)})"
        where = f"  (in {told(item['environment'])})" if item.get("environment") else ""
        yield Text(f"  └ {visible(item['relation'])} {visible(item['target'])}{where}{seen}{_recorded(item)}")
        yield from _over(item["target"], path)
    if not path["controls"]:
        yield Text("      nothing must hold on this way", style="bold red")


def _recorded(item: dict[str, Any]) -> str:
    """Return by which names a relation was recorded, where something was merged since."""
    recorded = str(item.get("id") or "").removeprefix("relation:")
    now = f"{item.get('source')} {item['relation']} {item['target']}"
    return f"  (recorded as {visible(recorded)})" if recorded and recorded != now else ""


def _over(name: str, path: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    for field, words, style in _WORDS:
        for item in path[field]:
            if item["on"] == name:
                state = str(item["control"].get("lifecycle") or "LIVE").lower()
                which = "" if state == "live" else f", which is {visible(state)}"
                yield Text(f"      {words}: {_said(item)}{which}", style=style)


def _cut(cut: dict[str, Any] | None, words: str) -> Iterator[Text]:
    from rich.text import Text

    if cut is None:
        return
    of = " of controls and grants" if cut["over"] == "CONTROLS" else ""
    label = (
        f"no smaller set{of} does" if cut["exact"] else f"none of these can be left out; a smaller set{of} may exist"
    )
    if not cut["steps"]:
        yield Text("Nothing that could be done here would close it.", style="bold red")
        return
    yield Text(f"{words}: {len(cut['steps'])} of {cut['considered']} possible steps ({label})", style="bold")
    for step in cut["steps"]:
        done = _DO.get(step["action"], f"{visible(step['action'])} {{}}").replace("{}", visible(step["subject"]))
        closed = [visible(name) for name in step["closes"][:MAX_CLOSED]]
        more = f" and {len(step['closes']) - MAX_CLOSED} more" if len(step["closes"]) > MAX_CLOSED else ""
        yield Text(f"  - {done}" + (f"   (nothing passes {', '.join(closed)}{more} then)" if closed else ""))
        if step["seen"] and step["action"] != "stop":
            yield Text("    and stop it where it happens: it was seen, and that stays on the map", style="yellow")
