"""The Merkle tree against a naive one written from RFC 6962, and published vectors. Serves DC-01, DC-09, S2-37."""

from __future__ import annotations

import functools
import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain import merkle
from quarterdeck_domain.errors import InvalidInput

SIZES = 300
PAIRS = 34
LEAVES = [merkle.leaf_hash(f"entry {index}".encode()) for index in range(SIZES)]

# Source: the test data of the certificate-transparency implementations, sizes 1 to 8.
VECTOR_ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
VECTOR_INCLUSION_0_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
VECTOR_CONSISTENCY_6_8 = [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]


@functools.cache
def naive(start: int, stop: int) -> bytes:
    """MTH(D[start:stop]) exactly as RFC 6962 2.1 defines it."""
    count = stop - start
    if count == 0:
        return hashlib.sha256(b"").digest()
    if count == 1:
        return LEAVES[start]
    split = max(1 << power for power in range(20) if 1 << power < count)
    return hashlib.sha256(b"\x01" + naive(start, start + split) + naive(start + split, stop)).digest()


def naive_path(index: int, start: int, stop: int) -> list[bytes]:
    """PATH(m, D[n]) exactly as RFC 6962 2.1.1 defines it."""
    if stop - start == 1:
        return []
    split = start + max(1 << power for power in range(20) if 1 << power < stop - start)
    if index < split:
        return [*naive_path(index, start, split), naive(split, stop)]
    return [*naive_path(index, split, stop), naive(start, split)]


