"""Verify an exported Quarterdeck log without trusting Quarterdeck.

One file, the standard library and `cryptography`. It imports nothing of Quarterdeck's and shares no code
with it, so that it can be read in an hour, copied anywhere, and run by itself:

    python -I verifier.py export.ndjson --vkey "$LOG_KEY" --checkpoint held.txt

It proves that the file is exactly the log its checkpoint commits to: every byte canonical, positions 1, 2,
3, … without a gap, one tenant, time never running backwards, no id twice, the Merkle root recomputed from
the entries, the checkpoint signed by the key you give. The log's owner can sign a shortened or rewritten
log as well; only a checkpoint that you kept shows that (`--checkpoint`).

Exit codes: 0 verified; 1 not verified (the reason and, where it is known, the position are printed);
2 not checked: wrong arguments, an unreadable file, or a malformed key or checkpoint of your own.
Source: RFC 6962 2.1; RFC 9162 2.1; RFC 8785; C2SP signed-note, tlog-checkpoint and tlog-cosignature.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_ENTRY, MAX_PROOF, MAX_HEADER, MAX_NOTE = 65_535, 8_192, 1_048_576, 131_072  # bytes of a line or note
MAX_INTEGER, MAX_DEPTH, BLOCK = 2**53 - 1, 32, 256
LOG_KEY, WITNESS_KEY = 1, 4  # signature types: Ed25519, Ed25519 cosignature/v1
EMPTY_ROOT = sha256(b"").digest()
MEMBERS = {"checkpoint", "format", "kind", "origin", "size", "tenant", "version", "vkeys"}
KINDS = {"full": MEMBERS, "proof": MEMBERS | {"consistency", "count"}}
EVENT = {"actor", "cause", "data", "id", "position", "recorded_at", "tags", "tenant", "type", "version"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
VKEY = re.compile(r"([^+ ]+)\+([0-9a-f]{8})\+(.+)")
LINE, WORD = r"[^\x00-\x1f]+", r"[^ \x00-\x1f]+"
SIGNATURE = re.compile(rf"— ({WORD}) ({WORD})\n")
NOTE = re.compile(rf"({LINE})\n(0|[1-9][0-9]{{0,18}})\n({LINE})\n(?:{LINE}\n)*\n((?:— {WORD} {WORD}\n)+)")


class NotVerified(Exception):
    """The file does not prove what it should. `code` is stable; `position` is None where it is not known."""

    def __init__(self, code: str, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.position = code, reason, position


class NotChecked(Exception):
    """What the caller gave (a key, a checkpoint, a choice) is unusable, so nothing was checked."""


class Malformed(ValueError):
    """Bytes that do not have the form they should have; the message says which form."""


class Key(NamedTuple):
    """A verifier key: its vkey text, and what it says."""

    text: str
    name: str
    key_id: bytes
    type: int
    public: bytes


class Checkpoint(NamedTuple):
    """A log's commitment to its first `size` entries, and the signature lines on it: (name, key id, signature)."""

    text: str
    origin: str
    size: int
    root: bytes
    lines: list[tuple[str, bytes, bytes]]


class Report(NamedTuple):
    """What was proven, and with how much trust. `positions` are [first, last] of each unbroken run."""

    kind: str
    tenant: str
    origin: str
    size: int
    root: str
    trust: str
    signed_by: list[str]
    cosigned_by: dict[str, str]
    held: list[int]
    events: int
    positions: list[list[int]]
    recorded: list[str]
    warnings: list[str]


def _integer(text: str) -> int:
    if len(text) > 17 or not text.lstrip("-").isdigit() or abs(int(text)) > MAX_INTEGER:
        raise Malformed("a number is not an integer within 2^53-1")
    return int(text)


