"""`quarterdeck approvals`: what waits for a human, and the human's answer.

Exit codes: 0 done; 1 refused, or nothing was decided; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from quarterdeck_cli.approval_screen import ENDING, MAX_LISTED
from quarterdeck_cli.approval_watch import changes, follow
from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.output import AsJson, console, print_json, visible
from quarterdeck_cli.text import quoted

STATUSES: Final = ("pending", "approved", "denied", "expired", "cancelled", "all")

app = typer.Typer(help="See what waits for a human, and decide it.", no_args_is_help=True)

ApprovalId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The approval, apr_…; of one that waits, the end of its id will do.", show_default=False
    ),
]
Comment = Annotated[str | None, typer.Option("--comment", "-m", help="Why; the record keeps it.", show_default=False)]
Digest = Annotated[
    str | None, typer.Option(help="Decide only if this is the digest of what is asked.", show_default=False)
]
Status = Annotated[str, typer.Option(help=f"Only these: {', '.join(STATUSES)}.")]


@app.command("list")
def list_(
    status: Status = "pending",
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="How many at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List approvals, newest first."""
    _check(status)
    with Api(json=json) as api:
        found = _fetch(api, status, limit)
    if json:
        print_json({"approvals": found})
    elif found:
        from quarterdeck_cli.approval_view import list_table

        out = console()
        out.print(list_table(found))
        if out.is_terminal:
            more = f"\n{limit} are shown, the newest; --limit shows more." if len(found) == limit else ""
            typer.echo(f"{more}\nLook closely:  quarterdeck approvals show ID")
    else:
        typer.echo(_nothing(status))


@app.command()
def show(approval_id: ApprovalId, json: AsJson = False) -> None:
    """Show one approval: what policy verified, apart from what the agent claims."""
    with Api(json=json) as api:
        found = _one(api, approval_id, json)
    if json:
        print_json(found)
    else:
        _print(found)


@app.command()
def approve(
    approval_id: ApprovalId,
    comment: Comment = None,
    digest: Digest = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: I have looked.")] = False,
    json: AsJson = False,
) -> None:
    """Approve exactly what is shown. Asks before it does, with the digest that binds it."""
    _decide(approval_id, "approve", comment, digest, yes, json)


@app.command()
def deny(approval_id: ApprovalId, comment: Comment = None, digest: Digest = None, json: AsJson = False) -> None:
    """Deny what is asked."""
    _decide(approval_id, "deny", comment, digest, True, json)


@app.command()
def revoke(
    approval_id: ApprovalId,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")],
    json: AsJson = False,
) -> None:
    """Take back the grant of an approval, while it has not been used. For operators."""
    with Api(json=json) as api:
        grant = api.get(f"/v1/approvals/{quote(approval_id, safe='')}/grant")
        done = api.command("revoke_grant", grant_id=grant["id"], reason=reason)
    print_json(done) if json else typer.echo(f"{visible(grant['id'])} opens nothing from now on.")


@app.command()
def watch(
    status: Status = "pending",
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    json: AsJson = False,
) -> None:
    """Keep watching approvals, those that end soonest first; Ctrl-C ends it.

    With --json, and where there is no terminal, print a line for each that is new or has changed.
    """
    _check(status)
    with Api(json=json) as api:
        api.get("/v1/approvals", status=status, limit=1)  # so that a wrong address or credential is told at once
        try:
            if json:
                for item in changes(api, status, every):
                    print_json(item)
            else:
                follow(api, console(), status, every, _nothing(status))
        except KeyboardInterrupt:
            return


def _check(status: str) -> None:
    if status not in STATUSES:
        raise typer.BadParameter(f"{status!r} is not one of {', '.join(STATUSES)}", param_hint="--status")


def _nothing(status: str) -> str:
    return "Nothing waits for a human." if status == "pending" else f"No approval is {status}."


def _fetch(api: Api, status: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = api.get("/v1/approvals", status=status, limit=min(100, limit - len(found)), cursor=cursor)
        found += page["approvals"]
        cursor = page.get("next_cursor")
        if cursor is None or len(found) >= limit:
            return found


def _one(api: Api, approval_id: str, json: bool) -> dict[str, Any]:
    whole = _whole(api, approval_id, json)
    found: dict[str, Any] = api.get(f"/v1/approvals/{quote(whole, safe='')}")
    return found


def _whole(api: Api, given: str, json: bool) -> str:
    """Return the id that is meant: as it was given, or that of the one pending approval that ends so."""
    if given.startswith("apr_") or len(given) < ENDING:
        return given
    found = [item["id"] for item in _fetch(api, "pending", MAX_LISTED) if item["id"].endswith(given)]
    if len(found) != 1:
        many = "several pending approvals end" if found else "no pending approval ends"
        fail(f"{many} in {given}", "quarterdeck approvals list   shows whole ids", json=json, kind="not_found")
    return str(found[0])


def _print(approval: dict[str, Any]) -> None:
    from quarterdeck_cli.approval_view import folded, full

    out = console()
    for line in full(approval):
        for piece in folded(line, out.width):
            # Soft: what is left whole is not cut, and copies as one.
            out.print(piece, soft_wrap=True)


def _decide(approval_id: str, verdict: str, comment: str | None, digest: str | None, yes: bool, json: bool) -> None:
    with Api(json=json) as api:
        shown = _one(api, approval_id, json)
        approval_id = str(shown["id"])
        found = str(shown["action_digest"])
        if digest is not None and digest != found:
            fail(
                f"what is asked has the digest {found}, not {digest}: nothing was decided",
                f"quarterdeck approvals show {quoted(approval_id)}",
                json=json,
                kind="digest_mismatch",
            )
        if not yes:
            _confirm(shown, json)
        body = {"action_digest": found, "comment": comment}
        done = api.post(f"/v1/approvals/{quote(approval_id, safe='')}/{verdict}", body)
    if json:
        print_json(done)
        return
    said = "approved" if verdict == "approve" else "denied"
    typer.echo(
        f"You {said} it: {visible(done['approval_id'])} is {visible(done['status'])} (position {done['position']})."
    )
    if done["status"] == "pending":
        typer.echo("Others must still decide.")


def _confirm(shown: dict[str, Any], json: bool) -> None:
    if json:
        fail("with --json nothing is asked", "add --yes once you have looked", code=2, json=True, kind="usage")
    _print(shown)
    if not shown.get("can_decide"):
        fail("this is not yours to decide", "quarterdeck approvals list", kind="not_allowed")
    question = f"\nApprove exactly this, digest {visible(shown['action_digest'])}?"
    if not typer.confirm(question, default=False):
        fail("nothing was decided", f"quarterdeck approvals deny {quoted(shown['id'])}   says no", kind="not_decided")
