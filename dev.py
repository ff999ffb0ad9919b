#!/usr/bin/env python3
"""The developer's one entry: from a fresh clone to a running product, and to every check that guards a change.

    python3 dev.py demo     set up, then play the whole story with real processes
    python3 dev.py test     set up, play the story, run all checks and all tests

It needs Python 3.11 or newer with pip (or the venv module's own), and nothing else. Everything it installs goes into
`.venv` beside this file, from `requirements.lock`, where every package is pinned by hash. Standard library only.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  before anything an older Python does not know
    found = [name for name in ("python3.%d" % minor for minor in range(20, 10, -1)) if shutil.which(name)]  # noqa: UP031
    hint = "run it with %s, which is here" % found[0] if found else "install one and run this with it"  # noqa: UP031
    sys.stderr.write("Quarterdeck needs Python 3.11 or newer, not %s: %s\n" % (sys.version.split()[0], hint))  # noqa: UP031
    sys.exit(2)

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "setup-stamp"
DIST = ROOT / "dist"
EDITABLE = (".", "bench")
INPUTS = ("requirements.lock", "pyproject.toml", "bench/pyproject.toml")
CHECKS = (
    ("ruff check", ("ruff", "check", ".")),
    ("ruff format", ("ruff", "format", "--check", ".")),
    ("mypy", ("mypy",)),
    ("import contracts", ("lint-imports", "--no-cache")),
)
ALL_TESTS = ("-n", "auto", "--dist", "loadfile")  # a file's tests share its databases
RESOLVE = (
    *("uv", "pip", "compile", "pyproject.toml", "--extra", "embedded", "--group", "dev"),
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header"),
    *("--no-annotate", "--no-emit-package", "quarterdeck", "--no-emit-package", "quarterdeck-bench"),
    *("-o", "requirements.lock"),
)

Step = tuple[str, Callable[[], bool]]


class Stop(Exception):
    """Nothing further can be done. The message says why, and what would help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that was asked for; return 0 if all went well, 1 if something failed, 2 if it cannot be done."""
    commands = parser()
    options, rest = commands.parse_known_args(arguments)
    if rest and not options.passes_on:
        commands.error(f"`{options.name}` takes nothing more: {' '.join(rest)}")
    options.rest = rest
    try:
        refuse_other_systems()
        return int(options.run(options))
    except Stop as stop:
        print(f"\n✗ {stop}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\n✗ interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the command line: every command with what it is for."""
    top = argparse.ArgumentParser(
        prog="dev.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="After setup everything is in .venv/bin:  .venv/bin/quarterdeck up  ·  .venv/bin/pytest tests/unit -q\n"
        "Exit codes: 0 all well, 1 a check or test failed, 2 it could not be set up (the message says what to do).",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def command(run: Callable[[argparse.Namespace], int], what: str, passes_on: str = "") -> None:
        name = run.__name__
        usage = f"dev.py {name} ..." if passes_on else f"dev.py {name}"
        added = commands.add_parser(name, help=what, description=f"{what}. {passes_on}".strip(), usage=usage)
        added.set_defaults(run=run, name=name, passes_on=passes_on)

    command(demo, "set up and play the whole story", "Whatever follows goes to `quarterdeck demo`.")
    command(test, "set up, demo, checks, wheel, all tests", "What follows goes to pytest: dev.py test tests/unit -x")
    command(check, "ruff, mypy and the import contracts: a minute, no servers")
    command(setup, "make or refresh .venv; at once if nothing has changed")
    command(wheel, "build the wheel into dist/, with constraints.txt for pip, and try it in an empty environment")
    command(lock, "resolve the dependencies again, into requirements.lock")
    return top


def demo(options: argparse.Namespace) -> int:
    """Set up, then become `quarterdeck demo`."""
    setup()
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(BIN / "quarterdeck", ["quarterdeck", "demo", *options.rest], environment())  # noqa: S606


def test(options: argparse.Namespace) -> int:
    """Set up, then run everything, and tell at the end what failed."""
    setup()
    return run_all(
        [
            ("demo", partial(runs, BIN / "quarterdeck", "demo")),
            *check_steps(),
            ("wheel", try_wheel),
            ("pytest", partial(runs, PYTHON, "-m", "pytest", "-q", *(options.rest or ALL_TESTS))),
        ]
    )


def check(_options: argparse.Namespace) -> int:
    """Set up, then run every check, and tell at the end what failed."""
    setup()
    return run_all(check_steps())


def check_steps() -> list[Step]:
    """Return the checks that need no server."""
    return [(name, partial(runs, BIN / words[0], *words[1:])) for name, words in CHECKS]


def wheel(_options: argparse.Namespace) -> int:
    """Set up, then build the wheel and try it."""
    setup()
    return run_all([("wheel", try_wheel)])


def lock(_options: argparse.Namespace) -> int:
    """Resolve again. Versions that still fit stay; delete requirements.lock first to move them all."""
    setup()
    if not runs(BIN / RESOLVE[0], *RESOLVE[1:], quiet=True):
        return 1
    print("✔ requirements.lock is resolved; `git diff` shows what moved, `python3 dev.py test` whether it holds")
    return 0


def setup(_options: argparse.Namespace | None = None) -> int:
    """Make `.venv` hold exactly what the lock says, and the project itself, editable."""
    state = fingerprint()
    if STAMP.is_file() and STAMP.read_text() == state and works(PYTHON):
        return 0
    begun = time.monotonic()
    STAMP.unlink(missing_ok=True)
    say("1/4 a virtual environment in .venv")
    if not works(PYTHON):
        make_venv()
    say("2/4 uv, pinned by hash")
    install_uv()
    say("3/4 everything in requirements.lock, pinned by hash")
    uv("pip", "sync", "--require-hashes", str(LOCK))
    say("4/4 the project itself, editable")
    places = [word for place in EDITABLE for word in ("-e", str(ROOT / place))]
    uv("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", *places)
    STAMP.write_text(state)
    say(f"set up in {time.monotonic() - begun:.0f} s", mark="✔")
    return 0


def refuse_other_systems() -> None:
    """Stop where this cannot work.

    Raises:
        Stop: the system is not one we run on.
    """
    if os.name != "posix":
        raise Stop("this needs Linux or macOS; on Windows, use the Windows Subsystem for Linux")


def make_venv() -> None:
    """Make an empty virtual environment, without pip if the one we run under can install into it.

    Raises:
        Stop: neither pip nor ensurepip is here.
    """
    if VENV.exists():
        say("    the one that is there was made elsewhere or by an older Python: made again")
    words = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if outer_pip():
        words.append("--without-pip")
    elif importlib.util.find_spec("ensurepip") is None:
        raise Stop(
            f"{sys.executable} has neither pip (22.3 or newer) nor ensurepip, so nothing can be installed.\n"
            "  Debian, Ubuntu:  apt install python3-venv     Fedora:  dnf install python3-pip"
        )
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    if done.returncode != 0 or not works(PYTHON):
        raise Stop(f"`{' '.join(words)}` failed:\n{(done.stderr or done.stdout).strip()}")


def install_uv() -> None:
    """Install the lock's uv with pip, which then installs the rest in seconds.

    Raises:
        Stop: pip could not.
    """
    block = uv_block(LOCK.read_text())
    version = block.split()[0].removeprefix("uv==")
    if said([BIN / "uv", "--version"]).split()[1:2] == [version]:
        return
    inner = [str(PYTHON), "-m", "pip"]
    pip = inner if said([*inner, "--version"]) else [*(outer_pip() or inner), "--python", str(PYTHON)]
    with tempfile.TemporaryDirectory() as directory:
        only = Path(directory) / "uv.txt"
        only.write_text(block)
        words = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        if subprocess.run([*words, "-r", str(only)], check=False, env=environment()).returncode != 0:
            raise Stop(
                "pip could not install uv (its message is above). Without a way to the package index, set "
                "PIP_INDEX_URL and UV_INDEX_URL to one you can reach."
            )


def uv_block(lock_text: str) -> str:
    """Return the lines of the lock that pin uv.

    Raises:
        Stop: there are none.
    """
    found = re.search(r"^uv==.*?(?=^\S|\Z)", lock_text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise Stop("requirements.lock does not pin uv: restore the file with git")
    return found.group()


def uv(*words: str) -> None:
    """Run the environment's uv.

    Raises:
        Stop: it failed; its own message is above.
    """
    if not runs(BIN / "uv", *words, quiet=True):
        raise Stop(
            f"`uv {' '.join(words[:2])}` failed (its message is above); the next run begins where this one stopped"
        )


def try_wheel() -> bool:
    """Build the wheel, install it into an empty environment, and use what it promises there."""
    shutil.rmtree(DIST, ignore_errors=True)
    built = runs(
        BIN / "uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", PYTHON, "--out-dir", DIST
    )
    wheels = list(DIST.glob("quarterdeck-*.whl"))
    if not built or len(wheels) != 1:
        return False
    versions = DIST / "constraints.txt"
    versions.write_text(constraints(LOCK.read_text()))
    with tempfile.TemporaryDirectory(prefix="quarterdeck-wheel-") as directory:
        place = Path(directory)
        uses = partial(runs, cwd=place)  # not here, where the sources would be found
        python, quarterdeck = (place / "venv" / "bin" / name for name in ("python", "quarterdeck"))
        install = ("pip", "install", "--quiet", "--python", python, "--constraint", versions, f"{wheels[0]}[embedded]")
        return (
            uses(BIN / "uv", "venv", "--quiet", "--python", PYTHON, place / "venv")
            and uses(BIN / "uv", *install)
            and uses(python, "-c", "import quarterdeck")
            and uses(quarterdeck, "--help", output=subprocess.DEVNULL)
            and uses(quarterdeck, "demo", "--data-dir", place / "data", output=subprocess.DEVNULL)
        )


def constraints(lock_text: str) -> str:
    """Return the lock's versions without their hashes, with which any pip installs the wheel as it was tested."""
    pins = (line.removesuffix("\\").rstrip() for line in lock_text.splitlines() if re.match(r"\S+==", line))
    return "".join(f"{pin}\n" for pin in pins)


def run_all(steps: Sequence[Step]) -> int:
    """Run every step, whatever happens to the others, and return 1 if any failed."""
    results: list[tuple[str, bool, float]] = []
    for name, step in steps:
        say(name)
        begun = time.monotonic()
        results.append((name, step(), time.monotonic() - begun))
    print(flush=True)
    for name, passed, seconds in results:
        say(f"{name:<20} {seconds:7.1f} s", mark="✔" if passed else "✗")
    return 0 if all(passed for _name, passed, _seconds in results) else 1


def runs(*words: str | Path, cwd: Path = ROOT, quiet: bool = False, output: int | None = None) -> bool:
    """Run a command where everybody sees what it says; tell whether it ended well."""
    line = [str(word) for word in words]
    if not quiet:
        print(f"  $ {' '.join(line)}".replace(f"{ROOT}/", ""), flush=True)
    try:
        return subprocess.run(line, cwd=cwd, check=False, env=environment(), stdout=output).returncode == 0
    except FileNotFoundError as error:
        print(f"  there is no {error.filename}", file=sys.stderr)
        return False


def said(words: Sequence[str | Path]) -> str:
    """Return what a command prints, or nothing if it cannot be run or fails."""
    try:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, env=environment()
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def outer_pip() -> list[str] | None:
    """Return the pip we run under, if it can install into another environment (22.3 and newer)."""
    pip = [sys.executable, "-m", "pip"]
    found = re.match(r"pip (\d+)\.(\d+)", said([*pip, "--version"]))
    return pip if found and (int(found[1]), int(found[2])) >= (22, 3) else None


def works(python: Path) -> bool:
    """Tell whether this is a Python of the environment beside us, new enough, and not moved here from elsewhere."""
    ask = "import sys; print(sys.prefix, sys.version_info >= (3, 11), sep='|')"
    if said([python, "-c", ask]).strip() != f"{VENV}|True":
        return False
    script = BIN / "mypy"  # its first line names the interpreter by its whole path
    return not script.is_file() or script.read_bytes().startswith(f"#!{BIN}/".encode())


def fingerprint() -> str:
    """Return what the environment depends on, as one word: other inputs, another place, another setup."""
    digest = hashlib.sha256(f"{ROOT}\0".encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes() + b"\0")
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Return our environment with `.venv` first, and nothing that points Python elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(VENV), "PYTHONNOUSERSITE": "1"}


def say(what: str, mark: str = "▸") -> None:
    """Tell the developer where we are."""
    print(f"{mark} {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
