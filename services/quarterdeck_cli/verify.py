"""`quarterdeck verify`: prove an export without trusting whoever made it. The standalone verifier, by another name.

Exit codes: 0 verified; 1 not verified; 2 not checked.
"""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck_cli.output import AsJson
from quarterdeck_cli.problems import give_up


def verify(
    export: Annotated[str | None, typer.Argument(metavar="FILE", help="The export; - reads standard input.")] = None,
    checkpoint: Annotated[list[str], typer.Option(help="File with a checkpoint you kept; several times.")] = [],  # noqa: B006
    vkey: Annotated[list[str], typer.Option(help="The log's key, known from elsewhere; several times.")] = [],  # noqa: B006
    witness: Annotated[list[str], typer.Option(help="Key of a witness that must have cosigned.")] = [],  # noqa: B006
    trust_key_in_file: Annotated[
        bool, typer.Option("--trust-key-in-file", help="Weaker: believe the key that came with the file.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Check every invariant of a running installation.")] = False,
    data_dir: Annotated[str | None, typer.Option(help="With --live: the installation [QUARTERDECK_DATA_DIR]")] = None,
    json: AsJson = False,
) -> None:
    """Verify an export of the log, byte by byte, needing no server; or, with --live, everything of an installation.

    With --checkpoint either shows a log that went back or was rewritten: an older copy agrees with itself alone.
    """
    if live == (export is not None):
        give_up("name the FILE of an export, or say --live", "quarterdeck verify --help", code=2)
    if export is None:
        from quarterdeck_cli.live import verify_live

        if witness or trust_key_in_file:
            give_up("--witness and --trust-key-in-file are for a FILE", "quarterdeck verify --help", code=2)
        raise typer.Exit(verify_live(data_dir, json=json, checkpoints=checkpoint, vkeys=vkey))
    from quarterdeck import verifier

    given = [f"--{name}={value}" for name, values in _named(checkpoint, vkey, witness) for value in values]
    flags = [flag for flag, wanted in (("--trust-key-in-file", trust_key_in_file), ("--json", json)) if wanted]
    raise typer.Exit(verifier.main([*given, *flags, "--", export]))


def _named(checkpoint: list[str], vkey: list[str], witness: list[str]) -> tuple[tuple[str, list[str]], ...]:
    return ("checkpoint", checkpoint), ("vkey", vkey), ("witness", witness)
