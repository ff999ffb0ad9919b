"""`quarterdeck sign-in`, `sign-out`, `whoami` and `people`: who you are here, and who else is.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import USAGE, Api, fail
from quarterdeck_cli.output import AsJson, nodes, print_json, seconds_of, show_rows, visible, when
from quarterdeck_cli.program import program
from quarterdeck_cli.text import quoted

KINDS: Final = ("human", "service", "agent")
ROLES: Final = ("administrator", "operator", "approver", "auditor", "agent")
PATH: Final = "/sign-in/"

app = typer.Typer(help="See who is known here; add people, services and agents.", no_args_is_help=True)

PrincipalId = Annotated[str, typer.Argument(metavar="ID", help="The principal, prn_….", show_default=False)]
Role = Annotated[str, typer.Argument(metavar="ROLE", help=", ".join(ROLES), show_default=False)]

_PEOPLE: Final = """
query People($first: Int!, $after: String, $filter: PrincipalFilter) {
  now {
    principals(first: $first, after: $after, filter: $filter, order: OLDEST_FIRST) {
      edges { node { id kind displayName email purpose roles state registeredAt owner { id } } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""


def sign_in(
    link: Annotated[str, typer.Argument(metavar="LINK", help="The one-time link; - reads it from standard input.")],
    json: AsJson = False,
) -> None:
    """Exchange a one-time link for a session, and keep it for this user alone."""
    from quarterdeck_cli import credentials

    url, token = _split(sys.stdin.readline().strip() if link == "-" else link, json)
    with Api(json=json, url=url, anonymous=True) as api:
        session = api.post("/sign-in", {"token": token})
    try:
        file = credentials.keep(url, session["session"])
    except (credentials.UnsafeCredentials, OSError) as error:
        way_out = getattr(error, "way_out", None)
        fail(f"signed in, but the session could not be kept: {error}", way_out, json=json, kind="unsafe_credentials")
    if json:
        print_json({name: value for name, value in session.items() if name != "session"} | {"kept_in": str(file)})
        return
    typer.echo(
        f"Signed in to {url} as {visible(session['principal_id'])}; the session ends {when(session['expires_at'])}."
    )
    typer.echo(f"It is kept in {file}.\nNext:  quarterdeck whoami  ·  quarterdeck approvals list")


def sign_out(json: AsJson = False) -> None:
    """End the session, here and on the server."""
    from quarterdeck_cli import credentials

    with Api(json=json) as api:
        api.post("/sign-out", {})
    credentials.forget(api.url)
    print_json({"signed_out": api.url}) if json else typer.echo(f"Signed out of {api.url}.")


def whoami(json: AsJson = False) -> None:
    """Show as whom the server knows you, and what you may do."""
    with Api(json=json) as api:
        me = api.get("/v1/me")
    if json:
        print_json(me | {"url": api.url})
        return
    roles = ", ".join(me["roles"]) or "none"
    chain = f", acting for {', '.join(me['on_behalf_of'])}" if me["on_behalf_of"] else ""
    ends = f", ends {when(me['expires_at'])}" if me["expires_at"] else ""
    typer.echo(
        f"{visible(me['principal_id'])} ({visible(me['kind'])}) of tenant {visible(me['tenant'])}{visible(chain)}"
    )
    typer.echo(f"roles:      {visible(roles)}\ncredential: {visible(me['credential'])}{ends}\nserver:     {api.url}")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(KINDS)}.", show_default=False)] = None,
    role: Annotated[str | None, typer.Option(help="Only who holds this role.", show_default=False)] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Also who was deactivated or erased.")] = False,
    json: AsJson = False,
) -> None:
    """List humans, services and agents."""
    wanted: dict[str, Any] = {} if everybody else {"state": ["ACTIVE"]}
    if kind is not None:
        wanted["kind"] = [_one_of(kind, KINDS, "--kind").upper()]
    if role is not None:
        wanted["roles"] = [_one_of(role, ROLES, "--role").upper()]
    with Api(json=json) as api:
        found = _all(api, wanted)
    if json:
        print_json({"people": found})
        return
    rows = [
        (
            item["id"],
            item["kind"].lower(),
            item["displayName"] or "(withheld)",
            ", ".join(role.lower() for role in item["roles"]),
            (item["owner"] or {}).get("id"),
            "" if item["state"] == "ACTIVE" else item["state"].lower(),
        )
        for item in found
    ]
    show_rows(("id", "kind", "name", "roles", "owner", "state"), rows, "Nobody is known here that you may see.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name for people.")],
    kind: Annotated[str, typer.Option(help=", ".join(KINDS))] = "human",
    role: Annotated[list[str], typer.Option(help="What it may do; several times for several roles.")] = [],  # noqa: B006
    email: Annotated[str | None, typer.Option(help="A human's address.", show_default=False)] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="Who answers for a service or an agent; you, if you name nobody.", show_default=False),
    ] = None,
    purpose: Annotated[str, typer.Option(help="What a service or an agent is for.")] = "",
    json: AsJson = False,
) -> None:
    """Let a human, service or agent be known here. An agent gets the role `agent` by itself."""
    _one_of(kind, KINDS, "--kind")
    roles = [_one_of(item, ROLES, "--role") for item in role] or (["agent"] if kind == "agent" else [])
    with Api(json=json) as api:
        if kind != "human" and owner is None:
            owner = api.get("/v1/me")["principal_id"]
        body = {"kind": kind, "display_name": name, "email": email, "owner": owner, "purpose": purpose, "roles": roles}
        done = api.command("register_principal", **body)
    principal = visible(done["result"]["principal_id"])
    then = (
        f"{program()} people link {quoted(principal)}"
        if kind == "human"
        else f"{program()} keys issue --for {quoted(principal)}"
    )
    if json:
        print_json(done | {"id": principal, "next": then})
        return
    typer.echo(f"{principal} is known from position {done['position']} on.\nNext:  {then}")


