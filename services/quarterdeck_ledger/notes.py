"""Signed notes and checkpoints: how a log says, and anyone checks, "this is my size and my root".

Written from the public specifications, so that standard transparency-log clients and witnesses work with
our logs. Only Ed25519 is spoken: type 0x01 for the log's signature, type 0x04 for a witness's timestamped
cosignature. Signatures of other types and by unknown keys are ignored, as the specification demands.

Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature (c2sp.org).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quarterdeck_domain.errors import InvalidInput, Refused

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
MAX_NOTE_BYTES: Final = 131_072
MAX_SIGNATURES: Final = 64
MAX_NAME_BYTES: Final = 255
MAX_SIZE: Final = 2**63 - 1

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class InvalidNote(InvalidInput):
    """Bytes that are not a signed note, checkpoint or verifier key as specified."""

    code = "invalid_note"


class UntrustedNote(Refused):
    """A well-formed note that no trusted key signed, or on which a trusted key's signature is wrong."""

    code = "untrusted_note"


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with the name it signs under. `str()` gives its vkey text."""

    name: str
    public_key: bytes
    type: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that, with the name, say in a signature line which key made it."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        """Return `name+hex(key id)+base64(type || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public_key)}"


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        """Return the line without its newline."""
        return f"— {self.name} {encode_base64(self.key_id + self.signature)}"


class Note(msgspec.Struct, frozen=True):
    """A parsed note. `text` ends with a newline; nothing about it is trusted yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """Return the note as it is written."""
        return (self.text + "\n" + "".join(f"{line}\n" for line in self.signatures)).encode()


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log commits to: the root over its first `size` leaves."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the note text that is signed."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


class Cosignature(msgspec.Struct, frozen=True):
    """A witness's statement that at `timestamp` (seconds since the epoch) this was the log's largest tree."""

    name: str
    timestamp: int


class Signer(Protocol):
    """Whoever can sign with a key: a file keystore or a key service."""

    @property
    def vkey(self) -> VerifierKey:
        """The public half, with the name it signs under."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message."""
        ...


class Ed25519Signer:
    """A signer with the private key in memory."""

    def __init__(self, name: str, key: Ed25519PrivateKey, type: int = ED25519) -> None:
        """Name the key; a log's is named after its origin.

        Raises:
            InvalidNote: the name cannot stand in a signature line.
        """
        _check_own_name(name)
        self._key = key
        self._vkey = VerifierKey(name, key.public_key().public_bytes_raw(), type)

    @property
    def vkey(self) -> VerifierKey:
        """The public half, with the name it signs under."""
        return self._vkey

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message."""
        return self._key.sign(message)


def encode_base64(data: bytes) -> str:
    """Return standard padded base64."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Return the bytes of standard padded base64 in its one canonical spelling.

    Raises:
        InvalidNote: any other spelling.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or encode_base64(data) != text:
        raise InvalidNote(f"{text[:80]!r} is not canonical base64")
    return data


def parse_vkey(text: str) -> VerifierKey:
    """Return the key that a vkey text describes.

    Raises:
        InvalidNote: not a vkey, not an Ed25519 key, or a key id that does not belong to name and key.
    """
    match = _VKEY.fullmatch(text)
    if match is None:
        raise InvalidNote(f"{text[:80]!r} is not a verifier key; expected name+hex key id+base64 key")
    name, key_id, encoded = match.groups()
    _check_own_name(name)
    material = decode_base64(encoded)
    if material[0] not in (ED25519, COSIGNATURE_V1) or len(material) != 33:
        raise InvalidNote(f"verifier key of {name!r} is not an Ed25519 key of type 1 or 4", type=material[0])
    key = VerifierKey(name, material[1:], material[0])
    if key.key_id.hex() != key_id:
        raise InvalidNote(f"verifier key of {name!r} has key id {key_id}, but its key's is {key.key_id.hex()}")
    return key


def parse_note(data: bytes) -> Note:
    """Parse a signed note. Its text must not be believed before a signature on it is verified.

    Raises:
        InvalidNote: not a note, larger than 131,072 bytes, or with more than 64 signatures.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise InvalidNote(f"a note of {len(data)} bytes; at most {MAX_NOTE_BYTES} are allowed", limit=MAX_NOTE_BYTES)
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidNote("the note is not UTF-8") from None
    if any(character < " " and character != "\n" for character in whole):
        raise InvalidNote("the note has a control character other than newline")
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise InvalidNote("a note is text, an empty line, and signature lines that end in a newline")
    signatures = lines[:-1].split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise InvalidNote(f"{len(signatures)} signatures; at most {MAX_SIGNATURES} are allowed", limit=MAX_SIGNATURES)
    return Note(text + "\n", tuple(_parse_signature(line) for line in signatures))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a note as a checkpoint.

    Raises:
        InvalidNote: it is not one.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise InvalidNote("a checkpoint is at least three lines, origin, size and root, none of them empty")
    origin, size, root, *extensions = lines
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise InvalidNote(f"{size[:40]!r} is not a tree size: decimal, no leading zeros, below 2^63")
    checkpoint = Checkpoint(origin, int(size), decode_base64(root), tuple(extensions))
    if len(checkpoint.root) != 32:
        raise InvalidNote(f"the checkpoint's root has {len(checkpoint.root)} bytes, not 32")
    return checkpoint


def sign_checkpoint(
    origin: str, size: int, root: bytes, signers: Sequence[Signer], extensions: Sequence[str] = ()
) -> bytes:
    """Return the signed note that commits a log to its size and root. Give two signers while a key is replaced.

    The caller vouches that this extends everything it signed under that origin before.

    Raises:
        InvalidNote: no signer, or parts that do not make a checkpoint.
    """
    if not signers or any(signer.vkey.type != ED25519 or signer.vkey.name != origin for signer in signers):
        raise InvalidNote(f"a checkpoint of {origin[:80]!r} needs signers of type 1 with that name")
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    try:
        message = checkpoint.text().encode()
    except UnicodeEncodeError:
        raise InvalidNote("an extension line has a lone surrogate") from None
    lines = tuple(NoteSignature(origin, signer.vkey.key_id, signer.sign(message)) for signer in signers)
    data = Note(checkpoint.text(), lines).to_bytes()
    if parse_checkpoint(parse_note(data).text) != checkpoint:
        raise InvalidNote("origin and extensions must each be one line")
    return data


def cosign_checkpoint(note: bytes, witness: Signer, timestamp: int) -> bytes:
    """Return the note with a witness's cosignature line added.

    The witness vouches that it has checked consistency with what it cosigned before.

    Raises:
        InvalidNote: the note is no checkpoint, the witness's key is not of type 4, or the time is negative.
    """
    parsed = parse_note(note)
    parse_checkpoint(parsed.text)
    if witness.vkey.type != COSIGNATURE_V1 or not 0 <= timestamp <= MAX_SIZE:
        raise InvalidNote("a cosignature needs a key of type 4 and a time from 0 to 2^63 - 1")
    signature = timestamp.to_bytes(8, "big") + witness.sign(_cosigned(parsed.text, timestamp))
    line = NoteSignature(witness.vkey.name, witness.vkey.key_id, signature)
    return Note(parsed.text, (*parsed.signatures, line)).to_bytes()


def verify_checkpoint(note: bytes, vkeys: Iterable[VerifierKey], *, origin: str | None = None) -> Checkpoint:
    """Return the checkpoint in a note that at least one of the log's keys signed.

    Only type 1 keys named after the checkpoint's origin can speak for the log. A wrong signature by
    a known key spoils the note, even beside a good one.

    Raises:
        InvalidNote: not a checkpoint.
        UntrustedNote: another origin than demanded, no trusted signature, or a wrong one.
    """
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    if origin is not None and checkpoint.origin != origin:
        raise UntrustedNote(f"the checkpoint is of log {checkpoint.origin!r}, not {origin!r}", origin=checkpoint.origin)
    known = [key for key in vkeys if key.type == ED25519 and key.name == checkpoint.origin]
    if not _verified(parsed, known):
        raise UntrustedNote(f"no trusted key signed this checkpoint of {checkpoint.origin!r}", origin=checkpoint.origin)
    return checkpoint


def verify_cosignatures(note: bytes, witnesses: Iterable[VerifierKey]) -> tuple[Cosignature, ...]:
    """Return the cosignatures of known witnesses on a checkpoint, none if there are none. Says nothing of the log's.

    Raises:
        InvalidNote: not a checkpoint.
        UntrustedNote: a known witness's cosignature is wrong.
    """
    parsed = parse_note(note)
    parse_checkpoint(parsed.text)
    known = [key for key in witnesses if key.type == COSIGNATURE_V1]
    return tuple(Cosignature(line.name, int.from_bytes(line.signature[:8], "big")) for line in _verified(parsed, known))


def _verified(note: Note, keys: Iterable[VerifierKey]) -> list[NoteSignature]:
    """Return the lines by known keys; every one of them must be right."""
    by_id = {(key.name, key.key_id): key for key in keys}
    found = []
    for line in note.signatures:
        key = by_id.get((line.name, line.key_id))
        if key is None:
            continue
        signature, message = line.signature, note.text.encode()
        if key.type == COSIGNATURE_V1:
            timestamp, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = _cosigned(note.text, timestamp)
            if timestamp > MAX_SIZE:
                raise UntrustedNote(f"the cosignature of {key.name!r} has a time beyond 2^63 - 1", name=key.name)
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
        except InvalidSignature:
            raise UntrustedNote(f"the signature of {key.name!r} is wrong", name=key.name) from None
        found.append(line)
    return found


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _parse_signature(line: str) -> NoteSignature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise InvalidNote(f"{line[:80]!r} is not a signature line: em dash, name and base64, one space between")
    _check_name(parts[1])
    data = decode_base64(parts[2])
    if len(data) < 5:
        raise InvalidNote(f"the signature of {parts[1][:80]!r} is shorter than its key id and one byte")
    return NoteSignature(parts[1], data[:4], data[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise InvalidNote(f"{name[:80]!r} is not a key name: not empty, no spaces, no plus")


def _check_own_name(name: str) -> None:
    """Names we take as trusted are also short and printable, so that they can be shown."""
    _check_name(name)
    if not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidNote(f"{name[:80]!r} is not printable, or longer than {MAX_NAME_BYTES} bytes")
