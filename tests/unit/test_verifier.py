"""The standalone verifier: what it accepts and refuses, and how it says so. Serves DC-01, DC-09, S0-13, S1-84, S2-37.

The exports come from our writer; the verifier shares no code with it.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sample_log
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck import verifier
from quarterdeck.verifier import (
    Malformed,
    NotChecked,
    NotVerified,
    Report,
    climb,
    is_consistent,
    parse_canonical,
    verify,
)
from quarterdeck_domain import canonical, merkle
from quarterdeck_domain.errors import InvalidInput, NotCanonical
from quarterdeck_ledger.bundle import Export, ExportMismatch, write_full
from quarterdeck_ledger.notes import UntrustedNote, cosign_checkpoint

SOURCE = Path(verifier.__file__)
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "canonical.json").read_text())
LOG = sample_log.Log(300)
FULL = LOG.full()
PROOF = LOG.proof([1, 5, 6, 7, 300], held=[0, 1, 8, 200, 256, 299, 300])


def run(data: bytes, log: Any = LOG, **options: Any) -> Report:
    """Verify bytes with the log's own key unless told otherwise."""
    if "vkeys" not in options and "trust_key_in_file" not in options:
        options["vkeys"] = [log.vkey]
    return verify(io.BytesIO(data), **options)


def refused(data: bytes, log: Any = LOG, **options: Any) -> NotVerified:
    """Return the refusal of bytes that must not verify."""
    with pytest.raises(NotVerified) as caught:
        run(data, log, **options)
    return caught.value


