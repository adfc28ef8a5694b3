"""How this program starts itself again: as a Python module, or as the executable of `./dev binary`.

That file is unpacked into a folder with a Python and with the loader, libc and libraries that it was made with.
"""

import os
import sys
from pathlib import Path

from agentcontainer_local.environment import PROGRAM

FROZEN: bool = getattr(sys, "frozen", False)
SCRIPT = "--script-of-its-own"  # as first word: the second one is a file to be run, with nothing of ours loaded


def again() -> list[str]:
    """The command that this process is, without its arguments."""
    return [*loading(), sys.executable] if FROZEN else [sys.executable, "-m", "agentcontainer_local"]


def installed() -> list[str]:
    """The same, to be written down: a later version may be there by then."""
    return [os.environ[PROGRAM]] if FROZEN else again()


def script(file: Path) -> list[str]:
    """The command that runs a file of ours, which needs nothing but the standard library, in another process."""
    return [*again(), SCRIPT, str(file)] if FROZEN else [sys.executable, "-I", "-S", str(file)]


def loading() -> list[str]:
    """What stands before a program that we carry, so that it needs no library of this machine; else nothing."""
    if not FROZEN:
        return []
    libraries = Path(sys.prefix)
    return [str(next(libraries.glob("ld-linux*"))), "--library-path", str(libraries)]
