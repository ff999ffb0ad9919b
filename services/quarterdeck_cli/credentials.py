"""Where the command line keeps its sessions: one file, readable by its owner alone, a session for each server.

A session is only ever sent to the server that gave it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

URL_VARIABLE: Final = "QUARTERDECK_URL"
TOKEN_VARIABLE: Final = "QUARTERDECK_TOKEN"  # noqa: S105
DEFAULT_URL: Final = "http://127.0.0.1:8480"


class UnsafeCredentials(Exception):
    """The file cannot be used as it is: others may read it, or it is damaged. `way_out` is the command that helps."""

    def __init__(self, message: str, way_out: str) -> None:
        super().__init__(message)
        self.way_out = way_out


@dataclass(frozen=True, slots=True)
class Access:
    """A server, and what opens it; `token` is None where nobody signed in."""

    url: str
    token: str | None


def path() -> Path:
    """Return the file's place: `$XDG_CONFIG_HOME/quarterdeck/credentials`, by default below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "quarterdeck" / "credentials"


def access(at: str | None = None) -> Access:
    """Return the server to speak to, `at` if it is given, and its credential: the environment's, else a sign-in's.

    A server that neither the environment nor `at` names is that of the last sign-in. The environment's credential goes
    to no other server than the environment's.

    Raises:
        UnsafeCredentials: the file cannot be used.
    """
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if at is not None:
        url, token = at, token if (url or at).rstrip("/") == at.rstrip("/") else None
    if url and token:
        return Access(url.rstrip("/"), token)
    stored = _read()
    url = (url or stored.get("current") or DEFAULT_URL).rstrip("/")
    return Access(url, token or stored["servers"].get(url))


def keep(url: str, token: str) -> Path:
    """Store a session, and make its server the current one; return the file's path.

    Raises:
        UnsafeCredentials: the file that is there cannot be used.
    """
    stored = _read()
    stored["servers"][url] = token
    return _write({"current": url, "servers": stored["servers"]})


def forget(url: str) -> None:
    """Remove the session of a server.

    Raises:
        UnsafeCredentials: the file cannot be used.
    """
    stored = _read()
    if stored["servers"].pop(url, None) is not None:
        _write(stored)


def _read() -> dict[str, Any]:
    file = path()
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if os.name == "posix" and mode & 0o077:
                raise UnsafeCredentials(f"others can read {file}, which signs in as you", f"chmod 600 {file}")
            stored = json.loads(stream.read())
    except FileNotFoundError:
        return {"current": None, "servers": {}}
    except (OSError, ValueError) as error:
        raise UnsafeCredentials(f"{file} cannot be read: {error}", f"rm {file}   and sign in again") from None
    servers = stored.get("servers") if isinstance(stored, dict) else None
    if not isinstance(servers, dict) or not all(isinstance(value, str) for value in servers.values()):
        raise UnsafeCredentials(f"{file} is damaged", f"rm {file}   and sign in again")
    return {"current": stored.get("current"), "servers": servers}


def _write(stored: dict[str, Any]) -> Path:
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes a file for its owner alone; renaming it over the old one is all or nothing.
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".credentials-")
    try:
        with os.fdopen(handle, "w") as stream:
            json.dump(stored, stream, indent=1)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file
