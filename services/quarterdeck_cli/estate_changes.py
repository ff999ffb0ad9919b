"""`quarterdeck estate register`, `change`, `relate` and the like: a verb for each command of the estate.

Each takes what its command takes (a test holds them together) and says what the record holds from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_words import AssetId, facts_of, plain
from quarterdeck_cli.output import AsJson, print_json, visible
from quarterdeck_cli.text import quoted

app = typer.Typer()

Set = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="A fact: owner=…, tier=1, attributes.region=…; NAME:=JSON too."),
]
Why = Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")]
NeededWhy = Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.", show_default=False)]
Said = Annotated[str, typer.Option("--source", help="The name under which this is known.")]
Other = Annotated[str, typer.Argument(metavar="TO", help="The object that it leads to.", show_default=False)]
Relation = Annotated[
    str, typer.Argument(metavar="RELATION", help="Its type: calls, reads, governed_by, …", show_default=False)
]
FREE: Final = "command"
"""The source of what people say by a command, as the API has it."""


def _time(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-11-14 or 2026-11-14T09:30:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


From = Annotated[
    Any,
    typer.Option(metavar="TIME", help="Since when it is so, if not from now on.", show_default=False, parser=_time),
]
Until = Annotated[
    Any, typer.Option(metavar="TIME", help="Until when it is so, if not for ever.", show_default=False, parser=_time)
]


@app.command()
def register(
    asset: AssetId,
    set: Set = [],  # noqa: B006
    source: Said = FREE,
    valid_from: From = None,
    json: AsJson = False,
) -> None:
    """Let an object be part of the estate. A name is enough; --set says what is known of it."""
    with Api(json=json) as api:
        body = {"asset": plain(asset), "facts": _facts(api, asset, set), "source": source, "valid_from": valid_from}
        done = _run(api, "register_asset", **body)
    _said(
        done, json, f"{visible(plain(asset))} is part of the estate", f"quarterdeck estate show {quoted(plain(asset))}"
    )


@app.command()
def change(
    asset: AssetId,
    set: Set = [],  # noqa: B006
    unset: Annotated[list[str], typer.Option(metavar="NAME", help="A fact that nobody says any more.")] = [],  # noqa: B006
    reason: Why = "",
    source: Said = FREE,
    valid_from: From = None,
    valid_to: Until = None,
    json: AsJson = False,
) -> None:
    """Say that something else is true of an object, from now on or at another time."""
    if not set and not unset:
        raise typer.BadParameter("say what changes: --set owner=support-rota, or --unset owner", param_hint="--set")
    with Api(json=json) as api:
        body = {"asset": plain(asset), "set": _facts(api, asset, set), "unset": unset, "reason": reason}
        done = _run(api, "change_asset", **body, source=source, valid_from=valid_from, valid_to=valid_to)
    _said(done, json, f"{visible(plain(asset))} is changed")


@app.command()
def transfer(
    asset: AssetId,
    owner: Annotated[
        str, typer.Option(help="Who answers for it: a principal's id, a role, a rota.", show_default=False)
    ],
    team: Annotated[str | None, typer.Option(help="The team, if it is another.", show_default=False)] = None,
    reason: Why = "",
    json: AsJson = False,
) -> None:
    """Let somebody else answer for an object."""
    with Api(json=json) as api:
        done = _run(api, "transfer_asset", asset=plain(asset), owner=owner, team=team, reason=reason)
    _said(done, json, f"{visible(owner)} answers for {visible(plain(asset))}")


@app.command()
def promote(asset: AssetId, reason: NeededWhy, json: AsJson = False) -> None:
    """Name an object a tier-one dependency: the business does not run without it."""
    with Api(json=json) as api:
        done = _run(api, "promote_asset", asset=plain(asset), reason=reason)
    _said(done, json, f"{visible(plain(asset))} is a tier-one dependency")


@app.command()
def deprecate(
    asset: AssetId,
    successor: Annotated[str | None, typer.Option(help="What takes its place.", show_default=False)] = None,
    sunset: Annotated[Any, typer.Option(metavar="TIME", help="Its last day.", show_default=False, parser=_time)] = None,
    reason: Why = "",
    json: AsJson = False,
) -> None:
    """Say that an object is on its way out."""
    after = None if successor is None else plain(successor)
    with Api(json=json) as api:
        done = _run(api, "deprecate_asset", asset=plain(asset), successor=after, sunset=sunset, reason=reason)
    _said(done, json, f"{visible(plain(asset))} is on its way out")


@app.command()
def retire(asset: AssetId, reason: Why = "", json: AsJson = False) -> None:
    """Say that an object is no longer in use. Its relations stay, shown as leading to something retired."""
    with Api(json=json) as api:
        done = _run(api, "retire_asset", asset=plain(asset), reason=reason)
    _said(done, json, f"{visible(plain(asset))} is retired")


@app.command()
def merge(
    survivor: Annotated[str, typer.Argument(metavar="SURVIVOR", help="The one that stays.", show_default=False)],
    merged: Annotated[
        str, typer.Argument(metavar="MERGED", help="The one that becomes an alias of it.", show_default=False)
    ],
    reason: Why = "",
    json: AsJson = False,
) -> None:
    """Say that two objects are one. What is known of the survivor wins."""
    with Api(json=json) as api:
        done = _run(api, "merge_assets", survivor=plain(survivor), merged=plain(merged), reason=reason)
    _said(done, json, f"{visible(plain(merged))} is an alias of {visible(plain(survivor))}")


@app.command()
def quarantine(asset: AssetId, reason: NeededWhy, json: AsJson = False) -> None:
    """Keep an object from being used until somebody has looked at it."""
    with Api(json=json) as api:
        done = _run(api, "quarantine_asset", asset=plain(asset), reason=reason)
    then = f"quarterdeck estate release {quoted(plain(asset))} -m …   lets it be used again"
    _said(done, json, f"{visible(plain(asset))} is in quarantine", then)


@app.command()
def release(
    asset: AssetId,
    reason: NeededWhy,
    digest: Annotated[
        str | None,
        typer.Option(help="What was looked at: nothing else is released. Needed if it drifted.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Let an object in quarantine be used again, having looked at it."""
    with Api(json=json) as api:
        done = _run(api, "release_asset", asset=plain(asset), reason=reason, digest=digest)
    _said(done, json, f"{visible(plain(asset))} may be used again")


