"""`start`: from an empty directory to a served first request, cold and warm, and the memory everything takes idle.

Beside it, in the same rounds: starting PostgreSQL and Temporal alone, and importing what the API imports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from quarterdeck_bench.harness import Result, median
from quarterdeck_embedded import EmbeddedPostgres, EmbeddedTemporal, free_port

_SETTLE_S: Final = 8.0


def run(rounds: int) -> Result:
    """Measure cold and warm starts, and the proportional set size of every process a while after the warm one."""
    cold, warm, parts, imports, memory = [], [], [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="qd-bench-") as directory:
            parts.append(_parts(Path(directory) / "parts"))
            imports.append(_imports())
            data = Path(directory) / "data"
            cold.append(_up(data)[0])
            seconds, megabytes = _up(data, settle_s=_SETTLE_S)
            warm.append(seconds)
            memory.append(megabytes)
    value = {"cold_s": round(median(cold), 2), "warm_s": round(median(warm), 2), "idle_pss_mb": round(median(memory))}
    goal = {"cold_s": 6, "warm_s": 3, "idle_pss_mb": 700}
    limit = median(parts) + median(imports)
    rows: list[dict[str, Any]] = [
        {"what": "PostgreSQL and Temporal alone, cold", "s": median(parts), "x limit": median(parts) / limit},
        {"what": "importing what the API imports", "s": median(imports), "x limit": median(imports) / limit},
        {"what": "quarterdeck up, cold, first request served", "s": median(cold), "x limit": median(cold) / limit},
        {"what": "quarterdeck up, warm, first request served", "s": median(warm), "x limit": median(warm) / limit},
        {"what": "idle memory of everything (PSS), MB", "s": median(memory), "x limit": 0.0},
    ]
    ok = all(value[key] <= goal[key] for key in goal)
    return {"name": "start", "value": value, "goal": goal, "ok": ok, "rows": rows}


def _up(data: Path, settle_s: float = 0.0) -> tuple[float, float]:
    program = Path(sysconfig.get_path("scripts")) / "quarterdeck"
    begun = time.perf_counter()
    process = subprocess.Popen(
        [str(program), "up", "--json", "--data-dir", str(data), "--port", str(free_port())],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("QUARTERDECK_")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
        if not line:
            raise RuntimeError("quarterdeck up did not start")
        json.loads(line)
        time.sleep(settle_s)
        return seconds, _pss_mb(process.pid) if settle_s else 0.0
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _pss_mb(pid: int) -> float:
    root = psutil.Process(pid)
    processes = [root, *root.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def _parts(directory: Path) -> float:
    begun = time.perf_counter()
    temporal = EmbeddedTemporal(directory / "temporal.db")
    directory.mkdir()
    temporal.begin()
    with EmbeddedPostgres(directory / "pg"):
        temporal.wait_until_ready()
        seconds = time.perf_counter() - begun
    temporal.stop()
    return seconds


def _imports() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import quarterdeck_api.bootstrap"], check=True)
    return time.perf_counter() - begun
