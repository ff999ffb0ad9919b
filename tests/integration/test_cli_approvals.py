"""Approvals as people see them on the command line: in a terminal's window, through a pipe, by the end of an id.

Serves DC-07, DC-09; threat T7. The API is real, each command a process of its own, the terminal a pseudo-terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import Journey, journey

from quarterdeck_cli import address

LARGE = {"amount": "120.00", "currency": "EUR"}
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


async def ask(there: Journey, order: str) -> str:
    """Let the agent ask for a large refund; return the approval's id."""
    async with there.client() as bot:
        decision = await bot.ask("refund", order, properties=LARGE)
        return (await bot.request_approval(decision, justification="lost")).id


class Window:
    """A terminal in which a command runs."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._seen = ""

    def resize(self, width: int, height: int) -> None:
        """Make the window another size; what runs in it is told, as ever."""
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def frame(self, wanted: str) -> list[str]:
        """Return the lines of the first picture drawn from now on that has a text; each ends with the hint."""
        self._seen = ""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while True:
                *frames, self._seen = re.split(r"(?<=Ctrl-C ends)", self._seen)
                for frame in frames:
                    lines = [line for line in _CONTROL.sub("", frame).replace("\r", "").split("\n") if line != "…"]
                    if wanted in frame:
                        return [line for line in lines if line]
                chunk = await loop.run_in_executor(None, os.read, self._handle, 65_536)
                self._seen += chunk.decode()


@contextlib.asynccontextmanager
async def window(there: Journey, *words: str, by: str, width: int = 80, height: int = 24) -> AsyncIterator[Window]:
    """Run a command in a terminal of that size until it is interrupted, which must be a normal end."""
    ours, its = pty.openpty()
    made = Window(ours)
    made.resize(width, height)
    environment = {**there.environment(by), "TERM": "xterm-256color"}
    for size in ("COLUMNS", "LINES"):  # a terminal's own, of whoever runs the tests
        environment.pop(size, None)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", *words), env=environment, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    try:
        yield made
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


async def test_the_first_to_end_is_at_the_top_of_the_window(there: Journey) -> None:
    """One line each, as many as fit, how many more, and how to see one; another size is another picture."""
    ids = [await ask(there, f"order:{number}") for number in range(12)]
    async with window(there, "approvals", "watch", "--every", "0.2", by="iris", height=10) as made:
        lines = await made.frame("order:")
        assert [line.split()[-1] for line in lines[1:-2]] == [f"order:{number}" for number in range(6)]
        assert [line.split()[2] for line in lines[1:-2]] == [approval_id[-8:] for approval_id in ids[:6]]
        assert all(line.split()[1] == "yes" and "refund" in line for line in lines[1:-2])
        assert lines[-2] == "6 more end later; all:  quarterdeck approvals list --limit 12"
        assert "approvals show ID" in lines[-1]
        assert len(lines) == 9
        made.resize(150, 40)
        lines = await made.frame("order:11")
        assert [line.split()[2] for line in lines[1:-1]] == ids
        await there.decide(ids[0])
        lines = await made.frame("order:11")
        while ids[0] in "".join(lines):
            lines = await made.frame("order:11")
        assert [line.split()[2] for line in lines[1:-1]] == ids[1:]


async def test_the_oldest_of_very_many_is_found(there: Journey) -> None:
    """Beyond the first page of the API's, and it is what ends first."""
    first = await ask(there, "order:first")
    await asyncio.gather(*(ask(there, f"order:{number}") for number in range(105)))
    async with window(there, "approvals", "watch", "--every", "0.2", by="iris") as made:
        lines = await made.frame("order:")
        assert lines[1].split()[2] == first[-8:]
        assert lines[-2].startswith("86 more end later")


