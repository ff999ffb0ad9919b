"""`quarterdeck keys`: the API keys of services, agents and scripts, and the secrets of those who are called back.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.output import AsJson, nodes, print_json, seconds_of, show_rows, visible, when

app = typer.Typer(help="Make, rotate and revoke API keys; reveal the secrets of callbacks.", no_args_is_help=True)

ID_LENGTH: Final = 30


def _principal(given: str) -> str:
    """Return a principal's id unchanged.

    Raises:
        typer.BadParameter: it is none.
    """
    if not (given.startswith("prn_") and len(given) == ID_LENGTH):
        raise typer.BadParameter(f"{given!r} is no principal's id, prn_…;  quarterdeck people list  shows them")
    return given


KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_….", show_default=False)]

_KEYS: Final = """
query Keys($first: Int!, $after: String, $filter: ApiKeyFilter) {
  now {
    apiKeys(first: $first, after: $after, filter: $filter) {
      edges { node { id purpose prefix actsFor state issuedAt expiresAt replacedBy principalId } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""


@app.command("list")
def list_(
    of: Annotated[
        str | None,
        typer.Option("--for", help="Only this principal's.", show_default=False, parser=_principal, metavar="ID"),
    ] = None,
    sessions: Annotated[bool, typer.Option(help="Also people's sessions.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 200,
    json: AsJson = False,
) -> None:
    """List keys, newest first. Neither a key nor its hash is shown: nobody has them."""
    wanted: dict[str, Any] = {} if everything else {"state": ["ACTIVE", "ROTATED"]}
    if of is not None:
        wanted["principalId"] = [of]
    with Api(json=json) as api:
        found = [
            item
            for item in _all(api, wanted, limit)
            # What was made with a key that was revoked is revoked, too, whatever the filter knows of it.
            if (sessions or item["purpose"] == "API") and (everything or item["state"] != "REVOKED")
        ]
    if json:
        print_json({"keys": found})
        return
    rows = [
        (
            item["id"],
            item["prefix"],
            item["principalId"],
            ", ".join(item["actsFor"]),
            item["state"].lower(),
            when(item["issuedAt"]),
            when(item["expiresAt"]),
        )
        for item in found
    ]
    show_rows(("id", "begins with", "of", "acts for", "state", "made", "ends"), rows, "No keys that you may see.")


@app.command()
def issue(
    of: Annotated[
        str | None,
        typer.Option(
            "--for", help="Whose key it is; yours if left out.", show_default=False, parser=_principal, metavar="ID"
        ),
    ] = None,
    acts_for: Annotated[
        list[str], typer.Option(help="Principals it acts for, nearest first.", parser=_principal, metavar="ID")
    ] = [],  # noqa: B006
    lifetime: Annotated[str | None, typer.Option(help="How long it works: 12h, 90d.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """Make a key. Its text is printed once, and can never be shown again."""
    with Api(json=json) as api:
        done = api.command(
            "issue_api_key",
            principal_id=of,
            acts_for=acts_for,
            lifetime_s=None if lifetime is None else seconds_of(lifetime),
        )
    _show(done, api.url, json)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old one works on: 0s, 1h, 1d.")] = "1d",
    json: AsJson = False,
) -> None:
    """Replace a key by a new one of the same holder; the old one works on for a while."""
    with Api(json=json) as api:
        done = api.command("rotate_api_key", key_id=key_id, overlap_s=seconds_of(overlap))
    _show(done, api.url, json)


@app.command()
def revoke(
    key_id: KeyId,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")],
    json: AsJson = False,
) -> None:
    """Stop a key or a session at once, and every key that was made with it."""
    with Api(json=json) as api:
        done = api.command("revoke_api_key", key_id=key_id, reason=reason)
    if json:
        print_json(done)
        return
    typer.echo(f"{visible(key_id)} opens nothing from now on, nor does anything that was made with it.")


@app.command("callback-secret")
def callback_secret(
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="Where callbacks go: https://…", show_default=False)
    ],
    json: AsJson = False,
) -> None:
    """Reveal the secret that verifies callbacks at an endpoint. Administrators only; the log says who was given it."""
    with Api(json=json) as api:
        done = api.post("/v1/callbacks/secret", {"endpoint": endpoint})
    if json:
        print_json(done)
        return
    # The secret alone on standard output, so that it can be piped to where it is kept.
    typer.echo(
        f"The secret of {visible(done['result']['origin'])}, of key {visible(done['result']['key_id'])}:", err=True
    )
    typer.echo((done.get("reveal") or {}).get("secret", ""))
    typer.echo("Give it to whoever receives there, and to nobody else: it signs as well as it verifies.", err=True)


def _show(done: dict[str, Any], url: str, json: bool) -> None:
    if json:
        print_json(done)
        return
    # The key alone on standard output, so that it can be piped to where it is kept.
    typer.echo(f"{visible(done['result']['key_id'])}, shown this once:", err=True)
    typer.echo((done.get("reveal") or {}).get("api_key", ""))
    typer.echo(f"Give it to its holder as QUARTERDECK_TOKEN, beside QUARTERDECK_URL={url}", err=True)
    if ends := done["result"].get("expires_at"):
        typer.echo(f"It ends {when(ends)}; what is made with a session or a key ends with it at the latest.", err=True)


def _all(api: Api, wanted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while len(found) < limit:
        page = api.query(_KEYS, first=min(100, limit - len(found)), after=after, filter=wanted)["now"]["apiKeys"]
        found += nodes(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    return found
