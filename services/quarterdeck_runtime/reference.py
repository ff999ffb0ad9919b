"""The reference of all settings as a page, made from the code; a test compares it with `docs/configuration.md`."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from quarterdeck_runtime.settings import DEFAULT_CONFIG, Settings
from quarterdeck_runtime.variables import CONFIG_VARIABLE, SECRETS_VARIABLE

_HEAD = f"""# Configuration

This page is made from the code (`python -m quarterdeck_runtime.reference > docs/configuration.md`).

Every role (`api`, `worker`, `projector`, and `up`, which runs them all) reads the same settings, from the first of
these that has one:

1. the command line, where a command has an option for it;
2. the environment: the name in the table;
3. a file of that name, in lower case, in the directory that `{SECRETS_VARIABLE}` names (one secret a file);
4. a TOML file: the one that `{CONFIG_VARIABLE}` names, else `{DEFAULT_CONFIG}` in the working directory. Its keys are
   the names without `QUARTERDECK_`, in lower case, at the top level;
5. the default.

A name that is no setting is refused, with the nearest that is one: a key of the file, and every variable and secret
file whose name begins with `QUARTERDECK_`. So is a file or directory that a variable names and that is not there.

A password that is not part of `QUARTERDECK_DATABASE_URL` is taken from `PGPASSWORD` or `PGPASSFILE`, as other clients
of PostgreSQL do. In the address itself, its `@`, `/`, `:`, `%`, `?` and `#` are percent-encoded.

Nothing here changes while a process runs: what may be changed then, such as policies and approval paths, is changed by
commands and recorded in the log. Secrets are never logged.

| setting | type | default | meaning |
|---|---|---|---|
"""


def as_markdown() -> str:
    """Return the page."""
    return _HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    variable = f"`QUARTERDECK_{name.upper()}`"
    return f"| {variable} | {_type(field.annotation)} | {_default(field.default)} | {field.description} |\n"


def _type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_type(item) for item in get_args(annotation) if item is not type(None))
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{item}`" for item in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list, separated by commas"
    names = {
        SecretStr: "secret text",
        str: "text",
        Path: "path",
        int: "integer",
        float: "number",
        bool: "true or false",
    }
    return names[annotation]


def _default(value: object) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    print(as_markdown(), end="")
