"""What every benchmark shares: its result's form, the table, the machine, a PostgreSQL of its own."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

from rich.console import Console
from rich.table import Table

from quarterdeck_embedded import EmbeddedPostgres

_HELPERS: Final = Path(__file__).parents[2] / "tests" / "helpers"


class Result(TypedDict):
    """What a benchmark found. `value` meets `goal` exactly where `ok`; `rows` are the table, all with the same keys."""

    name: str
    value: Any
    goal: Any
    ok: bool
    rows: list[dict[str, Any]]
    note: NotRequired[str]


def print_result(result: Result) -> None:
    """Print the table, the note and, last, the one line of JSON."""
    table = Table(title=result["name"])
    rows = result["rows"]
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*[_shown(value) for value in row.values()])
    Console().print(table)
    if "note" in result:
        print(result["note"])
    print(json.dumps({key: result[key] for key in ("name", "value", "goal", "ok")}, default=str), flush=True)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write the report of a whole run."""
    lines = [
        "# Measured figures",
        "",
        f"Machine: {machine()}. Written by `uv run bench all`; figures of a shared machine,",
        "to be read as ratios within one table.",
        "",
    ]
    for result in results:
        mark = "met" if result["ok"] else "**missed**"
        lines += [
            f"## {result['name']}: {mark}",
            "",
            f"Value: `{json.dumps(result['value'], default=str)}`. Goal: `{json.dumps(result['goal'], default=str)}`.",
            "",
        ]
        if result["rows"]:
            columns = list(result["rows"][0])
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(_shown(row.get(column)) for column in columns) + " |" for row in result["rows"]]
            lines.append("")
        if "note" in result:
            lines += [result["note"], ""]
    path.write_text("\n".join(lines))


def machine() -> str:
    """Name the machine the figures come from."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {system}"


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def postgres(**settings: str) -> Iterator[EmbeddedPostgres]:
    """Run a PostgreSQL of this benchmark's own in a temporary directory; fsync stays on."""
    with tempfile.TemporaryDirectory(prefix="qd-bench-") as directory:
        server = EmbeddedPostgres(
            Path(directory) / "pg", settings={"shared_buffers": "1GB", "max_wal_size": "8GB", **settings}
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()


def helper(name: str) -> Any:
    """Return a module of the tests' helpers: oracles that share nothing with what they judge."""
    if str(_HELPERS) not in sys.path:
        sys.path.insert(0, str(_HELPERS))
    return importlib.import_module(name)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.3f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
