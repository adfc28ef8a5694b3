"""The version with its commit: 0.1.0+g4e63416; `.dirty` is appended if a checkout has local changes."""

import functools
import subprocess
from pathlib import Path

from agentcontainer_local import __version__
from agentcontainer_local.process import resources

COMMIT = resources.PACKAGE / "commit"  # part of a wheel and of the executable


@functools.cache
def version() -> str:
    """The version. Without the commit if that is unknown."""
    commit = _packed() or commit_of(resources.CHECKOUT)
    return f"{__version__}+g{commit}" if commit else __version__


def _packed() -> str:
    return COMMIT.read_text().strip() if COMMIT.exists() else ""


def commit_of(checkout: Path) -> str:
    """4e63416, or 4e63416.dirty; empty if this is not the root of a checkout."""
    if not (checkout / ".git").exists():
        return ""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--exclude=*",
        "--abbrev=7",
        "--dirty=.dirty",
    ]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()
