"""What an estate is read from, by the name of the format: bytes in, a declaration out. Servers are read in `remote`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from quarterdeck_connectors.a2a import read_card
from quarterdeck_connectors.cyclonedx_reading import read_cyclonedx
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.files import read_estate
from quarterdeck_connectors.imported import read_imported
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_connectors.spdx_reading import read_spdx
from quarterdeck_domain.errors import InvalidInput

Read = Callable[[bytes, str, str | None], Imported]

FORMATS: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "estate": lambda data, source, name: Imported(declaration=read_estate(data)),
        "litellm": lambda data, source, name: read_litellm(data, source=source, proxy=name or ""),
        "openapi": lambda data, source, name: read_openapi(data, source=source, api=name),
        "a2a": lambda data, source, name: read_card(data, source=source, agent=name),
        "cyclonedx": lambda data, source, name: read_cyclonedx(data, source),
        "spdx": lambda data, source, name: read_spdx(data, source),
        "imported": lambda data, source, name: read_imported(data, source),
    }
)
"""Every format of a file. An estate file names its own source; the others are told it."""
NAMED: Final = frozenset({"litellm", "openapi", "a2a"})
"""Formats in which a file calls things by a name that others have, too: whoever imports it may say another."""
_OWN: Final = frozenset({"estate", "imported"})
"""Formats that say all of this themselves."""


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is to be read: its format, under which name what it says is known (else by what it is called, else by
    its format), how that is called which it describes, what becomes of what is not as it was pinned, and whether it is
    all that its source has."""

    form: str = "estate"
    source: str | None = None
    name: str | None = None
    on_drift: Literal["note", "quarantine"] = "note"
    whole: bool = False


def read(data: bytes, how: How) -> Imported:
    """Return what a file declares.

    Raises:
        InvalidInput: there is no such format, or files of it are not read like that.
        UnreadableSource: it is not such a file; says where and what would be right.
    """
    form = FORMATS.get(how.form)
    if form is None:
        raise InvalidInput(f"there is no format {how.form[:40]!r}", formats=sorted(FORMATS))
    if how.name is not None and how.form not in NAMED:
        raise InvalidInput(f"what a file of the format {how.form} describes has its names in it: leave `name` out")
    if how.form in _OWN:
        if how.whole or how.on_drift != "note":
            raise InvalidInput(f"`whole` and `on_drift` are for imports of other formats than {how.form}")
        return form(data, how.source or how.form, None)
    if how.whole and how.source is None and how.name is None:
        raise InvalidInput("say of what it is all: with `source` or `name`")
    found = form(data, how.source or how.name or how.form, how.name)
    if found.declaration.confidence == "declared":
        if how.whole or how.on_drift != "note":
            raise InvalidInput("this was written here and says what should be: leave `whole` and `on_drift` out")
        return found
    declaration = msgspec.structs.replace(found.declaration, on_drift=how.on_drift, whole=how.whole)
    return msgspec.structs.replace(found, declaration=declaration)
