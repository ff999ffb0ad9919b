"""Saved operations: the questions people ask of the record, by name. They ship with the package.

A request names one with `documentId`: its file's name, or `sha256:` and the digest of its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from quarterdeck_domain.errors import NotFound

_PACKAGED: Final = Path(__file__).parent / "operations"
_IN_THE_TREE: Final = Path(__file__).parent.parent / "operations"


class UnknownDocument(NotFound):
    """No saved operation has that name or digest."""

    code = "unknown_document"


@cache
def operations() -> Mapping[str, str]:
    """Return the text of every saved operation by its name."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _IN_THE_TREE
    return MappingProxyType({path.stem: path.read_text() for path in sorted(folder.glob("*.graphql"))})


@cache
def _by_id() -> Mapping[str, str]:
    found = dict(operations())
    found.update((digest(text), text) for text in operations().values())
    return MappingProxyType(found)


def digest(text: str) -> str:
    """Return `sha256:` and the digest of a document's text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def document(document_id: str) -> str:
    """Return the text of a saved operation.

    Raises:
        UnknownDocument: there is none.
    """
    text = _by_id().get(document_id)
    if text is None:
        raise UnknownDocument("no operation is saved under that id", document_id=document_id[:100])
    return text
