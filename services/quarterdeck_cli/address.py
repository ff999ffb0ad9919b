"""Where an installation on this machine is reached: written by `quarterdeck up`, read by other verbs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from quarterdeck_runtime.settings import Settings

FILE: Final = "address.json"


@dataclass(frozen=True)
class Address:
    """The API's URL and Temporal's `host:port`."""

    url: str
    temporal: str


def write(data_dir: Path, address: Address) -> None:
    """Remember where an installation is reached."""
    draft = data_dir / f"{FILE}.draft"
    draft.write_text(json.dumps(asdict(address)))
    os.replace(draft, data_dir / FILE)


def read(settings: Settings) -> Address | None:
    """Return where the installation is, or was last, reached; None if it never ran."""
    try:
        return Address(**json.loads((settings.data_dir.expanduser() / FILE).read_text()))
    except FileNotFoundError:
        return None


def base_url(settings: Settings) -> str:
    """Return the API's URL: the one that the settings name, or else where `quarterdeck up` last served it."""
    if settings.model_fields_set & {"public_url", "host", "port"}:
        return settings.base_url
    found = read(settings)
    return settings.base_url if found is None else found.url
