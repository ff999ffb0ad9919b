"""The tiled form of a log: which paths exist, and the bytes behind them. Pure; the caller fetches.

A hash tile holds up to 256 nodes of a stored level (tile level L is tree level 8 * L); an entry bundle
holds the entries of a level-0 tile. Full tiles never change; a partial one (`.p/<width>`) is the left
part of a tile that is still filling.

Source: C2SP tlog-tiles (c2sp.org).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.merkle import HASH_BYTES, TILE_HEIGHT

TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535
MAX_INDEX: Final = 2**53

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class InvalidTile(InvalidInput):
    """A path or bytes that no tiled log has."""

    code = "invalid_tile"


class Tile(msgspec.Struct, frozen=True):
    """A hash tile, or the entry bundle beside a level-0 tile when `level` is None."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def tree_level(self) -> int:
        """The level in the tree of the nodes (for entries, the leaves) that the tile holds."""
        return TILE_HEIGHT * (self.level or 0)

    @property
    def start(self) -> int:
        """The index of the tile's first node within its tree level."""
        return self.index * TILE_WIDTH

    @property
    def stop(self) -> int:
        """The index after the tile's last node within its tree level."""
        return self.start + self.width

    def exists(self, size: int) -> bool:
        """Return whether a log of `size` entries has all of this tile's nodes."""
        return self.stop <= size >> self.tree_level

    def path(self) -> str:
        """Return the path below the log's prefix."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        level = "entries" if self.level is None else self.level
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"tile/{level}/{name}" + ("" if self.width == TILE_WIDTH else f".p/{self.width}")


def parse_path(path: str) -> Tile:
    """Return the tile that a path below the log's prefix names.

    Raises:
        InvalidTile: not a tile's path, or not its one spelling.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise InvalidTile(f"{path[:80]!r} is not a tile path; one is tile/0/x001/x234/067 or tile/entries/000.p/17")
    level = None if match["level"] == "entries" else int(match["level"])
    index = int(match["index"].replace("x", "").replace("/", ""))
    tile = Tile(level, index, int(match["width"] or TILE_WIDTH))
    if (level or 0) > MAX_LEVEL or index > MAX_INDEX or tile.width > TILE_WIDTH or tile.path() != path:
        raise InvalidTile(f"{path[:80]!r} is not a tile path: level over 63, width over 255, or superfluous zeros")
    return tile


def tiles_of(size: int) -> list[Tile]:
    """Return the rightmost tile of each level, hash tiles from level 0 up, that a log of `size` entries ends in.

    With the full tiles to their left, these are every tile of the log.
    """
    tiles = []
    level, nodes = 0, size
    while nodes:
        index, width = divmod(nodes - 1, TILE_WIDTH)
        tiles.append(Tile(level, index, width + 1))
        level, nodes = level + 1, nodes // TILE_WIDTH
    return tiles


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """Return the bytes of a hash tile.

    Raises:
        InvalidTile: not 1 to 256 hashes of 32 bytes.
    """
    if not 1 <= len(hashes) <= TILE_WIDTH or any(len(item) != HASH_BYTES for item in hashes):
        raise InvalidTile(f"a tile holds 1 to {TILE_WIDTH} hashes of {HASH_BYTES} bytes")
    return b"".join(hashes)


def decode_tile(data: bytes, width: int = TILE_WIDTH) -> list[bytes]:
    """Return the hashes of a tile of that width.

    Raises:
        InvalidTile: the bytes do not have that width.
    """
    if not 1 <= width <= TILE_WIDTH or len(data) != width * HASH_BYTES:
        raise InvalidTile(f"{len(data)} bytes are not a tile {width} hashes wide")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return the bytes of an entry bundle: each entry after its length, two bytes big-endian.

    Raises:
        InvalidTile: not 1 to 256 entries, or one longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise InvalidTile(f"an entry of {len(entry)} bytes; at most {MAX_ENTRY_BYTES} are allowed")
        parts += (len(entry).to_bytes(2, "big"), entry)
    if not 1 <= len(parts) // 2 <= TILE_WIDTH:
        raise InvalidTile(f"an entry bundle holds 1 to {TILE_WIDTH} entries, not {len(parts) // 2}")
    return b"".join(parts)


def decode_entries(data: bytes, width: int = TILE_WIDTH) -> list[bytes]:
    """Return the entries of a bundle of that width.

    Raises:
        InvalidTile: the bytes do not hold exactly that many entries.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : stop])
        at = stop
    if at != len(data) or len(entries) != width or not 1 <= width <= TILE_WIDTH:
        raise InvalidTile(f"the bytes are not an entry bundle of {width} entries")
    return entries
