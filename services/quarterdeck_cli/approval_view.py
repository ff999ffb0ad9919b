"""How an approval looks to whoever decides it: what was verified, apart from what the agent says of it.

The server has made the text visible already. Everything below is `rich.text.Text`: what an agent writes can neither be
markup nor draw a line that looks like ours, because each line of it stands behind a bar of its own, and what does not
fit in the window goes on behind another bar, far from where our words begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.output import cell_len, table, when
from quarterdeck_cli.text import lines, pretty, quoted, shown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

COLUMNS: Final = ("approval", "status", "asked", "ends", "who", "wants to", "on", "you")
_BAR: Final = "  │ "
_ON: Final = "  ┆             "
"""Before what goes on from the line above."""


def list_table(approvals: list[dict[str, Any]], width: int | None = None) -> RenderableType:
    """Return approvals as a table, or as paragraphs where the terminal is narrow."""
    return table(COLUMNS, [_row(item) for item in approvals], width, shown)


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    urgent = "EMERGENCY " if item.get("emergency") else ""
    you = "can decide" if item.get("can_decide") else ""
    left = when(item.get("expires_at")) if item.get("status") == "pending" else ""
    return (
        item["id"],
        item["status"],
        when(item.get("requested_at")),
        left,
        item.get("subject"),
        f"{urgent}{item.get('action')}",
        item.get("resource"),
        you,
    )


def one_line(item: dict[str, Any]) -> str:
    """Return an approval as one line, however long, for what reads lines."""
    return "  ".join(shown(cell) for cell in _row(item) if cell)


def full(approval: dict[str, Any]) -> Iterator[Text]:
    """Yield an approval in full, line by line."""
    from rich.text import Text

    yield Text(f"{approval['id']}  {approval['status']}", style="bold")
    yield Text(_times(approval))
    yield Text("")
    yield Text("WHAT POLICY VERIFIED  (the digest binds exactly this)", style="bold green")
    yield from (Text(line) for line in _verified(approval))
    # Ours, to the last character: it may be wrapped by the terminal, so that it copies as one.
    yield Text(f"{_BAR}digest    {shown(approval['verified']['action_digest'])}", no_wrap=True)
    yield Text("")
    yield Text("WHAT THE AGENT CLAIMS  (nobody checked this)", style="bold yellow")
    yield from (Text(line) for line in _claimed(approval["claimed"]))
    yield from (Text(line) for line in _since(approval))
    yield Text("")
    yield from _you(approval)


def folded(line: Text, width: int) -> Iterator[Text]:
    """Yield a line of `full` in pieces that fit in a window, each behind a bar."""
    from rich.cells import chop_cells
    from rich.text import Text

    if line.no_wrap or not line.plain.startswith(_BAR) or cell_len(line.plain) <= width:
        yield line
        return
    first = chop_cells(line.plain, width)[0]
    yield Text(first)
    for piece in chop_cells(line.plain[len(first) :], max(width - len(_ON), 8)):
        yield Text(_ON + piece)


def _times(approval: dict[str, Any]) -> str:
    asked = f"asked {when(approval.get('requested_at'))}"
    if approval["status"] == "pending":
        return f"{asked}, ends {when(approval.get('expires_at'))}"
    return f"{asked}, ended {when(approval.get('ended_at'))}"


def _verified(approval: dict[str, Any]) -> Iterator[str]:
    verified = approval["verified"]
    request = verified.get("request")
    if request is None:
        yield f"{_BAR}the request was erased with its subject's data; only the digest is left"
    else:
        yield f"{_BAR}action    {shown(request['action']['name'])}"
        for line in pretty(request["action"].get("properties") or {}):
            yield f"{_BAR}          {line}"
        for name in ("resource", "subject"):
            yield f"{_BAR}{name:<9} {_ref(request[name])}"
            for line in pretty(request[name]["properties"]) if request[name].get("properties") else ():
                yield f"{_BAR}          {line}"
    for line in pretty(verified["context"]) if verified.get("context") else ():
        yield f"{_BAR}context   {line}"
    chain = [_named(link) for link in verified.get("requester_chain", ())]
    yield f"{_BAR}asked by  {verified.get('requester_kind')} {', acting for '.join(chain)}"
    if policy := verified.get("policy"):
        determining = ", ".join(policy.get("determining", ()))
        yield f"{_BAR}policy    {shown(determining)}: {shown(policy.get('reason') or '')}"
    stages = "; then ".join(f"{item['quorum']} of {' or '.join(item['roles'])}" for item in verified.get("stages", ()))
    yield f"{_BAR}path      {shown((verified.get('path') or {}).get('id'))}: {shown(stages)}"


def _claimed(claimed: dict[str, Any]) -> Iterator[str]:
    if claimed.get("emergency"):
        yield f"{_BAR}it says this is an emergency"
    for line in lines(claimed.get("justification") or "(no reason given)"):
        yield f"{_BAR}{line}"
    if claimed.get("requested_until"):
        yield f"{_BAR}wanted until {shown(claimed['requested_until'])}"
    if claimed.get("client"):
        yield f"{_BAR}client    {shown(claimed['client'])}"
    for line in pretty(claimed["context"]) if claimed.get("context") else ():
        yield f"{_BAR}context   {line}"


def _since(approval: dict[str, Any]) -> Iterator[str]:
    for vote in approval.get("votes", ()):
        yield f"{_BAR}{vote['verdict']} by {shown(vote['approver'])} ({shown(vote['stage'])}), {when(vote['at'])}"
        for line in lines(vote["comment"]) if vote.get("comment") else ():
            yield f"{_BAR}{_BAR}{line}"
    if grant := approval.get("grant"):
        yield f"{_BAR}grant {grant['id']}: {grant['status']}, ends {when(grant['expires_at'])}"
    if approval.get("cancel_reason"):
        yield f"{_BAR}taken back: {shown(approval['cancel_reason'])}"


def _you(approval: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    if approval.get("can_decide"):
        yield Text(
            f"Decide:  quarterdeck approvals approve {quoted(approval['id'])}   or   deny {quoted(approval['id'])}"
        )
    elif why_not := approval.get("why_not"):
        yield Text(f"You cannot decide this: {shown(why_not['message'])}")


def _named(link: dict[str, Any]) -> str:
    name = link.get("name")
    return f"{shown(name)} ({shown(link['id'])})" if name else shown(link["id"])


def _ref(entity: dict[str, Any]) -> str:
    # A colon in the type is written out, so that the first one is where the id begins.
    kind = shown(entity["type"]).replace(":", "\\u003a")
    return f"{kind}:{shown(entity['id'])}"