async def test_the_end_of_an_id_names_what_waits(there: Journey) -> None:
    """To look, and to decide; not what is decided already, and not nothing at all."""
    approval_id = await ask(there, "order:1")
    end = approval_id[-8:]
    code, out, err = await there.cli("approvals", "show", end, by="iris")
    assert code == 0, err
    assert out.startswith(f"{approval_id}  pending")
    code, out, err = await there.cli("approvals", "approve", end, by="iris", stdin="y\n")
    assert code == 0, err
    assert f"{approval_id} is approved" in out
    code, _, err = await there.cli("approvals", "show", end, "--json", by="iris")
    assert (code, json.loads(err)["error"]["message"]) == (1, f"no pending approval ends in {end}")
    assert (await there.cli("approvals", "show", "", by="iris"))[0] == 1


async def test_a_pipe_gets_a_line_for_each(there: Journey) -> None:
    """Whole, however narrow the terminal was that began the pipe; watching tells each that is new or has changed."""
    orders = [f"order:{letter * 150}" for letter in "ab"]
    ids = [await ask(there, order) for order in orders]
    code, out, _ = await there.cli("approvals", "list", by="iris", COLUMNS="80")
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split()[:2] == ["approval", "status"]
    assert [(line.split()[0], orders[place] in line) for place, line in zip((1, 0), lines, strict=True)] == [
        (ids[1], True),
        (ids[0], True),
    ]
    async with there.running("approvals", "watch", "--every", "0.2", by="iris", COLUMNS="80") as watch:
        for place in (0, 1):
            line = await watch.until(b"\n")
            assert line.split()[:2] == [ids[place], "pending"]
            assert orders[place] in line
    code, out, _ = await there.cli("keys", "list", by="admin", COLUMNS="40")
    assert all(line.startswith(("id ", "key_")) for line in out.splitlines())


async def test_two_actions_are_never_shown_as_one(there: Journey) -> None:
    """A character that is written out, and the same characters typed: in the list and in full."""
    real, typed = await ask(there, "order:lit\u202e"), await ask(there, "order:lit\\u202e")
    _, out, _ = await there.cli("approvals", "list", by="iris")
    found = {line.split()[0]: line for line in out.splitlines()}
    assert "order:lit\\u202e " in found[real]
    assert "order:lit\\\\u202e " in found[typed]
    for approval_id, shown in ((real, "order:lit\\u202e"), (typed, "order:lit\\\\u202e")):
        _, out, _ = await there.cli("approvals", "show", approval_id, by="iris")
        assert f"  │ resource  {shown}\n" in out


async def test_what_is_stuck_in_the_installation_of_this_machine(there: Journey, tmp_path: Path) -> None:
    """Named by its directory; with the session that its server gave, and no other server's."""
    directory = tmp_path / "installation"
    code, _, err = await there.cli("stuck", "list", "--data-dir", str(directory), by="otto", QUARTERDECK_URL="")
    assert (code, f"no installation ever ran in {directory}" in err) == (1, True)
    directory.mkdir()
    address.write(directory, address.Address(there.url, "127.0.0.1:9"))
    words = ("stuck", "list", "--data-dir", str(directory))
    code, out, err = await there.cli(*words, by="otto", QUARTERDECK_URL="")
    assert (code, out) == (0, "Nothing is stuck.\n"), err
    code, _, err = await there.cli(*words, by="otto", QUARTERDECK_URL="http://127.0.0.1:9")
    assert (code, f"nobody is signed in to {there.url}" in err) == (1, True)
    assert (await there.cli("sign-in", f"{there.url}/sign-in/{there.house.links['acme']}", QUARTERDECK_URL=""))[0] == 0
    assert (await there.cli(*words, QUARTERDECK_URL="http://127.0.0.1:9"))[0] == 0
    await there.stick()
    await there.projected()
    assert "POSITION" in (await there.cli(*words, QUARTERDECK_URL=""))[1]
    assert (await there.cli("stuck", "release", "1", "--data-dir", str(directory), QUARTERDECK_URL=""))[0] == 0
