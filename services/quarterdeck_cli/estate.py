"""`quarterdeck estate`: what the estate is, how it hangs together, what may reach what, and changing it.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

import typer

from quarterdeck_cli import (
    estate_changes,
    estate_files,
    estate_imports,
    estate_opened,
    estate_reach,
    estate_reads,
    estate_state,
    sources,
)

app = typer.Typer(
    help="See the estate as of any moment, ask what reaches what, fill it and change it.", no_args_is_help=True
)
_PANELS = (
    ("See it", estate_reads),
    ("See it", estate_state),
    ("Ask it", estate_reach),
    ("Ask it", estate_opened),
    ("Fill it, take it away", estate_files),
    ("Change it", estate_changes),
)
for _panel, _module in _PANELS:
    for _command in _module.app.registered_commands:
        _command.rich_help_panel = _panel
        app.registered_commands.append(_command)
app.add_typer(estate_imports.app, name="import", rich_help_panel="Fill it, take it away")
app.add_typer(sources.app, name="sources", rich_help_panel="Fill it, take it away")
