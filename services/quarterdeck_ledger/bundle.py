"""The export of a log as one file that proves itself: its format, its writers and its canonical reader.

A full export is a header line, every entry on a line of its own exactly as it was hashed, and a trailer
line. A proof export carries chosen entries, each followed by the line of its inclusion proof, and the
consistency proofs from checkpoints that auditors hold. Every line ends in one newline; header, trailer and
proofs are canonical JSON. The same log, checkpoint and choice give the same bytes, and no other bytes are
accepted: the header carries only signatures by the keys it names, in their order, and every one is checked.

The trailer of a full export names the root of each 256 entries, so that damage can be located.
`docs/verify.md` describes the format for auditors; `quarterdeck/verifier.py` reads it without this code.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, Literal, TypeVar

import msgspec

from quarterdeck_domain import canonical, merkle
from quarterdeck_domain.errors import InvalidInput, NotCanonical, QuarterdeckError
from quarterdeck_domain.ids import check_tenant
from quarterdeck_ledger.notes import (
    Checkpoint,
    Note,
    VerifierKey,
    decode_base64,
    encode_base64,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_cosignatures,
)

FORMAT: Final = "quarterdeck-export"
VERSION: Final = 1
MAX_HEADER_BYTES: Final = 1_048_576
MAX_PROOF_BYTES: Final = 8_192


T = TypeVar("T")


class InvalidExport(InvalidInput):
    """The bytes are not an export, are damaged, or do not lead to their checkpoint. Believe none of it."""

    code = "invalid_export"


class ExportMismatch(QuarterdeckError):
    """What the log gave does not lead to the checkpoint it signed: stop, keep everything, and investigate."""

    code = "export_mismatch"


class ConsistencyProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The proof that the tree of `size` leaves with `root` is a prefix of the exported one (base64 hashes)."""

    hashes: tuple[str, ...]
    root: str
    size: int


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The first line. `consistency` and `count` belong to proof exports, and only to them."""

    checkpoint: str
    kind: Literal["full", "proof"]
    origin: str
    size: int
    tenant: str
    vkeys: tuple[str, ...]
    format: Literal["quarterdeck-export"]
    version: Literal[1]
    consistency: tuple[ConsistencyProof, ...] | None = None
    count: int | None = None


class Trailer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line of a full export. `blocks` are the roots of each 256 entries, the last of what remains."""

    blocks: tuple[str, ...]
    count: int
    root: str


class ProvenEntry(msgspec.Struct, frozen=True):
    """An entry with the proof that it is at `position` in the exported tree."""

    position: int
    entry: bytes
    proof: tuple[bytes, ...]


async def write_full(
    tenant: str, note: bytes, vkeys: Iterable[VerifierKey], batches: AsyncIterable[Sequence[bytes]]
) -> AsyncIterator[bytes]:
    """Yield the bytes of a full export: the log up to the checkpoint in `note`.

    `batches` are the entries at positions 1 to the checkpoint's size, in order, in groups of any length.
    The trailer comes only if they lead to the checkpoint's root, so a failed export is never complete.

    Raises:
        InvalidExport: the tenant, the note and the keys do not go together.
        ExportMismatch: the entries do not lead to the checkpoint.
    """
    header, checkpoint = _header("full", tenant, note, vkeys)
    yield _line(header, MAX_HEADER_BYTES)
    tree = _Tree()
    async for entries in batches:
        if entries:
            tree.extend(entries)
            chunk = b"\n".join(entries) + b"\n"
            if chunk.count(b"\n") != len(entries):
                raise ExportMismatch(f"an entry of {tenant!r} up to position {tree.size} is not one line")
            yield chunk
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        raise ExportMismatch(
            f"{tree.size} entries of {tenant!r} do not lead to the checkpoint of {checkpoint.size}",
            size=tree.size,
            expected_size=checkpoint.size,
        )
    yield _line(tree.trailer(), None)