def relined(data: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    """Return an export with its lines changed."""
    lines = data.split(b"\n")
    change(lines)
    return b"\n".join(lines)


def reheaded(data: bytes, **members: Any) -> bytes:
    """Return an export with members of its header replaced (removed where None), still canonical."""
    first, rest = data.split(b"\n", 1)
    header = {**json.loads(first), **members}
    kept = {name: value for name, value in header.items() if value is not None}
    return canonical.encode(kept, max_bytes=2**21) + b"\n" + rest


# --- the program itself


def test_it_is_one_file_of_at_most_500_lines_that_imports_nothing_of_ours() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 500
    allowed = sys.stdlib_module_names | {"cryptography"}
    imported = set()
    for found in ast.walk(ast.parse(text)):
        if isinstance(found, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in found.names}
        if isinstance(found, ast.ImportFrom):
            assert found.level == 0
            imported.add(str(found.module).split(".")[0])
    assert imported <= allowed
    assert "cryptography" in imported
    assert not {"eval", "exec", "compile", "__import__"} & {
        found.id for found in ast.walk(ast.parse(text)) if isinstance(found, ast.Name)
    }


def test_every_reason_for_a_refusal_is_documented_and_no_other() -> None:
    calls = [found for found in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(found, ast.Call)]
    raised = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "NotVerified"]
    codes = {code.value for code in raised if isinstance(code, ast.Constant)} | {"truncated", "too_long", "not_checked"}
    guide = (SOURCE.parents[2] / "docs" / "verify.md").read_text()
    table = guide.split("| code | what happened |")[1].split("\n\n")[0]
    listed = {code for row in table.splitlines()[2:] for code in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == codes
    assert "held_fork" in codes


# --- what it accepts


def test_a_full_export_verifies_with_given_key_and_held_checkpoints() -> None:
    held = [LOG.checkpoint(size) for size in (0, 1, 200, 255, 256, 257, 299, 300)]
    report = run(FULL, checkpoints=held)
    assert report == Report(
        kind="full",
        tenant="acme",
        origin="log.example/acme",
        size=300,
        root=base64.b64encode(LOG.root(300)).decode(),
        trust="given key",
        signed_by=[LOG.vkey],
        cosigned_by={},
        held=[0, 1, 200, 255, 256, 257, 299, 300],
        events=300,
        positions=[[1, 300]],
        recorded=["2026-11-21T05:35:13.123456Z", "2026-11-21T05:38:58.123456Z"],
        warnings=[],
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 512, 513, 700])
def test_every_size_verifies(size: int) -> None:
    log = sample_log.Log(size)
    report = run(log.full(), log, checkpoints=[log.checkpoint(size // 2), log.checkpoint()])
    assert (report.events, report.root) == (size, base64.b64encode(log.root(size)).decode())
    assert report.positions == ([[1, size]] if size else [])


def test_an_export_of_an_earlier_size_verifies() -> None:
    report = run(LOG.full(200), checkpoints=[LOG.checkpoint(100)])
    assert (report.size, report.held) == (200, [100])


def test_a_proof_export_verifies_and_says_what_it_does_not_cover() -> None:
    held = [LOG.checkpoint(size) for size in (0, 1, 8, 200, 256, 299, 300)]
    report = run(PROOF, checkpoints=held)
    assert (report.kind, report.events, report.positions) == ("proof", 5, [[1, 1], [5, 7], [300, 300]])
    assert report.held == [0, 1, 8, 200, 256, 299, 300]
    assert ["chosen events only" in warning for warning in report.warnings] == [True]
    assert run(LOG.proof([], held=[200]), checkpoints=[LOG.checkpoint(200)]).events == 0
    every = LOG.proof(range(1, 301))
    assert run(every).positions == [[1, 300]]


def test_what_is_not_covered_is_said() -> None:
    report = run(FULL, trust_key_in_file=True)
    assert report.trust == "key in the file (weaker)"
    assert len(report.warnings) == 2
    assert "whoever made the file" in report.warnings[0]
    assert "cut short or rewrote" in report.warnings[1]


def test_either_key_verifies_while_one_replaces_the_other() -> None:
    new = sample_log.signer(LOG.origin, 3)
    both = [LOG.signer, new]
    data = LOG.full(note=LOG.checkpoint(signers=both), keys=both)
    for key in both:
        assert run(data, vkeys=[str(key.vkey)], checkpoints=[LOG.checkpoint(9, [key])]).signed_by == [str(key.vkey)]
    old_held = LOG.checkpoint(9, [LOG.signer])
    assert refused(data, vkeys=[str(new.vkey)], checkpoints=[old_held]).code == "held_unsigned"
    assert run(data, vkeys=[str(key.vkey) for key in both], checkpoints=[old_held]).held == [9]


def test_witnesses_that_are_demanded_must_have_cosigned() -> None:
    witness, other = sample_log.witness(), sample_log.witness("witness.example/w2", 8)
    note = cosign_checkpoint(LOG.checkpoint(), witness, 1_700_000_000)
    data = LOG.full(note=note, keys=[LOG.signer, witness])
    report = run(data, witnesses=[str(witness.vkey)])
    assert report.cosigned_by == {str(witness.vkey): "2023-11-14T22:13:20+00:00"}
    assert run(data).cosigned_by == {}
    assert refused(data, witnesses=[str(other.vkey)]).code == "witness"
    assert refused(FULL, witnesses=[str(witness.vkey)]).code == "witness"
    assert refused(data, witnesses=[LOG.vkey]).code == "witness"


# --- trust


def test_a_key_or_an_explicit_choice_to_do_without_is_demanded() -> None:
    for options in ({"vkeys": []}, {"vkeys": [LOG.vkey], "trust_key_in_file": True}):
        with pytest.raises(NotChecked, match="--trust-key-in-file"):
            run(FULL, **options)
    for options in ({"vkeys": ["nonsense"]}, {"vkeys": [LOG.vkey.replace("+", "-")]}, {"checkpoints": [b"nonsense"]}):
        with pytest.raises(NotChecked, match="given key or checkpoint"):
            run(FULL, **options)


def test_another_key_of_the_same_name_is_not_believed() -> None:
    forged = sample_log.Log(300, key_seed=7)
    assert run(forged.full(), forged).events == 300
    assert refused(forged.full()).code == "untrusted_key"
    assert refused(forged.full(), trust_key_in_file=True, checkpoints=[LOG.checkpoint(5)]).code == "held_unsigned"


def test_a_witness_key_cannot_stand_in_for_the_logs() -> None:
    witness = sample_log.witness(LOG.origin, 1)
    note = cosign_checkpoint(LOG.checkpoint(), witness, 5)
    data = LOG.full(note=note, keys=[LOG.signer, witness])
    assert refused(data, vkeys=[str(witness.vkey)]).code == "untrusted_key"


def test_another_logs_export_or_checkpoint_is_refused() -> None:
    other = sample_log.Log(300, tenant="other")
    assert refused(other.full(), vkeys=[LOG.vkey]).code == "untrusted_key"
    assert refused(FULL, checkpoints=[other.checkpoint()]).code == "held_other_log"


def test_a_history_shorter_than_the_held_checkpoint_is_refused() -> None:
    error = refused(LOG.full(250), checkpoints=[LOG.checkpoint(251)])
    assert error.code == "held_newer"
    assert "250" in error.reason
    assert "251" in error.reason
    assert refused(LOG.proof([1], size=250), checkpoints=[LOG.checkpoint(251)]).code == "held_newer"


@pytest.mark.parametrize("make", [lambda log: log.full(), lambda log: log.proof([299], held=[100, 200])])
def test_a_rewritten_history_signed_by_the_log_itself_is_refused_against_a_held_checkpoint(
    make: Callable[[Any], bytes],
) -> None:
    fork = sample_log.Log(300)
    changed = [*LOG.entries]
    changed[149] = canonical.encode(sample_log.event(150, seed="another history"))
    fork.set_entries(changed)
    data = make(fork)
    assert run(data).size == 300
    assert run(data, checkpoints=[LOG.checkpoint(100)]).held == [100]
    assert refused(data, checkpoints=[LOG.checkpoint(100), LOG.checkpoint(200)]).code == "held_fork"


def test_a_held_checkpoint_without_its_proof_is_not_taken_on_trust() -> None:
    assert refused(LOG.proof([1], held=[8]), checkpoints=[LOG.checkpoint(9)]).code == "held_no_proof"


def test_a_held_checkpoint_must_itself_be_rightly_signed() -> None:
    held = LOG.checkpoint(200)
    wrong = held.replace(base64.b64encode(LOG.root(200)), base64.b64encode(LOG.root(201)))
    assert refused(FULL, checkpoints=[wrong]).code == "signature"
    assert refused(FULL, checkpoints=[LOG.checkpoint(200, [sample_log.signer(LOG.origin, 5)])]).code == "held_unsigned"


# --- what it refuses, and where


def test_one_changed_byte_in_an_entry_is_found_and_located() -> None:
    lines = FULL.split(b"\n")
    changed = relined(FULL, lambda lines: lines.__setitem__(270, lines[270].replace(b"prn_0", b"prn_1")))
    assert len(changed) == len(FULL)
    assert changed != FULL
    error = refused(changed)
    assert (error.code, error.position) == ("root", 257)
    both = relined(changed, lambda lines: lines.__setitem__(-2, lines[-2].replace(b'["', b'["A', 1)))
    assert refused(both).code in ("trailer", "too_long")
    assert lines[270].count(b"prn_0") >= 1


def test_damage_that_reaches_the_trailer_is_found_but_not_located() -> None:
    other = sample_log.Log(300, seed="other")
    mixed = b"\n".join([FULL.split(b"\n")[0], *other.full().split(b"\n")[1:]])
    trailer = json.loads(FULL.split(b"\n")[-2])
    blocks = json.loads(other.full().split(b"\n")[-2])["blocks"]
    stated = canonical.encode({**trailer, "blocks": blocks})
    mixed = relined(mixed, lambda lines: lines.__setitem__(-2, stated))
    assert (refused(mixed).code, refused(mixed).position) == ("root", None)


def test_a_trailer_that_disagrees_is_refused() -> None:
    trailer = json.loads(FULL.split(b"\n")[-2])
    changes: list[Any] = [
        {**trailer, "blocks": trailer["blocks"][::-1]},
        {**trailer, "blocks": trailer["blocks"][:1]},
        {**trailer, "blocks": ""},
        {**trailer, "blocks": {}},
        {**trailer, "count": 299},
        {**trailer, "count": True},
        {**trailer, "root": trailer["blocks"][0]},
        {**trailer, "more": 1},
        {"blocks": trailer["blocks"]},
        trailer["blocks"],
        None,
    ]
    for change in changes:
        data = relined(FULL, lambda lines, change=change: lines.__setitem__(-2, canonical.encode(change)))  # type: ignore[misc]
        assert refused(data).code == "trailer", change
    assert refused(relined(FULL, lambda lines: lines.__delitem__(-2))).code == "truncated"


def edited(at: int, members: dict[str, Any]) -> Any:
    """Return the log with an entry's members replaced and everything hashed and signed again."""
    log = sample_log.Log(20)
    entries = list(log.entries)
    value = {**json.loads(entries[at - 1]), **members}
    entries[at - 1] = canonical.encode({name: item for name, item in value.items() if item is not ...})
    log.set_entries(entries)
    return log


@pytest.mark.parametrize(
    ("code", "members"),
    [
        ("position", {"position": 8}),
        ("position", {"position": 0}),
        ("entry", {"position": "7"}),
        ("entry", {"position": True}),
        ("entry", {"position": None}),
        ("tenant", {"tenant": "other"}),
        ("tenant", {"tenant": None}),
        ("tenant", {"tenant": ["acme"]}),
        ("time", {"recorded_at": "2025-11-21T05:35:13.123456Z"}),
        ("entry", {"recorded_at": "2026-11-21T05:35:13Z"}),
        ("entry", {"recorded_at": "2026-02-30T05:35:13.123456Z"}),
        ("entry", {"recorded_at": "2026-11-21T24:35:13.123456Z"}),
        ("entry", {"recorded_at": "2026-11-21 05:35:13.123456Z"}),
        ("entry", {"recorded_at": "2026-11-21T05:35:13.123456+00:00"}),
        ("entry", {"recorded_at": 5}),
        ("entry", {"recorded_at": {}}),
        ("duplicate_id", {"id": sample_log.event(3)["id"]}),
        ("entry", {"id": "not a uuid"}),
        ("entry", {"id": "0192F0C1-7A9B-7CC1-8D7E-3D2B1A0F9E8D"}),
        ("entry", {"id": 7}),
        ("entry", {"id": None}),
        ("entry", {"tags": ["b", "a"]}),
        ("entry", {"tags": ["a", "a"]}),
        ("entry", {"tags": [1]}),
        ("entry", {"tags": [["a"]]}),
        ("entry", {"tags": "a"}),
        ("entry", {"tags": {}}),
        ("entry", {"actor": "agent"}),
        ("entry", {"cause": None}),
        ("entry", {"data": []}),
        ("entry", {"type": 1}),
        ("entry", {"version": "1"}),
        ("entry", {"version": True}),
        *[("entry", {name: ...}) for name in sample_log.event(1)],
    ],
)
def test_a_log_that_breaks_its_own_rules_is_refused_even_if_rightly_signed(code: str, members: dict[str, Any]) -> None:
    log = edited(7, members)
    error = refused(log.full(), log)
    assert (error.code, error.position) == (code, 7)
    if code != "position":
        assert refused(log.proof([3, 7]), log).code == code


def test_further_members_of_an_event_are_hashed_and_allowed() -> None:
    log = edited(7, {"valid_from": "2027-01-01T00:00:00Z"})
    assert run(log.full(), log).events == 20


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r\n", 1),
        lambda data: data + b"\n",
        lambda data: data + b" ",
        lambda data: data + data,
        lambda data: data[:-1],
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\n" + data,
        lambda data: data.replace(b"\n{", b"\n {", 1),
        lambda data: data.replace(b'","', b'", "', 1),
        lambda data: data.replace(b'"actor"', b'"\\u0061ctor"', 1),
        lambda data: data.replace("—".encode(), b"\\u2014", 1),
        lambda data: data.replace(b'{"checkpoint":', b'{"checkpoint":"","checkpoint":', 1),
        lambda data: data.replace(b'{"actor":', b'{"actor":{},"actor":', 1),
        lambda data: b"",
        lambda data: b"\n",
        lambda data: b"{}\n",
        lambda data: b"[]\n",
        lambda data: b"\x00" * 100,
        lambda data: b"x" * 3_000_000,
    ],
)
@pytest.mark.parametrize("data", [FULL, PROOF], ids=["full", "proof"])
def test_other_spellings_of_the_same_export_are_refused(data: bytes, change: Callable[[bytes], bytes]) -> None:
    assert change(data) != data
    refused(change(data))
    with pytest.raises((InvalidInput, UntrustedNote)):
        list(Export(io.BytesIO(change(data))).entries())


@pytest.mark.parametrize(
    "members",
    [
        {"version": 2},
        {"version": True},
        {"version": "1"},
        {"format": "other"},
        {"kind": "proof"},
        {"kind": "partial"},
        {"kind": ["full"]},
        {"size": 299},
        {"size": "300"},
        {"tenant": "other"},
        {"tenant": ""},
        {"tenant": ["acme"]},
        {"tenant": None},
        {"origin": "log.example/other"},
        {"vkeys": []},
        {"vkeys": LOG.vkey},
        {"vkeys": [LOG.vkey, LOG.vkey]},
        {"vkeys": [LOG.vkey + " "]},
        {"vkeys": [1]},
        {"vkeys": sorted([LOG.vkey, str(sample_log.signer(LOG.origin, 3).vkey)])},
        {"checkpoint": 5},
        {"checkpoint": ""},
        {"checkpoint": LOG.checkpoint(299).decode()},
        {"checkpoint": LOG.checkpoint().decode() + "— other AAAAAAA=\n"},
        {"count": 1},
        {"more": 1},
        {"consistency": []},
    ],
)
def test_a_header_that_disagrees_is_refused(members: dict[str, Any]) -> None:
    assert refused(reheaded(FULL, **members)).code == "header"
    with pytest.raises((InvalidInput, UntrustedNote)):
        list(Export(io.BytesIO(reheaded(FULL, **members))).entries())


def test_an_empty_log_is_bound_to_its_tenant_and_root() -> None:
    log = sample_log.Log(0)
    data = log.full()
    assert run(data, log).events == 0
    assert refused(reheaded(data, tenant="acmf"), log).code == "header"
    log.root = lambda size: b"\1" * 32
    with pytest.raises(ExportMismatch):
        log.full()
    note = log.checkpoint(0).decode()
    for kind in (data, sample_log.Log(0).proof([])):
        assert refused(reheaded(kind, checkpoint=note), log).code == "header"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("proof", lambda header, lines: lines.__setitem__(2, lines[4])),
        ("proof", lambda header, lines: lines.__setitem__(2, b"[]")),
        ("proof", lambda header, lines: lines.__setitem__(2, b"{}")),
        ("proof", lambda header, lines: lines.__setitem__(2, b"not JSON")),
        ("proof", lambda header, lines: lines.__setitem__(2, lines[2][:-1] + b',"' + b"A" * 43 + b'="]')),
        ("proof", lambda header, lines: lines.__setitem__(slice(5, 9), [*lines[7:9], *lines[5:7]])),
        ("too_long", lambda header, lines: lines.__setitem__(2, b"[" + b" " * 9000 + b"]")),
        ("truncated", lambda header, lines: lines.__delitem__(slice(-3, -1))),
        ("trailing", lambda header, lines: lines.__setitem__(-1, lines[1] + b"\n" + lines[2] + b"\n")),
        ("header", lambda header, lines: header.__setitem__("count", -1)),
        ("header", lambda header, lines: header.__setitem__("count", True)),
        ("header", lambda header, lines: header.__setitem__("consistency", {})),
        ("header", lambda header, lines: header.__setitem__("consistency", "")),
        ("trailing", lambda header, lines: header.__setitem__("count", 4)),
        ("truncated", lambda header, lines: header.__setitem__("count", 6)),
        ("consistency", lambda header, lines: header["consistency"].reverse()),
        ("consistency", lambda header, lines: header["consistency"].append(header["consistency"][-1])),
        ("consistency", lambda header, lines: header["consistency"].append(5)),
        ("consistency", lambda header, lines: header["consistency"][0].__setitem__("hashes", "")),
        ("consistency", lambda header, lines: header["consistency"][0].__setitem__("size", False)),
        ("consistency", lambda header, lines: header["consistency"][1].__setitem__("size", 2)),
        ("consistency", lambda header, lines: header["consistency"][3].__setitem__("size", 201)),
        ("consistency", lambda header, lines: header["consistency"][3]["hashes"].pop()),
        ("consistency", lambda header, lines: header["consistency"][3]["hashes"].append("A" * 43 + "=")),
        ("consistency", lambda header, lines: header["consistency"][3].__setitem__("root", "A" * 43 + "=")),
        ("consistency", lambda header, lines: header["consistency"][3].__setitem__("more", 1)),
        ("consistency", lambda header, lines: header["consistency"][6].__setitem__("size", 301)),
    ],
)
def test_a_proof_export_that_was_tampered_with_is_refused(
    code: str, change: Callable[[dict[str, Any], list[bytes]], None]
) -> None:
    lines = PROOF.split(b"\n")
    header = json.loads(lines[0])
    change(header, lines)
    lines[0] = canonical.encode(header)
    assert refused(b"\n".join(lines)).code == code
    with pytest.raises(InvalidInput):
        list(Export(io.BytesIO(b"\n".join(lines))).entries())