_decode = json.JSONDecoder(parse_float=_integer, parse_constant=_integer, parse_int=_integer).decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def parse_canonical(data: bytes) -> Any:
    """Return the value of canonical JSON: RFC 8785 without floats, with integers within 2^53-1, ASCII keys
    and at most 32 levels. Writing the value again must give the same bytes, which also finds duplicate keys."""
    try:
        text = data.decode()
        value = _decode(text)
        same = _encode(value) == text
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise Malformed("not JSON in UTF-8") from None
    if not same:
        raise Malformed("not canonical JSON (sorted unique keys, no white space, shortest escapes)")
    if not data.isascii() or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_members(value, 0)
    return value


def _check_members(value: Any, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH or (isinstance(value, dict) and not all(map(str.isascii, value))):
            raise Malformed(f"JSON deeper than {MAX_DEPTH} levels, or an object key that is not ASCII")
        for item in value.values() if isinstance(value, dict) else value:
            _check_members(item, depth + 1)


def tree_root(row: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring nodes: pair them level by level; an odd last one moves up as it is."""
    while len(row) > 1:
        pairs = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = [*pairs, row[-1]] if len(row) % 2 else pairs
    return row[0] if row else EMPTY_ROOT


def climb(size: int, index: int, seed: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Follow a proof from the node at `index` among `size` up. Return the roots of the tree that ends with
    that node (for consistency) and of the whole tree. Source: RFC 9162 2.1.3.2 and 2.1.4.2, in one walk."""
    last, old, new = size - 1, seed, seed
    for sibling in path:
        if last == 0:
            raise Malformed("the proof is too long")
        if index % 2 or index == last:
            old, new = tree_root((sibling, old)), tree_root((sibling, new))
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            new = tree_root((new, sibling))
        index, last = index // 2, last // 2
    if last:
        raise Malformed("the proof is too short")
    return old, new


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the tree of `old` leaves is proven to be a prefix of the tree of `new`."""
    if old == 0 or old >= new:
        return not proof and old_root == (EMPTY_ROOT if old == 0 else new_root) and old <= new
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    index, count = old - 1, new
    while index % 2:  # climb to the largest perfect subtree that ends the old tree
        index, count = index // 2, (count - 1) // 2 + 1
    return bool(path) and climb(count, index, path[0], path[1:]) == (old_root, new_root)


def decode_base64(text: Any, size: int | None = None) -> bytes:
    """Return the bytes of padded base64 in its canonical spelling, `size` of them."""
    try:
        data = base64.b64decode(text, validate=True)
        if base64.b64encode(data).decode() == text and size in (None, len(data)):
            return data
    except (ValueError, TypeError):
        pass
    raise Malformed(f"{str(text)[:60]!a} is not canonical base64" + (f" of {size} bytes" if size else ""))


def decode_hashes(texts: Any) -> list[bytes]:
    """Return the hashes of a JSON list of base64 texts."""
    if type(texts) is not list:
        raise Malformed("hashes must be a list")
    return [decode_base64(text, 32) for text in texts]


def parse_key(text: str) -> Key:
    """Return the key that a vkey text describes."""
    match = VKEY.fullmatch(text)
    if match is None or not text.isprintable():
        raise Malformed(f"{text[:80]!a} is not a verifier key: name+hex key id+base64 key")
    name, material = match[1], decode_base64(match[3], 33)
    key_id = sha256(name.encode() + b"\n" + material).digest()[:4]
    if key_id.hex() != match[2] or material[0] not in (LOG_KEY, WITNESS_KEY):
        raise Malformed(f"the key id of {text[:80]!a} does not belong to its key, or it is not an Ed25519 key")
    return Key(text, name, key_id, material[0], material[1:])


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Return the checkpoint in a signed note; nothing in it is verified yet."""
    note = data.decode("utf-8", "replace")
    match = NOTE.fullmatch(note) if len(data) <= MAX_NOTE and note.encode() == data else None
    if match is None or not match[1].isprintable():
        raise Malformed("not a checkpoint: origin, size and root, an empty line, signature lines")
    lines = [(name, decode_base64(text)) for name, text in SIGNATURE.findall(match[4])]
    signatures = [(name, raw[:4], raw[4:]) for name, raw in lines]
    return Checkpoint(note[: match.start(4) - 1], match[1], int(match[2]), decode_base64(match[3], 32), signatures)


def check_signature(key: Key, checkpoint: Checkpoint) -> str:
    """Check a key's signatures on a checkpoint; return the time of a witness's cosignature."""
    moment = ""
    try:
        for signature in (line[2] for line in checkpoint.lines if line[:2] == (key.name, key.key_id)):
            message = checkpoint.text.encode()
            if key.type == WITNESS_KEY:
                seconds, signature = int.from_bytes(signature[:8], "big"), signature[8:]
                message = f"cosignature/v1\ntime {seconds}\n".encode() + message
                moment = datetime.fromtimestamp(min(seconds, 2**37), UTC).isoformat()
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        raise NotVerified("signature", f"the signature of {key.name!a} at size {checkpoint.size} is wrong") from None
    return moment


def read_line(stream: BinaryIO, limit: int, what: str, position: int | None = None) -> bytes:
    """Return the next line without its newline."""
    line = stream.readline(limit + 1)
    if line[-1:] != b"\n":
        code, reason = ("too_long", "is too long") if len(line) > limit else ("truncated", "is cut off or missing")
        raise NotVerified(code, f"{what} {reason}", position)
    return line[:-1]


def read_header(stream: BinaryIO) -> tuple[dict[str, Any], Checkpoint, dict[Key, str]]:
    """Return the first line, its checkpoint, and the keys that signed it (a witness's with the time it did)."""
    line = read_line(stream, MAX_HEADER, "the header")
    try:
        header = parse_canonical(line)
        if type(header) is not dict or header.keys() != KINDS.get(str(header.get("kind"))):
            raise Malformed("not the header of an export: wrong kind or members")
        if (header["format"], header["version"]) != ("quarterdeck-export", 1):
            raise Malformed("not version 1 of quarterdeck-export; this verifier reads no other")
        numbers = (header.get("count", 0), header["size"], header["version"])
        lists = (header.get("consistency", []), header["vkeys"])
        if any(type(item) is not int or item < 0 for item in numbers) or any(type(item) is not list for item in lists):
            raise Malformed("count, size or version is not a number, or consistency or vkeys not a list")
        checkpoint = parse_checkpoint(str(header["checkpoint"]).encode())
        keys = [parse_key(str(text)) for text in header["vkeys"]]
        if header["vkeys"] != sorted({key.text for key in keys}):
            raise Malformed("vkeys are not sorted and unique")
        if [line[:2] for line in checkpoint.lines] != [(key.name, key.key_id) for key in keys]:
            raise Malformed("the checkpoint's signature lines are not those of vkeys, in their order")
        if (header["origin"], header["size"]) != (checkpoint.origin, checkpoint.size):
            raise Malformed("origin or size is not the checkpoint's")
        if header["tenant"] not in checkpoint.origin.split("/"):
            raise Malformed("tenant is not a path segment of the log's origin")
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise Malformed("the checkpoint of an empty log has another root than the empty tree")
    except Malformed as error:
        raise NotVerified("header", f"header: {error}") from None
    return header, checkpoint, {key: check_signature(key, checkpoint) for key in keys}


class Entries:
    """Checks entries one by one, and remembers what only shows between them."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.ids: set[int] = set()
        self.first = self.last = ""

    def check(self, data: bytes, position: int | None) -> int:
        """Return the position of an entry, which must be `position` if that is given."""
        try:
            event = parse_canonical(data)
            if type(event) is not dict or not event.keys() >= EVENT:
                raise Malformed("not an event: members are missing")
            found, moment, ident, tags = event["position"], event["recorded_at"], event["id"], event["tags"]
            if not TIME.fullmatch(moment) or not UUID.fullmatch(ident) or type(tags) is not list:
                raise Malformed("id, recorded_at or tags is malformed")
            datetime.fromisoformat(moment[:-1])
            if tags != sorted(set(map(str, tags))):
                raise Malformed("tags are not sorted, unique texts")
            if not type(event["actor"]) is type(event["cause"]) is type(event["data"]) is dict:
                raise Malformed("actor, cause and data must be objects")
            if type(found) is not int or type(event["version"]) is not int or type(event["type"]) is not str:
                raise Malformed("position and version must be integers, type text")
        except (TypeError, ValueError) as error:
            raise NotVerified("entry", f"entry: {error}", position) from None
        if found < 1 or position not in (None, found):
            raise NotVerified("position", f"entry: it says position {found}", position)
        if event["tenant"] != self.tenant:
            raise NotVerified("tenant", f"entry: it is of tenant {str(event['tenant'])[:80]!a}", found)
        if moment < self.last:
            raise NotVerified("time", f"entry: recorded at {moment}, before {self.last}", found)
        number = int(ident.replace("-", ""), 16)
        if number in self.ids:
            raise NotVerified("duplicate_id", f"entry: id {ident} was there before", found)
        self.ids.add(number)
        self.first, self.last = self.first or moment, moment
        return found


def check_full(stream: BinaryIO, entries: Entries, checkpoint: Checkpoint, sizes: set[int]) -> dict[int, bytes]:
    """Check every entry and the trailer; return the roots recomputed at `sizes`."""
    roots = {0: EMPTY_ROOT}
    blocks: list[bytes] = []
    leaves: list[bytes] = []
    for position in range(1, checkpoint.size + 1):
        data = read_line(stream, MAX_ENTRY, "the entry", position)
        entries.check(data, position)
        leaves.append(sha256(b"\x00" + data).digest())
        if position in sizes:
            roots[position] = tree_root([*blocks, tree_root(leaves)])
        if len(leaves) == BLOCK:
            blocks.append(tree_root(leaves))
            leaves = []
    if leaves:
        blocks.append(tree_root(leaves))
    line = read_line(stream, 256 + 47 * len(blocks), "the trailer")
    try:
        trailer = parse_canonical(line)
        stated = decode_hashes(trailer.get("blocks") if type(trailer) is dict else None)
        rest = {"count": checkpoint.size, "root": base64.b64encode(checkpoint.root).decode()}
        if line != _encode({"blocks": trailer["blocks"], **rest}).encode():
            raise Malformed("its members are not blocks, and count and root of the checkpoint")
    except Malformed as error:
        raise NotVerified("trailer", f"trailer: {error}") from None
    if tree_root(blocks) == checkpoint.root:
        if stated != blocks:
            raise NotVerified("trailer", "trailer: the block roots are not those of the entries")
        return roots
    if len(stated) != len(blocks) or tree_root(stated) != checkpoint.root:
        raise NotVerified("root", "the entries do not lead to the root that the checkpoint commits to")
    # The stated block roots do lead there, so they are proven: the first that differs was changed.
    first = BLOCK * [ours != theirs for ours, theirs in zip(blocks, stated, strict=True)].index(True) + 1
    raise NotVerified("root", f"an entry at {first} or up to 255 after it is not the one that was recorded", first)


def check_consistency(items: list[Any], checkpoint: Checkpoint) -> dict[int, bytes]:
    """Check the consistency proofs of a proof export; return the roots proven to be of prefixes of the log."""
    roots, last = {0: EMPTY_ROOT}, -1
    try:
        for item in items:
            if type(item) is not dict or item.keys() != {"hashes", "root", "size"} or type(item["size"]) is not int:
                raise Malformed("its members are not hashes, root and size")
            old, root, proof = item["size"], decode_base64(item["root"], 32), decode_hashes(item["hashes"])
            if old <= last or not is_consistent(old, root, checkpoint.size, checkpoint.root, proof):
                raise Malformed(f"the proof from size {old} is out of order or does not lead to the checkpoint")
            roots[old], last = root, old
    except Malformed as error:
        raise NotVerified("consistency", f"consistency: {error}") from None
    return {**roots, checkpoint.size: checkpoint.root}


def check_proofs(stream: BinaryIO, entries: Entries, count: int, checkpoint: Checkpoint) -> list[list[int]]:
    """Check the entries of a proof export against their proofs; return the runs of their positions."""
    runs: list[list[int]] = []
    last = 0
    for _ in range(count):
        data = read_line(stream, MAX_ENTRY, "an entry")
        position = entries.check(data, None)
        line = read_line(stream, MAX_PROOF, "the proof", position)
        try:
            if not last < position <= checkpoint.size:
                raise Malformed("the position is out of order, or not in the log")
            proof, leaf = decode_hashes(parse_canonical(line)), sha256(b"\x00" + data).digest()
            if climb(checkpoint.size, position - 1, leaf, proof)[1] != checkpoint.root:
                raise Malformed("it does not lead to the root that the checkpoint commits to")
        except Malformed as error:
            raise NotVerified("proof", f"proof: {error}", position) from None
        if not runs or position > last + 1:
            runs.append([position, position])
        runs[-1][1] = last = position
    return runs


def check_held(held: Checkpoint, trusted: list[Key], checkpoint: Checkpoint) -> None:
    """Check that a checkpoint which the caller holds is of this log, and not ahead of the file."""
    if held.origin != checkpoint.origin:
        raise NotVerified("held_other_log", f"a held checkpoint is of the log {held.origin!a}")
    keys = [key for key in trusted if any(line[:2] == (key.name, key.key_id) for line in held.lines)]
    if not keys:
        raise NotVerified("held_unsigned", f"no key you trust signed the held checkpoint of size {held.size}")
    for key in keys:
        check_signature(key, held)
    if held.size > checkpoint.size:
        raise NotVerified("held_newer", f"the file ends at {checkpoint.size}; you hold a checkpoint of {held.size}")


def verify(
    stream: BinaryIO,
    *,
    vkeys: Sequence[str] = (),
    checkpoints: Sequence[bytes] = (),
    witnesses: Sequence[str] = (),
    trust_key_in_file: bool = False,
) -> Report:
    """Verify an export against the log's keys that the caller knows and the checkpoints the caller holds; all of
    `witnesses` must have cosigned. With `trust_key_in_file` the file's own key is believed: weaker.

    Raises: NotVerified: believe nothing in the file. NotChecked: an argument is malformed, or no key is trusted.
    """
    try:
        given, required = [parse_key(text) for text in vkeys], [parse_key(text) for text in witnesses]
        held = sorted((parse_checkpoint(data) for data in checkpoints), key=lambda mine: mine.size)
    except Malformed as error:
        raise NotChecked(f"given key or checkpoint: {error}") from None
    if bool(given) == trust_key_in_file:
        raise NotChecked("give the log's key (--vkey), or choose the weaker --trust-key-in-file instead")
    header, checkpoint, signed = read_header(stream)
    trusted = [key for key in given or signed if (key.type, key.name) == (LOG_KEY, checkpoint.origin)]
    signers = [key.text for key in trusted if key in signed]
    if not signers:
        raise NotVerified("untrusted_key", f"no key you trust signed for the log {checkpoint.origin!a}")
    for key in required:
        if key.type != WITNESS_KEY or key not in signed:
            raise NotVerified("witness", f"the witness {key.name!a} has not cosigned")
    for mine in held:
        check_held(mine, trusted, checkpoint)
    entries, sizes = Entries(header["tenant"]), [mine.size for mine in held]
    if header["kind"] == "full":
        roots = check_full(stream, entries, checkpoint, set(sizes))
        runs = [[1, checkpoint.size]] if checkpoint.size else []
    else:
        roots = check_consistency(header["consistency"], checkpoint)
        runs = check_proofs(stream, entries, header["count"], checkpoint)
    if stream.read(1):
        raise NotVerified("trailing", "there are bytes after the end of the export")
    for mine in held:
        if mine.size not in roots:
            raise NotVerified("held_no_proof", f"the file has no consistency proof from your checkpoint of {mine.size}")
        if roots[mine.size] != mine.root:
            raise NotVerified("held_fork", f"the first {mine.size} entries are not those you hold a checkpoint of")
    notes = {
        "the key came with the file: whoever made the file may have made the key": not given,
        "no held checkpoint: a log that its owner cut short or rewrote would verify too": not held,
        "chosen events only: between the positions listed there may be others": header["kind"] == "proof",
    }
    root, witnessed = base64.b64encode(checkpoint.root).decode(), {key.text: signed[key] for key in required}
    log = (header["kind"], entries.tenant, checkpoint.origin, checkpoint.size, root)
    trust = ("given key" if given else "key in the file (weaker)", signers, witnessed, sizes)
    warnings = [text for text, applies in notes.items() if applies]
    return Report(*log, *trust, len(entries.ids), runs, [entries.first, entries.last], warnings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verifier and return its exit code."""
    parser = argparse.ArgumentParser(prog="verifier.py", epilog="Exit: 0 verified, 1 not verified, 2 not checked.")
    parser.add_argument("export", help="the exported file, or - for standard input")
    several: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--vkey", **several, help="the log's verifier key, known from elsewhere (repeatable)")
    parser.add_argument("--checkpoint", **several, help="file with a checkpoint of the log you kept (repeatable)")
    parser.add_argument("--witness", **several, help="key of a witness that must have cosigned (repeatable)")
    parser.add_argument("--trust-key-in-file", action="store_true", help="weaker: believe the key in the file")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(argv)
    trust = {"vkeys": options.vkey, "witnesses": options.witness, "trust_key_in_file": options.trust_key_in_file}
    answer: dict[str, Any] = {"verified": False}
    try:
        held = [Path(path).read_bytes() for path in options.checkpoint]
        with sys.stdin.buffer if options.export == "-" else open(options.export, "rb", 1 << 20) as stream:
            code, answer = 0, {"verified": True, **verify(stream, checkpoints=held, **trust)._asdict()}
    except NotVerified as error:
        code, answer = 1, {**answer, "code": error.code, "reason": error.reason, "position": error.position}
    except (NotChecked, OSError) as error:
        code, answer = 2, {**answer, "code": "not_checked", "reason": str(error), "position": None}
    print(json.dumps(answer) if options.json else describe(code, answer))
    return code


def describe(code: int, answer: dict[str, Any]) -> str:
    """Return the verdict for people."""
    if code:
        where = f" at position {answer['position']}" if answer["position"] else ""
        return f"{'NOT VERIFIED' if code == 1 else 'NOT CHECKED'}{where}: {answer['reason']}"
    rows = {
        "log": f"{answer['origin']}, {answer['size']} entries",
        "root": answer["root"],
        "positions": ", ".join(f"{first}-{last}" for first, last in answer["positions"]),
        "recorded": " to ".join(filter(None, answer["recorded"])),
        "signed by": f"{', '.join(answer['signed_by'])} ({answer['trust']})",
        "cosigned": ", ".join(f"{key} at {moment}" for key, moment in answer["cosigned_by"].items()),
        "held": ", ".join(f"extends your checkpoint of {size}" for size in answer["held"]),
        "but": "; ".join(answer["warnings"]),
    }
    verdict = f"VERIFIED: {answer['events']} events of {answer['tenant']}"
    return "\n".join([verdict, *(f"  {name:<10}{text}" for name, text in rows.items() if text)])


if __name__ == "__main__":
    sys.exit(main())
