"""Sending whole files to the estate's doors: what applying one would do, and applying it, with its progress."""

from __future__ import annotations

import json as jsonlib
import os
import stat
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from quarterdeck_cli.client import PAUSES_S, UNREACHABLE, Api, fail, kind_of

MAX_BYTES: Final = 64 * 2**20
"""As much as the server takes."""
STDIN: Final = "-"

Progress = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Document:
    """A file to be applied: its name for people, its bytes, and how it is to be read: its format, say, and under which
    name it is known."""

    name: str
    content: bytes
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def media(self) -> str:
        """The media type under which it is sent."""
        return "application/json" if self.name.endswith(".json") else "application/yaml"


@dataclass(frozen=True)
class Changed:
    """The plan that was agreed to is no longer what would be done."""

    message: str


def read_file(name: str, *, json: bool, how: Mapping[str, Any] | None = None) -> Document:
    """Return a file, or standard input for `-`, that is to be read in some way; what is None is not said. What cannot
    be read, or is too long to be sent, ends the command."""
    if name == STDIN:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        try:
            # Never waits: a pipe that nobody writes to would.
            with os.fdopen(os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    _unreadable(name, "it is no regular file; - reads standard input", json)
                content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            _unreadable(name, getattr(error, "strerror", None) or str(error), json)
    if len(content) > MAX_BYTES:
        fail(
            f"{name} is longer than {MAX_BYTES} bytes, and was not sent",
            "give it in parts: of a bill, one for each application",
            json=json,
            kind="body_too_large",
        )
    return Document(name, content, how or {})


def _unreadable(name: str, why: str, json: bool) -> NoReturn:
    fail(f"{name} cannot be read: {why}", "name a file that is there", code=2, json=json, kind="unreadable")


def plan(api: Api, document: Document) -> dict[str, Any]:
    """Return what applying a file would do. A file that cannot be applied ends the command, with all that is wrong."""
    found: dict[str, Any] = api.send("/v1/estate/plan", document.content, document.media, **document.how)
    return found


@dataclass
class Applying:
    """One applying of a file. However often it is sent, it is done once."""

    api: Api
    document: Document
    digest: str
    json: bool
    key: str = field(default_factory=lambda: str(uuid.uuid4()))

    def run(self, progress: Progress) -> dict[str, Any] | Changed:
        """Return what was done, or that the plan is another one by now. Anything else ends the command."""
        import httpx

        why = ""
        for pause_s in (0.0, *PAUSES_S):
            time.sleep(pause_s)
            try:
                last = self._send(progress)
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
                continue
            if last is not None:
                return last
            why = "the answer ended before it said what was done"
        return fail(
            f"{self.api.url} does not answer: {why}",
            "apply the file again: what was done already is not done twice",
            code=UNREACHABLE,
            json=self.json,
            kind="unreachable",
        )

    def _send(self, progress: Progress) -> dict[str, Any] | Changed | None:
        sent = self.document
        with self.api.sending(
            "/v1/estate/apply",
            sent.content,
            sent.media,
            self.key,
            **sent.how,
            plan_digest=self.digest,
        ) as response:
            for line in response.iter_lines():
                said = _read(line)
                if isinstance(told := said.get("progress"), dict):
                    progress(str(told.get("stage")), int(told.get("done") or 0), int(told.get("of") or 0))
                elif isinstance(problem := said.get("problem"), dict):
                    if kind_of(problem) == "plan_changed":
                        return Changed(str(problem.get("detail")))
                    self.api.refuse(problem, int(problem.get("status") or 500))
                elif isinstance(result := said.get("result"), dict):
                    return result
        return None


def _read(line: str) -> dict[str, Any]:
    try:
        said = jsonlib.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