async def write_proof(
    tenant: str,
    note: bytes,
    vkeys: Iterable[VerifierKey],
    events: AsyncIterable[ProvenEntry],
    count: int,
    consistency: Iterable[tuple[int, bytes, Sequence[bytes]]] = (),
) -> AsyncIterator[bytes]:
    """Yield the bytes of a proof export: `count` entries by ascending position, each with its proof.

    `consistency` has (size, root, proof) of earlier trees, such as those whose checkpoints the auditor holds.

    Raises:
        InvalidExport: the tenant, the note and the keys do not go together, or positions do not ascend.
        ExportMismatch: a proof does not lead to the checkpoint.
    """
    proofs = {size: (root, tuple(proof)) for size, root, proof in consistency}
    header, checkpoint = _header("proof", tenant, note, vkeys)
    for size, (root, proof) in proofs.items():
        if not merkle.verify_consistency(size, checkpoint.size, root, checkpoint.root, proof):
            raise ExportMismatch(f"the proof from size {size} does not lead to the checkpoint", size=size)
    texts = (
        ConsistencyProof(tuple(map(encode_base64, proofs[size][1])), encode_base64(proofs[size][0]), size)
        for size in sorted(proofs)
    )
    yield _line(msgspec.structs.replace(header, consistency=tuple(texts), count=count), MAX_HEADER_BYTES)
    last = found = 0
    async for event in events:
        found += 1
        if event.position <= last or found > count:
            raise InvalidExport(f"position {event.position} after {last}; {count} ascending positions were announced")
        last = event.position
        leaf = merkle.leaf_hash(event.entry)
        if not merkle.verify_inclusion(leaf, last - 1, checkpoint.size, event.proof, checkpoint.root):
            raise ExportMismatch(f"the proof of position {last} does not lead to the checkpoint", position=last)
        yield event.entry + b"\n" + _line(tuple(map(encode_base64, event.proof)), MAX_PROOF_BYTES)
    if found != count:
        raise InvalidExport(f"{found} events came where {count} were announced")


