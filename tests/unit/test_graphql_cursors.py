"""Cursors mean nothing anywhere else. Serves DC-06; RELIABILITY 6.17."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_graphql.cursors import Cursors, InvalidCursor, cursor_secret
from quarterdeck_ledger.keys import MemoryKeyStore

SECRET = b"s" * 32
KEYS = st.lists(st.one_of(st.integers(0, 2**53 - 1), st.text(max_size=40)), min_size=1, max_size=3)


@given(KEYS)
def test_a_cursor_gives_its_key_back(key: list[int | str]) -> None:
    """Whatever it seals: positions, ids, words."""
    cursors = Cursors(SECRET, "approvals", "newest_first", {})
    assert cursors.read(cursors.make(*key)) == tuple(key)
    assert cursors.read(None) is None


@pytest.mark.parametrize(
    "other",
    [
        Cursors(b"t" * 32, "approvals", "newest_first", {"status": ["pending"]}),
        Cursors(SECRET, "grants", "newest_first", {"status": ["pending"]}),
        Cursors(SECRET, "approvals", "oldest_first", {"status": ["pending"]}),
        Cursors(SECRET, "approvals", "newest_first", {"status": ["denied"]}),
        Cursors(SECRET, "approvals", "newest_first", None),
    ],
)
def test_a_cursor_from_elsewhere_is_refused(other: Cursors) -> None:
    """Another tenant, another connection, another order, another filter."""
    mine = Cursors(SECRET, "approvals", "newest_first", {"status": ["pending"]})
    with pytest.raises(InvalidCursor):
        mine.read(other.make(7))


def test_every_changed_bit_is_refused() -> None:
    """Nothing of a cursor can be altered, not even to another place."""
    cursors = Cursors(SECRET, "timeline")
    text = cursors.make(4711, "apr_x")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for place in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidCursor):
            cursors.read(base64.urlsafe_b64encode(bytes(changed)).decode())


@given(KEYS)
def test_a_cursor_has_one_spelling(key: list[int | str]) -> None:
    """Bits that base64 leaves over, and padding, are not a second name of the same place."""
    cursors = Cursors(SECRET, "timeline")
    text = cursors.make(*key)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [f"{text[:-1]}{char}" for char in alphabet if char != text[-1]] + [f"{text}=" * (len(text) % 4 > 1)]
    for other in spellings:
        with pytest.raises(InvalidCursor):
            cursors.read(other)


@pytest.mark.parametrize(
    "text", ["", "x", "=", "====", "é", "a" * 2_000, "\x00", "AAAA", "%2e", "AAAAAAAAAAAAAAAAAAAAAA"]
)
def test_nonsense_is_refused(text: str) -> None:
    """Typed, whatever it is."""
    with pytest.raises(InvalidCursor) as refused:
        Cursors(SECRET, "timeline").read(text)
    assert refused.value.code == "invalid_cursor"


async def test_a_tenant_s_secret_stays_and_is_its_own() -> None:
    """The same after a restart that kept the keys; another tenant's is another."""
    keys = MemoryKeyStore()
    assert await cursor_secret(keys, "acme") == await cursor_secret(keys, "acme")
    assert await cursor_secret(keys, "acme") != await cursor_secret(keys, "globex")