@app.command()
def link(
    principal_id: PrincipalId,
    lifetime: Annotated[str, typer.Option(help="How long it is good for: 30m, 12h, 1d.")] = "1h",
    json: AsJson = False,
) -> None:
    """Make a one-time sign-in link for a human. It is shown once: hand it over yourself."""
    with Api(json=json) as api:
        done = api.command("issue_sign_in_link", principal_id=principal_id, lifetime_s=seconds_of(lifetime))
    token = (done.get("reveal") or {}).get("sign_in_token", "")
    address = f"{api.url}{PATH}{token}"
    if json:
        print_json(done | {"link": address})
        return
    typer.echo(address)
    typer.echo(f"Works once, for {lifetime}. They run:  quarterdeck sign-in LINK", err=True)


@app.command("grant-role")
def grant_role(principal_id: PrincipalId, role: Role, json: AsJson = False) -> None:
    """Give a principal one more role."""
    _one_of(role, ROLES, "ROLE")
    with Api(json=json) as api:
        done = api.command("grant_role", principal_id=principal_id, role=role)
    print_json(done) if json else typer.echo(f"{visible(principal_id)} is {role} from position {done['position']} on.")


@app.command("revoke-role")
def revoke_role(principal_id: PrincipalId, role: Role, json: AsJson = False) -> None:
    """Take a role from a principal; never the last administrator's."""
    _one_of(role, ROLES, "ROLE")
    with Api(json=json) as api:
        done = api.command("revoke_role", principal_id=principal_id, role=role)
    print_json(done) if json else typer.echo(f"{visible(principal_id)} is no longer {role}.")


@app.command()
def deactivate(
    principal_id: PrincipalId,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")],
    successor: Annotated[
        str | None, typer.Option(help="Who answers for its services and agents from now on.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Let a principal act no more, at once; its keys die with it."""
    with Api(json=json) as api:
        done = api.command("deactivate_principal", principal_id=principal_id, reason=reason, successor=successor)
    print_json(done) if json else typer.echo(f"{visible(principal_id)} does nothing here from now on.")


def _all(api: Api, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = api.query(_PEOPLE, first=100, after=after, filter=wanted)["now"]["principals"]
        found += nodes(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


def _split(link: str, json: bool) -> tuple[str, str]:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(link)
        base = f"{parts.scheme}://{parts.netloc}"
        before, slash, token = parts.path.rpartition(PATH)
    except ValueError:
        base, before, slash, token = "", "", "", ""
    if parts.scheme not in ("http", "https") or not parts.netloc or before or not slash or not token or parts.username:
        fail(
            "that is not a sign-in link; one looks like http://127.0.0.1:8480/sign-in/qdl_…",
            "ask an administrator:  quarterdeck people link ID",
            code=USAGE,
            json=json,
            kind="usage",
        )
    return base, token


def _one_of(value: str, known: tuple[str, ...], where: str) -> str:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}", param_hint=where)
    return value