@app.command()
def relate(
    source: AssetId,
    relation: Relation,
    target: Other,
    environment: Annotated[str | None, typer.Option("--env", help="Where it holds.", show_default=False)] = None,
    evidence: Annotated[str, typer.Option(help="How that is known: a document, a ticket.")] = "",
    valid_from: From = None,
    valid_to: Until = None,
    json: AsJson = False,
) -> None:
    """Declare that an object is related to another: `relate agent:bot calls tool:refund`."""
    ends = {"source": plain(source), "relation": relation, "target": plain(target)}
    with Api(json=json) as api:
        said = {"environment": environment, "evidence": evidence, "valid_from": valid_from, "valid_to": valid_to}
        done = _run(api, "relate_assets", **ends, **said)
    _said(done, json, f"{' '.join(map(visible, ends.values()))}")


@app.command()
def unrelate(
    source: AssetId,
    relation: Relation,
    target: Other,
    reason: Why = "",
    valid_to: Until = None,
    json: AsJson = False,
) -> None:
    """Take back a declared relation."""
    ends = {"source": plain(source), "relation": relation, "target": plain(target)}
    with Api(json=json) as api:
        done = _run(api, "unrelate_assets", **ends, reason=reason, valid_to=valid_to)
    _said(done, json, f"withdrawn: {' '.join(map(visible, ends.values()))}")


@app.command("note-drift")
def note_drift(
    asset: AssetId,
    input: Annotated[str, typer.Option(help="model, prompt, retrieval, tools or input_mix.", show_default=False)],
    field: Annotated[str, typer.Option(help="What of it is not as pinned.", show_default=False)],
    expected: Annotated[str, typer.Option(help="What was pinned.", show_default=False)],
    found: Annotated[str, typer.Option(help="What was found.", show_default=False)],
    evidence: Annotated[str, typer.Option(help="How it was found.")] = "",
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Keep the object from being used.")] = False,
    json: AsJson = False,
) -> None:
    """Note that an input of behaviour is not what was pinned. `estate drift` lists what was noted."""
    said = {"input": input, "field": field, "expected": expected, "found": found, "evidence": evidence}
    with Api(json=json) as api:
        done = _run(api, "detect_drift", asset=plain(asset), **said, quarantine=quarantine)
    _said(done, json, f"noted: {visible(field)} of {visible(plain(asset))}", "quarterdeck estate drift")


@app.command("accept-drift")
def accept_drift(
    asset: AssetId,
    drift_id: Annotated[str, typer.Argument(metavar="DRIFT", help="The drift, drf_….", show_default=False)],
    reason: NeededWhy,
    json: AsJson = False,
) -> None:
    """Take what was found as the new pin, having read it. If it is as pinned again, the drift is closed instead."""
    with Api(json=json) as api:
        done = _run(api, "accept_drift", asset=plain(asset), drift_id=drift_id, reason=reason)
    moved = any(event.get("type") == "asset.changed" for event in done.get("events", ()))
    told = "what was found is the new pin of" if moved else "the drift is closed, no pin had to move:"
    _said(done, json, f"{told} {visible(plain(asset))}")


def _run(api: Api, name: str, **body: Any) -> dict[str, Any]:
    done = api.command(name, **body)
    api.settle(int(done["position"]))
    return done


def _facts(api: Api, asset: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Return what `--set` said; the server's schema is asked only where an attribute is not plain text for sure."""
    schema: Mapping[str, Any] = {}
    if any(pair.startswith("attributes.") and not pair.partition("=")[0].endswith(":") for pair in pairs):
        kinds = api.get("/v1/estate/kinds")["kinds"]["$defs"]
        schema = kinds.get(plain(asset).partition(":")[0], {})
    return facts_of(pairs, schema)


def _said(done: dict[str, Any], json: bool, what: str, then: str | None = None) -> None:
    if json:
        print_json(done)
        return
    if not done.get("events"):
        typer.echo(f"Nothing to change: it is so already (position {done['position']}).")
        return
    typer.echo(f"{what}, from position {done['position']} on.")
    if then is not None:
        typer.echo(f"Next:  {then}")
