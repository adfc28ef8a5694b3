"""Commands that start this program again: as a Python module, or as the executable of `./dev binary`.

The executable unpacks into a directory with Python and with the loader, libc and libraries that it was built with.
"""

import os
import sys
from pathlib import Path

from agentcontainer_local.environment import PROGRAM

FROZEN: bool = getattr(sys, "frozen", False)
SCRIPT = "--script-of-its-own"  # first argument; the second one is a file to run without loading this package


def again() -> list[str]:
    """The command of this process, without its arguments."""
    return [*loading(), sys.executable] if FROZEN else [sys.executable, "-m", "agentcontainer_local"]


def installed() -> list[str]:
    """The command for use in configuration files. A later version may be installed at that path when it runs."""
    return [os.environ[PROGRAM]] if FROZEN else again()


def script(file: Path) -> list[str]:
    """The command that runs one of our files in another process. The file may import only the standard library."""
    return [*again(), SCRIPT, str(file)] if FROZEN else [sys.executable, "-I", "-S", str(file)]


def loading() -> list[str]:
    """The loader that makes a program of the executable use the bundled libraries. Empty outside of it."""
    if not FROZEN:
        return []
    libraries = Path(sys.prefix)
    return [str(next(libraries.glob("ld-linux*"))), "--library-path", str(libraries)]
