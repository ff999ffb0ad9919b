"""`bench NAME`: run a benchmark beside its peers, print a table and, last, one line of JSON.

`bench all` runs every one and writes `bench/RESULTS.md`. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

from quarterdeck_bench.harness import Result, machine, print_result, write_results

NAMES: Final = (
    "append",
    "replay",
    "asof",
    "policy",
    "approve",
    "page",
    "start",
    "verify",
    "estate",
    "apply",
    "cut",
    "explain",
)
SMALL: Final = frozenset({"estate", "apply", "cut", "explain"})
"""Those that can be run in small; of the others, the environment says how large they are."""


def run() -> None:
    """Entry point of the `bench` command."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=(*NAMES, "all"), help="the benchmark to run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; the median counts (default 3)")
    parser.add_argument("--small", action="store_true", help=f"less of it, in a minute: {', '.join(sorted(SMALL))}")
    parser.add_argument("--results", type=Path, default=Path("bench/RESULTS.md"), help="where `all` writes its report")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    print(machine(), flush=True)
    results: list[Result] = []
    for name in NAMES if options.name == "all" else (options.name,):
        results.append(run_one(name, options.rounds, small=options.small))
        if options.name == "all":
            # After each: what an hour has found is not lost by what the next minute breaks.
            write_results(options.results, results)
    sys.exit(0 if all(result["ok"] for result in results) else 1)


def run_one(name: str, rounds: int, *, small: bool = False) -> Result:
    """Run one benchmark and print what it found."""
    options = {"small": True} if small and name in SMALL else {}
    result: Result = importlib.import_module(f"quarterdeck_bench.{name}").run(rounds, **options)
    print_result(result)
    return result
