"""The Merkle tree over a log: frontier, roots, inclusion and consistency proofs. Pure; no I/O.

A tree of n leaves is described by its frontier (compact range): the roots of the perfect subtrees that
make up n, from the largest to the smallest, 32 bytes each, concatenated. Appending needs nothing else.
Proofs need nodes from inside the tree. A `Node` names a perfect subtree; what a proof needs is first
planned (`inclusion_nodes`, `consistency_nodes`), then fetched in any way, then put together (`assemble`),
so that the same code serves a list in memory, tiles in a database and an async reader.

Leaf indices count from 0: the event at position p is leaf p - 1.

Source: RFC 6962 section 2.1; RFC 9162 sections 2.1.3 and 2.1.4 (same tree, proofs verified iteratively).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from quarterdeck_domain.errors import InvalidInput

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
"""Levels that are a multiple of this are stored; the levels between them are recomputed."""
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_PROOF_HASHES: Final = 128
"""No valid proof over fewer than 2^64 leaves is longer."""

Fetch = Callable[[int, int], bytes]
"""From (level, index) to the hash of that perfect subtree."""


Node = tuple[int, int]
"""(level, index): the perfect subtree over the 2^level leaves from index * 2^level on."""


class Completed(NamedTuple):
    """A node that an append completed at a stored level (8, 16, …), with its hash."""

    node: Node
    hash: bytes


class StoredRange(NamedTuple):
    """The nodes of a stored level from `start` up to, not including, `stop`."""

    level: int
    start: int
    stop: int


ProofPlan = list[tuple[Node, ...]]
"""One item for each hash of a proof: the perfect subtrees, left to right, whose hashes compose it.
More than one only at the tree's right edge."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append_leaves(frontier: bytes, size: int, leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the frontier after appending leaf hashes to a tree of `size` leaves.

    Raises:
        InvalidInput: the frontier does not fit the size, or a leaf hash is not 32 bytes.
    """
    return append_leaves_and_nodes(frontier, size, leaf_hashes)[0]


def append_leaves_and_nodes(frontier: bytes, size: int, leaf_hashes: Iterable[bytes]) -> tuple[bytes, list[Completed]]:
    """Return the frontier after appending, and the subtrees completed at the stored levels, in order.

    Raises:
        InvalidInput: the frontier does not fit the size, or a leaf hash is not 32 bytes.
    """
    stack = split_frontier(frontier, size)
    completed: list[Completed] = []
    sha256 = hashlib.sha256
    pop, push = stack.pop, stack.append
    for node in leaf_hashes:
        if len(node) != HASH_BYTES:
            raise InvalidInput(f"a leaf hash has {len(node)} bytes, not {HASH_BYTES}", index=size)
        carry, level = size, 0
        while carry & 1:
            node = sha256(b"\x01" + pop() + node).digest()
            carry >>= 1
            level += 1
            if not level & 7:
                completed.append(Completed((level, carry), node))
        push(node)
        size += 1
    return b"".join(stack), completed


def split_frontier(frontier: bytes, size: int) -> list[bytes]:
    """Return the hashes of a frontier, largest subtree first.

    Raises:
        InvalidInput: it does not have one hash for each bit set in `size`.
    """
    if size < 0 or len(frontier) != size.bit_count() * HASH_BYTES:
        raise InvalidInput(f"a frontier of {len(frontier)} bytes does not fit a tree of {size} leaves")
    return [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)]


def root(frontier: bytes, size: int) -> bytes:
    """Return the root of the tree with that frontier.

    Raises:
        InvalidInput: the frontier does not fit the size.
    """
    hashes = split_frontier(frontier, size)
    return root_of(hashes)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a frontier's hashes, largest subtree first; of the empty tree if there are none."""
    return compose(hashes) if hashes else EMPTY_ROOT


