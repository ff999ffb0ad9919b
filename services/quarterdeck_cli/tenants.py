"""`quarterdeck tenants`: the tenants of this installation, by whoever has this machine's own rights.

Works on the database itself, running or not, as `recover-administrator` does: nobody is inside two tenants, so nobody
could ask the API for this. Opening and closing are commands on the tenant's own log, by the actor `system`.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the database does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import typer

from quarterdeck_cli.address import base_url
from quarterdeck_cli.client import fail
from quarterdeck_cli.offline import database, failures
from quarterdeck_cli.output import AsJson, print_json, show_rows, visible, when
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.text import quoted
from quarterdeck_cli.up import settings_for

if TYPE_CHECKING:
    from quarterdeck_ledger.ledger import EventLedger

T = TypeVar("T")
SHREDDED: Final = " [the keys of its data subjects are destroyed]"
"""What the recorded reason ends with where closing a tenant destroys its keys."""


class _Closed(NamedTuple):
    """When a tenant was closed, and why."""

    at: datetime
    reason: str


app = typer.Typer(help="Open, list, export and close tenants, on this machine.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its name: lower case, digits, dashes.")]
DataDir = Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")]


@app.command("list")
def list_(data_dir: DataDir = None, json: AsJson = False) -> None:
    """List every tenant: whether it is open, how long its log is, when it last recorded anything."""
    found = _run(data_dir, json, lambda ledger, _settings: _list(ledger))
    if json:
        print_json({"tenants": found})
        return
    rows = [
        (item["tenant"], item["display_name"], item["state"], f"{item['events']:,}", when(item["recorded_at"]))
        for item in found
    ]
    show_rows(("tenant", "called", "state", "events", "last"), rows, "No tenants yet:  quarterdeck tenants open NAME")


@app.command("open")
def open_(
    tenant: Name,
    administrator: Annotated[str, typer.Option(help="Name of its first administrator.")] = "Administrator",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Open a tenant with its own log, people and keys; print its administrator's one-time sign-in link."""
    settings, token = _run(data_dir, json, lambda ledger, settings: _open(ledger, settings, tenant, administrator))
    if token is None:
        fail(f"{tenant} is open already", "quarterdeck tenants list", json=json, kind="wrong_state")
    link = f"{base_url(settings)}/sign-in/{token}"
    if json:
        print_json({"tenant": tenant, "sign_in": link})
        return
    typer.echo(f" ✔ {tenant} is open. Its administrator's link works once, for a day:")
    typer.secho(f"   {link}", bold=True)


