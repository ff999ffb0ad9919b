"""The secrets that sources are read with: named in the log, kept by the operator, never the other way round.

A secret belongs to a tenant and to a host. Whoever may register sources may so have it sent to that host, and to no
other. It is read where it is kept each time it is used, so that a file may be replaced while we run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quarterdeck_connectors.destinations import Target, is_loopback
from quarterdeck_connectors.errors import CredentialNotConfigured

MAX_SECRET: Final = 8_192
_VISIBLE: Final = re.compile(r"[!-~]{4,8192}")


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is kept, and for whom. `host` is a host, or `host:port` where that is not 443."""

    tenant: str
    host: str
    variable: str | None = None
    file: Path | None = None


class Credentials:
    """The secrets that the operator keeps for sources, by name."""

    def __init__(self, known: Mapping[str, Secret] | None = None) -> None:
        """`known` are those of the setting `import_secrets`, by name."""
        self._known = dict(known or {})

    @classmethod
    def of(cls, entries: Iterable[str]) -> Credentials:
        """Return them from the entries of the setting `import_secrets`, as they were checked there."""
        known: dict[str, Secret] = {}
        for entry in entries:
            name, tenant, host, kept = entry.split()
            how, _, where = kept.partition(":")
            known[name] = Secret(
                tenant=tenant,
                host=host,
                variable=where if how == "env" else None,
                file=Path(where) if how == "file" else None,
            )
        return cls(known)

    def require(self, tenant: str, name: str, target: Target) -> Secret:
        """Return where the secret of this name is kept.

        Raises:
            CredentialNotConfigured: there is none for this tenant and this host; or it would be sent in clear.
        """
        found = self._known.get(name)
        here = {target.authority, *((target.host,) if target.port == 443 else ())}
        if found is None or found.tenant != tenant or found.host.lower().rstrip(".") not in here:
            raise CredentialNotConfigured(
                f"there is no credential {name!r} for {target.authority[:100]}: the operator lists it in "
                "import_secrets, with this tenant and this host",
                credential=name,
            )
        if target.scheme != "https" and not is_loopback(target.host):
            raise CredentialNotConfigured(
                f"the credential {name!r} is not sent in clear: give an https:// address", credential=name
            )
        return found

    def value(self, tenant: str, name: str, target: Target) -> str:
        """Return a secret.

        Raises:
            CredentialNotConfigured: as `require`; or it is not where it should be, or is no secret.
        """
        kept = self.require(tenant, name, target)
        text: str | None = None
        if kept.variable is not None:
            text = os.environ.get(kept.variable)
        elif kept.file is not None:
            try:
                with kept.file.open("rb") as file:
                    text = file.read(MAX_SECRET + 2).decode("ascii", "replace")
            except OSError:
                text = None
        text = (text or "").strip()
        if not _VISIBLE.fullmatch(text):
            raise CredentialNotConfigured(
                f"the credential {name!r} is not where import_secrets says, or is not 4 to {MAX_SECRET} visible ASCII "
                "characters",
                credential=name,
            )
        return text