def compose(hashes: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring perfect subtrees, largest first (at least one)."""
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a perfect subtree from all its nodes at one lower level, left to right.

    Raises:
        InvalidInput: their number is not a power of two.
    """
    row = list(hashes)
    if len(row).bit_count() != 1:
        raise InvalidInput(f"{len(row)} nodes do not make a perfect subtree; a power of two would")
    sha256 = hashlib.sha256
    while len(row) > 1:
        row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def stored_range(node: Node) -> StoredRange:
    """Return the 1 to 128 stored nodes from which `subtree_root` recomputes a node."""
    level, index = node
    height = level % TILE_HEIGHT
    return StoredRange(level - height, index << height, (index + 1) << height)


def range_nodes(start: int, stop: int) -> tuple[Node, ...]:
    """Return the perfect subtrees that make up the leaves from start to stop, largest first.

    `start` must be a multiple of the largest power of two that fits, as it is for every range that
    a proof needs.
    """
    nodes = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return tuple(nodes)


def root_nodes(size: int) -> tuple[Node, ...]:
    """Return the nodes whose hashes are the frontier of the tree of the first `size` leaves."""
    return range_nodes(0, size)


def inclusion_nodes(index: int, size: int) -> ProofPlan:
    """Plan the proof that leaf `index` is in the tree of `size` leaves.

    Raises:
        InvalidInput: there is no such leaf in that tree.
    """
    if not 0 <= index < size:
        raise InvalidInput(f"leaf {index} is not in a tree of {size} leaves", index=index, size=size)
    plan: ProofPlan = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            plan.append(range_nodes(middle, stop))
            stop = middle
        else:
            plan.append(range_nodes(start, middle))
            start = middle
    plan.reverse()
    return plan


def consistency_nodes(old: int, new: int) -> ProofPlan:
    """Plan the proof that the tree of `old` leaves is a prefix of the tree of `new`.

    The proof from size 0, and from a size to itself, is empty.

    Raises:
        InvalidInput: old is larger than new, or negative.
    """
    if not 0 <= old <= new:
        raise InvalidInput(f"a tree of {old} leaves is no prefix of one of {new}", old=old, new=new)
    plan: ProofPlan = []
    if old == 0:
        return plan
    start, stop = 0, new
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            plan.append(range_nodes(middle, stop))
            stop = middle
        else:
            plan.append(range_nodes(start, middle))
            start = middle
    if start > 0:
        plan.append(range_nodes(start, stop))
    plan.reverse()
    return plan


def needed(plan: ProofPlan) -> list[Node]:
    """Return every node a plan needs, each once, in the plan's order."""
    return list(dict.fromkeys(node for nodes in plan for node in nodes))


def assemble(plan: ProofPlan, nodes: Mapping[Node, bytes]) -> list[bytes]:
    """Return the proof's hashes from the hashes of the nodes it needs.

    Raises:
        KeyError: a node is missing.
    """
    return [compose([nodes[node] for node in item]) for item in plan]


def inclusion_proof(index: int, size: int, fetch: Fetch) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards.

    Raises:
        InvalidInput: there is no such leaf in that tree.
    """
    plan = inclusion_nodes(index, size)
    return assemble(plan, {node: fetch(*node) for node in needed(plan)})


def consistency_proof(old: int, new: int, fetch: Fetch) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is a prefix of the tree of `new`.

    Raises:
        InvalidInput: old is larger than new, or negative.
    """
    plan = consistency_nodes(old, new)
    return assemble(plan, {node: fetch(*node) for node in needed(plan)})


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that an inclusion proof leads to; None if the proof cannot be one of that tree.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size or not _well_formed((leaf, *proof)):
        return None
    fn, sn, result = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            result = node_hash(sibling, result)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            result = node_hash(result, sibling)
        fn >>= 1
        sn >>= 1
    return result if sn == 0 else None


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether the proof shows that the leaf hash is at `index` in the tree with that size and root."""
    return root_from_inclusion(leaf, index, size, proof) == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows that the old tree is a prefix of the new one.

    Source: RFC 9162 section 2.1.4.2; the empty tree is a prefix of every tree.
    """
    if not 0 <= old <= new or not _well_formed((old_root, new_root, *proof)):
        return False
    if new == 0 and new_root != EMPTY_ROOT:
        return False
    if old in (0, new):
        return not proof and old_root == (EMPTY_ROOT if old == 0 else new_root)
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            second = node_hash(second, sibling)
        fn >>= 1
        sn >>= 1
    return sn == 0 and first == old_root and second == new_root


def _split(count: int) -> int:
    """Return the largest power of two smaller than count (count >= 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _well_formed(hashes: Sequence[bytes]) -> bool:
    return len(hashes) <= MAX_PROOF_HASHES + 2 and all(len(item) == HASH_BYTES for item in hashes)
