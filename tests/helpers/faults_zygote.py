"""Forks the served roles of a house from one process that has imported everything: a role is up in a blink.

What is forked is what `quarterdeck serve <role>` runs, with the environment it was ordered with, in a process of its
own that is killed alone. The zygote itself starts no thread and opens nothing. It ends when its input does, and takes
its children with it.

An order is a line of JSON, `{"role": …, "log": …, "environment": {…}}`; the answer is a line with the process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import signal
import sys
import traceback
from typing import Any, Final

import typer

_IMPORTED: Final = (
    "uvloop",
    "quarterdeck_api.bootstrap",
    "quarterdeck_cli.roles",
    "quarterdeck_cli.serve",
    "quarterdeck_ledger.signing",
    "quarterdeck_projector.dispatcher",
    "quarterdeck_projector.eraser",
    "quarterdeck_projector.projector",
    "quarterdeck_runtime.settings",
    "quarterdeck_worker.worker",
    "quarterdeck_workflows.callback_delivery.destination",
    "quarterdeck_workflows.client",
)
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Take orders until there are no more."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # the children share these pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    parent = os.getpid()
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order, parent)
        print(pid, flush=True)


def _become(order: dict[str, Any], parent: int) -> None:
    """Be a role until the end of this process."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(order["environment"])
        random.seed()
        from quarterdeck_cli import serve

        serve._run(order["role"], {})
        status = 0
    except typer.Exit as ended:  # has said in a line why, which is what a role's log ends with
        status = ended.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
