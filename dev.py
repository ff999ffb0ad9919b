#!/usr/bin/env python3
"""The developer's one entry: sets up what is needed, then runs what you ask for. Standard library only.

python3 dev.py demo     set up, then play the whole story on embedded parts
python3 dev.py test     the same, then every check and every test (this is what CI runs)

python3 dev.py setup    only set up: .venv with exactly what requirements.lock names
python3 dev.py check    lint, format, types, layers
python3 dev.py lock     resolve requirements.lock anew from pyproject.toml
python3 dev.py wheel    build the wheel into dist/
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "quarterdeck-setup"
INPUTS = (LOCK, ROOT / "pyproject.toml", ROOT / "bench" / "pyproject.toml")
CHECKS = (
    ("lint", ["ruff", "check", "."]),
    ("format", ["ruff", "format", "--check", "."]),
    ("types", ["mypy"]),
    ("layers", ["lint-imports"]),
)
COMPILE = [
    *("uv", "pip", "compile", "pyproject.toml", "--extra", "embedded", "--group", "dev", "--universal"),
    *("--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-emit-package", "quarterdeck"),
    *("--no-emit-package", "quarterdeck-bench", "--no-header", "--no-annotate", "-q", "-o", "requirements.lock"),
]


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("demo", "test", "setup", "check", "lock", "wheel"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on: `dev.py test -k merkle`")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  this file is what an older Python meets first
        return fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}", "run it with another python3")
    os.chdir(ROOT)
    set_up()
    if options.command == "demo":
        return run("quarterdeck", "demo", *options.rest)
    if options.command == "test":
        return test(options.rest)
    if options.command == "check":
        return check()
    if options.command == "lock":
        return run(*COMPILE)
    if options.command == "wheel":
        return run("uv", "build", "--wheel", "--quiet")
    return 0


def test(rest: list[str]) -> int:
    """Play the main job, run every check, run every test; the first that fails ends it."""
    say("the main job: quarterdeck demo")
    with tempfile.TemporaryDirectory(prefix="quarterdeck-demo-") as directory:
        failed = run("quarterdeck", "demo", "--data-dir", str(Path(directory) / "data"))
    failed = failed or check()
    if failed:
        return failed
    say("tests")
    return run("pytest", "-q", *(rest or ["-n", "auto", "--dist", "loadfile"]))


def check() -> int:
    """Run every check; return 1 if one failed."""
    failed = 0
    for name, command in CHECKS:
        say(name)
        failed |= run(*command) != 0
    return int(failed)


def set_up() -> None:
    """Make .venv hold exactly what requirements.lock names, and this project, unless it does already."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in INPUTS) + sys.version.encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted and (BIN / "python").exists():
        return
    begun = time.monotonic()
    say(f"setting up {VENV} (once, until requirements change)")
    if not (BIN / "python").exists():
        try:
            venv.create(VENV, with_pip=True, clear=True)
        except (subprocess.CalledProcessError, SystemExit):
            sys.exit(fail("this Python cannot make environments", "install its venv module (Debian: python3-venv)"))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as pinned:
        pinned.write(locked("uv"))
    try:
        quiet = ("-q", "--disable-pip-version-check", "--require-hashes")
        must("python", "-m", "pip", "install", *quiet, "-r", pinned.name)
    finally:
        os.unlink(pinned.name)
    must("uv", "pip", "sync", "-q", "--require-hashes", "--python", str(BIN / "python"), str(LOCK))
    must("uv", "pip", "install", "-q", "--no-deps", "--python", str(BIN / "python"), "-e", ".", "-e", "bench")
    STAMP.write_text(wanted)
    say(f"set up in {time.monotonic() - begun:.0f} s")


def locked(package: str) -> str:
    """Return one package's lines of the lock file, hashes included."""
    lines = LOCK.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{package}=="))
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(" ")), len(lines))
    return "\n".join(lines[start:end]) + "\n"


def must(*command: str) -> None:
    """Run a program of the environment; end with its exit code if it fails."""
    code = run(*command)
    if code:
        sys.exit(fail(f"`{' '.join(command[:6])}` failed", "is a package registry reachable? then try again"))


def run(*command: str) -> int:
    """Run a program of the environment and return its exit code."""
    program = shutil.which(command[0], path=str(BIN)) or command[0]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "VIRTUAL_ENV": str(VENV)}
    return subprocess.run([program, *command[1:]], env=environment, check=False).returncode


def say(text: str) -> None:
    """Say what happens now."""
    print(f"» {text}", flush=True)


def fail(message: str, hint: str) -> int:
    """Say what went wrong and the next step; return the exit code."""
    print(f"error: {message}\n  try: {hint}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
