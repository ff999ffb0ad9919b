"""`quarterdeck estate list`, `show`, `kinds` and `drift`: the objects of the estate, as of any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.estate_show import object_tree
from quarterdeck_cli.estate_words import AssetId, plain, plainly
from quarterdeck_cli.moments import Asked, At, KnownAt
from quarterdeck_cli.not_known import doubts, say_doubts
from quarterdeck_cli.output import AsJson, console, nodes, print_json, show_rows, visible, when
from quarterdeck_cli.survivors import with_survivors
from quarterdeck_cli.text import quoted

app = typer.Typer()

LIFECYCLES: Final = ("draft", "live", "deprecated", "quarantined", "retired")
SUMMARY: Final = "id kind name title owner team environments classification tier lifecycle"
_NODE: Final = f"""{{ {SUMMARY} description purpose risk policyClass attributes source confidence aliases mergedInto
  successor sunset registeredAt changedAt }}"""
_RELATION: Final = """relation source target environment declared observed evidence observation seen firstSeen lastSeen
  confidence sentence"""
_WHOLE: Final = f"""
{{ position moment recordedAt
  node(id: $id) {{ __typename ... on Asset {{ {_NODE.strip("{} ")} }} }}
  drifts(first: 20, filter: {{ asset: [$asset], state: [OPEN] }}) {{
    edges {{ node {{ id input fieldName expected found state quarantined detectedAt }} }}
  }}
}}"""
_WRONG: Final = """
{ findings(first: 20, filter: { asset: [$asset] }) { total edges { node { type severity subject message fix } } } }"""
MAX_RELATIONS: Final = 500
"""How many relations of one object are shown, each way."""
MAX_NAMES: Final = 50
"""Under how many names, about, an object's relations are looked for."""
AT_ONCE: Final = 10
"""Of how many of them it is asked at once what was merged into them."""

Kinds = Annotated[list[str], typer.Option("--kind", help="Only objects of this kind; several times for several.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")]


