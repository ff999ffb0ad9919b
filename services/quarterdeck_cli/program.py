"""How the command line is called from here, for hints that can be run as they stand."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

NAME: Final = "quarterdeck"


def program() -> str:
    """Return what to type for `quarterdeck`: below the working directory its path there, else its name, else its path.

    `dev.py demo` puts its environment on the search path of the demo alone, so what is found there proves little.
    """
    called = Path.cwd() / sys.argv[0]
    if called.name != NAME:
        return NAME
    if called.is_relative_to(Path.cwd()):
        return str(called.relative_to(Path.cwd()))
    return NAME if shutil.which(NAME) else str(called)