def naive_subproof(old: int, start: int, stop: int, complete: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) exactly as RFC 6962 2.1.2 defines it."""
    if old == stop:
        return [] if complete else [naive(start, stop)]
    split = start + max(1 << power for power in range(20) if 1 << power < stop - start)
    if old <= split:
        return [*naive_subproof(old, start, split, complete), naive(split, stop)]
    return [*naive_subproof(old, split, stop, False), naive(start, split)]


def fetch(level: int, index: int) -> bytes:
    """Return a node, which must lie inside the tree."""
    assert (index + 1) << level <= SIZES
    return naive(index << level, (index + 1) << level)


def stored_fetch(level: int, index: int) -> bytes:
    """Return a node as a tile-backed store does: from the nodes of the stored level below it."""
    found = merkle.stored_range((level, index))
    assert found.level % 8 == 0
    assert 1 <= found.stop - found.start <= 128
    return merkle.subtree_root([fetch(found.level, at) for at in range(found.start, found.stop)])


def test_roots_of_the_published_vectors() -> None:
    leaves = [merkle.leaf_hash(entry) for entry in VECTOR_ENTRIES]
    roots = [merkle.root(merkle.append_leaves(b"", 0, leaves[:size]), size).hex() for size in range(1, 9)]
    assert roots == VECTOR_ROOTS
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root(b"", 0) == merkle.EMPTY_ROOT


def test_proofs_of_the_published_vectors() -> None:
    leaves = [merkle.leaf_hash(entry) for entry in VECTOR_ENTRIES]

    def vector_fetch(level: int, index: int) -> bytes:
        return merkle.subtree_root(leaves[index << level : (index + 1) << level])

    assert [item.hex() for item in merkle.inclusion_proof(0, 8, vector_fetch)] == VECTOR_INCLUSION_0_8
    assert [item.hex() for item in merkle.consistency_proof(6, 8, vector_fetch)] == VECTOR_CONSISTENCY_6_8


def test_every_size_has_the_naive_root_however_it_was_reached() -> None:
    frontier = b""
    for size in range(SIZES + 1):
        assert merkle.root(frontier, size) == naive(0, size)
        assert merkle.append_leaves(b"", 0, LEAVES[:size]) == frontier
        assert b"".join(fetch(*node) for node in merkle.root_nodes(size)) == frontier
        if size < SIZES:
            frontier = merkle.append_leaves(frontier, size, [LEAVES[size]])


def test_stored_subtrees_are_reported_once_when_complete() -> None:
    leaves = [merkle.leaf_hash(str(index).encode()) for index in range(256 * 256 + 300)]
    found: list[merkle.Completed] = []
    frontier, size = b"", 0
    for count in (1, 255, 300, 60_000, 5_000, 280):
        frontier, completed = merkle.append_leaves_and_nodes(frontier, size, leaves[size : size + count])
        size += count
        found += completed
    assert size == len(leaves)
    assert [item.node for item in found if item.node[0] == 8] == [(8, index) for index in range(257)]
    assert [item.node for item in found if item.node[0] == 16] == [(16, 0)]
    assert all(level in (8, 16) for (level, _), _ in found)
    for (level, index), digest in found:
        if level == 16 or index in (0, 1, 255, 256):
            assert digest == merkle.subtree_root(leaves[index << level : (index + 1) << level])


def test_all_proofs_at_small_sizes_are_the_naive_ones_and_verify() -> None:
    for size in range(PAIRS + 1):
        root = naive(0, size)
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, fetch)
            assert proof == naive_path(index, 0, size)
            assert merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
        for old in range(size + 1):
            proof = merkle.consistency_proof(old, size, stored_fetch)
            assert proof == (naive_subproof(old, 0, size, True) if old else [])
            assert merkle.verify_consistency(old, size, naive(0, old), root, proof)


def test_no_other_index_size_or_root_verifies() -> None:
    for size in range(1, 18):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, fetch)
            for other in range(18):
                assert merkle.verify_inclusion(LEAVES[other], index, size, proof, naive(0, size)) == (other == index)
                assert merkle.verify_inclusion(LEAVES[index], index, size, proof, naive(0, other)) == (other == size)
                moved = merkle.verify_inclusion(LEAVES[index], other, size, proof, naive(0, size))
                assert moved == (other == index)


@pytest.mark.parametrize(("index", "size"), [(0, 2), (0, 7), (6, 7), (4, 7), (2, 8), (12, 13)])
def test_every_flipped_bit_of_an_inclusion_proof_is_refused(index: int, size: int) -> None:
    proof, root = merkle.inclusion_proof(index, size, fetch), naive(0, size)
    for flipped in flips([LEAVES[index], root, *proof]):
        leaf, changed_root, *changed = flipped
        assert not merkle.verify_inclusion(leaf, index, size, changed, changed_root)
    for shorter in (proof[1:], proof[:-1], [*proof, proof[-1]], [root, *proof], []):
        assert not merkle.verify_inclusion(LEAVES[index], index, size, shorter, root)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 7), (6, 8), (7, 8), (8, 13), (5, 13)])
def test_every_flipped_bit_of_a_consistency_proof_is_refused(old: int, new: int) -> None:
    proof = merkle.consistency_proof(old, new, fetch)
    for flipped in flips([naive(0, old), naive(0, new), *proof]):
        old_root, new_root, *changed = flipped
        assert not merkle.verify_consistency(old, new, old_root, new_root, changed)
    for shorter in (proof[1:], proof[:-1], [*proof, proof[-1]], []):
        assert not merkle.verify_consistency(old, new, naive(0, old), naive(0, new), shorter)


def flips(hashes: list[bytes]) -> list[list[bytes]]:
    """Return the list once for each bit of each hash, with that bit flipped."""
    return [
        [
            *hashes[:at],
            bytes([*item[: bit // 8], item[bit // 8] ^ 1 << bit % 8, *item[bit // 8 + 1 :]]),
            *hashes[at + 1 :],
        ]
        for at, item in enumerate(hashes)
        for bit in range(256)
    ]


@given(st.integers(1, SIZES), st.data())
@settings(max_examples=150, deadline=None)
def test_larger_proofs_are_the_naive_ones_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    plan = merkle.inclusion_nodes(index, size)
    proof = merkle.assemble(plan, {node: fetch(*node) for node in merkle.needed(plan)})
    assert proof == naive_path(index, 0, size) == merkle.inclusion_proof(index, size, stored_fetch)
    assert merkle.root_from_inclusion(LEAVES[index], index, size, proof) == naive(0, size)
    extension = merkle.consistency_proof(old, size, fetch)
    assert extension == naive_subproof(old, 0, size, True)
    assert merkle.verify_consistency(old, size, naive(0, old), naive(0, size), extension)


@given(st.integers(1, 2**62), st.data())
@settings(max_examples=200, deadline=None)
def test_plans_are_short_and_stay_inside_huge_trees(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    plan = merkle.inclusion_nodes(index, size)
    assert len(plan) <= size.bit_length()
    assert all((at + 1) << level <= size for level, at in merkle.needed(plan))
    covered = sum(1 << level for level, _ in merkle.needed(plan))
    assert covered == size - 1
    extension = merkle.consistency_nodes(index + 1, size)
    assert len(extension) <= size.bit_length() + 1
    assert all((at + 1) << level <= size for level, at in merkle.needed(extension))


@given(st.lists(st.binary(max_size=40), max_size=70), st.integers(-2, 70), st.integers(-2, 70))
@settings(max_examples=200, deadline=None)
def test_verifying_never_raises_on_hostile_proofs(proof: list[bytes], old: int, new: int) -> None:
    assert not merkle.verify_inclusion(LEAVES[0], old, new, [*proof, b"short"], naive(0, 5))
    assert not merkle.verify_consistency(old, new, naive(0, 3), naive(0, 5), [*proof, b"short"])
    assert merkle.root_from_inclusion(b"\0" * 31, old, new, proof) is None


def test_wrong_input_is_refused_and_says_why() -> None:
    with pytest.raises(InvalidInput, match="does not fit a tree of 3"):
        merkle.append_leaves(b"\0" * 32, 3, LEAVES)
    with pytest.raises(InvalidInput, match="31 bytes"):
        merkle.append_leaves(b"", 0, [b"\0" * 31])
    with pytest.raises(InvalidInput, match="leaf 5 is not in a tree of 5"):
        merkle.inclusion_proof(5, 5, fetch)
    with pytest.raises(InvalidInput, match="no prefix"):
        merkle.consistency_proof(6, 5, fetch)
    with pytest.raises(InvalidInput, match="power of two"):
        merkle.subtree_root(LEAVES[:3])
    with pytest.raises(InvalidInput):
        merkle.root(b"", -1)


def test_appending_is_fast_enough_to_be_on_the_write_path() -> None:
    leaves = LEAVES * 100
    best = min(_seconds(leaves) for _ in range(5))
    assert best / len(leaves) < 5e-6, "goal 1.5 us on an idle machine; 5 us leaves room for a busy one"


def _seconds(leaves: list[bytes]) -> float:
    start = time.process_time()
    merkle.append_leaves(b"", 0, leaves)
    return time.process_time() - start