@app.command()
def export(
    tenant: Name,
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to; it must not be there.")],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Take a tenant's whole record away: the log that proves itself, its tiles and keys, and CloudEvents.

    Works on a closed tenant too. Personal fields stay sealed.
    """
    from quarterdeck_cli.tenants_export import export_tenant

    done = _run(data_dir, json, lambda ledger, settings: export_tenant(ledger, settings, tenant, directory))
    if json:
        print_json(done)
        return
    typer.echo(f" ✔ {done['events']:,} events of {tenant} in {directory}")
    log, checkpoint = directory / "log.ndjson", directory / "checkpoint.txt"
    typer.echo(
        f" Next:  quarterdeck verify {quoted(log)} --checkpoint {quoted(checkpoint)} --vkey {quoted(done['vkeys'][-1])}"
    )


@app.command()
def close(
    tenant: Name,
    reason: Reason,
    confirm: Annotated[
        str | None, typer.Option(metavar="TENANT", help="The name again, instead of a question.")
    ] = None,
    destroy_keys: Annotated[
        bool,
        typer.Option("--destroy-keys", help="Also destroy the key of every data subject: nobody reads them again."),
    ] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """End a tenant for good: no command is taken, nothing is permitted; its log stays readable and exportable.

    Whether the keys are destroyed is said now, since afterwards nothing can be recorded any more. Export first.
    """
    if confirm is None and not json:
        what = "for good, and destroys everything personal in it" if destroy_keys else "for good"
        confirm = typer.prompt(f"This closes {visible(tenant)} {what}. Its name, to confirm")
    if confirm != tenant:
        fail(
            "the name is another: nothing was closed",
            f"--confirm {quoted(tenant)}",
            code=2,
            json=json,
            kind="not_confirmed",
        )
    closed_at, before, destroyed = _run(
        data_dir, json, lambda ledger, _settings: _close(ledger, tenant, reason, destroy=destroy_keys)
    )
    if json:
        shown = {"closed_at": closed_at.isoformat(), "already": before, "destroyed_keys": destroyed}
        print_json({"tenant": tenant, "state": "closed", **shown})
        return
    said = f"was closed already, {_when(closed_at)}." if before else "is closed."
    keys = f"{destroyed} key{'' if destroyed == 1 else 's'}" if destroyed else "No key"
    found = f" {keys} {'was still there to destroy' if before else 'destroyed'}." if destroy_keys else ""
    typer.echo(f" ✔ {tenant} {said}{found}")
    if destroyed:
        typer.echo(" Copies of the keys elsewhere hold them still: destroy those too, and make a new one.")


def _run(data_dir: Path | None, json: bool, work: Callable[[EventLedger, Any], Awaitable[T]]) -> T:
    need_server()
    settings = settings_for(data_dir=data_dir)

    async def run(url: str) -> T:
        async with _ledger(settings, url) as ledger:
            return await work(ledger, settings)

    with failures(json=json), database(settings) as found:
        return asyncio.run(run(found.url))


@asynccontextmanager
async def _ledger(settings: Any, url: str) -> AsyncIterator[EventLedger]:
    from quarterdeck_ledger.keys import FileKeyStore
    from quarterdeck_ledger.ledger import EventLedger
    from quarterdeck_ledger.postgres import PostgresStore

    async with PostgresStore.open(url, size=2) as store:
        yield EventLedger(store, FileKeyStore(settings.keys / "subjects"))


async def _list(ledger: EventLedger) -> list[dict[str, Any]]:
    found = []
    for tenant in await ledger.tenants():
        head = await ledger.head(tenant)
        name, closed = await _life(ledger, tenant)
        recorded_at = head.recorded_at.isoformat() if head.position and head.recorded_at else None
        state = "closed" if closed is not None else "open" if name is not None else "empty"
        found.append(
            {
                "tenant": tenant,
                "display_name": name,
                "state": state,
                "events": head.position,
                "recorded_at": recorded_at,
                "closed_because": None if closed is None else closed.reason,
            }
        )
    return found


async def _open(ledger: EventLedger, settings: Any, tenant: str, administrator: str) -> tuple[Any, str | None]:
    from quarterdeck_cli.first_start import open_tenant
    from quarterdeck_domain.ids import check_tenant

    return settings, await open_tenant(ledger, check_tenant(tenant), administrator)


async def _close(ledger: EventLedger, tenant: str, reason: str, *, destroy: bool) -> tuple[datetime, bool, int]:
    """Close a tenant; return when it closed, whether it was before, and how many keys were destroyed now.

    A destruction of keys that was said at the closing and broke off is ended by a repetition.

    Raises:
        WrongState: it is closed already, and its closing did not say that keys are destroyed.
        NotFound: it was never opened.
    """
    import uuid

    from quarterdeck_domain.access.slices import CloseTenant
    from quarterdeck_domain.access.values import SYSTEM
    from quarterdeck_domain.errors import WrongState
    from quarterdeck_ledger.interface import Context

    _, closed = await _life(ledger, tenant)
    if closed is None:
        command = CloseTenant(tenant=tenant, reason=reason + (SHREDDED if destroy else ""), actor=SYSTEM)
        await ledger.execute(command, Context(tenant=tenant, actor=SYSTEM, command_id=uuid.uuid4()))
    elif not (destroy and closed.reason.endswith(SHREDDED)):
        keys = "; its closing did not say that keys are destroyed, so they stay" if destroy else ""
        raise WrongState(f"{tenant} was closed already, {_when(closed.at)}: {closed.reason}{keys}", closed_at=closed.at)
    destroyed = await ledger.keys.destroy_all(tenant) if destroy else 0
    _, after = await _life(ledger, tenant)
    assert after is not None  # noqa: S101  it is closed by now
    return after.at, closed is not None, destroyed


async def _life(ledger: EventLedger, tenant: str) -> tuple[str | None, _Closed | None]:
    """Return a tenant's display name if it was opened, and its closing if it was closed."""
    from quarterdeck_domain.access.events import TenantClosed, TenantOpened
    from quarterdeck_domain.slices import boundary

    name = closed = None
    for event in await ledger.read(tenant, boundary(((TenantOpened, TenantClosed), ()))):
        if isinstance(event.payload, TenantOpened):
            name = event.payload.display_name
        elif isinstance(event.payload, TenantClosed):
            closed = _Closed(event.recorded_at, event.payload.reason)
    return name, closed


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
