"""`quarterdeck estate import`: the estate filled from where the truth already is.

Files of known formats go to the server as they are. What only this machine can see, a directory of prompts, an MCP
server that is a program or that only this network reaches, is read here, and what was found is sent. Either way it is
planned, shown, agreed to and applied like any file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_door import read_file
from quarterdeck_cli.estate_flow import Choices, agreeing, carry_out
from quarterdeck_cli.estate_reading import found_here, run, variable

if TYPE_CHECKING:
    from quarterdeck_connectors.draft import Imported

FILES: Final = {
    "litellm": "a LiteLLM proxy's configuration: routes, deployments, models",
    "openapi": "an OpenAPI 3 document: its operations, as tools",
    "a2a": "an A2A agent card: the agent and its skills",
    "cyclonedx": "a CycloneDX 1.6 or 1.7 ML-BOM",
    "spdx": "an SPDX 3 bill with its AI profile",
}
"""Files that the server reads, by the name of their format."""
NAMED: Final = ("litellm", "openapi", "a2a")
"""Formats in which a file calls things by a name that others have, too: a title, a route."""
MIN_SECRET: Final = 8
"""What is shorter is no secret, if nobody says that it is one."""
DIALECTS: Final = ("openai", "anthropic")

File = Annotated[str, typer.Argument(metavar="FILE", help="The file; - reads standard input.", show_default=False)]
Url = Annotated[str, typer.Argument(metavar="URL", help="Its address, as this machine reaches it.", show_default=False)]
As = Annotated[str, typer.Option("--as", metavar="NAME", help="How the house calls the server.", show_default=False)]
Called = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="How the house calls what it describes.", show_default=False),
]
Whole = Annotated[
    bool, typer.Option("--whole", help="It is all that its --source or --as has: the rest is gone from there.")
]
Source = Annotated[
    str | None, typer.Option("--source", help="The name under which what it says is known.", show_default=False)
]
Shut = Annotated[bool, typer.Option("--quarantine", help="Put what is not as it was pinned into quarantine.")]
Token = Annotated[
    str | None,
    typer.Option("--token-env", metavar="VARIABLE", help="The variable that holds the token.", show_default=False),
]

app = typer.Typer(
    help="Fill the estate from files, a directory of prompts, MCP servers, lists of models.", no_args_is_help=True
)


def _verb(form: str, what: str) -> Callable[..., None]:
    def send(file: str, choices: Choices, source: str | None, name: str | None, quarantine: bool, whole: bool) -> bool:
        if whole and source is None and name is None:
            raise typer.BadParameter("say of what it is all: --source or --as", param_hint="--whole")
        how = {"form": form, "source": source, "name": name}
        how |= {"on_drift": "quarantine" if quarantine else None, "whole": "true" if whole else None}
        document = read_file(file, json=choices.json, how=how)
        with Api(json=choices.json) as api:
            return carry_out(api, document, choices)

    def read(
        file: File, choices: Choices, source: Source = None, quarantine: Shut = False, whole: Whole = False
    ) -> bool:
        return send(file, choices, source, None, quarantine, whole)

    def read_named(
        file: File,
        choices: Choices,
        name: Called = None,
        source: Source = None,
        quarantine: Shut = False,
        whole: Whole = False,
    ) -> bool:
        return send(file, choices, source, name, quarantine, whole)

    verb = read_named if form in NAMED else read
    verb.__doc__ = f"Import {what}."
    return agreeing(verb)


for _form, _what in FILES.items():
    app.command(_form)(_verb(_form, _what))


@app.command()
@agreeing
def prompts(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory.", show_default=False)],
    choices: Choices,
    source: Source = None,
) -> bool:
    """Import a directory of versioned prompt files, such as a repository's. It is read on this machine."""

    def read() -> Imported:
        from quarterdeck_connectors.prompts import read_prompts

        return read_prompts(directory, source=source or "prompts")

    return _carry_out(str(directory), read, choices)


@app.command("mcp-stdio")
@agreeing
def mcp_stdio(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="What starts it here; put it after --.", show_default=False)
    ],
    name: As,
    choices: Choices,
    environment: Annotated[list[str], typer.Option("--env", metavar="VARIABLE", help="Hand this variable on.")] = [],  # noqa: B006
    quarantine: Shut = False,
) -> bool:
    """Import what an MCP server offers that is a program on this machine. It is started here, as you, and ended."""
    handed = {called: variable(called, "--env") for called in environment}

    def read() -> Imported:
        from quarterdeck_connectors.mcp_stdio import import_mcp_program

        return run(lambda: import_mcp_program(command, name, environment=handed, on_drift=_shut(quarantine)))

    return _carry_out(name, read, choices, whole=True)


@app.command()
@agreeing
def mcp(
    url: Url,
    name: As,
    choices: Choices,
    token: Token = None,
    header: Annotated[
        list[str],
        typer.Option("--header-env", metavar="HEADER=VARIABLE", help="Send a header that a variable holds."),
    ] = [],  # noqa: B006
    quarantine: Shut = False,
) -> bool:
    """Import what an MCP server offers, over streamable HTTP, read from this machine. Nothing of it is called."""
    headers, secrets = {}, []
    if token is not None:
        secrets.append(variable(token, "--token-env"))
        headers["Authorization"] = f"Bearer {secrets[0]}"
    for pair in header:
        called, equals, held = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not HEADER=VARIABLE", param_hint="--header-env")
        headers[called] = variable(held, "--header-env")
        secrets += [word for word in headers[called].split() if len(word) >= MIN_SECRET]

    def read() -> Imported:
        from quarterdeck_connectors.mcp_server import import_mcp_server

        return run(lambda: import_mcp_server(url, name, headers=headers, internal=True, on_drift=_shut(quarantine)))

    return _carry_out(name, read, choices, whole=True, secrets=secrets)


@app.command()
@agreeing
def models(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="As clients are given it: it ends in /v1.", show_default=False)
    ],
    provider: Annotated[str, typer.Option(help="How the house calls who serves them.", show_default=False)],
    choices: Choices,
    dialect: Annotated[str, typer.Option(help=f"{' or '.join(DIALECTS)}.")] = DIALECTS[0],
    token: Token = None,
    source: Source = None,
) -> bool:
    """Import the models that an OpenAI- or Anthropic-compatible server lists, read from this machine."""
    if dialect not in DIALECTS:
        raise typer.BadParameter(f"{dialect!r} is not one of {', '.join(DIALECTS)}", param_hint="--dialect")
    key = None if token is None else variable(token, "--token-env")
    spoken: Any = dialect

    def read() -> Imported:
        from quarterdeck_connectors.models import read_models
        from quarterdeck_connectors.models_fetch import fetch_models

        pages = run(lambda: fetch_models(url, dialect=spoken, key=key, internal=True))
        return read_models(
            pages, dialect=spoken, provider=provider, source=source or f"models {provider}", endpoint=url
        )

    return _carry_out(provider, read, choices, whole=True, secrets=[] if key is None else [key])


def _shut(quarantine: bool) -> Literal["note", "quarantine"]:
    return "quarantine" if quarantine else "note"


def _carry_out(
    name: str, read: Callable[[], Imported], choices: Choices, *, whole: bool = False, secrets: Sequence[str] = ()
) -> bool:
    """Read, plan, apply. With `whole`, what came from there before and is not there any more is noted as gone."""
    with Api(json=choices.json) as api:  # whoever is not signed in is told before anything is read
        return carry_out(api, found_here(name, read, json=choices.json, whole=whole, secrets=secrets), choices)
