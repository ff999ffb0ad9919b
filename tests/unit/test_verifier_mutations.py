"""10,000 random mutations of exports, all detected against a held checkpoint. Serves DC-09, S1-84, S2-37.

Five kinds damage the file; the sixth, `fork`, is another history signed rightly with the log's own key, which
only the held checkpoint can tell from the true one. Our own reader must refuse the damaged files as well.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import sample_log

from quarterdeck.verifier import NotVerified, verify
from quarterdeck_domain import canonical
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.bundle import Export
from quarterdeck_ledger.notes import cosign_checkpoint

SIZE, HELD = 24, 20
LOG = sample_log.Log(SIZE)
CHECKPOINT = LOG.checkpoint(HELD)
WITNESS = sample_log.witness()
COSIGNED = cosign_checkpoint(LOG.checkpoint(), WITNESS, 1_700_000_000)
EXPORTS = [
    LOG.full(),
    LOG.full(note=COSIGNED, keys=[LOG.signer, WITNESS]),
    LOG.proof([2, 3, 11, 24], held=[1, 8, HELD, 23]),
]
Mutation = Callable[[random.Random, bytes], bytes]


def detected(data: bytes, **options: Any) -> bool:
    """Return whether the verifier refuses the bytes; any other failure than its own is an error."""
    try:
        verify(io.BytesIO(data), vkeys=[LOG.vkey], **options)
    except NotVerified:
        return True
    return False


def flip(rng: random.Random, data: bytes) -> bytes:
    """Change one bit, one byte, or a few of them."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed))
        changed[at] = changed[at] ^ 1 << rng.randrange(8) if rng.random() < 0.7 else rng.randrange(256)
    return bytes(changed)


def delete(rng: random.Random, data: bytes) -> bytes:
    """Take out some bytes, or whole lines."""
    if rng.random() < 0.5:
        at = rng.randrange(len(data))
        return data[:at] + data[at + rng.choice((1, 1, 2, 7, 100, 1000)) :]
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return b"".join(lines[:at] + lines[at + rng.choice((1, 1, 2, 5)) :])


def insert(rng: random.Random, data: bytes) -> bytes:
    """Put in random bytes, white space, a line again, or a new event."""
    lines = data.splitlines(keepends=True)
    new = canonical.encode(sample_log.event(rng.randrange(1, SIZE + 3), seed=rng.random())) + b"\n"
    piece = rng.choice((rng.randbytes(rng.randrange(1, 9)), b" ", b"\n", b"\r", b"0", rng.choice(lines), new))
    if len(piece) < 20:
        at = rng.randrange(len(data) + 1)
        return data[:at] + piece + data[at:]
    lines.insert(rng.randrange(len(lines) + 1), piece)
    return b"".join(lines)


def reorder(rng: random.Random, data: bytes) -> bytes:
    """Exchange two lines, two pieces of the file, or the members of a line."""
    lines = data.splitlines(keepends=True)
    way = rng.random()
    if way < 0.5:
        one, other = rng.sample(range(len(lines)), 2)
        lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)
    if way < 0.8:
        one, two, three, four = sorted(rng.sample(range(len(data) + 1), 4))
        return data[:one] + data[three:four] + data[two:three] + data[one:two] + data[four:]
    at = rng.randrange(len(lines))
    value = json.loads(lines[at])
    if isinstance(value, dict):
        members = list(value.items())
        rng.shuffle(members)
        value = dict(members)
    else:
        rng.shuffle(value)
    lines[at] = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return b"".join(lines)


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Cut the file off, anywhere or after a line, at its end or its beginning."""
    at = rng.randrange(len(data))
    if rng.random() < 0.4:
        at = data.rfind(b"\n", 0, at) + 1
    return data[:at] if rng.random() < 0.8 or at == 0 else data[at:]


DAMAGE: dict[str, tuple[Mutation, int]] = {
    "flip": (flip, 3_000),
    "delete": (delete, 2_000),
    "insert": (insert, 2_000),
    "reorder": (reorder, 1_000),
    "truncate": (truncate, 1_000),
}
FORKS = 1_000
PARTS = 4


def test_there_are_10000_mutations() -> None:
    assert sum(count for _, count in DAMAGE.values()) + FORKS == 10_000
    assert all(count % PARTS == 0 for _, count in DAMAGE.values())
    for data in EXPORTS:
        assert not detected(data, checkpoints=[CHECKPOINT])


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_export_is_detected(kind: str, part: int) -> None:
    mutate, count = DAMAGE[kind]
    rng = random.Random(f"{kind}/{part}")
    done = 0
    while done < count // PARTS:
        original = rng.choice(EXPORTS)
        data = mutate(rng, original)
        if data == original:
            continue
        done += 1
        assert detected(data, checkpoints=[CHECKPOINT]), (kind, part, done, data)
        with pytest.raises(QuarterdeckError):
            list(Export(io.BytesIO(data), [LOG.signer.vkey]).entries())


def fork(rng: random.Random) -> Any:
    """Return another log with the same key: at or before the held size something differs, all of it well-formed."""
    values = [json.loads(entry) for entry in LOG.entries]
    at = rng.randrange(HELD)
    way = rng.choice(("rewrite", "remove", "add", "exchange", "shorten", "restart"))
    if way == "rewrite":
        values[at] = {**sample_log.event(at + 1, seed=rng.random()), "recorded_at": values[at]["recorded_at"]}
    elif way == "remove":
        del values[at]
    elif way == "add":
        values.insert(at, {**sample_log.event(at + 1, seed=rng.random()), "recorded_at": values[at]["recorded_at"]})
    elif way == "exchange":
        other = rng.choice([index for index in range(SIZE) if index != at])
        values[at], values[other] = values[other], values[at]
    elif way == "shorten":
        del values[at:]
    else:
        values[at:] = [sample_log.event(index + 1, seed=rng.random()) for index in range(at, SIZE)]
    times = sorted(value["recorded_at"] for value in values)
    forked = sample_log.Log(0)
    forked.set_entries(
        canonical.encode({**value, "position": index + 1, "recorded_at": time})
        for index, (value, time) in enumerate(zip(values, times, strict=True))
    )
    return forked


@pytest.mark.parametrize("part", range(PARTS))
def test_a_fork_signed_with_the_logs_own_key_is_detected_only_by_the_held_checkpoint(part: int) -> None:
    rng = random.Random(f"fork/{part}")
    for _ in range(FORKS // PARTS):
        log = fork(rng)
        held = [size for size in (8, HELD) if size <= log.size]
        data = log.full() if rng.random() < 0.7 else log.proof(range(1, log.size + 1), held=held)
        assert log.entries[:HELD] != LOG.entries[:HELD]
        assert not detected(data)
        assert detected(data, checkpoints=[CHECKPOINT])
