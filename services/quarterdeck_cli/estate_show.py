"""How one object of the estate looks: its facts, what leads from it and to it, what is wrong, and who answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.estate_words import told, told_lines, word
from quarterdeck_cli.output import cell_len, when
from quarterdeck_cli.text import quoted, visible

if TYPE_CHECKING:
    from rich.text import Text

STYLES: Final = {"quarantined": "bold red", "retired": "dim", "deprecated": "yellow", "draft": "dim"}
_FACTS: Final = (
    ("description", "description"),
    ("purpose", "purpose"),
    ("environments", "runs in"),
    ("classification", "data"),
    ("risk", "risk"),
    ("policyClass", "policy class"),
    ("tier", "tier"),
    ("aliases", "also called"),
    ("mergedInto", "merged into"),
    ("successor", "successor"),
    ("sunset", "last day"),
)


def object_tree(found: dict[str, Any]) -> Iterator[Text]:
    """Yield an object line by line. Each begins with words of ours or blanks: nobody's text can look like another."""
    from rich.text import Text

    state = word(found["lifecycle"])
    heading = Text(visible(found["id"]), style="bold")
    heading.append(f"  {state}", style=STYLES.get(state, "green"))
    if found.get("title"):
        heading.append(f"  {visible(found['title'])}", style="")
    yield heading
    facts = found | {"mergedInto": _now(found)["id"] if found.get("mergedInto") else None}
    yield from _pairs(
        [(label, told_lines(facts[name])) for name, label in _FACTS if facts.get(name) not in (None, [], "")]
    )
    attributes = found.get("attributes") or {}
    yield from _pairs([(visible(name), [told(value)]) for name, value in sorted(attributes.items()) if value])
    known = f"  known from {visible(found['source'])} ({word(found['confidence'])}), {_since(found)}"
    yield Text(known, style="dim")
    yield Text("who answers", style="bold")
    yield from (Text(f"  {line}") for line in _accountable(found))
    yield from _related("leads to", found.get("out") or (), "to", found["id"])
    yield from _related("is led to by", found.get("into") or (), "from", found["id"])
    if found.get("more"):
        yield Text("  … and more relations: this is a hub; estate reach shows what is near it", style="dim")
    yield from _wrong(found)


def _since(found: dict[str, Any]) -> str:
    return f"registered {when(found['registeredAt'])}, changed {when(found['changedAt'])}"


def _pairs(pairs: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Text]:
    from rich.text import Text

    width = max((cell_len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        for place, part in enumerate(value):
            called = "" if place else name
            line = Text("  ")
            line.append(called + " " * (width - cell_len(called)), style="dim")
            line.append(f"  {part}")
            yield line


def _now(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object is now: the last one that it was merged into, as far as that is known."""
    if not item.get("mergedInto"):
        return item
    return item.get("survivor") or {"id": item["mergedInto"]}


def _accountable(found: dict[str, Any]) -> Iterator[str]:
    if found.get("mergedInto"):
        yield f"whoever answers for what it was merged into: quarterdeck estate show {quoted(_now(found)['id'])}"
        return
    teams = [item["target"] for item in found.get("out") or () if item["relation"] == "owned_by" and item["declared"]]
    said = [f"owner {told(found['owner'])}"] if found.get("owner") else []
    said += [f"team {told(found['team'])}"] if found.get("team") else []
    said += [f"owned by {told(team)}" for team in teams]
    yield ", ".join(said) if said else f"nobody: quarterdeck estate transfer {quoted(found['id'])} --owner … --team …"


def _related(heading: str, relations: Sequence[dict[str, Any]], end: str, name: str) -> Iterator[Text]:
    from rich.text import Text

    if not relations:
        return
    yield Text(f"{heading} ({len(relations)})", style="bold")
    for item in sorted(relations, key=lambda item: (item["relation"], item["source"], item["target"])):
        here, other = (item["source"], item["target"]) if end == "to" else (item["target"], item["source"])
        now = _now(item.get(end) or {})
        state = word(now.get("lifecycle") or "LIVE")
        merged = [called for called, is_now in ((here, name), (other, now.get("id", other))) if called != is_now]
        yield Text(
            f"  {visible(item['relation'])} {visible(now.get('id', other))}{_how(item, state, merged)}",
            style=STYLES.get(state, ""),
        )


def _how(item: dict[str, Any], state: str, merged: Sequence[str]) -> str:
    were = "was" if len(merged) == 1 else "were"
    said = [f"recorded of {' and '.join(map(visible, merged))}, which {were} merged"] if merged else []
    said += [f"in {told(item['environment'])}"] if item.get("environment") else []
    if item["observed"]:
        seen = f"seen {item['seen']} times, last {when(item['lastSeen'])}"
        said.append(seen if item["declared"] else f"{seen}, never declared")
    if item["evidence"]:
        said.append(told(item["evidence"], 60))
    if item["observed"] and item.get("observation"):
        said.append(told(item["observation"], 300))
    if state != "live":
        said.append(state)
    return f"  ({'; '.join(said)})" if said else ""


def _wrong(found: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    drifts = [item for item in found.get("drifts") or () if item["state"] == "OPEN"]
    findings = found.get("findings")
    if findings is None:
        yield Text("what is missing or wrong cannot be told just now: quarterdeck estate findings", style="dim")
    if drifts or findings:
        yield Text("what is wrong", style="bold yellow")
    for item in drifts:
        change = f"{told(item['fieldName'])}: {told(item['expected'], 40)} -> {told(item['found'], 40)}"
        yield Text(f"  not as pinned: {word(item['input'])}, {change}  {visible(item['id'])}")
    for item in findings or ():
        yield Text(f"  {word(item['type'])}: {visible(item['message'])}")
        yield Text(f"    fix: {visible(item['fix'])}", style="dim")