def respelled(encoded: str) -> str:
    """Return base64 that decodes to the same bytes but for bits that nobody reads."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    end = len(encoded.rstrip("="))
    other = encoded[: end - 1] + alphabet[alphabet.index(encoded[end - 1]) ^ 1] + encoded[end:]
    assert base64.b64decode(other) == base64.b64decode(encoded) != b""
    return other


def test_base64_has_one_spelling_everywhere() -> None:
    full, proof = (json.loads(data.split(b"\n")[0]) for data in (FULL, PROOF))
    signature = full["checkpoint"].split(" ")[-1][:-1]
    spots = [(FULL, signature), (FULL, json.loads(FULL.split(b"\n")[-2])["blocks"][1])]
    spots += [(PROOF, json.loads(PROOF.split(b"\n")[2])[0]), (PROOF, proof["consistency"][3]["hashes"][0])]
    spots += [(PROOF, proof["consistency"][3]["root"])]
    for data, encoded in spots:
        changed = data.replace(encoded.encode(), respelled(encoded).encode())
        assert changed != data
        refused(changed)
    held = LOG.checkpoint(9).decode()
    signature = held.split(" ")[-1][:-1]
    with pytest.raises(NotChecked):
        run(FULL, checkpoints=[held.replace(signature, respelled(signature)).encode()])


def vkey(name: str, material: bytes, key_id: bytes | None = None) -> str:
    """Return a vkey text from parts that may not go together."""
    made = key_id or hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    return f"{name}+{made.hex()}+{base64.b64encode(material).decode()}"


def test_keys_have_one_spelling_too() -> None:
    material = b"\x01" + LOG.signer.vkey.public_key
    assert vkey(LOG.origin, material) == LOG.vkey
    for wrong in (
        vkey(LOG.origin, material, b"\0\0\0\1"),
        vkey(LOG.origin, material[:-1]),
        vkey(LOG.origin, material + b"\0"),
        vkey(LOG.origin, b"\x02" + material[1:]),
        vkey(LOG.origin + "\u202e", material),
        vkey(LOG.origin + " x", material),
    ):
        with pytest.raises(NotChecked):
            run(FULL, vkeys=[wrong])
        assert refused(reheaded(FULL, vkeys=[wrong]), trust_key_in_file=True).code == "header"


def test_keys_and_signatures_stand_in_one_order() -> None:
    new = sample_log.signer(LOG.origin, 3)
    both = [LOG.signer, new]
    data = LOG.full(note=LOG.checkpoint(signers=both), keys=both)
    header = json.loads(data.split(b"\n")[0])
    *text, first, second, end = header["checkpoint"].split("\n")
    swapped = {"vkeys": header["vkeys"][::-1], "checkpoint": "\n".join([*text, second, first, end])}
    assert run(data).size == 300
    assert refused(reheaded(data, **swapped)).code == "header"
    assert refused(reheaded(data, vkeys=swapped["vkeys"])).code == "header"


@pytest.mark.parametrize(
    "note",
    [
        LOG.checkpoint(9).replace(b"\n\n", b"\n" + b"x" * 131_072 + b"\n\n"),
        LOG.checkpoint(9) + "— other\n".encode(),
        LOG.checkpoint(9) + b"\xe2\x80\x94 \xff AAAAAAA=\n",
        LOG.checkpoint(9).replace(b"log.example", "log\u202e.example".encode()),
        LOG.checkpoint(9).replace(b"\n9\n", b"\n09\n"),
        LOG.checkpoint(9).replace(b"\n", b"\r\n"),
        LOG.checkpoint(9)[:-1],
        b"",
    ],
)
def test_a_held_checkpoint_that_is_malformed_is_not_used(note: bytes) -> None:
    with pytest.raises(NotChecked):
        run(FULL, checkpoints=[note])


def test_an_endless_line_is_given_up_not_read() -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.read_bytes += len(buffer)
            buffer[:] = b"[" * len(buffer)
            return len(buffer)

    source = Endless()
    with pytest.raises(NotVerified) as caught:
        verify(io.BufferedReader(source), vkeys=[LOG.vkey])
    assert caught.value.code == "too_long"
    assert source.read_bytes < 3_000_000


# --- exports are byte-canonical, and our own reader agrees


def test_the_same_log_and_checkpoint_give_the_same_bytes() -> None:
    stranger = sample_log.signer(LOG.origin, 77)
    witness = sample_log.witness()
    noisy = cosign_checkpoint(LOG.checkpoint(signers=[stranger, LOG.signer]), witness, 5)
    assert LOG.full(batch=1) == LOG.full(batch=299) == LOG.full(note=noisy) == FULL
    assert LOG.full(keys=[LOG.signer, LOG.signer, witness]) == FULL
    two = LOG.full(note=noisy, keys=[LOG.signer, witness])
    swapped = b"\n".join([*noisy.split(b"\n")[:4], *reversed(noisy.split(b"\n")[4:-1]), b""])
    assert LOG.full(note=swapped, keys=[witness, LOG.signer]) == two != FULL
    assert LOG.proof([1, 5], held=[8, 3]) == LOG.proof([1, 5], held=[3, 8, 3])


@pytest.mark.parametrize("data", [FULL, PROOF, LOG.full(0), LOG.proof([])], ids=["full", "proof", "empty", "none"])
def test_our_reader_gives_back_what_was_written(data: bytes) -> None:
    export = Export(io.BytesIO(data), [LOG.signer.vkey])
    found = list(export.entries())
    assert found == [(position, LOG.entries[position - 1]) for position, _ in found]
    assert [position for position, _ in found] == [
        n for first, last in run(data).positions for n in range(first, last + 1)
    ]
    with pytest.raises(UntrustedNote):
        Export(io.BytesIO(data), [sample_log.signer(LOG.origin, 5).vkey])


def test_a_writer_whose_log_does_not_lead_to_the_checkpoint_never_finishes() -> None:
    wrong = [[*LOG.entries[:10], LOG.entries[11]], LOG.entries[11:]]
    chunks: list[bytes] = []

    async def gather() -> None:
        async for chunk in write_full("acme", LOG.checkpoint(), [LOG.signer.vkey], sample_log.stream(wrong)):
            chunks.append(chunk)  # noqa: PERF401 what came before the failure is wanted

    with pytest.raises(ExportMismatch):
        asyncio.run(gather())
    assert refused(b"".join(chunks)).code in ("truncated", "position")
    broken = [[b'{"a":1}\n{"b":2}']]
    with pytest.raises(ExportMismatch, match="not one line"):
        sample_log.collect(write_full("acme", LOG.checkpoint(), [LOG.signer.vkey], sample_log.stream(broken)))


# --- canonical JSON and proofs, against the other implementation


def vectors(kind: str) -> list[Any]:
    """Return the vectors of a kind as (name, bytes)."""
    found = [(item["name"], item["text"].encode()) for item in VECTORS[kind]]
    if kind == "reject":
        found += [(i["name"], "".join(text * n for text, n in i["parts"]).encode()) for i in VECTORS["reject_repeated"]]
        found += [(item["name"], bytes.fromhex(item["hex"])) for item in VECTORS["reject_hex"]]
    return [pytest.param(data, id=name) for name, data in found]


@pytest.mark.parametrize("data", vectors("accept"))
def test_canonical_vectors_are_accepted(data: bytes) -> None:
    assert parse_canonical(data) == canonical.decode(data)


@pytest.mark.parametrize("data", vectors("reject"))
def test_vectors_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_canonical(data)
    with pytest.raises(NotCanonical):
        canonical.decode(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=300)
def test_both_implementations_of_the_profile_agree_on_values(value: Any) -> None:
    data = canonical.encode(value)
    assert parse_canonical(data) == value == canonical.decode(data)


@given(st.binary(max_size=40) | st.text('{}[]",:\\u01aé-e. \n', max_size=30).map(str.encode))
@settings(max_examples=500)
def test_both_implementations_of_the_profile_agree_on_bytes(data: bytes) -> None:
    try:
        expected = canonical.decode(data)
    except NotCanonical:
        with pytest.raises(Malformed):
            parse_canonical(data)
    else:
        assert parse_canonical(data) == expected


@given(st.integers(1, 300), st.data())
@settings(max_examples=200)
def test_both_implementations_of_the_proofs_agree(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    index = data.draw(st.integers(0, size - 1))
    inclusion = merkle.inclusion_proof(index, size, LOG.fetch)
    assert climb(size, index, LOG.leaves[index], inclusion)[1] == LOG.root(size)
    extension = merkle.consistency_proof(old, size, LOG.fetch)
    assert is_consistent(old, LOG.root(old), size, LOG.root(size), extension)
    claimed = data.draw(st.integers(0, size))
    theirs = merkle.verify_consistency(claimed, size, LOG.root(old), LOG.root(size), extension)
    try:
        assert is_consistent(claimed, LOG.root(old), size, LOG.root(size), extension) == theirs
    except Malformed:
        assert not theirs


# --- the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an export, a held checkpoint and a damaged export."""
    directory = tmp_path_factory.mktemp("exports")
    (directory / "verifier.py").write_bytes(SOURCE.read_bytes())
    (directory / "full.ndjson").write_bytes(FULL)
    (directory / "held.txt").write_bytes(LOG.checkpoint(200))
    (directory / "bad.ndjson").write_bytes(FULL.replace(b'"position":150,', b'"position":151,'))
    (directory / "short.ndjson").write_bytes(LOG.full(100))
    return directory