@app.command("list")
def list_(
    kind: Kinds = [],  # noqa: B006
    owner: Annotated[list[str], typer.Option(help="Only those that this one answers for.")] = [],  # noqa: B006
    team: Annotated[list[str], typer.Option(help="Only this team's.")] = [],  # noqa: B006
    lifecycle: Annotated[list[str], typer.Option(help=f"Only these: {', '.join(LIFECYCLES)}.")] = [],  # noqa: B006
    classification: Annotated[list[str], typer.Option(help="Only what holds data as sensitive as this.")] = [],  # noqa: B006
    policy_class: Annotated[list[str], typer.Option(help="Only this class of policy.")] = [],  # noqa: B006
    environment: Annotated[list[str], typer.Option("--env", help="Only what runs there.")] = [],  # noqa: B006
    everything: Annotated[bool, typer.Option("--all", help="Also what is retired.")] = False,
    limit: Limit = 200,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """List objects of the estate, in the order in which they became part of it."""
    if wrong := sorted({item.lower() for item in lifecycle} - set(LIFECYCLES)):
        raise typer.BadParameter(f"{wrong[0]!r} is not one of {', '.join(LIFECYCLES)}", param_hint="--lifecycle")
    states = lifecycle or ([] if everything else [name for name in LIFECYCLES if name != "retired"])
    given: dict[str, list[str]] = {
        "kind": kind,
        "owner": owner,
        "team": team,
        "lifecycle": [state.upper() for state in states],
        "classification": classification,
        "policyClass": policy_class,
        "environments": environment,
    }
    wanted = {name: values for name, values in given.items() if values}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        types = {"filter": "AssetFilter", "order": "Order!"}
        found = list(asked.pages("assets", _NODE, types, limit=limit + 1, filter=wanted, order="OLDEST_FIRST"))
        nothing = None if found or json else asked.unrecorded()
    shown = plainly(found[:limit])
    if json:
        print_json({"assets": shown, "more": len(found) > limit})
        return
    columns = ("id", "title", "owner", "team", "tier", "runs in", "data", "state")
    show_rows(columns, [_row(item) for item in shown], nothing or "There is nothing in the estate that is so.")
    if not found and asked.hint:
        typer.echo(f"  ({asked.hint})", err=True)
    if len(found) > limit:
        typer.echo(f"\n{limit} are shown; --limit shows more.", err=True)


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    state = str(item["lifecycle"]).lower()
    return (
        item["id"],
        item["title"],
        item["owner"],
        item["team"],
        item["tier"],
        ", ".join(item["environments"]),
        item["classification"],
        "" if state == "live" else state,
    )


@app.command()
def show(asset: AssetId, at: At = None, known_at: KnownAt = None, json: AsJson = False) -> None:
    """Show one object: what is known of it, its relations both ways, its findings, and who answers for it."""
    name = plain(asset)
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        types = {"id": "ID!", "asset": "String!"}
        answer = asked.ask(_WHOLE, types, id=f"asset:{name}", asset=name)
        hint = asked.absent(name) if answer["node"] is None else ""
        if answer["node"] is not None:
            then = asked.pinned(answer["position"], answer["moment"])
            related = _related(then, _called(then, name, answer["node"].get("aliases") or ()))
            ends = [item[end] for way, end in (("out", "to"), ("into", "from")) for item in related[way]]
            with_survivors(then, [answer["node"], *ends])
            wrong = asked.try_ask(_WRONG, {"asset": "String!"}, asset=name)
            unknown = [] if json else doubts(asked, name)
    found = answer["node"]
    if found is None or found.pop("__typename") != "Asset":
        moment = "" if asked.is_now else " at that moment"
        fail(
            f"there is no {name} in the estate{moment}",
            f"quarterdeck estate list --kind {quoted(name.partition(':')[0])}   shows names, like agent:support-bot"
            if asked.is_now
            else hint,
            json=json,
            kind="not_found",
        )
    found |= related | {"drifts": nodes(answer["drifts"])}
    found["findings"] = None if wrong is None else nodes(wrong["findings"])
    whole = plainly(found) | {"position": answer["position"]}
    if json:
        print_json(whole)
        return
    out = console()
    for line in object_tree(whole):
        out.print(line, soft_wrap=True)
    say_doubts(unknown)


def _called(asked: Asked, name: str, aliases: Sequence[str]) -> list[str]:
    """Return the names of an object: its own, and those of what was merged into it, and into that."""
    found, waiting = [name], list(aliases)
    while waiting and len(found) < MAX_NAMES:
        fresh = [alias for alias in dict.fromkeys(waiting) if alias not in found][:AT_ONCE]
        found += fresh
        waiting = [alias for alias in waiting if alias not in found]
        given = {f"n{place}": f"asset:{alias}" for place, alias in enumerate(fresh)}
        selection = " ".join(f"{place}: node(id: ${place}) {{ ... on Asset {{ aliases }} }}" for place in given)
        answer = asked.ask(f"{{ {selection} }}", dict.fromkeys(given, "ID!"), **given) if given else {}
        waiting += [alias for place in given for alias in (answer[place] or {}).get("aliases", ())]
    return found


def _related(asked: Asked, names: Sequence[str]) -> dict[str, Any]:
    """Return the relations of an object that are there, both ways, by all of its names, and whether there are more."""
    found: dict[str, Any] = {"more": False}
    for way, end, other in (("out", "source", "to"), ("into", "target", "from")):
        node = f"{{ {_RELATION} {other} {{ id title lifecycle owner team mergedInto }} }}"
        wanted = {end: list(names)}
        pages = asked.pages("relations", node, {"filter": "RelationFilter"}, limit=MAX_RELATIONS + 1, filter=wanted)
        relations = list(pages)
        found["more"] = found["more"] or len(relations) > MAX_RELATIONS
        found[way] = [item for item in relations[:MAX_RELATIONS] if item["declared"] or item["observed"]]
    return found


@app.command()
def kinds(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind: its attributes.")] = None,
    json: AsJson = False,
) -> None:
    """Show the kinds of objects, the attributes of one, and how objects can be related."""
    with Api(json=json) as api:
        found = api.get("/v1/estate/kinds")
    defs, relations = found["kinds"]["$defs"], found["relations"]
    if kind is not None and kind not in defs:
        fail(f"there is no kind {kind}", "quarterdeck estate kinds   lists them", json=json, kind="not_found")
    if kind is None:
        if json:
            print_json(found)
            return
        rows = [(name, said.get("title"), _first(said.get("description"))) for name, said in sorted(defs.items())]
        show_rows(("kind", "called", "what it is"), rows, "There are no kinds.")
        typer.echo("\nOne of them:  quarterdeck estate kinds KIND")
        return
    leads = [(name, said) for name, said in relations.items() if kind in said["sources"]]
    if json:
        print_json({"kind": kind, "schema": defs[kind], "relations": dict(leads)})
        return
    typer.echo(f"{visible(kind)}: {visible(_first(defs[kind].get('description')))}\n")
    attributes = [(f"attributes.{name}", _takes(said)) for name, said in defs[kind].get("properties", {}).items()]
    show_rows(("attribute", "takes"), attributes, "It has no attributes of its own.")
    typer.echo("")
    ends = [(name, ", ".join(said["targets"]) if len(said["targets"]) < 20 else "anything") for name, said in leads]
    show_rows(("relation", "leads to"), ends, "Nothing leads from it.")


def _first(text: object) -> str:
    return str(text or "").split("\n", 1)[0]


def _takes(said: dict[str, Any]) -> str:
    options = [item for item in said.get("anyOf", [said]) if item.get("type") != "null"]
    words = [" | ".join(map(str, item["enum"])) if "enum" in item else str(item.get("type", "")) for item in options]
    inner = said.get("items", {})
    of = f" of {' | '.join(map(str, inner['enum']))}" if "enum" in inner else ""
    return f"{' or '.join(words)}{of}".replace("array", "a list, a,b").replace("string", "text")


@app.command()
def drift(
    asset: Annotated[list[str], typer.Option(metavar="ID", help="Only of this object; several times.")] = [],  # noqa: B006
    everything: Annotated[bool, typer.Option("--all", help="Also what somebody took as the new pin.")] = False,
    limit: Limit = 200,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """List where one of the five inputs of behaviour is not what was pinned: newest first."""
    wanted: dict[str, Any] = {} if everything else {"state": ["OPEN"]}
    if asset:
        wanted["asset"] = [plain(item) for item in asset]
    node = "{ id assetId input fieldName expected found evidence quarantined state detectedAt asset { lifecycle } }"
    unnoted = {"type": ["DRIFTED"]} | ({"asset": wanted["asset"]} if asset else {})
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        types = {"filter": "DriftFilter"}
        found = plainly(list(asked.pages("drifts", node, types, limit=limit, filter=wanted)))
        pages = asked.pages(
            "findings",
            "{ assetId subject message fix }",
            {"filter": "FindingFilter"},
            limit=limit,
            pin=False,
            filter=unnoted,
        )
        # What is not as pinned although nobody has noted it: of such a finding no drift is the subject.
        others = [item for item in plainly(list(pages)) if not item["subject"]]
        nothing = None if found or others or json else asked.unrecorded()
    if json:
        print_json({"drifts": found, "unnoted": others})
        return
    rows = [
        (
            item["id"],
            item["assetId"],
            str(item["input"]).lower(),
            f"{item['fieldName']}: {item['expected']} -> {item['found']}",
            when(item["detectedAt"]),
            f"{str(item['state']).lower()}{', in quarantine' if _is_shut(item) else ''}",
        )
        for item in found
    ]
    if rows or not others:
        columns = ("drift", "object", "input", "from -> to", "found", "state")
        show_rows(columns, rows, nothing or "Everything is as it was pinned.")
    for item in others:
        typer.echo(
            f"{visible(item['assetId'])}: {visible(item['message'])}\n  nobody has noted it: {visible(item['fix'])}"
        )
    if rows:
        typer.echo("\nHaving read it:  quarterdeck estate accept-drift OBJECT DRIFT -m …   or   quarantine OBJECT -m …")


def _is_shut(drift: Mapping[str, Any]) -> bool:
    """Tell whether an object that drifted is in quarantine now: it may have been released since, or put there later."""
    return str((drift.get("asset") or {}).get("lifecycle")).lower() == "quarantined"
