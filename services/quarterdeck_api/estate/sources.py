"""What an estate is read from, by the name of the format: bytes in, a declaration out. Servers are read in `remote`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from quarterdeck_connectors.a2a import read_card
from quarterdeck_connectors.cyclonedx_reading import read_cyclonedx
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.files import read_estate
from quarterdeck_connectors.imported import read_imported
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_connectors.spdx_reading import read_spdx
from quarterdeck_domain.errors import InvalidInput

Read = Callable[[bytes, str], Imported]

FORMATS: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "estate": lambda data, source: Imported(declaration=read_estate(data)),
        "litellm": lambda data, source: read_litellm(data, source=source),
        "openapi": lambda data, source: read_openapi(data, source=source),
        "a2a": lambda data, source: read_card(data, source=source),
        "cyclonedx": read_cyclonedx,
        "spdx": read_spdx,
        "imported": read_imported,
    }
)
"""Every format of a file. An estate file names its own source; the others are told it."""


def read(form: str, data: bytes, source: str | None) -> Imported:
    """Return what a file of some format declares. `source` is the name under which it is known, else the format's.

    Raises:
        InvalidInput: there is no such format.
        UnreadableSource: it is not such a file; says where and what would be right.
    """
    found = FORMATS.get(form)
    if found is None:
        raise InvalidInput(f"there is no format {form[:40]!r}", formats=sorted(FORMATS))
    return found(data, source or form)
