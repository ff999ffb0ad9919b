"""An operator at a terminal: the command line with real processes, in a home directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quarterdeck_embedded import free_port


class Operator:
    """Runs commands in a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None
        """`quarterdeck up`, while it runs."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")}
        self.environment = kept | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "NO_COLOR": "1"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "quarterdeck_cli", *words]
        return subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )

    def parsed(self, *words: str) -> dict[str, Any]:
        """Run a command that must succeed, with --json; return what it printed."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self, *words: str, code: int = 1) -> dict[str, Any]:
        """Run a command that must be refused; return the error."""
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        found: dict[str, Any] = json.loads(done.stderr)["error"]
        return found

    @contextlib.contextmanager
    def up(self, directory: str) -> Iterator[dict[str, Any]]:
        """Run an installation while the block runs; yield what it printed."""
        command = [sys.executable, "-m", "quarterdeck_cli", "up", "--data-dir", directory, "--json"]
        with subprocess.Popen(
            [*command, "--port", str(free_port())],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self.process = process
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                assert line, process.communicate()[1]
                yield json.loads(line)
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
        assert process.returncode == 0
