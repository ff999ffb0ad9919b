"""A file of lines that knows whether it is whole: what backups of the log and of keys are written as.

gzip over lines, each ended by one newline: a header (canonical JSON that begins with the format's name), the body, and
a trailer with the number of body lines and the SHA-256 of every byte before it. It is read line by line with a bound
on each, so a hostile file costs no memory; and there are no paths in it, so it can be written nowhere else.

Source: RFC 1952 (gzip).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import msgspec

from quarterdeck_domain import canonical
from quarterdeck_domain.errors import InvalidInput, NotCanonical, WrongState

MAX_HEADER: Final = 16 * 2**20
MAX_LINE: Final = 131_072
_CHUNK: Final = 2**20

T = TypeVar("T")


class InvalidArchive(InvalidInput):
    """The file is no archive of this kind, is damaged, or is not whole. Use another copy; nothing was changed."""

    code = "invalid_archive"


class AlreadyThere(WrongState):
    """Something is at the target already, and it is not overwritten. Choose another, or move it away yourself."""

    code = "already_there"


class Trailer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line."""

    lines: int
    sha256: str


class ArchiveWriter:
    """Writes the body; made by `writing`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._lines = 0

    def header(self, header: msgspec.Struct) -> None:
        """Write the first line."""
        self._write(_line(header))

    def line(self, line: bytes) -> None:
        """Write a line of the body, without its newline."""
        if b"\n" in line or len(line) > MAX_LINE:
            raise InvalidArchive("a line of an archive has no newline in it and a bounded length", bytes=len(line))
        self._write(line + b"\n")
        self._lines += 1

    def struct(self, value: msgspec.Struct) -> None:
        """Write a value as a line of the body."""
        self.line(_line(value)[:-1])

    def close(self) -> str:
        """Write the trailer; return the digest in it."""
        digest = self._digest.hexdigest()
        self._stream.write(_line(Trailer(lines=self._lines, sha256=digest)))
        return digest

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)


class ArchiveReader:
    """Reads an archive from its beginning; what was read is to be believed once `finish` has returned."""

    def __init__(self, file: BinaryIO) -> None:
        """`file` stands at its beginning."""
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._digest = hashlib.sha256()
        self._lines = 0

    def header(self, type: type[T]) -> T:
        """Return the first line.

        Raises:
            InvalidArchive: it is none of this format.
        """
        line = self._read(MAX_HEADER, "header")
        self._digest.update(line)
        return decode_line(line[:-1], type, "header")

    def line(self, what: str) -> bytes:
        """Return the next line of the body, without its newline.

        Raises:
            InvalidArchive: there is none, or it is too long.
        """
        line = self._read(MAX_LINE, what)
        self._digest.update(line)
        self._lines += 1
        return line[:-1]

    def finish(self) -> str:
        """Check the trailer and that nothing follows; return the digest of the whole.

        Raises:
            InvalidArchive: the file was damaged, cut off or added to.
        """
        trailer = decode_line(self._read(MAX_LINE, "trailer")[:-1], Trailer, "trailer")
        if trailer != Trailer(lines=self._lines, sha256=self._digest.hexdigest()):
            raise InvalidArchive("the archive's digest is not that of its content: it was damaged or altered")
        with _readable("end"):
            if self._stream.read(1):
                raise InvalidArchive("there are bytes after the end of the archive")
        return trailer.sha256

    def _read(self, limit: int, what: str) -> bytes:
        with _readable(what):
            line = self._stream.readline(limit + 2)
        if not line.endswith(b"\n"):
            reason = "is longer than any can be" if len(line) > limit else "is missing or cut off"
            raise InvalidArchive(f"the {what} line of the archive {reason}")
        return line


@contextmanager
def writing(target: Path) -> Iterator[ArchiveWriter]:
    """Write an archive that appears at `target` whole, durable and private, or not at all.

    Raises:
        AlreadyThere: something is at the target.
        OSError: it cannot be written there.
    """
    if target.exists() or target.is_symlink():
        raise AlreadyThere(f"{target} is there already: choose another name", target=str(target))
    draft = target.with_name(f"{target.name}.partial-{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # No name and no time: the same content gives the same bytes.
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as stream:
                writer = ArchiveWriter(stream)
                yield writer
                writer.close()
            file.flush()
            os.fsync(file.fileno())
        _name(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def decode_line(line: bytes, type: type[T], what: str) -> T:
    """Return a line of canonical JSON as a value.

    Raises:
        InvalidArchive: it is none of that type.
    """
    try:
        return msgspec.convert(canonical.decode(line, max_bytes=len(line)), type)
    except (NotCanonical, msgspec.ValidationError) as error:
        raise InvalidArchive(f"the {what} line of the archive is not valid: {error}") from None


def sha256_of(path: Path) -> str:
    """Return the digest of a file, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _name(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)  # unlike a rename, it never replaces what came there meanwhile
    except FileExistsError:
        raise AlreadyThere(f"{target} is there already: choose another name", target=str(target)) from None


def _line(value: msgspec.Struct) -> bytes:
    return canonical.encode(msgspec.to_builtins(value), max_bytes=MAX_HEADER) + b"\n"


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidArchive(f"the archive breaks off or is damaged at its {what} line: {error}") from None
