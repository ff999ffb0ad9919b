"""`verify`: the standalone verifier on a full export of 1,000,000 events, on one core, with key and held checkpoint.

Beside it, in the same rounds, a program that only parses every line as JSON: what any check of such a file costs at
least. Events have about 700 bytes; `QUARTERDECK_BENCH_ROWS` changes their number. The time includes the start of
Python. The file is made once, by our own export writer.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quarterdeck import verifier
from quarterdeck_bench.harness import Result, median
from quarterdeck_domain import merkle
from quarterdeck_ledger.bundle import write_full
from quarterdeck_ledger.notes import Ed25519Signer, sign_checkpoint

GOAL_S: Final = 60.0
BATCH: Final = 1_000
ORIGIN: Final = "bench.example/acme"
START: Final = datetime(2026, 11, 21, 5, 35, 13, tzinfo=UTC)
PARSE: Final = "import json, sys\nfor line in open(sys.argv[1], 'rb', 1 << 20): json.loads(line)"


def run(rounds: int) -> Result:
    """Measure and return the median time of the verifier in seconds."""
    count = int(os.environ.get("QUARTERDECK_BENCH_ROWS", "1000000"))
    rows = []
    with tempfile.TemporaryDirectory(prefix="qd-verify-") as directory:
        export, held = Path(directory) / "full.ndjson", Path(directory) / "held.txt"
        vkey = asyncio.run(make_export(export, held, count))
        size_mb = export.stat().st_size / 1e6
        arguments = [str(export), "--vkey", vkey, "--checkpoint", str(held), "--json"]
        for index in range(rounds):
            seconds, peak_mb, answer = on_one_core([sys.executable, "-I", verifier.__file__, *arguments])
            if json.loads(answer)["events"] != count:
                raise RuntimeError(f"the verifier did not verify the export: {answer}")
            floor, _, _ = on_one_core([sys.executable, "-I", "-c", PARSE, str(export)])
            rows.append(
                {
                    "round": index + 1,
                    "events": count,
                    "file_mb": size_mb,
                    "verify_s": seconds,
                    "us_per_event": seconds / count * 1e6,
                    "peak_memory_mb": peak_mb,
                    "only_parse_json_s": floor,
                    "times_only_parse": seconds / floor,
                }
            )
    value = median([row["verify_s"] for row in rows])
    goal = GOAL_S * count / 1_000_000
    return Result(name="verify", value=value, goal=goal, ok=value < goal, rows=rows)


def on_one_core(command: list[str]) -> tuple[float, float, str]:
    """Run a program on one core; return seconds, peak memory in MB and what it printed.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        printed = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[:4]} failed with {process.returncode}: {printed}")
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return time.perf_counter() - start, kilobytes / 1000, printed


async def make_export(export: Path, held: Path, count: int) -> str:
    """Write a full export of `count` events and a checkpoint at nine tenths of it; return the log's vkey."""
    signer = Ed25519Signer(ORIGIN, Ed25519PrivateKey.generate())
    frontier, early = b"", count * 9 // 10 // BATCH * BATCH
    for first in range(0, count, BATCH):
        if first == early:
            held.write_bytes(sign_checkpoint(ORIGIN, early, merkle.root(frontier, early), [signer]))
        leaves = map(merkle.leaf_hash, make_entries(first, min(BATCH, count - first)))
        frontier = merkle.append_leaves(frontier, first, leaves)
    note = sign_checkpoint(ORIGIN, count, merkle.root(frontier, count), [signer])
    with export.open("wb", 1 << 20) as file:
        async for chunk in write_full("acme", note, [signer.vkey], make_batches(count)):
            file.write(chunk)
    return str(signer.vkey)


async def make_batches(count: int) -> AsyncIterator[list[bytes]]:
    """Yield all entries in batches."""
    for first in range(0, count, BATCH):
        yield make_entries(first, min(BATCH, count - first))


def make_entries(first: int, count: int) -> list[bytes]:
    """Return realistic entries: the positions after `first`, the same each time."""
    entries = []
    for position in range(first + 1, first + count + 1):
        moment = (START + timedelta(milliseconds=7 * position)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        agent, approval = f"prn_{position % 50:026d}", f"apr_{position // 4:026d}"
        event_id = uuid.UUID(int=(0x0192F0C1 << 96) | (7 << 76) | (2 << 62) | position * 0x9E3779B97F % 2**62)
        entries.append(
            (
                f'{{"actor":{{"kind":"agent","on_behalf_of":["prn_{position % 9:026d}"],"principal":"{agent}"}},'
                f'"cause":{{"command_id":"{event_id}","traceparent":"00-{position:032x}-{position:016x}-01"}},'
                f'"data":{{"approval_id":"{approval}","arguments":{{"amount":"{position % 999}.00","order":"1",'
                f'"to":"x{position % 77}@y.example"}},"attempt":{position % 3},"reason":"refund – order {position}"}},'
                f'"id":"{event_id}","position":{position},"recorded_at":"{moment}",'
                f'"tags":["agent:{agent}","approval:{approval}","tenant:acme"],"tenant":"acme",'
                f'"type":"approval.requested","version":1}}'
            ).encode()
        )
    return entries
