"""`quarterdeck verify --live`: checks every invariant on a running installation, from the bytes up."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from quarterdeck_cli.client import fail
from quarterdeck_cli.offline import database, failures
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.up import settings_for

if TYPE_CHECKING:
    from quarterdeck_projector.invariants import Violation


def verify_live(data_dir: str | None, *, json: bool, checkpoints: Sequence[str] = (), vkeys: Sequence[str] = ()) -> int:
    """Check everything and print what does not hold; return the exit code (1 where anything but I12 is found).

    `checkpoints` are files with checkpoints that were kept: the log must still extend them.
    """
    need_server()
    settings = settings_for(data_dir=data_dir)
    from quarterdeck_cli.live_held import NotChecked

    with failures(json=json), database(settings) as reached:
        try:
            events, gates, found = asyncio.run(
                _check(settings, reached.url, [Path(name) for name in checkpoints], vkeys)
            )
        except NotChecked as error:
            fail(error.message, "docs/verify.md says what to keep", code=2, json=json, kind=error.code)
    violations = [violation for violation in found if violation.invariant != "I12"]
    if json:
        shown = [_shown(violation) for violation in found]
        print(jsonlib.dumps({"ok": not violations, "events": events, "gates_checked": gates, "found": shown}))
        return 1 if violations else 0
    for violation in found:
        where = f" at {violation.position}" if violation.position is not None else ""
        # What waits for somebody, or could not be looked at, breaks nothing: it stands above "every invariant holds".
        mark, colour = ("!", typer.colors.YELLOW) if violation.invariant == "I12" else ("✘", typer.colors.RED)
        typer.secho(f" {mark} {violation.invariant} {violation.tenant}{where}: {violation.what}", fg=colour)
    if not violations:
        typer.secho(f" ✔ every invariant holds over {events:,} events", fg=typer.colors.GREEN)
    if not gates:
        typer.secho(" ! gates (I8) were not checked: Temporal does not answer", fg=typer.colors.YELLOW)
    return 1 if violations else 0


def _shown(violation: Violation) -> dict[str, Any]:
    return {name: getattr(violation, name) for name in ("invariant", "tenant", "position", "what")}


async def _check(
    settings: Any, url: str, checkpoints: Sequence[Path], vkeys: Sequence[str]
) -> tuple[int, bool, list[Violation]]:
    """Return how many events there are, whether the gates were checked, and what does not hold."""
    from quarterdeck_cli.live_held import known
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_projector.verification import check_all

    async with PostgresStore.open(url, size=3, reading=True) as store:
        trust, amiss = known(settings, await store.tenants(), checkpoints, vkeys)
        temporal = await _temporal(settings)
        count, found = await check_all(store, trust, temporal)
    return count, temporal is not None, [*amiss, *found]


async def _temporal(settings: Any) -> Any:
    from quarterdeck_cli.address import read
    from quarterdeck_workflows.client import connect

    found = read(settings)
    address = settings.temporal_address or (found.temporal if found else None)
    if address is None:
        return None
    try:
        return await connect(address, namespace=settings.temporal_namespace)
    except RuntimeError:
        return None