def command(files: Path, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Run a copy of the verifier by itself, isolated from this repository."""
    done = subprocess.run(
        [sys.executable, "-I", "verifier.py", *arguments],
        cwd=files,
        capture_output=True,
        input=stdin,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_verifies_and_exits_with_0(files: Path) -> None:
    code, out, err = command(files, "full.ndjson", "--vkey", LOG.vkey, "--checkpoint", "held.txt")
    assert (code, err) == (0, "")
    assert out.startswith("VERIFIED: 300 events of acme\n")
    assert "extends your checkpoint of 200" in out
    assert "given key" in out
    code, out, _ = command(files, "-", "--vkey", LOG.vkey, "--json", stdin=FULL)
    answer = json.loads(out)
    assert (code, answer["verified"], answer["events"], answer["size"]) == (0, True, 300, 300)
    assert answer["warnings"]


def test_the_command_says_why_and_where_and_exits_with_1(files: Path) -> None:
    code, out, _ = command(files, "bad.ndjson", "--vkey", LOG.vkey)
    assert (code, out) == (1, "NOT VERIFIED at position 150: entry: it says position 151\n")
    code, out, _ = command(files, "bad.ndjson", "--vkey", LOG.vkey, "--json")
    assert code == 1
    assert json.loads(out) == {
        "verified": False,
        "code": "position",
        "reason": "entry: it says position 151",
        "position": 150,
    }
    code, out, _ = command(files, "short.ndjson", "--vkey", LOG.vkey, "--checkpoint", "held.txt")
    assert (code, "ends at 100" in out) == (1, True)


def test_the_command_exits_with_2_where_nothing_was_checked(files: Path) -> None:
    for arguments in (
        ["full.ndjson"],
        ["missing.ndjson", "--vkey", LOG.vkey],
        ["full.ndjson", "--vkey", "nonsense"],
        ["full.ndjson", "--vkey", LOG.vkey, "--checkpoint", "missing.txt"],
        ["full.ndjson", "--vkey", LOG.vkey, "--checkpoint", "full.ndjson"],
        ["--vkey", LOG.vkey],
        ["full.ndjson", "--unknown"],
        [],
    ):
        code, out, err = command(files, *arguments)
        assert code == 2, arguments
        assert "NOT CHECKED" in out or "usage:" in err
    code, out, _ = command(files, "full.ndjson", "--json")
    assert (code, json.loads(out)["code"]) == (2, "not_checked")


def test_the_weaker_trust_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verifier.main([str(files / "full.ndjson"), "--trust-key-in-file"]) == 0
    out = capsys.readouterr().out
    assert "key in the file (weaker)" in out
    assert "whoever made the file may have made the key" in out


def test_hostile_text_never_reaches_the_terminal_raw() -> None:
    log = edited(7, {"tenant": "\x1b[2J\u202eacme"})
    reason = refused(log.full(), log).reason
    assert reason.isascii()
    assert reason.isprintable()
