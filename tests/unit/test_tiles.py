"""Tiles: the paths and sizes of the specification, and the bytes behind them. Serves DC-09, S1-84."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain import merkle
from quarterdeck_ledger.tiles import (
    MAX_INDEX,
    InvalidTile,
    Tile,
    decode_entries,
    decode_tile,
    encode_entries,
    encode_tile,
    parse_path,
    tiles_of,
)

PATHS = {
    "tile/0/x001/x234/067": Tile(0, 1234067),
    "tile/0/000": Tile(0, 0),
    "tile/63/999": Tile(63, 999),
    "tile/1/x001/000": Tile(1, 1000),
    "tile/0/273.p/112": Tile(0, 273, 112),
    "tile/2/000.p/1": Tile(2, 0, 1),
    "tile/entries/x001/x234/067": Tile(None, 1234067),
    "tile/entries/000.p/255": Tile(None, 0, 255),
    "tile/entries/x123/x456/x789/x012/345": Tile(None, 123456789012345),
}


@pytest.mark.parametrize(("path", "tile"), PATHS.items())
def test_paths_are_those_of_the_specification(path: str, tile: Tile) -> None:
    assert tile.path() == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "checkpoint",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/-01",
        "tile/0/+01",
        "tile/0/٠٠٠",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/256",
        "tile/0/000.p/1000",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.P/1",
        "tile/0/000\n",
        "tile/0/000?x",
        "tile/0/../000",
        "tile/data/000",
        "tile/Entries/000",
        "tile/0/x009/x007/x199/x254/x740/993",
        "tile/0/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x001/" * 400 + "000",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(InvalidTile):
        parse_path(path)


@given(st.none() | st.integers(0, 63), st.integers(0, MAX_INDEX), st.integers(1, 256))
@settings(max_examples=200, deadline=None)
def test_every_tile_has_one_path(level: int | None, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path()) == tile


def test_the_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    assert tiles_of(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tiles_of(256) == [Tile(0, 0), Tile(1, 0, 1)]
    assert tiles_of(0) == []
    assert Tile(1, 0).exists(70_000)
    assert Tile(1, 1, 17).exists(70_000)
    assert not Tile(1, 1, 18).exists(70_000)
    assert Tile(None, 273, 112).exists(70_000)
    assert not Tile(None, 273, 113).exists(70_000)
    assert not Tile(3, 0, 1).exists(70_000)
    assert not Tile(63, 0, 1).exists(2**62)


@given(st.integers(1, 2**40))
@settings(max_examples=100, deadline=None)
def test_the_last_tiles_exist_and_nothing_beyond_them(size: int) -> None:
    tiles = tiles_of(size)
    for tile in tiles:
        assert tile.exists(size)
        assert not Tile(tile.level, tile.index, tile.width + 1).exists(size)
        assert (tile.start, tile.stop, tile.tree_level) == (
            tile.index * 256,
            tile.index * 256 + tile.width,
            8 * (tile.level or 0),
        )
    assert not Tile(len(tiles), 0, 1).exists(size)


def test_a_client_rebuilds_the_root_and_proofs_from_tiles_alone() -> None:
    entries = [f"entry {index}".encode() * (index % 5) for index in range(66_000)]
    frontier, completed = merkle.append_leaves_and_nodes(b"", 0, map(merkle.leaf_hash, entries))
    stored = {found.node: found.hash for found in completed}
    stored |= {(0, index): merkle.leaf_hash(entry) for index, entry in enumerate(entries)}

    def read_tile(path: str) -> bytes:
        tile = parse_path(path)
        return encode_tile([stored[tile.tree_level, at] for at in range(tile.start, tile.stop)])

    last = {tile.level: tile for tile in tiles_of(len(entries))}

    def fetch(level: int, index: int) -> bytes:
        found = merkle.stored_range((level, index))
        at = found.start // 256
        tile = last[found.level // 8]
        tile = tile if tile.index == at else Tile(found.level // 8, at)
        hashes = decode_tile(read_tile(tile.path()), tile.width)
        return merkle.subtree_root(hashes[found.start - tile.start : found.stop - tile.start])

    root = merkle.root(frontier, len(entries))
    assert merkle.compose([fetch(*node) for node in merkle.root_nodes(len(entries))]) == root
    for index in (0, 255, 256, 65_535, 65_536, 65_999):
        proof = merkle.inclusion_proof(index, len(entries), fetch)
        assert merkle.verify_inclusion(merkle.leaf_hash(entries[index]), index, len(entries), proof, root)
    old_root = merkle.root(merkle.append_leaves(b"", 0, map(merkle.leaf_hash, entries[:1000])), 1000)
    proof = merkle.consistency_proof(1000, len(entries), fetch)
    assert merkle.verify_consistency(1000, len(entries), old_root, root, proof)


def test_hash_tiles_are_concatenated_hashes() -> None:
    hashes = [bytes([index]) * 32 for index in range(256)]
    assert encode_tile(hashes) == b"".join(hashes)
    assert len(encode_tile(hashes)) == 8192
    assert decode_tile(encode_tile(hashes)) == hashes
    assert decode_tile(encode_tile(hashes[:3]), 3) == hashes[:3]
    for wrong in ([], hashes + hashes[:1], [b"short"]):
        with pytest.raises(InvalidTile):
            encode_tile(wrong)
    for data, width in ((b"", 0), (b"\0" * 31, 1), (b"\0" * 64, 1), (b"\0" * 257 * 32, 257)):
        with pytest.raises(InvalidTile):
            decode_tile(data, width)


def test_entry_bundles_are_length_prefixed() -> None:
    assert encode_entries([b"", b"ab"]) == b"\0\0\0\2ab"
    assert decode_entries(b"\0\0\0\2ab", 2) == [b"", b"ab"]
    longest = b"x" * 65_535
    assert decode_entries(encode_entries([longest]), 1) == [longest]
    with pytest.raises(InvalidTile, match="65536 bytes"):
        encode_entries([longest + b"x"])
    for count in (0, 257):
        with pytest.raises(InvalidTile):
            encode_entries([b"x"] * count)
    for data, width in (
        (b"", 1),
        (b"", 0),
        (b"\0", 1),
        (b"\0\1", 1),
        (b"\0\1a", 2),
        (b"\0\1ab", 1),
        (b"\0\0\0\0", 1),
        (b"\0\0" * 257, 257),
    ):
        with pytest.raises(InvalidTile):
            decode_entries(data, width)


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=256))
@settings(max_examples=50, deadline=None)
def test_any_entries_survive_bundling(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries), len(entries)) == entries