class Export:
    """An export that is being read. Its header and signatures are checked; its entries as they are read."""

    def __init__(self, stream: BinaryIO, vkeys: Iterable[VerifierKey] | None = None) -> None:
        """Read the header. With `vkeys`, one of them must have signed; without, the file's own keys are believed.

        Raises:
            InvalidExport: not the header of an export in its canonical form.
            InvalidNote: the checkpoint or a key in it is malformed.
            UntrustedNote: a signature is wrong, or none is by a key in `vkeys`.
        """
        self._stream = stream
        line = _read_line(stream, MAX_HEADER_BYTES, "header")
        self.header = _decode(line, ExportHeader, "header")
        note = self.header.checkpoint.encode()
        keys = [parse_vkey(text) for text in self.header.vkeys]
        expected, self.checkpoint = _header(self.header.kind, self.header.tenant, note, keys)
        proof = self.header.kind == "proof"
        count = self.header.count
        if proof != (self.header.consistency is not None) or proof != (count is not None) or (count or 0) < 0:
            raise InvalidExport("the header has the fields of another kind of export")
        if msgspec.structs.replace(self.header, consistency=None, count=None) != expected:
            raise InvalidExport("the header does not agree with the checkpoint in it, or is not in canonical order")
        if vkeys is not None:
            verify_checkpoint(note, vkeys, origin=self.header.origin)
        self._check_consistency()

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield (position, entry). Those of a full export are proven only once the last was taken without error.

        Raises:
            InvalidExport: the file is damaged, incomplete, too long, or does not lead to its checkpoint.
        """
        yield from self._full() if self.header.kind == "full" else self._proofs()
        if self._stream.read(1):
            raise InvalidExport("there are bytes after the end of the export")

    def _full(self) -> Iterator[tuple[int, bytes]]:
        tree = _Tree()
        for position in range(1, self.checkpoint.size + 1):
            entry = self._entry(position)
            tree.extend((entry,))
            yield position, entry
        if tree.root() != self.checkpoint.root:
            raise InvalidExport("the entries do not lead to the checkpoint's root")
        trailer = tree.trailer()
        limit = 256 + 47 * len(trailer.blocks)
        if _read_line(self._stream, limit, "trailer") + b"\n" != _line(trailer, None):
            raise InvalidExport("the trailer does not agree with the entries")

    def _proofs(self) -> Iterator[tuple[int, bytes]]:
        last = 0
        for _ in range(self.header.count or 0):
            entry = self._entry(None)
            position = int(canonical.decode(entry)["position"])
            texts = _decode(_read_line(self._stream, MAX_PROOF_BYTES, "proof"), tuple[str, ...], "proof")
            proof = [decode_base64(text) for text in texts]
            size, root = self.checkpoint.size, self.checkpoint.root
            if position <= last or not merkle.verify_inclusion(
                merkle.leaf_hash(entry), position - 1, size, proof, root
            ):
                raise InvalidExport(f"the proof of position {position} is wrong or out of order", position=position)
            last = position
            yield position, entry

    def _entry(self, position: int | None) -> bytes:
        what = "entry" if position is None else f"entry {position}"
        entry = _read_line(self._stream, canonical.MAX_BYTES, what)
        try:
            event = canonical.decode(entry)
        except NotCanonical as error:
            raise InvalidExport(f"{what}: {error.message}", position=position) from None
        found = event.get("position") if isinstance(event, dict) else None
        if type(found) is not int or found < 1 or position not in (None, found):
            raise InvalidExport(f"{what} says it is at position {found!r}", position=position)
        if event.get("tenant") != self.header.tenant:
            raise InvalidExport(f"{what} is of another tenant", position=found)
        return entry

    def _check_consistency(self) -> None:
        last = -1
        for item in self.header.consistency or ():
            proof = [decode_base64(text) for text in item.hashes]
            size, root = self.checkpoint.size, self.checkpoint.root
            if item.size <= last or not merkle.verify_consistency(
                item.size, size, decode_base64(item.root), root, proof
            ):
                raise InvalidExport(f"the consistency proof from size {item.size} is wrong or out of order")
            last = item.size


class _Tree:
    """The root over entries as they come, and the root of each block of them."""

    def __init__(self) -> None:
        self.size = 0
        self._frontier = b""
        self._blocks: list[bytes] = []

    def extend(self, entries: Sequence[bytes]) -> None:
        sha256 = hashlib.sha256
        leaves = [sha256(b"\x00" + entry).digest() for entry in entries]
        self._frontier, completed = merkle.append_leaves_and_nodes(self._frontier, self.size, leaves)
        self._blocks += (found.hash for found in completed if found.node[0] == merkle.TILE_HEIGHT)
        self.size += len(leaves)

    def root(self) -> bytes:
        return merkle.root(self._frontier, self.size)

    def trailer(self) -> Trailer:
        blocks = list(self._blocks)
        rest = merkle.split_frontier(self._frontier, self.size)[len(blocks).bit_count() :]
        if rest:
            blocks.append(merkle.compose(rest))
        return Trailer(blocks=tuple(map(encode_base64, blocks)), count=self.size, root=encode_base64(self.root()))


def _header(
    kind: Literal["full", "proof"], tenant: str, note: bytes, vkeys: Iterable[VerifierKey]
) -> tuple[ExportHeader, Checkpoint]:
    """Return the one header for a checkpoint: only lines by the given keys, in the order of their vkeys."""
    check_tenant(tenant)
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    if tenant not in checkpoint.origin.split("/"):
        raise InvalidExport(f"tenant {tenant!r} is no path segment of the log's origin {checkpoint.origin!r}")
    lines = {(line.name, line.key_id): line for line in parsed.signatures}
    keys = sorted({key for key in vkeys if (key.name, key.key_id) in lines}, key=str)
    chosen = Note(parsed.text, tuple(lines[key.name, key.key_id] for key in keys))
    verify_checkpoint(chosen.to_bytes(), keys)
    verify_cosignatures(chosen.to_bytes(), keys)
    header = ExportHeader(
        checkpoint=chosen.to_bytes().decode(),
        kind=kind,
        origin=checkpoint.origin,
        size=checkpoint.size,
        tenant=tenant,
        vkeys=tuple(map(str, keys)),
        format="quarterdeck-export",
        version=1,
    )
    return header, checkpoint


def _line(value: object, limit: int | None) -> bytes:
    plain = msgspec.to_builtins(value)
    return canonical.encode(plain, max_bytes=limit if limit is not None else 2**53) + b"\n"


def _read_line(stream: BinaryIO, limit: int, what: str) -> bytes:
    line = stream.readline(limit + 1)
    if not line.endswith(b"\n"):
        reason = "is longer than allowed" if len(line) > limit else "is cut off"
        raise InvalidExport(f"the {what} line {reason}")
    return line[:-1]


def _decode(line: bytes, type: type[T], what: str) -> T:
    try:
        return msgspec.convert(canonical.decode(line, max_bytes=len(line)), type)
    except (NotCanonical, msgspec.ValidationError) as error:
        raise InvalidExport(f"the {what} line is not valid: {error}") from None
