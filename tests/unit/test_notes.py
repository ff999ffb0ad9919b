"""Signed notes and checkpoints: published examples, round trips, hostile bytes. Serves DC-09, S1-84."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_ledger.notes import (
    COSIGNATURE_V1,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    Cosignature,
    Ed25519Signer,
    InvalidNote,
    UntrustedNote,
    VerifierKey,
    _verified,
    cosign_checkpoint,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignatures,
)

# Source: the example of C2SP signed-note.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# Source: the documentation of Go's golang.org/x/mod/sumdb/note.
GO_KEYS = [
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
]
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=
"""
# Source: a checkpoint of a public log as published, with signature types 5, 1 and 4 on it.
PUBLIC_LOG_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
PUBLIC_WITNESS_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
PUBLIC_NOTE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
"""
ORIGIN = "log.example/acme"
ROOT = hashlib.sha256(b"root").digest()


def make_signer(name: str = ORIGIN, seed: int = 1, type: int = 1) -> Ed25519Signer:
    """Return a signer with a fixed key."""
    return Ed25519Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), type)


LOG = make_signer()
WITNESS = make_signer("witness.example/w1", 2, COSIGNATURE_V1)
SIGNED = sign_checkpoint(ORIGIN, 42, ROOT, [LOG])


def test_the_example_of_the_specification_verifies() -> None:
    key, note = parse_vkey(SPEC_KEY), parse_note(SPEC_NOTE.encode())
    assert (key.name, key.key_id.hex(), str(key)) == ("example.com/foo", "530d903a", SPEC_KEY)
    assert note.text == "This is an example message.\n"
    assert len(_verified(note, [key])) == 1
    assert note.to_bytes() == SPEC_NOTE.encode()


def test_the_example_of_the_go_package_verifies_under_both_keys() -> None:
    keys, note = [parse_vkey(text) for text in GO_KEYS], parse_note(GO_NOTE.encode())
    assert [line.name for line in _verified(note, keys)] == ["PeterNeumann", "EnochRoot"]
    with pytest.raises(UntrustedNote, match="PeterNeumann"):
        _verified(parse_note(GO_NOTE.replace("answer", "Answer").encode()), keys)
    with pytest.raises(InvalidNote):
        verify_checkpoint(GO_NOTE.encode(), keys)


def test_a_public_logs_checkpoint_and_its_witness_verify() -> None:
    log, witness = parse_vkey(PUBLIC_LOG_KEY), parse_vkey(PUBLIC_WITNESS_KEY)
    checkpoint = verify_checkpoint(PUBLIC_NOTE.encode(), [log])
    assert (checkpoint.origin, checkpoint.size) == ("arche2025h1.staging.ct.transparency.dev", 1432088532)
    assert verify_cosignatures(PUBLIC_NOTE.encode(), [witness]) == (Cosignature("remora.n621.de", 1779573024),)
    forged = PUBLIC_NOTE.replace("1432088532", "1432088533").encode()
    with pytest.raises(UntrustedNote):
        verify_checkpoint(forged, [log])
    with pytest.raises(UntrustedNote):
        verify_cosignatures(forged, [witness])


def test_a_signed_checkpoint_is_exactly_as_specified() -> None:
    text = f"{ORIGIN}\n42\n{base64.b64encode(ROOT).decode()}\n"
    key = bytes([1]) + LOG.vkey.public_key
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n" + key).digest()[:4]
    signature = base64.b64encode(key_id + LOG.sign(text.encode())).decode()
    assert SIGNED.decode() == f"{text}\n— {ORIGIN} {signature}\n"
    assert str(LOG.vkey) == f"{ORIGIN}+{key_id.hex()}+{base64.b64encode(key).decode()}"
    assert parse_vkey(str(LOG.vkey)) == LOG.vkey
    assert verify_checkpoint(SIGNED, [LOG.vkey], origin=ORIGIN) == Checkpoint(ORIGIN, 42, ROOT)


def test_extension_lines_are_signed_and_kept() -> None:
    note = sign_checkpoint(ORIGIN, 0, ROOT, [LOG], ["one", "two — 2"])
    assert verify_checkpoint(note, [LOG.vkey]).extensions == ("one", "two — 2")
    with pytest.raises(UntrustedNote):
        verify_checkpoint(note.replace(b"one", b"One"), [LOG.vkey])


def test_only_the_logs_own_keys_speak_for_it() -> None:
    stranger = make_signer(seed=3)
    elsewhere = make_signer("log.example/other")
    as_witness = VerifierKey(ORIGIN, LOG.vkey.public_key, COSIGNATURE_V1)
    for keys in ([], [stranger.vkey], [elsewhere.vkey], [WITNESS.vkey], [as_witness]):
        with pytest.raises(UntrustedNote, match="no trusted key"):
            verify_checkpoint(SIGNED, keys)
    with pytest.raises(UntrustedNote, match=r"not .log\.example/other."):
        verify_checkpoint(SIGNED, [LOG.vkey], origin="log.example/other")


def test_two_keys_sign_while_one_replaces_the_other() -> None:
    new = make_signer(seed=3)
    note = sign_checkpoint(ORIGIN, 42, ROOT, [LOG, new])
    assert verify_checkpoint(note, [LOG.vkey]) == verify_checkpoint(note, [new.vkey])
    spoiled = note.replace(
        str(parse_note(note).signatures[1]).encode(), str(parse_note(GO_NOTE.encode()).signatures[0]).encode()
    )
    assert verify_checkpoint(spoiled, [LOG.vkey, new.vkey]).size == 42


def test_a_wrong_signature_by_a_known_key_spoils_a_good_one() -> None:
    new = make_signer(seed=3)
    other = sign_checkpoint(ORIGIN, 43, ROOT, [new])
    line = str(parse_note(other).signatures[0]).encode() + b"\n"
    assert verify_checkpoint(SIGNED + line, [LOG.vkey]).size == 42
    with pytest.raises(UntrustedNote, match="is wrong"):
        verify_checkpoint(SIGNED + line, [LOG.vkey, new.vkey])


def test_witnesses_cosign_with_their_time() -> None:
    note = cosign_checkpoint(SIGNED, WITNESS, 1_679_315_147)
    message = b"cosignature/v1\ntime 1679315147\n" + parse_note(SIGNED).text.encode()
    line = parse_note(note).signatures[-1]
    assert line.signature == (1_679_315_147).to_bytes(8, "big") + WITNESS.sign(message)
    assert line.key_id == hashlib.sha256(b"witness.example/w1\n\x04" + WITNESS.vkey.public_key).digest()[:4]
    assert verify_cosignatures(note, [WITNESS.vkey, LOG.vkey]) == (Cosignature("witness.example/w1", 1_679_315_147),)
    assert verify_checkpoint(note, [LOG.vkey]).size == 42
    assert verify_cosignatures(SIGNED, [WITNESS.vkey]) == ()


def test_a_cosignature_of_another_time_or_tree_is_refused() -> None:
    note = cosign_checkpoint(SIGNED, WITNESS, 1_679_315_147)
    good = parse_note(note).signatures[-1]
    later = good.signature[:7] + bytes([good.signature[7] + 1]) + good.signature[8:]
    absurd = b"\xff" * 8 + good.signature[8:]
    for signature in (later, absurd, good.signature[:40], b"\0"):
        encoded = base64.b64encode(good.key_id + signature).decode()
        with pytest.raises(UntrustedNote):
            verify_cosignatures(SIGNED + f"— {good.name} {encoded}\n".encode(), [WITNESS.vkey])
    with pytest.raises(InvalidNote):
        cosign_checkpoint(SIGNED, LOG, 1)
    with pytest.raises(InvalidNote):
        cosign_checkpoint(SIGNED, WITNESS, -1)
    with pytest.raises(InvalidNote):
        cosign_checkpoint(GO_NOTE.encode(), WITNESS, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        SIGNED[:-1],
        SIGNED + b"\n",
        SIGNED.replace(b"\n", b"\r\n"),
        SIGNED.replace(b"\n\n", b"\n"),
        SIGNED.replace("—".encode(), b"-"),
        SIGNED.replace("— ".encode(), "—  ".encode()),
        SIGNED.replace("— ".encode(), "—\u00a0".encode()),
        SIGNED.replace(b"\n\xe2", b"\n \xe2"),
        SIGNED + b"trailing\n",
        SIGNED + "— name\n".encode(),
        SIGNED + "— na+me AAAAAAA=\n".encode(),
        SIGNED + "— na\u2003me AAAAAAA=\n".encode(),
        SIGNED + "—  AAAAAAA=\n".encode(),
        SIGNED + "— name AAAAAA==\n".encode(),
        SIGNED + "— name AAAAAAB=\n".encode(),
        SIGNED + "— name AAAAAAA\n".encode(),
        SIGNED + "— name AAAA-_A=\n".encode(),
        SIGNED + "— name AAAAAAA= \n".encode(),
        b"\xff" + SIGNED,
        b"\x00" + SIGNED,
        b"\t" + SIGNED,
        b"x" * MAX_NOTE_BYTES + SIGNED,
        SIGNED + "— name AAAAAAA=\n".encode() * MAX_SIGNATURES,
    ],
)
def test_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidNote):
        parse_note(data)


def test_at_least_sixteen_large_signatures_are_accepted() -> None:
    large = "— pq.example/log " + base64.b64encode(b"\0" * 5_000).decode() + "\n"
    assert len(parse_note(SIGNED + large.encode() * 16).signatures) == 17
    assert verify_checkpoint(SIGNED + large.encode() * 16, [LOG.vkey]).size == 42


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        "origin\n1\nAAAA\n",
        "\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n+1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n1_0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n٣\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n9223372036854775808\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ],
)
def test_texts_that_are_no_checkpoint_are_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(),
        SPEC_KEY.upper(),
        SPEC_KEY.replace("530d903a", "530D903A"),
        SPEC_KEY + "\n",
        SPEC_KEY.replace("+Aek", "+Bek"),
        SPEC_KEY.replace("example", "exam ple"),
        SPEC_KEY.replace("example", "exam\u202eple"),
        SPEC_KEY.replace("example", "exam\ud800ple"),
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
    ],
)
def test_texts_that_are_no_verifier_key_are_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        parse_vkey(text)


def test_checkpoints_that_could_not_be_parsed_are_not_signed() -> None:
    for origin, size, root, extensions in [
        ("other", 1, ROOT, ()),
        (ORIGIN, -1, ROOT, ()),
        (ORIGIN, 2**63, ROOT, ()),
        (ORIGIN, 1, ROOT[:-1], ()),
        (ORIGIN, 1, ROOT, ("",)),
        (ORIGIN, 1, ROOT, ("a\nb",)),
        (ORIGIN, 1, ROOT, ("\ud800",)),
    ]:
        with pytest.raises(InvalidNote):
            sign_checkpoint(origin, size, root, [LOG], extensions)
    for signers in ([], [WITNESS], [LOG, WITNESS]):
        with pytest.raises(InvalidNote):
            sign_checkpoint(ORIGIN, 1, ROOT, signers)
    for name in ("", "two words", "line\nbreak", "plus+", "a" * 256, "bidi\u202e"):
        with pytest.raises(InvalidNote):
            make_signer(name)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
@settings(max_examples=60, deadline=None)
def test_any_checkpoint_survives_signing_and_parsing(size: int, root: bytes) -> None:
    note = cosign_checkpoint(sign_checkpoint(ORIGIN, size, root, [LOG]), WITNESS, size)
    assert verify_checkpoint(note, [LOG.vkey]) == Checkpoint(ORIGIN, size, root)
    assert verify_cosignatures(note, [WITNESS.vkey]) == (Cosignature(WITNESS.vkey.name, size),)
    assert parse_note(note).to_bytes() == note


def test_every_flipped_bit_of_a_signed_checkpoint_is_refused() -> None:
    for at in range(len(SIGNED)):
        for bit in range(8):
            changed = bytearray(SIGNED)
            changed[at] ^= 1 << bit
            with pytest.raises((InvalidNote, UntrustedNote)):
                verify_checkpoint(bytes(changed), [LOG.vkey])


@given(st.binary(max_size=300) | st.text(alphabet="—\n +=aB1", max_size=80).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_are_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises((InvalidNote, UntrustedNote)):
        verify_checkpoint(data, [LOG.vkey])
