"""A copy of the keys, for a place that holds no copy of the log: data subjects' keys, signing keys, last checkpoints.

Whoever has this file and a backup of the log can read what was sealed and sign in the log's name. Erasing a person
destroys the key here; it does not reach copies, so an older copy of the keys must be destroyed after an erasure.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.archive import AlreadyThere, ArchiveReader, ArchiveWriter, InvalidArchive, decode_line
from quarterdeck_ledger.notes import parse_checkpoint, parse_note

_TENANT: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SUBJECT: Final = re.compile(rf"subjects/{_TENANT}/[0-9a-f]{{64}}")
_SIGNING: Final = re.compile(rf"signing/{_TENANT}/(?:checkpoint|binding|grant|webhook)/[0-9]{{6}}\.ed25519")
_HELD: Final = re.compile(rf"checkpoints/{_TENANT}\.checkpoint")
_SUBJECT_KEY: Final = re.compile(r"[0-9a-f]{8} [0-9a-f]{64}")
_SIGNING_KEY: Final = re.compile(r"[0-9a-f]{64}")


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a copy of keys."""

    format: Literal["quarterdeck-keys"]
    version: Literal[1]
    created_at: str
    files: int


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the keys' directory."""

    path: str
    content: str

    def __repr__(self) -> str:
        return f"KeyFile(path={self.path!r})"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each kind there are."""

    subjects: int
    signing: int
    checkpoints: int


def write(directory: Path, writer: ArchiveWriter, now: datetime | None = None) -> Counts:
    """Write a copy of every key in a directory. One that is destroyed meanwhile is left out.

    Raises:
        InvalidArchive: a file among the keys is no key: it was damaged.
    """
    files = list(_files(directory))
    moment = (now or datetime.now(UTC)).isoformat()
    writer.header(Header(format="quarterdeck-keys", version=1, created_at=moment, files=len(files)))
    for file in files:
        writer.struct(file)
    return _count(files)


def read(file: BinaryIO) -> list[KeyFile]:
    """Return the files of a copy of keys, if all of it holds.

    Raises:
        InvalidArchive: it is none, is damaged, or has what is no key.
    """
    file.seek(0)
    reader = ArchiveReader(file)
    header = reader.header(Header)
    found = []
    for _ in range(header.files):
        item = decode_line(reader.line("key"), KeyFile, "key")
        _check(item)
        found.append(item)
    reader.finish()
    if len({item.path for item in found}) != len(found):
        raise InvalidArchive("a key occurs twice")
    return found


def restore(files: list[KeyFile], directory: Path) -> Counts:
    """Make the keys' directory from a copy; it appears whole or not at all.

    Raises:
        AlreadyThere: there are keys already. They are never mixed: an older copy would bring back destroyed ones.
    """
    if directory.exists() and any(path.is_file() for path in directory.rglob("*")):
        raise AlreadyThere(f"there are keys in {directory} already: move that directory away first")
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = directory.with_name(f"{directory.name}.restoring-{secrets.token_hex(4)}")
    try:
        fresh.mkdir(mode=0o700)
        for item in files:
            path = fresh / item.path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(path, "x", encoding="utf-8", newline="", opener=_private) as file:
                file.write(item.content)
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(directory, ignore_errors=True)  # it has no file in it
        fresh.rename(directory)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return _count(files)


def _files(directory: Path) -> Iterator[KeyFile]:
    for kind in ("checkpoints", "signing", "subjects"):
        for path in sorted((directory / kind).rglob("*")):
            name = path.relative_to(directory).as_posix()
            if not any(pattern.fullmatch(name) for pattern in (_SUBJECT, _SIGNING, _HELD)):
                continue  # drafts and locks
            try:
                item = KeyFile(path=name, content=path.read_text(encoding="utf-8", errors="replace"))
            except FileNotFoundError:
                continue
            if set(item.content) != {"0"}:  # one that is being destroyed
                _check(item)
                yield item


def _check(item: KeyFile) -> None:
    if _SUBJECT.fullmatch(item.path):
        sound = _SUBJECT_KEY.fullmatch(item.content) is not None
    elif _SIGNING.fullmatch(item.path):
        sound = _SIGNING_KEY.fullmatch(item.content) is not None
    elif _HELD.fullmatch(item.path):
        sound = _is_checkpoint(item.content)
    else:
        raise InvalidArchive(f"{item.path[:100]!r} is no place for a key")
    if not sound:
        raise InvalidArchive(f"what is kept at {item.path} is no key")


def _is_checkpoint(text: str) -> bool:
    try:
        parse_checkpoint(parse_note(text.encode()).text)
    except (QuarterdeckError, ValueError):
        return False
    return True


def _count(files: list[KeyFile]) -> Counts:
    kinds = [item.path.partition("/")[0] for item in files]
    return Counts(**{kind: kinds.count(kind) for kind in ("subjects", "signing", "checkpoints")})


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
